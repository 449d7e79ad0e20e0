"""A mirror is the primary's tables, verified; it stops where the logs part, and can take over."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import note
from protocol.change import Change, Kind
from protocol.errors import ReadOnly, SignatureInvalid
from protocol.keys import encode_pem
from protocol.record import HandleValue
from registry.check import check_node
from registry.follow import append
from registry.log import sequence_key
from registry.replay import Logged, read_checkpoint
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore, create
from resolver.trust.following import read_status
from resolver.trust.source import stored_rows
from resolver.trust.witnessing import cosign
from resolver.writer_process import own_writer
from tests.resolver.nodes import biaoshi, make, until
from tests.resolver.trust.cheat import KEY, SIGNER, CheatingLog, logged
from tests.resolver.trust.mirrored import RECORDS, announced, caught_up, register, tables, tree_of


def test_a_mirror_follows_and_takes_over(pair):
    """Same tables as the primary, after an outage too; promoted, it writes and the old one not."""
    primary, mirror, serve = pair
    first = serve(primary)
    register(primary, *(b"%d" % n for n in range(300)))
    copy = serve(mirror)
    caught_up(mirror, tree_of(primary))
    assert copy.get("/api/handles/86.999/7?type=URL") == first.get("/api/handles/86.999/7?type=URL")
    assert copy.ask(b"86.999/299")[0] == 1
    assert copy.get("/health/ready")[1]["checks"]["following"]
    with pytest.raises(ReadOnly, match="mirror"):
        register(mirror, b"x")
    copy.stop()
    assert read_status(mirror)["state"] == "following"  # said by a process that has ended
    first.stop()
    copy = serve(mirror)
    until(lambda: read_status(mirror).get("state") == "waiting")
    assert copy.get("/health/ready")[0] == 503
    copy.stop()
    first = serve(primary)
    register(primary, b"a", b"7", data=b"http://later.example/")
    copy = serve(mirror)
    announced(first, copy)
    caught_up(mirror, tree_of(primary))
    first.stop()
    assert copy.ask(b"86.999/a")[0] == 1  # the primary is away, reads go on
    copy.stop()
    assert tables(mirror) == tables(primary)
    done = biaoshi("promote", mirror, "--keys", primary)
    assert (done.returncode, "epoch 1" in done.stdout) == (0, True), done.stderr
    copy = serve(mirror)
    register(mirror, b"after")
    settings = primary / "biaoshi.toml"
    text = settings.read_text()
    changed = text.replace("copies = []", f'copies = ["{copy.url}"]')
    assert changed != text
    settings.write_text(changed)
    back = serve(primary)
    assert back.ask(b"86.999/7")[0] == 1
    with pytest.raises(ReadOnly, match="promoted"):
        register(primary, b"fork")
    kept = mirror / "kept"
    done = biaoshi("audit", copy.url, "--keep", kept)
    assert (done.returncode, "epoch/1" in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_mirror_stops_where_the_logs_part(pair):
    """A primary put back to an old copy that goes on differently is found out, and alarms."""
    import shutil

    primary, mirror, serve = pair
    with own_writer(primary):
        pass
    shutil.copytree(primary / "store", primary.parent / "old")
    first = serve(primary)
    register(primary, b"1", b"2", b"3")
    copy = serve(mirror)
    caught_up(mirror, tree_of(primary))
    first.stop()
    shutil.rmtree(primary / "store")
    shutil.move(primary.parent / "old", primary / "store")
    (primary / "checkpoint.txt").unlink()
    serve(primary)
    register(primary, b"1", b"other", b"3", b"4")
    status = until(lambda: read_status(mirror).get("state") == "diverged" and read_status(mirror))
    assert "altered" in status["why"]
    assert "mirror_diverged" in copy.events()
    assert copy.ask(b"86.999/2")[0] == 1
    assert copy.get("/health/ready")[0] == 503
    copy.stop()
    assert biaoshi("promote", mirror).returncode == 2


@pytest.fixture
def empty(tmp_path):
    create(tmp_path / "store")
    store = LmdbStore.open(tmp_path / "store")
    yield store
    store.close()


def test_nothing_unverified_is_written(empty):
    """A portion that lacks, alters or reorders a change, or whose root is not signed, is refused."""
    true = CheatingLog(30)
    public = KEY.public_key().public_bytes_raw()
    raw = true.checkpoint()
    said = read_checkpoint(raw, public)
    entries = true.entries
    forged = [*entries[:9], logged(10, b"forged"), *entries[10:]]
    wrong_body = [*entries[:9], Logged(10, entries[9].leaf, entries[8].body), *entries[10:]]
    swapped = [entries[1], entries[0], *entries[2:]]
    for rows in (entries[:-1], entries[1:], forged, wrong_body, swapped, []):
        with pytest.raises(SignatureInvalid):
            append(empty, rows, raw, said)
        with empty.snapshot() as state:
            assert [state.count(t) for t in RECORDS] == [0] * len(RECORDS)
    assert append(empty, entries, raw, said) == (30, False)
    assert append(empty, [], raw, said) == (30, False)
    assert [one.leaf for one in stored_rows(empty, 1, 30)] == [one.leaf for one in entries]


def test_a_change_without_content_still_proves(empty):
    """Where a body was erased before the mirror came, the leaf is kept and the tree is whole."""
    true = CheatingLog(5)
    true.entries[2] = Logged(3, true.entries[2].leaf, None)
    raw = true.checkpoint()
    append(empty, true.entries, raw, read_checkpoint(raw, KEY.public_key().public_bytes_raw()))
    assert check_node(empty, signer=SIGNER) == []
    assert empty.get(Table.BODIES, sequence_key(3)) is None


def test_a_witness_signs_one_history_only(tmp_path):
    """Each checkpoint that extends the last is cosigned; a rewritten or shorter one is not."""
    log, state = CheatingLog(10), tmp_path / "state"
    key = Ed25519PrivateKey.generate()
    verifier = note.Key("w", key.public_key().public_bytes_raw(), note.COSIGNATURE)

    def ask(pinned=None):
        return note.decode(cosign(log, pinned, "w", key, state, 1_700_000_000))

    for more in (0, 0, 1, 7, 40):
        log.entries += [logged(len(log.entries) + 1 + n, b"x") for n in range(more)]
        signed = ask()
        assert note.verify(signed, [verifier]) == [verifier]
        assert note.parse_checkpoint(signed.text).size == len(log.entries)
    good = list(log.entries)
    log.entries[3] = logged(4, b"rewritten")
    log.entries.append(logged(len(log.entries) + 1, b"x"))
    with pytest.raises(SignatureInvalid):
        ask()
    log.entries = good[:-1]
    with pytest.raises(SignatureInvalid, match="cosigned already"):
        ask()
    log.entries = good
    with pytest.raises(SignatureInvalid, match="key"):
        ask(b"k" * 32)
    ask()


def test_the_witness_command(tmp_path):
    """One run prints one cosigned checkpoint of a node's folder."""
    node = make(tmp_path / "node")
    key = tmp_path / "w.pem"
    key.write_bytes(encode_pem(Ed25519PrivateKey.generate()))
    key.chmod(0o600)
    options = ("--name", "w.example", "--key", key, "--state", tmp_path / "state")
    done = biaoshi("witness", node, *options)
    assert done.returncode == 0, done.stderr
    assert len(note.decode(done.stdout.encode()).signatures) == 2
    with own_writer(node) as writer:
        writer.submit([Change(Kind.CREATE, b"86.999/a", (HandleValue(1, b"URL", b"x"),))])
    assert biaoshi("witness", node, *options).returncode == 0
    store = LmdbStore.open(node / "store")
    forged = logged(1, b"forged")
    store.apply([Write(Table.CHANGES, sequence_key(1), forged.leaf)])
    store.close()
    done = biaoshi("audit", node, "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
