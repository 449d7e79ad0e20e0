"""Redis GET: what a key-value store over TCP costs, with the records' wire form as values."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.dataset import Shape, value_set
from bench.peers import Running, free_port, process, program, wait_for_tcp
from protocol.record import encode_values

_BATCH = 5_000


def command(*parts: bytes) -> bytes:
    """One command in the Redis serialization protocol."""
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def fill(port: int, shape: Shape) -> None:
    """SET every record of a shape, many commands at a time."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for start in range(0, shape.count, _BATCH):
            numbers = range(start, min(start + _BATCH, shape.count))
            sets = (
                command(b"SET", shape.handle(n).encode(), encode_values(value_set(shape, n)))
                for n in numbers
            )
            connection.sendall(b"".join(sets))
            _expect(connection, b"+OK\r\n" * len(numbers))


def _expect(connection: socket.socket, answer: bytes) -> None:
    got = b""
    while len(got) < len(answer):
        chunk = connection.recv(1 << 16)
        if not chunk:
            raise RuntimeError("Redis closed the connection while it was filled")
        got += chunk
    if got != answer:
        raise RuntimeError(f"Redis refused a record: {got[:80]!r}")


@contextmanager
def running(folder: Path, keys: Path, shape: Shape, core: int | None) -> Iterator[Running]:
    """Redis without persistence, compared with kept DO-IRP connections."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "log"
    server = [program("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    server += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with process(server, log, core) as child:
        wait_for_tcp(port, child, log)
        fill(port, shape)
        yield Running("Redis GET", "redis", "127.0.0.1", port, keys, child.pid, face="irp-tcp")
