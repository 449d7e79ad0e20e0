"""Writes that the system refuses: nothing acknowledged is lost, the store says why and reads on."""

from __future__ import annotations

import subprocess
import sys

from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create

CHILD = """
import resource, signal, sys
from pathlib import Path
from protocol.errors import ReadOnly, StoreError
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LmdbStore.open(Path(sys.argv[1]))
limit = 2_000_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
done = 0
try:
    while True:
        store.apply([Write(Table.RECORDS, b"%d" % done, bytes(50_000))])
        done += 1
except StoreError as error:
    said = str(error)
try:
    store.apply([Write(Table.RECORDS, b"x", b"y")])
except ReadOnly as error:
    assert "restart" in str(error)
else:
    raise SystemExit("a second write was taken")
get = store.getter(Table.RECORDS)
assert all(len(get(b"%d" % n)) == 50_000 for n in range(done))
assert get(b"%d" % done) is None
print(done, said)
"""


def test_a_file_that_cannot_grow(tmp_path):
    """When the file cannot grow the write fails whole, the store turns read-only and reads go on."""
    path = tmp_path / "store"
    create(path)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    done, said = child.stdout.split(" ", 1)
    assert "nothing of it was kept" in said
    store = LmdbStore.open(path)
    with store.snapshot() as state:
        assert state.count(Table.RECORDS) == int(done) > 10
    assert store.check() == []
    store.close()
