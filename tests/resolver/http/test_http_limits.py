"""Hostile and slow peers of the HTTP face, over raw sockets (threats H1, H2, H3, H9)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from resolver.config import LimitSettings
from tests.resolver.http.node_in_process import serving, value

P1 = b"/api/handles/86.999/p1"


@pytest.fixture
def world(served):
    served.register("86.999/p1", value(1, "URL", "http://example.org/"))
    return served


async def send(served, *parts, port=None):
    """Everything the server says to these octets until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port or served.http)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    answer = b""
    closed = False
    try:
        async with asyncio.timeout(0.5):
            while True:
                more = await reader.read(65536)
                if not more:
                    closed = True
                    break
                answer += more
    except (TimeoutError, ConnectionError) as error:
        closed = isinstance(error, ConnectionError)
    writer.close()
    return answer, closed


def statuses(answer):
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


HIDDEN = b"GET /api/handles/86.999/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

AMBIGUOUS = {
    "CL and TE": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "list of lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nabcdef",
    "signed length": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
    "negative length": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nabcde",
    "hex length": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nabcde",
    "spaced name": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde",
    "folded": b"GET %s HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
    "bare LF end": b"GET %s HTTP/1.1\nHost: x\n\n",
    "bare CR": b"GET %s HTTP/1.1\r\nHost: x\r\nX-A: b\rX-B: c\r\n\r\n",
    "NUL": b"GET %s HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
    "odd TE": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE twice": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE not last": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "chunk size too long": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "no version": b"GET %s\r\n\r\n",
    "odd version": b"GET %s HTTP/9.9\r\nHost: x\r\n\r\n",
    "space in target": b"GET %s x HTTP/1.1\r\nHost: x\r\n\r\n",
    "no name": b"GET %s HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "name with space": b"GET %s HTTP/1.1\r\nHost: x\r\nX A: b\r\n\r\n",
    "junk": b"\x16\x03\x01\x02\x00\x01%s",
}


@pytest.mark.parametrize("name", list(AMBIGUOUS))
async def test_ambiguous_requests(world, name):
    """A request that two readers could read differently ends the connection; nothing follows it."""
    answer, closed = await send(world, (AMBIGUOUS[name] % P1) + HIDDEN)
    assert closed, answer
    assert b"smuggled" not in answer
    assert statuses(answer) == [400], answer
    assert b"application/problem+json" in answer
    assert b"aiohttp" not in answer


async def test_no_octet_of_the_request_is_repeated(world):
    """The answer to a broken request repeats nothing of it."""
    answer, _ = await send(world, b"GET /x HTTP/1.1\r\nX-Canary canary-7781\r\n\r\n")
    assert b"canary-7781" not in answer


async def test_pipelined_requests(world):
    """Requests sent at once are answered in order."""
    one = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
    answer, _ = await send(world, one % P1 + one % b"/api/handles/86.999/none" + one % P1)
    assert statuses(answer) == [200, 404, 200]


async def test_body_is_not_the_next_request(world):
    """A body that looks like a request is a body."""
    head = b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (P1, len(HIDDEN))
    answer, _ = await send(world, head + HIDDEN)
    assert statuses(answer) == [200]


async def test_limits_of_the_head(world):
    """A long line, a long field and many fields are refused."""
    for head in (
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
    ):
        answer, closed = await send(world, head)
        assert closed
        assert statuses(answer) in ([400], [])


async def test_methods(world):
    """Methods that nobody serves are said so; CONNECT and TRACE do nothing."""
    for method, path, expected in (
        (b"TRACE", P1, 405),
        (b"BREW", P1, 501),
        (b"TRACE", b"/health/live", 405),
        (b"DELETE", b"/86.999/p1", 405),
    ):
        answer, _ = await send(world, method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert statuses(answer) in ([expected], [400]), (method, answer)
    answer, _ = await send(world, b"CONNECT example.org:80 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(answer) != [200]


async def test_absolute_form(world):
    """A request in absolute form is answered like any other, whatever host it names."""
    line = b"GET http://other.example%s HTTP/1.1\r\nHost: x\r\n\r\n" % P1
    answer, _ = await send(world, line)
    assert statuses(answer) == [200]


async def test_odd_hosts_change_nothing(world):
    """The Host header has no part in any answer."""
    for host in (b"", b"Host: evil.example\r\n", b"Host: a\r\nX-Forwarded-Host: b\r\n"):
        answer, _ = await send(world, b"GET /86.999/p1 HTTP/1.1\r\n" + host + b"\r\n")
        assert b"evil" not in answer
        assert statuses(answer) in ([302], [400])


def settings_with(founded, **limits):
    return replace(founded.settings.limits, **limits)


async def test_slow_head(founded, tmp_path):
    """A head that does not arrive in its time ends the connection, a silent one too."""
    limits = settings_with(founded, request_s=3.0)
    async with serving(founded, tmp_path / "node", limits=limits) as served:
        pairs = [await asyncio.open_connection("127.0.0.1", served.http) for _ in range(3)]
        pairs[1][1].write(b"GET / HTTP/1.1\r\nX-A: ")
        await asyncio.sleep(0.05)
        gate = served.face.gates[0]
        for _ in range(3):
            gate.sweep()
        pairs[2][1].write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await pairs[2][0].readuntil(b"\r\n\r\n")
        for _ in range(2):
            gate.sweep()
        for reader, _ in pairs[:2]:
            assert await reader.read() == b""
        assert not pairs[2][0].at_eof()
        for _, writer in pairs:
            writer.close()


async def test_slow_body(founded, tmp_path):
    """A body that does not arrive in its time is 408."""
    limits = settings_with(founded, request_s=0.2)
    async with serving(founded, tmp_path / "node", limits=limits) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.http)
        writer.write(
            b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n[" % P1
        )
        assert b" 408 " in await reader.readuntil(b"\r\n")
        writer.close()


async def test_idle_connection(founded, tmp_path):
    """A connection kept open is closed when nothing comes."""
    limits = settings_with(founded, idle_s=5.0)
    async with serving(founded, tmp_path / "node", limits=limits) as served:
        served.register("86.999/p1", value(1, "URL", "http://example.org/"))
        reader, writer = await asyncio.open_connection("127.0.0.1", served.http)
        writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % P1)
        await reader.readuntil(b"}")
        for _ in range(7):
            served.face.gates[0].sweep()
        assert (await reader.read()).endswith(b"}")
        writer.close()


async def test_peer_that_does_not_read(founded, tmp_path):
    """A peer that takes none of its answers is cut off, and pins a bounded number of octets."""
    async with serving(founded, tmp_path / "node") as served:
        served.register("86.999/p1", *(value(n, "X", "x" * 30_000) for n in range(1, 8)))
        _, writer = await asyncio.open_connection("127.0.0.1", served.http)
        writer.transport.pause_reading()
        request = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % P1
        writer.write(request * 500)
        await asyncio.sleep(0.3)
        (connection,) = served.face.gates[0]._all
        assert connection.transport.get_write_buffer_size() < 2_000_000
        for _ in range(40):
            served.face.gates[0].sweep()
        await asyncio.sleep(0.05)
        assert not served.face.gates[0]._all
        writer.close()


async def test_connection_limits(founded, tmp_path):
    """Connections above the limit of a source are closed at once; others are served."""
    limits = settings_with(founded, connections_per_source=3)
    async with serving(founded, tmp_path / "node", limits=limits) as served:
        pairs = [await asyncio.open_connection("127.0.0.1", served.http) for _ in range(5)]
        ended = 0
        for reader, _ in pairs[3:]:
            try:
                ended += await reader.read() == b""
            except ConnectionError:
                ended += 1
        assert ended == 2
        pairs[0][1].write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await pairs[0][0].readuntil(b"\r\n\r\n")
        for _, writer in pairs:
            writer.close()
        while served.face.gates[0]._all:
            await asyncio.sleep(0)
        assert (await served.ask("GET", "/health/live")).status == 200


async def test_close_finishes_what_is_in_flight(founded, tmp_path):
    """Closing the face answers the request in flight and ends idle connections."""
    async with serving(founded, tmp_path / "node") as served:
        gate = asyncio.Event()
        submit = served.node.writer.submit

        async def slow(changes, *, atomic=False):
            await gate.wait()
            return await submit(changes, atomic=atomic)

        served.node.writer.submit = slow
        idle, _ = await asyncio.open_connection("127.0.0.1", served.http)
        write = asyncio.create_task(
            served.as_admin("PUT", P1.decode(), [{"index": 1, "type": "X", "data": "x"}])
        )
        while not served.face.gates[1]._all:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(served.face.close(5.0))
        await asyncio.sleep(0.05)
        gate.set()
        assert (await write).status == 201
        await closing
        assert await idle.read() == b""


async def test_defaults():
    """The limits are those the settings name."""
    assert LimitSettings().request_s == 10.0
