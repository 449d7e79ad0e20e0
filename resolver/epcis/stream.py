"""GET /queries/{name}/events over WebSocket: a subscription that lasts as long as its connection.

Parameters: `stream=true`, or the fields of a schedule; `reportIfEmpty`, `initialRecordTime`. Each
message is an EPCISQueryDocument. What the client has not taken yet stays in the log: nothing is
queued for it here but one message, and one that takes none in SEND_S is cut off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from aiohttp import WSCloseCode, WSMsgType, web

from protocol.epcis.errors import SubscriptionControlsException
from protocol.epcis.moment import parse_time_us
from protocol.errors import BiaoshiError, NotAuthorized, ParseError, ServerBusy
from registry.events.index import EventIndex
from registry.labels import Viewer
from resolver.epcis import answers
from resolver.epcis.callers import Callers
from resolver.epcis.delivery import Batch, next_batch
from resolver.epcis.finding import Search
from resolver.epcis.granted import note_reads
from resolver.epcis.named import NamedQuery
from resolver.epcis.schedule import FIELDS, Schedule, parse_schedule
from resolver.epcis.tail import Tail
from resolver.http.asked import Parameters

if TYPE_CHECKING:
    from resolver.node import Node

MOST: Final = 200
"""WebSocket subscriptions of one reader."""
SEND_S: Final = 30.0
BEAT_S: Final = 30.0
_WAIT_S: Final = 5.0
_US: Final = 1_000_000


class Streams:
    """The WebSocket subscriptions of one reader."""

    def __init__(self, node: Node, callers: Callers, tail: Tail) -> None:
        self._node = node
        self._callers = callers
        self._tail = tail
        self._open: set[web.WebSocketResponse] = set()

    async def serve(
        self, request: web.Request, query: NamedQuery, viewer: Viewer
    ) -> web.StreamResponse:
        """Answer 101 and send until the client leaves. Raises SubscriptionControlsException."""
        timing, empty, least_us = _controls(request)
        if len(self._open) >= MOST:
            raise ServerBusy(f"{MOST} streams are open; come again later", 30.0)
        with self._node.store.snapshot() as state:
            index = EventIndex(state)
            at = index.last() if least_us is None else index.first_recorded(least_us) - 1
        socket = web.WebSocketResponse(heartbeat=BEAT_S, max_msg_size=4_096)
        await socket.prepare(request)
        self._open.add(socket)
        sending = asyncio.create_task(
            _Stream(self, socket, query, viewer, timing, empty=empty, least_us=least_us or 0).run(
                at
            )
        )
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Say goodbye to every client."""
        await asyncio.gather(
            *(one.close(code=WSCloseCode.GOING_AWAY) for one in list(self._open)),
            return_exceptions=True,
        )

    @property
    def node(self) -> Node:
        return self._node

    @property
    def callers(self) -> Callers:
        return self._callers

    @property
    def tail(self) -> Tail:
        return self._tail


class _Stream:
    """The sending half of one connection."""

    def __init__(
        self,
        streams: Streams,
        socket: web.WebSocketResponse,
        query: NamedQuery,
        viewer: Viewer,
        timing: Schedule | None,
        *,
        empty: bool,
        least_us: int,
    ) -> None:
        self._streams = streams
        self._socket = socket
        self._query = query
        self._search = Search.of(query.query)
        self._viewer = viewer
        self._timing = timing
        self._empty = empty
        self._least_us = least_us
        self._id = str(uuid4())

    async def run(self, at: int) -> None:
        """Send what comes behind a sequence, until the connection ends."""
        try:
            while not self._socket.closed:
                await self._wait(at)
                at = await self._send_all(at)
        except (TimeoutError, ConnectionError, ServerBusy):
            await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
        except NotAuthorized:
            await self._socket.close(code=WSCloseCode.POLICY_VIOLATION)
        except BiaoshiError:
            await self._socket.close(code=WSCloseCode.INTERNAL_ERROR)

    async def _wait(self, at: int) -> None:
        if self._timing is None:
            while not await self._streams.tail.beyond(at, _WAIT_S):
                continue
            return
        now = self._streams.node.now
        moment = self._timing.next_after(now())
        await asyncio.sleep(max(0.0, (moment or 0) - now()))

    async def _send_all(self, at: int) -> int:
        first = True
        while True:
            viewer = await self._now()
            batch = await asyncio.to_thread(self._read, at, viewer)
            if batch.events or (first and self._empty and self._timing is not None):
                note_reads(self._streams.node, viewer, batch.read)
                await self._send(batch)
            first = False
            if batch.last == at:
                return at
            at = batch.last

    async def _now(self) -> Viewer:
        """What the client is now. Raises NotAuthorized: it has no grant any more."""
        actor, callers = self._viewer.actor, self._streams.callers
        if actor is None:
            return self._viewer
        viewer = await callers.viewer_of(actor)
        if self._query.space and not (viewer.administrator or callers.partner(viewer)):
            if self._streams.node.lookup.reads.full:
                raise ServerBusy("reads wait to be written", 1.0)
            raise NotAuthorized("no grant of events names the subscriber any more")
        return viewer

    def _read(self, at: int, viewer: Viewer) -> Batch:
        with self._streams.node.store.snapshot() as state:
            return next_batch(state, self._search, viewer, at, self._least_us)

    async def _send(self, batch: Batch) -> None:
        now_us = int(self._streams.node.now() * _US)
        body = answers.document(batch.events, now_us, query=self._query.name, subscription=self._id)
        async with asyncio.timeout(SEND_S):
            await self._socket.send_str(body.decode())


def _controls(request: web.Request) -> tuple[Schedule | None, bool, int | None]:
    """How a stream is to be. Raises SubscriptionControlsException."""
    parameters = Parameters.of(request)
    fields = {name: parameters.first(name) for name in FIELDS if parameters.has(name)}
    stream = parameters.flag("stream", default=False)
    if stream == bool(fields):
        raise SubscriptionControlsException(
            "a WebSocket subscription reports either by stream=true or by a schedule: "
            f"{', '.join(FIELDS)}"
        )
    text = parameters.first("initialRecordTime")
    try:
        least_us = None if text is None else parse_time_us(text)
    except ParseError as error:
        raise SubscriptionControlsException(f"initialRecordTime: {error}") from None
    timing = parse_schedule(fields) if fields else None
    return timing, parameters.flag("reportIfEmpty", default=False), least_us
