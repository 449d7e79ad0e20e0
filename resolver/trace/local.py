"""A trace over what this node holds: walked in a thread, within bounds, a few at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocol.errors import ServerBusy
from protocol.record import Reference
from registry.events.granted import seen
from registry.events.index import EventIndex, StoredEvent
from registry.events.proof import prove
from registry.labels import Viewer
from registry.reads import OpenedEvent
from registry.store import Snapshot
from resolver.epcis.granted import opened
from resolver.trace.asked import Asked
from resolver.trace.evidence import Seals, evidence_of, log_head, signers
from resolver.trace.foreign import FIRST, ForeignEvents, JoinedIndex
from resolver.trace.holder import Holder
from resolver.trace.keybook import KeyBook, Keys
from resolver.trace.result import (
    Gap,
    Result,
    edges_of,
    event_reference,
    nodes_of,
    trace_id,
    views_of,
)
from resolver.trace.views import View, Views
from resolver.trace.walk import Limits, Walk

AT_ONCE: Final = 2
"""Traces that one reader walks at a time; more wait."""
MOST_WAITING: Final = 32
_BREATH: Final = 16
"""Steps between which a walk lets the reader's other work run."""
NOTHING: Final = ForeignEvents()


@dataclass(frozen=True, slots=True)
class Walked:
    """A walk with what is needed to tell of it."""

    walk: Walk
    views: Sequence[View]
    log: tuple[str, int]
    withdrawn: int
    foreign: ForeignEvents
    viewer: Viewer

    @property
    def empty(self) -> bool:
        """Whether nothing is known of the start: absent, or not for this caller."""
        return not self.walk.events and not self.walk.edges


Note = Callable[[Viewer, Sequence[OpenedEvent | None]], None]


def _note_nothing(_viewer: Viewer, _opened: Sequence[OpenedEvent | None]) -> None:
    """For who reads a folder: its operator."""


class LocalTraces:
    """Walks over one node's events."""

    def __init__(self, node: Holder, keys: KeyBook, note: Note = _note_nothing) -> None:
        """note: logs what grants opened of a result, before it is told."""
        self._node = node
        self._note = note
        self._keys = keys
        self._seals = Seals()
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def bounds(self) -> Limits:
        """What a trace may take, by the settings."""
        limits = self._node.settings.limits
        return Limits(
            depth=limits.trace_depth,
            nodes=limits.trace_nodes,
            events=limits.trace_events,
            slack_us=int(limits.trace_slack_s * 1_000_000),
        )

    async def walk(self, asked: Asked, viewer: Viewer, foreign: ForeignEvents = NOTHING) -> Walked:
        """Walk in a thread. Raises ServerBusy."""
        if self._waiting >= MOST_WAITING:
            raise ServerBusy(f"{self._waiting} traces wait already; ask again", 2.0)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(self._walk, asked, viewer, foreign)
        finally:
            self._waiting -= 1

    def _walk(self, asked: Asked, viewer: Viewer, foreign: ForeignEvents) -> Walked:
        known: dict[int, bool] = {}

        def may_see(stored: StoredEvent) -> bool:
            if stored.sequence >= FIRST:
                return True
            if stored.sequence not in known:
                known[stored.sequence] = seen(stored, viewer)
            return known[stored.sequence]

        stop = _breathing(self._node.settings.limits.trace_s)
        with self._node.store.snapshot() as state:
            index = EventIndex(state)
            joined = JoinedIndex(index, foreign, may_see) if len(foreign) else index
            views = Views(joined, may_see)
            walk = Walk(views, asked.direction, asked.limits, out_of_time=stop)
            walk.run([asked.first()])
            found = views_of(walk)
            return Walked(walk, found, log_head(state), len(views.withdrawn), foreign, viewer)

    async def result(
        self, asked: Asked, walked: Walked, gaps: Sequence[Gap] = (), more: Any = None
    ) -> Result:
        """The result of a walk. more: further members."""
        keys = {one: await self._keys.find(one) for one in signers(walked.views)}
        if walked.viewer.events is not None:
            self._note(walked.viewer, await asyncio.to_thread(_opened, walked))
        return await asyncio.to_thread(self._told, asked, walked, keys, gaps, more or {})

    def _told(
        self,
        asked: Asked,
        walked: Walked,
        keys: Mapping[Reference, Keys],
        gaps: Sequence[Gap],
        more: dict[str, Any],
    ) -> Result:
        walk, views = walked.walk, walked.views
        all_gaps = sorted({*gaps, *(Gap(id_, "walk", "limit") for id_ in walk.cut)})
        nodes, edges = nodes_of(walk, views), edges_of(walk.edges)
        evidence = [
            dict(walked.foreign.evidence(view.stored.sequence))
            if view.stored.sequence >= FIRST
            else evidence_of(view, keys, self._seals, walked.log)
            for view in views
        ]
        of_event = {row["event"]: row for row in evidence}
        for edge in edges:
            row = of_event.get(edge["event"], {})
            edge["signer"], edge["signature"] = row.get("signer", ""), row.get("signature", "none")
        head = {
            "traceId": trace_id(self._node.prefix.decode(), *asked.key()),
            "start": asked.start,
            "direction": str(asked.direction),
            "complete": not all_gaps,
            "stats": {
                "nodes": len(nodes),
                "edges": len(edges),
                "events": len(views),
                "foreign": sum(view.stored.sequence >= FIRST for view in views),
                "withdrawn": walked.withdrawn,
            },
        }
        events = self._events(asked.events, views)
        return Result(head, nodes, edges, events, [one.shape() for one in all_gaps], evidence, more)

    def _events(self, how: str, views: Sequence[View]) -> list[Any]:
        if how == "references":
            return [event_reference(view) for view in views]
        if how == "whole":
            return [view.stored.json() for view in views]
        with self._node.store.snapshot() as state:
            return [_proof(state, view) for view in views if view.stored.sequence < FIRST]


def _opened(walked: Walked) -> list[OpenedEvent | None]:
    """What grants opened of the events of a walk."""
    own = (view.stored for view in walked.views if view.stored.sequence < FIRST)
    return [opened(walked.viewer, stored, stored.sequence) for stored in own]


def _proof(state: Snapshot, view: View) -> dict[str, Any]:
    row = EventIndex(state).row(view.stored.sequence)
    return {} if row is None else prove(state, view.stored.sequence, row)


def _breathing(most_s: float) -> Callable[[], bool]:
    """Says when the time is over; now and then it hands the interpreter to other threads."""
    end, steps = time.monotonic() + most_s, 0

    def over() -> bool:
        nonlocal steps
        steps += 1
        if steps % _BREATH == 0:
            time.sleep(0)
        return time.monotonic() > end

    return over
