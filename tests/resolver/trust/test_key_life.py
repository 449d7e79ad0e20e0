"""Keys that are replaced and revoked, with real nodes: a root, a child and a recursive node."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from protocol import note
from protocol.keys import decode_pem
from protocol.record import Reference
from resolver.commands.key import fingerprint
from resolver.keyfiles import read_any_key
from resolver.pem import format_public_pem
from tests.resolver.nodes import biaoshi, make, make_door, ok, until

PREFIX, RECORD = "88.118", "0.NA/88.118"
STATUS_S = 2
"""recursion.key_status_s of the recursive node here; 30 by default, 60 at most."""


@pytest.fixture
def tree(tmp_path, serve):
    """A root, a child that is home, and a recursive node that trusts the root's key."""
    top = serve(make(tmp_path / "top", "88", role="top"))
    child = serve(make(tmp_path / "child", PREFIX, parent=top.url))
    ok("prefix", "request", "--node", child.folder)
    ok("prefix", "approve", PREFIX, "--node", top.folder)
    until(lambda: child.get(f"/api/handles/{RECORD}?index=410")[0] == 200)
    door = make_door(tmp_path / "door", top, verify="required", key_status_s=STATUS_S)
    return top, child, serve(door)


def register(node, tmp_path, *names):
    file = tmp_path / "products.jsonl"
    values = [{"index": 1, "type": "URL", "data": {"format": "string", "value": "http://a.org/"}}]
    lines = (json.dumps({"handle": f"{PREFIX}/{name}", "values": values}) for name in names)
    file.write_text("\n".join(lines) + "\n")
    ok("register", file, "--node", node.folder, "--sign")


def resolved(door, name):
    status, answer = door.get(f"/api/resolve?id={PREFIX}/{name}&steps=1")
    return status, str(answer.get("steps")) + str(answer.get("detail"))


def published(node, record=RECORD):
    status, answer = node.get(f"/api/handles/{record}")
    assert status == 200, answer
    return {value["index"]: value["type"] for value in answer["values"]}


def checkpoint(node):
    with urllib.request.urlopen(f"{node.url}/log/checkpoint", timeout=10) as reply:
        return note.decode(reply.read())


def signs(node, key):
    """Whether an Ed25519 key signed the newest checkpoint."""
    signed = checkpoint(node)
    wanted = note.Key(note.parse_checkpoint(signed.text).origin, key.public_bytes_raw())
    return any(one.key_id == wanted.id for one in signed.signatures)


def key_of(node, name="log_key.pem"):
    return decode_pem((node.folder / "keys" / name).read_bytes()).public_key()


@pytest.mark.timeout(300)
def test_a_log_key_is_replaced_and_the_old_one_revoked(tree, tmp_path):
    """Both sign while they overlap; revoked, the old one counts nowhere, but for what it logged."""
    top, child, door = tree
    register(child, tmp_path, "a", "b")
    assert f"signer 302:{RECORD}" in resolved(door, "a")[1]
    old = key_of(child)
    before = tmp_path / "before.jsonl"
    ok("export", child.folder, "--output", before)

    # Overlap: new and old beside each other, published by the parent, checkpoints by both.
    ok("key", "rotate", child.folder, "--no-resign")
    new = key_of(child)
    assert {302, 322, 402, 422} <= published(top).keys()
    until(lambda: signs(child, new) and signs(child, old))
    time.sleep(STATUS_S)  # for what the recursive node remembers of the keys
    assert until(lambda: resolved(door, "b")[0] == 200)
    register(child, tmp_path, "c")
    assert f"signer 302:{RECORD}" in resolved(door, "c")[1]

    # Revoked: what the old key signed is refused everywhere within the time.
    revoked = ok("key", "revoke", child.folder, "--key", "log", "--former", "--no-resign")
    assert "is revoked at change" in revoked
    assert published(top)[440] == "0.REVOKED"
    began = time.monotonic()
    until(lambda: resolved(door, "a")[0] != 200, seconds=60)
    assert time.monotonic() - began < 60
    until(lambda: "revoked" in resolved(door, "b")[1])
    assert resolved(door, "c")[0] == 200

    # Offline: the signature alone is refused, with its place in the log it counts.
    until(lambda: signs(child, new) and not signs(child, old))
    exports = {}
    for node in (child, top):
        exports[node] = tmp_path / f"{node.folder.name}.jsonl"
        ok("export", node.folder, "--output", exports[node])
    log_key = tmp_path / "new.pub"
    log_key.write_bytes(format_public_pem(new))
    root = ("--root-key", top.folder / "keys/root_pub.pem", "--records", exports[top])
    done = biaoshi("verify", before, *root, "--records", exports[child])
    assert done.returncode == 1
    assert "was revoked at change" in done.stdout
    told = ok("verify", exports[child], *root, "--log-key", log_key)
    assert "this was logged before" in told

    # Signed anew with the key in use, all is well.
    assert "3 records signed anew" in ok("key", "revoke", child.folder, "--key", "log")
    done = biaoshi("key", "rotate", child.folder)
    assert "records signed anew" in done.stdout
    until(lambda: resolved(door, "a")[0] == 200)


def test_a_site_key_is_replaced_at_every_level(tree, tmp_path):
    """Child and root take new site keys while the tree goes on resolving; old pins are followed."""
    top, child, door = tree
    register(child, tmp_path, "a")
    assert resolved(door, "a")[0] == 200
    for node in (child, top):
        before = key_of(node, "site_key.pem")
        ok("key", "rotate", node.folder, "--key", "site")
        assert key_of(node, "site_key.pem") != before
        until(lambda node=node: node.get("/api/site")[1].get("handovers"))
    until(lambda: resolved(door, "a")[0] == 200)
    register(child, tmp_path, "b")
    until(lambda: resolved(door, "b")[0] == 200)
    # The child follows its parent's new key by the handover, and may still change its site.
    done = ok("key", "rotate", child.folder, "--key", "both")
    assert "is now" in done


def test_a_parent_revokes_the_key_of_a_child(tree, tmp_path):
    """The parent's word is enough: the key that it takes back counts nowhere."""
    top, child, door = tree
    register(child, tmp_path, "a")
    assert resolved(door, "a")[0] == 200
    ok("key", "revoke", top.folder, f"302:{RECORD}", "--reason", "lost")
    until(lambda: resolved(door, "a")[0] != 200, seconds=60)
    assert 302 not in published(top)


def test_the_key_of_an_administrator(tree, tmp_path):
    """A second key beside the first, with its rights; the first, revoked, proves nobody."""
    _, child, _ = tree
    keys = [tmp_path / f"{n}.pem" for n in range(2)]
    public = [tmp_path / f"{n}.pub" for n in range(2)]
    for at in range(2):
        ok("key", "new", keys[at], "--type", "p256", "--public", public[at])
    shown = json.loads(ok("key", "show", public[0], "--json"))
    alice = Reference(f"{PREFIX}/alice".encode(), 300)
    admin = {"handle": alice.handle.decode(), "index": 300, "permissions": "011111110011"}
    values = [
        {
            "index": 300,
            "type": "HS_PUBKEY",
            "data": {"format": "base64", "value": shown["hs_pubkey"]},
        },
        {"index": 100, "type": "HS_ADMIN", "data": {"format": "admin", "value": admin}},
    ]
    file = tmp_path / "alice.jsonl"
    file.write_text(json.dumps({"handle": alice.handle.decode(), "values": values}) + "\n")
    ok("register", file, "--node", child.folder)
    server = f"127.0.0.1:{child.ready['irp']}"

    def login(index, key):
        done = biaoshi("auth", "test", f"{index}:{PREFIX}/alice={key}", "--server", server)
        return done.returncode == 0, done.stdout + done.stderr

    assert login(300, keys[0])[0], login(300, keys[0])[1]
    told = ok("key", "rotate", child.folder, alice.text(), "--public", public[1])
    assert f"301:{PREFIX}/alice" in told
    assert login(300, keys[0])[0]
    assert login(301, keys[1])[0], login(301, keys[1])[1]
    ok("key", "revoke", child.folder, alice.text(), "--reason", "left")
    assert published(child, f"{PREFIX}/alice")[300] == "0.REVOKED"
    assert not login(300, keys[0])[0]
    assert login(301, keys[1])[0]
    assert fingerprint(read_any_key(public[1]).public) in ok("key", "show", public[1])
