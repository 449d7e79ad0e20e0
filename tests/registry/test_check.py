"""check_node() finds what was changed behind the writer's back."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.change import Kind
from protocol.record import HandleValue, Record
from registry.check import check_node
from registry.log import SEQUENCE_KEY, sequence_key
from registry.prefixes import DELEGATED, PrefixRow
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore, create
from registry.store.row import ready_json, rows, store_key
from registry.tree import TREE_KEY, LogSigner, tile_key
from registry.writer import Writer
from tests.registry.conftest import Desk, url

SIGNER = LogSigner("biaoshi/88.118.8", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
H = b"88.118.8/X"


@pytest.fixture
def spoilt(tmp_path):
    """A desk whose store is not checked at the end."""
    create(tmp_path / "store")
    desk = Desk(tmp_path / "store", log_signer=SIGNER)
    desk.do(Kind.HOME, b"0.NA/88.118.8")
    desk.create(H, url())
    desk.create(b"88.118.8/Y", url())
    desk.do(Kind.DELETE, b"88.118.8/Y")
    assert check_node(desk.store) == []
    yield desk
    desk.store.close()


def flipped(desk, table, key):
    raw = bytearray(desk.store.get(table, key))
    raw[len(raw) // 2] ^= 1
    return Write(table, key, bytes(raw))


def test_every_damage_is_found(spoilt):
    """Each row spoilt in its own way gives a finding, and mending it takes the finding away."""
    desk, seq = spoilt, sequence_key(2)
    old = Record(H, (HandleValue(1, b"URL", b"old"),))
    cases = [
        [flipped(desk, Table.RECORDS, H)],
        [flipped(desk, Table.JSON, H)],
        [flipped(desk, Table.CHANGES, seq)],
        [flipped(desk, Table.BODIES, seq)],
        [Write(Table.CHANGES, seq, None)],
        [Write(Table.CHANGES, sequence_key(9), desk.store.get(Table.CHANGES, seq))],
        [Write(Table.BODIES, sequence_key(9), desk.store.get(Table.BODIES, seq))],
        [Write(Table.RECORDS, H, None)],
        [Write(Table.JSON, H, None)],
        [Write(Table.JSON, b"88.118.8/Z", ready_json(old, 2, 5))],
        [Write(Table.RECORDS, b"88.118.8/Z", desk.store.get(Table.RECORDS, H))],
        rows(old, 2, 5),  # other values than the log says
        rows(desk.record(H), 1, 5),  # an older version than the log says
        rows(desk.record(H), 99, 5),  # a version that was never written
        rows(desk.record(H), 3, 5),  # a version of another record
        [Write(Table.META, SEQUENCE_KEY, sequence_key(77))],
        [PrefixRow(b"88.118.8", DELEGATED, 5, 1).write()],
        [PrefixRow(b"88.118.8", "homed", 5, 2).write()],
        [Write(Table.PREFIXES, b"88.118.8", b"x")],
        [flipped(desk, Table.TILES, tile_key(0, 0))],
        [Write(Table.TILES, tile_key(0, 0), None)],
        [Write(Table.META, TREE_KEY, sequence_key(3))],
        [flipped(desk, Table.CHECKPOINTS, seq)],
        [Write(Table.CHECKPOINTS, seq, SIGNER.checkpoint(2, b"7" * 32, 0))],
        [Write(Table.CHECKPOINTS, sequence_key(9), SIGNER.checkpoint(9, b"7" * 32, 0))],
        [Write(Table.PREFIXES, b"a", desk.store.get(Table.PREFIXES, b"88.118.8"))],
    ]
    for writes in cases:
        before = [Write(w.table, w.key, desk.store.get(w.table, w.key)) for w in writes]
        desk.store.apply(writes)
        assert check_node(desk.store, signer=SIGNER), writes
        desk.store.apply(before)
        assert check_node(desk.store, signer=SIGNER) == [], writes


def test_an_erased_body_is_no_fault(spoilt):
    """Bodies may be erased: the leaf stays, the record stays, nothing is found."""
    for sequence in (2, 3, 4):
        spoilt.store.apply([Write(Table.BODIES, sequence_key(sequence), None)])
        assert check_node(spoilt.store) == []


def test_findings_are_bounded(spoilt):
    """A store that is wrong everywhere does not fill the terminal."""
    rubbish = [Write(Table.JSON, store_key(b"88.118.8/%d" % n), b"x") for n in range(50)]
    spoilt.store.apply(rubbish)
    assert len(check_node(spoilt.store, most=10)) == 11


def test_a_damaged_record_is_refused_not_served(spoilt):
    """The writer does not build on a row that fails its checksum; other records go on."""
    store: LmdbStore = spoilt.store
    store.apply([flipped(spoilt, Table.RECORDS, H)])
    writer = Writer(store)
    refused = spoilt.do(Kind.ADD, H, url(index=2))
    assert (refused.status, refused.reason) == ("refused", "RowDamaged")
    assert spoilt.create(b"88.118.8/Q", url()).status == "created"
    assert writer.commit([]) == []
