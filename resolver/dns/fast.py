"""The plainest questions: the NAPTR records of an OID or a GTIN, by cutting and joining octets.

The name is not taken apart: what stands between dummy label and zone is the key of the NAPTR
table, and a key that is found there is whole labels, so the question was read rightly. Everything
else gives None and goes the general way (resolver.dns.message, resolver.dns.answer), which must
answer these with the same octets; tests/resolver/dns/test_fast_and_general.py holds both to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library spells it so
from typing import NamedTuple

from xxhash import xxh3_64_intdigest as xxh3

from protocol.arcs import GS1
from protocol.naptr import ONS_KEY, wire_key
from protocol.naptr_records import ORS_PREFIX
from registry.store.row import HAS_ABSOLUTE_TTL, NAPTR_HEAD_SIZE
from resolver.dns.answer import Answers
from resolver.dns.message import (
    CLASS_IN,
    LEAST_UDP,
    RRset,
    Type,
    name_of,
    opt_record,
    parse_query,
)
from resolver.dns.zones import GTIN_LABELS, Names, OnsZone, OrsZone

Get = Callable[[bytes], bytes | None]

_MEMO = 1024
_ROW = Struct(">QH")
_RR = Struct(">HHHIH")
_COUNT = Struct(">H")
_DIGITS = 26
_ONES = b"\x01" * 13
_LONGEST = 44
"""A longer label's length octet could be a letter of a name: such prefixes go the general way."""


class Plain(NamedTuple):
    """The fast way of one reader process.

    answer: (message, get() of the NAPTR table, whether it came over TCP) -> reply, or None. turn:
    to be called before the first answer of a loop turn.
    """

    answer: Callable[[bytes, Get, bool], bytes | None]
    turn: Callable[[], None]


_Shape = tuple[bytes, bytes, bytes, int, bool]
"""What follows from all of a query but its id and name: flags and number of questions of the
reply, numbers of its authority and additional records, its OPT record, octets it may have over
UDP, whether signatures are wanted."""


class _Signed(NamedTuple):
    """Signatures as they are sent. seal: checksum of the row. number: of records with them."""

    seal: bytes
    until: float
    number: bytes
    octets: bytes


def _shape(header: bytes, end: bytes, udp_bytes: int) -> _Shape | None:
    """None unless it is a NAPTR question of class IN, with one good OPT record or none.

    header: octets 2 to 12 of the query. end: all that follows the name.
    """
    if header[0] & 0xFE or header[2:8] != b"\0\1\0\0\0\0" or header[8:] > b"\0\1":
        return None  # a response, another operation, truncated, or with other records
    query = parse_query(b"\0\0" + header + b"\0" + end)
    if query is None or query.rcode or query.type != Type.NAPTR or query.klass != CLASS_IN:
        return None
    head = bytes((0x84 | header[0] & 1, 0, 0, 1))
    if query.edns:
        opt = opt_record(udp_bytes, 0, query.do)
        return head, b"\0\0\0\1", opt, min(query.limit, udp_bytes), query.do
    return (head, bytes(4), b"", LEAST_UDP, False) if header[8:] == b"\0\0" else None


def plain_answers(  # noqa: PLR0915 - one closure, because calls are what costs here
    answers: Answers, names: Names, *, udp_bytes: int, now: Callable[[], float], max_signed: int
) -> Plain:
    """The fast way of these zones."""
    shapes: dict[bytes, _Shape | None] = {}
    signed: dict[bytes, _Signed] = {}
    checksum, row_of = xxh3, _ROW.unpack_from
    ors = next(
        (z for z in answers.zones if isinstance(z, OrsZone) and z.prefix == ORS_PREFIX), None
    )
    ons = next((z for z in answers.zones if isinstance(z, OnsZone)), None)
    front = name_of([ors.dummy])[:-1] if ors is not None and ors.dummy else b""
    skip = 12 + len(front)
    ors_end = ors.name if ors is not None else b""
    ons_end = name_of(GTIN_LABELS)[:-1] + ons.name if ons is not None else b""
    ors_size, ons_size = len(ors_end), len(ons_end)
    prefixes = names.prefixes
    homed: frozenset[bytes] = frozenset()
    delegated: frozenset[bytes] = frozenset()
    ors_ours: tuple[bytes, ...] = ()
    ors_away: tuple[bytes, ...] = ()
    ons_ours: tuple[bytes, ...] = ()
    ons_away: tuple[bytes, ...] = ()
    taken = False
    clock = now()
    signer = answers.signer

    def turn() -> None:
        nonlocal homed, delegated, ors_ours, ors_away, ons_ours, ons_away, taken, clock, signer
        clock = now()
        if signer is not answers.signer:
            signer = answers.signer
            signed.clear()
        fresh, given = prefixes.homed(), prefixes.delegated()
        if fresh is homed and given is delegated:
            return
        homed, delegated = fresh, given
        taken = all(len(label) <= _LONGEST for p in (*fresh, *given) for label in p.split(b"."))
        ors_ours, ors_away = _suffixes(fresh), _suffixes(given)
        ons_ours, ons_away = _numbers(fresh), _numbers(given)

    def learn(header: bytes, end: bytes) -> _Shape | None:
        if len(end) > LEAST_UDP:
            return None
        if len(shapes) > _MEMO:
            shapes.clear()
        found = shapes[header + end] = _shape(header, end, udp_bytes)
        return found

    def sign(key: bytes, raw: bytes, owner: bytes, zone: bytes) -> _Signed | None:
        found = names.records(key, owner)
        if found is None or signer is None:
            return None
        rrset: RRset = signer.sign(found, zone)
        octets = b"".join(
            _RR.pack(0xC00C, rrset.type, CLASS_IN, rrset.ttl, len(rdata)) + rdata
            for rdata in rrset.rdatas
        )
        count = _COUNT.pack(len(found.rdatas) + len(rrset.rdatas))
        kept = signer.kept[owner, Type.NAPTR]
        while len(signed) >= max_signed:
            del signed[next(iter(signed))]
        made = signed[key] = _Signed(raw[:8], kept.until, count, octets)
        return made

    def answer(data: bytes, get: Get, tcp: bool) -> bytes | None:
        low = data.lower()
        end = -1
        if ors_end and low.startswith(front, 12):
            end = low.find(ors_end, skip)
            key = low[skip:end]
            if end > 0:
                if not key.endswith(ors_ours) or (ors_away and key.endswith(ors_away)):
                    return None
                end += ors_size
        if end < 0:
            end = 12 + _DIGITS
            if not ons_end or not low.startswith(ons_end, end) or low[12:end:2] != _ONES:
                return None
            key = ONS_KEY + low[13:end:2][::-1]
            if not key.startswith(ons_ours) or (ons_away and key.startswith(ons_away)):
                return None
            end += ons_size
        if not taken:
            return None
        try:
            shape = shapes[data[2:12] + data[end:]]
        except KeyError:
            shape = learn(data[2:12], data[end:])
        if shape is None:
            return None
        head, numbers, opt, limit, do = shape
        raw = get(key)
        if not raw:
            return None
        try:
            seal, flags = row_of(raw)
        except StructError:
            return None
        if checksum(raw[8:]) != seal or flags & HAS_ABSOLUTE_TTL:
            return None
        count, records = raw[10:12], raw[NAPTR_HEAD_SIZE:]
        if do and signer is not None:
            made = signed.get(key)
            if made is None or made.seal != raw[:8] or made.until <= clock:
                zone = ors_end if key[:1] != ONS_KEY else ons.name if ons is not None else b""
                made = sign(key, raw, low[12:end], zone)
                if made is None:
                    return None
            count, records = made.number, records + made.octets
        reply = b"".join((data[:2], head, count, numbers, data[12 : end + 4], records, opt))
        return reply if tcp or len(reply) <= limit else None

    turn()
    return Plain(answer, turn)


def _suffixes(prefixes: Iterable[bytes]) -> tuple[bytes, ...]:
    """How the names of OIDs below these prefixes end, before the zone."""
    return tuple(wire_key(p.split(b".")) for p in prefixes if p.replace(b".", b"").isdigit())


def _numbers(prefixes: Iterable[bytes]) -> tuple[bytes, ...]:
    """How the keys of GTINs below these prefixes begin: `GS1` is all of them."""
    found = (p.split(b".") for p in prefixes)
    return tuple(
        ONS_KEY + b"".join(digits)
        for first, *digits in found
        if first == GS1 and all(len(digit) == 1 and digit.isdigit() for digit in digits)
    )
