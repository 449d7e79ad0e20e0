"""The HTTP face of traces: GET /api/trace/{id} and POST /trace (also /api/trace)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from aiohttp import web

from protocol.errors import InvalidValue, ParseError, RecursionTooDeep
from registry.labels import Viewer
from registry.tree import tree_size
from resolver.epcis.callers import Callers
from resolver.epcis.granted import note_reads
from resolver.http.asked import Parameters, Senders, decoded, raw_path, read_json
from resolver.http.auth import Authenticator
from resolver.http.problem import method_not_allowed, problem
from resolver.trace.asked import Asked, parse_asked
from resolver.trace.delegated import Delegated
from resolver.trace.hops import Hops
from resolver.trace.keybook import KeyBook
from resolver.trace.local import LocalTraces
from resolver.trace.owners import Owners
from resolver.trace.reach import Reach
from resolver.trace.result import Result

if TYPE_CHECKING:
    from resolver.node import Node

ROOT: Final = "/api/trace/"
NDJSON: Final = "application/x-ndjson"
MAX_ORDER_BYTES: Final = 65_536


def setup(app: web.Application, node: Node, authenticator: Authenticator, senders: Senders) -> None:
    """Mount the resources; a node without a prefix has no events."""
    if not node.prefix:
        return
    face = TraceFace(node, authenticator, senders)
    app.router.add_route("*", ROOT + "{id:(?s:.+)}", face.one)
    app.router.add_route("*", "/trace", face.order)
    app.router.add_route("*", "/api/trace", face.order)
    app.on_shutdown.append(face.end)


class TraceFace:
    """The resources of one reader."""

    def __init__(self, node: Node, authenticator: Authenticator, senders: Senders) -> None:
        self._node = node
        self._senders = senders
        self._callers = Callers(node, authenticator)
        self._reach = Reach(node)
        keys = KeyBook(node, lambda: node.asking)
        self._local = LocalTraces(node, keys, partial(note_reads, node))
        owners = Owners(node, self._reach)
        self._hops = Hops(node, self._local, owners, self._reach, keys)
        self._delegated = Delegated(node, self._local, owners, self._reach, keys)

    async def end(self, _app: web.Application) -> None:
        """Close what asked other nodes."""
        await self._reach.close()

    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET: the trace of an identifier."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        asked = parse_asked(_start(request), _params(request), self._local.bounds())
        viewer = await self._callers.viewer(request)
        tag = self._tag(asked, viewer)
        if tag is not None and request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=_headers(tag))
        result = await self._result(asked, viewer)
        if result is None:
            # Absent and not for this caller are one answer.
            told = "no event that you may see names it; ask who made or moved it"
            return problem(404, "not-found", "Nothing is known of it here", detail=told)
        if NDJSON in request.headers.get("Accept", ""):
            return await _stream(request, result)
        body = await asyncio.to_thread(result.octets)
        headers = _headers(tag)
        return web.Response(body=body, headers={"Content-Type": "application/json", **headers})

    async def _result(self, asked: Asked, viewer: Viewer) -> Result | None:
        if asked.hops == "iterative":
            return await self._hops.run(asked, viewer)
        if asked.hops == "delegated":
            return await self._delegated.begin(asked, viewer)
        walked = await self._local.walk(asked, viewer)
        return None if walked.empty else await self._local.result(asked, walked)

    async def order(self, request: web.Request) -> web.StreamResponse:
        """POST: trace on behalf of a neighbour; the answer is signed."""
        if request.method != "POST":
            return method_not_allowed("POST")
        viewer = await self._callers.viewer(request)
        shape = await read_json(request, MAX_ORDER_BYTES, self._node.settings.limits.request_s)
        try:
            body = await self._delegated.answer(shape, viewer, self._senders.host(request))
        except RecursionTooDeep as error:
            return problem(409, "loop", "It was here before", detail=str(error))
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)

    def _tag(self, asked: Asked, viewer: Viewer) -> str | None:
        """The same as long as the log is as long: what a caller keeps an answer by.

        None: more than the log decides, other nodes or what is granted to who asks.
        """
        if asked.hops != "none" or viewer.events is not None:
            return None
        with self._node.store.snapshot() as state:
            head = tree_size(state)
        parts = (asked.key(), viewer.administrator, head, self._node.prefix)
        return f'"{sha256(repr(parts).encode()).hexdigest()[:32]}"'


def _start(request: web.BaseRequest) -> str:
    try:
        return decoded(raw_path(request)[len(ROOT) :]).decode()
    except UnicodeDecodeError:
        raise ParseError("the identifier in the path is not UTF-8; encode it first") from None


def _params(request: web.BaseRequest) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in Parameters.of(request).pairs:
        if name in found:
            raise InvalidValue(f"{name[:40]!r} is given twice")
        found[name] = value
    return found


def _headers(tag: str | None) -> dict[str, str]:
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    return headers if tag is None else {**headers, "ETag": tag}


async def _stream(request: web.Request, result: Result) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": NDJSON, **_headers(None)})
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in result.lines():
            await response.write(piece)
    await response.write_eof()
    return response
