"""Administrators whose key, or whose group, lies at another node."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import decode_message
from protocol.errors import ResponseCode
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Record, Reference, encode_values
from protocol.values.hs_vlist import encode_vlist
from registry.records import read_record
from resolver.lookup import Answer, Query
from resolver.serve_doirp import handle_message
from tests.resolver.doirp.client import Client, name, values
from tests.resolver.doirp.world import NOW, PREFIX, World, admin, product, question

AUDITOR = Reference(b"99.1/auditor", 300)
GROUP = Reference(b"99.2/group", 200)
INNER = Reference(b"99.2/inner", 201)
PLATE = PREFIX + b"/plate-1"
KEY = Ed25519PrivateKey.generate()
MORE = HandleValue(9, b"NOTE", b"checked")


class Elsewhere:
    """Records of other nodes, as the node's recursion finds them."""

    def __init__(self) -> None:
        self.records: dict[bytes, tuple[HandleValue, ...]] = {}
        self.asked: list[Query] = []

    def cached(self, _query: Query) -> Answer | None:
        return None

    async def resolve(self, query: Query) -> Answer:
        self.asked.append(query)
        if query.handle not in self.records:
            return Answer(ResponseCode.HANDLE_NOT_FOUND, query.handle)
        found = [
            v for v in self.records[query.handle] if not query.indexes or v.index in query.indexes
        ]
        if not found:
            return Answer(ResponseCode.VALUES_NOT_FOUND, query.handle)
        return Answer(ResponseCode.SUCCESS, query.handle, encode_values(found))


@pytest.fixture
def elsewhere(world: World) -> Elsewhere:
    world.put_keys()
    made = Elsewhere()
    public = encode_public_key(KEY.public_key())
    made.records[AUDITOR.handle] = (HandleValue(300, b"HS_PUBKEY", public),)
    made.records[GROUP.handle] = (HandleValue(200, b"HS_VLIST", encode_vlist((INNER,))),)
    made.records[INNER.handle] = (HandleValue(201, b"HS_VLIST", encode_vlist((AUDITOR,))),)
    world.node.recursion = world.node.lookup.recursion = made  # type: ignore[assignment]
    return made


@pytest.fixture
def client(world: World) -> Client:
    async def send(data: bytes) -> bytes:
        return await handle_message(world.node, data, ("192.0.2.7", 4000))

    return Client(send)


def code(reply: object) -> int:
    return reply.header.response_code  # type: ignore[attr-defined,no-any-return]


async def test_a_key_at_another_node_proves(
    world: World, elsewhere: Elsewhere, client: Client
) -> None:
    """The key of a foreign administrator is asked of its primary, past every cache."""
    world.put(Record(PLATE, (admin(AUDITOR.handle, 300, 0x0040),)))
    reply = await client.administer(OpCode.ADD_VALUE, values(PLATE, MORE), AUDITOR, KEY)
    assert code(reply) == 1
    assert [(query.handle, query.authoritative) for query in elsewhere.asked] == [
        (AUDITOR.handle, True)
    ]


async def test_a_key_that_cannot_be_had_proves_nothing(
    world: World, elsewhere: Elsewhere, client: Client
) -> None:
    """No such record: 403. A node that does not answer: 406. Nothing changed."""
    world.put(Record(PLATE, (admin(AUDITOR.handle, 300, 0x0040),)))
    body = values(PLATE, MORE)
    unknown = Reference(b"99.1/nobody", 300)
    assert code(await client.administer(OpCode.ADD_VALUE, body, unknown, KEY)) == 403

    async def silent(query: Query) -> Answer:
        return Answer(ResponseCode.ERROR, query.handle, message="no answer")

    elsewhere.resolve = silent  # type: ignore[method-assign]
    assert code(await client.administer(OpCode.ADD_VALUE, body, AUDITOR, KEY)) == 406
    world.node.recursion = None
    assert code(await client.administer(OpCode.ADD_VALUE, body, AUDITOR, KEY)) == 406
    record = read_record(world.store, PLATE)
    assert record is not None
    assert len(record.values) == 1


async def test_groups_reach_across_nodes(
    world: World, elsewhere: Elsewhere, client: Client
) -> None:
    """An HS_ADMIN that names a list elsewhere, which names another list, entitles its members."""
    secret = HandleValue(5, b"SECRET", b"s", permissions=0b1100, timestamp=NOW)
    world.put(Record(PLATE, (admin(GROUP.handle, GROUP.index), secret)))
    assert code(await client.administer(OpCode.ADD_VALUE, values(PLATE, MORE), AUDITOR, KEY)) == 1
    asked = decode_message(question(PLATE, flags=Flag.REC, indexes=(5,)))
    challenge = await client.exchange(asked)
    assert b"SECRET" in (await client.exchange(client.answer(challenge, AUDITOR, KEY))).body
    assert world.submitted[-1].actor == AUDITOR


async def test_a_local_list_may_name_a_list_elsewhere(
    world: World, elsewhere: Elsewhere, client: Client
) -> None:
    """Listing under the prefix, entitled by a list here that names one elsewhere."""
    own = b"0.NA/" + PREFIX
    world.put_prefix_record(
        HandleValue(500, b"HS_VLIST", encode_vlist((GROUP,)), timestamp=NOW),
        HandleValue(101, b"HS_ADMIN", admin(own, 500).data, timestamp=NOW),
    )
    assert code(await client.administer(OpCode.LIST_HANDLES, name(own), AUDITOR, KEY)) == 1


async def test_whoever_left_the_group_is_refused(
    world: World, elsewhere: Elsewhere, client: Client
) -> None:
    """A list elsewhere that does not name the actor, or names itself, entitles to nothing."""
    world.put(product(PLATE), Record(PLATE, (admin(GROUP.handle, GROUP.index),)))
    elsewhere.records[INNER.handle] = (
        HandleValue(201, b"HS_VLIST", encode_vlist((GROUP, Reference(AUDITOR.handle, 7)))),
    )
    reply = await client.administer(OpCode.ADD_VALUE, values(PLATE, MORE), AUDITOR, KEY)
    assert code(reply) == 400


async def test_names_of_other_nodes_are_resolved_for_who_asks(
    world: World, elsewhere: Elsewhere, client: Client
) -> None:
    """A question for a prefix elsewhere is answered through the recursion."""
    reply = await client.exchange(decode_message(question(AUDITOR.handle)))
    assert code(reply) == 1
    assert b"HS_PUBKEY" in reply.body
    alone = decode_message(question(AUDITOR.handle, flags=Flag.PO))
    assert code(await client.exchange(alone)) == 301
