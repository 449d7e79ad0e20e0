"""UDP: messages in datagrams of at most 512 octets (RFC 3652 §2.3; do-irp 3.1).

split() cuts, Reassembler puts together. Bounded; the clock is passed in. When to send again is
the client's matter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from protocol.doirp.envelope import (
    ENVELOPE_SIZE,
    Envelope,
    decode_envelope,
    encode_envelope,
)
from protocol.errors import ParseError, ServerBusy

MAX_DATAGRAM = 512
MAX_DATA = MAX_DATAGRAM - ENVELOPE_SIZE
"""Octets of message in one packet."""
WAIT_S = 5.0
"""How long a receiver waits for the rest of a message."""


def packet_count(length: int) -> int:
    """Packets of a message of `length` octets; an empty one still takes one."""
    return max(1, -(-length // MAX_DATA))


def split(part: bytes, envelope: Envelope) -> list[bytes]:
    """Datagrams of a message without its envelope, in order.

    part: header, body, credential (or the ciphertext). envelope: its length, sequence number and
    truncated flag are set here; the flag on every packet when there are several.
    """
    count = packet_count(len(part))
    return [
        encode_envelope(replace(envelope, length=len(part), sequence=at, truncated=count > 1))
        + part[at * MAX_DATA : (at + 1) * MAX_DATA]
        for at in range(count)
    ]


@dataclass(slots=True)
class _Pending:
    """Packets of one message that came so far."""

    envelope: Envelope
    deadline: float
    packets: dict[int, bytes] = field(default_factory=dict)
    octets: int = 0


class Reassembler:
    """Puts packets together, whatever their order; repeated ones are dropped.

    Keyed by peer and request id. Receivers decide by the message length alone: deployed servers
    leave the truncated flag clear on their replies.
    """

    def __init__(
        self,
        *,
        max_pending: int = 1024,
        max_pending_per_peer: int = 8,
        max_octets: int = 16 * 1024 * 1024,
        wait_s: float = WAIT_S,
    ) -> None:
        """max_octets: of all messages that wait, by what their packets hold so far."""
        self._max_pending = max_pending
        self._max_per_peer = max_pending_per_peer
        self._max_octets = max_octets
        self._wait_s = wait_s
        # Oldest first: a message keeps its place, so the first deadline is the next one.
        self._pending: OrderedDict[tuple[Hashable, int], _Pending] = OrderedDict()
        self._per_peer: dict[Hashable, int] = {}
        self._octets = 0

    def __len__(self) -> int:
        """Messages that wait for packets."""
        return len(self._pending)

    def add(self, peer: Hashable, datagram: bytes, now: float) -> tuple[Envelope, bytes] | None:
        """Take a datagram; the whole message with its envelope (sequence 0) once it is there.

        now: seconds of any steady clock. Raises ParseError on a packet that cannot be right
        (size, number, or another length than its siblings) and ServerBusy over the bounds.
        """
        envelope = decode_envelope(datagram)
        data = bytes(datagram[ENVELOPE_SIZE:])
        count = packet_count(envelope.length)
        _check_packet(envelope, data, count)
        self.expire(now)
        if count == 1:
            return replace(envelope, truncated=False), data
        key = (peer, envelope.request_id)
        pending = self._pending.get(key)
        if pending is None:
            pending = self._open(key, envelope, now)
        elif not _siblings(pending.envelope, envelope):
            self._close(key)
            raise ParseError(
                f"packets of request {envelope.request_id} disagree about their message; dropped"
            )
        self._keep(key, pending, envelope.sequence, data)
        if len(pending.packets) < count:
            return None
        self._close(key)
        whole = b"".join(pending.packets[at] for at in range(count))
        return replace(pending.envelope, sequence=0, truncated=False), whole

    def expire(self, now: float) -> int:
        """Drop messages whose rest did not come in time; how many."""
        dropped = 0
        while self._pending:
            key, oldest = next(iter(self._pending.items()))
            if oldest.deadline > now:
                break
            self._close(key)
            dropped += 1
        return dropped

    def _open(self, key: tuple[Hashable, int], envelope: Envelope, now: float) -> _Pending:
        peer = key[0]
        if len(self._pending) >= self._max_pending:
            raise ServerBusy(f"{len(self._pending)} messages wait for packets; send again later")
        if self._per_peer.get(peer, 0) >= self._max_per_peer:
            raise ServerBusy(f"{self._max_per_peer} messages of {peer} wait for packets")
        pending = _Pending(envelope, now + self._wait_s)
        self._pending[key] = pending
        self._per_peer[peer] = self._per_peer.get(peer, 0) + 1
        return pending

    def _keep(
        self, key: tuple[Hashable, int], pending: _Pending, sequence: int, data: bytes
    ) -> None:
        if sequence in pending.packets:
            return
        if self._octets + len(data) > self._max_octets:
            self._close(key)
            raise ServerBusy(f"{self._octets} octets wait for packets; send again later")
        pending.packets[sequence] = data
        pending.octets += len(data)
        self._octets += len(data)

    def _close(self, key: tuple[Hashable, int]) -> None:
        pending = self._pending.pop(key)
        self._octets -= pending.octets
        left = self._per_peer[key[0]] - 1
        if left:
            self._per_peer[key[0]] = left
        else:
            del self._per_peer[key[0]]


def _check_packet(envelope: Envelope, data: bytes, count: int) -> None:
    if envelope.sequence >= count:
        raise ParseError(
            f"packet {envelope.sequence} of a message of {envelope.length} octets, "
            f"which has {count} packets"
        )
    last = envelope.sequence == count - 1
    size = envelope.length - envelope.sequence * MAX_DATA if last else MAX_DATA
    if len(data) != size:
        raise ParseError(f"packet {envelope.sequence} has {len(data)} octets, not {size}")


def _siblings(one: Envelope, other: Envelope) -> bool:
    return replace(one, sequence=0, truncated=False) == replace(other, sequence=0, truncated=False)
