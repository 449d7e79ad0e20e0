"""A writer whose writes are recorded: makes a store, commits batches, marks what it acknowledged.

Arguments: folder, mode, batches. Modes: good; `unsynced` (a control: the store does not sync);
`early` (a control: acknowledges before it commits).

Mark n: the first n commits were acknowledged; a store that was made counts as none.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.fence import Known
from registry.store import lmdb_store
from registry.store.lmdb_store import LmdbStore, create
from registry.tree import LogSigner
from registry.writer import Writer
from tests.faults.shim import mark

SIGNER = LogSigner("biaoshi/88.118.8", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
MAP = 1 << 26
KEPT = 6


def batch(number: int) -> list[Change]:
    """Batch 1 … : two new records, one shared one overwritten, an old one deleted."""
    value = HandleValue(1, b"URL", b"batch %d " % number + b"x" * (number * 137 % 900))
    made = [Change(Kind.CREATE, b"88.118.8/%d-%d" % (number, n), (value,)) for n in range(2)]
    made.append(Change(Kind.CREATE, b"88.118.8/SHARED", (value,), overwrite=True))
    if number > KEPT:
        made.append(Change(Kind.DELETE, b"88.118.8/%d-0" % (number - KEPT)))
    return made


def expected(number: int) -> dict[bytes, bytes]:
    """Every record after so many batches, with its data."""
    held: dict[bytes, bytes] = {}
    for each in range(1, number + 1):
        for change in batch(each):
            if change.kind is Kind.DELETE:
                del held[change.handle]
            else:
                held[change.handle] = change.values[0].data
    return held


def main() -> None:
    root, mode, batches = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if mode == "unsynced":
        real = lmdb_store.lmdb.Environment
        lmdb_store.lmdb.Environment = lambda *a, **k: real(*a, **k, sync=False)  # type: ignore[assignment]
    create(root / "store", map_bytes=MAP)
    mark(0)
    store = LmdbStore.open(root / "store", map_bytes=MAP)
    writer = Writer(store, log_signer=SIGNER, now=lambda: 1_700_000_000)
    known = Known(root, now=lambda: 0.0)
    writer.commit([Change(Kind.HOME, b"0.NA/88.118.8")])
    for number in range(1, batches + 1):
        if mode == "early":
            mark(number)
        outcomes = writer.commit(batch(number), atomic=True)
        if any(outcome.error for outcome in outcomes):
            raise SystemExit(f"refused: {outcomes}")
        if mode != "early":
            mark(number)
        known.keep(writer.checkpoint, at_once=number % 3 == 0)


if __name__ == "__main__":
    main()
