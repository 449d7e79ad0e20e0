"""Events of other nodes beside those of this one: one index for a walk over both.

Foreign events were verified before they come here. They have sequences of their own, beyond every
sequence of the log, in the order of their eventIDs: the same set of events is always walked the
same way, whatever order they came in.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from protocol.epcis.event import Role, time_us, transformation_id
from protocol.epcis.identity import canonical_id
from registry.events.index import EventIndex, Hit, StoredEvent, parse_event
from registry.events.keys import COARSE, HASH, decode_time, hash16, trace_heads

FIRST: Final = 1 << 62
"""The first sequence of foreign events."""
_HEAD: Final = HASH + 1 + 8


@dataclass(frozen=True, slots=True)
class ForeignEvent:
    """An event that another node gave. raw: the signed JCS octets. evidence: what was checked.
    source: the node that gave it.
    """

    event_id: str
    raw: bytes
    issuer: str
    label: Mapping[str, Any] | None
    signature: bytes
    record_us: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


class ForeignEvents:
    """Those of one trace, each eventID once."""

    def __init__(self, events: Iterable[ForeignEvent] = ()) -> None:
        found: dict[str, ForeignEvent] = {}
        for one in sorted(events, key=lambda event: (event.event_id, event.raw)):
            found.setdefault(one.event_id, one)
        self.events = tuple(found.values())
        self._stored = [
            _stored(FIRST + at, one, parse_event(one.raw)) for at, one in enumerate(self.events)
        ]
        self._hits: dict[bytes, list[Hit]] = {}
        self._groups: dict[str, list[int]] = {}
        for stored in self._stored:
            self._index(stored)

    def _index(self, stored: StoredEvent) -> None:
        event = stored.json()
        heads = trace_heads(event, stored.time_us)
        for at in range(0, len(heads), _HEAD):
            head = heads[at : at + _HEAD]
            role, time = head[HASH], decode_time(head[HASH + 1 :])
            hit = Hit(stored.sequence, Role(role & ~COARSE), time, role >= COARSE)
            self._hits.setdefault(head[:HASH], []).append(hit)
        group = transformation_id(event)
        if group is not None:
            self._groups.setdefault(group, []).append(stored.sequence)

    def __len__(self) -> int:
        return len(self.events)

    def event(self, sequence: int) -> StoredEvent:
        return self._stored[sequence - FIRST]

    def evidence(self, sequence: int) -> Mapping[str, Any]:
        """What was checked of an event."""
        return self.events[sequence - FIRST].evidence

    def source(self, sequence: int) -> str:
        """The node that gave an event."""
        return self.events[sequence - FIRST].source

    def of(self, id_: str) -> list[Hit]:
        """The hits of an identifier, in the order of time."""
        return sorted(self._hits.get(hash16(canonical_id(id_)), ()), key=_when)

    def group(self, text: str) -> list[int]:
        """The sequences of one transformation."""
        return self._groups.get(text, [])


NOTHING: Final = ForeignEvents()


class JoinedIndex:
    """An EventIndex and foreign events, as a walk reads them."""

    def __init__(
        self, index: EventIndex, foreign: ForeignEvents, visible: Callable[[StoredEvent], bool]
    ) -> None:
        """visible: of own events. An event that is kept here and may be seen is not taken twice."""
        self._index = index
        self._foreign = foreign
        self._twice = {
            FIRST + at
            for at, one in enumerate(foreign.events)
            if any(
                (own := index.event(sequence)) is not None and visible(own)
                for sequence in index.by_event_id(one.event_id)
            )
        }

    def event(self, sequence: int) -> StoredEvent | None:
        """An event of either kind."""
        return self._foreign.event(sequence) if sequence >= FIRST else self._index.event(sequence)

    def by_event_id(self, event_id: str) -> tuple[int, ...]:
        """The own events of an eventID: what declares foreign ones errors is not known here."""
        return self._index.by_event_id(event_id)

    def of(
        self,
        id: str,  # noqa: A002 - the word of EventIndex
        *,
        roles: Collection[Role] | None = None,
        start_us: int | None = None,
        stop_us: int | None = None,
        coarse: bool = False,
    ) -> Iterator[Hit]:
        """As EventIndex.of()."""
        own = self._index.of(id, roles=roles, start_us=start_us, stop_us=stop_us, coarse=coarse)
        foreign = [
            hit
            for hit in self._foreign.of(id)
            if hit.sequence not in self._twice
            and (roles is None or hit.role in roles)
            and (coarse or not hit.coarse)
            and (start_us is None or hit.time_us >= start_us)
            and (stop_us is None or hit.time_us < stop_us)
        ]
        return heapq.merge(own, foreign, key=_when) if foreign else own

    def by_transformation(self, transformation_id: str) -> tuple[int, ...]:
        """As EventIndex.by_transformation()."""
        more = [one for one in self._foreign.group(transformation_id) if one not in self._twice]
        return (*self._index.by_transformation(transformation_id), *more)


def _when(hit: Hit) -> tuple[int, int]:
    return hit.time_us, hit.sequence


def _stored(sequence: int, one: ForeignEvent, event: Mapping[str, Any]) -> StoredEvent:
    return StoredEvent(
        sequence,
        one.event_id,
        one.raw,
        time_us(event),
        one.record_us,
        one.issuer,
        one.label,
        one.signature,
        declares=False,
        own_signature=False,
        id_mismatch=False,
        withdrawn=False,
        corrected_by=(),
    )
