"""Bodies of resolution (1) and of the site-info reply (2) (RFC 3652 §3.2; do-irp 7).

Which values a query selects is protocol.record.select().
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.errors import ParseError
from protocol.record import HandleValue, encode_values, read_values
from protocol.wire import Reader, Writer

MAX_REPLY_HANDLE = 2048
"""Octets of a handle in a reply."""
MAX_REPLY_VALUES = 2048
"""Values in a reply."""


@dataclass(frozen=True, slots=True)
class ResolutionRequest:
    """indexes and types empty: all values. Indexes unsigned, as on the wire."""

    handle: bytes
    indexes: tuple[int, ...] = ()
    types: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolutionReply:
    """handle: as it was asked for."""

    handle: bytes
    values: tuple[HandleValue, ...]


def decode_resolution_request(body: bytes | memoryview) -> ResolutionRequest:
    """Str handle; list<u4> indexes; list<str> types."""
    reader = Reader(body)
    handle = reader.octets()
    indexes = read_indexes(reader)
    types = tuple(reader.octets() for _ in range(reader.count(least_size=4)))
    reader.finish()
    return ResolutionRequest(handle, indexes, types)


def encode_resolution_request(request: ResolutionRequest) -> bytes:
    """The body of a resolution request."""
    out = Writer().octets(request.handle)
    write_indexes(out, request.indexes)
    out.u4(len(request.types))
    for type_ in request.types:
        out.octets(type_)
    return out.finish()


def decode_resolution_reply(body: bytes | memoryview) -> ResolutionReply:
    """Str handle; list<value>. body: without the request digest."""
    reader = Reader(body)
    handle = reader.octets(limit=MAX_REPLY_HANDLE)
    values = read_reply_values(reader)
    reader.finish()
    return ResolutionReply(handle, values)


def encode_resolution_reply(reply: ResolutionReply) -> bytes:
    """The body of a reply, without the request digest."""
    return Writer().octets(reply.handle).raw(encode_values(reply.values)).finish()


def read_reply_values(reader: Reader) -> tuple[HandleValue, ...]:
    """list<value> of a reply, at most 2048 of them."""
    start = reader.at
    values = read_values(reader)
    if len(values) > MAX_REPLY_VALUES:
        raise ParseError(f"{len(values)} values at offset {start}, above {MAX_REPLY_VALUES}")
    return values


def read_indexes(reader: Reader) -> tuple[int, ...]:
    """list<u4>, unsigned."""
    return tuple(reader.u4() for _ in range(reader.count(least_size=4)))


def write_indexes(out: Writer, indexes: Sequence[int]) -> None:
    """list<u4>; each is cut to 32 bits."""
    out.u4(len(indexes))
    for index in indexes:
        out.u4(index)
