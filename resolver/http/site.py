"""GET /api/site: the site record of this node, for anybody, over plain HTTP as well."""

from __future__ import annotations

import orjson

from protocol.handle_json import key_to_json
from protocol.values.site_json import site_to_json
from resolver.http.face import Asked, HandleFace, MethodUnknown
from resolver.http.reply import Answer


class SiteInfo:
    """The resource of the site record."""

    def __init__(self, face: HandleFace) -> None:
        self._node = face.node

    async def __call__(self, asked: Asked) -> Answer:
        """Protocol version, serial number, servers with their keys and interfaces."""
        if asked.request.method not in {"GET", "HEAD"}:
            raise MethodUnknown(f"Unknown method {asked.request.method}")
        site = self._node.site
        shape = {"responseCode": 1, "site": site_to_json(site, key_to_json)}
        handovers = self._node.keys.rotation.handovers
        if handovers:  # for those who pinned a key that this node had before
            shape["handovers"] = [text.decode() for text in handovers]
        return Answer(orjson.dumps(shape), etag=f"site-{site.serial}-{len(handovers)}")
