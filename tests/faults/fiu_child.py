"""Commits while libfiu makes one kind of system call fail. Arguments: folder, point of failure.

Run under `fiu-run -x`. Prints how many commits failed; every other one must be there at the end.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from protocol.change import Change, Kind
from protocol.errors import StoreError
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Writer
from tests.faults.io_child import batch, read


def main() -> None:
    place, point = Path(sys.argv[1]) / "store", sys.argv[2].encode()
    fiu = ctypes.CDLL(None)
    create(place, map_bytes=1 << 28)
    store = LmdbStore.open(place, map_bytes=1 << 28, reserve_bytes=0)
    Writer(store).commit([Change(Kind.HOME, b"0.NA/88.118.8")])
    held: set[int] = set()
    unknown: set[int] = set()
    failed = 0
    for number in range(30):
        if number % 5 == 4:
            fiu.fiu_enable(point, 1, None, 1)  # FIU_ONETIME
        try:
            Writer(store).commit(batch(number), atomic=True)
            held.add(number)
        except StoreError:
            failed += 1
            unknown.add(number)
            fiu.fiu_disable(point)
            store.close()
            store = LmdbStore.open(place, map_bytes=1 << 28, reserve_bytes=0)
    found = read(store)
    assert held <= found <= held | unknown, (held - found, found - held)
    assert check_node(store) == []
    print(failed)


if __name__ == "__main__":
    main()
