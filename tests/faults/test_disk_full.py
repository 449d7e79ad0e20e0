"""A full disk: writes are refused with a reason, reads go on, and writes do again once there is room.

Needs a small file system of its own (tmpfs), which only root may mount.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from protocol.change import Change, Kind
from protocol.errors import ReadOnly, StoreError
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Writer

SIZE = 8 << 20
RESERVE = 1 << 20


@pytest.fixture
def small(tmp_path):
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(writer, done):
    """Write until it is refused; the error."""
    for number in range(len(done), 100_000):
        value = HandleValue(1, b"URL", b"%d " % number + b"x" * 20_000)
        try:
            (outcome,) = writer.commit([Change(Kind.CREATE, b"88.118.8/%d" % number, (value,))])
        except (ReadOnly, StoreError) as error:
            return error
        assert outcome.error is None
        done.append(number)
    raise AssertionError("the disk never filled")


def test_a_full_disk_refuses_and_recovers(small):
    """What was acknowledged is all there; after something else is deleted, writes go on."""
    ballast = small / "ballast"
    ballast.write_bytes(b"b" * (3 << 20))
    create(small / "store", map_bytes=1 << 30)
    store = LmdbStore.open(small / "store", map_bytes=1 << 30, reserve_bytes=RESERVE)
    writer = Writer(store)
    writer.commit([Change(Kind.HOME, b"0.NA/88.118.8")])
    done = []
    assert "full" in str(fill(writer, done))
    assert store.broken is None
    before = len(done)
    with store.snapshot() as state:
        assert all(state.get("records", b"88.118.8/%d" % number) for number in done)
    assert check_node(store) == []
    (deleted,) = writer.commit([Change(Kind.DELETE, b"88.118.8/0")])
    assert deleted.status == "deleted"
    ballast.unlink()
    fill(writer, done)
    assert len(done) > before
    assert check_node(store) == []
    store.close()
    print(f"{before} records until full, {len(done)} after room was made, 0 lost")


def test_a_disk_that_is_full_without_warning(small):
    """With nothing kept back the write itself fails: the store says so, reads on, and reopens."""
    create(small / "store", map_bytes=1 << 30)
    store = LmdbStore.open(small / "store", map_bytes=1 << 30, reserve_bytes=0)
    writer = Writer(store)
    writer.commit([Change(Kind.HOME, b"0.NA/88.118.8")])
    done = []
    fill(writer, done)
    assert store.broken is not None
    with pytest.raises(ReadOnly, match="read-only"):
        writer.commit([Change(Kind.DELETE, b"88.118.8/0")])
    assert check_node(store) == []
    store.close()
    store = LmdbStore.open(small / "store", map_bytes=1 << 30)
    with store.snapshot() as state:
        assert all(state.get("records", b"88.118.8/%d" % number) for number in done)
    assert check_node(store) == []
    store.close()
