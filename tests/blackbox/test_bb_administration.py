"""Administration over sockets: every operation, every error code of do-irp 17.4, every right of 17.3."""

from __future__ import annotations

import secrets

import pytest

from protocol.doirp.administration import decode_names_reply
from protocol.doirp.header import Flag, OpCode
from protocol.record import Reference
from protocol.values.hs_vlist import encode_vlist
from tests.blackbox.differences import expected
from tests.blackbox.wire import (
    HTTP,
    HTTPS,
    PLAIN_FLAGS,
    TCP,
    UDP,
    Wire,
    admin,
    named,
    numbered,
    value,
    valued,
)

Op = OpCode
OWE = PLAIN_FLAGS | Flag.OWE


@pytest.fixture
def record(wire, fresh, target):
    """A record to change."""
    name = fresh("record")
    made = (value(1, "URL", "https://example.org/1"), value(2, "DESC", "two"), admin(target))
    assert wire.create(name, *made).code == 1
    return name


def contents(wire, name):
    return {v.index: v.data for v in wire.resolve(name).values if v.type != b"HS_ADMIN"}


@pytest.mark.parametrize("transport", [TCP, UDP, HTTP, HTTPS])
@pytest.mark.parametrize("by", ["secret", "key"])
def test_a_whole_life(target, fresh, transport, by):
    """Create, add, modify, remove, delete, and each error of doing it twice."""
    wire = Wire(target, transport)
    who = {
        "who": target.by_secret if by == "secret" else target.by_key,
        "key": target.secret if by == "secret" else target.key,
    }
    name = fresh(f"life-{transport}-{by}")

    def do(operation, body, flags=PLAIN_FLAGS):
        return wire.administer(operation, body, flags, **who).code

    first = (value(1, "URL", "https://example.org/"), admin(target))
    created = wire.administer(Op.CREATE_HANDLE, valued(name, *first), **who)
    assert created.code == 1
    assert created.body == len(name).to_bytes(4) + name
    assert created.message.header.opcode == Op.CREATE_HANDLE
    assert do(Op.CREATE_HANDLE, valued(name, *first)) == 101
    assert do(Op.ADD_VALUE, valued(name, value(2, "DESC", "two"), value(3, "EMAIL", "e"))) == 1
    assert do(Op.ADD_VALUE, valued(name, value(2, "DESC", "again"))) == 201
    assert do(Op.ADD_VALUE, valued(name, value(2, "DESC", "zwei")), OWE) == 1
    assert do(Op.MODIFY_VALUE, valued(name, value(3, "EMAIL", "other"))) == 1
    assert do(Op.MODIFY_VALUE, valued(name, value(9, "EMAIL", "other"))) == 200
    assert contents(wire, name) == {1: b"https://example.org/", 2: b"zwei", 3: b"other"}
    assert do(Op.REMOVE_VALUE, numbered(name, 3)) == 1
    assert do(Op.REMOVE_VALUE, numbered(name, 3)) == 200
    assert do(Op.DELETE_HANDLE, named(name)) == 1
    assert do(Op.DELETE_HANDLE, named(name)) == 100
    assert wire.resolve(name).code == 100


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        (Op.CREATE_HANDLE, lambda n: valued(n + b"-2", value(1, "A", ""), value(1, "B", "")), 201),
        (Op.CREATE_HANDLE, lambda n: valued(n + b"-2", value(0, "A", "")), 202),
        (Op.CREATE_HANDLE, lambda n: valued(b"99.1234/x", value(1, "A", "")), 301),
        (Op.CREATE_HANDLE, lambda n: valued(n + b"\xff\xfe", value(1, "A", "")), 102),
        (Op.CREATE_HANDLE, lambda n: valued(n, value(1, "A", "")), 101),
        (Op.ADD_VALUE, valued, 202),
        (Op.ADD_VALUE, lambda n: valued(n, value(0, "A", "")), 202),
        (Op.ADD_VALUE, lambda n: valued(n, value(7, "A", ""), value(7, "B", "")), 201),
        (Op.ADD_VALUE, lambda n: valued(n, value(7, "A", ""), value(1, "B", "")), 201),
        (Op.ADD_VALUE, lambda n: valued(n + b"-none", value(7, "A", "")), 100),
        (Op.MODIFY_VALUE, lambda n: valued(n, value(1, "A", "new"), value(99, "B", "")), 200),
        (Op.MODIFY_VALUE, lambda n: valued(n, value(0, "A", "")), 200),
        (Op.MODIFY_VALUE, lambda n: valued(n + b"-none", value(1, "A", "")), 100),
        (Op.REMOVE_VALUE, lambda n: numbered(n, 1, 99), 200),
        (Op.REMOVE_VALUE, lambda n: numbered(n + b"-none", 1), 100),
        (Op.DELETE_HANDLE, lambda n: named(n + b"-none"), 100),
        (Op.LIST_HANDLES, lambda _: named(b"0.NA/99.1234"), 301),
        (Op.LIST_HANDLES, named, 301),
    ],
)
def test_refusals_change_nothing(wire, record, operation, body, code):
    """Each error of the table, and the record is as it was."""
    before = contents(wire, record)
    assert wire.administer(operation, body(record)).code == code
    assert contents(wire, record) == before


@pytest.mark.parametrize(
    ("name", "operation", "body"),
    [
        (
            "public-secret",
            Op.CREATE_HANDLE,
            lambda n: valued(n + b"-a", value(1, "HS_SECKEY", "x")),
        ),
        ("broken-admin", Op.CREATE_HANDLE, lambda n: valued(n + b"-b", value(1, "HS_ADMIN", "x"))),
        ("empty-type", Op.CREATE_HANDLE, lambda n: valued(n + b"-c", value(1, "", "x"))),
        (
            "huge-value",
            Op.CREATE_HANDLE,
            lambda n: valued(n + b"-d", value(1, "D", b"x" * 250_000)),
        ),
        ("control-character", Op.CREATE_HANDLE, lambda n: valued(n + b"\1", value(1, "D", "x"))),
        ("remove-nothing", Op.REMOVE_VALUE, numbered),
        (
            "modify-twice",
            Op.MODIFY_VALUE,
            lambda n: valued(n, value(2, "A", "x"), value(2, "A", "y")),
        ),
        ("delete-elsewhere", Op.DELETE_HANDLE, lambda _: named(b"99.1234/x")),
        ("derived-list", Op.LIST_DERIVED_PREFIXES, lambda _: named(b"0.NA/86.999")),
        ("replication", Op.GET_NEXT_TXN_ID, lambda _: named(b"0.SITE/NEXT-TXN-ID")),
        ("no-session-key-exchange", Op.SESSION_EXCHANGE_KEY, lambda _: named(b"/")),
    ],
)
def test_listed_differences(target, wire, record, name, operation, body):
    """Where the servers differ they differ as listed."""
    assert wire.administer(operation, body(record)).code == expected(target, name)


def test_a_value_without_admin_write_is_fixed(wire, record, target):
    """Nobody modifies a value without the admin write permission: 401."""
    fixed = value(5, "FIXED", "1", 0b1010)
    assert wire.administer(Op.ADD_VALUE, valued(record, fixed)).code == 1
    assert wire.administer(Op.MODIFY_VALUE, valued(record, value(5, "FIXED", "2"))).code == 401


def test_public_write_needs_no_identity(wire, record):
    """A value with public write is modified by anybody, and only modified."""
    assert wire.administer(Op.ADD_VALUE, valued(record, value(5, "OPEN", "1", 0b1111))).code == 1
    assert wire.ask(Op.MODIFY_VALUE, valued(record, value(5, "OPEN", "2", 0b1111))).code == 1
    assert contents(wire, record)[5] == b"2"
    assert wire.ask(Op.REMOVE_VALUE, numbered(record, 5)).code == 402


def test_overwriting(wire, record, target):
    """OWE replaces a whole record; the reply says so, also when nothing differed."""
    for data in ("new", "new"):
        values = (value(1, "URL", data), admin(target))
        reply = wire.administer(Op.CREATE_HANDLE, valued(record, *values), OWE)
        assert reply.code == 1
        assert reply.has(Flag.OWE)
    assert contents(wire, record) == {1: b"new"}


def test_minting(wire, target):
    """MNS appends a random suffix and says the name."""
    flags = PLAIN_FLAGS | Flag.MNS
    start = target.name("bb-mint-")
    names = set()
    for _ in range(2):
        reply = wire.create(start, flags=flags)
        assert reply.code == 1
        assert reply.has(Flag.MNS)
        names.add(bytes(reply.body[4:]))
    assert len(names) == 2
    for name in names:
        assert name.upper().startswith(start.upper())
        assert len(name) == len(start) + 36
        assert wire.resolve(name).code == 1
        assert wire.delete(name).code == 1


def test_unknown_names_are_not_told_apart_without_identity(wire, record):
    """Creating what exists and deleting what does not both ask who it is first."""
    assert wire.ask(Op.CREATE_HANDLE, valued(record, value(1, "A", ""))).code == 402
    assert wire.ask(Op.DELETE_HANDLE, named(record + b"-none")).code == 402


# (right, operation, needs): what one right alone allows
RIGHTS = {
    "delete": (0x0002, Op.DELETE_HANDLE, lambda n, _: named(n)),
    "modify": (0x0010, Op.MODIFY_VALUE, lambda n, _: valued(n, value(2, "DESC", "m"))),
    "remove": (0x0020, Op.REMOVE_VALUE, lambda n, _: numbered(n, 2)),
    "add": (0x0040, Op.ADD_VALUE, lambda n, _: valued(n, value(7, "DESC", "a"))),
    "modify admin": (0x0080, Op.MODIFY_VALUE, lambda n, t: valued(n, admin(t, 101, 0x0080))),
    "remove admin": (0x0100, Op.REMOVE_VALUE, lambda n, _: numbered(n, 101)),
    "add admin": (0x0200, Op.ADD_VALUE, lambda n, t: valued(n, admin(t, 102))),
}


@pytest.mark.parametrize("granted", list(RIGHTS))
def test_one_right_allows_one_thing(wire, target, fresh, granted):
    """An administrator with one right does that alone; 400 for all else, and nothing changes."""
    name = fresh("right-" + granted.replace(" ", "-"))
    secret = secrets.token_bytes(12)
    who = Reference(name, 300)
    values = (
        value(2, "DESC", "two"),
        admin(target, 100),
        admin(target, 101, 0),
        admin(target, 110, RIGHTS[granted][0], who),
        value(300, "HS_SECKEY", secret, 0b1100),
    )
    assert wire.create(name, *values).code == 1
    before = wire.resolve(name).body
    for right, (_, operation, body) in RIGHTS.items():
        if right != granted:
            refused = wire.administer(operation, body(name, target), who=who, key=secret)
            assert refused.code == 400, right
            assert wire.resolve(name).body == before
    _, operation, body = RIGHTS[granted]
    assert wire.administer(operation, body(name, target), who=who, key=secret).code == 1
    if granted != "delete":
        assert wire.delete(name).code == 1


def test_the_last_administrator(wire, target, fresh):
    """A server administrator may remove it; one of the record alone may not shut everybody out."""
    name, secret = fresh("last"), secrets.token_bytes(12)
    who = Reference(name, 300)
    key = value(300, "HS_SECKEY", secret, 0b1100)
    assert wire.create(name, admin(target, who=who), key).code == 1
    reply = wire.administer(Op.REMOVE_VALUE, numbered(name, 100), who=who, key=secret)
    assert reply.code == expected(target, "remove-last-admin")
    if reply.code == 1:
        assert wire.administer(Op.ADD_VALUE, valued(name, admin(target, who=who))).code == 1
    text = valued(name, value(100, "DESC", "no administrator any more"))
    assert wire.administer(Op.MODIFY_VALUE, text).code == 1
    assert wire.administer(Op.MODIFY_VALUE, valued(name, admin(target))).code == 1
    assert wire.administer(Op.REMOVE_VALUE, numbered(name, 100)).code == 1
    assert wire.delete(name).code == 1


def test_handing_out_rights(wire, target, fresh):
    """Who may modify administrators cannot give rights that are not their own."""
    name, secret = fresh("grant"), secrets.token_bytes(12)
    who = Reference(name, 300)
    values = (
        admin(target),
        admin(target, 101, 0x0080, who),
        value(300, "HS_SECKEY", secret, 0b1100),
    )
    assert wire.create(name, *values).code == 1
    more = valued(name, admin(target, 101, 0x00FF, who))
    reply = wire.administer(Op.MODIFY_VALUE, more, who=who, key=secret)
    assert reply.code == expected(target, "grant-more")
    assert wire.delete(name).code == 1


def test_rights_through_a_list(wire, target, fresh):
    """HS_VLIST: whoever is listed has the rights of who the record names, at any depth."""
    keeper, name, secret = fresh("keeper"), fresh("through"), secrets.token_bytes(12)
    outer = encode_vlist((Reference(keeper, 201),))
    inner = encode_vlist((Reference(keeper, 300), Reference(keeper, 200)))
    assert (
        wire.create(
            keeper,
            value(200, "HS_VLIST", outer),
            value(201, "HS_VLIST", inner),
            value(300, "HS_SECKEY", secret, 0b1100),
            value(301, "HS_SECKEY", b"other", 0b1100),
            admin(target),
        ).code
        == 1
    )
    assert (
        wire.create(name, value(1, "URL", "x"), admin(target, who=Reference(keeper, 200))).code == 1
    )
    change = valued(name, value(1, "URL", "y"))
    who = Reference(keeper, 300)
    assert wire.administer(Op.MODIFY_VALUE, change, who=who, key=secret).code == 1
    who = Reference(keeper, 301)
    assert wire.administer(Op.MODIFY_VALUE, change, who=who, key=b"other").code == 400
    for each in (name, keeper):
        assert wire.delete(each).code == 1


def test_creating_needs_the_right_in_the_prefix(wire, fresh, target):
    """An identity that the prefix record does not name creates nothing under it: 400."""
    name, secret = fresh("stranger"), secrets.token_bytes(12)
    values = (value(300, "HS_SECKEY", secret, 0b1100), admin(target))
    assert wire.create(name, *values).code == 1
    who = {"who": Reference(name, 300), "key": secret}
    body = valued(fresh("by-stranger"), value(1, "URL", "x"))
    assert wire.administer(Op.CREATE_HANDLE, body, **who).code == 400
    assert wire.administer(Op.LIST_HANDLES, named(target.record), **who).code == 400
    assert wire.administer(Op.HOME_PREFIX, named(b"0.NA/86.7"), **who).code == 400
    assert wire.delete(name).code == 1


def test_lists_in_parts(wire, target, fresh):
    """105 gives every handle of the prefix, at most 50 a message, CN on all but the last."""
    made = [fresh(f"list-{n:03}") for n in range(60)]
    for name in made:
        assert wire.create(name).code == 1
    replies = wire.administer_all(Op.LIST_HANDLES, named(target.record))
    parts = [decode_names_reply(reply.body).handles for reply in replies]
    assert all(reply.code == 1 for reply in replies)
    assert [reply.has(Flag.CN) for reply in replies] == [True] * (len(replies) - 1) + [False]
    assert max(map(len, parts)) <= 50
    listed = {name.upper() for part in parts for name in part}
    assert {name.upper() for name in made} <= listed
    assert all(name.startswith(target.prefix.encode() + b"/") for name in listed)
    for name in made:
        assert wire.delete(name).code == 1


def test_homing(wire, target):
    """A prefix is homed, its names can be made, it is unhomed again; both may be repeated."""
    prefix = f"{target.prefix}.{secrets.randbelow(10**6)}"
    record = f"0.NA/{prefix}".encode()
    assert wire.administer(Op.HOME_PREFIX, named(record)).code == 1
    assert wire.administer(Op.HOME_PREFIX, named(record)).code == 1
    reply = wire.administer(Op.LIST_HOMED_PREFIXES, named(b"/"))
    assert record in decode_names_reply(reply.body).handles
    assert wire.resolve(f"{prefix}/x".encode()).code == 100
    assert wire.administer(Op.UNHOME_PREFIX, named(record)).code == 1
    assert wire.administer(Op.UNHOME_PREFIX, named(record)).code == 1
    assert wire.resolve(f"{prefix}/x".encode()).code == 301


def test_derived_prefix_records(wire, target):
    """0.NA/P.x is made and deleted by who may add derived prefixes to P."""
    record = target.record + f".{secrets.randbelow(10**6)}".encode()
    assert wire.create(record, value(1, "DESC", "derived"), admin(target)).code == 1
    assert wire.resolve(record, types=[b"DESC"]).code == 1
    assert wire.delete(record).code == 1
