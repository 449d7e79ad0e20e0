"""Tiny servers for the load generator: right, wrong, silent or slow answers, on real sockets."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[bytes], bytes | None]


def irp_answer(request: bytes, code: int = 1) -> bytes:
    """A response with no values to a resolution request; the name is repeated on success."""
    size = int.from_bytes(request[44:48], "big")
    name = request[44 : 48 + size] if code == 1 else b""
    body = name + (bytes(4) if code == 1 else b"")
    header = struct.pack(">IIIHBBII", 1, code, 0, 1, 0, 0, 0, len(body))
    message = header + body + bytes(4)
    return request[:16] + struct.pack(">I", len(message)) + message


def dns_answer(request: bytes) -> bytes:
    """One answer record (its content does not matter)."""
    return request[:2] + b"\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00" + request[12:]


@contextmanager
def udp(answer: Answer, *, stall_at: int = 0, stall_s: float = 0) -> Iterator[int]:
    """Answer datagrams; before the one numbered stall_at, stand still. Gives the port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.1)
    over = threading.Event()

    def serve() -> None:
        taken = 0
        while not over.is_set():
            try:
                data, peer = sock.recvfrom(4096)
            except TimeoutError:
                continue
            taken += 1
            if taken == stall_at:
                time.sleep(stall_s)  # the stall is what is tested
            reply = answer(data)
            if reply is not None:
                sock.sendto(reply, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        over.set()
        thread.join()
        sock.close()


@contextmanager
def tcp(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run `talk` for every connection, each in a thread. Gives the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """The generator resets its connections; that is no error of ours."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def irp_talk(connection: socket.socket, *, pieces: int = 1) -> None:
    """Answer messages of a connection until it ends, each reply in so many pieces."""
    data = b""
    while chunk := connection.recv(4096):
        data += chunk
        while len(data) >= 20 and len(data) >= (whole := 20 + int.from_bytes(data[16:20], "big")):
            send_pieces(connection, irp_answer(data[:whole]), pieces)
            data = data[whole:]


def http_talk(connection: socket.socket, *, status: str = "200 OK", pieces: int = 1) -> None:
    """Answer GET requests of a connection until it ends."""
    data = b""
    while chunk := connection.recv(4096):
        data += chunk
        while b"\r\n\r\n" in data:
            _, _, data = data.partition(b"\r\n\r\n")
            reply = f"HTTP/1.1 {status}\r\nX: 1\r\nContent-Length: 5\r\n\r\nhello".encode()
            send_pieces(connection, reply, pieces)


def send_pieces(connection: socket.socket, data: bytes, pieces: int) -> None:
    """Send in several segments."""
    step = -(-len(data) // pieces)
    for at in range(0, len(data), step):
        connection.sendall(data[at : at + step])
