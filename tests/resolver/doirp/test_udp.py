"""DO-IRP over UDP, over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import decode_message, encode_message, split_request_digest
from protocol.doirp.resolution import decode_resolution_reply
from protocol.doirp.udp import split
from protocol.record import HandleValue, Record
from protocol.values.hs_site import decode_site
from resolver import batch
from resolver.config import LimitSettings, Settings
from resolver.doirp import udp
from resolver.doirp.handler import Handler
from resolver.doirp.udp import UdpFace, busy, datagrams
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

VECTORS = Path(__file__).parents[2] / "vectors" / "do-irp"


@asynccontextmanager
async def serving(
    world: World, host: str = "127.0.0.1", family: int = socket.AF_INET
) -> AsyncIterator[UdpClient]:
    """A face on a free port and a client for it."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    face = UdpFace(Handler(world.node), sock)
    client = UdpClient(sock.getsockname(), family)
    try:
        yield client
    finally:
        client.close()
        await face.close(1.0)
        sock.close()


async def test_a_record_is_answered(world: World) -> None:
    """A question gets the record's public values, under its own id, from an authority."""
    world.put(product(PREFIX + b"/plate-7"))
    async with serving(world) as client:
        reply = read(await client.ask(question(b"88.118.8/PLATE-7", request_id=99)))
    assert reply.envelope.request_id == 99
    assert reply.header.response_code == 1
    assert reply.header.has(Flag.AT)
    assert reply.header.site_serial == 3
    assert reply.header.expiration == NOW + 43_200
    body = decode_resolution_reply(reply.body)
    assert body.handle == b"88.118.8/PLATE-7"
    assert [value.type for value in body.values] == [b"URL", b"DESC", b"HS_ADMIN"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6_is_answered(world: World) -> None:
    """The same over IPv6."""
    world.put(product(PREFIX + b"/plate-7"))
    async with serving(world, "::1", socket.AF_INET6) as client:
        assert code_of(await client.ask(question(PREFIX + b"/plate-7"))) == 1


async def test_absent_withheld_and_foreign_are_three_answers(world: World) -> None:
    """No record: 100. Nothing public in it: 200. Of another node's prefix: 301."""
    secret = HandleValue(3, b"SECRET", b"x", permissions=0b1100, timestamp=NOW)
    world.put(Record(PREFIX + b"/secret", (secret,)))
    async with serving(world) as client:
        assert code_of(await client.ask(question(PREFIX + b"/nothing"))) == 100
        assert code_of(await client.ask(question(PREFIX + b"/secret"))) == 200
        assert code_of(await client.ask(question(b"99.9/x"))) == 301


async def test_a_commit_is_seen_at_once(world: World) -> None:
    """What was stored before the question is in the answer, and a homed prefix is home."""
    async with serving(world) as client:
        assert code_of(await client.ask(question(PREFIX + b"/new"))) == 100
        world.put(product(PREFIX + b"/new"))
        assert code_of(await client.ask(question(PREFIX + b"/new"))) == 1


async def test_a_long_reply_comes_in_packets(world: World) -> None:
    """A reply above 512 octets comes in full datagrams that say they are parts (RFC 3652 §2.3)."""
    long = HandleValue(9, b"NOTE", b"n" * 1400, timestamp=NOW)
    world.put(product(PREFIX + b"/long", long))
    async with serving(world) as client:
        reply = await client.ask(question(PREFIX + b"/long"))
        packets = client.packets
    assert len(packets) == 4
    assert [len(packet) for packet in packets[:-1]] == [512] * 3
    assert all(decode_envelope(packet).truncated for packet in packets)
    assert sorted(decode_envelope(packet).sequence for packet in packets) == [0, 1, 2, 3]
    assert decode_resolution_reply(read(reply).body).values[-1].data == b"n" * 1400


async def test_a_reply_of_too_many_packets_is_busy_until_proven(world: World) -> None:
    """Above the most packets an unproven source is sent to TCP; a proven one gets all of them."""
    world.settings = Settings(limits=replace(LimitSettings(), udp_packets=4))
    world.node.settings = world.settings
    long = HandleValue(9, b"NOTE", b"n" * 5000, timestamp=NOW)
    world.put(product(PREFIX + b"/long", long))
    async with serving(world) as client:
        busy_reply = await client.ask(question(PREFIX + b"/long"))
        assert code_of(busy_reply) == 3
        assert len(busy_reply) == 52
        assert world.node.metrics.udp_limited["busy"].value == 1
        Handler(world.node).proven.add("127.0.0.1")
        assert code_of(await client.ask(question(PREFIX + b"/long"))) == 1
        assert len(client.packets) > 4


async def test_an_unproven_source_gets_three_times_what_it_sends(world: World) -> None:
    """Beyond the free allowance the octets sent are at most 3 × those received (threats N1)."""
    allowance = 8_192
    world.settings = Settings(limits=replace(LimitSettings(), udp_allowance_bytes=allowance))
    world.node.settings = world.settings
    note = HandleValue(9, b"NOTE", b"n" * 900, timestamp=NOW)
    world.put(product(PREFIX + b"/long", note))
    sent = received = 0
    async with serving(world) as client:
        for number in range(1, 200):
            message = question(PREFIX + b"/long", request_id=number)
            await client.ask(message)
            sent += len(message)
            received += sum(map(len, client.packets))
    assert received <= allowance + 3 * sent
    assert world.node.metrics.udp_limited["busy"].value > 0


async def test_the_limit_starts_anew_each_minute(world: World) -> None:
    """A minute later the allowance is whole again."""
    world.settings = Settings(limits=replace(LimitSettings(), udp_allowance_bytes=600))
    world.node.settings = world.settings
    world.put(product(PREFIX + b"/x", HandleValue(9, b"NOTE", b"n" * 200, timestamp=NOW)))
    async with serving(world) as client:
        assert code_of(await client.ask(question(PREFIX + b"/x"))) == 1
        assert code_of(await client.ask(question(PREFIX + b"/x"))) == 3
        world.time += 61
        assert code_of(await client.ask(question(PREFIX + b"/x"))) == 1


async def test_a_request_in_packets_is_joined(world: World) -> None:
    """A question of several datagrams, in any order and repeated, is one question."""
    name = PREFIX + b"/" + b"x" * 1500
    message = decode_message(question(name))
    packets = split(encode_message(message)[ENVELOPE_SIZE:], message.envelope)
    assert len(packets) == 4
    async with serving(world) as client:
        reply = await client.ask([packets[2], packets[0], packets[2], packets[3], packets[1]])
    assert code_of(reply) == 100


async def test_parts_that_never_come_are_forgotten(world: World) -> None:
    """A first packet alone gets no answer and holds nothing up."""
    message = decode_message(question(PREFIX + b"/" + b"x" * 1500))
    packets = split(encode_message(message)[ENVELOPE_SIZE:], message.envelope)
    async with serving(world) as client:
        assert code_of(await client.ask([packets[0], question(PREFIX + b"/y")])) == 100


async def test_filters_choose_the_union(world: World) -> None:
    """Indexes and types ask for the union; no match on a record is 200 (do-irp 7.1)."""
    world.put(product(PREFIX + b"/p", HandleValue(4, b"URL.META", b"m", timestamp=NOW)))
    async with serving(world) as client:

        async def types(**lists: tuple[int, ...] | tuple[bytes, ...]) -> list[bytes]:
            reply = read(await client.ask(question(PREFIX + b"/p", **lists)))  # type: ignore[arg-type]
            assert reply.header.response_code == 1
            return [value.type for value in decode_resolution_reply(reply.body).values]

        assert await types(indexes=(2,), types=(b"url",)) == [b"URL", b"DESC"]
        assert await types(types=(b"URL.",)) == [b"URL", b"URL.META"]
        assert code_of(await client.ask(question(PREFIX + b"/p", types=(b".",)))) == 200


@pytest.mark.parametrize("batched", [True, False])
async def test_plain_questions_do_not_wait_for_a_turn_of_others(
    world: World, monkeypatch, batched: bool
) -> None:
    """Between two requests that are carried out in one turn, the socket is looked at (N7)."""
    world.put(product(PREFIX + b"/plate-7"))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setblocking(False)
    handler, began, found = Handler(world.node), [], []

    async def replies(taken):
        """The first is followed by a plain question; the second looks for its answer."""
        if began:
            found.extend((asker.recv(2048), code_of(asker.recv(2048))))
        began.append(taken)
        asker.sendto(question(PREFIX + b"/plate-7"), sock.getsockname())
        yield b"reply to one that took long"

    monkeypatch.setattr(handler, "take", lambda whole, _peer: object())
    monkeypatch.setattr(handler, "now", lambda _taken: None)
    monkeypatch.setattr(handler, "replies", replies)
    monkeypatch.setattr(udp, "perf_counter", itertools.count(0, 0.01).__next__)
    face = UdpFace(handler, sock, batched=batched)
    try:
        for number in (1, 2):
            asker.sendto(question(b"99.9/x", request_id=number), sock.getsockname())
        for _ in range(100):
            await asyncio.sleep(0)
    finally:
        await face.close(1.0)
        sock.close()
        asker.close()
    assert found == [b"reply to one that took long", 1]


@pytest.mark.skipif(not batch.available(), reason="no recvmmsg here")
async def test_answers_at_hand_go_out_with_their_batch(world: World, monkeypatch) -> None:
    """A batch of questions that are not plain is answered in one call, not one each (N7)."""
    calls = []
    send = batch.Batch.send
    monkeypatch.setattr(
        batch.Batch, "send", lambda *each: calls.append(each[1:]) or send(*each), raising=True
    )
    sock, asker = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    sock.bind(("127.0.0.1", 0))
    for number in range(1, 9):  # before anybody looks at the socket
        asker.sendto(question(b"99.9/x", request_id=number), sock.getsockname())
    face = UdpFace(Handler(world.node), sock)
    asker.settimeout(5)
    try:
        await asyncio.sleep(0.01)
        replies = [await asyncio.to_thread(asker.recv, 2048) for _ in range(8)]
    finally:
        await face.close(1.0)
        sock.close()
        asker.close()
    assert [read(reply).envelope.request_id for reply in replies] == [*range(1, 9)]
    assert calls == [(0, 8)]
    assert world.node.metrics.octets["udp", "out"].value == sum(map(len, replies))


async def test_the_request_digest_is_returned(world: World) -> None:
    """Flag RD puts SHA-256 over header and body of the request in front (do-irp 6.1)."""
    world.put(product(PREFIX + b"/p"))
    asked = question(PREFIX + b"/p", flags=Flag.PO | Flag.RD)
    async with serving(world) as client:
        reply = read(await client.ask(asked))
    digest, _ = split_request_digest(reply)
    assert digest is not None
    from hashlib import sha256

    assert digest.digest == sha256(decode_message(asked).covered()).digest()


async def test_site_info_is_the_own_site(world: World) -> None:
    """Operation 2 answers with this node's site record, whatever name is asked."""
    message = decode_message(question(b"/"))
    site_request = encode_message(
        replace(
            message,
            header=replace(message.header, opcode=OpCode.GET_SITE_INFO.value),
            body=b"\0\0\0\1/",
        )
    )
    async with serving(world) as client:
        reply = read(await client.ask(site_request))
    assert decode_site(reply.body) == world.node.site


async def test_a_reply_is_never_answered(world: World) -> None:
    """A reply sent to the server, say by a forged source, gets no reply."""
    message = decode_message(question(PREFIX + b"/p"))
    forged = encode_message(replace(message, header=replace(message.header, response_code=1)))
    async with serving(world) as client:
        assert read(await client.ask([forged, question(PREFIX + b"/q", request_id=8)]))
        assert decode_envelope(client.packets[0]).request_id == 8


async def test_malformed_datagrams_never_stop_the_loop(world: World) -> None:
    """After every malformed vector, every cut and random octets, the next question is answered."""
    draw = random.Random(1)
    rows = json.loads((VECTORS / "malformed.json").read_text())
    datagrams_ = [bytes.fromhex(row["hex"])[:1400] for row in rows]
    good = question(PREFIX + b"/p")
    datagrams_ += [good[:size] for size in range(len(good))]
    datagrams_ += [draw.randbytes(draw.randrange(600)) for _ in range(300)]
    datagrams_ += [good[:20] + draw.randbytes(draw.randrange(200)) for _ in range(100)]
    world.put(product(PREFIX + b"/p"))
    async with serving(world) as client:
        loop = asyncio.get_running_loop()
        for at in range(0, len(datagrams_), 50):
            for datagram in datagrams_[at : at + 50]:
                await loop.sock_sendto(client.socket, datagram, client.address)
            await loop.sock_sendto(
                client.socket, question(PREFIX + b"/p", request_id=at + 1), client.address
            )
            while True:
                packet = await asyncio.wait_for(loop.sock_recv(client.socket, 4096), 5)
                if packet[8:12] == (at + 1).to_bytes(4, "big") and code_of(packet) == 1:
                    break


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda m: m[:20] + bytes(4) + m[24:], 4),  # operation code 0
        (lambda m: m[:20] + b"\0\0\x03\xe7" + m[24:], 2),  # unknown operation
        (lambda m: m[:16] + b"\0\0\0\x05" + m[20:25], 4),  # shorter than a header
        (lambda m: m[:2] + b"\x82" + m[3:], 4),  # compressed
        (lambda m: m[:40] + b"\0\0\x13\x88" + m[44:], 2),  # body length beyond the message
    ],
)
async def test_early_errors_name_the_request(world: World, edit: object, code: int) -> None:
    """What cannot be read is refused under its own request id (do-irp 17.1)."""
    async with serving(world) as client:
        reply = await client.ask(edit(question(PREFIX + b"/p", request_id=77)))  # type: ignore[operator]
    assert code_of(reply) == code
    assert decode_envelope(reply).request_id == 77


def test_packets_of_a_reply_are_those_of_the_codec() -> None:
    """The loop cuts replies just as protocol.doirp.udp does."""
    message = decode_message(question(PREFIX + b"/" + b"x" * 2000))
    whole = encode_message(message)
    assert datagrams(whole) == split(whole[ENVELOPE_SIZE:], message.envelope)


def test_busy_keeps_the_ids() -> None:
    """The small answer is a well-formed reply to the same request without a digest."""
    reply = decode_message(busy(question(PREFIX + b"/x", flags=Flag.PO | Flag.RD, request_id=5)))
    assert (reply.envelope.request_id, reply.header.response_code) == (5, 3)
    assert not reply.header.has(Flag.RD)


class Clogged:
    """A socket whose buffer is full for some sends, then has room again."""

    def __init__(self, sock: socket.socket, errors: list[OSError]) -> None:
        self._sock = sock
        self._errors = errors

    def sendto(self, data: bytes, address: object) -> int:
        if self._errors:
            raise self._errors.pop(0)
        return self._sock.sendto(data, address)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


async def test_a_full_buffer_delays_and_loses_nothing(world: World) -> None:
    """Replies that find no room wait in their order; other errors lose one datagram only."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    clogged = Clogged(sock, [BlockingIOError(), BlockingIOError(), OSError(105, "no buffers")])
    face = UdpFace(Handler(world.node), clogged, batched=False)  # type: ignore[arg-type]
    client = UdpClient(sock.getsockname())
    loop = asyncio.get_running_loop()
    for number in range(1, 6):
        await loop.sock_sendto(
            client.socket, question(PREFIX + b"/x", request_id=number), client.address
        )
    seen = []
    for _ in range(4):
        packet = await asyncio.wait_for(loop.sock_recv(client.socket, 4096), 5)
        seen.append(decode_envelope(packet).request_id)
    assert seen == [2, 3, 4, 5]
    assert world.node.metrics.udp_limited["dropped"].value == 1
    client.close()
    await face.close(1.0)
    sock.close()


@pytest.mark.skipif(not batch.available(), reason="this machine has no recvmmsg")
async def test_a_full_buffer_delays_a_batch_too(world: World, monkeypatch) -> None:
    """What one call could not send waits and goes out in its order when there is room."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    face = UdpFace(Handler(world.node), sock)
    really, calls = batch.Batch.send, []

    def send(self: batch.Batch, start: int, stop: int) -> tuple[int, int]:
        calls.append(stop - start)
        return (0, start) if len(calls) == 1 else really(self, start, stop)

    monkeypatch.setattr(batch.Batch, "send", send)
    client = UdpClient(sock.getsockname())
    for number in range(1, 6):
        client.socket.sendto(question(PREFIX + b"/x", request_id=number), client.address)
    loop = asyncio.get_running_loop()
    seen = []
    for _ in range(5):
        packet = await asyncio.wait_for(loop.sock_recv(client.socket, 4096), 5)
        seen.append(decode_envelope(packet).request_id)
    assert seen == [1, 2, 3, 4, 5]
    client.close()
    await face.close(1.0)
    sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.skipif(not batch.available(), reason="this machine has no recvmmsg")
def test_addresses_of_a_batch_are_those_of_the_socket(host: str) -> None:
    """A datagram's sender reads the same from its slot as recvfrom() gives it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sock,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        sock.bind((host, 0))
        sock.setblocking(False)
        client.connect(sock.getsockname())
        client.send(b"x")
        slots = batch.Batch(sock, receive_bytes=2048, send_bytes=512)
        assert slots.receive() == 1
        assert batch.Addresses(sock, slots).of(0) == client.getsockname()
