"""A value list in wire form, looked at without making an object of each value.

Shape: u4 count, then the values (protocol.record). The cache keeps answers like this, so that a
hit copies octets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

from protocol.record import PUBLIC_READ, TTL_ABSOLUTE, type_matches
from protocol.wire import Reader

_U4 = Struct(">I")
_HEAD = Struct(">iIBIB")
_TTL_AT = 9
_LEAST_VALUE = _HEAD.size + 12
EMPTY = _U4.pack(0)


@dataclass(frozen=True, slots=True)
class Slice:
    """Where one value lies in a list, and what a choice between values needs to know of it."""

    index: int
    type: bytes
    ttl_type: int
    ttl: int
    permissions: int
    start: int
    end: int


def slices(values: bytes) -> tuple[Slice, ...]:
    """Every value of a list. Raises ParseError unless the octets are just that list."""
    reader = Reader(values)
    found = []
    for _ in range(reader.count(_LEAST_VALUE)):
        start = reader.at
        index, _, ttl_type, ttl, permissions = _HEAD.unpack(reader.take(_HEAD.size))
        type_ = reader.octets()
        reader.take(reader.u4())
        for _ in range(reader.count(least_size=8)):
            reader.take(reader.u4())
            reader.u4()
        found.append(Slice(index, type_, ttl_type, ttl, permissions, start, reader.at))
    reader.finish()
    return tuple(found)


def join(values: bytes, chosen: Sequence[Slice]) -> bytes:
    """The list of only the chosen values."""
    return b"".join((_U4.pack(len(chosen)), *(values[each.start : each.end] for each in chosen)))


def public_only(values: bytes) -> bytes:
    """The list without values that not everybody may read. Raises ParseError."""
    all_ = slices(values)
    public = [each for each in all_ if each.permissions & PUBLIC_READ]
    return values if len(public) == len(all_) else join(values, public)


def choose(
    found: Iterable[Slice], indexes: Sequence[int], types: Sequence[bytes]
) -> tuple[Slice, ...]:
    """The union of index and type matches; all where neither is asked (RFC 3652 §3.2.1)."""
    if not indexes and not types:
        return tuple(found)
    return tuple(
        each
        for each in found
        if each.index in indexes or any(type_matches(wanted, each.type) for wanted in types)
    )


def least_ttl_s(found: Iterable[Slice], wall: float) -> float | None:
    """Seconds until the first value is stale; None for an empty list.

    wall: seconds since 1970. An absolute TTL that is past counts 0 (do-irp 18.5).
    """
    lives = [
        max(0.0, each.ttl - wall) if each.ttl_type == TTL_ABSOLUTE else float(each.ttl)
        for each in found
    ]
    return min(lives, default=None)


def lower_ttls(values: bytes, ttl_s: int) -> bytes:
    """The same values, no TTL above a number of seconds: for stale answers of unsigned records.

    A signature covers the TTL, so a signed record is passed on as it was signed. An absolute TTL
    is left, it says itself when it is past.
    """
    out = bytearray(values)
    for each in slices(values):
        if each.ttl_type != TTL_ABSOLUTE and each.ttl > ttl_s:
            _U4.pack_into(out, each.start + _TTL_AT, ttl_s)
    return bytes(out)
