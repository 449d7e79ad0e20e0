"""Bodies that are no success: referrals (302, 303) and errors (RFC 3652 §3.3, §3.4; do-irp 7.3, 7.4).

Challenges are in authentication. Who is asked next is the resolver's matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.doirp.resolution import (
    MAX_REPLY_HANDLE,
    read_indexes,
    read_reply_values,
    write_indexes,
)
from protocol.record import HandleValue, encode_values
from protocol.wire import Reader, Writer


@dataclass(frozen=True, slots=True)
class Referral:
    """handle: whose sites to ask, when values is None. values: sites, services, delegations."""

    handle: bytes
    values: tuple[HandleValue, ...] | None = None


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """message: UTF-8, may be empty; None where an old peer left the body out.

    indexes: the values at fault, where a peer says so. Read, not written by us.
    """

    message: bytes | None = b""
    indexes: tuple[int, ...] | None = None


def decode_referral(body: bytes | memoryview) -> Referral:
    """Str handle; list<value> if octets remain. body: without the request digest."""
    reader = Reader(body)
    handle = reader.octets(limit=MAX_REPLY_HANDLE)
    values = read_reply_values(reader) if reader.left else None
    reader.finish()
    return Referral(handle, values)


def encode_referral(referral: Referral) -> bytes:
    """The body after the request digest."""
    out = Writer().octets(referral.handle)
    if referral.values is not None:
        out.raw(encode_values(referral.values))
    return out.finish()


def decode_error(body: bytes | memoryview) -> ErrorBody:
    """Str message; list<u4> if octets remain; or nothing at all."""
    if not body:
        return ErrorBody(None)
    reader = Reader(body)
    message = reader.octets()
    indexes = read_indexes(reader) if reader.left else None
    reader.finish()
    return ErrorBody(message, indexes)


def encode_error(error: ErrorBody) -> bytes:
    """The body after the request digest."""
    if error.message is None:
        return b""
    out = Writer().octets(error.message)
    if error.indexes is not None:
        write_indexes(out, error.indexes)
    return out.finish()


def error_body(message: str) -> bytes:
    """The body of an error reply with a text for people."""
    return Writer().octets(message.encode("utf-8", "replace")).finish()
