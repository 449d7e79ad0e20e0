"""Labels over DO-IRP: fast way, general way and changes, octet by octet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from protocol.doirp.header import Flag
from protocol.errors import ResponseCode
from protocol.labels import LABEL
from protocol.record import HandleValue, Record, Reference, decode_values
from registry.store.row import row_version
from resolver.doirp.exchange import Peer, Transport
from resolver.doirp.handler import Handler
from resolver.lookup import Query
from tests.resolver.doirp.world import NOW, PREFIX, World, code_of, product, question

PEERS = [Peer("192.0.2.1", 5000, Transport.UDP), Peer("192.0.2.1", 5000, Transport.TCP)]
HERE, NONE, BARE = (PREFIX + b"/" + name for name in (b"here", b"none", b"bare"))
STRANGER = Reference(b"99/x", 300)
SECRET = HandleValue(5, b"BOM", b"a secret recipe", timestamp=NOW)
ASKED = [
    {},
    {"indexes": (5,)},
    {"indexes": (1, 5, 50)},
    {"types": (b"BOM",)},
    {"types": (b"BOM", b"URL", b"0.LABEL")},
]
FLAGS = [Flag.PO, Flag(0), Flag.AT, Flag.PO | Flag.AT, Flag.RD, Flag.DNR | Flag.PO]


def labels(shape, index=50):
    return HandleValue(index, LABEL, json.dumps(shape).encode(), timestamp=NOW)


def answers(world: World, data: bytes, peer: Peer) -> list[bytes]:
    """What the general way says, and the plain one where it answers."""
    handler = Handler(world.node)
    handler.plain.turn()
    exchange = handler.take(data, peer)
    general = exchange if isinstance(exchange, bytes) else handler.now(exchange)
    plain = handler.plain.answer(data)
    return [one for one in (general, plain) if one is not None]


@pytest.mark.parametrize("peer", PEERS, ids=["UDP", "TCP"])
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("asked", ASKED)
def test_hidden_and_absent_are_the_same_octets(world: World, asked, flags, peer) -> None:
    """A wholly hidden record, and none, differ in nothing but the name that was asked."""
    record = product(HERE, SECRET)
    world.put(replace(record, values=(*record.values, labels({"*": {"level": 2}}))))
    found = set()
    for name in (HERE, NONE):
        data = question(name, flags=Flag.REC | Flag.CA | flags, **asked)
        replies = answers(world, data, peer)
        assert replies
        assert {code_of(one) for one in replies} == {ResponseCode.HANDLE_NOT_FOUND}
        if not flags & Flag.RD:  # the digest is of the request, which has the name
            found |= set(replies)
    assert len(found) <= 1


@pytest.mark.parametrize("peer", PEERS, ids=["UDP", "TCP"])
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("asked", ASKED)
def test_a_hidden_value_is_as_if_it_were_not_there(world: World, asked, flags, peer) -> None:
    """The answer has the octets of a record without that value and its label."""
    found = set()
    shown = labels({"5": {"level": 3}})
    for values in ((SECRET, shown), ()):
        world.put(product(HERE, *values))
        data = question(HERE, flags=Flag.REC | Flag.CA | flags, **asked)
        replies = answers(world, data, peer)
        assert not any(SECRET.data in one or LABEL in one for one in replies)
        found |= {bytes(one[:12]) + bytes(one[20:]) for one in replies}
    assert len(found) == 1


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("identity", [None, STRANGER], ids=["anybody", "a stranger"])
@pytest.mark.parametrize("public_only", [True, False])
def test_lookups_hide_from_strangers(world: World, asked, identity, public_only) -> None:
    """With and without a proved identity, and whatever is asked for."""
    found = []
    for values in ((SECRET, labels({"5": {"level": 2}})), ()):
        world.put(Record(HERE, product(HERE, *values).values))
        answer = world.node.lookup.answer_now(
            Query(HERE, identity=identity, public_only=public_only, **asked)
        )
        found.append((answer.code, answer.values, answer.message))
    assert found[0] == found[1]


def test_administrators_see_by_session_what_is_hidden(world: World) -> None:
    """A proved administrator who does not ask for public values only gets them all."""
    world.put_prefix_record()
    world.put(product(HERE, SECRET, labels({"*": {"level": 3}})))
    query = Query(HERE, identity=world.admin, public_only=False)
    answer = world.node.lookup.answer_now(query)
    assert {value.index for value in decode_values(answer.values)} == {1, 2, 5, 50, 100}
    assert answer.version == row_version(world.raw(HERE))
    assert world.node.lookup.reads.take() == []
