"""Questions to one server through HTTP: the tunnel of do-irp 3.3.

A small HTTP client of its own, because the server's TLS certificate is checked against the key in
its site record after the handshake and before anything is sent. It follows no redirect, keeps no
cookie and speaks one request a connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from hmac import compare_digest
from typing import TypeVar

from cryptography.x509 import load_der_x509_certificate

from protocol.doirp.message import Message, decode_message, encode_message
from protocol.doirp.tunnel import CONTENT_TYPE, messages, request_headers, request_path
from protocol.errors import ParseError, SignatureInvalid, UpstreamError
from protocol.keys import decode_public_key, encode_spki
from protocol.values.hs_site import Transport
from resolver.channels import Octets
from resolver.network import Network
from resolver.peers import Endpoint, Peer

T = TypeVar("T")

_MAX_HEAD = 32_768
"""Octets of status line and headers."""
_END = b"\r\n\r\n"


async def ask_http(
    network: Network,
    endpoint: Endpoint,
    peer: Peer,
    handle: bytes,
    request: Message,
    accept: Callable[[Message], T],
    *,
    sending: Callable[[], None],
) -> list[T]:
    """What `accept` makes of each reply. Raises UpstreamError, SignatureInvalid."""
    secure = endpoint.transport == Transport.HTTPS
    async with network.tcp(
        endpoint.address,
        endpoint.port,
        scheme="https" if secure else "http",
        tls=tls_context() if secure else None,
        server_name=peer.host,
    ) as channel:
        if secure and peer.public_key:
            check_certificate(channel.certificate(), peer.public_key, endpoint)
        sending()
        await channel.send(_post(endpoint, peer, handle, encode_message(request)))
        body = await _read_reply(channel, endpoint)
    try:
        return [accept(decode_message(data)) for data in messages(body)]
    except ParseError as error:
        raise UpstreamError(f"{endpoint} sent no reply to the question: {error}") from None


def tls_context() -> ssl.SSLContext:
    """TLS without authorities: nodes make their own certificates, on the key of the site record."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_certificate(certificate: bytes | None, key: bytes, endpoint: Endpoint) -> None:
    """Raise SignatureInvalid unless the certificate is on the key of the site record."""
    if certificate is None:
        raise SignatureInvalid(f"{endpoint} showed no certificate")
    try:
        shown = encode_spki(load_der_x509_certificate(certificate).public_key())  # type: ignore[arg-type]
        wanted = encode_spki(decode_public_key(key))
    except (ValueError, ParseError, TypeError) as error:
        raise SignatureInvalid(f"the certificate of {endpoint} cannot be read: {error}") from None
    if not compare_digest(shown, wanted):
        raise SignatureInvalid(f"{endpoint} shows a certificate on another key than its site's")


def _post(endpoint: Endpoint, peer: Peer, handle: bytes, body: bytes) -> bytes:
    literal = f"[{endpoint.address}]" if endpoint.ipv6 else endpoint.address
    host = _header_text(peer.host or literal)
    lines = [f"POST {request_path(handle)} HTTP/1.1", f"Host: {host}:{endpoint.port}"]
    lines += [f"{name}: {value}" for name, value in request_headers(body)]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii") + body


def _header_text(host: str) -> str:
    # A name out of a foreign site record: nothing in it may end the header.
    if not host.isascii() or not all(char.isalnum() or char in ".-[]:_" for char in host):
        raise UpstreamError(f"the site record names the host {host!r}, which is no host name")
    return host


async def _read_reply(channel: Octets, endpoint: Endpoint) -> bytes:
    buffer = bytearray()
    while _END not in buffer:
        data = await channel.receive()
        buffer += data
        if not data or len(buffer) > _MAX_HEAD:
            raise UpstreamError(f"{endpoint} sent no HTTP reply")
    head, _, rest = bytes(buffer).partition(_END)
    status, headers = _parse_head(head, endpoint)
    if status != 200 or not headers.get("content-type", "").startswith(CONTENT_TYPE):
        raise UpstreamError(f"{endpoint} answers HTTP {status}, no DO-IRP reply; is it a node?")
    whole = bytearray(rest)
    size = headers.get("content-length", "")
    while not (size.isdigit() and len(whole) >= int(size[:9])):
        data = await channel.receive()
        if not data:
            break
        whole += data
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _unchunk(bytes(whole), endpoint)
    if size.isdigit() and len(whole) != int(size[:9]):
        raise UpstreamError(f"{endpoint} sent {len(whole)} octets and announced {size}")
    return bytes(whole)


def _parse_head(head: bytes, endpoint: Endpoint) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise UpstreamError(f"{endpoint} does not speak HTTP")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1][:3]), headers


def _unchunk(data: bytes, endpoint: Endpoint) -> bytes:
    out, at = bytearray(), 0
    while True:
        end = data.find(b"\r\n", at)
        size_text = data[at:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            size = int(size_text, 16)
        except ValueError:
            raise UpstreamError(f"{endpoint} sent a broken chunk") from None
        at = end + 2
        if size == 0:
            return bytes(out)
        if size < 0 or at + size > len(data):
            raise UpstreamError(f"{endpoint} sent a chunk that ends early")
        out += data[at : at + size]
        at += size + 2
