"""The fast way and aiohttp's give the same octets, for whatever is sent."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from protocol.errors import StoreError
from resolver.http import fastpath
from resolver.http.connection import Connection
from tests.resolver.http.node_in_process import serving, value

ROUNDS = 4_000
DATE = re.compile(rb"(?:Date|Expires): [^\r]*\r\n")
HOST = b"Host: 127.0.0.1\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, loop):
        super().__init__({"peername": ("127.0.0.1", 5)})
        self.loop, self.sent, self.ended, self.protocol = loop, bytearray(), False, None

    def write(self, data):
        assert not self.ended
        self.sent += data

    def writelines(self, parts):
        self.write(b"".join(parts))

    def is_closing(self):
        return self.ended

    def close(self):
        if not self.ended:
            self.ended = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        pass

    resume_reading = pause_reading


@pytest.fixture
async def world(founded, tmp_path):
    """A node whose connections are fed by hand."""
    async with serving(founded, tmp_path / "node") as served:
        served.register("86.999/p1", value(1, "URL", "http://example.org/a"))
        served.register("86.999/Ab-c_1", value(1, "DESC", '泵 "quoted"'), value(2, "X", b"\0"))
        served.register("86.999/h", value(1, "X", "hidden", permissions=0b1100))
        closed = '{"*": {"class": "production", "level": 2}}'
        served.register("86.999/unseen", value(1, "URL", "http://a/"), value(5, "0.LABEL", closed))
        served.register("86.999/both", value(1, "X", "y"), value(2, "Z", "h", permissions=12))
        served.register("86.999/" + "n" * 600, value(1, "X", "long"))
        served.register("86.999/a//b", value(1, "X", "slashes"))
        served.register("86.999/a%2Fb", value(1, "X", "percent"))
        served.register(
            "86.999/many", value(1, "X", "y"), value(2, "url", "https://e.example/ü?a&b")
        )
        served.register("86.999/js", value(1, "URL", "javascript:alert(1)"))
        served.register(
            "86.999/alias", value(1, "URL", "http://a/"), value(2, "HS_ALIAS", "86.999/p1")
        )
        served.register("86.999/loc", value(1, "URL", "http://a/"), value(2, "10320/loc", "<x/>"))
        served.register("86.999/abs", value(1, "URL", "http://a/", ttl=2_000_000_000, ttl_type=1))
        served.register("86.999/bin", value(1, "URL", b"http://a/\0"))
        for gate in served.face.gates:
            gate.stop()  # the tests sweep by hand
        yield served


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch):
    """Pages are made at once, so that turns of the loop are all there is to wait for."""

    async def at_once(function, *args, **named):
        return function(*args, **named)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


async def exchange(served, parts, *, fast):
    """What the server says to these parts, sent one by one; how many answers were fast."""
    loop = asyncio.get_running_loop()
    gate = served.face.gates[0]
    before = gate.tally.found + gate.tally.absent
    gate.fast, kept = (gate.fast if fast else None), gate.fast
    wire = Wire(loop)
    connection = Connection(served.face.server, gate, loop=loop)
    wire.protocol = connection
    connection.connection_made(wire)
    await asyncio.sleep(0)
    for part in parts:
        if not wire.ended:
            connection.data_received(part)
        for _ in range(8):
            await asyncio.sleep(0)
    for _ in range(12):
        await asyncio.sleep(0)
    answer = bytes(wire.sent) + (b"<closed>" if wire.ended else b"")
    gate.fast = kept
    wire.close()
    await asyncio.sleep(0)
    return answer, gate.tally.found + gate.tally.absent - before


async def same(served, *parts):
    """Both ways give the same; how many answers were fast."""
    fast, taken = await exchange(served, parts, fast=True)
    plain, none = await exchange(served, parts, fast=False)
    assert none == 0
    assert DATE.sub(b"", fast) == DATE.sub(b"", plain), parts
    assert fast.count(b"Date: ") == plain.count(b"Date: ")
    return taken


def get(path, *headers, method=b"GET", version=b"HTTP/1.1"):
    return method + b" " + path + b" " + version + b"\r\n" + HOST + b"".join(headers) + b"\r\n"


P1 = b"/api/handles/86.999/p1"


@pytest.mark.parametrize(
    "path",
    [
        P1,
        b"/api/handles/86.999/P1",
        b"/api/handles/86.999/ab-C_1",
        b"/api/handles/86.999/both",
        b"/api/handles/86.999/h",
        b"/api/handles/86.999/a//b",
        b"/api/handles/86.999/none",
        b"/api/handles/86.999/none(!$&'*+,;=:@~)",
    ],
)
async def test_taken(world, path):
    """Plain reads, present or absent, GET or HEAD, are answered fast and the same."""
    for method in (b"GET", b"HEAD"):
        assert await same(world, get(path, method=method)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        get(b"/86.999/h"),
        get(b"/api/handles/86.999/unseen"),
        get(b"/api/handles/86.999/" + b"n" * 600),
        get(b"/api/handles/86.999/a%2Fb"),
        get(b"/api/handles/86.999/a%252Fb"),
        get(P1 + b"?index=1"),
        get(P1 + b"?"),
        get(P1 + b"#x"),
        get(b"/api/handles/"),
        get(b"/api/handles/nowhere"),
        get(b"/api/handles/86.999/"),
        get(b"/api/handles//86.999/p1"),
        get(b"/api/handles/10.5/x"),
        get(b"/api/handles/0.NA/86.999"),
        get(b"/api/handles/0.na/86.999"),
        get(b'/api/handles/86.999/"'),
        get(b"/api/handles/86.999/\\"),
        get(b"/api/handles/86.999/\xe6\xb3\xb5"),
        get(P1, method=b"DELETE"),
        get(P1, method=b"POST"),
        get(P1, method=b"OPTIONS"),
        get(P1, method=b"get"),
        get(P1, version=b"HTTP/1.0"),
        get(P1, version=b"HTTP/1.2"),
        get(P1, version=b"http/1.1"),
        get(b"http://127.0.0.1" + P1),
        get(P1, b"Origin: http://a.example\r\n"),
        get(P1, b"Authorization: Basic eDp5\r\n"),
        get(P1, b"Connection: close\r\n"),
        get(P1, b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"),
        get(P1, b"Connection: keep-alive, close\r\n"),
        get(P1, b"Expect: 100-continue\r\n"),
        get(P1, b"Content-Length: 0\r\n"),
        get(P1, b"Content-Length: 3\r\n") + b"abc",
        get(P1, b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        get(P1, b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n") + b"0\r\n\r\n",
        get(P1, b"Content-Type: application/x-hdl-message\r\n", method=b"POST"),
        get(P1, b"X-Odd: 1\r\n"),
        get(P1, b'If-Match: "1"\r\n'),
        get(P1, b"If-None-Match: *\r\n"),
        get(P1, b'If-None-Match: "1", "2"\r\n'),
        get(P1, b"Host: twice\r\n"),
        get(P1, b"Accept: a\r\n", b"Accept: b\r\n"),
        get(P1, b"Accept: a\r\n b\r\n"),
        get(P1, b"Accept : a\r\n"),
        get(P1, b"Accept: a\x00\r\n"),
        get(P1, b"Accept: a\x7f\r\n"),
        get(P1, b"Accept: \xff\r\n"),
        get(P1, b"Accept: a\rb\r\n"),
        get(P1, b"Accept: a\nb: c\r\n"),
        get(P1, b": a\r\n"),
        get(P1, b"Accept\r\n"),
        get(P1).replace(HOST, b""),
        get(P1).replace(HOST, b"Host:\r\n"),
        get(P1).replace(HOST, b"Host: a b\r\n"),
        get(P1).replace(HOST, b"Host: a/b\r\n"),
        get(P1).replace(b"\r\n", b"\n"),
        get(P1).replace(b" HTTP", b"  HTTP"),
        get(P1).replace(b"GET ", b"GET  "),
        get(P1) + b"junk",
        get(P1) + b"\r\n",
        b"\r\n" + get(P1),
        get(P1)[:-2],
        get(P1, b"Accept: " + b"a" * 9000 + b"\r\n"),
    ],
    ids=lambda request: ascii(request[:60])[2:-1].replace("\\", "_"),
)
async def test_not_taken(world, request_):
    """Whatever is not plain goes to aiohttp, and both ways agree on it."""
    assert await same(world, request_) == 0


async def test_redirects(world):
    """A URL value is redirected to fast; whatever needs a choice or a page is not."""
    for path in (b"/86.999/p1", b"/86.999/P1", b"/86.999/many"):
        for method in (b"GET", b"HEAD"):
            headers = [b"Accept-Encoding: gzip, deflate, br\r\n", b"Sec-Fetch-Site: none\r\n"]
            assert await same(world, get(path, *headers, method=method)) == 1
    for path in (
        b"/86.999/none",
        b"/86.999/js",
        b"/86.999/alias",
        b"/86.999/loc",
        b"/86.999/abs",
        b"/86.999/bin",
        b"/86.999/h",
        b"/86.999/Ab-c_1",
        b"/86.999/p1?noredirect",
        b"/hdl:86.999/p1",
        b"/page/86.999/p1",
        b"/86.999%2Fp1",
        b"/api/site",
        b"/health/live",
        b"/",
    ):
        assert await same(world, get(path)) == 0, path


async def test_gzip(world):
    """A client that takes gzip gets it fast as well, with its own entity tag."""
    zipped = b"Accept-Encoding: gzip, deflate\r\n"
    for method in (b"GET", b"HEAD"):
        assert await same(world, get(P1, zipped, method=method)) == 1
    assert await same(world, get(b"/api/handles/86.999/none", zipped)) == 1
    whole, _ = await exchange(world, [get(P1)], fast=True)
    tag = re.search(rb'ETag: ("\d+")', whole)[1]
    for text in (tag, tag[:-1] + b'-gzip"'):
        assert await same(world, get(P1, zipped, b"If-None-Match: " + text + b"\r\n")) == 1


async def test_conditional(world):
    """If-None-Match with the tag of now gives 304; with another one the record."""
    whole, _ = await exchange(world, [get(P1)], fast=True)
    tag = re.search(rb'ETag: ("\d+")', whole)[1]
    for text in (tag, tag[:-1] + b'-gzip"'):
        request = get(P1, b"If-None-Match: " + text + b"\r\n")
        answer, taken = await exchange(world, [request], fast=True)
        assert answer.startswith(b"HTTP/1.1 304 ")
        assert taken == 1
        assert await same(world, request) == 1
    assert await same(world, get(P1, b'If-None-Match: "1"\r\n')) == 1


async def test_usual_clients(world):
    """The header blocks of usual clients are taken."""
    for headers in (
        [b"User-Agent: curl/8.0\r\n", b"Accept: */*\r\n"],
        [b"Connection: keep-alive\r\n", b"User-Agent: x\r\n", b"Accept-Encoding: identity\r\n"],
        [b"connection: Keep-Alive\r\n", b"Accept-Language: zh-CN,zh;q=0.9\r\n"],
    ):
        assert await same(world, get(P1, *headers)) == 1


async def test_one_after_another(world):
    """On one connection fast and ordinary requests follow each other in any order."""
    slow = get(P1, b"X-Odd: 1\r\n")
    fast = get(P1)
    gate = world.face.gates[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", world.http)
    bodies = set()
    for request in (fast, slow, fast, fast, slow, slow, fast):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(re.search(rb"Content-Length: (\d+)", head)[1])
        bodies.add(await reader.readexactly(size))
    assert len(bodies) == 1
    assert gate.tally.found == 4
    writer.close()


async def test_pieces(world):
    """A request that comes in pieces is aiohttp's, and a later whole one is not mistaken."""
    request = get(P1)
    for at in (1, 5, 17, 30, len(request) - 3, len(request) - 1):
        taken = await same(world, request[:at], request[at:])
        assert taken == 0, at
    await same(world, request[:20], request[20:] + request, request)
    await same(world, request + request[:20], request[20:])
    await same(world, request, request[:20], request[20:], request)
    body = get(P1, b"Content-Length: %d\r\n" % len(request), method=b"PUT")
    assert await same(world, body, request) == 0


async def test_pipelining(world):
    """Requests sent together are answered in order."""
    one, two = get(P1), get(b"/api/handles/86.999/none")
    await same(world, one + two + one)
    await same(world, one, two, one)
    await same(world, one + get(P1, b"Connection: close\r\n") + two)


SMUGGLED = get(b"/api/handles/86.999/smuggled")
NAMES = [
    b"p1",
    b"P1",
    b"none",
    b"h",
    b"both",
    b"a//b",
    b"a%2Fb",
    b"Ab-c_1",
    b"x?index=1",
    b"",
    b"\xff",
]
MOUNTS = [b"/api/handles/", b"/api/handles/", b"/"]
LINES = [
    b"Accept: */*\r\n",
    b"accept: a\r\n",
    b"User-Agent: x\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 10\r\n",
    b"Content-Length: 55\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Host: b\r\n",
    b'If-None-Match: "3"\r\n',
    b'If-None-Match: W/"3"\r\n',
    b"Accept-Encoding: gzip\r\n",
    b"Accept-Encoding: identity\r\n",
    b"Origin: http://x.example\r\n",
    b"Range: bytes=0-1\r\n",
    b"X: y\r\n",
    b"Bad\r\n",
    b" folded\r\n",
    b"Accept:\r\n",
    b"Accept: \x0b\r\n",
    b"\r\n",
    b"\n",
]
METHODS = [b"GET"] * 8 + [b"HEAD"] * 3 + [b"POST", b"PUT", b"OPTIONS", b"G\nET"]
VERSIONS = [b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/1.11"]


def generated(rng):
    """One or some requests, mostly plain, sometimes broken, cut into pieces or not."""
    text = b""
    if rng.random() < 0.4:
        headers = rng.sample(LINES[:4], rng.randrange(3))
        method = rng.choice((b"GET", b"HEAD"))
        return [get(rng.choice(MOUNTS) + b"86.999/" + rng.choice(NAMES), *headers, method=method)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        headers = [rng.choice(LINES) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
        path = rng.choice(MOUNTS) + b"86.999/" + rng.choice(NAMES)
        text += get(path, *headers, method=rng.choice(METHODS), version=rng.choice(VERSIONS))
        if rng.random() < 0.1:
            text += rng.choice((b"0\r\n\r\n", b"x" * 10, SMUGGLED))
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
    if rng.random() < 0.3:
        cuts = sorted(rng.randrange(len(text)) for _ in range(rng.choice((1, 2, 3))))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    return [text]


async def test_generated(world):
    """For thousands of generated requests both ways agree, whatever is in them."""
    rng = random.Random(20261123)
    taken = 0
    for _ in range(ROUNDS):
        taken += await same(world, *generated(rng))
    assert taken > ROUNDS // 10


async def test_real_sockets(world):
    """The fast way works over TCP and TLS, and is counted."""
    gate = world.face.gates[0]
    for tls in (False, True):
        answer = await world.ask("GET", P1.decode(), tls=tls)
        assert answer.status == 200
    assert gate.tally.found == 1
    gate.sweep()
    assert world.node.metrics.requests["http", "found"].value == 1
    assert world.face.gates[1].tally.found == 1


async def test_a_change_is_seen_at_once(world):
    """The fast way answers what was committed last."""
    for n in range(3):
        world.register("86.999/p1", value(1, "URL", f"http://example.org/{n}"))
        answer, taken = await exchange(world, [get(P1)], fast=True)
        assert taken == 1
        assert b"http://example.org/%d" % n in answer


async def test_damaged_row(world):
    """A row that fails its checksum is not served fast either."""
    from registry.store import Table, Write

    raw = world.node.store.get(Table.JSON, b"86.999/P1")
    world.node.store.apply([Write(Table.JSON, b"86.999/P1", raw.replace(b"example", b"exbmple"))])
    answer, taken = await exchange(world, [get(P1)], fast=True)
    assert taken == 0
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"exbmple" not in answer


async def test_row_that_is_set_aside(world):
    """A quarantined record is refused, and the connection goes on."""
    from registry.store import Table, Write
    from registry.store.row import QUARANTINED

    for table in (Table.RECORDS, Table.JSON):
        world.node.store.apply([Write(table, b"86.999/P1", QUARANTINED)])
    answer, taken = await exchange(world, [get(P1), get(b"/api/handles/86.999/both")], fast=True)
    assert taken == 1
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"HTTP/1.1 200 " in answer
    assert not answer.endswith(b"<closed>")


async def test_store_error(world, monkeypatch):
    """A store that fails in the fast way does not end the connection."""

    def broken(_):
        raise StoreError("the map is gone")

    monkeypatch.setattr(world.node.store, "getter", lambda table: broken)
    gate = world.face.gates[0]
    gate.fast = fastpath.fast_answers(world.node, gate.tally)
    answer, taken = await exchange(world, [get(P1)], fast=True)
    assert (taken, answer[:13]) == (0, b"HTTP/1.1 200 ")


async def test_peer_that_does_not_read(world):
    """While a peer does not read, aiohttp's flow control has the connection."""
    loop = asyncio.get_running_loop()
    gate = world.face.gates[0]
    wire = Wire(loop)
    connection = wire.protocol = Connection(world.face.server, gate, loop=loop)
    connection.connection_made(wire)
    await asyncio.sleep(0)
    connection.pause_writing()
    connection.data_received(get(P1))
    assert gate.tally.found == 0
    connection.resume_writing()
    wire.close()
    await asyncio.sleep(0)
