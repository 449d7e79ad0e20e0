"""Store formats: refused with the command to run, migrated with a copy kept, resumable anywhere."""

from __future__ import annotations

import lmdb
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.change import Change, Kind
from protocol.errors import StoreError
from protocol.record import HandleValue
from registry import migrate as module
from registry.check import check_node
from registry.migrate import ASIDE, PROGRESS_KEY, migrate
from registry.store import Table
from registry.store.lmdb_store import FORMAT, LmdbStore, create
from registry.tree import LogSigner, latest_checkpoint, tree_size
from registry.writer import Writer

SIGNER = LogSigner("biaoshi/88.118.8", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
MAP = 1 << 28
RECORDS = 60


def build(path):
    """A store with records, some of them with names in DNS."""
    create(path, map_bytes=MAP)
    store = LmdbStore.open(path, map_bytes=MAP)
    writer = Writer(store, log_signer=SIGNER)
    for prefix in (b"0.NA/88.118.8", b"0.NA/1.2.156"):
        writer.commit([Change(Kind.HOME, prefix)])
    value = HandleValue(1, b"URL", b"http://example.org/")
    names = [b"88.118.8/%d" % number for number in range(RECORDS)]
    writer.commit([Change(Kind.CREATE, name, (value,)) for name in names])
    store.close()


def age(path):
    """Make of a store what the first release wrote: no tree, no NAPTR rows, no quarantine."""
    env = lmdb.Environment(str(path), map_size=MAP, max_dbs=40, create=False)
    tables = {name: env.open_db(name.encode()) for name in Table}
    with env.begin(write=True) as txn:
        for table in (Table.TILES, Table.CHECKPOINTS, Table.NAPTR):
            txn.drop(tables[table], delete=False)
        txn.drop(tables[Table.QUARANTINE], delete=True)
        txn.delete(b"tree", b"", tables[Table.META])
        txn.put(b"format", b"1", db=tables[Table.META])
        for key in (b"88.118.8/3", b"88.118.8/4"):  # an earlier layout of the ready bodies
            txn.delete(key, b"", tables[Table.JSON])
    env.close()


@pytest.fixture
def old(tmp_path):
    """A node's folder whose store is of format 1, and what the store should be."""
    build(tmp_path / "store")
    whole = rows_of(tmp_path / "store")
    age(tmp_path / "store")
    return tmp_path, whole


def rows_of(path):
    store = LmdbStore.open(path, map_bytes=MAP)
    try:
        assert check_node(store, signer=SIGNER) == []
        with store.snapshot() as state:
            return {
                table: list(state.scan(table))
                for table in Table
                if table not in {Table.CHECKPOINTS, Table.META}
            }
    finally:
        store.close()


def test_an_earlier_format_is_refused_with_the_command(old):
    """Opening says which format it is, and what to run; nothing is changed."""
    folder, _ = old
    with pytest.raises(StoreError, match=r"format 1, this program writes 2.*biaoshi migrate"):
        LmdbStore.open(folder / "store", map_bytes=MAP)


def test_a_migration_keeps_a_copy(old):
    """The migrated store is what this release would have written; the earlier one lies beside."""
    folder, whole = old
    before = (folder / "store" / "data.mdb").read_bytes()
    said = []
    assert migrate(folder, signer=SIGNER, map_bytes=MAP, say=said.append) == (
        1,
        folder / "store.format1",
    )
    assert rows_of(folder / "store") == whole
    assert (folder / "store.format1" / "data.mdb").read_bytes() == before
    assert said
    store = LmdbStore.open(folder / "store", map_bytes=MAP)
    with store.snapshot() as state:
        assert tree_size(state) == RECORDS + 2
        assert latest_checkpoint(state)
        assert state.get(Table.META, PROGRESS_KEY) is None
    assert store.format == FORMAT
    store.close()
    assert migrate(folder, signer=SIGNER, map_bytes=MAP) is None


@pytest.mark.parametrize("broken_at", range(9))
def test_a_migration_goes_on_where_it_was_broken_off(old, monkeypatch, broken_at):
    """Killed at any of its writes or renames, the earlier store is there and the next run ends it."""
    folder, whole = old
    monkeypatch.setattr(module, "PORTION", 25)
    steps = iter(range(100))

    class Killed(BaseException):
        pass

    def dying(real):
        def run(*arguments, **more):
            if next(steps) == broken_at:
                raise Killed
            return real(*arguments, **more)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(LmdbStore, "apply", dying(LmdbStore.apply))
        patched.setattr(type(folder), "rename", dying(type(folder).rename))
        try:
            migrate(folder, signer=SIGNER, map_bytes=MAP)
        except Killed:
            assert (folder / "store").exists() or (folder / ASIDE).exists()
            if not (folder / "store").exists():
                with pytest.raises(StoreError, match="migrate"):
                    LmdbStore.open(folder / "store", map_bytes=MAP)
    migrate(folder, signer=SIGNER, map_bytes=MAP)
    assert rows_of(folder / "store") == whole
    assert (folder / "store.format1").exists()
    assert not (folder / ASIDE).exists()


def test_a_store_of_a_later_release_is_left_alone(old):
    """There is no way back: the release that wrote it is named."""
    folder, _ = old
    env = lmdb.Environment(str(folder / "store"), map_size=MAP, max_dbs=40, create=False)
    meta = env.open_db(b"meta")
    with env.begin(write=True) as txn:
        txn.put(b"format", b"99", db=meta)
    env.close()
    with pytest.raises(StoreError, match=r"format 99.*or a later one"):
        migrate(folder, signer=SIGNER, map_bytes=MAP)
    assert [path.name for path in folder.iterdir()] == ["store"]


def test_damage_is_not_carried_along(old):
    """A store that does not add up is not migrated; it stays as it is."""
    folder, _ = old
    env = lmdb.Environment(str(folder / "store"), map_size=MAP, max_dbs=40, create=False)
    records = env.open_db(b"records")
    with env.begin(write=True) as txn:
        raw = txn.get(b"88.118.8/7", db=records)
        txn.put(b"88.118.8/7", raw[:-1] + b"?", db=records)
    env.close()
    with pytest.raises(StoreError):
        migrate(folder, signer=SIGNER, map_bytes=MAP)
    with pytest.raises(StoreError, match="biaoshi migrate"):
        LmdbStore.open(folder / "store", map_bytes=MAP)
