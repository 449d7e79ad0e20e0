"""DNS over TCP is bounded: connections, time, octets unsent."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace

import pytest

from resolver.config import LimitSettings
from tests.resolver.dns.dns_world import OWNER, ZONE, DnsWorld, Running, query


@pytest.fixture
def strict(tmp_path):
    """A node with room for three connections, two of one source, and little patience."""
    world = DnsWorld(tmp_path / "node")
    limits = LimitSettings(connections=3, connections_per_source=2, request_s=0.5, idle_s=1.0)
    world.node.settings = replace(world.node.settings, limits=limits)
    made = Running(world)
    yield made
    made.close()


def connect(running, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, running.port), 5)


def ask(sock: socket.socket) -> bytes:
    wire = query(OWNER).to_wire()
    sock.sendall(struct.pack(">H", len(wire)) + wire)
    return sock.recv(4096)


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_a_silent_client_is_closed(strict):
    """A client that sends nothing, or half a message octet by octet, is closed."""
    with connect(strict) as silent, connect(strict) as slow:
        slow.sendall(b"\0\x40half")
        assert is_closed(silent)
        assert is_closed(slow)


def test_an_idle_client_is_closed_later(strict):
    """A client with its answer is kept for another question, then closed."""
    with connect(strict) as sock:
        assert ask(sock)
        assert ask(sock)
        assert is_closed(sock)


def test_one_source_has_only_its_share(strict):
    """Connections of one source above its share are closed at once; the others go on."""
    with connect(strict) as one, connect(strict) as two:
        assert ask(one)
        assert ask(two)
        with connect(strict) as three:
            assert is_closed(three)
        assert ask(one)


def test_a_client_that_does_not_read_is_not_read(running):
    """Who asks without reading is held back, and served once it reads."""
    name = f"ors-dummy.30.999.2.{ZONE}"
    wire = query(name).to_wire()
    message = struct.pack(">H", len(wire)) + wire
    with socket.socket() as sock:
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, buffer, 16_384)
        sock.settimeout(5)
        sock.connect(("127.0.0.1", running.port))
        sock.setblocking(False)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += sock.send(message * 100)
        except BlockingIOError:
            pass
        assert sent < 50_000_000
        sock.settimeout(5)
        whole, got = sent // len(message), 0
        data = b""
        while got < whole:
            data += sock.recv(1 << 20)
            at = 0
            while len(data) - at >= 2:
                end = at + 2 + struct.unpack_from(">H", data, at)[0]
                if len(data) < end:
                    break
                at, got = end, got + 1
            data = data[at:]
    assert got == whole
