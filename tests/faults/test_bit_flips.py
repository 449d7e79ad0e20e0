"""Every flipped bit in what a store holds is found, and none of it is served as valid.

BIAOSHI_FLIPS: how many; a release check sets 1000.
"""

from __future__ import annotations

import faulthandler
import os
import random
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError
from protocol.record import HandleValue, Reference
from registry.check import check_node
from registry.events.capture import EventSigner, make_change, operator_of
from registry.events.row import decode_event_row
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from registry.store.row import checked, decode_row
from registry.tree import LogSigner
from registry.writer import Writer
from tests.faults.figures import count, report

FLIPS = count("BIAOSHI_FLIPS", 40)
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
    Table.EVENTS,
)
MAP = 1 << 26


def captured(number):
    described = {
        "type": "ObjectEvent",
        "eventID": f"urn:uuid:00000000-0000-4000-8000-{number:012d}",
        "eventTime": "2026-03-01T10:00:00.000+08:00",
        "eventTimeZoneOffset": "+08:00",
        "epcList": [f"https://id.gs1.org/01/09506000134352/21/{number}"],
        "action": "OBSERVE",
        "bizStep": "shipping",
    }
    prefix = b"88.118.8"
    signer = EventSigner(Reference(b"0.NA/88.118.8", 302), SIGNER.key)
    return make_change(
        described, issuer=operator_of(prefix), signer=signer, now_us=1_800_000_000_000_000
    )


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
        writer.commit([captured(number)])
    (folder / "store").mkdir()
    store.copy(folder / "store")
    with store.snapshot() as state:
        rows = [(table, key, raw) for table in TABLES for key, raw in state.scan(table)]
    assert check_node(store, signer=SIGNER) == []
    store.close()
    return folder / "store", rows


@pytest.mark.timeout(3600)
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
            if table is Table.EVENTS:
                with pytest.raises(BiaoshiError):
                    decode_event_row(store.get(table, key))
        finally:
            store.close()
            shutil.rmtree(path)
    assert found == FLIPS
    report("bit flips in rows", flips=FLIPS, found=found, served_as_valid=0)


RIGHT, WRONG, REFUSED = range(3)


def served(path, records):
    """What a process that reads every record from a store gets of them."""
    worst = RIGHT
    try:
        store = LmdbStore.open(path, readonly=True, map_bytes=MAP)
        for key, raw in records.items():
            got = store.get(Table.RECORDS, key)
            try:
                if got is None or decode_row(got) != decode_row(raw):
                    worst = max(worst, REFUSED) if got is None else WRONG
            except BiaoshiError:
                worst = worst or REFUSED
            if worst == WRONG:
                break
    except BiaoshiError:
        return REFUSED
    return worst


def in_a_child(path, records):
    """served() in a process of its own: LMDB may not survive a file whose structure is hurt."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        os._exit(served(path, records))
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else REFUSED


@pytest.mark.timeout(3600)
def test_whatever_is_served_is_right(whole, tmp_path):
    """Records read from a file with a flip anywhere are as they were, refused, or not there."""
    source, rows = whole
    data = (source / "data.mdb").read_bytes()
    records = {key: raw for table, key, raw in rows if table is Table.RECORDS}
    chance = random.Random(5)
    outcomes = [0, 0, 0]
    path = tmp_path / "store"
    path.mkdir()
    for _ in range(FLIPS):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (path / "data.mdb").write_bytes(bytes(flipped))
        outcomes[in_a_child(path, records)] += 1
    assert outcomes[WRONG] == 0
    report(
        "bit flips anywhere in the file",
        flips=FLIPS,
        hurt_no_record=outcomes[RIGHT],
        refused=outcomes[REFUSED],
        wrong_records_served=0,
    )
