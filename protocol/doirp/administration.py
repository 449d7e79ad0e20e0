"""Bodies of handle and prefix administration (RFC 3652 §3.6; do-irp 7).

Requests 100 to 106, 300 to 302, and every request that carries one name only. Replies to 100,
105, 106 and 302; the other operations answer with an empty body.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.doirp.resolution import MAX_REPLY_HANDLE, read_indexes, write_indexes
from protocol.record import HandleValue, encode_values, read_values
from protocol.wire import Reader, Writer

NO_NAME = b"/"
"""What stands for the handle where none is needed: site info, session end, homed prefixes."""


@dataclass(frozen=True, slots=True)
class NameRequest:
    """One name: 2, 101, 105, 106, 300, 301, 302, 401, 1000, 1003."""

    handle: bytes


@dataclass(frozen=True, slots=True)
class ValuesRequest:
    """Create (100, may have no values), add (102) and modify (104)."""

    handle: bytes
    values: tuple[HandleValue, ...]


@dataclass(frozen=True, slots=True)
class IndexesRequest:
    """Remove (103). Indexes unsigned, as on the wire."""

    handle: bytes
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CreatedReply:
    """handle: the name that was created; None where an old server leaves the body empty."""

    handle: bytes | None


@dataclass(frozen=True, slots=True)
class NamesReply:
    """One part of a listing (105, 106, 302); flag CN says whether more follow."""

    handles: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EmptyReply:
    """Success without more to say."""


def decode_name(body: bytes | memoryview) -> NameRequest:
    """Str handle."""
    reader = Reader(body)
    handle = reader.octets()
    reader.finish()
    return NameRequest(handle)


def encode_name(request: NameRequest) -> bytes:
    """Str handle."""
    return Writer().octets(request.handle).finish()


def decode_values_request(body: bytes | memoryview) -> ValuesRequest:
    """Str handle; list<value>."""
    reader = Reader(body)
    handle = reader.octets()
    values = read_values(reader)
    reader.finish()
    return ValuesRequest(handle, values)


def encode_values_request(request: ValuesRequest) -> bytes:
    """Str handle; list<value>."""
    return Writer().octets(request.handle).raw(encode_values(request.values)).finish()


def decode_indexes_request(body: bytes | memoryview) -> IndexesRequest:
    """Str handle; list<u4>."""
    reader = Reader(body)
    handle = reader.octets()
    indexes = read_indexes(reader)
    reader.finish()
    return IndexesRequest(handle, indexes)


def encode_indexes_request(request: IndexesRequest) -> bytes:
    """Str handle; list<u4>."""
    out = Writer().octets(request.handle)
    write_indexes(out, request.indexes)
    return out.finish()


def decode_created(body: bytes | memoryview) -> CreatedReply:
    """Str handle, or nothing at all."""
    if not body:
        return CreatedReply(None)
    reader = Reader(body)
    handle = reader.octets(limit=MAX_REPLY_HANDLE)
    reader.finish()
    return CreatedReply(handle)


def encode_created(reply: CreatedReply) -> bytes:
    """Str handle, or nothing at all."""
    return b"" if reply.handle is None else Writer().octets(reply.handle).finish()


def decode_names_reply(body: bytes | memoryview) -> NamesReply:
    """list<str>."""
    reader = Reader(body)
    handles = tuple(
        reader.octets(limit=MAX_REPLY_HANDLE) for _ in range(reader.count(least_size=4))
    )
    reader.finish()
    return NamesReply(handles)


def encode_names_reply(reply: NamesReply) -> bytes:
    """list<str>."""
    out = Writer().u4(len(reply.handles))
    for handle in reply.handles:
        out.octets(handle)
    return out.finish()


def decode_empty(body: bytes | memoryview) -> EmptyReply:
    """Nothing. Raises ParseError when octets are there."""
    Reader(body).finish()
    return EmptyReply()


def encode_empty(_: EmptyReply) -> bytes:
    """Nothing."""
    return b""
