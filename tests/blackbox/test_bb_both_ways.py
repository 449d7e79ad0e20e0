"""Both directions with a Handle.Net server of the distribution in HSJ: moving from it, resolving it."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode

import pytest

from protocol.doirp.header import OpCode
from protocol.record import Reference
from protocol.values.hs_site import encode_site
from resolver.config import (
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    RecursionSettings,
    Settings,
)
from resolver.founding import found
from tests.blackbox.handle_net import PREFIX, HandleNetServer
from tests.blackbox.java_client import JavaClient, require_hsj
from tests.blackbox.target import COMMAND, ENVIRONMENT, OURS, Target, read_key
from tests.blackbox.wire import Wire, admin, value, valued
from tests.resolver.nodes import Serving

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]


def biaoshi(*arguments):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A running Handle.Net server with some records."""
    require_hsj()
    server = HandleNetServer(tmp_path_factory.mktemp("handle-net"))
    wire = Wire(server.target)
    for number in range(120):
        name = server.target.name(f"thing-{number}")
        url = value(1, "URL", f"https://example.org/{number}", ttl=number)
        hidden = value(5, "NOTE", b"\x00\xff hidden", 0b1100)
        assert wire.create(name, url, hidden, admin(server.target)).code == 1
    yield server
    server.stop()


def test_moving_while_it_runs(old, tmp_path):
    """`biaoshi import --from`: every record, what was changed meanwhile, the same digest at the end."""
    node = tmp_path / "new"
    done = biaoshi(
        *("init", node, "--role", "enterprise", "--prefix", PREFIX),
        *("--irp", "0", "--http", "0", "--https", "0"),
    )
    assert done.returncode == 0, done.stderr
    move = [
        *("import", "--from", f"127.0.0.1:{old.target.irp}", "--node", node, "--json"),
        *("--server-key", old.folder / "siteinfo.json"),
    ]
    first = biaoshi(*move, "--auth", f"301:0.NA/{PREFIX}={old.folder / 'secret.txt'}")
    assert first.returncode == 0, first.stdout + first.stderr
    told = json.loads(first.stdout)
    assert told["comparison"]["same"] is True
    assert told["comparison"]["ours"] == 120
    assert told["moved_keys"] == [[300, f"303:0.NA/{PREFIX}"]]
    wire = Wire(old.target)
    changed, gone = old.target.name("thing-1"), old.target.name("thing-2")
    assert wire.administer(OpCode.MODIFY_VALUE, valued(changed, value(1, "URL", "new"))).code == 1
    second = biaoshi(*move, "--auth", f"300:0.NA/{PREFIX}={old.folder / 'admpriv.bin'}")
    told = json.loads(second.stdout)
    assert (told["resumed"], told["records"]) == (True, {"replaced": 1})
    assert told["comparison"]["same"] is True
    assert wire.delete(gone).code == 1
    third = biaoshi(*move, "--auth", f"300:0.NA/{PREFIX}={old.folder / 'admpriv.bin'}")
    assert third.returncode == 0, third.stderr
    moved = Serving(node)
    try:
        ours = Target("127.0.0.1", moved.ready["irp"], None, None, b"", None, PREFIX)
        body = valued(changed, value(1, "URL", "by the old keys"))
        for who, key in (
            (old.target.by_key, old.target.key),
            (old.target.by_secret, old.target.secret),
        ):
            assert Wire(ours).administer(OpCode.MODIFY_VALUE, body, who=who, key=key).code == 1
    finally:
        moved.stop()
        moved.end()
    told = json.loads(third.stdout)
    assert (told["resumed"], told["records"]) == (True, {"deleted": 1})
    assert (told["comparison"]["same"], told["comparison"]["ours"]) == (True, 119)


def test_who_may_not_move_it(old, tmp_path):
    """A wrong secret and a wrong server key are told apart, and nothing is written."""
    node = tmp_path / "new"
    biaoshi(*("init", node, "--role", "enterprise", "--prefix", PREFIX, "--irp", "0"))
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("nonsense")
    wrong.chmod(0o600)
    source = ("import", "--from", f"127.0.0.1:{old.target.irp}", "--node", node)
    done = biaoshi(*source, "--auth", f"301:0.NA/{PREFIX}={wrong}")
    assert done.returncode == 4
    assert "did not accept" in done.stderr
    right = f"301:0.NA/{PREFIX}={old.folder / 'secret.txt'}"
    key = node / "keys" / "root_pub.pem"
    done = biaoshi(*source, "--auth", right, "--server-key", key)
    assert done.returncode != 0
    assert "another key" in done.stderr


@pytest.fixture(scope="module")
def top(old, tmp_path_factory):
    """A node of ours that delegates the old server's prefix to it."""
    folder = tmp_path_factory.mktemp("tree") / "top"
    ports = ("--irp", "0", "--http", "0", "--https", "0")
    assert biaoshi("init", folder, "--role", "top", "--prefix", "86", *ports).returncode == 0
    site = {"format": "base64", "value": b64encode(encode_site(old.site)).decode()}
    key = b64encode((old.folder / "admpub.bin").read_bytes()).decode()
    members = [{"handle": f"0.NA/{PREFIX}", "index": index} for index in (300, 301)]
    row = {
        "handle": f"0.NA/{PREFIX}",
        "values": [
            {"index": 1, "type": "HS_SITE", "data": site},
            {"index": 200, "type": "HS_VLIST", "data": {"format": "vlist", "value": members}},
            {"index": 300, "type": "HS_PUBKEY", "data": {"format": "base64", "value": key}},
        ],
    }
    rows = folder.parent / "delegation.jsonl"
    rows.write_text(json.dumps(row))
    assert biaoshi("register", rows, "--node", folder).returncode == 0
    node = Serving(folder)
    yield node
    node.stop()
    node.end()


def test_our_tree_resolves_it(top):
    """A prefix record of ours with its HS_SITE is all that our resolver needs."""
    for name, code in (("thing-7", 0), ("nothing", 1)):
        done = biaoshi("resolve", f"{PREFIX}/{name}", "--root", top.folder, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        assert ("https://example.org/7" in done.stdout) is (code == 0)


def test_its_administrators_are_known_here(old, top, tmp_path):
    """Key and secret of a handle on the old server prove an identity at a node of ours."""
    settings = Settings(
        node=NodeSettings(role="enterprise", prefix="77.1"),
        faces=FaceSettings(irp=0, http=0, https=0),
        recursion=RecursionSettings(
            enabled=True, roots=(top.url,), root_keys=(str(top.folder / "keys/root_pub.pem"),)
        ),
        outbound=OutboundSettings(allow=("127.0.0.0/8",)),
    )
    found(tmp_path / "ours", settings)
    node = Serving(tmp_path / "ours")
    try:
        key = read_key(node.folder / "keys" / "admin_300.bin")
        ours = Target("127.0.0.1", node.ready["irp"], None, None, b"", key, "77.1")
        wire = Wire(ours)
        own = {"who": ours.by_key, "key": ours.key}
        theirs = admin(ours, 101, who=Reference(old.target.record, 200))
        made = (value(1, "DESC", "1"), admin(ours), theirs)
        assert wire.create(b"77.1/shared", *made, **own).code == 1
        for who, proof, code in (
            (old.target.by_secret, old.target.secret, 1),
            (old.target.by_key, old.target.key, 1),
            (old.target.by_secret, b"wrong", 403),
        ):
            body = valued(b"77.1/shared", value(1, "DESC", who.text()))
            reply = wire.administer(OpCode.MODIFY_VALUE, body, who=who, key=proof)
            assert reply.code == code, (who, proof)
    finally:
        node.stop()
        node.end()


def test_java_finds_ours_by_our_prefix_record(target, wire, fresh, tmp_path):
    """A client that knows only who answers for 0.NA follows the HS_SITE of our prefix record."""
    require_hsj()
    if target.kind != OURS:
        pytest.skip("this is about the prefix records of our nodes")
    from tests.blackbox.rest import Rest

    site = Rest(target).get("/api/site").json["site"]
    java = JavaClient(tmp_path / "java", site)
    (java.home / ".handle" / "local_nas").write_text("0.NA\n")
    name = fresh("found")
    assert wire.create(name, value(1, "URL", "https://example.org/found"), admin(target)).code == 1
    done = java.tool("hdl-qresolver", name.decode())
    assert "https://example.org/found" in done.stdout, done.stdout + done.stderr
    assert wire.delete(name).code == 1
