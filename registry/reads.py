"""Who read what was not public: reads by grant, kept in the log.

A reader process gathers its reads and gives them to the writer in batches, each a record
`P/0.READS/TIME-READER` with one value of type `0.READS`: a leaf of the log like any change, every
value labelled 3. Of the content only a digest is kept. What cannot be noted is not shown: while
`full`, no grant opens anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from protocol.change import Change, Kind
from protocol.labels import LABEL
from protocol.name import prefix_of
from protocol.record import HandleValue, Reference
from registry.store import Snapshot, Table
from registry.store.row import decode_row

READS: Final = b"0.READS"
PLACE: Final = b"/0.READS/"
MOST_WAITING: Final = 10_000
PER_CHANGE: Final = 500
CHANGE_BYTES: Final = 131_072
"""Beyond this much a change takes no further read."""
PER_READ: Final = 2_000
"""Events of one read; an answer with more is several."""
MOST_EVENTS_WAITING: Final = 1_000_000
CLOSED: Final = b'{"*":{"class":"management","level":3}}'
"""Labels of a record that is for administrators of its prefix alone."""


@dataclass(frozen=True, slots=True)
class Read:
    """One read. indexes: of the values that a grant opened; digest: of these values, hex.

    what: a record, or an event by its eventID (its index is 0), or how many events. when: seconds
    since 1970. prefix: folded; whose grant it was. changes: of events, the changes of the log that
    captured them.
    """

    who: Reference
    what: bytes
    indexes: tuple[int, ...]
    when: int
    purposes: tuple[str, ...]
    digest: str
    prefix: bytes
    changes: tuple[int, ...] = ()

    def shape(self) -> dict[str, Any]:
        """As JSON has it."""
        shape: dict[str, Any] = {
            "who": self.who.text(),
            "what": self.what.decode("utf-8", "replace"),
            "indexes": list(self.indexes),
            "when": self.when,
            "purposes": list(self.purposes),
            "digest": self.digest,
        }
        if self.changes:
            shape["changes"] = ranges(self.changes)
        return shape


@dataclass(frozen=True, slots=True)
class OpenedEvent:
    """An event that a grant opened. change: that captured it. octets: what was shown.

    prefix: whose grant it was.
    """

    change: int
    event_id: str
    octets: bytes
    prefix: bytes
    purposes: frozenset[str]


class ReadLog:
    """The reads of one process that are not written yet."""

    def __init__(self) -> None:
        self._waiting: list[Read] = []
        self._events = 0
        self.closed = False
        """Nothing is written here: a mirror has no writer, so no grant opens anything at it."""

    @property
    def full(self) -> bool:
        """Whether no further read can be noted."""
        waiting, events = len(self._waiting), self._events
        return self.closed or waiting >= MOST_WAITING or events >= MOST_EVENTS_WAITING

    def note(
        self,
        who: Reference,
        what: bytes,
        octets: Sequence[tuple[int, bytes]],
        when: int,
        purposes: Sequence[str],
        prefix: bytes | None = None,
    ) -> None:
        """Keep one read. octets: index and wire form of what a grant opened.

        prefix: of the grant; default: that of the record.
        """
        digest = sha256(b"".join(data for _, data in octets)).hexdigest()
        indexes = tuple(index for index, _ in octets)
        home = prefix_of(what) if prefix is None else prefix
        self._waiting.append(Read(who, what, indexes, when, tuple(purposes), digest, home))

    def note_events(self, who: Reference, opened: Sequence[OpenedEvent], when: int) -> None:
        """Keep one read of events: of each prefix one, or as few as can be."""
        by_prefix: dict[bytes, list[OpenedEvent]] = {}
        for one in sorted(opened, key=lambda one: one.change):
            by_prefix.setdefault(one.prefix, []).append(one)
        for prefix, events in by_prefix.items():
            for start in range(0, len(events), PER_READ):
                self._waiting.append(_read_of(who, events[start : start + PER_READ], when, prefix))
        self._events += len(opened)

    def take(self) -> list[Read]:
        """What waits; it is the caller's now."""
        taken, self._waiting, self._events = self._waiting, [], 0
        return taken

    def give_back(self, reads: Sequence[Read]) -> None:
        """What could not be written."""
        self._waiting[:0] = reads
        self._events += sum(len(read.changes) for read in reads)


def _read_of(who: Reference, events: Sequence[OpenedEvent], when: int, prefix: bytes) -> Read:
    """One read of some events, in the order of their changes."""
    single = len(events) == 1
    what = events[0].event_id if single else f"{len(events)} events"
    digest = sha256(b"".join(one.octets for one in events)).hexdigest()
    purposes = tuple(sorted(frozenset[str]().union(*(one.purposes for one in events))))
    changes = tuple(one.change for one in events)
    indexes = (0,) if single else ()
    return Read(who, what.encode(), indexes, when, purposes, digest, prefix, changes)


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in their order, in short: `5-9,12`."""
    made: list[str] = []
    start = last = numbers[0]
    for number in (*numbers[1:], -1):
        if number != last + 1:
            made.append(str(start) if start == last else f"{start}-{last}")
            start = number
        last = number
    return ",".join(made)


def changes_of(reads: Sequence[Read], place: str) -> list[Change]:
    """The changes that log some reads. place: names the batch, the same never twice."""
    by_prefix: dict[bytes, list[Read]] = {}
    for read in reads:
        by_prefix.setdefault(read.prefix, []).append(read)
    made = []
    for prefix, some in by_prefix.items():
        for start, batch in _batches(some):
            name = prefix + PLACE + f"{place}-{start:06d}".encode()
            data = b"[%b]" % b",".join(batch)
            values = (HandleValue(1, READS, data), HandleValue(2, LABEL, CLOSED))
            made.append(Change(Kind.CREATE, name, values))
    return made


def _batches(reads: Sequence[Read]) -> Iterator[tuple[int, list[bytes]]]:
    """The reads of each change as JSON, and the number of its first."""
    batch: list[bytes] = []
    size = start = 0
    for at, read in enumerate(reads):
        if len(batch) == PER_CHANGE or size >= CHANGE_BYTES:
            yield start, batch
            batch, size, start = [], 0, at
        batch.append(orjson.dumps(read.shape()))
        size += len(batch[-1])
    if batch:
        yield start, batch


def logged_reads(state: Snapshot, prefix: bytes, after: bytes = b"") -> Iterator[dict[str, Any]]:
    """The reads of a folded prefix in the order of their batches, each with the change that has it.

    after: the name of the last batch seen.
    """
    start = prefix + PLACE
    begin = after + b"\0" if after else start
    for _, raw in state.scan(Table.RECORDS, begin, start[:-1] + b"0"):
        row = decode_row(raw)
        for value in row.values():
            if value.type == READS:
                for shape in orjson.loads(value.data):
                    yield {**shape, "sequence": row.version}
