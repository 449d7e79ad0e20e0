"""MessageStream: messages off a TCP connection, or off an HTTP body (do-irp 3.2, 3.3).

Feed it what arrives, take out messages until it asks for more. Bounded: it never holds more than
one whole message and one chunk beyond it, unless the caller feeds without taking out.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from protocol.doirp.envelope import ENVELOPE_SIZE, Envelope, decode_envelope


class _Need(Enum):
    NEED_DATA = "need data"


NEED_DATA: Final = _Need.NEED_DATA
"""What next() returns while the next message is not whole."""
NeedData = _Need


class MessageStream:
    """Splits a stream of octets into (envelope, message part) pairs.

    The part is what the envelope counts: plain or encrypted, not looked into.
    """

    __slots__ = ("_buffer", "_envelope")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._envelope: Envelope | None = None

    @property
    def held(self) -> int:
        """Octets that were fed and not yet taken out."""
        return len(self._buffer) + (ENVELOPE_SIZE if self._envelope else 0)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what arrived."""
        self._buffer += data

    def next(self) -> tuple[Envelope, bytes] | NeedData:
        """The next message, or NEED_DATA.

        Raises ParseError on an envelope that cannot be right; the connection is then of no more
        use, since nothing says where the next message begins.
        """
        if self._envelope is None:
            if len(self._buffer) < ENVELOPE_SIZE:
                return NEED_DATA
            self._envelope = decode_envelope(self._buffer)
            del self._buffer[:ENVELOPE_SIZE]
        length = self._envelope.length
        if len(self._buffer) < length:
            return NEED_DATA
        envelope, self._envelope = self._envelope, None
        part = bytes(self._buffer[:length])
        del self._buffer[:length]
        return envelope, part

    def rest(self) -> bytes:
        """Everything after the last message taken out: the start of a replication stream."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data
