"""Every flipped bit in what a store holds is found, and none of it is served as valid.

BIAOSHI_FLIPS: how many; a release check sets 1000.
"""

from __future__ import annotations

import os
import random
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError
from protocol.record import HandleValue
from registry.check import check_node
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from registry.store.row import checked, decode_row
from registry.tree import LogSigner
from registry.writer import Writer

FLIPS = int(os.environ.get("BIAOSHI_FLIPS", "40"))
RECORDS = 60
SIGNER = LogSigner("biaoshi/88.118.8", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
TABLES = (
    Table.RECORDS,
    Table.JSON,
    Table.CHANGES,
    Table.BODIES,
    Table.TILES,
    Table.CHECKPOINTS,
    Table.PREFIXES,
)
MAP = 1 << 26


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A compact store with records of some length, and all its rows."""
    folder = tmp_path_factory.mktemp("whole")
    create(folder / "made")
    store = LmdbStore.open(folder / "made")
    writer = Writer(store, log_signer=SIGNER)
    writer.commit([Change(Kind.HOME, b"0.NA/88.118.8")])
    for number in range(RECORDS):
        value = HandleValue(1, b"URL", b"http://example.org/%d/" % number + b"x" * 200)
        writer.commit([Change(Kind.CREATE, b"88.118.8/%d" % number, (value,))])
    (folder / "store").mkdir()
    store.copy(folder / "store")
    with store.snapshot() as state:
        rows = [(table, key, raw) for table in TABLES for key, raw in state.scan(table)]
    assert check_node(store, signer=SIGNER) == []
    store.close()
    return folder / "store", rows


def test_every_flip_in_a_row_is_found(whole, tmp_path):
    """A bit flipped in any row of any table is a finding; a record or answer so hurt is refused."""
    source, rows = whole
    data = (source / "data.mdb").read_bytes()
    chance = random.Random(4)
    found = 0
    for number in range(FLIPS):
        table, key, raw = chance.choice(rows)
        at = data.find(raw)
        assert at >= 0, (table, key)
        if data.find(raw, at + 1) >= 0:  # two rows of equal content: either may be hit
            at = chance.choice([at, data.find(raw, at + 1)])
        spot = at + chance.randrange(len(raw))
        flipped = bytearray(data)
        flipped[spot] ^= 1 << chance.randrange(8)
        path = tmp_path / f"store{number}"
        path.mkdir()
        (path / "data.mdb").write_bytes(bytes(flipped))
        store = LmdbStore.open(path, readonly=True, map_bytes=MAP)
        try:
            hurt = check_node(store, signer=SIGNER)
            assert hurt, f"{table} {key!r}: bit at {spot} flipped and not found"
            found += 1
            if table in {Table.RECORDS, Table.JSON}:
                with pytest.raises(BiaoshiError):
                    checked(store.get(table, key))
        finally:
            store.close()
            shutil.rmtree(path)
    assert found == FLIPS
    print(f"{FLIPS} flips, {found} found, 0 served as valid")


def test_whatever_is_served_is_right(whole, tmp_path):
    """Rows read from a file with a flip anywhere are as they were, or refused, or not there."""
    source, rows = whole
    data = (source / "data.mdb").read_bytes()
    records = {key: raw for table, key, raw in rows if table is Table.RECORDS}
    chance = random.Random(5)
    refused = 0
    for number in range(FLIPS):
        # Beyond the first pages: LMDB's own heads are covered by its two copies of them.
        spot = chance.randrange(4 * 4096, len(data))
        page = spot // 4096 * 4096
        if spot - page < 1024 and not any(data[page : page + 1024]):
            continue
        flipped = bytearray(data)
        body = data.find(b"http://example.org/", spot)
        spot = body + chance.randrange(20) if body >= 0 else spot
        flipped[spot] ^= 1 << chance.randrange(8)
        path = tmp_path / f"store{number}"
        path.mkdir()
        (path / "data.mdb").write_bytes(bytes(flipped))
        store = LmdbStore.open(path, readonly=True, map_bytes=MAP)
        try:
            for key, raw in records.items():
                got = store.get(Table.RECORDS, key)
                try:
                    assert got is None or decode_row(got) == decode_row(raw)
                except BiaoshiError:
                    refused += 1
        finally:
            store.close()
            shutil.rmtree(path)
    print(f"{FLIPS} flips, {refused} rows refused, 0 wrong ones served")
