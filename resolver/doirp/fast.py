"""The plainest questions, answered by cutting and joining octets: no object per value.

Taken here: a resolution request in one piece, outside sessions, not encrypted, of an identifier
whose prefix is homed here, that needs no identity and no signature. Everything else gives None
and goes the general way (resolver.doirp.handler), which must answer these with the same octets;
tests/resolver/doirp/test_fast_and_general.py holds both to it. Costs: `python -m bench.hotpath`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from struct import Struct

from protocol.doirp.envelope import OWN_VERSION, SUGGEST_MAJOR
from protocol.doirp.header import COPIED_FLAGS, EXPIRATION_S, Flag
from protocol.doirp.resolution import ResolutionRequest, decode_resolution_request
from protocol.errors import ParseError, ResponseCode, StoreError
from protocol.value_slices import EMPTY, chosen, join, slices
from registry.prefixes import ROOT
from registry.store.row import checked, has_private, public_body
from resolver.lookup import Lookup

FastAnswer = Callable[[bytes], bytes | None]
"""A whole message with its envelope -> the whole reply with its envelope, or None."""

MAX_HOPS = 10
_MAX_NAME = 500
"""Longer names have shortened store keys: the general way."""
_LEAST = 48
_MEMO = 1024

_PLACE = Struct(">II")  # at 12: sequence number, message length
_BODY = Struct(">BxIII")  # at 34: recursion count, expiration, body length, handle length
_REST = Struct(">II12s8sI")  # sequence 0, message length, codes and flags, tail, body length
_TAIL = Struct(">HBxI")  # site serial, recursion count, expiration
_U4 = Struct(">I")
_U4X3 = Struct(">III")
_ZERO = bytes(4)
_NO_LISTS = bytes(8)
"""After the handle: no indexes, no types."""
_NO_CREDENTIAL = (bytes(4), b"")
_TAKEN = (
    Flag.AT | Flag.REC | Flag.CA | Flag.KC | Flag.PO | Flag.RD | Flag.DNR
).value  # what a request may have set and still be taken here


def _reply_head(head: bytes) -> bytes | None:
    """The first eight octets of the reply to a request that begins so; None: not taken.

    Versions 2.7 to 3.x, nothing compressed, encrypted or in parts, no session.
    """
    major, minor, flags, suggest_minor = head[:4]
    suggest_major = flags & SUGGEST_MAJOR
    if flags != suggest_major or head[4:] != _ZERO or major not in {2, 3}:
        return None
    suggestion = (suggest_major, suggest_minor) if suggest_major else (major, minor)
    version = min(suggestion, OWN_VERSION)
    if version < (2, 7) or suggest_major not in {0, 2, 3}:
        return None
    return bytes((*version, *OWN_VERSION)) + _ZERO


class _Codes:
    """What follows from operation code, response code and flags of a request."""

    __slots__ = ("digest", "none_chosen", "not_found", "public_only", "success")

    def __init__(self, flags: int) -> None:
        reply = _U4.pack(flags & COPIED_FLAGS.value | (Flag.REC | Flag.AT).value)
        self.public_only = bool(flags & Flag.PO)
        self.digest = bool(flags & Flag.RD)
        self.success = _U4.pack(1) + _U4.pack(ResponseCode.SUCCESS) + reply
        self.not_found = _U4.pack(1) + _U4.pack(ResponseCode.HANDLE_NOT_FOUND) + reply
        self.none_chosen = _U4.pack(1) + _U4.pack(ResponseCode.VALUES_NOT_FOUND) + reply


def _codes(octets: bytes) -> _Codes | None:
    """None unless it is a resolution request with ordinary flags."""
    opcode, code, flags = _U4X3.unpack(octets)
    if opcode != 1 or code != 0 or flags & ~_TAKEN:
        return None
    return _Codes(flags)


def _asked(request: bytes) -> ResolutionRequest | None:
    """A request body with lists in it; None when it does not parse."""
    try:
        return decode_resolution_request(request)
    except ParseError:
        return None


def plain_answers(
    lookup: Lookup, *, serial: Callable[[], int], now: Callable[[], float]
) -> FastAnswer:
    """The fast way of one reader process.

    A closure: its variables cost half of what attributes cost, and this runs once a question.
    serial: of the own site record. now: seconds since 1970.
    """
    heads: dict[bytes, bytes | None] = {}
    codes_of: dict[bytes, _Codes | None] = {}
    get = lookup.get
    homed = lookup.prefixes.homed
    place = _PLACE.unpack_from
    body_of = _BODY.unpack_from
    pack = _REST.pack
    second = 0
    tails: dict[int, bytes] = {}

    def tail(hops: int) -> bytes:
        nonlocal second
        this = int(now())
        if this != second or hops not in tails:
            tails.clear()
            tails.update(
                {n: _TAIL.pack(serial(), n, this + EXPIRATION_S) for n in range(MAX_HOPS + 1)}
            )
            second = this
        return tails[hops]

    def learn(head: bytes, octets: bytes) -> None:
        if len(heads) > _MEMO:
            heads.clear()
        if len(codes_of) > _MEMO:
            codes_of.clear()
        heads[head] = _reply_head(head)
        codes_of[octets] = _codes(octets)

    def answer(data: bytes) -> bytes | None:
        size = len(data)
        if size < _LEAST:
            return None
        head = data[:8]
        asked = data[20:32]
        try:
            reply_head = heads[head]
            codes = codes_of[asked]
        except KeyError:
            learn(head, asked)
            reply_head = heads[head]
            codes = codes_of[asked]
        if reply_head is None or codes is None:
            return None
        sequence, length = place(data, 12)
        hops, _, body_size, name_size = body_of(data, 34)
        end = 48 + name_size
        body_end = 44 + body_size
        if (
            sequence
            or length != size - 20
            or name_size > _MAX_NAME
            or hops > MAX_HOPS
            or data[body_end:] not in _NO_CREDENTIAL
        ):
            return None
        wanted = None
        if body_end != end + 8 or data[end:body_end] != _NO_LISTS:
            wanted = _asked(data[44:body_end])
            if wanted is None:
                return None
        key = data[48:end].upper()
        prefix, slash, _ = key.partition(b"/")
        if not slash or prefix not in homed():
            return None
        raw = get(key)
        body, name = _ZERO, b""
        if raw is None:
            if prefix == ROOT:
                return None
            said = codes.not_found
        else:
            if has_private(raw) and not codes.public_only:
                return None
            try:
                checked(raw)
            except StoreError:
                return None
            found = public_body(raw)
            if wanted is not None:
                found = join(
                    [v for v in slices(found, 4) if chosen(v, wanted.indexes, wanted.types)]
                )
            if found[:4] == EMPTY:
                said = codes.none_chosen
            else:
                body, said, name = found, codes.success, data[44:end]
        digest = b"\x03" + sha256(data[20:body_end]).digest() if codes.digest else b""
        written = len(digest) + len(name) + len(body)
        return b"".join(
            (
                reply_head,
                data[8:12],
                pack(0, written + 28, said, tail(hops), written),
                digest,
                name,
                body,
                _ZERO,
            )
        )

    return answer
