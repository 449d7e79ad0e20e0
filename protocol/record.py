"""Handle values and records (RFC 3651 §3.1): what an identifier maps to.

Text is kept as the octets that travel (UTF-8); the edges turn it into str.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from protocol.errors import InvalidValue
from protocol.wire import MAX_ARRAY, Reader, Writer

PUBLIC_WRITE = 1
PUBLIC_READ = 2
ADMIN_WRITE = 4
ADMIN_READ = 8
DEFAULT_PERMISSIONS = ADMIN_READ | ADMIN_WRITE | PUBLIC_READ
DEFAULT_TTL_S = 86_400
TTL_RELATIVE = 0
TTL_ABSOLUTE = 1
MAX_INDEX = 2**31 - 1

_HEAD = struct.Struct(">iIBIB")
"""index (signed, as deployed software reads it), timestamp, TTL type, TTL, permissions: the 14
octets before the type."""
_START = struct.Struct(">iIBIBI")
"""The same and the length of the type."""
_COUNT = struct.Struct(">I")
_U4 = _COUNT.pack
_LEAST_VALUE = _HEAD.size + 12
DIGEST_OFFSET = 8
"""A value's digest leaves out its first octets: index and timestamp."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One value of a record: `index:handle`. Index 0 means any."""

    handle: bytes
    index: int

    def text(self) -> str:
        return f"{self.index}:{self.handle.decode('utf-8', 'replace')}"

    @classmethod
    def parse(cls, text: str | bytes) -> Reference:
        """`300:0.NA/20.5000`; without leading ASCII digits and a colon the index is 0."""
        raw = text.encode() if isinstance(text, str) else text
        digits, colon, rest = raw.partition(b":")
        if colon and digits.isdigit() and len(digits) <= 10 and int(digits) <= 0xFFFFFFFF:
            return cls(rest, int(digits))
        return cls(raw, 0)


@dataclass(frozen=True, slots=True)
class HandleValue:
    """One typed value.

    index: 1 … 2^31−1 in stored values. timestamp: seconds since 1970, set by the server on a
    write. ttl: seconds (relative) or seconds since 1970 (absolute). permissions: the bits above.
    type: UTF-8 octets. data: octets. references: usually empty.
    """

    index: int
    type: bytes
    data: bytes
    ttl: int = DEFAULT_TTL_S
    ttl_type: int = TTL_RELATIVE
    timestamp: int = 0
    permissions: int = DEFAULT_PERMISSIONS
    references: tuple[Reference, ...] = ()

    @property
    def public(self) -> bool:
        """Whether anybody may read it."""
        return bool(self.permissions & PUBLIC_READ)


@dataclass(frozen=True, slots=True)
class Record:
    """A name and its values. handle: as registered, its case kept."""

    handle: bytes
    values: tuple[HandleValue, ...]


def read_value(reader: Reader) -> HandleValue:
    """Take one value off a reader."""
    index, timestamp, ttl_type, ttl, permissions = _HEAD.unpack(reader.take(_HEAD.size))
    type_ = reader.octets()
    data = reader.octets()
    references = tuple(
        Reference(reader.octets(), reader.u4()) for _ in range(reader.count(least_size=8))
    )
    return HandleValue(index, type_, data, ttl, ttl_type, timestamp, permissions, references)


def decode_value(data: bytes | memoryview) -> HandleValue:
    """One encoded value and nothing after it."""
    reader = Reader(data)
    value = read_value(reader)
    reader.finish()
    return value


def encode_value(value: HandleValue) -> bytes:
    """The wire form of one value. Raises InvalidValue when a field does not fit its width."""
    type_, data = value.type, value.data
    try:
        head = _HEAD.pack(
            value.index, value.timestamp, value.ttl_type, value.ttl, value.permissions
        )
        if not value.references:
            # The common case by hand: a third of what the Writer below costs.
            return b"%b%b%b%b%b\0\0\0\0" % (head, _U4(len(type_)), type_, _U4(len(data)), data)
    except struct.error as error:
        raise InvalidValue(f"value {value.index} has a field that does not fit: {error}") from None
    out = Writer().raw(head).octets(type_).octets(data).u4(len(value.references))
    for reference in value.references:
        out.octets(reference.handle).u4(reference.index)
    return out.finish()


def read_values(reader: Reader) -> tuple[HandleValue, ...]:
    """list<value>: a u4 count, then the values."""
    return tuple(read_value(reader) for _ in range(reader.count(_LEAST_VALUE)))


def decode_values(data: bytes | memoryview) -> tuple[HandleValue, ...]:
    """A whole list<value> and nothing after it."""
    values = _plain_values(bytes(data))
    if values is not None:
        return values
    reader = Reader(data)
    values = read_values(reader)
    reader.finish()
    return values


def _plain_values(data: bytes) -> tuple[HandleValue, ...] | None:
    """What decode_values() gives for a list in order whose values have no references.

    A third of what the Reader costs. None: the Reader decides, and says what is wrong.
    """
    end = len(data)
    if end > MAX_ARRAY:
        return None
    start_at, count_at, found = _START.unpack_from, _COUNT.unpack_from, []
    try:
        (count,) = count_at(data)
        at = 4
        for _ in range(count):
            index, timestamp, ttl_type, ttl, permissions, size = start_at(data, at)
            at += 18
            type_ = data[at : at + size]
            at += size
            (size,) = count_at(data, at)
            at += 4
            octets = data[at : at + size]
            at += size
            if count_at(data, at) != (0,):
                return None
            at += 4
            found.append(HandleValue(index, type_, octets, ttl, ttl_type, timestamp, permissions))
    except struct.error:  # too short, or a length leads beyond the end
        return None
    return tuple(found) if at == end else None


def encode_values(values: Sequence[HandleValue]) -> bytes:
    """list<value>."""
    return Writer().u4(len(values)).raw(b"".join(map(encode_value, values))).finish()


def value_digest(value: HandleValue, algorithm: str = "sha256") -> bytes:
    """What a record signature commits to: the encoded value from its TTL type on.

    algorithm: `sha256`, or another that hashlib knows.
    """
    covered = encode_value(value)[DIGEST_OFFSET:]
    if algorithm == "sha256":
        return sha256(covered).digest()
    from hashlib import new

    return new(algorithm, covered).digest()


def type_matches(wanted: bytes, type_: bytes) -> bool:
    """Whether a query type asks for a value type (ASCII case ignored).

    `URL.` takes URL and every URL.x; `URL` only URL; `.` nothing.
    """
    wanted, type_ = wanted.upper(), type_.upper()
    if wanted.endswith(b"."):
        return wanted != b"." and (type_ == wanted[:-1] or type_.startswith(wanted))
    return type_ == wanted


def select(
    values: Iterable[HandleValue], indexes: Sequence[int] = (), types: Sequence[bytes] = ()
) -> tuple[HandleValue, ...]:
    """The union of index and type matches; everything when neither is asked (RFC 3652 §3.2.1)."""
    if not indexes and not types:
        return tuple(values)
    return tuple(
        value
        for value in values
        if value.index in indexes or any(type_matches(wanted, value.type) for wanted in types)
    )


def permission_text(permissions: int) -> str:
    """`rwr-`: admin read, admin write, public read, public write."""
    pairs = ((ADMIN_READ, "r"), (ADMIN_WRITE, "w"), (PUBLIC_READ, "r"), (PUBLIC_WRITE, "w"))
    return "".join(letter if permissions & bit else "-" for bit, letter in pairs)
