"""DO-IRP over UDP: drain the socket, answer what is plain at once, hand on the rest.

`add_reader` and a small receive buffer instead of an asyncio transport, which asks for 256 KiB a
datagram: 8 µs against 33 µs an answer (docs/benchmark.md). Where the machine can, a batch of
datagrams is taken and sent in one call (resolver.batch). A datagram has at most 512
octets; a longer answer goes in several, up to a bound, or as "busy", which sends the client to
TCP (RFC 3652 §2.3, do-irp 3.1; threats N1).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from struct import Struct
from time import perf_counter

import structlog

from protocol.doirp.envelope import ENVELOPE_SIZE, TRUNCATED, encode_envelope
from protocol.doirp.header import Flag
from protocol.doirp.udp import MAX_DATA, MAX_DATAGRAM, Reassembler
from protocol.errors import ParseError, ResponseCode, ServerBusy, StoreError
from registry.store import Table
from resolver import batch
from resolver.doirp.counting import Tally
from resolver.doirp.exchange import Exchange, Peer, Transport
from resolver.doirp.fast import Get
from resolver.doirp.handler import Handler, Taken
from resolver.doirp.limits import Amplification, network_of
from resolver.doirp.repeats import Repeats
from resolver.doirp.shed import shedder
from resolver.pressure import SHED_S

log = structlog.get_logger()

_RECEIVE = 2048
_TURN = 64
"""Datagrams of one loop turn: enough to amortise the turn, few enough to stay fair."""
_MOST_TASKS = 1024
_MOST_TASKS_PER_NETWORK = 64
_STRAINED_TASKS_PER_NETWORK = 8
"""Requests carried out at once: one network's flood of names leaves room for the others, and more
of it while the loop is late."""
_MOST_UNSENT = 1024
_STALL_S = 0.001
"""A loop turn that carries out many requests looks at the socket that often (threats N7)."""
_U4 = Struct(">I")
_IDS = Struct(">II")

Address = tuple[str, int] | tuple[str, int, int, int]


def datagrams(reply: bytes) -> list[bytes]:
    """A whole reply with its envelope as the datagrams that carry it; TC set when several."""
    if len(reply) <= MAX_DATAGRAM:
        return [reply]
    head = reply[:2] + bytes((reply[2] | TRUNCATED,)) + reply[3:12]
    length = reply[16:ENVELOPE_SIZE]
    return [
        b"".join((head, _U4.pack(number), length, reply[at : at + MAX_DATA]))
        for number, at in enumerate(range(ENVELOPE_SIZE, len(reply), MAX_DATA))
    ]


def busy(reply: bytes) -> bytes:
    """The small answer in place of one that may not go out: code 3, nothing else, 52 octets."""
    (flags,) = _U4.unpack_from(reply, 28)
    return b"".join(
        (
            reply[:16],
            _U4.pack(32),
            reply[20:24],
            _U4.pack(ResponseCode.SERVER_BUSY),
            _U4.pack(flags & ~(Flag.RD | Flag.CN).value),
            reply[32:40],
            _U4.pack(4),
            bytes(8),
        )
    )


def _token(taken: Taken, whole: bytes) -> bytes:
    """What is the same when a client repeats a request: in a session it signs each anew."""
    if not isinstance(taken, Exchange):
        return sha256(whole).digest()
    envelope = taken.message.envelope
    ids = _IDS.pack(envelope.session_id, envelope.request_id)
    return sha256(ids + taken.message.covered()).digest()


class UdpFace:
    """One socket of one reader."""

    def __init__(self, handler: Handler, sock: socket.socket, *, batched: bool = True) -> None:
        """batched: False takes one datagram a call, whatever the machine can."""
        node, limits = handler.node, handler.node.settings.limits
        sock.setblocking(False)
        self._handler = handler
        self._plain = handler.plain
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._limit = Amplification(
            handler.proven,
            now=node.now,
            allowance_bytes=limits.udp_allowance_bytes // node.readers,
            factor=limits.udp_factor,
        )
        self._most_packets = limits.udp_packets
        self._parts = Reassembler(max_pending=limits.pending_messages)
        self._unsent: deque[tuple[bytes, Address]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._working: Counter[bytes] = Counter()
        self._repeats = Repeats(now=node.now)
        self._tally = Tally(node.metrics, handler.query_log, Transport.UDP)
        self._limited = node.metrics.udp_limited
        self._dropped = node.metrics.pending_dropped
        self._shed = shedder(node.recursion) if node.recursion is not None else None
        self._pressure = node.recursion.pressure if node.recursion is not None else None
        self._shed_count = node.metrics.cache["shed"]
        self._drained = 0.0
        self._closed = False
        self._behind: float | None = None  # since when the socket was not found empty
        if batched and batch.available():
            self._batch = batch.Batch(sock, receive_bytes=_RECEIVE, send_bytes=MAX_DATAGRAM)
            self._addresses = batch.Addresses(sock, self._batch)
            self._places = self._batch.places(*self._addresses.span)
            self._drain = self._batch_readable
        else:
            self._drain = self._readable
        self._loop.add_reader(sock.fileno(), self._drain)
        if self._pressure is not None:
            self._pressure.looks.append(self._look)

    def _batch_readable(self) -> None:
        """Answer a batch of datagrams: the plain ones each from the slot it came in."""
        self._drained = started = perf_counter()
        waiting = self._batch.receive()
        self._behind = (self._behind or started) if waiting == batch.BATCH else None
        if not waiting:
            return
        self._limit.turn()
        self._plain.turn()
        try:
            with self._handler.node.store.snapshot() as state:
                self._answer_slots(waiting, state.getter(Table.RECORDS))
        except StoreError as error:
            log.error("doirp_failed", why=str(error))  # noqa: TRY400 - the error says where
        self._tally.turn(started)

    def _answer_slots(self, waiting: int, get: Get) -> None:
        """One loop without calls but the answer's: each costs 0.1 µs a datagram."""
        slots, answer, limit, tally = self._batch, self._plain.answer, self._limit, self._tally
        inbox, outbox, names, known = slots.inbox, slots.outbox, slots.names, limit.known
        sizes, lengths, codes = slots.sizes, slots.lengths, tally.codes
        logged = -1 if tally.log is None else tally.log.within(waiting)
        unsent, factor = self._unsent, limit.factor
        first = received = given = 0
        for slot, size_at, at, address, out_at, length_at in self._places[:waiting]:
            size = sizes[size_at]
            data = inbox[at : at + size]
            octets = names[address]
            account = known.get(octets) or limit.learn(octets, self._addresses.of(slot)[0])
            account[0] += size
            try:
                reply = answer(data, get)
                received += size
                if reply is None:
                    reply = self._general(data, self._addresses.of(slot))
                else:
                    codes[reply[27]] += 1
                    if slot == logged:
                        tally.write(data, reply)
                size = len(reply)
                given += size
                total = account[1] + size
                free = total <= account[2] or total <= factor * account[0]
                if 0 < size <= MAX_DATAGRAM and free and not unsent:
                    account[1] = total
                    outbox[out_at : out_at + size] = reply
                    lengths[length_at] = size
                    continue
                self._send_slots(first, slot)
                first = slot + 1
                if reply:
                    self._reply(reply, self._addresses.of(slot), counted=True)
            except Exception:
                log.exception("datagram_failed", peer=self._addresses.of(slot)[0])
                self._send_slots(first, slot)
                first = slot + 1
        self._send_slots(first, waiting)
        tally.received += received
        tally.sent += given

    def _send_slots(self, first: int, last: int) -> None:
        if last <= first:
            return
        lost, reached = self._batch.send(first, last)
        if lost:
            self._limited["dropped"].inc(lost)
        for slot in range(reached, last):  # no room in the kernel now: they wait in their order
            self._keep(self._batch.answer(slot), self._addresses.of(slot))

    def _readable(self) -> None:
        """Take what the socket holds, up to a turn's worth, and answer it.

        Whatever one datagram does, the loop goes on with the next.
        """
        receive, send, answer = self._socket.recvfrom, self._socket.sendto, self._plain.answer
        limit, tally, unsent = self._limit, self._tally, self._unsent
        limit.turn()
        self._plain.turn()
        accounts, codes, query_log = limit.accounts, tally.codes, tally.log
        self._drained = started = perf_counter()
        for _ in range(_TURN):
            try:
                data, address = receive(_RECEIVE)
            except (BlockingIOError, InterruptedError):
                self._behind = None
                break
            except OSError:  # an earlier reply met a closed port: nothing of ours to do
                continue
            try:
                account = accounts.get(address[0]) or limit.account(address[0])
                account[0] += len(data)
                reply = answer(data)
                tally.received += len(data)
                if reply is None:
                    reply = self._general(data, address)
                    if not reply:
                        continue
                else:
                    codes[reply[27]] += 1
                    if query_log is not None:
                        tally.sample(data, reply)
                size = len(reply)
                tally.sent += size
                total = account[1] + size
                if size <= MAX_DATAGRAM and total <= account[2] and not unsent:
                    account[1] = total
                    send(reply, address)
                else:
                    self._reply(reply, address, counted=True)
            except OSError as error:
                self._not_sent(error, reply, address)
            except Exception:
                log.exception("datagram_failed", peer=str(address[0]))
        else:
            self._behind = self._behind or started
        tally.turn(started)

    def _crowded(self, host: str) -> bool:
        """Whether a request that must wait would not be begun, or wait too long (threats O1)."""
        if len(self._tasks) >= _MOST_TASKS:
            return True
        strained = self._pressure is not None and self._pressure.strained
        most = _STRAINED_TASKS_PER_NETWORK if strained else _MOST_TASKS_PER_NETWORK
        if self._working[network_of(host)] >= most:
            return True
        if self._behind is not None and perf_counter() - self._behind > SHED_S:
            return True
        overloaded = self._pressure is not None and self._pressure.overloaded
        return overloaded and len(self._tasks) >= _STRAINED_TASKS_PER_NETWORK

    def _general(self, data: bytes, address: Address) -> bytes:
        """The reply to what is no plain question; empty: there is none, or not yet."""
        if self._shed is not None and self._crowded(address[0]):
            refusal = self._shed(data)
            if refusal:
                self._shed_count.inc()
                return refusal
        whole = self._whole(data, address)
        if whole is None:
            return b""
        peer = Peer(address[0], address[1], Transport.UDP)
        taken = self._handler.take(whole, peer)
        reply = taken if isinstance(taken, bytes) else self._handler.now(taken)
        if reply is None and not isinstance(taken, bytes):
            self._later(taken, whole, address)
        return reply or b""

    def _whole(self, data: bytes, address: Address) -> bytes | None:
        """A message of one datagram as it is; of several, joined when the last one has come."""
        if len(data) < ENVELOPE_SIZE:
            return None
        (length,) = _U4.unpack_from(data, 16)
        if length == len(data) - ENVELOPE_SIZE or length <= MAX_DATA:
            return data
        try:
            joined = self._parts.add(address, data, self._loop.time())
        except ServerBusy:
            self._dropped.inc()
            return None
        except ParseError:
            # A part that cannot be right; a lone one goes on to be refused as a message.
            return data if data[12:16] == bytes(4) else None
        if joined is None:
            return None
        return encode_envelope(joined[0]) + joined[1]

    def _later(self, taken: Taken, whole: bytes, address: Address) -> None:
        """Carry out what takes waiting; a repeated request gets the reply of the first."""
        token = (address, _token(taken, whole))
        known = self._repeats.seen(token)
        if known is not None:
            for reply in known:
                self._reply(reply, address)
            return
        network = network_of(address[0])
        if len(self._tasks) >= _MOST_TASKS or self._working[network] >= _MOST_TASKS_PER_NETWORK:
            self._repeats.forget(token)
            reply = self._handler.busy(taken)
            if reply:
                self._reply(reply, address)
            return
        self._working[network] += 1
        task = self._loop.create_task(self._carry_out(taken, token))
        self._tasks.add(task)
        task.add_done_callback(partial(self._carried_out, network))

    def _carried_out(self, network: bytes, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._working[network] -= 1
        if not self._working[network]:
            del self._working[network]
        if not task.cancelled() and task.exception() is not None:
            log.error("datagram_failed", exc_info=task.exception())

    async def _carry_out(self, taken: Taken, token: tuple[Address, bytes]) -> None:
        """One reply; what takes several (lists) belongs on TCP, and "busy" sends it there."""
        replies: list[bytes] = []
        try:
            async with aclosing(self._handler.replies(taken)) as parts:
                async for reply in parts:
                    replies = [busy(replies[0])] if replies else [reply]
                    if reply is not replies[0]:
                        break
        finally:
            self._repeats.answered(token, replies)
        for reply in replies:
            self._reply(reply, token[0])
        self._look()

    def _look(self) -> None:
        """Between two steps of other work: what came meanwhile does not wait for the rest of it."""
        if not self._closed and perf_counter() - self._drained > _STALL_S:
            self._drain()

    def _reply(self, reply: bytes, address: Address, *, counted: bool = False) -> None:
        """Send a reply in as many datagrams as it takes, or "busy" where that is too much.

        counted: its octets are in the tally.
        """
        host = address[0]
        packets = datagrams(reply)
        size = len(reply) + ENVELOPE_SIZE * (len(packets) - 1)
        if not self._limit.may_send(host, size, short=len(packets) <= self._most_packets):
            self._limited["busy"].inc()
            packets = [busy(reply)]
        if not counted:
            self._tally.other(0, size)
        for packet in packets:
            self._send(packet, address)

    def _send(self, packet: bytes, address: Address) -> None:
        if self._unsent:
            self._keep(packet, address)
            return
        try:
            self._socket.sendto(packet, address)
        except OSError as error:
            self._not_sent(error, packet, address)

    def _not_sent(self, error: OSError, packet: bytes | None, address: Address) -> None:
        """A full socket buffer: wait for room. Anything else: the peer asks again or not."""
        if packet is not None and isinstance(error, BlockingIOError | InterruptedError):
            self._keep(packet, address)
        else:
            self._limited["dropped"].inc()

    def _keep(self, packet: bytes, address: Address) -> None:
        if len(self._unsent) >= _MOST_UNSENT:
            self._limited["dropped"].inc()
            return
        if not self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._unsent.append((packet, address))

    def _writable(self) -> None:
        while self._unsent:
            packet, address = self._unsent[0]
            try:
                self._socket.sendto(packet, address)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._limited["dropped"].inc()
            self._unsent.popleft()
        self._loop.remove_writer(self._socket.fileno())

    async def close(self, grace_s: float) -> None:
        """Take nothing new, answer what was taken (up to grace_s), let go of the socket.

        The socket itself stays open: it belongs to who made it.
        """
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
        self._writable()
        self._loop.remove_writer(self._socket.fileno())
