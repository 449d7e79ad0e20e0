"""DNS over TCP (RFC 7766): messages behind two octets of length, answered in their order.

Connections are bounded in number, in octets waiting to be sent and in time; the oldest idle one
makes room for a new one.
"""

from __future__ import annotations

import asyncio
import socket
from struct import Struct
from typing import cast

import structlog

from resolver.dns.face import DnsFace, count

log = structlog.get_logger()

FACE = "dns_tcp"
_LENGTH = Struct(">H")
_MOST_WAITING = 262_144
"""Octets of answers unsent above which nothing more is read from a client."""
_SWEEP_S = 1.0


class DnsConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: DnsTcp) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.host = ""
        self.deadline = 0.0
        """When it is closed if nothing happens, by the loop's clock."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = self._transport.get_extra_info("peername")
        self.host = str(peer[0]) if peer else ""
        self._transport.set_write_buffer_limits(high=_MOST_WAITING)
        self.deadline = self._server.loop.time() + self._server.request_s
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.closed(self)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        replies: list[bytes] = []
        at = 0
        while len(buffer) - at >= 2:
            end = at + 2 + _LENGTH.unpack_from(buffer, at)[0]
            if len(buffer) < end:
                break
            reply = self._server.reply(buffer[at + 2 : end])
            at = end
            if reply:
                replies += (_LENGTH.pack(len(reply)), reply)
        self._buffer = buffer[at:]
        if at:
            # The next message has its time from here; octets alone do not prolong it.
            idle = self._server.request_s if self._buffer else self._server.idle_s
            self.deadline = self._server.loop.time() + idle
        if replies and self._transport is not None:
            self._transport.write(b"".join(replies))
            self._server.face.proven.saw(self.host)
        if at:
            self._server.used(self)

    def close(self) -> None:
        """Drop the connection, whatever waits."""
        if self._transport is not None:
            self._transport.abort()


class DnsTcp:
    """One listening socket of one reader."""

    def __init__(self, face: DnsFace, sock: socket.socket) -> None:
        limits = face.node.settings.limits
        self.face = face
        self.loop = asyncio.get_running_loop()
        self.request_s = limits.request_s
        self.idle_s = min(limits.idle_s, 30.0)
        self._most, self._most_per_source = limits.connections, limits.connections_per_source
        self._socket = sock
        self._connections: dict[DnsConnection, None] = {}  # the longest idle first
        self._sources: dict[str, int] = {}
        self._metrics = face.node.metrics
        self._server: asyncio.Server | None = None
        self._sweeping = self.loop.call_later(_SWEEP_S, self._sweep)

    async def start(self) -> None:
        """Accept connections on a copy of the socket, which stays its maker's."""
        self._server = await self.loop.create_server(
            lambda: DnsConnection(self), sock=self._socket.dup()
        )

    def reply(self, data: bytes) -> bytes:
        """The reply to one message; empty: nothing is said."""
        self.face.turn()
        try:
            plain = self.face.plain.answer(data, self.face.names.get, True)
            reply = plain or self.face.reply(data, tcp=True)
        except Exception:
            log.exception("message_failed", face=FACE)
            return b""
        if plain:
            self._metrics.lookups["store"].inc()
        if reply:
            count(self._metrics, FACE, reply)
        self._metrics.octets[FACE, "in"].inc(len(data))
        self._metrics.octets[FACE, "out"].inc(len(reply))
        return reply

    def opened(self, connection: DnsConnection) -> None:
        """Make room for a connection, or close it at once."""
        refused = self._metrics.connections_refused
        if self._sources.get(connection.host, 0) >= self._most_per_source:
            refused["source"].inc()
            connection.close()
        elif len(self._connections) >= self._most:
            refused["all"].inc()
            next(iter(self._connections)).close()
        self._connections[connection] = None
        self._sources[connection.host] = self._sources.get(connection.host, 0) + 1
        self._metrics.connections[FACE].set(len(self._connections))

    def used(self, connection: DnsConnection) -> None:
        """A connection did something: it is the last to make room now."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def closed(self, connection: DnsConnection) -> None:
        """A connection is gone."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        left = self._sources[connection.host] - 1
        if left:
            self._sources[connection.host] = left
        else:
            del self._sources[connection.host]
        self._metrics.connections[FACE].set(len(self._connections))

    def _sweep(self) -> None:
        """Close what is past its deadline; once a second."""
        now = self.loop.time()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.close()
        self._sweeping = self.loop.call_later(_SWEEP_S, self._sweep)

    async def close(self, _grace_s: float) -> None:
        """Accept nothing new and close the connections; each answer was given as it was made."""
        self._sweeping.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
