"""Names without a record that the template of their prefix makes, in a lookup and over DO-IRP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.doirp.header import Flag
from protocol.doirp.resolution import decode_resolution_reply
from protocol.errors import ResponseCode
from protocol.record import HandleValue, Record, Reference, decode_values, encode_values
from registry.generation import Generation
from registry.prefixes import HOMED, Prefixes, PrefixRow
from resolver.doirp.exchange import Peer, Transport
from resolver.doirp.handler import Handler
from resolver.doirp.udp import UdpFace
from resolver.lookup import Answer, Lookup, Query
from resolver.namespaces import NO_CHAIN, Chain, Namespaces, namespace_in
from tests.resolver.doirp.world import (
    NOW,
    PREFIX,
    UdpClient,
    World,
    code_of,
    product,
    question,
    read,
)

PEER = Peer("192.0.2.1", 5000, Transport.UDP)
BASE = PREFIX + b"/Video"
NAME = BASE + b"@10-20"
SECRET = HandleValue(5, b"SECRET", b"for administrators", permissions=0b1100, timestamp=NOW)
NOBODY = HandleValue(6, b"NOBODY", b"for nobody", permissions=0b0100, timestamp=NOW)
KEEP = "<foreach><value/></foreach>"


def space(template: str, more: str = "", index: int = 500) -> HandleValue:
    """An HS_NAMESPACE with one template whose delimiter is `@`."""
    text = f'<namespace>{more}<template delimiter="@">{template}</template></namespace>'
    return HandleValue(index, b"HS_NAMESPACE", text.encode(), timestamp=NOW)


def now(world: World, handle: bytes, **more: object) -> Answer:
    answer = world.node.lookup.answer_now(Query(handle, **more))  # type: ignore[arg-type]
    assert answer is not None
    return answer


def data(answer: Answer) -> list[bytes]:
    return [value.data for value in decode_values(answer.values)]


def test_a_missing_name_is_made_from_its_base(world: World) -> None:
    """The template's values, under the name as asked; the base itself stays as it is."""
    world.put_prefix_record(space('<value type="URL" data="${base}?${extension}"/>'))
    world.put(product(BASE))
    answer = now(world, NAME)
    assert (answer.code, answer.handle, answer.authoritative) == (1, NAME, True)
    assert answer.version == 0
    assert data(answer) == [BASE + b"?10-20"]
    assert data(now(world, BASE))[0] == b"https://example.org/" + BASE


def test_a_record_comes_before_the_template(world: World) -> None:
    """A name that was registered answers with its record."""
    world.put_prefix_record(space('<value type="A" data="made"/>'))
    world.put(product(NAME))
    assert data(now(world, NAME))[1] == b"steel plate"


@pytest.mark.parametrize("name", [BASE, PREFIX + b"/absent", PREFIX + b"/absent#1"])
def test_names_without_the_delimiter_are_absent(world: World, name: bytes) -> None:
    """A template changes nothing for names that it does not divide."""
    world.put_prefix_record(space(KEEP))
    assert now(world, name).code == ResponseCode.HANDLE_NOT_FOUND


def test_without_a_base_the_template_has_no_values_to_begin_with(world: World) -> None:
    """No values at all is 200, as Handle.Net answers; `<notfound/>` is 100."""
    world.put_prefix_record(space(KEEP + '<if expression="no"><notfound/></if>'))
    assert now(world, PREFIX + b"/absent@x").code == ResponseCode.VALUES_NOT_FOUND
    assert now(world, PREFIX + b"/absent@no").code == ResponseCode.HANDLE_NOT_FOUND


def test_the_base_may_hold_the_template(world: World) -> None:
    """HS_NAMESPACE of the base comes before the prefix's, which gives the delimiter."""
    world.put_prefix_record(space('<value type="A" data="prefix"/>'))
    world.put(Record(BASE, (space('<value type="A" data="base"/>'),)))
    assert data(now(world, NAME)) == [b"base"]


def test_the_lowest_index_counts(world: World) -> None:
    """Of several namespaces; one that is no XML is passed over."""
    odd = HandleValue(400, b"HS_NAMESPACE", b"<namespace", timestamp=NOW)
    first = space('<value type="A" data="501"/>', index=501)
    world.put_prefix_record(space('<value type="A" data="502"/>', index=502), first, odd)
    assert data(now(world, NAME)) == [b"501"]
    assert namespace_in([odd]) is None


def test_a_choice_is_made_among_what_was_made(world: World) -> None:
    """Indexes and types choose as in any record; none chosen is 200."""
    world.put_prefix_record(space(KEEP))
    world.put(product(BASE))
    assert data(now(world, NAME, types=(b"DESC",))) == [b"steel plate"]
    assert data(now(world, NAME, indexes=(2,))) == [b"steel plate"]
    assert now(world, NAME, types=(b"NONE",)).code == ResponseCode.VALUES_NOT_FOUND


def test_private_values_stay_private(world: World) -> None:
    """Public questions leave them out; others need an administrator of the base's record."""
    world.put_prefix_record(space(KEEP))
    world.put(product(BASE, SECRET))
    assert SECRET.data not in data(now(world, NAME))
    assert now(world, NAME, public_only=False).code == ResponseCode.AUTHENTICATION_NEEDED
    stranger = Reference(b"99.1/me", 300)
    refused = now(world, NAME, public_only=False, identity=stranger)
    assert refused.code == ResponseCode.INVALID_ADMIN
    assert not refused.values[4:]
    allowed = now(world, NAME, public_only=False, identity=world.admin)
    assert SECRET.data in data(allowed)
    assert allowed.private
    world.put(product(BASE, NOBODY))
    refused = now(world, NAME, public_only=False, identity=world.admin)
    assert refused.code == ResponseCode.INSUFFICIENT_PERMISSIONS


def test_prefix_records_never_come_from_a_template(world: World) -> None:
    """`0.NA/P@x` is absent whatever namespace the root or the prefix has."""
    world.store.apply([PrefixRow(b"0.NA", HOMED).write()])
    world.put(Record(b"0.NA/0.NA", (space('<value type="HS_SITE" data="mine"/>'),)))
    assert now(world, b"0.NA/" + PREFIX + b"@x").code == ResponseCode.HANDLE_NOT_FOUND


def test_the_root_records_namespace_stands_above(world: World) -> None:
    """Where the prefix has no template, the root's applies; a parent prefix's never does."""
    world.store.apply([PrefixRow(b"0.NA", HOMED).write(), PrefixRow(b"88.118", HOMED).write()])
    world.put(Record(b"0.NA/88.118", (space('<value type="A" data="parent"/>'),)))
    world.put_prefix_record(HandleValue(500, b"HS_NAMESPACE", b"<namespace/>"))
    assert now(world, NAME).code == ResponseCode.HANDLE_NOT_FOUND
    world.put(Record(b"0.NA/0.NA", (space('<value type="A" data="root"/>'),)))
    assert data(now(world, NAME)) == [b"root"]


def test_a_template_that_is_refused_says_why(world: World) -> None:
    """An expression that is not taken is an error of this server's record, code 2."""
    world.put_prefix_record(space('<if test="matches" expression="(?=x)"/>'))
    answer = now(world, NAME)
    assert answer.code == ResponseCode.ERROR
    assert "(?=x)" in answer.message


def test_values_of_this_node_are_cited(world: World) -> None:
    """A public value of a stored record; a private one, a made one and a strange one are not."""
    world.put_prefix_record(space("", '<template delimiter="@" ref="1:88.118.8/tpl"/>'))
    template = b'<template><value type="A" data="cited"/></template>'
    world.put(Record(PREFIX + b"/tpl", (HandleValue(1, b"X", template),)))
    assert data(now(world, NAME)) == [b"cited"]
    world.put(Record(PREFIX + b"/tpl", (HandleValue(1, b"X", template, permissions=0b1100),)))
    assert now(world, NAME).code == ResponseCode.HANDLE_NOT_FOUND
    world.put_prefix_record(space("", '<template delimiter="@" ref="1:88.118.8/tpl@x"/>'))
    assert now(world, NAME).code == ResponseCode.HANDLE_NOT_FOUND
    world.put_prefix_record(space("", '<template delimiter="@" ref="1:99.1/tpl"/>'))
    assert now(world, NAME).code == ResponseCode.HANDLE_NOT_FOUND


class Others:
    """A recursion that holds one record, at another node."""

    def __init__(self, data: bytes) -> None:
        self.value = HandleValue(1, b"X", data)
        self.asked: list[Query] = []

    def cached(self, query: Query) -> Answer | None:
        return None

    async def resolve(self, query: Query) -> Answer:
        self.asked.append(query)
        return Answer(ResponseCode.SUCCESS, query.handle, encode_values([self.value]))


async def test_values_of_other_nodes_are_asked_for(world: World) -> None:
    """Where this node recurses; as anybody, and one server further."""
    world.put_prefix_record(space("", '<template delimiter="@" ref="1:99.1/tpl"/>'))
    others = Others(b'<template><value type="A" data="far"/></template>')
    lookup = Lookup(world.store, world.prefixes, world.node.access, recursion=others)
    query = Query(NAME, types=(b"A",), hops=3, public_only=False, identity=world.admin)
    assert lookup.answer_now(query) is None
    answer = await lookup.answer(query)
    assert data(answer) == [b"far"]
    assert others.asked == [Query(b"99.1/tpl", indexes=(1,), hops=4)]
    others.value = HandleValue(1, b"X", b'<template ref="1:99.1/tpl"/>')
    assert (await lookup.answer(query)).code == ResponseCode.HANDLE_NOT_FOUND


def test_chains_are_read_again_when_the_generation_changes(world: World, tmp_path: Path) -> None:
    """And not before: a flood of absent names reads the prefix's record once."""
    generation = Generation(tmp_path / "run" / "generation", writable=True)
    reads = []

    def get(key: bytes) -> bytes | None:
        reads.append(key)
        return world.node.lookup.get(key)

    namespaces = Namespaces(Prefixes(world.store, generation), get)
    assert namespaces.of(PREFIX) is NO_CHAIN
    for _ in range(100):
        assert namespaces.delimiter(PREFIX) == b""
    assert reads == [b"0.NA/" + PREFIX]
    world.put_prefix_record(space(KEEP))
    assert namespaces.delimiter(PREFIX) == b""
    generation.bump()
    assert namespaces.delimiter(PREFIX) == b"@"
    assert namespaces.delimiters() == {PREFIX: b"@"}
    assert namespaces.of(b"99.1") == Chain()


@pytest.mark.asyncio
async def test_over_udp(world: World) -> None:
    """The datagram face answers a made name like any other."""
    world.put_prefix_record(space(KEEP))
    world.put(product(BASE))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    face = UdpFace(Handler(world.node), sock)
    client = UdpClient(sock.getsockname())
    try:
        message = read(await client.ask(question(NAME)))
        reply = decode_resolution_reply(message.body)
        assert reply.handle == NAME
        assert [value.type for value in reply.values] == [b"URL", b"DESC", b"HS_ADMIN"]
        absent = await client.ask(question(PREFIX + b"/absent"))
        assert code_of(absent) == ResponseCode.HANDLE_NOT_FOUND
    finally:
        client.close()
        await face.close(1.0)
        sock.close()


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handler]:
    world = World(tmp_path_factory.mktemp("derived") / "node")
    world.put_prefix_record(space(KEEP + '<if expression="no"><notfound/></if>'))
    world.put(product(BASE, SECRET))
    yield Handler(world.node)
    world.close()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from((BASE, NAME, BASE + b"@no", PREFIX + b"/absent@x", PREFIX + b"/absent")),
    flags=st.sets(st.sampled_from((Flag.PO, Flag.RD, Flag.AT, Flag.REC))),
    types=st.sampled_from(((), (b"URL",))),
)
def test_the_plain_way_leaves_made_names_to_the_general_one(
    handler: Handler, name: bytes, flags: set[Flag], types: tuple[bytes, ...]
) -> None:
    """It answers what the template does not divide, with the octets of the general way."""
    asked = question(name, types=types, flags=sum(flags, Flag(0)))
    handler.plain.turn()
    fast = handler.plain.answer(asked)
    if b"@" in name:
        assert fast is None
        return
    if name != BASE:
        assert fast is not None
    exchange = handler.take(asked, PEER)
    general = exchange if isinstance(exchange, bytes) else handler.now(exchange)
    assert fast is None or fast == general
