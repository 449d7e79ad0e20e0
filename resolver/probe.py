"""Does every face answer? One small question to each, as a client asks it."""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import OpCode
from protocol.doirp.message import encode_message, request
from protocol.errors import ParseError, StoreError
from protocol.name import ROOT_RECORD
from protocol.wire import Writer
from resolver.sockets import Ports

_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 5.0
_DATAGRAM: Final = 4096
_DNS_QUESTION: Final = b"\0\0\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1"
"""The name servers of the root: any answer, a refusal too, shows that the face lives."""


class FaceSilent(StoreError):
    """A face of this node does not answer itself."""


def probe(ports: Ports, hosts: Sequence[str]) -> None:
    """Ask every face on every host. Raises FaceSilent, naming the first that fails."""
    for host in hosts:
        for face, way, ask in _QUESTIONS:
            port: int | None = getattr(ports, face)
            if port is not None:
                _insist(f"{way} at {host} port {port}", ask, _reachable(host), port)


def _insist(name: str, ask: Callable[[str, int], None], host: str, port: int) -> None:
    error: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            ask(host, port)
            return
        except (OSError, http.client.HTTPException, ParseError) as wrong:
            error = wrong
    raise FaceSilent(f"{name} does not answer its own node: {error!r}; see the log lines above")


def _reachable(host: str) -> str:
    """Where to reach a host that stands for all addresses."""
    address = ip_address(host)
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET


def _site_request() -> bytes:
    number = secrets.randbits(30) + 1
    body = Writer().octets(ROOT_RECORD).u4(0).finish()
    until = int(time.time()) + 60
    return encode_message(request(OpCode.GET_SITE_INFO, body, request_id=number, expiration=until))


def _udp(host: str, port: int, question: bytes) -> bytes:
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.settimeout(_TIMEOUT_S / 2)
        sock.connect((host, port))
        sock.send(question)
        return sock.recv(_DATAGRAM)


def _irp_udp(host: str, port: int) -> None:
    decode_envelope(_udp(host, port, _site_request()))


def _irp_tcp(host: str, port: int) -> None:
    with socket.create_connection((host, port), _TIMEOUT_S) as sock:
        sock.sendall(_site_request())
        data = b""
        while len(data) < ENVELOPE_SIZE:
            part = sock.recv(_DATAGRAM)
            if not part:
                raise ConnectionError("the connection was closed without an answer")
            data += part
    decode_envelope(data[:ENVELOPE_SIZE])


def _http(host: str, port: int) -> None:
    _live(http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S))


def _https(host: str, port: int) -> None:
    # Only whether it answers is asked here; the certificate may be anything the operator chose.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _live(http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context))


def _live(connection: http.client.HTTPConnection) -> None:
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"/health/live answers {answer.status}")
    finally:
        connection.close()


def _dns_udp(host: str, port: int) -> None:
    question = secrets.token_bytes(2) + _DNS_QUESTION[2:]
    if _udp(host, port, question)[:2] != question[:2]:
        raise ParseError("an answer to another question came")


_QUESTIONS: Final = (
    # port, how it is called, the question
    ("irp", "DO-IRP over UDP", _irp_udp),
    ("irp", "DO-IRP over TCP", _irp_tcp),
    ("http", "HTTP", _http),
    ("https", "HTTPS", _https),
    ("dns", "DNS over UDP", _dns_udp),
)
