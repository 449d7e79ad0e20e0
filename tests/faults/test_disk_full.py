"""A full disk: writes are refused with a reason, reads go on, and writes do again once there is room.

Needs a small file system of its own (tmpfs), which only root may mount.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

import pytest

from protocol.change import Change, Kind
from protocol.errors import ReadOnly, StoreError, StoreFull
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Writer
from resolver.http.problem import problem_of
from resolver.writer_link import open_writer
from tests.faults.figures import report
from tests.resolver.nodes import Serving, make, until

SIZE = 8 << 20
RESERVE = 1 << 20


@contextmanager
def mounted(place, size):
    """A file system of some octets."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def small(tmp_path):
    """A file system of 8 MiB."""
    with mounted(tmp_path / "small", SIZE) as place:
        yield place


@pytest.fixture
def roomy(tmp_path):
    """One of 128 MiB: a node keeps 64 of them back."""
    with mounted(tmp_path / "roomy", 16 * SIZE) as place:
        yield place


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


def test_a_node_on_a_full_disk(roomy):
    """Somebody else fills the disk: 507 for writes, a warning, reads and deletions go on."""
    folder = make(roomy / "node")
    names = [b"86.999/%d" % number for number in range(20)]
    value = HandleValue(1, b"URL", b"http://example.org/")
    node, junk, ballast = Serving(folder), roomy / "junk", folder / "store" / "ballast"
    try:
        with open_writer(folder) as writer:
            made = writer.submit([Change(Kind.CREATE, name, (value,)) for name in names])
        assert all(one.error is None for one in made)
        assert ballast.stat().st_size == 8 << 20
        free = os.statvfs(roomy)
        with junk.open("wb") as file:
            file.write(bytes(free.f_bavail * free.f_frsize - 16_384))
        with open_writer(folder) as writer, pytest.raises(StoreFull) as full:
            writer.submit([Change(Kind.CREATE, b"86.999/new", (value,))])
        assert problem_of(full.value).status == 507
        assert all(node.ask(name)[0] == 1 for name in names)
        with open_writer(folder) as writer:
            for name in names[:10]:
                assert writer.submit([Change(Kind.DELETE, name)])[0].status == "deleted"
        assert not ballast.exists()
        assert [node.ask(name)[0] for name in names] == [100] * 10 + [1] * 10
        until(lambda: "store_filling" in node.events())
        junk.unlink()
        with open_writer(folder) as writer:
            assert writer.submit([Change(Kind.CREATE, b"86.999/new", (value,))])[0].error is None
    finally:
        node.end()
    report("a node on a full disk", deletions_on_a_full_disk=10, reads_wrong=0)
