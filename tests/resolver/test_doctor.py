"""`biaoshi doctor`: well nodes are well, and each thing that is broken is named with what to mend."""

from __future__ import annotations

import json

import pytest

from resolver.doctor.findings import State
from tests.resolver.nodes import Serving, biaoshi, make


def _doctor(*arguments):
    done = biaoshi("doctor", *arguments, "--json")
    shape = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    found = {}
    for finding in shape.get("findings", ()):
        found.setdefault((finding["check"], finding["state"]), []).append(finding)
    return done.returncode, shape, found


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A top-level node and a child of it that is home to its prefix."""
    base = tmp_path_factory.mktemp("pair")
    running = [Serving(make(base / "top", "88", role="top"))]
    try:
        top = running[0]
        child = make(base / "child", "88.118", parent=top.url, role="second")
        running.append(Serving(child))
        yield top, running[1]
    finally:
        for node in running:
            node.end()


@pytest.mark.timeout(120)
def test_doctor(pair):
    """A standing-alone root is well; a child before, after and without its delegation."""
    top, child = pair
    root = ("--root", top.url, "--root-key", top.folder / "keys" / "root_pub.pem")
    code, shape, found = _doctor(top.folder)
    assert (code, shape["fault"]) == (0, 0), shape
    for check in ("settings", "keys", "store", "running", "reachable", "ready", "clock", "chain"):
        assert (check, "ok") in found, check
    assert len(found["faces", "ok"]) == 4

    code, _, found = _doctor(child.folder, *root)
    assert code == 1
    assert "biaoshi prefix request" in found["delegation", "fault"][0]["mend"]
    assert "homed" in found["ready", "fault"][0]["text"]

    for step in (
        ("prefix", "request", "--node", child.folder),
        ("prefix", "approve", "88.118", "--node", top.folder),
        ("prefix", "request", "--node", child.folder, "--wait"),
    ):
        assert biaoshi(*step).returncode == 0
    code, shape, found = _doctor(child.folder, *root)
    assert (code, shape["fault"]) == (0, 0), shape
    assert "chain of 2 to root" in found["chain", "ok"][0]["text"]
    assert len(found["delegation", "ok"]) == 2

    # From outside, by its address alone.
    code, shape, found = _doctor(child.url, "--prefix", "88.118", "--parent", top.url, *root)
    assert (code, shape["fault"]) == (0, 0), shape
    assert ("settings", "ok") not in found

    # Another trusted key: the chain does not hold.
    wrong = child.folder / "siteinfo.json"
    code, _, found = _doctor(
        child.url, "--prefix", "88.118", "--root", top.url, "--root-key", wrong
    )
    assert code == 1
    assert found["chain", "fault"]

    (child.folder / "keys" / "log_key.pem").chmod(0o644)
    code, _, found = _doctor(child.folder, *root)
    assert code == 1
    assert "log_key" in found["keys", "fault"][0]["text"]
    (child.folder / "keys" / "log_key.pem").chmod(0o600)

    child.stop()
    code, _, found = _doctor(child.folder)
    assert code == 3
    assert "biaoshi serve" in found["running", "fault"][0]["mend"]
    assert _doctor("/nowhere")[0] == 2
    assert {state.value for state in State} == {"ok", "skipped", "warning", "fault"}
