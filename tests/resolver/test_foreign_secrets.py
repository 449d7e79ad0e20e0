"""Administrators whose secret lies at another node: its server is asked, and the secret stays there."""

from __future__ import annotations

import pytest

from protocol.doirp.header import OpCode
from protocol.record import HandleValue, Reference
from protocol.values.hs_admin import Admin, encode_admin
from resolver.config import (
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    RecursionSettings,
    Settings,
)
from resolver.founding import found
from tests.blackbox.rest import Rest
from tests.blackbox.target import Target, read_key
from tests.blackbox.wire import Wire, admin, valued
from tests.resolver.nodes import Serving, make

pytestmark = pytest.mark.timeout(120)
AUDITOR = Reference(b"88/auditor", 300)
SECRET = b"geheim"
KEEPER = Reference(b"88/keeper", 300)
NOTE = HandleValue(9, b"NOTE", b"checked")


def target_of(node: Serving, prefix: str) -> Target:
    key_file = node.folder / "keys" / "admin_300.bin"
    ready = node.ready
    key = read_key(key_file)
    return Target("127.0.0.1", ready["irp"], ready["http"], ready["https"], b"", key, prefix)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Two nodes; the second asks the first about names that are not its own."""
    top = Serving(make(tmp_path_factory.mktemp("secrets") / "top", "88", role="top"))
    folder = tmp_path_factory.mktemp("secrets") / "steel"
    settings = Settings(
        node=NodeSettings(role="enterprise", prefix="77.1"),
        faces=FaceSettings(irp=0, http=0, https=0),
        recursion=RecursionSettings(
            enabled=True, roots=(top.url,), root_keys=(str(top.folder / "keys/root_pub.pem"),)
        ),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
    )
    found(folder, settings)
    steel = Serving(folder)
    yield top, steel
    for node in (top, steel):
        node.stop()
        node.end()


@pytest.fixture(scope="module")
def plate(nodes):
    """A record at the second node that administrators of the first may add values to."""
    top, steel = (
        Wire(target_of(node, prefix)) for node, prefix in zip(nodes, ("88", "77.1"), strict=True)
    )
    by_key = {"who": top.target.by_key, "key": top.target.key}
    for who in (AUDITOR, KEEPER):
        secret = HandleValue(300, b"HS_SECKEY", SECRET, permissions=0b1100)
        assert top.create(who.handle, secret, admin(top.target), **by_key).code == 1
    right = encode_admin(Admin(0x0070, AUDITOR.handle, 300))
    made = (HandleValue(1, b"DESC", b"plate"), HandleValue(100, b"HS_ADMIN", right))
    by_key = {"who": steel.target.by_key, "key": steel.target.key}
    name = b"77.1/plate"
    assert steel.create(name, *made, admin(steel.target, 101), **by_key).code == 1
    return name


def change(node, name, value, who=AUDITOR, secret=SECRET, **more):
    wire = Wire(target_of(node, "77.1"), **more)
    return wire.administer(OpCode.ADD_VALUE, valued(name, value), who=who, key=secret).code


def test_its_server_is_asked(nodes, plate):
    """The right secret proves, another one and another identity do not; rights are as ever."""
    steel = nodes[1]
    assert change(steel, plate, NOTE) == 1
    other = HandleValue(10, b"NOTE", b"no")
    assert change(steel, plate, other, secret=b"wrong") == 403
    assert change(steel, plate, other, who=Reference(b"88/auditor", 301)) == 403
    assert change(steel, plate, other, who=Reference(b"88/nobody", 300)) == 403
    assert change(steel, plate, other, who=KEEPER) == 400
    found_ = Wire(target_of(steel, "77.1")).resolve(plate, types=[b"NOTE"]).values
    assert [value.data for value in found_] == [b"checked"]


def test_in_a_session(nodes, plate):
    """A session set up for the identity is proved once."""
    wire = Wire(target_of(nodes[1], "77.1"))
    assert wire.set_up(AUDITOR).code == 1
    body = valued(plate, HandleValue(11, b"NOTE", b"a"))
    assert wire.administer(OpCode.ADD_VALUE, body, who=AUDITOR, key=SECRET).code == 1
    assert wire.ask(OpCode.ADD_VALUE, valued(plate, HandleValue(12, b"NOTE", b"b"))).code == 1


def test_over_http(nodes, plate):
    """Basic, and a session opened by it."""
    rest = Rest(target_of(nodes[1], "77.1"))
    path = f"/api/handles/{plate.decode()}"

    def put(index, **more):
        body = [{"index": index, "type": "NOTE", "data": "x"}]
        return rest.ask("PUT", f"{path}?index={index}", body, tls=True, **more).status

    who = AUDITOR.text()
    assert put(20, user=(who, SECRET)) == 201
    assert put(21, user=(who, b"wrong")) == 401
    opened = rest.ask("POST", "/api/sessions", tls=True, user=(who, SECRET)).json
    assert opened["authenticated"] is True
    named = {"Authorization": f'Handle sessionId="{opened["sessionId"]}"'}
    assert put(22, headers=named) == 201
    refused = rest.ask("POST", "/api/sessions", tls=True, user=(who, b"wrong")).json
    assert "authenticated" not in refused


def test_nobody_to_ask(nodes, plate):
    """Where no root leads to the identity's record the proof fails as not checkable: 406."""
    assert change(nodes[1], plate, NOTE, who=Reference(b"55.5/x", 300)) == 406
