"""Erasing: the content of changes leaves the log, their leaves and every proof stay (plan §7).

With the body of an event go its row and those of its indexes: it is in no table any more. An
erasure is a change itself: who, which changes, why. Mirrors repeat it. Backups made before keep
what they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from protocol.change import Change, Kind
from protocol.errors import InvalidValue, StoreError
from protocol.identifier import key_of
from registry.events.keys import END
from registry.events.mending import ASIDE, logged_event
from registry.events.row import decode_event_row
from registry.events.writing import stored_event
from registry.log import decode_body, read_sequence, sequence_key
from registry.store import Snapshot, Store, Table, Write

MOST: Final = 10_000
"""Changes erased by one change."""
_PORTION: Final = 4_096
_REASON: Final = 500


def erased_by(change: Change, last: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The changes that an erasure names, and what is logged of it. last: change that is durable.

    Raises InvalidValue.
    """
    told = change.attributes or {}
    sequences = tuple(sorted(set(_numbers(told))))
    if not sequences or len(sequences) > MOST or not 0 < sequences[0] <= sequences[-1] <= last:
        raise InvalidValue(f"an erasure names 1 to {MOST} changes from 1 to {last}")
    reason = str(told.get("reason", ""))[:_REASON]
    return sequences, {"reason": reason, "sequences": list(sequences)}


def erase_writes(state: Snapshot, sequences: Iterable[int]) -> list[Write]:
    """The rows that go: bodies, and every row of those that are events. Raises StoreError."""
    made: list[Write] = []
    for number in sorted(sequences):
        key = sequence_key(number)
        made.append(Write(Table.BODIES, key, None))
        raw = state.get(Table.EVENTS, key)
        if raw is not None:
            rows = _event_rows(state, number, raw)
            made += [Write(write.table, write.key, None) for write in rows]
            made.append(Write(Table.QUARANTINE, ASIDE + key, None))
    return made


def _event_rows(state: Snapshot, number: int, raw: bytes) -> list[Write]:
    """The rows of an event; those that its change wrote, where its own row does not hold."""
    try:
        return stored_event(decode_event_row(raw)).writes(number)
    except StoreError:
        try:
            made = logged_event(state, number)
        except InvalidValue:
            made = None
        if made is not None:
            return made.writes(number)
        # What it was found by is not known any more: every row of the indexes is looked at, so
        # that none of an erased event stays.
        key = sequence_key(number)
        return [Write(Table.EVENTS, key, b"")] + [
            Write(table, found, b"")
            for table, stop in ((Table.TRACE, None), (Table.SECONDARY, END))
            for found, _ in state.scan(table, b"", stop)
            if found.endswith(key)
        ]


def erasures(kind: str, attributes: Mapping[str, Any] | None) -> tuple[int, ...]:
    """The changes that a logged change erased."""
    return tuple(_numbers(attributes or {})) if kind == Kind.ERASE else ()


def changes_of(store: Store, handle: bytes) -> list[int]:
    """Every change of a record, or of an event by its eventID, whose content is there still."""
    wanted, found, at = {handle, key_of(handle)}, list[int](), b""
    while True:
        with store.snapshot() as state:
            rows = list(state.scan(Table.BODIES, at, limit=_PORTION))
        for key, raw in rows:
            folded, body = decode_body(raw)
            if folded in wanted and body.kind != Kind.ERASE:
                found.append(read_sequence(key))
        if len(rows) < _PORTION:
            return found
        at = rows[-1][0] + b"\0"


def _numbers(told: Mapping[str, Any]) -> list[int]:
    listed = told.get("sequences")
    if not isinstance(listed, list | tuple) or any(type(n) is not int for n in listed):
        raise InvalidValue("an erasure names the changes: `sequences`, a list of numbers")
    return list(listed)
