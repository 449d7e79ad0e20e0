"""Records by name: from a store or a snapshot, the checksum and a shortened key's name compared."""

from __future__ import annotations

from typing import Protocol

from protocol.identifier import key_of
from protocol.record import Record
from registry.store import Table
from registry.store.row import Row, decode_row, decode_values_of, is_named, store_key


class Gets(Protocol):
    """A store or a snapshot."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...


def read_row(source: Gets, handle: bytes) -> Row | None:
    """The row of a handle, in any case. Raises RowDamaged."""
    folded = key_of(handle)
    key = store_key(folded)
    raw = source.get(Table.RECORDS, key)
    if raw is None:
        return None
    row = decode_row(raw)
    return row if is_named(raw, key, folded) else None


def read_record(source: Gets, handle: bytes) -> Record | None:
    """Name and values of a handle, or None. Raises RowDamaged."""
    row = read_row(source, handle)
    return None if row is None else Record(row.name, decode_values_of(row))
