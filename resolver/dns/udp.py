"""DNS over UDP: take what waits, answer it, hold back what would make the node an amplifier.

As resolver.doirp.udp, `add_reader` and no asyncio transport; datagrams are taken and sent by the
batch where the machine can (resolver.batch), which saves a third of an answer's cost
(docs/benchmark.md). An answer that may not go out is sent truncated, no longer than the question,
so that an honest client asks over TCP (threats N1).
"""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter

import structlog

from protocol.errors import StoreError
from resolver import batch
from resolver.dns.face import DnsFace, count
from resolver.dns.fast import Get
from resolver.dns.limits import PROVEN, Sources
from resolver.dns.message import asked_name, response_code, truncated

log = structlog.get_logger()

FACE = "dns_udp"
_RECEIVE = 2048
_TURN = 64
_TIMED = 64
"""One turn of so many is timed."""


class DnsUdp:
    """One socket of one reader."""

    def __init__(self, face: DnsFace, sock: socket.socket, *, batched: bool = True) -> None:
        """batched: False takes one datagram a call, whatever the machine can."""
        node, limits = face.node, face.node.settings.limits
        sock.setblocking(False)
        rrl = face.settings.rrl
        self._face = face
        self._plain = face.plain
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._sources = Sources(
            face.proven,
            now=node.now,
            allowance_bytes=limits.udp_allowance_bytes // node.readers,
            factor=limits.udp_factor,
            per_s=max(1, rrl // node.readers) if rrl else 0,
        )
        self._metrics = node.metrics
        self._found = node.metrics.requests[FACE, "found"]
        self._lookups = node.metrics.lookups["store"]
        self._in, self._out = node.metrics.octets[FACE, "in"], node.metrics.octets[FACE, "out"]
        self._time = node.metrics.request_time[FACE]
        self._limited = node.metrics.udp_limited
        self._log = node.query_log if node.settings.log.query_sample else None
        self._turns = 0
        self._sums = (0, 0, 0)  # plain answers, octets in, octets out: of this turn
        if batched and batch.available():
            self._batch = batch.Batch(
                sock, receive_bytes=_RECEIVE, send_bytes=face.settings.udp_bytes
            )
            inet6 = sock.family == socket.AF_INET6
            self._places = self._batch.places(8, 24) if inet6 else self._batch.places(4, 8)
            self._loop.add_reader(sock.fileno(), self._batch_readable)
        else:
            self._loop.add_reader(sock.fileno(), self._readable)

    def _batch_readable(self) -> None:
        """Answer a batch of datagrams: each from the slot it came in."""
        started = perf_counter()
        waiting = self._batch.receive()
        if not waiting:
            return
        self._turn()
        try:
            with self._face.names.turn() as get:
                self._answer_slots(waiting, get)
        except StoreError as error:
            log.error("dns_failed", why=str(error))  # noqa: TRY400 - the error says where
        self._tally(started)

    def _answer_slots(self, waiting: int, get: Get) -> None:
        """One loop without calls but the answer's: each costs 0.1 µs a datagram."""
        slots, answer, known = self._batch, self._plain.answer, self._sources.known
        inbox, outbox, names = slots.inbox, slots.outbox, slots.names
        sizes, lengths, unlogged = slots.sizes, slots.lengths, self._log is None
        first = others = taken = given = 0
        for slot, size_at, at, address, out_at, length_at in self._places[:waiting]:
            size = sizes[size_at]
            data = inbox[at : at + size]
            taken += size
            try:
                reply = answer(data, get, False)
                if reply is None:
                    others += 1
                    reply = self._general(data)
                if known.get(names[address]) is not PROVEN or not unlogged:
                    reply = self._limited_reply(data, reply, names[address])
            except Exception:
                log.exception("datagram_failed", peer=names[address].hex())
                reply = b""
            size = len(reply)
            if size:
                given += size
                outbox[out_at : out_at + size] = reply
                lengths[length_at] = size
            else:
                self._send_slots(first, slot)
                first = slot + 1
        self._send_slots(first, waiting)
        self._sums = waiting - others, taken, given

    def _send_slots(self, first: int, last: int) -> None:
        if last > first:
            lost, reached = self._batch.send(first, last)
            if lost + last - reached:
                self._limited["dropped"].inc(lost + last - reached)

    def _readable(self) -> None:
        """The same, one datagram after the other."""
        receive, send = self._socket.recvfrom, self._socket.sendto
        started = perf_counter()
        self._turn()
        answer, get = self._plain.answer, self._face.names.get
        found = taken = given = 0
        for _ in range(_TURN):
            try:
                data, address = receive(_RECEIVE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an earlier reply met a closed port: nothing of ours to do
                continue
            taken += len(data)
            try:
                reply = answer(data, get, False)
                if reply is not None:
                    found += 1
                else:
                    reply = self._general(data)
                host = socket.inet_pton(self._socket.family, address[0].partition("%")[0])
                reply = self._limited_reply(data, reply, host)
                given += len(reply)
                if reply:
                    send(reply, address)
            except OSError:  # a full buffer, or no way there: the client asks again
                self._limited["dropped"].inc()
            except Exception:
                log.exception("datagram_failed", peer=str(address[0]))
        self._sums = found, taken, given
        self._tally(started)

    def _turn(self) -> None:
        self._sources.turn()
        self._face.turn()

    def _general(self, data: bytes) -> bytes:
        """The reply to what is no plain question; empty: nothing is said."""
        reply = self._face.reply(data, tcp=False)
        if reply:
            count(self._metrics, FACE, reply)
        return reply

    def _limited_reply(self, data: bytes, reply: bytes, address: bytes) -> bytes:
        """What may go out of a reply to a source, which is counted unless it is proven."""
        if not reply:
            return reply
        if self._log is not None and self._log.due():
            self._log.write(FACE, asked_name(data), response_code(reply), 0, "store")
        sources = self._sources
        source = sources.known.get(address) or sources.learn(address)
        if source is PROVEN:
            return reply
        account, counter, _, _ = source
        account[0] += len(data)
        if counter[0] != sources.second:
            counter[0], counter[1] = sources.second, 0
        counter[1] += 1
        sent = account[1] + len(reply)
        if counter[1] <= sources.per_s and (
            sent <= sources.allowance_bytes or sent <= sources.factor * account[0]
        ):
            account[1] = sent
        elif sources.exceeds(address, source, len(reply), reply[12 : len(data)]):
            self._limited["truncated"].inc()
            reply = truncated(reply)
            account[1] += len(reply)
        return reply

    def _tally(self, started: float) -> None:
        """Hand the sums of a turn over to the metrics."""
        found, taken, given = self._sums
        self._sums = (0, 0, 0)
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
