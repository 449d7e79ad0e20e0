"""Named queries and webhook subscriptions as resources (§3.1)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from aiohttp import web

from protocol.epcis.errors import (
    NoSuchNameException,
    QueryTooLargeException,
    QueryValidationException,
    ResourceAlreadyExistsException,
    SubscriptionControlsException,
    UnsupportedMediaTypeException,
)
from protocol.epcis.moment import parse_time_us
from protocol.epcis.query_json import params_of
from protocol.errors import OutboundRefused, ParseError
from protocol.name import fold_prefix
from protocol.record import Reference
from protocol.strict_json import parse_json
from registry.events.index import EventIndex
from registry.labels import Viewer
from registry.notes import Note
from registry.store import Snapshot
from resolver.epcis import answers
from resolver.epcis.callers import Callers
from resolver.epcis.delivery import ending, state_shape
from resolver.epcis.finding import Search
from resolver.epcis.named import (
    MOST_QUERIES,
    MOST_SUBSCRIPTIONS,
    PARTNER_QUERIES,
    PARTNER_SUBSCRIPTIONS,
    SHARED,
    Cursor,
    NamedQuery,
    Subscription,
    all_queries,
    all_subscriptions,
    check_name,
    read_cursor,
    read_query,
    subscriptions_of,
)
from resolver.epcis.paging import Page
from resolver.epcis.schedule import parse_schedule
from resolver.epcis.taking import JSON_TYPES
from resolver.epcis.versions import JSON, media_of
from resolver.guard import parse_url
from resolver.http.asked import read_body

if TYPE_CHECKING:
    from resolver.node import Node

MAX_BODY: Final = 65_536
MAX_TOKEN: Final = 256
MAX_DEST: Final = 2_048
_FORBIDDEN: Final = frozenset(("perPage", "nextPageToken"))
_MEMBERS: Final = frozenset(
    ("dest", "signatureToken", "reportIfEmpty", "initialRecordTime", "stream", "schedule")
)


class Queries:
    """The resources. Administrators of prefixes homed here share theirs; a partner, whom some grant
    names, has its own, which nobody else sees.
    """

    def __init__(self, node: Node, callers: Callers) -> None:
        self._node = node
        self._callers = callers

    async def create(self, request: web.Request) -> web.Response:
        """Keep a query under a name."""
        viewer = await self._callers.subscriber(request, "naming a query")
        shape = await _object(request, self._node)
        unknown = shape.keys() - {"name", "query"}
        if unknown:
            raise QueryValidationException(f"a query has name and query, not {min(unknown)[:40]!r}")
        name, params = check_name(shape.get("name")), params_of(shape.get("query"))
        for parameter in _FORBIDDEN & params.keys():
            raise QueryValidationException(
                f"{parameter} belongs to a request, not to a named query"
            )
        Search.of(params)
        assert viewer.actor is not None  # noqa: S101 - subscriber() proved one
        now_us = int(self._node.now() * 1_000_000)
        space, given = space_of(viewer), json.dumps(shape["query"])
        made = NamedQuery(name, viewer.actor.text(), now_us, params, space, given)
        most = PARTNER_QUERIES if space else MOST_QUERIES
        with self._node.store.snapshot() as state:
            if sum(1 for _ in all_queries(state, space=space)) >= most:
                raise QueryTooLargeException(f"there are {most} queries; delete one first")
        if not await self._node.writer.keep([made.note()]):
            raise ResourceAlreadyExistsException(f"there is a query {name!r} already")
        return _created(f"/epcis/queries/{quote(name, safe='')}", made.shape())

    def listed(self, viewer: Viewer, page: Page) -> tuple[list[Any], Any]:
        """One page of the queries that somebody may see."""
        if viewer.actor is None:
            return [], None
        found: list[Any] = []
        with self._node.store.snapshot() as state:
            for query in all_queries(state, page.position or "", space_of(viewer)):
                if len(found) == page.size:
                    return found, found[-1]["name"]
                found.append(query.shape())
        return found, None

    def known(self, state: Snapshot, viewer: Viewer, name: str) -> NamedQuery:
        """A query. Raises NoSuchNameException: also where one may not see it."""
        query = None if viewer.actor is None else read_query(state, name, space_of(viewer))
        if query is None:
            raise NoSuchNameException("there is no query of that name")
        return query

    async def one(self, request: web.Request, name: str) -> web.Response:
        """A query and its parameters."""
        media, viewer = media_of(request), await self._callers.viewer(request)
        with self._node.store.snapshot() as state:
            query = self.known(state, viewer, name)
        return answers.respond(orjson.dumps(query.shape()), media)

    async def delete(self, request: web.Request, name: str) -> web.Response:
        """End a query and its subscriptions."""
        viewer = await self._callers.identified(request, "deleting a query")
        with self._node.store.snapshot() as state:
            query = self.known(state, viewer, name)
            ends = [note for one in subscriptions_of(state, query) for note in ending(one)]
        await self._node.writer.keep([*ends, Note(query.key(), None)])
        return web.Response(status=204)

    # --- subscriptions

    async def subscribe(self, request: web.Request, name: str) -> web.Response:
        """Begin to post to an address what a query finds."""
        viewer = await self._callers.subscriber(request, "subscribing")
        shape = await _object(request, self._node)
        assert viewer.actor is not None  # noqa: S101 - subscriber() proved one
        with self._node.store.snapshot() as state:
            query = self.known(state, viewer, name)
            _require_room(all_subscriptions(state), query.space)
            made = self._subscription(state, shape, query, viewer.actor.text())
        await self._node.writer.keep([made.note()])
        told = state_shape(made, Cursor(made.first), made.created_us)
        path = f"/epcis/queries/{quote(name, safe='')}/subscriptions/{made.id}"
        return _created(path, told)

    def _subscription(
        self, state: Snapshot, shape: Mapping[str, Any], query: NamedQuery, owner: str
    ) -> Subscription:
        unknown = shape.keys() - _MEMBERS
        if unknown:
            raise SubscriptionControlsException(f"a subscription has no {min(unknown)[:40]!r}")
        stream, schedule = shape.get("stream", False), shape.get("schedule")
        if not isinstance(stream, bool) or stream == ("schedule" in shape):
            raise SubscriptionControlsException(
                "a subscription reports either by `stream`: true or by a `schedule`"
            )
        if "schedule" in shape:
            parse_schedule(schedule)
        empty, token = shape.get("reportIfEmpty", False), shape.get("signatureToken", "")
        if not isinstance(empty, bool):
            raise SubscriptionControlsException("`reportIfEmpty` is true or false")
        if not isinstance(token, str) or len(token) > MAX_TOKEN or not _is_text(token):
            raise SubscriptionControlsException(
                f"`signatureToken` is a text of at most {MAX_TOKEN} characters"
            )
        least_us = _moment(shape["initialRecordTime"]) if "initialRecordTime" in shape else None
        index = EventIndex(state)
        first = index.last() if least_us is None else index.first_recorded(least_us) - 1
        return Subscription(
            id=os.urandom(12).hex(),
            query=query.name,
            owner=owner,
            created_us=int(self._node.now() * 1_000_000),
            dest=_destination(shape.get("dest")),
            token=token,
            report_if_empty=empty,
            schedule=schedule,
            first=first,
            least_us=least_us or 0,
            space=query.space,
        )

    async def subscriptions(self, request: web.Request, name: str) -> web.Response:
        """The subscriptions of a query."""
        media, viewer = media_of(request), await self._callers.viewer(request)
        now_us = int(self._node.now() * 1_000_000)
        with self._node.store.snapshot() as state:
            query = self.known(state, viewer, name)
            found = [
                state_shape(one, read_cursor(state, one), now_us)
                for one in subscriptions_of(state, query)
            ]
        return answers.respond(answers.listed(found), media)

    async def subscription(self, request: web.Request, name: str, id_: str) -> web.Response:
        """One subscription and how far it has come."""
        media, viewer = media_of(request), await self._callers.viewer(request)
        now_us = int(self._node.now() * 1_000_000)
        with self._node.store.snapshot() as state:
            one = self._known_subscription(state, viewer, name, id_)
            shape = state_shape(one, read_cursor(state, one), now_us)
        return answers.respond(orjson.dumps(shape), media)

    async def unsubscribe(self, request: web.Request, name: str, id_: str) -> web.Response:
        """End a subscription."""
        viewer = await self._callers.identified(request, "ending a subscription")
        with self._node.store.snapshot() as state:
            one = self._known_subscription(state, viewer, name, id_)
        await self._node.writer.keep(ending(one))
        return web.Response(status=204)

    def _known_subscription(
        self, state: Snapshot, viewer: Viewer, name: str, id_: str
    ) -> Subscription:
        for one in subscriptions_of(state, self.known(state, viewer, name)):
            if one.id == id_:
                return one
        raise NoSuchNameException("there is no such subscription of that query")


def space_of(viewer: Viewer) -> str:
    """Among whose names somebody's queries are."""
    if viewer.administrator or viewer.actor is None:
        return SHARED
    return Reference(fold_prefix(viewer.actor.handle), viewer.actor.index).text()


def _require_room(held: Sequence[Subscription], space: str) -> None:
    own = sum(one.space == space for one in held)
    if space and own >= PARTNER_SUBSCRIPTIONS:
        raise SubscriptionControlsException(
            f"a partner has at most {PARTNER_SUBSCRIPTIONS} subscriptions; end one first"
        )
    if len(held) >= MOST_SUBSCRIPTIONS:
        raise SubscriptionControlsException(
            f"there are {MOST_SUBSCRIPTIONS} subscriptions; end one first"
        )


async def _object(request: web.Request, node: Node) -> Mapping[str, Any]:
    if request.content_type not in JSON_TYPES and "Content-Type" in request.headers:
        raise UnsupportedMediaTypeException(f"the body is {JSON}, not {request.content_type[:80]}")
    body = await read_body(request, MAX_BODY, node.settings.limits.request_s)
    shape = parse_json(body)
    if not isinstance(shape, dict):
        raise QueryValidationException("the body is a JSON object")
    return shape


def _destination(dest: Any) -> str:
    """The address to post to: what it resolves to is checked at each delivery."""
    if not isinstance(dest, str) or not 0 < len(dest) <= MAX_DEST or not dest.isascii():
        raise SubscriptionControlsException(
            f"`dest` is an http or https address of at most {MAX_DEST} characters"
        )
    try:
        parse_url(dest)
    except OutboundRefused as error:
        raise SubscriptionControlsException(f"`dest`: {error}") from None
    return dest


def _moment(text: Any) -> int:
    try:
        return parse_time_us(text)
    except (ParseError, TypeError):
        raise SubscriptionControlsException(
            f"`initialRecordTime` is a date and time with a zone, not {text!r:.40}"
        ) from None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _created(location: str, shape: Mapping[str, Any]) -> web.Response:
    headers = {"Location": location, "Content-Type": JSON, "Cache-Control": answers.PRIVATE}
    return web.Response(status=201, body=orjson.dumps(shape), headers=headers)
