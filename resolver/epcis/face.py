"""The EPCIS face of a reader: every resource under /epcis/, by path and method (§3.1).

Values in paths are percent-encoded; one whose slashes are not is understood as well, since the
segments behind it are known words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from protocol.epcis.errors import NoSuchResourceException, URITooLongException
from protocol.errors import AuthenticationNeeded, BiaoshiError, NotSupported, ParseError
from resolver.epcis import answers, problems
from resolver.epcis.callers import Callers
from resolver.epcis.capture import Capture
from resolver.epcis.delivery import Deliveries
from resolver.epcis.paging import Pages
from resolver.epcis.queries import Queries
from resolver.epcis.reading import COLLECTIONS, Reading, query_params
from resolver.epcis.stream import Streams
from resolver.epcis.tail import Tail
from resolver.epcis.tokens import Tokens
from resolver.epcis.versions import DISCOVERED, check_versions, media_of, version_headers
from resolver.http.asked import Senders, decoded, raw_path
from resolver.http.auth import Authenticator
from resolver.http.auth_errors import NotProved

if TYPE_CHECKING:
    from resolver.node import Node

ROOT: Final = "/epcis"
MAX_TARGET: Final = 8_192
_TOP: Final = ("capture", "events", "queries", *COLLECTIONS)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Methods = Mapping[str, Handler]


def setup(
    app: web.Application, node: Node, authenticator: Authenticator, senders: Senders
) -> EpcisFace | None:
    """Mount the face; None at a node without a prefix, which has no events."""
    if not node.prefix:
        return None
    face = EpcisFace(node, authenticator, senders)
    app.router.add_route("*", ROOT, face.serve)
    app.router.add_route("*", ROOT + "/{tail:(?s:.*)}", face.serve)
    app.on_startup.append(face.begin)
    app.on_shutdown.append(face.end)
    return face


class EpcisFace:
    """All resources of one reader."""

    def __init__(self, node: Node, authenticator: Authenticator, senders: Senders) -> None:
        limits = node.settings.limits
        callers = Callers(node, authenticator)
        self._node = node
        self._authenticator = authenticator
        self._senders = senders
        self._callers = callers
        self._pages = Pages(Tokens(node.keys))
        self._capture = Capture(node, callers)
        self._reading = Reading(node, callers, self._pages)
        self._queries = Queries(node, callers)
        self._tail = Tail(node.store)
        self._streams = Streams(node, callers, self._tail)
        self._deliveries = Deliveries(node, callers, self._tail) if node.number == 0 else None
        self._headers = version_headers(limits.capture_events, limits.capture_bytes)

    async def begin(self, _app: web.Application) -> None:
        """Go on with what a reader before this one had begun."""
        if self._node.settings.node.role == "mirror":
            return
        self._capture.jobs.resume()
        if self._deliveries is not None:
            self._deliveries.start()

    async def end(self, _app: web.Application) -> None:
        """Stop in the middle of it: everything is kept."""
        await self._streams.close()
        await self._capture.jobs.close()
        if self._deliveries is not None:
            await self._deliveries.close()
        self._tail.close()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        try:
            response = await self._respond(request)
        except (NotProved, AuthenticationNeeded) as error:
            response = self._challenge(error)
        except BiaoshiError as error:
            response = problems.respond(error)
        if not response.prepared:
            response.headers.update(self._headers)
        return response

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if len(request.raw_path) > MAX_TARGET:
            raise URITooLongException(
                f"a target of {len(request.raw_path)} characters is above {MAX_TARGET}; name the "
                "query by POST /epcis/queries and run it by its name"
            )
        methods = self._route(_segments(raw_path(request)))
        allowed = ", ".join(
            sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))
        )
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": allowed, **DISCOVERED})
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            detail = f"{request.method} is not done here; {allowed} are"
            return problems.of_shape(
                problems.shape(405, "ImplementationException", detail), {"Allow": allowed}
            )
        check_versions(request.headers)
        return await handler(request)

    def _challenge(self, error: NotProved | AuthenticationNeeded) -> web.Response:
        """401 with the ways to prove an identity."""
        response = problems.respond(error)
        if isinstance(error, NotProved):
            lines = self._authenticator.challenge(error.session, error.fields, error=True)
        else:
            lines = self._authenticator.challenge(None, None)
        for line in lines:
            response.headers.add("WWW-Authenticate", line)
        return response

    # --- paths

    def _route(self, parts: list[str]) -> Methods:
        """The methods of a path. Raises NoSuchResourceException."""
        if not parts:
            return {"GET": self._top}
        first, rest = parts[0], parts[1:]
        if first in COLLECTIONS:
            return self._collection(first, rest)
        routes = {
            "capture": self._captures,
            "events": self._events,
            "queries": self._named,
            "nextPageToken": self._token,
        }
        if first not in routes:
            raise NoSuchResourceException("there is nothing here")
        return routes[first](rest)

    def _captures(self, rest: list[str]) -> Methods:
        if not rest:
            return {"GET": self._jobs, "POST": self._capture.post}
        if len(rest) == 1:
            return {"GET": lambda request: self._capture.one(request, _text(rest[0]))}
        raise NoSuchResourceException("there is nothing here")

    def _events(self, rest: list[str]) -> Methods:
        reading = self._reading
        if not rest:
            return {"GET": self._query, "POST": self._capture.post_event}
        if len(rest) > 1 and rest[-1] == "proof":
            event_id = _text("/".join(rest[:-1]))
            return {"GET": lambda request: reading.proof(request, event_id)}
        event_id = _text("/".join(rest))
        return {"GET": lambda request: reading.event(request, event_id)}

    def _collection(self, name: str, rest: list[str]) -> Methods:
        reading = self._reading
        if not rest:
            return {"GET": lambda request: reading.members(request, name)}
        if len(rest) > 1 and rest[-1] == "events":
            value = _text("/".join(rest[:-1]))
            return {"GET": lambda request: reading.member_events(request, name, value)}
        value = _text("/".join(rest))
        return {"GET": lambda request: reading.member(request, name, value)}

    def _named(self, rest: list[str]) -> Methods:
        queries = self._queries
        if not rest:
            return {"GET": self._list_queries, "POST": queries.create}
        name = _text(rest[0])
        if len(rest) == 1:
            return {
                "GET": lambda request: queries.one(request, name),
                "DELETE": lambda request: queries.delete(request, name),
            }
        if rest[1:] == ["events"]:
            return {"GET": lambda request: self._run(request, name)}
        if rest[1:] == ["subscriptions"]:
            return {
                "GET": lambda request: queries.subscriptions(request, name),
                "POST": lambda request: queries.subscribe(request, name),
            }
        if len(rest) == 3 and rest[1] == "subscriptions":
            id_ = _text(rest[2])
            return {
                "GET": lambda request: queries.subscription(request, name, id_),
                "DELETE": lambda request: queries.unsubscribe(request, name, id_),
            }
        raise NoSuchResourceException("there is nothing here")

    def _token(self, rest: list[str]) -> Methods:
        if len(rest) != 1:
            raise NoSuchResourceException("there is nothing here")

        async def refuse(_request: web.Request) -> web.StreamResponse:
            raise NotSupported("page tokens are not kept here, so there is nothing to delete")

        return {"DELETE": refuse}

    # --- what needs parts of several

    async def _top(self, request: web.Request) -> web.Response:
        return answers.respond(answers.collection(_TOP), media_of(request))

    async def _query(self, request: web.Request) -> web.StreamResponse:
        return await self._reading.events(request, query_params(request))

    async def _jobs(self, request: web.Request) -> web.Response:
        viewer = await self._callers.viewer(request)
        page = self._pages.asked(request, viewer, int(self._node.now()))
        return self._page(request, viewer, *await self._capture.listed(request, page))

    async def _list_queries(self, request: web.Request) -> web.Response:
        viewer = await self._callers.viewer(request)
        page = self._pages.asked(request, viewer, int(self._node.now()))
        return self._page(request, viewer, *self._queries.listed(viewer, page))

    def _page(self, request: web.Request, viewer: Any, found: list[Any], at: Any) -> web.Response:
        headers = self._pages.headers(request, viewer, at, int(self._node.now()))
        return answers.respond(answers.listed(found), media_of(request), headers)

    async def _run(self, request: web.Request, name: str) -> web.StreamResponse:
        """Run a named query: once, or over a WebSocket as long as that lasts."""
        viewer = await self._callers.viewer(request)
        with self._node.store.snapshot() as state:
            query = self._queries.known(state, viewer, name)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._streams.serve(request, query, viewer)
        params = {**query.query, **query_params(request)}
        return await self._reading.events(request, params, query=name)


def _segments(path: str) -> list[str]:
    """What follows /epcis, at its slashes; nothing for a trailing one."""
    rest = path.removeprefix(ROOT).strip("/")
    return rest.split("/") if rest else []


def _text(segment: str) -> str:
    """A segment decoded once. Raises ParseError."""
    try:
        return decoded(segment).decode()
    except UnicodeDecodeError:
        raise ParseError("a percent-encoded value in the path is not UTF-8") from None
