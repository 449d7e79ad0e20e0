"""What an intruder with access to a node's disk would do: change a value and mend the checksum.

Used by the demonstration only, to show that such a record is refused by whoever verifies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lmdb

from protocol.identifier import key_of
from protocol.record import Record
from registry.store import Table
from registry.store.row import decode_row, rows, store_key

_MAP_BYTES = 1 << 40


def tamper(folder: Path, handle: bytes, type_: bytes, new: bytes) -> bytes:
    """Replace the data of a record's first value of a type, signatures left as they are.

    folder: the node's. Version and time stay, so nothing but the signature can tell.
    Returns the data that stood there.
    """
    path = str(folder / "store")
    env = lmdb.Environment(path, map_size=_MAP_BYTES, max_dbs=len(Table) + 5, create=False)
    try:
        dbs = {table: env.open_db(table.encode(), create=False) for table in Table}
        with env.begin(write=True) as txn:
            raw = txn.get(store_key(key_of(handle)), None, dbs[Table.RECORDS])
            if raw is None:
                raise LookupError(f"{handle!r} is not in {path}")
            row = decode_row(raw)
            record, old = _changed(row.record(), type_, new)
            for write in rows(record, row.version, row.time):
                txn.put(write.key, write.value or b"", db=dbs[write.table])
            return old
    finally:
        env.close()


def _changed(record: Record, type_: bytes, new: bytes) -> tuple[Record, bytes]:
    values = list(record.values)
    at = next(n for n, value in enumerate(values) if value.type == type_)
    old = values[at].data
    values[at] = replace(values[at], data=new)
    return Record(record.handle, tuple(values)), old
