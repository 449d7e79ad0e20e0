"""Further prefixes on copies of a node, and over the network: mirrors, backups, revocation."""

from __future__ import annotations

import time

import pytest

from resolver.config import FaceSettings
from tests.resolver.nodes import biaoshi, enrol, make, make_door, ok, until
from tests.resolver.trust.mirrored import announced, caught_up, mirror_of, ports, tree_of
from tests.resolver.trust.test_further_prefixes import register, signer_of, verified

STATUS_S = 2
"""How long the recursive node here trusts a key's status; 30 s by default, 60 s at most."""


@pytest.fixture
def primary(tmp_path):
    """A node that stands alone, with a further prefix and a record there; and its HTTPS port."""
    http, https = ports(2)
    faces = FaceSettings(irp=0, http=http, https=https)
    folder = make(tmp_path / "top", "88", role="top", faces=faces)
    ok("prefix", "home", "20.500", "--node", folder)
    register(folder, tmp_path, "20.500/before")
    return folder, https


def all_verified(folder, tmp_path, root_key, *names):
    found_ = verified(folder, tmp_path, root_key)
    for name in names:
        assert found_[name]["ok"], found_[name]
        assert "signer 302:0.NA/20.500" in signer_of(found_[name])


@pytest.mark.timeout(200)
def test_a_mirror_serves_and_goes_on_signing(primary, tmp_path, serve):
    """The copy's records verify; promoted, it signs new ones in the further prefix with its key."""
    folder, https = primary
    root_key = folder / "keys/root_pub.pem"
    mirror = mirror_of(folder, https, tmp_path / "mirror", prefix="88")
    first, copy = serve(folder), serve(mirror)
    announced(first, copy, b"0.NA/88")
    register(folder, tmp_path, "20.500/beside")
    caught_up(mirror, tree_of(folder))
    assert copy.get("/api/handles/20.500/beside") == first.get("/api/handles/20.500/beside")
    first.stop()
    copy.stop()
    all_verified(mirror, tmp_path, root_key, "20.500/before", "20.500/beside")
    ok("promote", mirror, "--keys", folder)
    copy = serve(mirror)
    register(mirror, tmp_path, "20.500/after")
    all_verified(mirror, tmp_path, root_key, "20.500/before", "20.500/beside", "20.500/after")
    assert copy.get("/api/handles/20.500/after")[0] == 200


def test_a_restored_node_goes_on_signing(primary, tmp_path, serve):
    """What a backup brings back verifies; after a new epoch, so does what is registered there."""
    folder, _ = primary
    root_key = folder / "keys/root_pub.pem"
    ok("backup", folder, tmp_path / "b.tar")
    back = tmp_path / "back"
    ok("restore", tmp_path / "b.tar", back)
    all_verified(back, tmp_path, root_key, "20.500/before")
    ok("epoch", "confirm", back)
    node = serve(back)
    register(back, tmp_path, "20.500/after")
    all_verified(back, tmp_path, root_key, "20.500/before", "20.500/after")
    assert node.get("/api/handles/20.500/after")[0] == 200


@pytest.mark.timeout(200)
def test_a_revoked_further_prefix_is_refused_over_the_network(tmp_path, serve):
    """Within its minute a recursive node refuses that prefix's records, and no others."""
    top = serve(make(tmp_path / "top", "88", role="top"))
    child = serve(make(tmp_path / "child", "88.118", parent=top.url))
    enrol(child, top, "88.118")
    ok("prefix", "home", "88.119", "--node", child.folder)
    ok("prefix", "approve", "88.119", "--node", top.folder)
    ok("prefix", "request", "88.119", "--node", child.folder, "--wait")
    register(child.folder, tmp_path, "88.118/a", "88.119/a")
    door = serve(make_door(tmp_path / "door", top, verify="required", key_status_s=STATUS_S))

    def status(name):
        return door.get(f"/api/resolve?id={name}")[0]

    assert (until(lambda: status("88.119/a") == 200), status("88.118/a")) == (True, 200)
    done = biaoshi("key", "revoke", top.folder, "302:0.NA/88.119", "--reason", "stolen")
    assert done.returncode == 0, done.stderr
    began = time.monotonic()
    until(lambda: status("88.119/a") != 200, seconds=60)
    assert time.monotonic() - began < 60
    assert "revoked" in str(door.get("/api/resolve?id=88.119/a&steps=1")[1])
    assert status("88.118/a") == 200
