"""The HTTP face of one reader: every resource in its place, on sockets that are bound already.

The mount points are MOUNTS; whatever lies under none of them is an identifier and goes to the
browser-facing resolver. resolver.app decides which sockets; this page decides nothing else.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from protocol.errors import BiaoshiError, SettingsError
from registry.keys import SITE_KEY, TLS_CERT
from resolver.child import PARTING_S
from resolver.epcis import face as epcis
from resolver.http import delegations, escrow, grants, listing, openapi
from resolver.http import log as log_resource
from resolver.http.asked import Senders, raw_path
from resolver.http.auth import Authenticator
from resolver.http.connection import SERVER_NAME, Connection, Gate
from resolver.http.cors import options, shared
from resolver.http.face import HandleFace, Operation
from resolver.http.handles import Handles
from resolver.http.health import Health
from resolver.http.links import Links
from resolver.http.linkset_resource import LinksetResource
from resolver.http.mounts import RESERVED
from resolver.http.naming import Root
from resolver.http.page import PUBLIC_HEADERS
from resolver.http.problem import method_not_allowed, not_found, problem, problem_of
from resolver.http.proxy import PAGE, Proxy
from resolver.http.registrations import Registrations
from resolver.http.resolve import Resolve
from resolver.http.session_resource import SessionResource
from resolver.http.session_table import SessionTable
from resolver.http.sessions import Sessions
from resolver.http.site import About, SiteInfo
from resolver.http.tls import HANDSHAKE_S, SHUTDOWN_S, ServerContext
from resolver.http.tunnel import TUNNEL_TYPE, Tunnel
from resolver.local import run_folder
from resolver.pages.face import Pages
from resolver.serve_doirp import handler_of
from resolver.trace import face as trace

if TYPE_CHECKING:
    from resolver.node import Node

log = structlog.get_logger()

_BACKLOG: Final = 1024
_CERTIFICATE_CHECK_S: Final = 10.0
_ACCEPTING_TURNS: Final = 4
"""Turns of the loop from accepting a connection to its protocol and task: then it is parted from,
not cut off."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpFace:
    """What serves, and how it is stopped."""

    def __init__(self, node: Node, app: web.Application, sessions: Sessions) -> None:
        self._node = node
        self.sessions = sessions
        self._runner = web.AppRunner(app, access_log=None)
        self.gates: list[Gate] = []
        self._servers: list[asyncio.Server] = []
        self._watch: asyncio.Task[None] | None = None

    @property
    def server(self) -> web.Server:
        """What aiohttp's connections belong to."""
        served = self._runner.server
        assert served is not None  # noqa: S101 - set up before anything asks
        return served

    async def start(
        self, plain_sockets: Sequence[socket.socket], tls_sockets: Sequence[socket.socket]
    ) -> None:
        """Answer on these sockets. Raises SettingsError for a certificate that cannot be used."""
        await self._runner.setup()
        context: ServerContext | None = None
        if tls_sockets:
            folder = self._node.dir
            context = ServerContext(folder / TLS_CERT, folder / SITE_KEY)
            self._watch = asyncio.create_task(_watch_certificate(context))
        for face, sockets, tls in (("http", plain_sockets, None), ("https", tls_sockets, context)):
            node = self._node
            gate = Gate(
                node.settings.limits,
                node.metrics,
                face,
                node,
                proved=handler_of(node).proven.saw,  # for UDP answers (threats N1)
            )
            gate.start()
            self.gates.append(gate)
            for one in sockets:
                self._servers.append(await self._listen(one, gate, tls))

    async def _listen(
        self, one: socket.socket, gate: Gate, tls: ServerContext | None
    ) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: Connection(self.server, gate, loop=loop),
            sock=one.dup(),
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
            ssl_shutdown_timeout=None if tls is None else SHUTDOWN_S,
        )

    async def close(self, grace_s: float) -> None:
        """Accept nothing new, finish what is in flight within grace_s, cut off the rest."""
        for server in self._servers:
            server.close()
        for _ in range(_ACCEPTING_TURNS):
            await asyncio.sleep(0)
        await asyncio.gather(*(gate.part(min(grace_s, PARTING_S)) for gate in self.gates))
        if self._watch is not None:
            self._watch.cancel()
        served = self._runner.server
        if served is not None:
            served.pre_shutdown()
            await served.shutdown(grace_s)
        for gate in self.gates:
            gate.stop()
            gate.count()
        await self._runner.cleanup()
        self.sessions.table.close()


async def start(
    node: Node, plain_sockets: Sequence[socket.socket], tls_sockets: Sequence[socket.socket]
) -> HttpFace:
    """Answer HTTP on bound sockets, which stay the caller's to close."""
    limits = node.settings.limits
    table = SessionTable(
        run_folder(node.dir), now=node.now, max_sessions=limits.sessions * node.readers
    )
    sessions = Sessions(
        table,
        now=node.now,
        random=os.urandom,
        challenge_s=limits.challenge_s,
        session_s=limits.session_s,
    )
    face = HttpFace(node, make_app(node, sessions), sessions)
    await face.start(plain_sockets, tls_sockets)
    return face


def make_app(node: Node, sessions: Sessions) -> web.Application:
    """Every resource in its place."""
    senders = Senders(node.settings)
    authenticator = Authenticator(node, sessions, senders, random=os.urandom)
    tunnel = Tunnel(node, senders)
    app = web.Application(middlewares=[_guard(node, senders, tunnel)])
    app.on_response_prepare.append(_sign)
    for path, operation in _handle_resources(HandleFace(node, authenticator, senders)).items():
        app.router.add_route("*", path, operation)
    health = Health(node, senders)
    resolve = Resolve(node)
    registrations = Registrations(node, authenticator, senders)
    for path, handlers in (
        ("/api/node", {"GET": About(node).get}),
        ("/api/resolve", {"GET": resolve.get}),
        ("/api/registrations", {"POST": registrations.post}),
        ("/openapi.json", {"GET": openapi.OpenApi(node).get}),
        ("/health/live", {"GET": health.live}),
        ("/health/ready", {"GET": health.ready}),
        ("/metrics", {"GET": health.metrics}),
    ):
        app.router.add_route("*", path, by_method(handlers))
    draw = random.SystemRandom().random
    pages = Pages(node, Root(node.settings, senders), senders)
    pages.setup(app)
    links = Links(node, senders, pages, draw=draw)
    LinksetResource(node, links).setup(app)
    delegations.setup(app, node)
    escrow.setup(app, node, senders)
    grants.setup(app, node, authenticator, senders)
    log_resource.setup(app, node, authenticator, senders)
    epcis.setup(app, node, authenticator, senders)
    trace.setup(app, node, authenticator, senders)
    app.router.add_route(
        "*", "/{tail:(?s:.*)}", _rest(Proxy(node, senders, links, pages, draw=draw))
    )
    return app


def _handle_resources(face: HandleFace) -> Mapping[str, Handler]:
    """The resources with the Handle interface's own error bodies."""

    def run(operation: Operation) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await face.serve(request, operation)

        return handler

    handles, sessions = run(Handles(face)), run(SessionResource(face))
    return {
        "/api/handles": run(listing.Listing(face)),
        "/api/handles/{handle:(?s:.*)}": handles,
        "/api/prefixes": run(listing.PrefixList(face)),
        "/api/site": run(SiteInfo(face)),
        "/api/sessions": sessions,
        "/api/sessions/": sessions,
        "/api/sessions/this": sessions,
    }


def by_method(handlers: Mapping[str, Handler]) -> Handler:
    """One handler for several methods; HEAD is GET without a body; 405 for the rest."""
    known = dict(handlers)
    if "GET" in known:
        known.setdefault("HEAD", known["GET"])
    allowed = ", ".join(sorted(known))

    async def handler(request: web.Request) -> web.StreamResponse:
        chosen = known.get(request.method)
        return method_not_allowed(allowed) if chosen is None else await chosen(request)

    return handler


def _rest(proxy: Proxy) -> Handler:
    """Whatever is mounted nowhere: an identifier, unless its first segment is reserved."""

    async def rest(request: web.Request) -> web.StreamResponse:
        path = raw_path(request)
        first, slash, _ = path[1:].partition("/")
        if first not in RESERVED or first == PAGE:
            return await proxy(request)
        if first == "api" and slash:
            told = "GET /openapi.json lists what there is"
            message = f"Unknown HTTP API endpoint {request.method} {path}"[:300]
            more: dict[str, Any] = {"responseCode": 4, "message": message}
            return problem(404, "no-such-resource", "There is nothing here", detail=told, **more)
        return not_found()

    return rest


def _guard(node: Node, senders: Senders, tunnel: Tunnel) -> Middleware:
    """What surrounds every resource: tunnelled messages, errors as problems, times."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = asyncio.get_running_loop().time()
        try:
            if request.method == "POST" and request.content_type == TUNNEL_TYPE:
                return await tunnel(request)
            response = await handler(request)
            refused = request.method == "OPTIONS" and response.status == 405
            return options(response.headers["Allow"]) if refused else response
        except BiaoshiError as error:
            return problem_of(error)
        except web.HTTPException as error:
            return problem(
                error.status, "http", error.reason, detail=error.text, headers=_kept(error)
            )
        except ConnectionError:
            raise
        except Exception:
            number = uuid4().hex[:12]
            log.exception("request_failed", method=request.method, correlation=number)
            return problem(500, "internal", "Internal Server Error", correlation=number)
        finally:
            took_s = asyncio.get_running_loop().time() - started
            node.metrics.request_time["https" if senders.secure(request) else "http"].observe(
                took_s
            )

    return guard


def _kept(error: web.HTTPException) -> dict[str, str]:
    return {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}


async def _sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
    if isinstance(request.protocol, Connection) and request.protocol.parting:
        response.force_close()
    response.headers["Server"] = SERVER_NAME
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    first = raw_path(request)[1:].partition("/")[0]
    public = first not in RESERVED or first == PAGE
    for name, value in (PUBLIC_HEADERS if public else shared(request, first, response)).items():
        response.headers.setdefault(name, value)


async def _watch_certificate(context: ServerContext) -> None:
    """Take up a new certificate or key when the files change, without a restart."""
    seen = context.changed_at()
    while True:
        await asyncio.sleep(_CERTIFICATE_CHECK_S)
        now = context.changed_at()
        if now == seen:
            continue
        seen = now
        try:
            context.reload()
        except SettingsError as error:
            log.error("certificate_refused", why=str(error))  # noqa: TRY400 - the text says it all
        else:
            log.info("certificate_reloaded")
