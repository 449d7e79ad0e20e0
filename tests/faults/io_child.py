"""Commits batches while its writes or syncs fail at random; says after each failure what held.

Arguments: folder, control file, runs, seed. Prints a line of JSON: figures over all runs.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from protocol.change import Change, Kind
from protocol.errors import ReadOnly, StoreError
from protocol.record import HandleValue
from registry.check import check_node
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Writer
from tests.faults.shim import SYNC_EIO, WRITE_EIO, WRITE_FULL, WRITE_SHORT, Control

MODES = (WRITE_EIO, WRITE_SHORT, SYNC_EIO, WRITE_FULL)
BATCH = 4


def batch(number: int) -> list[Change]:
    value = HandleValue(1, b"URL", b"%d " % number + b"x" * 500)
    return [Change(Kind.CREATE, b"88.118.8/%d-%d" % (number, n), (value,)) for n in range(BATCH)]


def read(store: LmdbStore) -> set[int]:
    """Batches that are there, each whole."""
    with store.snapshot() as state:
        keys = [key for key, _ in state.scan(Table.RECORDS, b"88.118.8/", b"88.118.8/:")]
    numbers = [int(key.split(b"/")[1].split(b"-")[0]) for key in keys]
    assert all(numbers.count(number) == BATCH for number in set(numbers)), "a batch in part"
    return set(numbers)


def run(folder: Path, control: Control, chance: random.Random, held: set[int]) -> None:
    """Open, commit until something fails, look, close, open again. held: acknowledged so far."""
    store = LmdbStore.open(folder, map_bytes=1 << 28, reserve_bytes=0)
    writer = Writer(store)
    control.fail(chance.choice(MODES), chance.randrange(1, 12), sticky=chance.random() < 0.5)
    number = max(held, default=0) + 1000
    try:
        while True:
            outcomes = writer.commit(batch(number), atomic=True)
            assert all(outcome.error is None for outcome in outcomes)
            held.add(number)
            number += 1
    except StoreError as error:
        assert "read-only" in str(error), error
    control.mend()  # the disk works again: the store must not believe it
    assert store.broken
    try:
        writer.commit(batch(number + 1), atomic=True)
    except ReadOnly as error:
        assert "restart" in str(error), error
    else:
        raise AssertionError("a write was taken after a failed one")
    assert read(store) >= held
    store.close()
    store = LmdbStore.open(folder, map_bytes=1 << 28, reserve_bytes=0)
    found = read(store)
    assert found >= held, f"lost: {held - found}"
    assert found - held <= {number}, "something was written that nobody asked for"
    assert check_node(store) == []
    held |= found
    store.close()


def main() -> None:
    folder, runs = Path(sys.argv[1]) / "store", int(sys.argv[3])
    control = Control(Path(sys.argv[2]))
    chance = random.Random(int(sys.argv[4]))
    acknowledged = failed = 0
    for number in range(runs):
        if number % 25 == 0:
            place = folder.with_name(f"store{number}")
            create(place, map_bytes=1 << 28)
            store = LmdbStore.open(place, map_bytes=1 << 28, reserve_bytes=0)
            Writer(store).commit([Change(Kind.HOME, b"0.NA/88.118.8")])
            store.close()
            held: set[int] = set()
        before = len(held)
        run(place, control, chance, held)
        acknowledged += len(held) - before
        failed += control.hits > 0
    print(json.dumps({"failures": failed, "acknowledged": acknowledged}))


if __name__ == "__main__":
    main()
