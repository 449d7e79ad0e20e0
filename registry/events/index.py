"""Events by what they name: what queries, traces and pages read through.

An EventIndex stands upon one snapshot and gives nothing that is not in it. It knows no labels:
whoever answers others asks registry.labels.visible() about each event.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from protocol.epcis.event import Role, corrected_by
from protocol.epcis.identity import canonical_id
from protocol.epcis.moment import format_time_us
from protocol.errors import StoreError
from registry.events.keys import (
    COARSE,
    HASH,
    KEY,
    Index,
    decode_time,
    encode_time,
    hash16,
    index_head,
    indexed_form,
    sequence_of,
    trace_head,
)
from registry.events.row import (
    CLIENT_SIGNED,
    DECLARES_ERROR,
    ID_MISMATCH,
    EventRow,
    decode_event_row,
)
from registry.log import read_sequence, sequence_key
from registry.store import Snapshot, Table

SLACK_US = 600_000_000
"""How much later than a later event's an earlier event's record time may be."""
_LEAST = -(1 << 63)
_MOST = (1 << 63) - 1
_TIME_AT = HASH + 1


class Hit(NamedTuple):
    """An event that names an identifier. coarse: it names an item or lot of it."""

    sequence: int
    role: Role
    time_us: int
    coarse: bool = False


@dataclass(slots=True)
class StoredEvent:
    """An event as it was captured.

    sequence: of the change in the log. raw: the signed JCS octets, without recordTime. Times in
    microseconds since 1970. signature: a detached JWS (protocol.event_signature). declares: it
    carries an errorDeclaration. withdrawn: it does, or a copy of it does; corrected_by: the ids of
    the events that replace it.
    """

    sequence: int
    event_id: str
    raw: bytes
    time_us: int
    record_us: int
    issuer: str
    label: Mapping[str, Any] | None
    signature: bytes
    declares: bool
    own_signature: bool
    id_mismatch: bool
    withdrawn: bool
    corrected_by: tuple[str, ...]
    _parsed: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    def json(self) -> dict[str, Any]:
        """The event with its recordTime. One object for all callers: not to be altered."""
        if self._parsed is None:
            parsed = parse_event(self.raw)
            parsed["recordTime"] = format_time_us(self.record_us)
            self._parsed = parsed
        return self._parsed


class EventIndex:
    """Look-ups in one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._state = snapshot

    # --- one event

    def event(self, sequence: int) -> StoredEvent | None:
        """The event of a change; None: no event, or erased. Raises StoreError."""
        row = self.row(sequence)
        return None if row is None else self.complete(sequence, row)

    def row(self, sequence: int) -> EventRow | None:
        """The stored row alone: enough to decide whether the event is wanted."""
        raw = self._state.get(Table.EVENTS, sequence_key(sequence))
        return None if raw is None else decode_event_row(raw)

    def complete(self, sequence: int, row: EventRow) -> StoredEvent:
        """The event of a row, with what was declared about it since."""
        withdrawn, replacing = self._declared(row.event_id)
        return StoredEvent(
            sequence,
            row.event_id,
            row.event,
            row.time_us,
            row.record_us,
            row.issuer,
            row.label,
            row.signature,
            bool(row.flags & DECLARES_ERROR),
            bool(row.flags & CLIENT_SIGNED),
            bool(row.flags & ID_MISMATCH),
            withdrawn,
            replacing,
        )

    def _declared(self, event_id: str) -> tuple[bool, tuple[str, ...]]:
        withdrawn, replacing = False, dict[str, None]()
        for sequence in self._sequences(Index.WITHDRAWN, event_id):
            row = self.row(sequence)
            if row is None or row.event_id != event_id:
                continue
            withdrawn = True
            replacing.update(dict.fromkeys(corrected_by(parse_event(row.event))))
        return withdrawn, tuple(replacing)

    def by_event_id(self, event_id: str) -> tuple[int, ...]:
        """The sequences of an eventID: the first capture first, copies that declare errors after."""
        found = (
            sequence
            for sequence in self._sequences(Index.EVENT_ID, event_id)
            if (row := self.row(sequence)) is not None and row.event_id == event_id
        )
        return tuple(sorted(found))

    # --- many

    def of(
        self,
        id: str,  # noqa: A002 - the word of the standard
        *,
        roles: Collection[Role] | None = None,
        start_us: int | None = None,
        stop_us: int | None = None,
        newest_first: bool = False,
        coarse: bool = False,
    ) -> Iterator[Hit]:
        """The events that name an identifier, in the order of event time.

        id: in any spelling. start_us inclusive, stop_us exclusive. coarse: also those that name an
        item or a lot of this class or lot. One event comes once for each role.
        """
        hash_ = hash16(canonical_id(id))
        wanted = None if roles is None else {int(role) for role in roles}
        octets = [
            octet
            for octet in self._roles(hash_)
            if (coarse or octet < COARSE) and (wanted is None or octet & ~COARSE in wanted)
        ]
        first, last = encode_time(_first(start_us)), encode_time(_first(stop_us, _MOST))
        ranges = [
            self._range(
                Table.TRACE,
                trace_head(hash_, octet, first),
                trace_head(hash_, octet, last),
                back=newest_first,
            )
            for octet in octets
        ]
        merged = heapq.merge(*ranges, key=_when, reverse=newest_first)
        for key in ranges[0] if len(ranges) == 1 else merged:
            octet = key[HASH]
            yield Hit(
                sequence_of(key),
                Role(octet & ~COARSE),
                decode_time(key[_TIME_AT : _TIME_AT + 8]),
                octet >= COARSE,
            )

    def by_transformation(self, transformation_id: str) -> tuple[int, ...]:
        """The sequences of the events of one transformation, oldest event first."""
        text = indexed_form(Index.TRANSFORMATION, transformation_id)
        return self._sequences(Index.TRANSFORMATION, text)

    def by_value(
        self,
        index: Index,
        text: str,
        *,
        start_us: int | None = None,
        stop_us: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[tuple[int, int]]:
        """(sequence, event time) of the events with a step, place, document or type.

        text: in any spelling that indexed_form() knows.
        """
        hash_ = hash16(indexed_form(index, text))
        yield from self._timed(index, hash_, start_us, stop_us, newest_first=newest_first)

    def by_time(
        self,
        start_us: int | None = None,
        stop_us: int | None = None,
        *,
        newest_first: bool = False,
    ) -> Iterator[tuple[int, int]]:
        """(sequence, event time) of all events in a span of event time."""
        hash_ = b"\0" * HASH
        yield from self._timed(Index.TIME, hash_, start_us, stop_us, newest_first=newest_first)

    def since(self, sequence: int, stop: int | None = None) -> Iterator[tuple[int, EventRow]]:
        """The events captured after a sequence (and before another), in that order."""
        end = None if stop is None else sequence_key(stop)
        for key, raw in self._state.scan(Table.EVENTS, sequence_key(sequence + 1), end):
            yield read_sequence(key), decode_event_row(raw)

    def before(self, sequence: int | None = None) -> Iterator[tuple[int, EventRow]]:
        """The events captured before a sequence, the last one first."""
        stop = b"\xff" * 9 if sequence is None else sequence_key(sequence)
        for key, raw in self._state.scan_back(Table.EVENTS, b"", stop):
            yield read_sequence(key), decode_event_row(raw)

    def last(self) -> int:
        """The sequence of the last event; 0: there is none."""
        found = self._state.last(Table.EVENTS)
        return 0 if found is None else read_sequence(found[0])

    def count(self) -> int:
        """How many events there are."""
        return self._state.count(Table.EVENTS)

    def first_recorded(self, record_us: int) -> int:
        """The least sequence from which on every event may be recorded at this time or later.

        Record times follow the order of sequences but for what waited in a queue: SLACK_US.
        """
        low, high = 0, self.last() + 1
        while low < high:
            middle = (low + high) // 2
            found = next(self.since(middle - 1), None)
            if found is None or found[1].record_us >= record_us - SLACK_US:
                high = middle
            else:
                low = found[0] + 1
        return low

    # --- what values there are

    def groups(self, index: Index | None, after: bytes = b"") -> Iterator[bytes]:
        """The hashes of all values of an index, or of all identifiers (None), in their order.

        after: a hash; only those behind it.
        """
        table = Table.TRACE if index is None else Table.SECONDARY
        head = b"" if index is None else bytes((index,))
        end = None if index is None else bytes((index + 1,))
        at = head + after + (b"\xff" * (KEY + 1 - len(head) - HASH) if after else b"")
        while True:
            row = next(iter(self._state.scan(table, at, end, 1)), None)
            if row is None:
                return
            hash_ = row[0][len(head) : len(head) + HASH]
            yield hash_
            at = head + hash_ + b"\xff" * (KEY + 1 - len(head) - HASH)

    def group(self, index: Index | None, hash_: bytes) -> Iterator[int]:
        """The sequences of the events of one value; for identifiers, of those that name it."""
        table = Table.TRACE if index is None else Table.SECONDARY
        start = hash_ if index is None else bytes((index,)) + hash_
        stop = start + (bytes((COARSE,)) if index is None else b"\xff" * 17)
        for key, _ in self._state.scan(table, start, stop):
            yield sequence_of(key)

    # --- keys

    def _timed(
        self,
        index: Index,
        hash_: bytes,
        start_us: int | None,
        stop_us: int | None,
        *,
        newest_first: bool,
    ) -> Iterator[tuple[int, int]]:
        first = index_head(index, hash_, encode_time(_first(start_us)))
        last = index_head(index, hash_, encode_time(_first(stop_us, _MOST)))
        for key in self._range(Table.SECONDARY, first, last, back=newest_first):
            yield sequence_of(key), decode_time(key[_TIME_AT : _TIME_AT + 8])

    def _sequences(self, index: Index, text: str) -> tuple[int, ...]:
        head = bytes((index,)) + hash16(text)
        rows = self._state.scan(Table.SECONDARY, head, head + b"\xff" * 17)
        return tuple(sequence_of(key) for key, _ in rows)

    def _roles(self, hash_: bytes) -> list[int]:
        """The role octets under which an identifier has rows: found by skipping, not by reading."""
        found: list[int] = []
        at = hash_
        while True:
            row = next(iter(self._state.scan(Table.TRACE, at, limit=1)), None)
            if row is None or not row[0].startswith(hash_):
                return found
            found.append(row[0][HASH])
            at = hash_ + bytes((row[0][HASH] + 1,))

    def _range(self, table: Table, start: bytes, stop: bytes, *, back: bool) -> Iterator[bytes]:
        scan = self._state.scan_back if back else self._state.scan
        for key, _ in scan(table, start, stop):
            yield key


def parse_event(raw: bytes) -> dict[str, Any]:
    """The octets of a stored event as an object. Raises StoreError."""
    try:
        parsed = orjson.loads(raw)
    except ValueError as error:
        raise StoreError(f"a stored event is damaged: {error}") from None
    if not isinstance(parsed, dict):
        raise StoreError("a stored event is no object; run `biaoshi check`")
    return parsed


def _first(us: int | None, default: int = _LEAST) -> int:
    return default if us is None else max(_LEAST, min(us, _MOST))


def _when(key: bytes) -> bytes:
    return key[_TIME_AT:]
