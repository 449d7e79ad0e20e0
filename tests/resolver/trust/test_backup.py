"""A backup gives the node back: same root, at any position, and no writes before it is confirmed."""

from __future__ import annotations

import json
import stat
import tarfile

import pytest

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError, ParseError, ReadOnly, SettingsError, StoreError
from protocol.record import HandleValue
from registry.backup import back_up, back_up_since, restore, verify
from registry.check import check_node
from registry.log import sequence_key
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore
from registry.tree import root_at, tree_size
from resolver.writer_process import own_writer
from tests.resolver.nodes import biaoshi, make

MAP = 1 << 30


def register(folder, first, last, text=b"http://example.org/"):
    with own_writer(folder) as writer:
        for number in range(first, last):
            value = HandleValue(1, b"URL", text + b"%d" % number)
            change = Change(Kind.CREATE, b"86.999/%d" % number, (value,), overwrite=True)
            (outcome,) = writer.submit([change])
            assert outcome.sequence, outcome


def state_of(folder):
    """Size, root and all records of a node."""
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        assert check_node(store) == []
        with store.snapshot() as state:
            size = tree_size(state)
            tables = {t: list(state.scan(t)) for t in (Table.RECORDS, Table.JSON, Table.PREFIXES)}
            return size, root_at(state, size), tables
    finally:
        store.close()


def erase(folder, sequence):
    store = LmdbStore.open(folder / "store")
    store.apply([Write(Table.BODIES, sequence_key(sequence), None)])
    store.close()


@pytest.fixture
def node(tmp_path):
    folder = make(tmp_path / "node")
    register(folder, 0, 20)
    return folder


def test_a_backup_restores_the_same(node, tmp_path):
    """Tables, root and files come back, after later changes too; the file is the owner's alone."""
    wanted = state_of(node)
    file, back = tmp_path / "b.tar", tmp_path / "back"
    made = back_up(node, file, map_bytes=MAP)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (made.sequence, made.root) == wanted[:2]
    register(node, 0, 5, b"http://later.example/")
    restore(file, back, map_bytes=MAP)
    assert state_of(back) == wanted
    for name in ("biaoshi.toml", "keys/site_key.pem", "keys/log_key.pem", "siteinfo.json"):
        assert (back / name).read_bytes() == (node / name).read_bytes()
        assert stat.S_IMODE((back / name).stat().st_mode) == 0o600


def test_restored_nodes_write_after_a_new_epoch_only(node, tmp_path):
    """Until the operator confirms, the restored copy refuses changes and answers reads."""
    back_up(node, tmp_path / "b.tar", map_bytes=MAP)
    back = tmp_path / "back"
    restore(tmp_path / "b.tar", back, map_bytes=MAP)
    with pytest.raises(ReadOnly, match="epoch confirm"):
        register(back, 50, 51)
    done = biaoshi("epoch", "confirm", back)
    assert (done.returncode, "epoch 1" in done.stdout) == (0, True), done.stderr
    register(back, 50, 51)
    assert biaoshi("check", back).returncode == 0
    assert "epoch 1" in biaoshi("epoch", "show", back).stdout


def test_an_old_copy_under_a_newer_checkpoint_refuses_writes(node, tmp_path):
    """Putting yesterday's store back by hand is found out at the next start."""
    import shutil

    shutil.copytree(node / "store", tmp_path / "yesterday")
    register(node, 20, 25)
    shutil.rmtree(node / "store")
    shutil.move(tmp_path / "yesterday", node / "store")
    with pytest.raises(ReadOnly, match="old copy"):
        register(node, 30, 31)
    assert biaoshi("check", node).returncode == 1
    assert biaoshi("epoch", "confirm", node).returncode == 0
    register(node, 30, 31)


@pytest.mark.parametrize("at", [1, 2, 7, 20])
def test_a_position_is_that_state(tmp_path, at):
    """Restoring to a position gives the tables and the root that were there then."""
    node = make(tmp_path / "node")
    states = {tree_size_of(node): state_of(node)}
    for number in range(25):
        register(node, number % 6, number % 6 + 1, b"http://%d.example/" % number)
        states[tree_size_of(node)] = state_of(node)
    back_up(node, tmp_path / "b.tar", map_bytes=MAP)
    size, root = restore(tmp_path / "b.tar", tmp_path / "back", at=at, map_bytes=MAP)
    assert (size, root) == states[at][:2]
    assert state_of(tmp_path / "back") == states[at]


def tree_size_of(folder):
    return state_of(folder)[0]


def test_increments(node, tmp_path):
    """A full backup and its increments, in order, give the latest state; others are refused."""
    full, one, two = (tmp_path / name for name in ("full", "one", "two"))
    back_up(node, full, map_bytes=MAP)
    register(node, 3, 9, b"http://one.example/")
    back_up_since(node, one, full, map_bytes=MAP)
    register(node, 15, 30, b"http://two.example/")
    back_up_since(node, two, one, map_bytes=MAP)
    restore(full, tmp_path / "back", increments=[one, two], map_bytes=MAP)
    assert state_of(tmp_path / "back") == state_of(node)
    with pytest.raises(StoreError, match="next"):
        restore(full, tmp_path / "other", increments=[two], map_bytes=MAP)
    with pytest.raises(ParseError):
        restore(one, tmp_path / "other", map_bytes=MAP)
    stranger = make(tmp_path / "stranger")
    with pytest.raises(StoreError, match="no earlier state"):
        back_up_since(stranger, tmp_path / "x", full, map_bytes=MAP)
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "x").exists()


def test_erased_content_stays_erased(node, tmp_path):
    """Records whose change was erased survive a restore to a position; the root is the same."""
    wanted = state_of(node)
    erase(node, 5)
    back_up(node, tmp_path / "b.tar", map_bytes=MAP)
    restore(tmp_path / "b.tar", tmp_path / "back", at=wanted[0], map_bytes=MAP)
    assert state_of(tmp_path / "back") == wanted
    store = LmdbStore.open(tmp_path / "back" / "store", readonly=True)
    assert store.get(Table.BODIES, sequence_key(5)) is None
    store.close()


def test_a_damaged_backup_is_refused(node, tmp_path):
    """A flipped bit anywhere, or a file cut short, restores nothing."""
    file = tmp_path / "b.tar"
    back_up(node, file, map_bytes=MAP)
    whole = file.read_bytes()
    with tarfile.open(file) as tar:
        spots = [m.offset_data + m.size // 2 for m in tar if m.size and m.name != "manifest.json"]
    for spot in spots:
        broken = bytearray(whole)
        broken[spot] ^= 1
        file.write_bytes(bytes(broken))
        with pytest.raises(BiaoshiError):
            restore(file, tmp_path / "back", map_bytes=MAP)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BiaoshiError):
        verify(file)
    assert not (tmp_path / "back").exists()


def test_nothing_is_overwritten(node, tmp_path):
    """Neither a file nor a folder that is there is touched."""
    back_up(node, tmp_path / "b.tar", map_bytes=MAP)
    with pytest.raises(SettingsError):
        back_up(node, tmp_path / "b.tar", map_bytes=MAP)
    with pytest.raises(SettingsError):
        restore(tmp_path / "b.tar", node, map_bytes=MAP)


def test_the_commands(node, tmp_path):
    """backup, restore, check, export, verify, sign and audit as an operator runs them."""
    file, back = tmp_path / "b.tar", tmp_path / "back"
    assert biaoshi("backup", node, file).returncode == 0
    done = biaoshi("restore", file, back, "--at", 10)
    assert (done.returncode, "change 10" in done.stdout) == (0, True), done.stderr
    assert biaoshi("check", node, "--json").returncode == 0
    lines = tmp_path / "lines.jsonl"
    assert biaoshi("export", node, "--output", lines).returncode == 0
    key, root = node / "keys" / "log_key.pem", node / "keys/root_pub.pem"
    kept = tmp_path / "kept"
    assert biaoshi("audit", node, "--keep", kept).returncode == 0
    vkey = kept.read_text().splitlines()[0]
    done = biaoshi("verify", lines, "--log-key", vkey, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(len(json.loads(line)["held"]) == 2 for line in done.stdout.splitlines())
    signed = tmp_path / "signed.jsonl"
    done = biaoshi(
        "sign",
        lines,
        "--auth",
        f"302:0.NA/86.999={key}",
        "--chain",
        "402:0.NA/86.999",
        "--chain",
        "400:0.NA/86.999",
    )
    assert done.returncode == 0, done.stderr
    products = [line for line in done.stdout.splitlines() if '"86.999/' in line]
    signed.write_text("\n".join(products) + "\n")
    done = biaoshi("verify", signed, "--records", lines, "--root-key", root)
    assert done.returncode == 0, done.stdout + done.stderr
    signed.write_text("\n".join(products).replace("http://example.org/7", "http://example.org/8"))
    done = biaoshi("verify", signed, "--records", lines, "--root-key", root)
    assert (done.returncode, done.stdout.count("NOT VALID")) == (1, 1)
    tampered = lines.read_text().replace("http://example.org/7", "http://example.org/8")
    lines.write_text(tampered)
    done = biaoshi("verify", lines, "--log-key", vkey)
    assert (done.returncode, done.stdout.count("NOT VALID")) == (1, 1)
