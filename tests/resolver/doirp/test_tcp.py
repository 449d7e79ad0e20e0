"""DO-IRP over TCP, over real sockets."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.doirp.envelope import ENVELOPE_SIZE
from protocol.doirp.header import Flag
from protocol.doirp.message import decode_message, encode_message
from protocol.record import HandleValue
from resolver.config import LimitSettings, Settings
from resolver.doirp.handler import Handler
from resolver.doirp.tcp import TcpFace
from resolver.serve_doirp import handle_message
from tests.resolver.doirp.world import NOW, PREFIX, U4, World, code_of, product, question

VECTORS = Path(__file__).parents[2] / "vectors" / "do-irp"
KEEP = Flag.PO | Flag.KC


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self) -> bytes:
        async with asyncio.timeout(5):
            envelope = await self.reader.readexactly(ENVELOPE_SIZE)
            return envelope + await self.reader.readexactly(U4.unpack_from(envelope, 16)[0])

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.reply()

    async def ended(self) -> bool:
        async with asyncio.timeout(5):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Server:
    """A face on a free port."""

    def __init__(self, face: TcpFace, address: tuple[object, ...]) -> None:
        self.face = face
        self.address = address
        self.clients: list[Client] = []

    async def client(self) -> Client:
        made = Client(
            *await asyncio.open_connection(str(self.address[0]), int(str(self.address[1])))
        )
        self.clients.append(made)
        return made


@asynccontextmanager
async def serving(
    world: World, host: str = "127.0.0.1", family: int = socket.AF_INET, **limits: float
) -> AsyncIterator[Server]:
    world.node.settings = Settings(limits=replace(LimitSettings(), **limits))
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    face = TcpFace(Handler(world.node), sock)
    server = Server(face, sock.getsockname())
    try:
        yield server
    finally:
        for client in server.clients:
            await client.close()
        await face.close(1.0)
        sock.close()


async def test_the_server_closes_after_the_reply(world: World) -> None:
    """Without the keep-alive flag a connection carries one request (do-irp 3.2)."""
    world.put(product(PREFIX + b"/p"))
    async with serving(world) as server:
        client = await server.client()
        assert code_of(await client.ask(question(PREFIX + b"/p"))) == 1
        assert await client.ended()
        assert world.node.metrics.connections["tcp"].value == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6_is_answered(world: World) -> None:
    """The same over IPv6."""
    async with serving(world, "::1", socket.AF_INET6) as server:
        client = await server.client()
        assert code_of(await client.ask(question(PREFIX + b"/none"))) == 100
        assert await client.ended()


async def test_keep_alive_keeps_the_connection(world: World) -> None:
    """With the flag the next request is answered too; the first one without it is the last."""
    async with serving(world) as server:
        client = await server.client()
        for _ in range(3):
            assert code_of(await client.ask(question(PREFIX + b"/p", flags=KEEP))) == 100
        assert code_of(await client.ask(question(PREFIX + b"/p"))) == 100
        assert await client.ended()


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    """Many requests in one write: a reply each, in their order, plain or not."""
    world.put(product(PREFIX + b"/p"))
    names = (b"/p", b"/none", b"/p")
    flags = (KEEP, KEEP, KEEP | Flag.ENC)
    messages = [
        question(PREFIX + names[n % 3], request_id=n + 1, flags=flags[n % 3]) for n in range(300)
    ]
    async with serving(world) as server:
        client = await server.client()
        await client.send(b"".join(messages))
        replies = [await client.reply() for _ in messages]
    assert [U4.unpack_from(reply, 8)[0] for reply in replies] == list(range(1, 301))


async def test_a_request_in_pieces_is_answered(world: World) -> None:
    """However the octets of requests are cut, the replies are the same."""
    world.put(product(PREFIX + b"/p"))
    stream = b"".join(question(PREFIX + b"/p", request_id=n, flags=KEEP) for n in (1, 2, 3))
    async with serving(world) as server:
        for size in (1, 7, 33, 100):
            client = await server.client()
            for at in range(0, len(stream), size):
                await client.send(stream[at : at + size])
                await asyncio.sleep(0)
            assert [code_of(await client.reply()) for _ in range(3)] == [1, 1, 1]


async def test_a_client_that_does_not_read_holds_nothing_up(world: World) -> None:
    """Replies wait for a slow reader within bounds; all of them arrive once it reads."""
    world.put(product(PREFIX + b"/big", HandleValue(9, b"NOTE", b"n" * 60_000, timestamp=NOW)))
    async with serving(world) as server:
        slow, other = await server.client(), await server.client()
        await slow.send(
            b"".join(question(PREFIX + b"/big", request_id=n, flags=KEEP) for n in range(1, 201))
        )
        assert code_of(await other.ask(question(PREFIX + b"/none"))) == 100
        ids = [U4.unpack_from(await slow.reply(), 8)[0] for _ in range(200)]
    assert ids == list(range(1, 201))


async def test_a_long_record_comes_whole(world: World) -> None:
    """A reply of many datagrams' size is one message over TCP."""
    world.put(product(PREFIX + b"/big", HandleValue(9, b"NOTE", b"n" * 60_000, timestamp=NOW)))
    async with serving(world) as server:
        client = await server.client()
        assert len(await client.ask(question(PREFIX + b"/big"))) > 60_000
        assert await client.ended()


async def test_half_a_request_is_dropped_at_its_deadline(world: World) -> None:
    """A request must have arrived within its time, however slowly it trickles."""
    message = question(PREFIX + b"/p", flags=KEEP)
    async with serving(world, request_s=0.2) as server:
        client = await server.client()
        await client.send(message[:30])
        assert await client.ended()


async def test_an_idle_connection_is_closed(world: World) -> None:
    """A kept connection without requests is closed after its idle time."""
    async with serving(world, idle_s=0.2) as server:
        client = await server.client()
        assert code_of(await client.ask(question(PREFIX + b"/p", flags=KEEP))) == 100
        assert await client.ended()


async def test_too_many_connections_of_a_source_close_its_oldest(world: World) -> None:
    """Over its limit a source loses its oldest waiting connection and keeps the new one."""
    async with serving(world, connections_per_source=2) as server:
        clients = []
        for _ in range(3):
            client = await server.client()
            assert code_of(await client.ask(question(PREFIX + b"/p", flags=KEEP))) == 100
            clients.append(client)
        assert await clients[0].ended()
        assert code_of(await clients[2].ask(question(PREFIX + b"/p", flags=KEEP))) == 100
        assert world.node.metrics.connections["tcp"].value == 2


async def test_an_overlong_message_is_refused(world: World) -> None:
    """A length above the limit is refused by its envelope alone, and the connection closed."""
    envelope = question(PREFIX + b"/p", request_id=5)[:16] + (262_145).to_bytes(4, "big")
    async with serving(world) as server:
        client = await server.client()
        reply = await client.ask(envelope)
        assert code_of(reply) == 4
        assert U4.unpack_from(reply, 8)[0] == 5
        assert await client.ended()


async def test_malformed_connections_never_stop_the_face(world: World) -> None:
    """After every malformed vector and random octets the next connection is answered."""
    draw = random.Random(2)
    rows = json.loads((VECTORS / "malformed.json").read_text())
    good = question(PREFIX + b"/p")
    streams = [bytes.fromhex(row["hex"]) for row in rows]
    streams += [good[:20] + draw.randbytes(len(good) - 20) for _ in range(50)]
    streams += [draw.randbytes(200) for _ in range(50)]
    async with serving(world) as server:
        for stream in streams:
            client = await server.client()
            await client.send(stream)
            await client.close()
        client = await server.client()
        assert code_of(await client.ask(good)) == 100


async def test_a_tcp_exchange_proves_the_source(world: World) -> None:
    """Whoever completed a TCP exchange receives what is sent to them (threats N1)."""
    async with serving(world) as server:
        proven = server.face.handler.proven
        assert not proven.has("127.0.0.1")
        world.node.board.ready = False  # the supervisor's probes
        await (await server.client()).ask(question(PREFIX + b"/p"))
        assert not proven.has("127.0.0.1")
        world.node.board.ready = True
        await (await server.client()).ask(question(PREFIX + b"/p"))
        assert proven.has("127.0.0.1")
        world.time += 601
        assert not proven.has("127.0.0.1")


async def test_closing_finishes_and_frees(world: World) -> None:
    """close() ends every connection."""
    async with serving(world) as server:
        client = await server.client()
        await client.ask(question(PREFIX + b"/p", flags=KEEP))
        await server.face.close(0.1)
        assert await client.ended()


async def test_the_tunnel_answers_as_tcp_does(world: World) -> None:
    """A message inside a POST gets the same octets; a stray line end before it is skipped."""
    world.put(product(PREFIX + b"/p"))
    message = question(PREFIX + b"/p")
    async with serving(world) as server:
        direct = await (await server.client()).ask(message)
    assert await handle_message(world.node, message, ("192.0.2.1", 4000)) == direct
    assert await handle_message(world.node, b"\n" + message, ("192.0.2.1", 4000)) == direct


async def test_the_tunnel_calls_an_unknown_operation_a_protocol_error(world: World) -> None:
    """What does not parse is code 4 over HTTP (do-irp 17.1)."""
    message = decode_message(question(PREFIX + b"/p"))
    unknown = encode_message(replace(message, header=replace(message.header, opcode=999)))
    assert code_of(await handle_message(world.node, unknown, ("192.0.2.1", 4000))) == 4
