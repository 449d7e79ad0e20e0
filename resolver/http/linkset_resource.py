"""GET /api/linkset/{identifier} and GET /.well-known/gs1resolver: links for programs.

The description's members are those of the GS1 resolver description file (traceability §6.1 #2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from protocol.errors import BadIdentifier, ParseError, ResponseCode
from protocol.identifier import parse
from protocol.linkset import CONTEXT_URL, NAMESPACES
from protocol.record import decode_values
from resolver.aliases import follow
from resolver.http.asked import decoded, raw_path, raw_query
from resolver.http.link_path import Asked, link_of, read_compressed
from resolver.http.link_types import LINK_TYPES
from resolver.http.links import METHODS, Links, preflight
from resolver.http.naming import digital_link_of
from resolver.http.page import PUBLIC_HEADERS
from resolver.http.problem import method_not_allowed, problem, problem_of
from resolver.lookup import Answer, Query

if TYPE_CHECKING:
    from resolver.node import Node

_MOUNT: Final = "/api/linkset"
WELL_KNOWN: Final = "/.well-known/gs1resolver"
_NOT_HERE: Final = frozenset(
    (
        ResponseCode.SERVER_NOT_RESPONSIBLE,
        ResponseCode.SERVICE_REFERRAL,
        ResponseCode.PREFIX_REFERRAL,
    )
)
_ABSENT: Final = frozenset((ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND))


class LinksetResource:
    """Both resources."""

    def __init__(self, node: Node, links: Links) -> None:
        self._node = node
        self._links = links

    def setup(self, app: web.Application) -> None:
        """Mount them."""
        app.router.add_route("*", _MOUNT + "/{identifier:(?s:.+)}", self._public)
        app.router.add_route("*", WELL_KNOWN, self._described)

    async def _public(self, request: web.Request) -> web.StreamResponse:
        """Anybody's script may ask."""
        if request.method == "OPTIONS":
            return preflight()
        if request.method not in METHODS:
            return method_not_allowed(", ".join(METHODS))
        try:
            response = await self._linkset(request)
        except ParseError as error:
            response = problem_of(error)
        response.headers.update(PUBLIC_HEADERS)
        return response

    async def _linkset(self, request: web.Request) -> web.StreamResponse:
        path = raw_path(request)[len(_MOUNT) :]
        asked = link_of(path, raw_query(request), self._node.prefixes.homed())
        if asked is not None:
            return await self._links.digital_link(request, asked, linkset=True)
        try:
            name = _name(decoded(path[1:]))
        except BadIdentifier:
            asked = read_compressed(path, raw_query(request))
            if asked is None:
                raise
            return await self._links.digital_link(request, asked, linkset=True)
        link = digital_link_of(name)
        if link is not None:
            return await self._links.digital_link(request, Asked(link), linkset=True)
        found = (await follow(self._ask, Query(name, do_not_refer=True))).answer
        shown = name.decode("utf-8", "replace")
        if found.code in _ABSENT:
            return problem(404, "not-found", "No such identifier", detail=f"{shown} is not here")
        if found.code in _NOT_HERE:
            return problem(404, "not-served-here", "Its prefix is served elsewhere", detail=shown)
        if found.code != ResponseCode.SUCCESS:
            return problem(502, "upstream", "It could not be resolved", detail=found.message)
        values = decode_values(found.values)
        return await self._links.record(request, found.handle, values, linkset=True)

    async def _ask(self, query: Query) -> Answer:
        lookup = self._node.lookup
        return lookup.answer_now(query) or await lookup.answer(query)

    async def _described(self, request: web.Request) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return preflight()
        if request.method not in METHODS:
            return method_not_allowed(", ".join(METHODS))
        body = orjson.dumps(self._description(self._links.root.of(request)))
        headers = {
            "Content-Type": "application/json",
            "Cache-Control": "max-age=3600",
            **PUBLIC_HEADERS,
        }
        return web.Response(body=body, headers=headers)

    def _description(self, root: str) -> dict[str, Any]:
        own, node = self._node.settings.digital_link, self._node.settings.node
        name = own.name or node.description or f"Resolver of {node.prefix or 'several prefixes'}"
        contact = {"fn": own.contact or node.contact or name}
        if "@" in node.contact:
            contact["hasEmail"] = f"mailto:{node.contact}"
        if own.telephone:
            contact["hasTelephone"] = "tel:" + own.telephone.replace(" ", "-")
        described: dict[str, Any] = {
            "name": name,
            "resolverRoot": root,
            "supportedPrimaryKeys": ["all"],
            "contact": contact,
            "linkTypeDefaultCanBeLinkset": False,
            "supportedLinkType": [
                {"namespace": namespace, "prefix": f"{prefix}:"}
                for prefix, namespace in NAMESPACES.items()
            ],
            "supportedContextValuesEnumerated": list(own.contexts),
            "supportsLanguageVariants": True,
            "validatesAIcombinations": True,
            "jsonLdContextLocation": CONTEXT_URL,
            "activeLinkTypes": LINK_TYPES,
        }
        if own.terms:
            described["termsOfUse"] = own.terms
        return described


def _name(octets: bytes) -> bytes:
    """The name of any spelling; handles that keep no scheme's rules stay as they are."""
    try:
        return parse(octets.decode()).handle
    except UnicodeDecodeError:
        raise BadIdentifier("not-utf-8", "the path is not UTF-8; encode it first") from None
    except BadIdentifier:
        if b"/" in octets and octets[:4].lower() != b"http":
            return octets
        raise
