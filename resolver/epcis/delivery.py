"""Webhooks: what a subscription's query finds is posted to its address, signed, in order (§3.1).

A cursor is the sequence of the last event that was delivered, so that none is lost or doubled by
equal times; what waits lies in the log and nowhere else. One reader of a node delivers. A target
that fails is tried again with growing pauses, and after BREAK failures once in LONGEST_S.
"""

from __future__ import annotations

import asyncio
import hmac
import random
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog

from protocol.epcis.moment import format_time_us
from protocol.errors import BiaoshiError, ServerBusy
from protocol.record import Reference
from registry.events.index import EventIndex
from registry.events.row import EventRow
from registry.labels import Viewer
from registry.notes import Note
from registry.reads import OpenedEvent
from registry.store import Snapshot
from resolver.epcis import answers
from resolver.epcis.callers import Callers
from resolver.epcis.finding import Search
from resolver.epcis.granted import note_reads, opened
from resolver.epcis.named import (
    Cursor,
    NamedQuery,
    Subscription,
    all_subscriptions,
    cursor_note,
    read_cursor,
    read_query,
)
from resolver.epcis.tail import Tail
from resolver.epcis.versions import JSON_LD
from resolver.guard import parse_url
from resolver.outbound import make_guard

if TYPE_CHECKING:
    from resolver.node import Node

log = structlog.get_logger()

PORTION: Final = 200
PORTION_BYTES: Final = 1 << 20
READ: Final = 2_000
"""Events looked at for one delivery."""
TIMEOUT_S: Final = 15.0
BREAK: Final = 8
LONGEST_S: Final = 300.0
PER_HOST: Final = 4
REVOKED_S: Final = 15
"""How often it is looked whether a partner whom no grant names is granted something again."""
TICK_S: Final = 1.0
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What is delivered at once. last: the sequence it reaches to. read: what grants opened."""

    events: list[bytes]
    last: int
    read: list[OpenedEvent | None] = field(default_factory=list)


def next_batch(state: Snapshot, search: Search, viewer: Viewer, after: int, least_us: int) -> Batch:
    """The events behind a sequence that fit and may be seen, up to a bound, oldest first."""
    events: list[bytes] = []
    granted: list[OpenedEvent | None] = []
    size, last = 0, after
    for read, (sequence, row) in enumerate(EventIndex(state).since(after)):
        if read == READ or len(events) == PORTION or size > PORTION_BYTES:
            break
        last = sequence
        if row.record_us >= least_us and fits(search, row, viewer):
            events.append(answers.event_octets(row))
            granted.append(opened(viewer, row, sequence))
            size += len(events[-1])
    return Batch(events, last, granted)


def fits(search: Search, row: EventRow, viewer: Viewer) -> bool:
    """Whether an event is one of a subscription: its label is asked at each delivery."""
    return search.matches(row, viewer)


def signature(token: str, body: bytes, time_s: int) -> str:
    """The value of GS1-Signature: HMAC-SHA-256 with the token over `TIME.BODY`, in hex."""
    mac = hmac.digest(token.encode(), b"%d." % time_s + body, "sha256").hex()
    return f"t={time_s},hmac-sha256={mac}"


class Deliveries:
    """The webhooks of a node, in one of its readers."""

    def __init__(self, node: Node, callers: Callers, tail: Tail) -> None:
        self._node = node
        self._callers = callers
        self._tail = tail
        self._guard = make_guard(node.settings)
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._busy: dict[bytes, asyncio.Task[None]] = {}
        self._cursors: dict[bytes, Cursor] = {}
        self._hosts: dict[str, asyncio.Semaphore] = {}

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what was not delivered is delivered by the next start."""
        tasks = [task for task in (self._task, *self._busy.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _run(self) -> None:
        seen = -1
        while True:
            try:
                self._begin_due()
            except BiaoshiError as error:
                log.warning("subscriptions_unread", why=str(error))
            await self._tail.beyond(max(seen, self._tail.last()), TICK_S)
            seen = self._tail.last()

    def _begin_due(self) -> None:
        """A task for each subscription that has something to do and does nothing yet."""
        now_us = int(self._node.now() * _US)
        with self._node.store.snapshot() as state:
            last = EventIndex(state).last()
            found = all_subscriptions(state)
            for one in found:
                key = one.key()
                if key not in self._cursors:
                    self._cursors[key] = read_cursor(state, one)
        live = {one.key() for one in found}
        for key in self._cursors.keys() - live:
            del self._cursors[key]
        for one in found:
            key = one.key()
            if key not in self._busy and self._due(one, self._cursors[key], last, now_us):
                task = asyncio.create_task(self._serve(one))
                self._busy[key] = task
                task.add_done_callback(partial(self._done, key))

    def _done(self, key: bytes, _: asyncio.Task[None]) -> None:
        self._busy.pop(key, None)

    @staticmethod
    def _due(one: Subscription, cursor: Cursor, last: int, now_us: int) -> bool:
        if now_us < cursor.retry_us:
            return False
        timing = one.timing()
        if timing is None:
            return last > cursor.sequence
        since_s = (cursor.reported_us or one.created_us) / _US
        at = timing.next_after(since_s)
        return at is not None and at * _US <= now_us

    async def _serve(self, one: Subscription) -> None:
        """Deliver until all there is was delivered, or a delivery failed."""
        key = one.key()
        try:
            more, silent = True, True
            while more:
                more, sent = await self._deliver(one, silent=silent)
                silent = silent and not sent
        except BiaoshiError as error:  # the store or the writer: tried again at the next turn
            log.warning("delivery_stopped", subscription=one.id, why=str(error))
            cursor = self._cursors.get(key)
            if cursor is not None:
                self._cursors[key] = replace(cursor, retry_us=int((self._node.now() + 1) * _US))

    async def _deliver(self, one: Subscription, *, silent: bool) -> tuple[bool, bool]:
        """One request at most: whether there may be more at once, and whether one was sent.

        silent: nothing was sent yet of this report, so that it may have to say that it is empty.
        """
        key, now_us = one.key(), int(self._node.now() * _US)
        cursor = self._cursors.get(key)
        with self._node.store.snapshot() as state:
            query = read_query(state, one.query, one.space)
        if cursor is None or query is None:
            return False, False
        viewer = await self._callers.viewer_of(Reference.parse(one.owner))
        if not viewer.administrator and viewer.events is None:
            # What cannot be noted waits, and is not passed over.
            raise ServerBusy("reads wait to be written", 1.0)
        if one.space and not (viewer.administrator or self._callers.partner(viewer)):
            # Nothing is granted: nothing is sent, and the place is kept.
            self._cursors[key] = replace(cursor, retry_us=now_us + REVOKED_S * _US)
            return False, False
        batch = await asyncio.to_thread(self._read, query, viewer, cursor.sequence, one.least_us)
        more = batch.last > cursor.sequence
        moved = Cursor(batch.last, reported_us=cursor.reported_us if more else now_us)
        empty = not more and silent and one.report_if_empty and one.schedule is not None
        if not batch.events and not empty:
            self._cursors[key] = moved
            return more, False
        note_reads(self._node, viewer, batch.read)
        problem = await self._post(one, batch, now_us)
        if problem is not None:
            await self._failed(one, cursor, problem)
            return False, False
        await self._moved(one, moved)
        return more, True

    def _read(self, query: NamedQuery, viewer: Viewer, after: int, least_us: int) -> Batch:
        search = Search.of(query.query)
        with self._node.store.snapshot() as state:
            return next_batch(state, search, viewer, after, least_us)

    async def _post(self, one: Subscription, batch: Batch, now_us: int) -> str | None:
        """Post events. None: they were taken; else why not."""
        body = answers.document(batch.events, now_us, query=one.query, subscription=one.id)
        headers = {
            "Content-Type": JSON_LD,
            "GS1-EPCIS-Version": "2.0.0",
            "GS1-CBV-Version": "2.0.0",
        }
        if one.token:
            headers["GS1-Signature"] = signature(one.token, body, now_us // _US)
        if self._session is None:
            self._session = self._guard.http_session(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, connect=5)
            )
        try:
            turn = self._hosts.setdefault(parse_url(one.dest).host, asyncio.Semaphore(PER_HOST))
            async with (
                turn,
                self._session.post(
                    one.dest, data=body, headers=headers, allow_redirects=False
                ) as reply,
            ):
                status = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError, BiaoshiError) as error:
            return f"{type(error).__name__}: {error}"[:300]
        return None if 200 <= status < 300 else f"it answered {status}"

    async def _failed(self, one: Subscription, cursor: Cursor, why: str) -> None:
        failures = cursor.failures + 1
        wait_s = LONGEST_S if failures >= BREAK else min(LONGEST_S, 2.0 ** (failures - 1))
        wait_s *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads repeats, decides nothing
        retry_us = int((self._node.now() + wait_s) * _US)
        log.info("delivery_failed", subscription=one.id, failures=failures, why=why)
        await self._moved(one, replace(cursor, failures=failures, retry_us=retry_us, error=why))

    async def _moved(self, one: Subscription, cursor: Cursor) -> None:
        self._cursors[one.key()] = cursor
        with self._node.store.snapshot() as state:
            alive = any(other.id == one.id for other in all_subscriptions(state))
        if alive:
            await self._node.writer.keep([cursor_note(one, cursor)])


def state_shape(one: Subscription, cursor: Cursor, now_us: int) -> dict[str, Any]:
    """A subscription as it is shown: everything but its secret."""
    shape: dict[str, Any] = {
        "subscriptionID": one.id,
        "queryName": one.query,
        "createdAt": format_time_us(one.created_us),
        "dest": one.dest,
        "reportIfEmpty": one.report_if_empty,
        "stream": one.schedule is None,
        "failures": cursor.failures,
        "state": "open" if cursor.failures >= BREAK and now_us < cursor.retry_us else "active",
    }
    if one.schedule is not None:
        shape["schedule"] = one.schedule
    if one.least_us:
        shape["initialRecordTime"] = format_time_us(one.least_us)
    if cursor.reported_us:
        shape["lastNotifiedAt"] = format_time_us(cursor.reported_us)
    if cursor.error:
        shape["lastError"] = cursor.error
    return shape


def ending(one: Subscription) -> list[Note]:
    """The notes that end a subscription."""
    return [Note(one.key(), None), Note(one.cursor_key(), None)]
