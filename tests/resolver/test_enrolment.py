"""Enrolment end to end: two real nodes, the commands of their operators, and what is refused."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from protocol.errors import ResponseCode
from protocol.keys import encode_spki
from registry.prefixes import Prefixes
from registry.store.lmdb_store import LmdbStore
from resolver.keyfiles import read_public_keys
from resolver.parent import load_pinned
from resolver.pem import format_public_pem
from tests.resolver.nodes import COMMAND, ENVIRONMENT, PATIENCE_S, Serving, biaoshi, make, until


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A top-level node of prefix 88, running; each test has prefixes of its own under it."""
    node = Serving(make(tmp_path_factory.mktemp("parent") / "top", "88", role="top"))
    yield node
    node.end()


def _child(tmp_path, parent, prefix, name="child"):
    return make(tmp_path / name, prefix, parent=parent.url, role="second")


def _said(values):
    """Values without the times at which each node wrote them."""
    return {replace(value, timestamp=0) for value in values}


def _state(folder, prefix):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        row = Prefixes(store).get(prefix.encode())
    finally:
        store.close()
    return None if row is None else row.state


def _ok(*arguments):
    done = biaoshi(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_is_home_after_both_acts_and_not_before(tmp_path, serve, parent):
    """Applied, approved, homed: until then 301, afterwards it answers and may delegate in turn."""
    folder = _child(tmp_path, parent, "88.118")
    node = serve(folder)
    assert node.ask(b"0.NA/88.118")[0] == ResponseCode.SERVER_NOT_RESPONSIBLE
    assert node.get("/health/ready")[1]["checks"]["homed"] is False
    applied = json.loads(_ok("prefix", "request", "--node", folder, "--json"))
    assert (applied["state"], applied["parent"]) == ("requested", "88")
    assert node.ask(b"88.118/x")[0] == ResponseCode.SERVER_NOT_RESPONSIBLE
    (waiting,) = map(
        json.loads,
        _ok(
            "prefix", "list", "--node", parent.folder, "--state", "requested", "--json"
        ).splitlines(),
    )
    assert waiting["prefix"] == "88.118"
    _ok("prefix", "approve", "88.118", "--node", parent.folder)
    done = json.loads(_ok("prefix", "request", "--node", folder, "--wait", "--json"))
    assert done["state"] == "homed"
    code, values = node.ask(b"0.NA/88.118")
    assert code == ResponseCode.SUCCESS
    assert {value.index for value in values} >= {1, 300, 302, 400, 402, 410}
    assert _said(parent.ask(b"0.NA/88.118")[1]) == _said(values)
    assert node.ask(b"88.118/x")[0] == ResponseCode.HANDLE_NOT_FOUND
    assert node.get("/health/ready")[0] == 200
    below = make(tmp_path / "below", "88.118.8", parent=node.url)
    _ok("prefix", "request", "--node", below)
    _ok("prefix", "approve", "88.118.8", "--node", folder)
    _ok("prefix", "request", "--node", below, "--wait")
    assert _state(below, "88.118.8") == "homed"


def test_a_running_child_homes_itself(tmp_path, serve, parent):
    """Nobody has to wait at a command line: the node looks until it sees the delegation."""
    folder = _child(tmp_path, parent, "88.119")
    node = serve(folder)
    _ok("prefix", "request", "--node", folder)
    _ok("prefix", "approve", "88.119", "--node", parent.folder)
    until(lambda: node.ask(b"88.119/x")[0] == ResponseCode.HANDLE_NOT_FOUND)
    until(lambda: "homed" in node.events())


def test_a_child_that_does_not_run_is_homed_by_the_command(tmp_path, parent):
    """request --wait does it itself when no node serves the folder; here over HTTPS."""
    folder = _child(tmp_path, parent, "88.120")
    secure = f"https://127.0.0.1:{parent.ready['https']}"
    _ok("prefix", "request", "--node", folder, "--parent", secure)
    _ok("prefix", "approve", "88.120", "--node", parent.folder)
    _ok("prefix", "request", "--node", folder, "--wait")
    assert _state(folder, "88.120") == "homed"


def test_the_secret_of_the_child_stays_with_it(tmp_path, parent):
    """The published record names 301 and never holds it."""
    (tmp_path / "secret").write_text("hush\n")
    folder = tmp_path / "child"
    options = ["--role", "second", "--prefix", "88.121", "--parent", parent.url]
    _ok("init", folder, *options, "--admin-secret", tmp_path / "secret")
    _ok("prefix", "request", "--node", folder)
    _ok("prefix", "approve", "88.121", "--node", parent.folder)
    _ok("prefix", "request", "--node", folder, "--wait")
    values = {value.index: value for value in parent.ask(b"0.NA/88.121")[1]}
    assert 102 in values
    assert 301 not in values
    store = LmdbStore.open(folder / "store", readonly=True)
    raw = b"".join(bytes(value) for value in _raw_records(store))
    store.close()
    assert b"hush" in raw


def _raw_records(store):
    from registry.store import Table

    with store.snapshot() as state:
        return [value for _, value in state.scan(Table.RECORDS)]


def test_another_key_cannot_take_a_name_that_is_asked_for(tmp_path, parent):
    """The first applicant has it until the operator decides; the second is told so."""
    first, second = _child(tmp_path, parent, "88.122"), _child(tmp_path, parent, "88.122", "other")
    _ok("prefix", "request", "--node", first)
    _ok("prefix", "request", "--node", first)  # again, the same: no harm
    refused = biaoshi("prefix", "request", "--node", second)
    assert refused.returncode == 1
    assert "88.122 was requested already, with another key" in refused.stderr
    _ok("prefix", "approve", "88.122", "--node", parent.folder)
    refused = biaoshi("prefix", "request", "--node", second)
    assert "with another key" in refused.stderr
    assert _state(second, "88.122") == "waiting"


def test_a_refusal_reaches_the_child(tmp_path, parent):
    """With the operator's reason; the name is free for another afterwards."""
    first = _child(tmp_path, parent, "88.123")
    second = _child(tmp_path, parent, "88.123", "other")
    waiting = subprocess.Popen(
        [*COMMAND, "prefix", "request", "--node", str(first), "--wait"],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    until(lambda: _state(parent.folder, "88.123") == "requested")
    reason = ["--refuse", "--reason", "not our customer"]
    _ok("prefix", "approve", "88.123", "--node", parent.folder, *reason)
    said = waiting.communicate(timeout=PATIENCE_S)[1]
    assert waiting.returncode == 1
    assert "the parent refused 88.123: not our customer" in said
    shown = _ok("prefix", "show", "88.123", "--node", parent.folder)
    assert "not our customer" in shown
    _ok("prefix", "request", "--node", second)
    assert _state(parent.folder, "88.123") == "requested"


@pytest.mark.parametrize("prefix", ["89.1", "88", "881.1"])
def test_a_prefix_that_is_not_under_the_parent_is_refused(tmp_path, parent, prefix):
    """A node gives away what lies under its own prefix and nothing else."""
    folder = make(tmp_path / "child", prefix, parent=parent.url)
    refused = biaoshi("prefix", "request", "--node", folder)
    assert refused.returncode == 1
    assert "is home to 88" in refused.stderr


def test_the_parents_key_is_pinned(tmp_path, serve, parent):
    """Whoever answers at the parent's address with another key is not believed."""
    folder = _child(tmp_path, parent, "88.124")
    right, wrong = parent.folder / "keys/root_pub.pem", tmp_path / "wrong.pem"
    other = make(tmp_path / "impostor", "88", role="top")
    wrong.write_bytes((other / "keys/root_pub.pem").read_bytes())
    refused = biaoshi("prefix", "request", "--node", folder, "--parent-key", wrong)
    assert refused.returncode == 4
    assert "--parent-key" in refused.stderr
    assert load_pinned(folder) is None
    _ok("prefix", "request", "--node", folder, "--parent-key", right)
    pinned = load_pinned(folder)
    assert encode_spki(pinned.key) == encode_spki(read_public_keys(right)[0])
    assert format_public_pem(pinned.key) == right.read_bytes()


def test_a_child_that_moved_tells_its_parent(tmp_path, serve, parent):
    """New ports at the next start: the parent publishes them without another approval."""
    folder = _child(tmp_path, parent, "88.125")
    node = serve(folder)
    _ok("prefix", "request", "--node", folder)
    _ok("prefix", "approve", "88.125", "--node", parent.folder)
    _ok("prefix", "request", "--node", folder, "--wait")
    assert node.stop() == 0
    node = serve(folder)

    def published():
        values = parent.get("/api/handles/0.NA/88.125?type=HS_SITE")[1]["values"]
        server = values[0]["data"]["value"]["servers"][0]
        return {one["port"] for one in server["interfaces"]} == {
            node.ready["irp"],
            node.ready["http"],
            node.ready["https"],
        }

    until(published)
    until(lambda: _said(node.ask(b"0.NA/88.125")[1]) == _said(parent.ask(b"0.NA/88.125")[1]))


def test_a_given_prefix_is_taken_back_by_deleting_its_record(tmp_path, parent):
    """Refusing comes too late once it is given: the message says how, and then it is free again."""
    folder = _child(tmp_path, parent, "88.131")
    _ok("prefix", "request", "--node", folder)
    _ok("prefix", "approve", "88.131", "--node", parent.folder)
    done = biaoshi("prefix", "approve", "88.131", "--refuse", "--node", parent.folder)
    assert (done.returncode, "delete its record 0.NA/88.131" in done.stderr) == (1, True)
    (tmp_path / "away.txt").write_text("DELETE 0.NA/88.131\n")
    _ok("register", tmp_path / "away.txt", "--node", parent.folder)
    assert "88.131" not in _ok("prefix", "list", "--node", parent.folder)
    other = make(tmp_path / "other", "88.131", parent=parent.url)
    _ok("prefix", "request", "--node", other)


def test_what_nobody_asked_for_cannot_be_approved(tmp_path, parent):
    """Exit code 1 and the command that shows what waits."""
    for prefix in ("88.7", "88"):
        done = biaoshi("prefix", "approve", prefix, "--node", parent.folder)
        assert done.returncode == 1
        assert "biaoshi prefix list" in done.stderr


def test_a_node_alone_has_nobody_to_ask(parent):
    """Exit code 2 and the next step."""
    done = biaoshi("prefix", "request", "--node", parent.folder)
    assert done.returncode == 2
    assert "--parent URL" in done.stderr


def test_a_silent_parent_is_named(tmp_path):
    """Exit code 3 with the address."""
    folder = make(tmp_path / "child", "88.126", parent="http://127.0.0.1:9")
    done = biaoshi("prefix", "request", "--node", folder, "--parent", "http://127.0.0.1:1999")
    assert done.returncode == 3
    assert "http://127.0.0.1:1999" in done.stderr


def test_what_is_no_request_gets_a_problem_document(parent):
    """Wrong methods, octets and prefixes are answered with a status and a reason."""
    for method, path, body, status in (
        ("GET", "/api/delegations", None, 405),
        ("POST", "/api/delegations/88.1", b"x", 405),
        ("POST", "/api/delegations", b"not a JWS", 400),
        ("POST", "/api/delegations", b"x" * 70_000, 413),
        ("GET", "/api/delegations/89.1", None, 404),
        ("GET", "/api/delegations/88..1", None, 400),
    ):
        asked = urllib.request.Request(f"{parent.url}{path}", data=body, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=10)
        assert refused.value.code == status, path
        assert json.load(refused.value)["status"] == status
    assert parent.get("/api/delegations/88.999")[1]["state"] == "none"
