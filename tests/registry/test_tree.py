"""The tree over the log: written with the changes, provable at every size."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import merkle, note
from protocol.change import Change, Kind
from protocol.errors import ReadOnly
from registry import fence, tree
from registry.log import decode_body, decode_leaf, public_digest, public_salt, sequence_key
from registry.store import Table, Write
from registry.store.row import public_body
from tests.registry.conftest import url

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
SIGNER = tree.LogSigner("biaoshi/88.118.8", KEY)


def read(checkpoint: bytes, epoch: int = 0) -> note.Checkpoint:
    signed = note.decode(checkpoint)
    note.verify(signed, [SIGNER.verifier(epoch)])
    return note.parse_checkpoint(signed.text)


def fill(desk, count: int, group: int) -> None:
    for at in range(0, count, group):
        names = range(at, min(count, at + group))
        desk.writer.commit([Change(Kind.CREATE, b"88.118.8/%d" % n, (url(),)) for n in names])


@pytest.mark.parametrize("group", [1, 7, 300])
def test_the_tree_is_that_of_the_leaves(make_desk, group):
    """After any grouping of commits the signed root is the root of all leaves, at every size."""
    desk = make_desk(log_signer=SIGNER)
    fill(desk, 600, group)
    frontier, roots = merkle.Frontier(), [merkle.EMPTY_ROOT]
    with desk.store.snapshot() as state:
        for _, leaf in state.scan(Table.CHANGES):
            frontier.append(merkle.leaf_hash(leaf))
            roots.append(frontier.root())
        said = read(tree.latest_checkpoint(state))
        assert (said.origin, said.size, said.root) == ("biaoshi/88.118.8", 601, frontier.root())
        assert state.count(Table.CHECKPOINTS) == 1 + -(-600 // group)
        for size in (1, 2, 255, 256, 257, 512, 600, 601):
            assert tree.root_at(state, size) == roots[size]
            proof = tree.consistency(state, size, 601)
            merkle.verify_consistency(size, roots[size], 601, roots[601], proof)
        for index in (0, 1, 254, 255, 256, 599):
            leaf = merkle.leaf_hash(tree.leaves(state, index, 1)[0])
            proof = tree.inclusion(state, index, 600)
            merkle.verify_inclusion(leaf, index, 600, proof, roots[600])


def test_a_store_without_a_tree_gets_one(make_desk):
    """Changes that were logged before there was a tree are covered at the next commit."""
    desk = make_desk(log_signer=SIGNER)
    fill(desk, 300, 50)
    with desk.store.snapshot() as state:
        wanted = tree.root_at(state, 301)
        gone = [
            Write(table, key, None)
            for table in (Table.TILES, Table.CHECKPOINTS)
            for key, _ in state.scan(table)
        ]
    desk.store.apply([*gone, Write(Table.META, tree.TREE_KEY, None)])
    assert tree.complete(desk.store, SIGNER) == 301
    with desk.store.snapshot() as state:
        assert read(tree.latest_checkpoint(state)).root == wanted
    assert tree.complete(desk.store, SIGNER) == 0


def test_a_leaf_commits_to_what_is_answered(make_desk):
    """Whoever has an answer and the salt of its public values finds them in the leaf."""
    desk = make_desk(log_signer=SIGNER)
    secret = url(b"secret", 2, permissions=12)
    outcome = desk.create(b"88.118.8/a", url(), secret)
    key = sequence_key(outcome.sequence)
    leaf = decode_leaf(desk.store.get(Table.CHANGES, key))
    body = desk.store.get(Table.BODIES, key)
    shown = public_body(desk.store.get(Table.RECORDS, b"88.118.8/A"))
    assert leaf["public"] == public_digest(public_salt(body[16:32]), bytes(shown))
    assert b"secret" not in shown
    assert len(decode_body(body)[1].after) == 2


def test_a_fence_stops_writes_and_a_new_epoch_lifts_it(make_desk):
    """A fenced store answers reads only; the new epoch signs under another origin."""
    desk = make_desk(log_signer=SIGNER)
    fill(desk, 3, 1)
    desk.store.apply([fence.fence_write("restored")])
    with pytest.raises(ReadOnly, match="restored"):
        desk.create(b"88.118.8/z", url())
    assert desk.values(b"88.118.8/1")
    assert fence.new_epoch(desk.store, SIGNER, now=lambda: desk.time) == 1
    assert desk.create(b"88.118.8/z", url()).status == "created"
    with desk.store.snapshot() as state:
        said = read(tree.latest_checkpoint(state), epoch=1)
    assert (said.origin, said.size) == ("biaoshi/88.118.8/epoch/1", 6)


def test_an_old_copy_is_found_by_the_known_checkpoint(make_desk, tmp_path):
    """A store behind the checkpoint that was kept beside it, or unlike it, is fenced."""
    desk = make_desk(log_signer=SIGNER)
    known = fence.Known(tmp_path, now=lambda: 0.0)
    fill(desk, 3, 1)
    known.keep(desk.writer.checkpoint)
    assert fence.compare_known(desk.store, known.read(), SIGNER) is None
    ahead = SIGNER.checkpoint(50, b"\7" * 32, 0)
    assert "old copy" in fence.compare_known(desk.store, ahead, SIGNER)
    fence.new_epoch(desk.store, SIGNER)
    assert fence.compare_known(desk.store, ahead, SIGNER) is None
    other = SIGNER.checkpoint(2, b"\7" * 32, 1)
    assert "altered" in fence.compare_known(desk.store, other, SIGNER)
    fence.new_epoch(desk.store, SIGNER)
    assert "compared" in fence.compare_known(desk.store, b"rubbish", SIGNER)
    fence.new_epoch(desk.store, SIGNER)


def test_the_known_checkpoint_is_written_once_a_second(tmp_path):
    """Keeping is cheap under load, and the last one is written when asked."""
    time = [0.0]
    known = fence.Known(tmp_path, now=lambda: time[0])
    known.keep(b"1")
    known.keep(b"2")
    assert known.read() == b"1"
    time[0] = 1.5
    known.keep(b"3")
    known.keep(b"4", at_once=True)
    assert known.read() == b"4"
