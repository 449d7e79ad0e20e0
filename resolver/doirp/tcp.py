"""DO-IRP over TCP: one connection a request answered at once, others kept in small objects.

Deployed clients open a connection for each request. Where the whole request is there when the
connection is (TCP_DEFER_ACCEPT waits for it) and is a plain question, it is accepted, answered and
closed in one go without any object for it: 28 µs against 52 µs with asyncio transports
(docs/benchmark.md). Everything else gets a Connection (resolver.doirp.connection).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Mapping
from time import perf_counter

import structlog

from protocol.doirp.envelope import ENVELOPE_SIZE
from registry.store import Table
from resolver.child import PARTING_S
from resolver.doirp.connection import KEEP_ALIVE, RECEIVE, SEND, Connection, State
from resolver.doirp.counting import Tally
from resolver.doirp.exchange import Transport
from resolver.doirp.handler import Handler

log = structlog.get_logger()

_BACKLOG = 4096
_ACCEPTS = 32
"""Connections taken in one loop turn."""
_FIRST = 4096
"""Octets of a first read: every plain question fits."""
_PAUSE_S = 0.1
_SWEEP_S = 1.0
_LINGER_S = 2.0
_WORK_S = 300.0
"""A request is carried out within its own limits; this is for what forgot to have one."""
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class TcpFace:
    """One listening socket of one reader, and its connections."""

    def __init__(self, handler: Handler, sock: socket.socket) -> None:
        limits = handler.node.settings.limits
        self.handler = handler
        self.loop = asyncio.get_running_loop()
        self.most_octets = ENVELOPE_SIZE + limits.message_bytes
        self.patience: Mapping[State, float] = {
            State.REQUEST: limits.request_s,
            State.IDLE: limits.idle_s,
            State.WORK: _WORK_S,
            State.ROOM: limits.request_s,
            State.END: _LINGER_S,
        }
        """Seconds a connection may be in a state without progress."""
        self.tally = Tally(handler.node.metrics, handler.query_log, Transport.TCP)
        self._most = limits.connections
        self._most_per_source = limits.connections_per_source
        self._connections: dict[Connection, None] = {}  # oldest first
        self._sources: dict[str, dict[Connection, None]] = {}
        self._gauge = handler.node.metrics.connections[Transport.TCP]
        self._refused = handler.node.metrics.connections_refused
        self._socket = sock
        self._closing = False
        self.parting = False
        """The next reply on a connection is its last."""
        self._empty = asyncio.Event()
        sock.setblocking(False)
        # A connection without data is not accepted before it has some, or this time is over.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, max(1, int(limits.request_s)))
        sock.listen(_BACKLOG)
        self.answer = handler.plain.answer
        self.get = handler.node.store.getter_by_turn(Table.RECORDS, self.loop.call_soon)
        self.seconds = 0
        """Sweeps since the start."""
        self.idle_until = 0.0
        """Until when a connection that is idle from this turn on is kept."""
        self._turn_from = 0.0
        self._sweeping = self.loop.call_later(_SWEEP_S, self._sweep)
        self.loop.add_reader(sock.fileno(), self._acceptable)

    def turn(self) -> None:
        """To be called before a plain answer: what is done once a turn of the loop."""
        if not self._turn_from:
            self._turn_from = perf_counter()
            self.idle_until = self.loop.time() + self.patience[State.IDLE]
            self.handler.plain.turn()
            self.loop.call_soon(self._turn_over)

    def _turn_over(self) -> None:
        started, self._turn_from = self._turn_from, 0.0
        self.tally.turn(started)

    def _acceptable(self) -> None:
        """Take the connections that wait, up to a turn's worth."""
        self.turn()
        family = self._socket.family
        accept = self._socket._accept  # type: ignore[attr-defined]  # noqa: SLF001
        # accept() wraps this and makes a socket object at three times the cost.
        for _ in range(_ACCEPTS):
            try:
                file, address = accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(error)
                    break
                continue  # it went away before we came
            try:
                self._accepted(socket.SocketType(family, socket.SOCK_STREAM, 0, file), address)
            except Exception:
                log.exception("connection_failed", peer=str(address[0]))

    def _accepted(self, sock: socket.SocketType, address: tuple[str, int]) -> None:
        """Answer at once and close, or keep the connection."""
        host = address[0]
        try:
            data = sock.recv(_FIRST, RECEIVE)
        except (BlockingIOError, InterruptedError):
            self._keep(sock, address, b"")
            return
        except OSError:
            sock.close()
            return
        if not data:
            sock.close()
            return
        reply = self.answer(data, self.get)
        if reply is None or data[28] & KEEP_ALIVE:
            self._keep(sock, address, data)
            return
        self.tally.plain(data, reply)
        self.handler.proven.saw(host)
        try:
            sent = sock.send(reply, SEND)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            sent = len(reply)  # the client is gone
        if sent == len(reply):
            sock.close()
        else:
            self._keep(sock, address, b"", reply[sent:])

    def _keep(
        self, sock: socket.SocketType, address: tuple[str, int], data: bytes, unsent: bytes = b""
    ) -> None:
        """Make a Connection, if there is room or room can be made."""
        source = self._sources.get(address[0])
        if source is not None and len(source) >= self._most_per_source and not _evict(source):
            self._refused["source"].inc()
            sock.close()
            return
        if len(self._connections) >= self._most and not _evict(self._connections):
            self._refused["all"].inc()
            sock.close()
            return
        connection = Connection(self, sock, address)
        self._connections[connection] = None
        self._sources.setdefault(address[0], {})[connection] = None
        self._gauge.set(len(self._connections))
        connection.begin(data, unsent)

    def ended(self, connection: Connection) -> None:
        """A connection was closed."""
        self._connections.pop(connection, None)
        source = self._sources.get(connection.host)
        if source is not None:
            source.pop(connection, None)
            if not source:
                del self._sources[connection.host]
        self._gauge.set(len(self._connections))
        if not self._connections:
            self._empty.set()

    def _pause(self, error: OSError) -> None:
        """No files left: stop accepting for a moment instead of spinning."""
        log.warning("accept_paused", error=error.strerror)
        self.loop.remove_reader(self._socket.fileno())
        self.loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self._closing:
            self.loop.add_reader(self._socket.fileno(), self._acceptable)

    def _sweep(self) -> None:
        """Close what is past its deadline; once a second."""
        self.seconds += 1
        now = self.loop.time()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.close()
        self._sweeping = self.loop.call_later(_SWEEP_S, self._sweep)

    async def close(self, grace_s: float) -> None:
        """Accept nothing new, finish what was begun (up to grace_s), close the connections.

        A kept connection gets one more answer and is closed behind it, so that a busy client
        never writes into a closed one; who says nothing for a moment is closed without.
        The listening socket itself stays open: it belongs to who made it.
        """
        self._closing = self.parting = True
        self.loop.remove_reader(self._socket.fileno())
        if self._connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), min(grace_s, PARTING_S))
        tasks = [c.task for c in self._connections if c.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, grace_s - PARTING_S))
        self._sweeping.cancel()
        for connection in list(self._connections):
            connection.close()


def _evict(connections: dict[Connection, None]) -> bool:
    """Close the oldest connection that only waits for its client; False when there is none."""
    for connection in connections:
        if connection.waiting:
            connection.close()
            return True
    return False
