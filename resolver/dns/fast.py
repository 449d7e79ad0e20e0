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

    answer: (message, whether it came over TCP) -> reply, or None. turn: to be called before the
    first answer of a loop turn.
    """

    answer: Callable[[bytes, bool], bytes | None]
    turn: Callable[[], None]


class _Tail(NamedTuple):
    """What follows from the octets after a name: type, class and OPT."""

    limit: int
    do: bool
    additional: bytes  # number of authority and additional records
    opt: bytes


class _Signed(NamedTuple):
    """Signatures as they are sent. seal: checksum of the row. number: of records with them."""

    seal: bytes
    until: float
    number: bytes
    octets: bytes


def _head(octets: bytes) -> bytes | None:
    """Flags and number of questions of the reply to a query with these; None: not taken."""
    if octets[0] & 0xFE or octets[2:8] != b"\0\1\0\0" + b"\0\0" or octets[8:] > b"\0\1":
        return None  # a response, another operation, truncated, or with other records
    return bytes((0x84 | octets[0] & 1, 0, 0, 1))


def _tail(octets: bytes, extra: bytes, udp_bytes: int) -> _Tail | None:
    """None unless a NAPTR question of class IN, with one good OPT record of version 0 or none."""
    probe = b"\0\0\0\0\0\1\0\0\0\0" + extra + b"\0" + octets
    query = parse_query(probe)
    if query is None or query.rcode or query.type != Type.NAPTR or query.klass != CLASS_IN:
        return None
    if not query.edns:
        return _Tail(LEAST_UDP, False, bytes(4), b"") if extra == b"\0\0" else None
    opt = opt_record(udp_bytes, 0, query.do)
    return _Tail(min(query.limit, udp_bytes), query.do, b"\0\0\0\1", opt)


def plain_answers(  # noqa: PLR0915 - one closure, because calls are what costs here
    answers: Answers, names: Names, *, udp_bytes: int, now: Callable[[], float], max_signed: int
) -> Plain:
    """The fast way of these zones."""
    heads: dict[bytes, bytes | None] = {}
    tails: dict[tuple[bytes, bytes], _Tail | None] = {}
    signed: dict[bytes, _Signed] = {}
    get, checksum, row_of = names.get, xxh3, _ROW.unpack_from
    ors = next(
        (z for z in answers.zones if isinstance(z, OrsZone) and z.prefix == ORS_PREFIX), None
    )
    ons = next((z for z in answers.zones if isinstance(z, OnsZone)), None)
    front = name_of([ors.dummy])[:-1] if ors is not None and ors.dummy else b""
    skip = 12 + len(front)
    ors_end = ors.name if ors is not None else b""
    ons_end = name_of(GTIN_LABELS)[:-1] + ons.name if ons is not None else b""
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

    def learn_head(octets: bytes) -> bytes | None:
        if len(heads) > _MEMO:
            heads.clear()
        found = heads[octets] = _head(octets)
        return found

    def learn_tail(pair: tuple[bytes, bytes]) -> _Tail | None:
        if len(pair[0]) > LEAST_UDP:
            return None
        if len(tails) > _MEMO:
            tails.clear()
        found = tails[pair] = _tail(*pair, udp_bytes)
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

    def answer(data: bytes, tcp: bool) -> bytes | None:
        low = data.lower()
        end = -1
        if ors_end and low.startswith(front, 12):
            end = low.find(ors_end, skip)
            key = low[skip:end]
            if end > 0:
                if not key.endswith(ors_ours) or (ors_away and key.endswith(ors_away)):
                    return None
                end += len(ors_end)
        if end < 0:
            end = 12 + _DIGITS
            if not ons_end or not low.startswith(ons_end, end) or low[12:end:2] != _ONES:
                return None
            key = ONS_KEY + low[13:end:2][::-1]
            if not key.startswith(ons_ours) or (ons_away and key.startswith(ons_away)):
                return None
            end += len(ons_end)
        if not taken:
            return None
        try:
            head = heads[data[2:12]]
        except KeyError:
            head = learn_head(data[2:12])
        pair = (data[end:], data[10:12])
        try:
            tail = tails[pair]
        except KeyError:
            tail = learn_tail(pair)
        if head is None or tail is None:
            return None
        raw = get(key)
        if not raw:
            return None
        try:
            seal, flags = row_of(raw)
        except StructError:
            return None
        if checksum(raw[8:]) != seal or flags & HAS_ABSOLUTE_TTL:
            return None
        count, signatures = raw[10:12], b""
        if tail.do and signer is not None:
            made = signed.get(key)
            if made is None or made.seal != raw[:8] or made.until <= clock:
                zone = ors_end if key[:1] != ONS_KEY else ons.name if ons is not None else b""
                made = sign(key, raw, low[12:end], zone)
                if made is None:
                    return None
            count, signatures = made.number, made.octets
        reply = b"".join(
            (
                data[:2],
                head,
                count,
                tail.additional,
                data[12 : end + 4],
                raw[NAPTR_HEAD_SIZE:],
                signatures,
                tail.opt,
            )
        )
        return reply if tcp or len(reply) <= tail.limit else None

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
