"""What this node is, for anybody, over plain HTTP as well.

GET /api/site: its site record. GET /api/node: its prefix and role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from protocol.handle_json import key_to_json
from protocol.values.site_json import site_to_json
from resolver.http.face import Asked, HandleFace, MethodNotAllowed
from resolver.http.reply import Answer

if TYPE_CHECKING:
    from resolver.node import Node


class About:
    """The resource that says who this is: `{"prefix": …, "role": …}`; null without a prefix."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def get(self, _: web.Request) -> web.Response:
        """The prefix and the role that the node was made for."""
        settings = self._node.settings.node
        body = orjson.dumps({"prefix": self._node.prefix.decode() or None, "role": settings.role})
        return web.Response(body=body, content_type="application/json")


class SiteInfo:
    """The resource of the site record."""

    def __init__(self, face: HandleFace) -> None:
        self._node = face.node

    async def __call__(self, asked: Asked) -> Answer:
        """Protocol version, serial number, servers with their keys and interfaces."""
        if asked.request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(asked.request.method, "GET, HEAD, OPTIONS")
        site = self._node.site
        shape = {"responseCode": 1, "site": site_to_json(site, key_to_json)}
        handovers = self._node.keys.rotation.handovers
        if handovers:  # for those who pinned a key that this node had before
            shape["handovers"] = [text.decode() for text in handovers]
        return Answer(orjson.dumps(shape), etag=f"site-{site.serial}-{len(handovers)}")
