"""GET /events, one event, its proof, and the collections (§3.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from protocol.epcis.errors import NoSuchResourceException, QueryParameterException
from protocol.epcis.event import mentions
from protocol.event_disclosure import MEDIA_TYPE as DISCLOSURE_TYPE
from registry.events.granted import seen
from registry.events.index import EventIndex, parse_event
from registry.events.keys import Index, hash16, indexed_form, indexed_values
from registry.events.proof import prove
from registry.events.row import EventRow
from registry.labels import Viewer
from registry.reads import OpenedEvent
from registry.store import Snapshot
from resolver.epcis import answers
from resolver.epcis.callers import Callers
from resolver.epcis.disclosing import disclosure
from resolver.epcis.finding import Found, Search
from resolver.epcis.granted import note_reads, opened
from resolver.epcis.paging import PER_PAGE_NAME, TOKEN_NAME, Page, Pages
from resolver.epcis.versions import form_of, media_of
from resolver.http.asked import Parameters

if TYPE_CHECKING:
    from resolver.node import Node

MOST_IN_GROUP: Final = 2_000
"""Events looked at for one page of a collection, for the sake of those that one may not see."""
COLLECTIONS: Final[Mapping[str, tuple[Index | None, str]]] = {
    "eventTypes": (Index.TYPE, "eventType"),
    "epcs": (None, "MATCH_anyEPC"),
    "bizSteps": (Index.STEP, "EQ_bizStep"),
    "bizLocations": (Index.LOCATION, "EQ_bizLocation"),
    "readPoints": (Index.READ_POINT, "EQ_readPoint"),
    "dispositions": (Index.DISPOSITION, "EQ_disposition"),
}
"""Collection -> index of its values (None: of identifiers) and the parameter that asks for one."""

Reads = list[OpenedEvent | None]


class Reading:
    """The resources."""

    def __init__(self, node: Node, callers: Callers, pages: Pages) -> None:
        self._node = node
        self._callers = callers
        self._pages = pages

    async def events(
        self, request: web.Request, params: Mapping[str, list[str]], *, query: str = ""
    ) -> web.Response:
        """One page of the events that fit parameters."""
        form = form_of(request)
        viewer = await self._callers.viewer(request)
        now_us = int(self._node.now() * 1_000_000)
        page = self._pages.asked(request, viewer, now_us // 1_000_000)
        search = Search.of(params)
        (rows, position), read = await asyncio.to_thread(self._found, search, viewer, page)
        note_reads(self._node, viewer, read)
        body = answers.found((row for _, row in rows), form, now_us, query=query)
        headers = self._pages.headers(request, viewer, position, now_us // 1_000_000)
        return answers.respond(body, form.media, headers | form.headers())

    def _found(self, search: Search, viewer: Viewer, page: Page) -> tuple[Found, Reads]:
        with self._node.store.snapshot() as state:
            found = search.run(EventIndex(state), viewer, page.size, page.position)
        return found, [opened(viewer, row, sequence) for sequence, row in found.rows]

    async def event(self, request: web.Request, event_id: str) -> web.Response:
        """One event, and the copies of it that declare it an error."""
        form = form_of(request)
        viewer = await self._callers.viewer(request)
        asked = Parameters.of(request).first("disclose")
        if asked is not None:
            return answers.respond(
                orjson.dumps(self._disclosed(event_id, viewer, asked)), DISCLOSURE_TYPE
            )
        with self._node.store.snapshot() as state:
            copies = self._copies(state, event_id, viewer)
        note_reads(self._node, viewer, [opened(viewer, row, sequence) for sequence, row in copies])
        now_us = int(self._node.now() * 1_000_000)
        body = answers.found((row for _, row in copies), form, now_us)
        return answers.respond(body, form.media, form.headers())

    def _disclosed(self, event_id: str, viewer: Viewer, asked: str) -> dict[str, Any]:
        """Some fields of the last copy of an event. Raises NoSuchResourceException."""
        self._node.access.forget()
        with self._node.store.snapshot() as state:
            index = EventIndex(state)
            for sequence in reversed(index.by_event_id(event_id)):
                row = index.row(sequence)
                if row is not None:
                    shape = disclosure(self._node, state, sequence, row, viewer, asked)
                    if shape is not None:
                        return shape
        raise NoSuchResourceException("there is no such event")

    async def proof(self, request: web.Request, event_id: str) -> web.Response:
        """An event with its signature and its receipt: what `biaoshi verify` reads."""
        viewer = await self._callers.viewer(request)
        with self._node.store.snapshot() as state:
            sequence, row = self._copies(state, event_id, viewer)[-1]
            shape = prove(state, sequence, row)
        note_reads(self._node, viewer, [opened(viewer, row, sequence)])
        return answers.respond(orjson.dumps(shape), "application/json")

    def _copies(self, state: Snapshot, event_id: str, viewer: Viewer) -> list[tuple[int, EventRow]]:
        """The copies of an event that a viewer may see, the first first; never none.

        Raises NoSuchResourceException.
        """
        index = EventIndex(state)
        rows = ((sequence, index.row(sequence)) for sequence in index.by_event_id(event_id))
        copies = [
            (sequence, row) for sequence, row in rows if row is not None and seen(row, viewer)
        ]
        if not copies:
            raise NoSuchResourceException("there is no such event")
        return copies

    # --- collections

    async def members(self, request: web.Request, name: str) -> web.Response:
        """One page of the values of a collection."""
        media = media_of(request)
        _refuse_parameters(request)
        viewer = await self._callers.viewer(request)
        now_s = int(self._node.now())
        page = self._pages.asked(request, viewer, now_s)
        found, position, read = await asyncio.to_thread(self._members, name, viewer, page)
        note_reads(self._node, viewer, read)
        headers = self._pages.headers(request, viewer, position, now_s)
        return answers.respond(answers.collection(found), media, headers)

    def _members(self, name: str, viewer: Viewer, page: Page) -> tuple[list[str], Any, Reads]:
        found: list[str] = []
        told: dict[int, OpenedEvent | None] = {}
        read, after = 0, page.position or b""
        index_name = COLLECTIONS[name][0]
        with self._node.store.snapshot() as state:
            index = EventIndex(state)
            for hash_ in index.groups(index_name, after):
                if read >= MOST_IN_GROUP:
                    return found, after, list(told.values())
                for sequence in index.group(index_name, hash_):
                    read += 1
                    row = index.row(sequence)
                    if row is not None and seen(row, viewer):
                        if len(found) == page.size:
                            return found, after, list(told.values())
                        found += _texts(row, index_name, hash_)
                        told[sequence] = opened(viewer, row, sequence)
                        break
                after = hash_
        return found, None, list(told.values())

    async def member(self, request: web.Request, name: str, value: str) -> web.Response:
        """What there is of one value: its events. Raises NoSuchResourceException."""
        media = media_of(request)
        _refuse_parameters(request)
        viewer = await self._callers.viewer(request)
        rows, read = await asyncio.to_thread(self._known, name, value, viewer)
        note_reads(self._node, viewer, read)
        if not rows:
            raise NoSuchResourceException(f"no event has this value of {name}")
        return answers.respond(answers.collection(["events"]), media)

    def _known(self, name: str, value: str, viewer: Viewer) -> tuple[int, Reads]:
        try:
            search = Search.of(_sought(name, value))
        except QueryParameterException:  # no value that an event could have
            return 0, []
        with self._node.store.snapshot() as state:
            rows = search.run(EventIndex(state), viewer, 1, None).rows
        return len(rows), [opened(viewer, row, sequence) for sequence, row in rows]

    async def member_events(self, request: web.Request, name: str, value: str) -> web.Response:
        """The events of one value, with all query parameters."""
        _, parameter = COLLECTIONS[name]
        params = query_params(request)
        if parameter in params:
            raise QueryParameterException(f"{parameter} is said by the path already")
        return await self.events(request, params | _sought(name, value))


def _sought(name: str, value: str) -> dict[str, list[str]]:
    """The query for one value of a collection. Raises NoSuchResourceException where none can be it.

    A query reads several values out of one with bars, and takes white space away at its ends.
    """
    if "|" in value or value != value.strip():
        raise NoSuchResourceException(f"no event has this value of {name}")
    return {COLLECTIONS[name][1]: [value]}


def query_params(request: web.BaseRequest) -> dict[str, list[str]]:
    """The query parameters of a request, without those of paging."""
    made: dict[str, list[str]] = {}
    for name, value in Parameters.of(request).pairs:
        if name not in (PER_PAGE_NAME, TOKEN_NAME):
            made.setdefault(name, []).append(value)
    return made


def _refuse_parameters(request: web.BaseRequest) -> None:
    for name in query_params(request):
        raise QueryParameterException(f"{name[:60]!r} is no parameter of a collection")


def _texts(row: EventRow, index: Index | None, hash_: bytes) -> Iterator[str]:
    """The value of an event that has this hash."""
    event = parse_event(row.event)
    named = (
        (mention.id for mention in mentions(event))
        if index is None
        else (text for name, text in indexed_values(event) if name is index)
    )
    for text in named:
        if hash16(text if index is None else indexed_form(index, text)) == hash_:
            yield text
            return
