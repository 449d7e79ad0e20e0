"""Rot in the events: what a stored event is compared with, and how it is made again.

A checksum guards each read of a row; here the row and the rows of its index are compared with what
the change wrote, by its SHA-256 digests. All of them come from the body of the change: where the log
is sound they are made again on the spot, else the event is set aside as a record is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocol.change import Kind, pack
from protocol.errors import InvalidValue, ParseError, StoreError
from registry import tree
from registry.events.row import decode_event_row
from registry.events.writing import Captured, captured, stored_event
from registry.log import commits_to, decode_body, decode_leaf, read_sequence, sequence_key
from registry.store import Snapshot, Table, Write
from registry.store.row import QUARANTINED

ASIDE: Final = b"\0event"
"""Begins the keys of events in the table of what was set aside; no name begins so."""


def distrust_event(state: Snapshot, key: bytes, raw: bytes, last: int) -> Iterator[str]:
    """Why an event is not to be served; nothing where it is what its change wrote.

    last: the last change of the log. Damage in the log alone condemns no event.
    """
    sequence = read_sequence(key)
    if not 0 < sequence <= last:
        yield f"it is the event of change {sequence}, the log ends at {last}"
        return
    try:
        row = decode_event_row(raw)
        event = stored_event(row)
    except StoreError as error:
        yield str(error)
        return
    try:
        made = logged_event(state, sequence)
    except InvalidValue as error:
        yield str(error)
        return
    if made is not None and made.row != row:
        yield f"it is not what change {sequence} wrote"
        return
    for write in event.writes(sequence):
        if state.get(write.table, write.key) is None:
            yield f"a row of its index is missing in the table {write.table}"
            return


def logged_event(state: Snapshot, sequence: int) -> Captured | None:
    """The event as the log has it; None where leaf or body are gone or do not hold.

    Raises InvalidValue: the log is sound and the change is no event.
    """
    key = sequence_key(sequence)
    leaf, body = state.get(Table.CHANGES, key), state.get(Table.BODIES, key)
    if leaf is None or body is None or not tree.has_leaf(state, sequence, leaf):
        return None
    try:
        fields = decode_leaf(leaf)
        name, content = decode_body(body)
        if not commits_to(fields, name, body):
            return None
    except (StoreError, ParseError):
        return None
    if fields["kind"] != Kind.EVENT:
        raise InvalidValue(f"change {sequence} is no event")
    return captured(content.handle, content.attributes)


def mend_or_set_aside(
    state: Snapshot, key: bytes, raw: bytes, why: str, now_s: int
) -> tuple[list[Write], bool]:
    """What puts an event right, and whether it is whole again then, or else set aside."""
    sequence = read_sequence(key)
    try:
        made = logged_event(state, sequence)
    except InvalidValue:
        made = None
    if made is not None:
        return [*made.writes(sequence), Write(Table.QUARANTINE, ASIDE + key, None)], True
    kept = pack({"event": raw, "time": now_s, "why": why})
    return [
        Write(Table.QUARANTINE, ASIDE + key, kept),
        Write(Table.EVENTS, key, QUARANTINED),
    ], False
