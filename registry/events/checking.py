"""`biaoshi check` for events: the tables made again from what was logged, and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from protocol.change import Kind, unpack
from protocol.errors import InvalidValue, ParseError, StoreError
from registry.events.keys import END
from registry.events.mending import ASIDE
from registry.events.row import decode_event_row
from registry.events.writing import captured, stored_event
from registry.log import decode_body, decode_leaf, read_sequence
from registry.store import Snapshot, Table
from registry.store.row import QUARANTINED


def check_events(state: Snapshot) -> Iterator[str]:
    """Each event is what its change says and is found by all it names; no row leads elsewhere."""
    expected = Counter[Table]()
    for key, raw in state.scan(Table.EVENTS):
        sequence = read_sequence(key)
        if raw == QUARANTINED:
            why = _why(state.get(Table.QUARANTINE, ASIDE + key))
            yield f"events: {sequence} is quarantined: {why}"
            continue
        try:
            event = stored_event(decode_event_row(raw))
            body = state.get(Table.BODIES, key)
            if body is not None:
                logged = decode_body(body)[1]
                made = captured(logged.handle, logged.attributes)
                if logged.kind != Kind.EVENT or made.row != event.row:
                    yield f"events: {sequence} is not what its change wrote"
        except (StoreError, InvalidValue) as error:
            yield f"events: {sequence}: {error}"
            continue
        for write in event.writes(sequence):
            expected[write.table] += 1
            if state.get(write.table, write.key) is None:
                yield f"{write.table}: event {sequence} lacks a row of its index"
    yield from _surplus(state, expected)
    yield from _missing(state)


def _why(kept: bytes | None) -> str:
    try:
        return str(unpack(kept or b"")["why"])
    except (ParseError, KeyError, TypeError):
        return "nothing says why"


def _surplus(state: Snapshot, expected: Counter[Table]) -> Iterator[str]:
    """Every row that should be there is; so more of them than that belong to no event."""
    found = {
        Table.TRACE: state.count(Table.TRACE),
        Table.SECONDARY: sum(1 for _ in state.scan(Table.SECONDARY, b"", END)),
    }
    for table, rows in found.items():
        if rows > expected[table]:
            yield f"{table}: {rows - expected[table]} rows lead to no event that has them"


def _missing(state: Snapshot) -> Iterator[str]:
    """An event that is in the log with its content is in the tables."""
    for key, leaf in state.scan(Table.CHANGES):
        try:
            if decode_leaf(leaf)["kind"] != Kind.EVENT:
                continue
        except StoreError:
            continue  # said by the walk over the log
        if state.get(Table.BODIES, key) is not None and state.get(Table.EVENTS, key) is None:
            yield f"events: {read_sequence(key)} is missing, its change is in the log"
