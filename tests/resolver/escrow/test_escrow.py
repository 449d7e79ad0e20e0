"""Escrow: a child's log at its parent, verified, receipted, and a node made again from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.change import Change, Kind, pack
from protocol.errors import SignatureInvalid, StoreFull, VersionConflict
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore
from registry.tree import root_at, tree_size
from resolver.escrow.notes import Deposit, digest
from resolver.escrow.vault import Vault
from resolver.writer_link import open_writer
from tests.resolver.nodes import biaoshi, make, ok, serving, until
from tests.resolver.trust.cheat import KEY, SIGNER, CheatingLog

SECRET = b"http://example.org/kept-secret"


def register(folder, first, many):
    value = HandleValue(1, b"URL", SECRET)
    names = [b"88.118/%d" % number for number in range(first, first + many)]
    with open_writer(folder) as writer:
        outcomes = writer.submit([Change(Kind.CREATE, name, (value,)) for name in names])
        assert all(one.error is None for one in outcomes), outcomes


def state_of(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        assert check_node(store) == []
        with store.snapshot() as state:
            return tree_size(state), root_at(state, tree_size(state)), list(state.scan("records"))
    finally:
        store.close()


@pytest.fixture
def family(tmp_path):
    """A parent and its child, both running."""
    with serving() as serve:
        top = serve(make(tmp_path / "top", "88", role="top"))
        steel = make(tmp_path / "steel", "88.118", parent=top.url, role="second")
        child = serve(steel)
        ok("prefix", "request", "--node", steel)
        ok("prefix", "approve", "88.118", "--node", top.folder)
        until(lambda: child.ask(b"88.118/x")[0] == 100)
        yield top, child


@pytest.mark.parametrize("form", ["encrypted", "plain"])
def test_a_lost_node_comes_back_from_its_parent(family, tmp_path, form):
    """Deposits in portions, receipts that verify, and after the loss the same log and records."""
    top, child = family
    options = ("--plain",) if form == "plain" else ()
    register(child.folder, 0, 30)
    assert "changes 1 to" in ok("escrow", "deposit", child.folder, *options)
    assert "nothing new" in ok("escrow", "deposit", child.folder, *options)
    register(child.folder, 30, 5)
    made = json.loads(ok("escrow", "deposit", child.folder, *options, "--json"))
    assert "2 receipts hold" in ok("escrow", "verify", child.folder)
    assert json.loads(ok("escrow", "verify", child.folder, "--json"))["last"] == made["last"]
    shown = json.loads(ok("escrow", "list", child.folder, "--json"))
    assert [one["encrypted"] for one in shown["deposits"]] == [form == "encrypted"] * 2
    stored = b"".join(path.read_bytes() for path in (top.folder / "escrow/88.118").iterdir())
    assert (SECRET in stored) == (form == "plain")
    child.stop()
    before = state_of(child.folder)
    safe = tmp_path / "safe"
    shutil.copytree(child.folder / "keys", safe / "keys")
    for name in ("parent.json", "biaoshi.toml"):
        shutil.copy2(child.folder / name, safe / name)
    shutil.copytree(child.folder / "tls", safe / "tls")
    shutil.rmtree(child.folder)
    again = tmp_path / "again"
    said = json.loads(ok("escrow", "fetch", again, "--keys", safe, "--json"))
    assert (said["position"], said["root"]) == (before[0], before[1].hex())
    assert state_of(again) == before
    assert "2 receipts hold" in ok("escrow", "verify", again)
    ok("epoch", "confirm", again)
    register(again, 100, 1)


def test_a_receipt_shows_a_rewritten_log(family):
    """A child whose log is not the one that was deposited is told so."""
    _, child = family
    register(child.folder, 0, 5)
    child.stop()
    shutil.copytree(child.folder / "store", child.folder / "store.old")
    register(child.folder, 5, 5)
    ok("escrow", "deposit", child.folder)
    shutil.rmtree(child.folder / "store")
    (child.folder / "store.old").rename(child.folder / "store")
    done = biaoshi("escrow", "verify", child.folder)
    assert (done.returncode, "old copy" in done.stderr) == (4, True), done


def test_a_stranger_gets_and_gives_nothing(family, tmp_path):
    """A key that was not published deposits nothing and reads nothing."""
    _, child = family
    register(child.folder, 0, 3)
    ok("escrow", "deposit", child.folder)
    stranger = make(tmp_path / "stranger", "88.119")
    shutil.copy2(child.folder / "parent.json", stranger / "parent.json")
    for command in ("deposit", "list"):
        assert biaoshi("escrow", command, stranger).returncode != 0
    done = biaoshi(
        *("escrow", "fetch", tmp_path / "thief", "--keys", stranger, "--prefix", "88.118")
    )
    assert done.returncode != 0
    assert not (tmp_path / "thief").exists()


# --- the vault alone


def portion(log, first, last, **changed):
    """A deposit of a log's changes, and its octets."""
    rows = log.entries[first - 1 : last]
    data = b"".join(pack([row.sequence, row.leaf, row.body]) for row in rows)
    made = Deposit(
        prefix="86.999",
        first=first,
        last=last,
        root=log.roots()[last],
        checkpoint=SIGNER.checkpoint(last, log.roots()[last], 0).decode(),
        sha256=digest(data),
        size=len(data),
        encrypted=False,
        audience="x",
        issued=0,
    )
    return replace(made, **changed), data


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path, "86.999", most_bytes=100_000)


def take(vault, deposit, data, receipt=b"receipt"):
    return vault.take(deposit, data, KEY.public_key(), receipt)


def test_only_the_log_itself_is_taken(vault):
    """Rewritten, reordered, cut or foreign rows, a wrong root or a stranger's checkpoint: refused."""
    log = CheatingLog(40)
    take(vault, *portion(log, 1, 20))
    good, data = portion(log, 21, 40)
    stranger = type(SIGNER)(SIGNER.name, Ed25519PrivateKey.generate())
    other = CheatingLog(45)
    other.entries[30] = replace(other.entries[30], leaf=other.entries[29].leaf)
    swapped = CheatingLog(40)
    swapped.entries[25], swapped.entries[26] = swapped.entries[26], swapped.entries[25]
    wrong_body = CheatingLog(40)
    wrong_body.entries[30] = replace(wrong_body.entries[30], body=log.entries[31].body)
    for deposit, octets in (
        (good, data[:-1]),
        (replace(good, root=log.roots()[39]), data),
        (replace(good, checkpoint=stranger.checkpoint(40, log.roots()[40], 0).decode()), data),
        (replace(good, checkpoint=SIGNER.checkpoint(39, log.roots()[39], 0).decode()), data),
        portion(other, 21, 40),
        portion(swapped, 21, 40),
        portion(wrong_body, 21, 40),
    ):
        with pytest.raises(SignatureInvalid):
            take(vault, deposit, octets)
        assert vault.listing()["last"] == 20
    take(vault, good, data)
    assert vault.listing()["last"] == 40


def test_deposits_follow_each_other(vault):
    """A gap is refused, a repetition gives the first receipt, other octets for it are refused."""
    log = CheatingLog(40)
    with pytest.raises(VersionConflict, match=r"change 1 of 86\.999 is next"):
        take(vault, *portion(log, 5, 10))
    assert take(vault, *portion(log, 1, 20), b"first") == b"first"
    assert take(vault, *portion(log, 1, 20), b"second") == b"first"
    with pytest.raises(VersionConflict, match="another form"):
        take(vault, *portion(log, 1, 19))


def test_a_quota_is_kept(vault):
    """What is above the child's room is refused, and what lies there stays."""
    log = CheatingLog(400)
    take(vault, *portion(log, 1, 200))
    with pytest.raises(StoreFull, match=r"escrow\.child_mib"):
        take(vault, *portion(log, 201, 400))
    assert vault.listing()["last"] == 200
