"""`biaoshi erase` on a running node with a mirror: content goes everywhere, every proof stays."""

from __future__ import annotations

import time
import urllib.request

import pytest

from protocol.record import Reference
from registry.events.capture import EventSigner, make_change
from registry.events.index import EventIndex
from registry.keys import load_keys
from registry.log import sequence_key
from registry.store import Table
from registry.store.lmdb_store import LmdbStore
from resolver.pem import format_public_pem
from resolver.writer_link import open_writer
from tests.resolver.nodes import biaoshi, ok
from tests.resolver.trust.mirrored import caught_up, register, tables, tree_of

ITEM = "https://id.gs1.org/01/09506000134352/21/%d"
EVENT_ID = "urn:uuid:00000000-0000-4000-8000-%012d"


def capture(folder, *numbers):
    """Events signed with the node's key; the sequences of their changes."""
    reference = Reference(b"0.NA/86.999", 302)
    signer = EventSigner(reference, load_keys(folder).log_private)
    issuer = Reference(b"0.NA/86.999", 300)
    changes = [
        make_change(
            {
                "type": "ObjectEvent",
                "eventID": EVENT_ID % number,
                "eventTime": "2026-03-01T10:00:00.000+08:00",
                "eventTimeZoneOffset": "+08:00",
                "epcList": [ITEM % number],
                "action": "OBSERVE",
                "readPoint": {"id": "urn:person:alice"},
            },
            issuer=issuer,
            signer=signer,
            now_us=time.time_ns() // 1000,
            actor=None,
        )
        for number in numbers
    ]
    with open_writer(folder) as writer:
        return [outcome.sequence for outcome in writer.submit(changes)]


def seen(folder, number, sequence):
    """How often an event is found by what it names; its row; its body."""
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            index = EventIndex(state)
            hits = len(list(index.of(ITEM % number)))
            return hits, index.event(sequence), state.get(Table.BODIES, sequence_key(sequence))
    finally:
        store.close()


def octets(folder, needle):
    """Whether any row of log or events still has it."""
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            tables_ = (Table.BODIES, Table.EVENTS, Table.CHANGES)
            return [t for t in tables_ for _, raw in state.scan(t) if needle in raw]
    finally:
        store.close()


@pytest.mark.timeout(180)
def test_content_goes_and_every_proof_stays(pair, tmp_path):
    """A record's and an event's content leave node and mirror; audit, receipts and check hold."""
    primary, mirror, serve = pair
    node = serve(primary)
    copy = serve(mirror)
    (person,) = register(primary, b"alice", data=b"http://alice.example/private")
    register(primary, b"bob")
    gone, stays = capture(primary, 1, 2)
    caught_up(mirror, tree_of(primary))
    assert seen(mirror, 1, gone)[0] == 1

    kept, log_key = tmp_path / "kept", tmp_path / "log.pub"
    log_key.write_bytes(format_public_pem(load_keys(primary).log_public))
    ok("audit", node.url, "--keep", kept)
    receipts = []
    for number in (person.sequence, gone):
        receipts.append(tmp_path / f"{number}.json")
        with urllib.request.urlopen(f"{node.url}/log/receipt?sequence={number}") as reply:
            receipts[-1].write_bytes(reply.read())

    told = ok("erase", primary, "86.999/alice", "--reason", "request of the person")
    assert told == "1 changes of 86.999/alice erased; their proofs hold on.\n"
    assert "1 changes of urn:uuid" in ok("erase", primary, EVENT_ID % 1)
    for missing in ("86.999/alice", "86.999/none"):
        done = biaoshi("erase", primary, missing)
        assert (done.returncode, "no content" in done.stderr) == (1, True), done.stderr
    done = biaoshi("erase", primary, "86.999/bob", "--change", gone)
    assert (done.returncode, "changes of 86.999/bob with content are" in done.stderr) == (2, True)
    caught_up(mirror, tree_of(primary))

    for folder in (primary, mirror):
        assert seen(folder, 1, gone) == (0, None, None)
        assert octets(folder, b"alice.example") == []
        assert octets(folder, (ITEM % 1).encode()) == []
        assert seen(folder, 2, stays)[0] == 1
    assert node.get("/api/handles/86.999/alice")[0] == 200  # the record is another matter

    for receipt in receipts:
        ok("verify", receipt, "--log-key", log_key)
    for place in (node.url, copy.url, primary):
        assert "erased or not readable" in ok("audit", place, "--keep", kept)
    with_bodies = f"300:0.NA/86.999={primary / 'keys/admin_300.pem'}"
    https = f"https://127.0.0.1:{node.ready['https']}"
    assert "erased or not readable: 2" in ok("audit", https, "--keep", kept, "--auth", with_bodies)
    ok("check", primary)
    ok("check", mirror)
    for one in (node, copy):
        one.stop()
    assert tables(mirror) == tables(primary)


def test_a_stopped_node_and_single_changes(pair):
    """The node need not run; --change takes some of a record's changes, and only they go."""
    primary, _, _ = pair
    first = register(primary, b"a", data=b"http://one.example/")[0].sequence
    second = register(primary, b"a", data=b"http://two.example/")[0].sequence
    told = ok("erase", primary, "86.999/A", "--change", first)
    assert told.startswith("1 changes")
    assert seen(primary, 1, first)[2] is None
    assert seen(primary, 1, second)[2] is not None
    assert "1 changes" in ok("erase", primary, "86.999/a")
    ok("check", primary)
