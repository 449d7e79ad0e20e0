"""A writer that is made to be killed: commits batches and acknowledges each on standard output.

Arguments: the store's folder, the number of the first batch. Batch n writes BATCH records named by
n in one atomic commit, and overwrites one record shared by all batches.
"""

from __future__ import annotations

import sys
from pathlib import Path

from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.store.lmdb_store import LmdbStore
from registry.writer import Writer

BATCH = 7


def changes(number: int) -> list[Change]:
    value = HandleValue(1, b"URL", b"batch %d " % number + b"x" * 300)
    names = [b"88.118.8/%d-%d" % (number, n) for n in range(BATCH)]
    made = [Change(Kind.CREATE, name, (value,)) for name in names]
    return [*made, Change(Kind.CREATE, b"88.118.8/shared", (value,), overwrite=True)]


def main() -> None:
    store = LmdbStore.open(Path(sys.argv[1]))
    writer = Writer(store)
    number = int(sys.argv[2])
    while True:
        outcomes = writer.commit(changes(number), atomic=True)
        if any(outcome.status == "refused" for outcome in outcomes):
            raise SystemExit(f"refused: {outcomes}")
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main()
