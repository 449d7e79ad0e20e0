"""DNS over UDP: drain the socket, answer, hold back what would make the node an amplifier.

As resolver.doirp.udp: `add_reader` and a small receive buffer. An answer that may not go out is
sent truncated, no longer than the question, so that an honest client asks over TCP (threats N1).
"""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter

import structlog

from resolver.dns.face import DnsFace, count
from resolver.dns.limits import Rate
from resolver.dns.message import truncated
from resolver.doirp.limits import Amplification

log = structlog.get_logger()

FACE = "dns_udp"
_RECEIVE = 4096
_TURN = 64
_TIMED = 64
"""One turn of so many is timed."""

Address = tuple[str, int] | tuple[str, int, int, int]


class DnsUdp:
    """One socket of one reader."""

    def __init__(self, face: DnsFace, sock: socket.socket) -> None:
        node, limits = face.node, face.node.settings.limits
        sock.setblocking(False)
        self._face = face
        self._plain = face.plain
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._limit = Amplification(
            face.proven,
            now=node.now,
            allowance_bytes=limits.udp_allowance_bytes // node.readers,
            factor=limits.udp_factor,
        )
        rrl = face.settings.rrl
        self._rate = Rate(max(1, rrl // node.readers) if rrl else 0, now=node.now)
        self._metrics = node.metrics
        self._found = node.metrics.requests[FACE, "found"]
        self._lookups = node.metrics.lookups["store"]
        self._in, self._out = node.metrics.octets[FACE, "in"], node.metrics.octets[FACE, "out"]
        self._time = node.metrics.request_time[FACE]
        self._limited = node.metrics.udp_limited
        self._turns = 0
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        """Take what the socket holds, up to a turn's worth, and answer it.

        Whatever one datagram does, the loop goes on with the next.
        """
        receive, send, answer = self._socket.recvfrom, self._socket.sendto, self._plain.answer
        limit, proven, over = self._limit, self._limit.proven, self._rate.over
        started = perf_counter()
        limit.turn()
        self._rate.turn()
        self._face.turn()
        found = taken = given = 0
        for _ in range(_TURN):
            try:
                data, address = receive(_RECEIVE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an earlier reply met a closed port: nothing of ours to do
                continue
            size = len(data)
            taken += size
            try:
                reply = answer(data, False)
                if reply is None:
                    reply = self._general(data)
                    if not reply:
                        continue
                else:
                    found += 1
                host = address[0]
                if host not in proven:
                    limit.received(host, size)
                    if over(host, reply[12:size]) or not limit.may_send(host, len(reply)):
                        self._limited["truncated"].inc()
                        reply = truncated(reply)
                send(reply, address)
                given += len(reply)
            except OSError:  # a full buffer, or no way there: the client asks again
                self._limited["dropped"].inc()
            except Exception:
                log.exception("datagram_failed", peer=str(address[0]))
        self._tally(started, found, taken, given)

    def _general(self, data: bytes) -> bytes:
        """The reply to what is no plain question; empty: nothing is said."""
        reply = self._face.reply(data, tcp=False)
        if reply:
            count(self._metrics, FACE, reply)
        return reply

    def _tally(self, started: float, found: int, taken: int, given: int) -> None:
        """Hand the sums of a turn over to the metrics."""
        if found:
            self._found.inc(found)
            self._lookups.inc(found)
            self._turns += 1
            if self._turns % _TIMED == 1:
                self._time.observe((perf_counter() - started) / found)
        self._in.inc(taken)
        self._out.inc(given)

    async def close(self, _grace_s: float) -> None:
        """Take nothing new. The socket itself stays open: it belongs to who made it."""
        self._loop.remove_reader(self._socket.fileno())
