"""Erasing an event: its content goes, its leaf and every proof stay (plan §7)."""

from __future__ import annotations

from registry.events.row import decode_event_row
from registry.events.writing import stored_event
from registry.log import sequence_key
from registry.store import Snapshot, Table, Write


def erase_writes(state: Snapshot, sequence: int) -> list[Write]:
    """The writes that take an event out of all tables but the log's leaves; none if it is gone."""
    key = sequence_key(sequence)
    raw = state.get(Table.EVENTS, key)
    if raw is None:
        return []
    rows = stored_event(decode_event_row(raw)).writes(sequence)
    return [
        Write(Table.BODIES, key, None),
        *(Write(write.table, write.key, None) for write in rows),
    ]
