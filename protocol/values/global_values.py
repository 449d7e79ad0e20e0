"""The root record as kept in a file: u4 length, list<value> (do-irp 18.1)."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import ParseError
from protocol.record import HandleValue, decode_values, encode_values
from protocol.wire import Reader, Writer

MAX_FILE = 1_048_576


def decode_global_values(data: bytes | memoryview) -> tuple[HandleValue, ...]:
    """A whole file and nothing after it. Raises Truncated or ParseError."""
    reader = Reader(data)
    length = reader.u4()
    if length > MAX_FILE:
        raise ParseError(f"a value file of {length} octets is above {MAX_FILE}")
    values = decode_values(reader.take(length))
    reader.finish()
    return values


def encode_global_values(values: Sequence[HandleValue]) -> bytes:
    """The octets of the file."""
    return Writer().octets(encode_values(values)).finish()
