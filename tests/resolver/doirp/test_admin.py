"""Administration of handles over DO-IRP: what each operation does, and each refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.challenge import MacCode
from protocol.doirp.administration import decode_created, decode_names_reply
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import decode_message, encode_message
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Record, Reference
from registry.records import read_record
from registry.store import Table
from resolver.serve_doirp import handle_message
from tests.resolver.doirp.client import Client, indexes, name, values, with_version
from tests.resolver.doirp.world import (
    NOW,
    PREFIX,
    SECRET,
    SITE_KEY,
    World,
    admin,
    product,
    question,
)

OWN = b"0.NA/" + PREFIX
KEY_ADMIN = Reference(OWN, 300)
SECRET_ADMIN = Reference(OWN, 301)
PLATE = PREFIX + b"/plate-1"
URL = HandleValue(1, b"URL", b"https://example.org/1")


@pytest.fixture
def client(world: World) -> Client:
    world.put_keys()
    return client_from(world)


def client_from(world: World, host: str = "192.0.2.7") -> Client:
    async def send(data: bytes) -> bytes:
        return await handle_message(world.node, data, (host, 4000))

    return Client(send)


def everything(world: World) -> list[tuple[bytes, bytes]]:
    """All that is stored about names and prefixes."""
    with world.store.snapshot() as state:
        return [row for table in (Table.RECORDS, Table.PREFIXES) for row in state.scan(table)]


def code(reply: object) -> int:
    return reply.header.response_code  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(("who", "key"), [(KEY_ADMIN, SITE_KEY), (SECRET_ADMIN, SECRET)])
async def test_the_life_of_a_record(
    world: World, client: Client, who: Reference, key: object
) -> None:
    """Create, add, modify, remove, delete, each after a proof by key or by secret."""

    async def do(opcode: int, body: bytes, flags: int = 0) -> int:
        return code(await client.administer(opcode, body, who, key, flags))  # type: ignore[arg-type]

    assert await do(OpCode.CREATE_HANDLE, values(PLATE, URL, admin(OWN, 200))) == 1
    assert await do(OpCode.ADD_VALUE, values(PLATE, HandleValue(2, b"DESC", b"plate"))) == 1
    assert await do(OpCode.MODIFY_VALUE, values(PLATE, replace(URL, data=b"https://e.org/2"))) == 1
    assert await do(OpCode.REMOVE_VALUE, indexes(PLATE, 2)) == 1
    record = read_record(world.store, PLATE)
    assert record is not None
    assert {v.index: v.data for v in record.values if v.index < 100} == {1: b"https://e.org/2"}
    assert await do(OpCode.DELETE_HANDLE, name(PLATE)) == 1
    assert read_record(world.store, PLATE) is None
    assert {change.actor for change in world.submitted} == {who}


async def test_the_reply_names_the_created_handle(client: Client) -> None:
    """Create answers with the handle; its operation code is that of the request (do-irp 8.1)."""
    reply = await client.administer(OpCode.CREATE_HANDLE, values(PLATE, URL), KEY_ADMIN, SITE_KEY)
    assert decode_created(reply.body).handle == PLATE
    assert reply.header.opcode == OpCode.CREATE_HANDLE
    assert reply.envelope.request_id == 2


async def test_minting_appends_a_random_suffix(world: World, client: Client) -> None:
    """Flag MNS: the handle is completed by a UUID and told (do-irp 17.5)."""
    reply = await client.administer(
        OpCode.CREATE_HANDLE, values(PREFIX + b"/", URL), KEY_ADMIN, SITE_KEY, Flag.MNS
    )
    assert reply.header.has(Flag.MNS)
    made = decode_created(reply.body).handle
    assert made is not None
    assert len(made) == len(PREFIX) + 1 + 36
    assert read_record(world.store, made) is not None


async def test_overwriting_is_asked_for_and_said(world: World, client: Client) -> None:
    """Flag OWE replaces a record or values that are there; the reply has it when it did."""
    world.put(product(PLATE))
    body = values(PLATE, URL, admin(OWN, 200))
    assert code(await client.administer(OpCode.CREATE_HANDLE, body, KEY_ADMIN, SITE_KEY)) == 101
    reply = await client.administer(OpCode.CREATE_HANDLE, body, KEY_ADMIN, SITE_KEY, Flag.OWE)
    assert (code(reply), reply.header.has(Flag.OWE)) == (1, True)
    taken = values(PLATE, replace(URL, data=b"other"))
    assert code(await client.administer(OpCode.ADD_VALUE, taken, KEY_ADMIN, SITE_KEY)) == 201
    assert (
        code(await client.administer(OpCode.ADD_VALUE, taken, KEY_ADMIN, SITE_KEY, Flag.OWE)) == 1
    )


REFUSALS = [
    (OpCode.CREATE_HANDLE, values(PREFIX + b"/there", URL), 101),
    (OpCode.CREATE_HANDLE, values(PREFIX + b"/new", URL, URL), 201),
    (OpCode.CREATE_HANDLE, values(PREFIX + b"/new", replace(URL, index=0)), 202),
    (OpCode.CREATE_HANDLE, values(b"99.9/x", URL), 301),
    (OpCode.CREATE_HANDLE, values(PREFIX + b"/\xff", URL), 102),
    (OpCode.DELETE_HANDLE, name(PREFIX + b"/none"), 100),
    (OpCode.ADD_VALUE, values(PREFIX + b"/none", URL), 100),
    (OpCode.ADD_VALUE, values(PREFIX + b"/there"), 202),
    (OpCode.ADD_VALUE, values(PREFIX + b"/there", URL), 201),
    (OpCode.REMOVE_VALUE, indexes(PREFIX + b"/there", 1, 77), 200),
    (OpCode.MODIFY_VALUE, values(PREFIX + b"/there", replace(URL, index=77)), 200),
    (OpCode.MODIFY_VALUE, values(PREFIX + b"/there", HandleValue(3, b"FIXED", b"2")), 401),
    (OpCode.ADD_VALUE, b"\0\0\0", 4),
    (OpCode.GET_NEXT_TXN_ID, name(b"0.SITE/NEXT-TXN-ID"), 5),
    (OpCode.HOME_PREFIX, name(PREFIX + b"/x"), 102),
]


@pytest.mark.parametrize(("opcode", "body", "expected"), REFUSALS)
async def test_what_cannot_be_done_is_refused_by_its_code(
    world: World, client: Client, opcode: int, body: bytes, expected: int
) -> None:
    """Each refusal of do-irp 17.4 has its code and changes nothing."""
    fixed = HandleValue(3, b"FIXED", b"1", permissions=0b1010, timestamp=NOW)
    world.put(product(PREFIX + b"/there", fixed))
    before = everything(world)
    reply = await client.administer(opcode, body, KEY_ADMIN, SITE_KEY)
    assert code(reply) == expected
    assert everything(world) == before


async def test_nothing_is_done_without_an_identity(world: World, client: Client) -> None:
    """Every change, list and private value is answered by a challenge first."""
    secret = HandleValue(5, b"SECRET", b"s", permissions=0b1100, timestamp=NOW)
    world.put(product(PREFIX + b"/there", secret))
    before = everything(world)
    for opcode, body in (
        (OpCode.CREATE_HANDLE, values(PLATE, URL)),
        (OpCode.DELETE_HANDLE, name(PREFIX + b"/there")),
        (OpCode.ADD_VALUE, values(PREFIX + b"/there", replace(URL, index=9))),
        (OpCode.REMOVE_VALUE, indexes(PREFIX + b"/there", 1)),
        (OpCode.MODIFY_VALUE, values(PREFIX + b"/there", URL)),
        (OpCode.LIST_HANDLES, name(OWN)),
        (OpCode.LIST_DERIVED_PREFIXES, name(OWN)),
        (OpCode.HOME_PREFIX, name(b"0.NA/99")),
        (OpCode.UNHOME_PREFIX, name(OWN)),
        (OpCode.LIST_HOMED_PREFIXES, name(b"/")),
    ):
        reply = await client.ask(opcode, body)
        assert code(reply) == 402, opcode
        assert reply.header.has(Flag.RD)
        assert reply.envelope.session_id
    assert everything(world) == before
    assert not world.submitted


async def test_a_wrong_key_or_secret_is_refused(world: World, client: Client) -> None:
    """Another key, another secret, an identity that is not there: 403, nothing changed."""
    other = generate_private_key(65537, 2048)
    before = everything(world)
    body = values(PLATE, URL)
    for who, key in (
        (KEY_ADMIN, other),
        (SECRET_ADMIN, b"wrong"),
        (Reference(OWN, 300), b"a secret for a key"),
        (Reference(OWN, 77), SITE_KEY),
        (Reference(PREFIX + b"/nobody", 300), SITE_KEY),
    ):
        assert code(await client.administer(OpCode.CREATE_HANDLE, body, who, key)) == 403
    assert everything(world) == before


async def test_failed_proofs_are_slowed_down(world: World, client: Client) -> None:
    """After ten failures a minute an account is answered later; the right key ends that."""
    body = values(PLATE, URL)
    codes = [
        code(await client.administer(OpCode.CREATE_HANDLE, body, SECRET_ADMIN, b"guess"))
        for _ in range(11)
    ]
    assert codes == [403] * 11
    outcomes = world.node.metrics.authentications
    assert outcomes["secret_key", "delayed"].value == 1
    assert code(await client.administer(OpCode.CREATE_HANDLE, body, KEY_ADMIN, SITE_KEY)) == 1
    assert outcomes["public_key", "delayed"].value == 1
    again = values(PLATE + b"2", URL)
    assert code(await client.administer(OpCode.CREATE_HANDLE, again, KEY_ADMIN, SITE_KEY)) == 1
    assert outcomes["public_key", "delayed"].value == 1


async def test_many_guesses_at_once_are_refused(world: World, client: Client) -> None:
    """Of guesses that come together beyond the ten only two wait; another network is free."""
    body = values(PLATE, URL)

    async def guess() -> int:
        return code(await client.administer(OpCode.CREATE_HANDLE, body, SECRET_ADMIN, b"guess"))

    for _ in range(10):
        await guess()
    assert sorted(await asyncio.gather(*(guess() for _ in range(5)))) == [3, 3, 3, 403, 403]
    elsewhere = client_from(world, "198.51.100.1")
    assert code(await elsewhere.administer(OpCode.CREATE_HANDLE, body, KEY_ADMIN, SITE_KEY)) == 1


async def test_a_challenge_is_used_once(world: World, client: Client) -> None:
    """A replayed answer is refused (threats N5)."""
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
    answer = client.answer(challenge, KEY_ADMIN, SITE_KEY)
    assert code(await client.exchange(answer)) == 1
    assert code(await client.exchange(answer)) == 405


async def test_a_challenge_lives_a_minute(world: World, client: Client) -> None:
    """An answer after 60 s comes too late."""
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
    answer = client.answer(challenge, KEY_ADMIN, SITE_KEY)
    world.time += 61
    assert code(await client.exchange(answer)) == 405
    assert read_record(world.store, PLATE) is None


async def test_a_challenge_is_bound_to_the_address(world: World, client: Client) -> None:
    """An answer from another address is refused; the right one is still taken."""
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
    answer = client.answer(challenge, KEY_ADMIN, SITE_KEY)
    assert code(await client_from(world, "203.0.113.9").exchange(answer)) == 405
    assert code(await client.exchange(answer)) == 1


async def test_an_answer_proves_only_its_own_request(world: World, client: Client) -> None:
    """The proof for one challenge does not answer another."""
    first = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
    second = await client.ask(OpCode.CREATE_HANDLE, values(PLATE + b"b", URL))
    answer = client.answer(first, KEY_ADMIN, SITE_KEY)
    moved = replace(
        answer, envelope=replace(answer.envelope, session_id=second.envelope.session_id)
    )
    assert code(await client.exchange(moved)) == 403


async def test_rights_are_those_of_hs_admin(world: World, client: Client) -> None:
    """A proved identity without the right gets 400; with it, it may."""
    key = Ed25519PrivateKey.generate()
    clerk = Reference(PREFIX + b"/clerk", 300)
    world.put(
        Record(
            clerk.handle,
            (HandleValue(300, b"HS_PUBKEY", encode_public_key(key.public_key()), timestamp=NOW),),
        ),
        Record(
            PLATE,
            (
                replace(URL, timestamp=NOW),
                admin(clerk.handle, 300, mask=0x0040),  # add value, nothing else
            ),
        ),
    )

    async def do(opcode: int, body: bytes) -> int:
        return code(await client.administer(opcode, body, clerk, key))

    assert await do(OpCode.ADD_VALUE, values(PLATE, HandleValue(2, b"DESC", b"x"))) == 1
    assert await do(OpCode.REMOVE_VALUE, indexes(PLATE, 2)) == 400
    assert await do(OpCode.DELETE_HANDLE, name(PLATE)) == 400
    assert await do(OpCode.CREATE_HANDLE, values(PREFIX + b"/other", URL)) == 400
    assert await do(OpCode.LIST_HANDLES, name(OWN)) == 400
    assert await do(OpCode.HOME_PREFIX, name(b"0.NA/99")) == 400


async def test_index_nought_tries_every_key(world: World, client: Client) -> None:
    """Index 0 means any key of the handle; the proved identity is the one that fitted."""
    reply = await client.administer(
        OpCode.CREATE_HANDLE, values(PLATE, URL), Reference(OWN, 0), SITE_KEY
    )
    assert code(reply) == 1
    assert world.submitted[-1].actor == KEY_ADMIN


async def test_publicly_writable_values_need_no_identity(world: World, client: Client) -> None:
    """A value with public write is modified by anybody, and nothing else is (do-irp 11)."""
    world.put(product(PLATE, HandleValue(7, b"COUNTER", b"1", permissions=0b1111, timestamp=NOW)))
    open_ = values(PLATE, HandleValue(7, b"COUNTER", b"2", permissions=0b1111))
    assert code(await client.ask(OpCode.MODIFY_VALUE, open_)) == 1
    both = values(PLATE, HandleValue(7, b"COUNTER", b"3", permissions=0b1111), URL)
    assert code(await client.ask(OpCode.MODIFY_VALUE, both)) == 402
    grab = values(PLATE, replace(admin(b"9/9", 1), index=7))
    assert code(await client.ask(OpCode.MODIFY_VALUE, grab)) == 402


async def test_private_values_are_read_by_administrators_only(world: World, client: Client) -> None:
    """Asked without PO: 402, then the value for who may read it, 401 for what nobody may."""
    secret = HandleValue(5, b"SECRET", b"s", permissions=0b1100, timestamp=NOW)
    nobody = HandleValue(6, b"NOBODY", b"n", permissions=0b0100, timestamp=NOW)
    world.put(product(PLATE, secret), product(PREFIX + b"/dark", nobody))
    asked = decode_message(question(PLATE, flags=Flag.REC, indexes=(5,)))
    challenge = await client.exchange(asked)
    assert code(challenge) == 402
    reply = await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))
    assert code(reply) == 1
    assert b"SECRET" in reply.body
    public = decode_message(question(PLATE, flags=Flag.PO))
    assert b"SECRET" not in (await client.exchange(public)).body
    dark = decode_message(question(PREFIX + b"/dark", flags=Flag.REC))
    assert code(await client.exchange(dark)) == 401


async def listed(client: Client, opcode: int, record: bytes) -> tuple[list[bytes], list[bool]]:
    """All names of a listing, and which of its messages said that more follow."""
    names: list[bytes] = []
    more: list[bool] = []

    async def keep(data: bytes, send: Callable[..., object] = client.send) -> bytes:
        octets: bytes = await send(data)  # type: ignore[misc]
        at = 0
        while at < len(octets):
            end = at + ENVELOPE_SIZE + decode_envelope(octets[at:]).length
            message = decode_message(octets[at:end])
            if message.header.response_code == 1:
                names.extend(decode_names_reply(message.body).handles)
                more.append(message.header.has(Flag.CN))
            at = end
        return octets

    one = Client(keep)
    assert code(await one.administer(opcode, name(record), KEY_ADMIN, SITE_KEY)) == 1
    return names, more


async def test_lists_come_in_messages_of_fifty(world: World, client: Client) -> None:
    """105: every name as it was registered, long ones too; CN on all messages but the last."""
    wanted = [PREFIX + b"/n%03d" % n for n in range(120)] + [PREFIX + b"/" + b"y" * 600]
    world.put(*(product(handle) for handle in wanted))
    for record in (OWN, PREFIX):
        names, more = await listed(client, OpCode.LIST_HANDLES, record)
        assert names == wanted
        assert more == [True, True, False]


async def test_derived_prefixes_are_listed_both_ways(world: World, client: Client) -> None:
    """106, and 105 on 0.NA/0.NA/P as deployed software asks (do-irp 17.6)."""
    child = Record(OWN + b".5", (HandleValue(1, b"DESC", b"child", timestamp=NOW),))
    world.put(child)
    assert (await listed(client, OpCode.LIST_DERIVED_PREFIXES, OWN))[0] == [OWN + b".5"]
    assert (await listed(client, OpCode.LIST_HANDLES, b"0.NA/" + OWN))[0] == [OWN + b".5"]


async def test_prefixes_are_homed_and_unhomed(world: World, client: Client) -> None:
    """300, 301 and 302, by an administrator of the server, seen at once."""
    assert code(await client.exchange(decode_message(question(b"88.77/x")))) == 301
    home = await client.administer(OpCode.HOME_PREFIX, name(b"0.NA/88.77"), KEY_ADMIN, SITE_KEY)
    assert code(home) == 1
    assert code(await client.exchange(decode_message(question(b"88.77/x")))) == 100
    names, _ = await listed(client, OpCode.LIST_HOMED_PREFIXES, b"/")
    assert names == [OWN, b"0.NA/88.77"]
    unhome = await client.administer(OpCode.UNHOME_PREFIX, name(b"0.NA/88.77"), KEY_ADMIN, SITE_KEY)
    assert code(unhome) == 1
    assert code(await client.exchange(decode_message(question(b"88.77/x")))) == 301


async def test_old_versions_are_not_authenticated(client: Client) -> None:
    """Below 2.7 nobody is challenged: the proof would be worthless (do-irp 21)."""
    old = with_version(client.message(OpCode.CREATE_HANDLE, values(PLATE, URL)), (2, 5))
    assert code(await client.exchange(old)) == 406


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (MacCode.HMAC_SHA256, 1),
        (MacCode.HMAC_SHA1, 1),
        (MacCode.SHA256, 1),
        (MacCode.SHA1, 1),
        (MacCode.MD5, 403),
    ],
)
async def test_the_encodings_of_a_secret_answer(
    client: Client, algorithm: MacCode, expected: int
) -> None:
    """Every form deployed clients send is taken, MD5 only behind its setting (do-irp 8.2)."""
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
    answer = client.answer(challenge, SECRET_ADMIN, SECRET, code=algorithm)
    assert code(await client.exchange(answer)) == expected


async def test_an_expired_request_is_refused(world: World, client: Client) -> None:
    """A change whose time is past is not done, even by its administrator."""
    message = client.message(OpCode.CREATE_HANDLE, values(PLATE, URL))
    old = replace(message, header=replace(message.header, expiration=NOW - 1))
    assert code(await client.exchange(old)) == 2
    assert read_record(world.store, PLATE) is None


async def test_random_answers_never_raise(world: World, client: Client) -> None:
    """Any octets as the body of an answer are refused, and the next answer is taken."""
    for body in (b"", b"\0", b"\xff" * 50, name(OWN), values(OWN, URL)):
        challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
        wrong = client.message(
            OpCode.CHALLENGE_RESPONSE, body, session_id=challenge.envelope.session_id
        )
        assert code(await client.exchange(wrong)) in {4, 403, 404}
    assert encode_message(client.message(1, b""))
    assert (
        code(await client.administer(OpCode.CREATE_HANDLE, values(PLATE, URL), KEY_ADMIN, SITE_KEY))
        == 1
    )
