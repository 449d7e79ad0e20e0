"""Rotten and exchanged rows: reported, set aside, never served as valid, and made again."""

from __future__ import annotations

import subprocess

import pytest

from protocol.change import Change, Kind
from protocol.errors import StoreError
from protocol.record import HandleValue, Record
from registry.check import check_node
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore
from registry.store.row import decode_row, rows
from registry.tree import root_at, tree_size
from resolver.config import FaceSettings
from resolver.writer_link import open_writer
from tests.resolver.nodes import Serving, biaoshi, make, until
from tests.resolver.trace.test_companies import at, capture, gtin
from tests.resolver.trust.mirrored import caught_up, mirror_of, ports, tree_of

NAMES = [b"86.999/P%d" % number for number in range(20)]


def register(folder):
    with open_writer(folder) as writer:
        value = HandleValue(1, b"URL", b"http://example.org/")
        changes = [Change(Kind.CREATE, name, (value,)) for name in NAMES]
        assert all(one.error is None for one in writer.submit(changes))


def flipped(row, at=-50):
    made = bytearray(row)
    made[at] ^= 1
    return bytes(made)


ZONE = "86.999"
EVENTS = [
    at(minute, "ObjectEvent", action="OBSERVE", epcList=[gtin("steel", 1) + f"/21/C{minute}"])
    for minute in range(1, 6)
]


def damage(folder, *, log=False):
    """P0: a bit flips; P1: another valid row in its place; P2: the ready body; log: leaf and body."""
    store = LmdbStore.open(folder / "store")
    raw = store.get(Table.RECORDS, NAMES[0])
    other = decode_row(store.get(Table.RECORDS, NAMES[1]))
    forged = rows(
        Record(other.name, (HandleValue(1, b"URL", b"http://evil.example/"),)),
        other.version,
        other.time,
    )
    ready = store.get(Table.JSON, NAMES[2])
    writes = [
        Write(Table.RECORDS, NAMES[0], raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:]),
        *forged,
        Write(Table.JSON, NAMES[2], ready[:-3] + b"\0" + ready[-2:]),
    ]
    with store.snapshot() as state:
        captured = state.last(Table.EVENTS) if log else None
    if captured is not None:
        writes += [
            Write(Table.EVENTS, captured[0], flipped(captured[1])),
            Write(Table.BODIES, captured[0], flipped(store.get(Table.BODIES, captured[0]))),
        ]
    if log:
        for table, number in ((Table.CHANGES, 5), (Table.BODIES, 6), (Table.BODIES, 9)):
            key = number.to_bytes(8, "big")
            row = store.get(table, key)
            writes.append(Write(table, key, row[:-1] + bytes([row[-1] ^ 1])))
    store.apply(writes)
    store.close()


TABLES = (Table.RECORDS, Table.EVENTS, Table.TRACE)


def state_of(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        assert check_node(store) == []
        with store.snapshot() as state:
            size = tree_size(state)
            return root_at(state, size), *(list(state.scan(table)) for table in TABLES)
    finally:
        store.close()


def test_a_running_node_sets_rotten_rows_aside(tmp_path):
    """The node starts, says what it found, and answers everything else; the rotten are refused."""
    folder = make(tmp_path / "node")
    register(folder)
    before = state_of(folder)
    damage(folder)
    node = Serving(folder)
    try:
        assert node.ask(NAMES[3])[0] == 1
        assert node.ask(NAMES[0])[0] not in {1, 100}
        assert node.ask(NAMES[1])[0] == 1  # its checksum holds: only the digests can tell
        done = biaoshi("check", folder, "--scrub")
        assert done.returncode == 1
        assert "P1: its digest is not the one in change" in done.stderr
        for name in NAMES[:3]:
            assert f"quarantined {name.decode()}" in done.stderr
            assert f"{name!r} is quarantined" in done.stdout
            assert node.ask(name)[0] not in {1, 100}
            status, _ = node.get(f"/api/handles/{name.decode()}")
            assert status == 500
        assert node.events().count("row_quarantined") == 3
        assert node.ask(NAMES[3])[0] == 1
        with open_writer(folder) as writer:
            value = HandleValue(1, b"N", b"x")
            assert writer.submit([Change(Kind.CREATE, b"86.999/new", (value,))])[0].error is None
        assert biaoshi("check", folder, "--repair").returncode == 2
    finally:
        node.end()
    done = biaoshi("check", folder, "--repair")
    assert (done.returncode, "0 of them from the mirror" in done.stderr) == (0, True), done
    after = [row for row in state_of(folder)[1] if row[0].startswith(b"86.999/P")]
    assert after == [row for row in before[1] if row[0].startswith(b"86.999/P")]


def test_a_background_scrub(tmp_path):
    """Without being asked, the writer finds what rots while it runs."""
    folder = make(tmp_path / "node")
    settings = folder / "biaoshi.toml"
    settings.write_text(settings.read_text().replace("scrub_hours = 24.0", "scrub_hours = 0.0001"))
    register(folder)
    damage(folder)
    node = Serving(folder)
    try:
        until(lambda: node.events().count("row_quarantined") == 3)
        assert node.ask(NAMES[1])[0] not in {1, 100}
    finally:
        node.end()


def test_rotten_events(tmp_path):
    """Refused at once; made again from the log by the scrub; set aside where the log is rotten too."""
    folder = make(tmp_path / "node", ZONE)
    capture(folder, ZONE, *EVENTS)
    store = LmdbStore.open(folder / "store")
    with store.snapshot() as state:
        (first, second, third, fourth, fifth) = state.scan(Table.EVENTS)
    numbers = [int.from_bytes(row[0], "big") for row in (first, second, third, fourth, fifth)]
    body = store.get(Table.BODIES, third[0])
    store.apply(
        [
            Write(Table.EVENTS, first[0], flipped(first[1])),
            Write(Table.EVENTS, second[0], fourth[1]),  # valid, and of another event
            Write(Table.EVENTS, third[0], flipped(third[1])),
            Write(Table.BODIES, third[0], flipped(body)),
        ]
    )
    store.close()
    node = Serving(folder)

    def told(number):
        return node.get(f"/epcis/events/{EVENTS[number]['eventID']}")[0]

    try:
        assert [told(number) for number in (0, 2, 3, 4)] == [500, 500, 200, 200]
        assert (
            node.get("/epcis/events")[0] == 500
        )  # not an answer that lacks one and does not say so
        done = biaoshi("check", folder, "--scrub")
        assert done.returncode == 1
        for number in numbers[:2]:
            line = next(x for x in done.stderr.splitlines() if f"event {number}:" in x)
            assert "made again from the log" in line
        assert f"events: {numbers[2]} is quarantined" in done.stdout
        assert node.events().count("row_mended") == 2
        assert node.events().count("row_quarantined") == 1
        assert [told(number) for number in range(5)] == [200, 200, 500, 200, 200]
        _, found = node.get(f"/epcis/events/{EVENTS[1]['eventID']}")
        assert EVENTS[1]["epcList"][0] in str(found)
    finally:
        node.end()
    done = biaoshi("check", folder, "--repair")
    assert (done.returncode, "damaged as well" in done.stderr) == (3, True), done


def test_repair_from_a_mirror(tmp_path):
    """What rotted in the log as well comes from a mirror, and the root is the one that was signed."""
    http, https = ports(2)
    primary = make(tmp_path / "primary", faces=FaceSettings(irp=0, http=http, https=https))
    register(primary)
    capture(primary, ZONE, *EVENTS)
    key = primary / "keys" / "admin_300.pem"
    auth = f"300:0.NA/86.999={key}"
    mirror = mirror_of(primary, https, tmp_path / "mirror")
    # The mirror lets the primary's administrators read its log: it has their record.
    text = (mirror / "biaoshi.toml").read_text()
    assert 'administrators = ["300:0.NA/86.999"]' in text
    first, copy = Serving(primary), Serving(mirror)
    try:
        caught_up(mirror, tree_of(primary))
        until(lambda: b"mirror" and len(first.ask(b"0.NA/86.999")[1]) > 8)
        caught_up(mirror, tree_of(primary))
        first.stop()
        before = state_of(primary)
        damage(primary, log=True)
        assert biaoshi("check", primary).returncode == 1
        done = biaoshi("check", primary, "--repair")
        assert (done.returncode, "damaged as well" in done.stderr) == (3, True), done
        url = f"https://127.0.0.1:{copy.ready['https']}"
        done = biaoshi("check", primary, "--repair-from", url, "--auth", auth)
        assert (done.returncode, "4 of them from the mirror" in done.stderr) == (0, True), done
        assert state_of(primary) == before
    finally:
        first.end()
        copy.end()


def test_a_structure_that_cannot_be_read(tmp_path):
    """A file that is no store any more is named with the way out; nothing is made in its place."""
    folder = make(tmp_path / "node")
    data = folder / "store" / "data.mdb"
    data.write_bytes(b"\xff" * data.stat().st_size)
    with pytest.raises(StoreError, match="backup"):
        LmdbStore.open(folder / "store")
    done = biaoshi("serve", folder)
    assert (done.returncode, "backup" in done.stderr) == (3, True)
    assert isinstance(done, subprocess.CompletedProcess)
