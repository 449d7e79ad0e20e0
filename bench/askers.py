"""How the users of a load ask a node over DO-IRP and DNS: plain sockets, one exchange at a time."""

from __future__ import annotations

import itertools
import random
import socket
import struct
import time

from protocol.doirp.envelope import ENVELOPE_SIZE
from protocol.wire import Writer

TIMEOUT_S = 5.0
_NAPTR_IN = b"\0\0\x23\0\x01"
_EDNS = bytes.fromhex("00002904d0000000000000")
_ids = itertools.count(random.randrange(1, 2**30))


def address_of(text: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 host in brackets. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def irp_request(name: str) -> tuple[int, bytes]:
    """A resolution request of all public values (RFC 3652 §3.2), and its id."""
    number = next(_ids) & 0x7FFFFFFF
    body = Writer().octets(name.encode()).u4(0).u4(0).finish()
    expires = int(time.time()) + 43_200
    header = struct.pack(">IIIHBBII", 1, 0, 0x11000000, 0xFFFF, 0, 0, expires, len(body))
    message = header + body + bytes(4)
    envelope = struct.pack(">BBBBIIII", 2, 11, 2, 11, 0, number, 0, len(message))
    return number, envelope + message


def judged(data: bytes, number: int) -> int:
    """The reply's length. Raises ValueError when it is another's or an error."""
    if len(data) < 28 or int.from_bytes(data[8:12], "big") != number:
        raise ValueError("an answer to another question")
    code = int.from_bytes(data[24:28], "big")
    if code not in (1, 100):
        raise ValueError(f"response code {code}")
    return len(data)


class IrpAsker:
    """A Handle client: one UDP socket of its own, a TCP connection for each request."""

    def __init__(self, peer: tuple[str, int]) -> None:
        self._peer = peer
        self._socket = socket.socket(_family(peer[0]), socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(peer)

    def udp(self, name: str) -> int:
        """Resolve a name; octets of the reply's first datagram. Raises OSError or ValueError."""
        number, message = irp_request(name)
        self._socket.send(message)
        while True:
            data = self._socket.recv(2048)
            if data[12:16] == bytes(4):  # not a later packet of an earlier, longer reply
                return judged(data, number)

    def tcp(self, name: str) -> int:
        """Resolve a name; octets of the reply. Raises OSError or ValueError."""
        number, message = irp_request(name)
        with socket.create_connection(self._peer, TIMEOUT_S) as connection:
            connection.sendall(message)
            data = b""
            while chunk := connection.recv(65_536):
                data += chunk
                if len(data) >= ENVELOPE_SIZE + int.from_bytes(data[16:20], "big") > ENVELOPE_SIZE:
                    break
        return judged(data, number)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class DnsAsker:
    """A resolver that asks for NAPTR records over UDP, with EDNS."""

    def __init__(self, peer: tuple[str, int]) -> None:
        self._socket = socket.socket(_family(peer[0]), socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(peer)

    def naptr(self, domain: str) -> int:
        """Ask for a domain name; octets of the reply. Raises OSError or ValueError."""
        number = next(_ids) & 0xFFFF
        labels = b"".join(
            bytes([len(part)]) + part for part in domain.strip(".").encode().split(b".")
        )
        head = struct.pack(">HHHHHH", number, 0, 1, 0, 0, 1)
        self._socket.send(head + labels + _NAPTR_IN + _EDNS)
        data = self._socket.recv(4096)
        if len(data) < 12 or int.from_bytes(data[:2], "big") != number:
            raise ValueError("an answer to another question")
        if data[3] & 15 not in (0, 3):
            raise ValueError(f"response code {data[3] & 15}")
        return len(data)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
