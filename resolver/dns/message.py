"""DNS messages as an authoritative server sees them: a query from octets, an answer to octets.

RFC 1035, EDNS of RFC 6891. Names are wire form, lower case; the question's own octets go back
unchanged (0x20), and names that end like it are pointers to it. Nothing here raises on octets
from the network: what is wrong with a query is its rcode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final

HEADER_SIZE: Final = 12
MAX_NAME: Final = 255
MAX_LABEL: Final = 63
MAX_MESSAGE: Final = 65_535
LEAST_UDP: Final = 512
OPT_SIZE: Final = 11
CLASS_IN: Final = 1

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
_OPCODE: Final = 0x7800
DO: Final = 0x8000
CO: Final = 0x4000
"""Compact answers OK (RFC 9824 §5.1)."""

_HEADER: Final = Struct(">HHHHHH")
_TYPE_CLASS: Final = Struct(">HH")
_OPT: Final = Struct(">BHHBBHH")  # name, type, size, upper rcode, version, flags, length
_OPT_START: Final = b"\0\0\x29"
_OPTION: Final = Struct(">HH")
_RR: Final = Struct(">HHIH")
_U2: Final = Struct(">H")


class Type(IntEnum):
    """Types of records that this server knows by name."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    HINFO = 13
    AAAA = 28
    NAPTR = 35
    DNAME = 39
    OPT = 41
    DS = 43
    RRSIG = 46
    NSEC = 47
    DNSKEY = 48
    CDS = 59
    CDNSKEY = 60
    NXNAME = 128
    TKEY = 249
    TSIG = 250
    IXFR = 251
    AXFR = 252
    MAILB = 253
    MAILA = 254
    ANY = 255


class Rcode(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    NOTAUTH = 9
    BADVERS = 16


@dataclass(frozen=True, slots=True)
class Query:
    """One query.

    head: its id and flags. question: name, type and class as received, empty where they cannot
    be read. name: of the question, lower case. limit: octets of an answer over UDP that the
    client takes. rcode: what is wrong with it; NOERROR when nothing is.
    """

    id: int
    flags: int
    question: bytes = b""
    name: bytes = b""
    type: int = 0
    klass: int = 0
    edns: bool = False
    do: bool = False
    compact: bool = False
    limit: int = LEAST_UDP
    rcode: int = Rcode.NOERROR


def name_end(data: bytes, at: int) -> int:
    """Where a name that begins at `at` ends; -1 when it is none, compressed or too long."""
    start, size = at, len(data)
    while at < size:
        length = data[at]
        at += length + 1
        if length == 0:
            return at
        if length > MAX_LABEL or at - start >= MAX_NAME:
            return -1
    return -1


def labels_of(name: bytes) -> list[bytes]:
    """The labels of a whole name, the leftmost first, without the root."""
    labels, at = [], 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return labels


def name_of(labels: Sequence[bytes]) -> bytes:
    """Labels, the leftmost first, as a whole name."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def parse_query(data: bytes) -> Query | None:
    """The query in a message; None when nothing is to be said (no header, or a response)."""
    if len(data) < HEADER_SIZE:
        return None
    number, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & QR:
        return None
    if flags & _OPCODE:
        return Query(number, flags, rcode=Rcode.NOTIMP)
    bare = Query(number, flags, rcode=Rcode.FORMERR)
    end = name_end(data, HEADER_SIZE) if questions == 1 else -1
    if end < 0 or end + 4 > len(data):
        return bare
    type_, klass = _TYPE_CLASS.unpack_from(data, end)
    question = data[HEADER_SIZE : end + 4]
    name = data[HEADER_SIZE:end].lower()
    if answers or authorities:
        # A record before the question's answer is known: of no meaning in a query.
        return Query(number, flags, question, name, type_, klass, rcode=Rcode.FORMERR)
    extra = _additional(data, end + 4, additionals)
    if extra is None:
        return Query(number, flags, question, name, type_, klass, rcode=Rcode.FORMERR)
    rcode, opt = extra
    if opt is None:
        return Query(number, flags, question, name, type_, klass, rcode=rcode)
    size, version, ednsflags = opt
    return Query(
        number,
        flags,
        question,
        name,
        type_,
        klass,
        edns=True,
        do=bool(ednsflags & DO),
        compact=bool(ednsflags & CO),
        limit=max(LEAST_UDP, size),
        rcode=Rcode.BADVERS if version else rcode,
    )


def _additional(data: bytes, at: int, count: int) -> tuple[int, tuple[int, int, int] | None] | None:
    """(rcode, (size, version, flags) of the OPT record or None); None: malformed.

    Records other than OPT are passed over; a TSIG names a key that nobody here has.
    """
    opt: tuple[int, int, int] | None = None
    rcode: int = Rcode.NOERROR
    for _ in range(count):
        root = data[at : at + 1] == b"\0"
        at = name_end(data, at)
        if at < 0 or at + 10 > len(data):
            return None
        type_, klass, ttl, length = _RR.unpack_from(data, at)
        at += 10
        if at + length > len(data):
            return None
        if type_ == Type.OPT:
            if opt is not None or not root or not _options(data, at, at + length):
                return None
            opt = klass, ttl >> 16 & 0xFF, ttl & 0xFFFF
        elif type_ == Type.TSIG:
            rcode = Rcode.NOTAUTH
        at += length
    return (rcode, opt) if at == len(data) else None


def _options(data: bytes, at: int, end: int) -> bool:
    """Whether the options of an OPT record fill it exactly."""
    while at + 4 <= end:
        at += 4 + _OPTION.unpack_from(data, at)[1]
    return at == end


@dataclass(frozen=True, slots=True)
class RRset:
    """Records of one name and type. owner: wire form, lower case. ttl: seconds."""

    owner: bytes
    type: int
    ttl: int
    rdatas: tuple[bytes, ...]


@dataclass(slots=True)
class Response:
    """What is said to a query, before it is octets."""

    rcode: int = Rcode.NOERROR
    authoritative: bool = False
    answer: list[RRset] = field(default_factory=list)
    authority: list[RRset] = field(default_factory=list)
    additional: list[RRset] = field(default_factory=list)


def opt_record(udp_bytes: int, rcode: int, do: bool) -> bytes:
    """Our OPT record."""
    return _OPT.pack(0, Type.OPT, udp_bytes, rcode >> 4, 0, DO if do else 0, 0)


def compose(query: Query, response: Response, *, udp_bytes: int, limit: int) -> bytes:
    """The answer as a message; with TC and no records when it is longer than `limit` octets."""
    flags = QR | (query.flags & (_OPCODE | RD)) | (response.rcode & 15)
    if response.authoritative:
        flags |= AA
    opt = opt_record(udp_bytes, response.rcode, query.do) if query.edns else b""
    extra = int(query.edns)
    parts, counts = [b"", query.question], [0, 0, 0]
    sections = (response.answer, response.authority, response.additional)
    for number, section in enumerate(sections):
        for rrset in section:
            owner = _owner(query, rrset.owner)
            counts[number] += len(rrset.rdatas)
            for rdata in rrset.rdatas:
                parts += (owner, _RR.pack(rrset.type, CLASS_IN, rrset.ttl, len(rdata)), rdata)
    parts.append(opt)
    asked = int(bool(query.question))
    if HEADER_SIZE + sum(map(len, parts)) > limit:
        parts, counts, flags = [b"", query.question, opt], [0, 0, 0], flags | TC
    counts[2] += extra
    parts[0] = _HEADER.pack(query.id, flags, asked, *counts)
    return b"".join(parts)


def _owner(query: Query, owner: bytes) -> bytes:
    """An owner's name: a pointer into the question where that ends with it."""
    cut = len(query.name) - len(owner)
    at = 0
    while at < cut:
        at += query.name[at] + 1
    if at == cut and query.name[cut:] == owner:
        return _U2.pack(0xC000 | HEADER_SIZE + cut)
    return owner


def truncated(reply: bytes) -> bytes:
    """A whole reply of ours without its records: header with TC, question, OPT."""
    number, flags, asked, _, _, more = _HEADER.unpack_from(reply)
    extra = int(more > 0 and reply[-OPT_SIZE:].startswith(_OPT_START))
    end = name_end(reply, HEADER_SIZE) + 4 if asked else HEADER_SIZE
    head = _HEADER.pack(number, flags | TC, asked, 0, 0, extra)
    return head + reply[HEADER_SIZE:end] + (reply[-OPT_SIZE:] if extra else b"")


def asked_name(data: bytes) -> bytes:
    """The name of a question as text, for logs; empty where there is none."""
    end = name_end(data, HEADER_SIZE)
    return b".".join(labels_of(data[HEADER_SIZE:end])) if end > 0 else b""


def response_code(reply: bytes) -> int:
    """The lower four bits of the rcode of a reply of ours."""
    return reply[3] & 15
