"""Reader and Writer: the integers, strings and lists of the Handle protocol (RFC 3652 §2.1.1).

Big-endian. `bytes` is a u4 length and that many octets. Every length and count is checked
against the octets left before anything is taken or allocated.
"""

from __future__ import annotations

from struct import Struct

from protocol.errors import ParseError, Truncated

MAX_ARRAY = 1_048_576
"""Largest element count or array length that deployed software accepts."""

_U2 = Struct(">H")
_U4 = Struct(">I")
_I4 = Struct(">i")
_U8 = Struct(">Q")


class Reader:
    """Takes values off the front of a buffer. Raises Truncated or ParseError, nothing else."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes | bytearray | memoryview, at: int = 0) -> None:
        self._data = memoryview(data)
        self._at = at
        self._end = len(self._data)

    @property
    def at(self) -> int:
        """Offset of the next octet."""
        return self._at

    @property
    def left(self) -> int:
        """Octets not yet taken."""
        return self._end - self._at

    def take(self, size: int) -> memoryview:
        """The next `size` octets, not copied."""
        start, stop = self._at, self._at + size
        if size < 0 or stop > self._end:
            raise Truncated(f"{size} octets wanted at offset {start}, {self._end - start} left")
        self._at = stop
        return self._data[start:stop]

    def u1(self) -> int:
        return self.take(1)[0]

    def u2(self) -> int:
        return int(_U2.unpack(self.take(2))[0])

    def u4(self) -> int:
        return int(_U4.unpack(self.take(4))[0])

    def i4(self) -> int:
        return int(_I4.unpack(self.take(4))[0])

    def u8(self) -> int:
        return int(_U8.unpack(self.take(8))[0])

    def octets(self, limit: int = MAX_ARRAY) -> bytes:
        """A u4 length and that many octets, copied."""
        start = self._at
        size = self.u4()
        if size > limit:
            raise ParseError(f"length {size} at offset {start} is above {limit}")
        return bytes(self.take(size))

    def count(self, least_size: int, limit: int = MAX_ARRAY) -> int:
        """A u4 count of items, each at least `least_size` octets long."""
        start = self._at
        count = self.u4()
        if count > limit:
            raise ParseError(f"count {count} at offset {start} is above {limit}")
        if count * least_size > self.left:
            raise Truncated(f"count {count} at offset {start} needs more than {self.left} octets")
        return count

    def finish(self) -> None:
        """Raise unless everything was taken."""
        if self.left:
            raise ParseError(f"{self.left} octets follow the end at offset {self._at}")


class Writer:
    """Collects octets; `finish()` joins them."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> Writer:
        self._parts.append(data)
        return self

    def u1(self, value: int) -> Writer:
        self._parts.append(bytes((value,)))
        return self

    def u2(self, value: int) -> Writer:
        self._parts.append(_U2.pack(value))
        return self

    def u4(self, value: int) -> Writer:
        self._parts.append(_U4.pack(value & 0xFFFFFFFF))
        return self

    def u8(self, value: int) -> Writer:
        self._parts.append(_U8.pack(value & 0xFFFFFFFFFFFFFFFF))
        return self

    def octets(self, data: bytes) -> Writer:
        self._parts.append(_U4.pack(len(data)))
        self._parts.append(data)
        return self

    def finish(self) -> bytes:
        return b"".join(self._parts)
