"""Sessions, signed replies, and readers that hand messages to each other."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.credential import decode_credential, verify_mac, verify_signed
from protocol.doirp.envelope import decode_envelope
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import decode_message, encode_message, with_credential
from protocol.doirp.session import KeyExchange
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Record, Reference
from registry.records import read_record
from resolver.config import AuthSettings, Settings
from resolver.doirp.exchange import Peer, Transport
from resolver.doirp.handler import Elsewhere, Handler
from resolver.doirp.ids import fresh_id, owner_of
from resolver.doirp.udp import UdpFace
from resolver.local import LocalServer, listen
from resolver.node import Siblings, socket_name
from resolver.serve_doirp import handle_message
from tests.resolver.doirp.client import Client, name, values
from tests.resolver.doirp.world import (
    NOW,
    PREFIX,
    SITE_KEY,
    UdpClient,
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


def code(reply: object) -> int:
    return reply.header.response_code  # type: ignore[attr-defined,no-any-return]


def client_from(world: World, host: str = "192.0.2.7") -> Client:
    async def send(data: bytes) -> bytes:
        return await handle_message(world.node, data, (host, 4000))

    return Client(send)


@pytest.fixture
def client(world: World) -> Client:
    world.put_keys()
    return client_from(world)


async def test_set_up_is_signed_by_the_site(client: Client) -> None:
    """The reply to a set-up bears the site key's signature and a session id (do-irp 6.3, 9.1)."""
    reply = await client.set_up(KEY_ADMIN)
    assert code(reply) == 1
    verify_signed(reply, SITE_KEY.public_key())
    assert reply.envelope.session_id
    assert reply.header.has(Flag.RD)


async def test_one_proof_serves_a_session(world: World, client: Client) -> None:
    """The first change is challenged under the session's id; later ones need their MAC only."""
    await client.set_up(KEY_ADMIN)
    assert client.session is not None
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL, admin(OWN, 200)))
    assert code(challenge) == 402
    assert challenge.envelope.session_id == client.session[0]
    assert code(await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))) == 1
    assert code(await client.ask(OpCode.DELETE_HANDLE, name(PLATE))) == 1
    assert {change.actor for change in world.submitted} == {KEY_ADMIN}


async def test_a_session_ends_its_proof_with_the_key(world: World, client: Client) -> None:
    """Once the key that proved a session is replaced or revoked, the session is challenged anew."""
    await client.set_up(KEY_ADMIN)
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL, admin(OWN, 200)))
    assert code(await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))) == 1
    held = read_record(world.store, OWN).values
    other = generate_private_key(65537, 2048).public_key()
    world.put(
        Record(
            OWN,
            tuple(replace(v, data=encode_public_key(other)) if v.index == 300 else v for v in held),
        )
    )
    challenge = await client.ask(OpCode.DELETE_HANDLE, name(PLATE))
    assert code(challenge) == 402
    assert code(await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))) == 403
    assert read_record(world.store, PLATE) is not None


async def test_another_identity_does_not_take_the_session(world: World, client: Client) -> None:
    """The proof must be of the identity that set the session up."""
    await client.set_up(SECRET_ADMIN)
    challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
    assert code(await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))) == 403
    assert read_record(world.store, PLATE) is None


async def test_an_anonymous_session_proves_each_request(world: World, client: Client) -> None:
    """A session without identity is never proved as a whole."""
    await client.set_up()
    for handle in (PLATE, PLATE + b"b"):
        challenge = await client.ask(OpCode.CREATE_HANDLE, values(handle, URL))
        assert code(challenge) == 402
        assert code(await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))) == 1


async def test_counters_and_macs_are_checked(client: Client) -> None:
    """A repeated counter: 505. A wrong MAC: 502. None: 404. An unknown session: 500."""
    await client.set_up(KEY_ADMIN)
    message = client.message(OpCode.LIST_HOMED_PREFIXES, name(b"/"))
    assert code(await client.exchange(message)) == 402
    assert code(await client.exchange(message)) == 505
    fresh = client.message(OpCode.LIST_HOMED_PREFIXES, name(b"/"))
    broken = replace(fresh, header=replace(fresh.header, flags=fresh.header.flags ^ Flag.CA))
    assert code(await client.exchange(broken)) == 502
    assert code(await client.exchange(with_credential(fresh, b""))) == 404
    number = fresh_id(0, os.urandom, (), session=True)
    assert number is not None
    lost = replace(fresh, envelope=replace(fresh.envelope, session_id=number))
    assert code(await client.exchange(lost)) == 500


async def test_a_session_ends(world: World, client: Client) -> None:
    """By request, by idleness, or by the time the client asked for."""
    await client.set_up(KEY_ADMIN)
    assert code(await client.ask(OpCode.SESSION_TERMINATE, name(b"/"))) == 1
    assert code(await client.ask(OpCode.SESSION_TERMINATE, name(b"/"))) == 500
    await client.set_up(KEY_ADMIN, timeout_s=100)
    world.time += 101
    assert code(await client.ask(OpCode.SESSION_TERMINATE, name(b"/"))) == 500
    await client.set_up(KEY_ADMIN)
    world.time += world.node.settings.limits.session_s + 1
    assert code(await client.ask(OpCode.SESSION_TERMINATE, name(b"/"))) == 500


async def test_private_values_are_encrypted_in_a_session(world: World, client: Client) -> None:
    """A reply with values that are not public, or one asked for with ENC, is ciphertext."""
    secret = HandleValue(5, b"SECRET", b"for few", permissions=0b1100, timestamp=NOW)
    world.put(product(PLATE, secret))
    seen: list[bytes] = []
    send = client.send

    async def watched(data: bytes) -> bytes:
        seen.append(await send(data))
        return seen[-1]

    client.send = watched
    await client.set_up(KEY_ADMIN)
    body = decode_message(question(PLATE)).body
    challenge = await client.ask(OpCode.RESOLUTION, body, Flag.REC)
    assert code(challenge) == 402
    reply = await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))
    assert b"for few" in reply.body
    assert decode_envelope(seen[-1]).encrypted
    assert b"for few" not in seen[-1]
    reply = await client.ask(OpCode.RESOLUTION, body, Flag.PO | Flag.ENC)
    assert decode_envelope(seen[-1]).encrypted
    assert code(reply) == 1


async def test_encrypted_requests_are_taken(world: World, client: Client) -> None:
    """A request under the session key; whatever is wrong with one is the same answer (501)."""
    world.put(product(PLATE))
    await client.set_up(KEY_ADMIN)
    body = decode_message(question(PLATE)).body
    message = client.message(OpCode.RESOLUTION, body, Flag.PO)
    assert code(await client.exchange(message, encrypt=True)) == 1
    assert client.session is not None
    head = replace(message.envelope, encrypted=True)
    from protocol.doirp.envelope import encode_envelope

    for hidden in (b"", b"x" * 15, os.urandom(16), os.urandom(48), os.urandom(480)):
        data = encode_envelope(replace(head, length=len(hidden))) + hidden
        assert code(decode_message(await client.send(data))) == 501


async def test_certified_replies(world: World, client: Client) -> None:
    """Flag CT: signed with the site key, in a session with a MAC and a counter of its own."""
    world.put(product(PLATE))
    asked = decode_message(question(PLATE, flags=Flag.PO | Flag.CT | Flag.RD))
    verify_signed(await client.exchange(asked), SITE_KEY.public_key())
    await client.set_up(KEY_ADMIN)
    assert client.session is not None
    counters = []
    for _ in range(2):
        reply = await client.ask(OpCode.RESOLUTION, asked.body, Flag.PO | Flag.CT)
        counters.append(verify_mac(reply, client.session[1].octets).counter)
    assert counters == [1, 2]


async def test_signatures_are_rationed(world: World, client: Client) -> None:
    """A network that asks for signature after signature is told to wait, unsigned."""
    asked = decode_message(question(PLATE, flags=Flag.PO | Flag.CT))
    codes = [code(await client.exchange(asked)) for _ in range(405)]
    assert codes[:400] == [100] * 400
    assert codes[-1] == 3
    assert code(await client_from(world, "198.51.100.4").exchange(asked)) == 100


async def test_only_diffie_hellman_is_offered(client: Client) -> None:
    """Other key exchanges, and the key exchange operation: 501."""
    from protocol.doirp.session import SessionSetup, encode_session_setup

    setup = encode_session_setup(SessionSetup(KeyExchange.SERVER_KEY))
    assert code(await client.ask(OpCode.SESSION_SETUP, setup)) == 501
    assert code(await client.ask(OpCode.SESSION_EXCHANGE_KEY, b"\0\0\0\0")) == 501


async def test_bad_groups_are_refused(world: World, client: Client) -> None:
    """No safe prime, or one below the configured size: 501, and no session."""
    assert code(await client.set_up(p=(1 << 1024) - 1)) == 501
    world.node.settings = Settings(auth=replace(AuthSettings(), min_dh_bits=3072))
    assert code(await client.set_up()) == 501


async def test_verify_tells_whether_a_secret_was_used(client: Client) -> None:
    """Operation 201: 1 for the secret that lies here, 0 for anything else."""
    from protocol.challenge import answer_with_secret
    from protocol.doirp.authentication import (
        VerifyRequest,
        decode_verify_reply,
        encode_verify_request,
    )
    from tests.resolver.doirp.world import SECRET

    for secret, handle, valid in (
        (SECRET, OWN, True),
        (b"guess", OWN, False),
        (SECRET, PREFIX + b"/none", False),
    ):
        proof = answer_with_secret(secret, b"n" * 16, b"d" * 32, (2, 11), salt=b"s" * 16)
        body = encode_verify_request(VerifyRequest(handle, 301, b"n" * 16, b"d" * 32, proof))
        reply = await client.ask(OpCode.VERIFY_RESPONSE, body)
        assert decode_verify_reply(reply.body).valid is valid


# --- over UDP, and between readers


@asynccontextmanager
async def over_udp(world: World) -> AsyncIterator[UdpClient]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    face = UdpFace(Handler(world.node), sock)
    udp = UdpClient(sock.getsockname())
    try:
        yield udp
    finally:
        udp.close()
        await face.close(1.0)
        sock.close()


async def test_a_repeated_change_is_done_once(world: World) -> None:
    """The same datagram again gets the same reply: a client that heard nothing repeats itself."""
    world.put_keys()
    async with over_udp(world) as udp:
        client = Client(udp.ask)
        challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL))
        answer = encode_message(client.answer(challenge, KEY_ADMIN, SITE_KEY))
        first = await udp.ask(answer)
        assert await udp.ask(answer) == first
    assert code(decode_message(first)) == 1
    assert len(world.submitted) == 1


async def test_a_repeated_change_in_a_session_is_done_once(world: World) -> None:
    """In a session a repetition has a new counter and MAC, and is known all the same."""
    world.put_keys()
    async with over_udp(world) as udp:
        client = Client(udp.ask)
        await client.set_up(KEY_ADMIN)
        challenge = await client.ask(OpCode.CREATE_HANDLE, values(PLATE, URL, admin(OWN, 200)))
        assert code(await client.exchange(client.answer(challenge, KEY_ADMIN, SITE_KEY))) == 1
        message = client.message(OpCode.DELETE_HANDLE, name(PLATE))
        assert code(await client.exchange(message)) == 1
        again = client.message(OpCode.DELETE_HANDLE, name(PLATE))
        client.next_id -= 1
        envelope = replace(again.envelope, request_id=message.envelope.request_id)
        from protocol.credential import mac_message

        assert client.session is not None
        signed = mac_message(
            replace(again, envelope=envelope), client.session[1].octets, counter=client.counter
        )
        assert decode_credential(signed.credential).counter > 2
        assert code(await client.exchange(signed)) == 1


async def test_a_challenge_is_answered_through_another_reader(world: World, tmp_path: Path) -> None:
    """The reader that owns a challenge or a session carries the request out for the others."""
    world.put_keys()
    run = world.folder / "run"
    first = replace(world.node, number=0, readers=2, siblings=Siblings(run, 0))
    second = replace(world.node, number=1, readers=2, siblings=Siblings(run, 1))
    first.lookup = second.lookup = world.node.lookup
    handlers = Handler(first), Handler(second)
    servers = [
        LocalServer(listen(run / socket_name(n)), node.siblings.handlers)
        for n, node in enumerate((first, second))
    ]
    for server in servers:
        await server.start()
    turn = 0

    async def by_turns(data: bytes) -> bytes:
        nonlocal turn
        turn += 1
        handler = handlers[turn % 2]
        taken = handler.take(data, Peer("192.0.2.7", turn, Transport.TCP))
        if isinstance(taken, bytes):
            return taken
        return b"".join([reply async for reply in handler.replies(taken)])

    client = Client(by_turns)
    try:
        reply = await client.administer(
            OpCode.CREATE_HANDLE, values(PLATE, URL, admin(OWN, 200)), KEY_ADMIN, SITE_KEY
        )
        assert code(reply) == 1
        await client.set_up(KEY_ADMIN)
        reply = await client.administer(OpCode.DELETE_HANDLE, name(PLATE), KEY_ADMIN, SITE_KEY)
        assert code(reply) == 1
        assert client.session is not None
        assert owner_of(client.session[0]) in {0, 1}
        await servers[owner_of(client.session[0])].close(0.1)
        gone = encode_message(client.message(OpCode.LIST_HOMED_PREFIXES, name(b"/")))
        other = handlers[1 - owner_of(client.session[0])]
        taken = other.take(gone, Peer("192.0.2.7", 1, Transport.TCP))
        assert isinstance(taken, Elsewhere)
        (reply_,) = [octets async for octets in other.replies(taken)]
        assert code(decode_message(reply_)) == 500
    finally:
        for server in servers:
            await server.close(0.1)
        for node in (first, second):
            await node.siblings.close()


async def test_lists_over_udp_are_sent_to_tcp(world: World) -> None:
    """A listing of several messages is "busy" over UDP; one message goes through."""
    world.put_keys()
    world.put(*(product(PREFIX + b"/n%d" % n) for n in range(10)))
    async with over_udp(world) as udp:
        client = Client(udp.ask)
        Handler(world.node).proven.add("127.0.0.1")
        few = await client.administer(OpCode.LIST_HANDLES, name(OWN), KEY_ADMIN, SITE_KEY)
        assert code(few) == 1
        world.put(*(product(PREFIX + b"/m%d" % n) for n in range(60)))
        many = await client.administer(OpCode.LIST_HANDLES, name(OWN), KEY_ADMIN, SITE_KEY)
        assert code(many) == 3
