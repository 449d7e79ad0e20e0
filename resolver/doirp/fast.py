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
from struct import error as StructError  # noqa: N812 - the library spells it so
from typing import NamedTuple, Protocol

from xxhash import xxh3_64_intdigest as xxh3

from protocol.doirp.envelope import OWN_VERSION, SUGGEST_MAJOR
from protocol.doirp.header import COPIED_FLAGS, EXPIRATION_S, Flag
from protocol.doirp.resolution import ResolutionRequest, decode_resolution_request
from protocol.errors import ParseError, ResponseCode
from protocol.value_slices import EMPTY, chosen, join, slices
from registry.prefixes import ROOT
from registry.store.row import FLAGS_AT, HAS_PRIVATE, HEAD_SIZE, UNSEEN
from resolver.lookup import Lookup

MAX_HOPS = 10
_MAX_NAME = 500
"""Longer names have shortened store keys: the general way."""
_LEAST = 60
_MEMO = 1024
_PUBLIC_LENGTH_AT = HEAD_SIZE - 8
"""The public and the private length end the head of a row."""

# At 12: sequence number, message length; (codes, flags, serial); recursion count; (expiration);
# body length, length of the handle.
NUMBERS = Struct(">II14xB5xII")
REST = Struct(">II12s8sI")  # sequence 0, message length, codes and flags, tail, body length
_TAIL = Struct(">HBxI")  # site serial, recursion count, expiration
ROW = Struct(f">QxB{_PUBLIC_LENGTH_AT - FLAGS_AT - 1}xI")  # checksum, flags, public length
_U4 = Struct(">I")
_U4X3 = Struct(">III")
_ZERO = bytes(4)
_NO_LISTS = bytes(8)
"""After the handle: no indexes, no types."""
_USUAL_END = bytes(12)
"""And an empty credential."""
_TAKEN = (
    Flag.AT | Flag.REC | Flag.CA | Flag.KC | Flag.PO | Flag.RD | Flag.DNR
).value  # what a request may have set and still be taken here


Get = Callable[[bytes], bytes | None]


class Answer(Protocol):
    """The fast way itself."""

    def __call__(self, data: bytes, get: Get = ...) -> bytes | None: ...


class Plain(NamedTuple):
    """The fast way of one reader process.

    answer: a whole message with its envelope -> the whole reply with its envelope, or None;
    reads by a get() of the table of records of its own, or by one that is given.
    turn: to be called before the first answer of a loop turn: prefixes and clock as they are now.
    """

    answer: Answer
    turn: Callable[[], None]


def reply_head(head: bytes) -> bytes | None:
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

    __slots__ = ("digest", "general", "none_chosen", "not_found", "success")

    def __init__(self, flags: int) -> None:
        reply = _U4.pack(flags & COPIED_FLAGS.value | (Flag.REC | Flag.AT).value)
        self.general = UNSEEN if flags & Flag.PO else UNSEEN | HAS_PRIVATE
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


def _is_text(name: bytes) -> bool:
    """Whether a name may be one at all: UTF-8."""
    if name.isascii():
        return True
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Heads(dict[bytes, "bytes | None"]):
    """reply_head() of what requests begin with; learnt when asked."""

    def __missing__(self, head: bytes) -> bytes | None:
        if len(self) > _MEMO:
            self.clear()
        found = self[head] = reply_head(head)
        return found


class _CodesOf(dict[bytes, "_Codes | None"]):
    """_codes() of operation code, response code and flags; learnt when asked."""

    def __missing__(self, octets: bytes) -> _Codes | None:
        if len(self) > _MEMO:
            self.clear()
        found = self[octets] = _codes(octets)
        return found


class _Turn:
    """What holds for a turn of the loop. tails: site serial, recursion count, expiration."""

    __slots__ = ("_delimiters", "_lookup", "_now", "_second", "_serial", "homed", "tails")

    def __init__(self, lookup: Lookup, serial: Callable[[], int], now: Callable[[], float]) -> None:
        self._lookup = lookup
        self._serial = serial
        self._now = now
        self._second = 0
        self._delimiters: dict[bytes, bytes] = {}
        self.homed: frozenset[bytes] = frozenset()
        self.tails: list[bytes] = []
        self.begin()

    def begin(self) -> None:
        """A new turn: prefixes and clock as they are now."""
        lookup = self._lookup
        self.homed, self._delimiters = lookup.prefixes.homed(), lookup.namespaces.delimiters()
        this = int(self._now())
        if this != self._second:
            self._second, expires, own = this, this + EXPIRATION_S, self._serial()
            self.tails = [_TAIL.pack(own, hops, expires) for hops in range(MAX_HOPS + 1)]

    def is_absent(self, data: bytes, key: bytes, prefix: bytes, end: int) -> bool:
        """Whether a key without a row surely has no record. end: of the name in the request."""
        if prefix == ROOT or not _is_text(key):
            return False
        delimiter = self._delimiters.get(prefix)
        if delimiter is None:
            delimiter = self._lookup.namespaces.delimiter(prefix)
        # A name with the delimiter may be made by a template.
        return not delimiter or data.find(delimiter, 48 + len(prefix), end) < 0


def _chosen(body: bytes, wanted: ResolutionRequest) -> bytes:
    return join([v for v in slices(body, 4) if chosen(v, wanted.indexes, wanted.types)])


def plain_answers(lookup: Lookup, *, serial: Callable[[], int], now: Callable[[], float]) -> Plain:
    """The fast way.

    A closure: its variables cost half of what attributes cost, and this runs once a question.
    serial: of the own site record. now: seconds since 1970.
    """
    heads, codes_of, turn = _Heads(), _CodesOf(), _Turn(lookup, serial, now)
    numbers, pack, row_of, checksum = NUMBERS.unpack_from, REST.pack, ROW.unpack_from, xxh3
    # A slice that is there already costs two thirds of one that is written out.
    begin, coded, ident, checked = slice(0, 8), slice(20, 32), slice(8, 12), slice(8, None)

    def answer(data: bytes, get: Get = lookup.get) -> bytes | None:
        size = len(data)
        if size < _LEAST:
            return None
        begun, codes = heads[data[begin]], codes_of[data[coded]]
        if begun is None or codes is None:
            return None
        sequence, length, hops, body_size, name_size = numbers(data, 12)
        end = 48 + name_size
        if sequence or length != size - 20 or name_size > _MAX_NAME or hops > MAX_HOPS:
            return None
        wanted, body_end = None, end + 8
        if data[end:] != _USUAL_END or body_size != name_size + 12:
            body_end = 44 + body_size
            if data[body_end:] not in (_ZERO, b""):
                return None
            if data[end:body_end] != _NO_LISTS:
                wanted = _asked(data[44:body_end])
                if wanted is None:
                    return None
        key = data[48:end].upper()
        prefix, slash, _ = key.partition(b"/")
        if prefix not in turn.homed or not slash:
            return None
        raw = get(key)
        name = b""
        if raw is None:
            if not turn.is_absent(data, key, prefix, end):
                return None
            body, said = _ZERO, codes.not_found
        else:
            try:
                sum_, flags, public_size = row_of(raw)
            except StructError:  # too short for a row: the general way says so
                return None
            if checksum(raw[checked]) != sum_ or flags & codes.general:
                return None
            body = raw[HEAD_SIZE : HEAD_SIZE + public_size]
            if wanted is not None:
                body = _chosen(body, wanted)
            if body[:4] == EMPTY:
                body, said = _ZERO, codes.none_chosen
            else:
                said, name = codes.success, data[44:end]
        written = len(name) + len(body)
        if codes.digest:
            body = name + body
            name = b"\x03" + sha256(data[20:body_end]).digest()
            written += 33
        numbered = pack(0, written + 28, said, turn.tails[hops], written)
        return b"".join((begun, data[ident], numbered, name, body, _ZERO))

    return Plain(answer, turn.begin)
