"""The LMDB store against the contract, against a dict, and in what is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ReadOnly, StoreError
from registry.store import Table, Write, lmdb_store
from registry.store.lmdb_store import FORMAT_KEY, LmdbStore, StoreFull, create
from registry.store.place import file_system
from tests.registry.store_contract import StoreContract

T = Table.RECORDS
MAP = 1 << 28


@pytest.fixture
def store(tmp_path):
    create(tmp_path / "store", map_bytes=MAP)
    made = LmdbStore.open(tmp_path / "store", map_bytes=MAP)
    yield made
    made.close()


class TestLmdbContract(StoreContract):
    pass


keys = st.binary(min_size=1, max_size=4)
batches = st.lists(
    st.lists(
        st.tuples(st.sampled_from([T, Table.META]), keys, st.none() | st.binary(max_size=20)),
        max_size=8,
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_random_batches_match_a_dict(tmp_path_factory, given_batches):
    """After any sequence of batches the store holds what a plain dict holds."""
    path = tmp_path_factory.mktemp("s") / "store"
    create(path, map_bytes=MAP)
    store = LmdbStore.open(path, map_bytes=MAP)
    with store.snapshot() as state:
        model = {(Table.META, k): v for k, v in state.scan(Table.META)}
    try:
        for batch in given_batches:
            store.apply([Write(*row) for row in batch])
            for table, key, value in batch:
                model[table, key] = value
        model = {at: value for at, value in model.items() if value is not None}
        with store.snapshot() as state:
            for table in (T, Table.META):
                wanted = sorted((key, v) for (t, key), v in model.items() if t == table)
                assert list(state.scan(table)) == wanted
                assert state.count(table) == len(wanted)
                assert state.last(table) == (wanted[-1] if wanted else None)
        assert store.check() == []
    finally:
        store.close()


def in_process(code: str, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        process.wait(60)
    return process


READER = """
import sys
from pathlib import Path
from registry.store import Table
from registry.store.lmdb_store import LmdbStore
store = LmdbStore.open(Path(sys.argv[1]), readonly=True, map_bytes=int(sys.argv[2]))
get = store.getter(Table.RECORDS)
for line in sys.stdin:
    print(len(get(line.strip().encode()) or b""), flush=True)
"""


def ask(reader, key: str) -> int:
    reader.stdin.write(key + "\n")
    reader.stdin.flush()
    return int(reader.stdout.readline())


def test_a_reader_process_sees_a_commit_at_once(tmp_path):
    """Another process reads at its next get() what apply() wrote."""
    path = tmp_path / "store"
    create(path)
    store = LmdbStore.open(path)
    reader = in_process(READER, str(path), str(1 << 40), wait=False)
    assert ask(reader, "a") == 0
    store.apply([Write(T, b"a", b"123")])
    assert ask(reader, "a") == 3
    reader.stdin.close()
    reader.wait(30)
    assert store.check() == []
    store.close()


def test_a_reader_survives_map_growth(tmp_path):
    """A reader whose map became too small adopts the new size and goes on answering."""
    path, small = tmp_path / "store", 1 << 20
    create(path, map_bytes=small)
    store = LmdbStore.open(path, map_bytes=small)
    reader = in_process(READER, str(path), str(small), wait=False)
    assert ask(reader, "0") == 0
    for n in range(8):
        store.apply([Write(T, b"%d" % n, bytes(600_000))])
    assert store.usage()["map_bytes"] > small
    assert [ask(reader, str(n)) for n in range(8)] == [600_000] * 8
    reader.stdin.close()
    reader.wait(30)
    assert store.check() == []
    store.close()


def test_slots_of_killed_readers_are_reclaimed(tmp_path):
    """Slots of readers that died are freed, at most once a second."""
    path, clock = tmp_path / "store", [0.0]
    create(path)
    store = LmdbStore.open(path, now=lambda: clock[0])
    reader = in_process(READER, str(path), str(1 << 40), wait=False)
    assert ask(reader, "a") == 0
    reader.kill()
    reader.wait(30)
    assert store.reclaim_readers() == 0
    clock[0] = 1.1
    assert store.reclaim_readers() == 1
    assert store.check() == []
    store.close()


def test_a_second_writer_is_refused_by_name(tmp_path):
    """The second writer learns which process holds the store."""
    create(tmp_path / "store")
    code = (
        "import sys; from pathlib import Path; from registry.store.lmdb_store import LmdbStore\n"
        "s = LmdbStore.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    holder = in_process(code, str(tmp_path / "store"), wait=False)
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(StoreError, match=f"process {holder.pid}"):
        LmdbStore.open(tmp_path / "store")
    holder.stdin.close()
    holder.wait(30)
    store = LmdbStore.open(tmp_path / "store")
    assert store.check() == []
    store.close()


def test_a_second_open_in_one_process_is_refused(store):
    """LMDB's locks belong to the process, so opening twice is an error, not a surprise."""
    with pytest.raises(StoreError):
        LmdbStore.open(store.path, readonly=True)


def test_missing_store_is_never_made(tmp_path):
    """Opening what is not there names the command that makes it."""
    with pytest.raises(StoreError, match="biaoshi init"):
        LmdbStore.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_create_leaves_nothing_aside(tmp_path):
    """A store appears under its name whole, or not at all; an existing one is kept."""
    create(tmp_path / "store", map_bytes=MAP)
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]
    with pytest.raises(StoreError, match="exists already"):
        create(tmp_path / "store")


def test_failed_create_leaves_nothing(tmp_path, monkeypatch):
    """When making durable fails, no half-made store is left behind."""

    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(lmdb_store, "sync_tree", fail)
    with pytest.raises(StoreError, match="Input/output"):
        create(tmp_path / "store", map_bytes=MAP)
    assert list(tmp_path.iterdir()) == []


def test_newer_format_is_refused(store):
    """A store of another format is not touched; the message says what to run."""
    store.apply([Write(Table.META, FORMAT_KEY, b"99")])
    store.close()
    with pytest.raises(
        StoreError,
        match=r"format 99, this program knows 2.*the release that wrote it, or a later one",
    ):
        LmdbStore.open(store.path, map_bytes=MAP)


def test_foreign_lmdb_file_is_refused(tmp_path):
    """An LMDB file of another program is not taken for a store."""
    lmdb.open(str(tmp_path / "other")).close()
    with pytest.raises(StoreError, match="not a store"):
        LmdbStore.open(tmp_path / "other", map_bytes=MAP)


def test_read_only_after_a_failed_write(store, monkeypatch):
    """After a failed write nothing of it is there, reads go on, and writes wait for a restart."""
    store.apply([Write(T, b"a", b"1")])

    def fail(tables, bare):
        raise lmdb.DiskError("mdb_txn_commit: Input/output error")

    monkeypatch.setattr(store, "_write", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        store.apply([Write(T, b"a", b"2")])
    monkeypatch.undo()
    with pytest.raises(ReadOnly, match="restart the node"):
        store.apply([Write(T, b"a", b"3")])
    assert store.get(T, b"a") == b"1"
    assert store.check() == []
    store.close()
    again = LmdbStore.open(store.path, map_bytes=MAP)
    again.apply([Write(T, b"a", b"4")])
    assert again.check() == []
    again.close()


def test_readers_do_not_write(store):
    """A store opened for reading takes no writes."""
    store.close()
    reader = LmdbStore.open(store.path, readonly=True, map_bytes=MAP)
    with pytest.raises(ReadOnly):
        reader.apply([Write(T, b"a", b"1")])
    assert reader.check() == []
    reader.close()


def test_full_disk_refuses_records_and_lets_deletes_through(store):
    """Below the reserve new records are refused in clear words; deletes and reads work."""
    store.apply([Write(T, b"a", b"1")])
    store._reserve_bytes = 1 << 60
    with pytest.raises(StoreFull, match=r"disk .* is full"):
        store.apply([Write(T, b"b", b"1")])
    store.apply([Write(T, b"a", None), Write(Table.CHANGES, b"1", b"leaf")])
    assert store.get(T, b"a") is None
    store._reserve_bytes = 0
    store.apply([Write(T, b"b", b"1")])
    assert store.check() == []


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_systems_are_refused(tmp_path, kind):
    """A store on a network file system is refused, and the message names it."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / {tmp_path} rw shared:1 - {kind} x:/y rw\n"
    )
    with pytest.raises(StoreError, match=kind):
        create(tmp_path / "store", mounts=mounts)
    assert file_system(Path("/"), mounts) == "ext4"


def test_mount_points_with_spaces_are_understood(tmp_path):
    """mountinfo writes a space as \\040; the deepest mount that holds the path counts."""
    folder = tmp_path / "a b"
    folder.mkdir()
    mounts = tmp_path / "mountinfo"
    escaped = str(folder).replace(" ", "\\040")
    mounts.write_text(f"1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / {escaped} rw - nfs x:/y rw\n")
    assert file_system(folder / "store", mounts) == "nfs"
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "none") is None


def test_copy_is_a_whole_store(store, tmp_path):
    """A copy opens as a store with the same rows."""
    store.apply([Write(T, b"a", b"1")])
    (tmp_path / "copy").mkdir()
    store.copy(tmp_path / "copy")
    copied = LmdbStore.open(tmp_path / "copy", map_bytes=MAP)
    assert copied.get(T, b"a") == b"1"
    assert copied.check() == []
    copied.close()
