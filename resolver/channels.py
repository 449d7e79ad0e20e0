"""Bytes to and from one peer: a connected datagram socket, and a stream with limits.

Opened by resolver.guard alone. What the bytes mean is resolver.client's business.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Protocol, cast

from protocol.errors import Unreachable, UpstreamError

_MAX_WAITING = 1024
"""Datagrams kept for one asker; a reply has 533 at most, so a flood only drops itself."""


class Datagrams(Protocol):
    """What the client needs of a datagram socket; scripted in tests."""

    def send(self, data: bytes) -> None:
        """Send one datagram. Raises UpstreamError once the peer is known to be gone."""

    async def receive(self) -> bytes:
        """The next datagram of the peer. Raises UpstreamError when the port is closed."""


class Octets(Protocol):
    """What the client needs of a stream; scripted in tests."""

    async def send(self, data: bytes) -> None:
        """Write it all. Raises UpstreamError."""

    async def receive(self) -> bytes:
        """The next octets; empty at the end. Raises UpstreamError, also above the byte limit."""

    def certificate(self) -> bytes | None:
        """The peer's TLS certificate in DER form; None without TLS."""


class UdpChannel(asyncio.DatagramProtocol):
    """A connected UDP socket."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | Unreachable] = asyncio.Queue(_MAX_WAITING)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr  # the socket is connected: the system drops what others send
        if not self._waiting.full():
            self._waiting.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(Unreachable(f"nothing listens there for UDP: {_plain(exc)}"))

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        if self._transport is None or self._transport.is_closing():
            raise Unreachable("the socket is closed")
        self._transport.sendto(data)

    async def receive(self) -> bytes:
        """The next datagram. Raises UpstreamError when the peer's port is closed."""
        item = await self._waiting.get()
        if isinstance(item, Unreachable):
            raise item
        return item

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class TcpChannel:
    """A stream that gives up after a number of octets."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_bytes: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._left = max_bytes

    async def send(self, data: bytes) -> None:
        """Write it all."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Unreachable(f"the connection broke while sending: {error}") from None

    async def receive(self) -> bytes:
        """The next octets, empty at the end of the stream."""
        try:
            data = await self._reader.read(65536)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"the connection broke while reading: {error}") from None
        self._left -= len(data)
        if self._left < 0:
            raise UpstreamError("the reply is longer than `outbound.max_bytes`")
        return data

    def certificate(self) -> bytes | None:
        """The peer's TLS certificate (DER), None without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    def close(self) -> None:
        self._writer.close()


async def open_udp_channel(address: str, port: int) -> UdpChannel:
    """Connect a datagram socket. Raises UpstreamError."""
    loop = asyncio.get_running_loop()
    try:
        _, channel = await loop.create_datagram_endpoint(UdpChannel, remote_addr=(address, port))
    except OSError as error:
        raise Unreachable(f"no way to {address} port {port} by UDP: {error}") from None
    return channel


async def open_tcp_channel(
    address: str, port: int, max_bytes: int, tls: ssl.SSLContext | None, server_name: str | None
) -> TcpChannel:
    """Connect a stream, with TLS where a context is given. Raises UpstreamError."""
    name = (server_name or address) if tls is not None else None
    try:
        reader, writer = await asyncio.open_connection(address, port, ssl=tls, server_hostname=name)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Unreachable(f"no connection to {address} port {port}: {_plain(error)}") from None
    return TcpChannel(reader, writer, max_bytes)


def _plain(error: Exception) -> str:
    """What the system says, without numbers and brackets."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno)
    return str(error)
