"""Stored values as slices: pick and count encoded handle values without making objects.

The layout is that of protocol.record (RFC 3651 §3.1); here a value stays the octets it is, so
that an answer is cut out of a stored row and not encoded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 (the library spells it so)

from protocol.errors import Truncated
from protocol.record import type_matches

_U4 = Struct(">I")
_HEAD = Struct(">i9xBI")
"""index, (timestamp, TTL type, TTL), permissions, length of the type."""
_COUNT_0 = _U4.pack(0)


@dataclass(frozen=True, slots=True)
class ValueSlice:
    """One encoded value: where its octets are, and what a choice among values looks at."""

    octets: bytes
    index: int
    permissions: int
    type: bytes


def slices(data: bytes, at: int = 0) -> Iterator[ValueSlice]:
    """Each value of concatenated encoded values, from offset `at` to the end.

    Raises Truncated when the octets end inside a value.
    """
    end = len(data)
    while at < end:
        start = at
        try:
            index, permissions, size = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            type_ = data[at : at + size]
            at += size
            at += _U4.unpack_from(data, at)[0] + 4
            (references,) = _U4.unpack_from(data, at)
            at += 4
            for _ in range(references):
                at += _U4.unpack_from(data, at)[0] + 8
        except StructError:
            raise Truncated(f"values end inside the one at offset {start}") from None
        if at > end:
            raise Truncated(f"values end inside the one at offset {start}")
        yield ValueSlice(data[start:at], index, permissions, type_)


def chosen(value: ValueSlice, indexes: Sequence[int], types: Sequence[bytes]) -> bool:
    """Whether a query asks for this value: by index or by type, or for all (RFC 3652 §3.2.1)."""
    if not indexes and not types:
        return True
    return value.index in indexes or any(type_matches(wanted, value.type) for wanted in types)


def join(values: Sequence[ValueSlice]) -> bytes:
    """list<value>: a u4 count, then the values as they are."""
    return _U4.pack(len(values)) + b"".join(value.octets for value in values)


EMPTY = _COUNT_0
"""list<value> of no values."""
