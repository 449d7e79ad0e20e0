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
_ROW = Struct(">QH2s")  # checksum, flags, number of records
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


class _Shapes(dict[bytes, "_Shape | None"]):
    """What follows from octets 2 to 12 of a query and all behind its name; learnt when asked."""

    def __init__(self, udp_bytes: int) -> None:
        super().__init__()
        self._udp_bytes = udp_bytes

    def __missing__(self, octets: bytes) -> _Shape | None:
        header, end = octets[:10], octets[10:]
        if len(end) > LEAST_UDP:
            return None
        if len(self) > _MEMO:
            self.clear()
        found = self[octets] = _shape(header, end, self._udp_bytes)
        return found


class _Ours:
    """Which names lie here, by how their keys end (OIDs) or begin (GTINs)."""

    __slots__ = ("_delegated", "_homed", "ons", "ons_away", "ors", "ors_away", "taken")

    def __init__(self) -> None:
        self._homed: frozenset[bytes] | None = None
        self._delegated: frozenset[bytes] | None = None
        self.ors: tuple[bytes, ...] = ()
        self.ors_away: tuple[bytes, ...] = ()
        self.ons: tuple[bytes, ...] = ()
        self.ons_away: tuple[bytes, ...] = ()
        self.taken = False
        """Whether names may be told apart by their octets at all."""

    def take(self, homed: frozenset[bytes], delegated: frozenset[bytes]) -> None:
        """Take up the prefixes as they are now, where they changed."""
        if homed is self._homed and delegated is self._delegated:
            return
        self._homed, self._delegated = homed, delegated
        labels = (label for p in (*homed, *delegated) for label in p.split(b"."))
        self.taken = all(len(label) <= _LONGEST for label in labels)
        self.ors, self.ors_away = _suffixes(homed), _suffixes(delegated)
        self.ons, self.ons_away = _numbers(homed), _numbers(delegated)


class _Signatures:
    """Signed record sets by key, as they are sent."""

    __slots__ = ("_answers", "_kept", "_most", "_names", "clock", "signer")

    def __init__(self, answers: Answers, names: Names, most: int) -> None:
        self._answers = answers
        self._names = names
        self._most = most
        self._kept: dict[bytes, _Signed] = {}
        self.signer = answers.signer
        self.clock = 0.0

    def turn(self, clock: float) -> None:
        """Forget what another key signed. clock: seconds since 1970."""
        self.clock = clock
        if self.signer is not self._answers.signer:
            self.signer = self._answers.signer
            self._kept.clear()

    def of(self, key: bytes, raw: bytes, owner: bytes, zone: bytes) -> _Signed | None:
        """The records of a row with their signatures. raw: the row. zone: whose name signs."""
        made = self._kept.get(key)
        if made is None or made.seal != raw[:8] or made.until <= self.clock:
            made = self._make(key, raw, owner, zone)
        return made

    def _make(self, key: bytes, raw: bytes, owner: bytes, zone: bytes) -> _Signed | None:
        found, signer = self._names.records(key, owner), self.signer
        if found is None or signer is None:
            return None
        rrset: RRset = signer.sign(found, zone)
        octets = b"".join(
            _RR.pack(0xC00C, rrset.type, CLASS_IN, rrset.ttl, len(rdata)) + rdata
            for rdata in rrset.rdatas
        )
        count = _COUNT.pack(len(found.rdatas) + len(rrset.rdatas))
        kept = signer.kept[owner, Type.NAPTR]
        while len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        made = self._kept[key] = _Signed(raw[:8], kept.until, count, octets)
        return made


class _Ends(NamedTuple):
    """How the names of the two zones begin and end. Empty where there is no such zone.

    front: the dummy label before an OID. ors, ons: what follows a key. zone: the name of ONS.
    """

    front: bytes
    ors: bytes
    ons: bytes
    zone: bytes

    @classmethod
    def of(cls, answers: Answers) -> _Ends:
        ors = next(
            (z for z in answers.zones if isinstance(z, OrsZone) and z.prefix == ORS_PREFIX), None
        )
        ons = next((z for z in answers.zones if isinstance(z, OnsZone)), None)
        return cls(
            front=name_of([ors.dummy])[:-1] if ors is not None and ors.dummy else b"",
            ors=ors.name if ors is not None else b"",
            ons=name_of(GTIN_LABELS)[:-1] + ons.name if ons is not None else b"",
            zone=ons.name if ons is not None else b"",
        )


def plain_answers(
    answers: Answers, names: Names, *, udp_bytes: int, now: Callable[[], float], max_signed: int
) -> Plain:
    """The fast way of these zones: one closure, because calls are what costs here."""
    shapes, ours, signatures = _Shapes(udp_bytes), _Ours(), _Signatures(answers, names, max_signed)
    ends, prefixes = _Ends.of(answers), names.prefixes
    front, ors_end, ons_end = ends.front, ends.ors, ends.ons
    skip, ors_size, ons_size = 12 + len(front), len(ors_end), len(ons_end)
    # A slice that is there already costs two thirds of one that is written out.
    begin, behind, header = slice(12, skip), slice(skip, None), slice(2, 12)
    checked, told, ident = slice(8, None), slice(NAPTR_HEAD_SIZE, None), slice(0, 2)
    checksum, row_of = xxh3, _ROW.unpack_from

    def turn() -> None:
        signatures.turn(now())
        ours.take(prefixes.homed(), prefixes.delegated())

    def answer(data: bytes, get: Get, tcp: bool) -> bytes | None:
        low = data.lower()
        end = -1
        if ors_end and low[begin] == front:
            # partition() takes one argument, which costs half of find() to call.
            key, zone, _ = low[behind].partition(ors_end)
            if zone:
                if not key.endswith(ours.ors) or (ours.ors_away and key.endswith(ours.ors_away)):
                    return None
                end = skip + len(key) + ors_size
        if end < 0:
            end = 12 + _DIGITS
            if not ons_end or not low.startswith(ons_end, end) or low[12:end:2] != _ONES:
                return None
            key = ONS_KEY + low[13:end:2][::-1]
            if not key.startswith(ours.ons) or (ours.ons_away and key.startswith(ours.ons_away)):
                return None
            end += ons_size
        shape = shapes[data[header] + data[end:]]
        if shape is None or not ours.taken:
            return None
        head, numbers, opt, limit, do = shape
        raw = get(key)
        if not raw:
            return None
        try:
            seal, flags, count = row_of(raw)
        except StructError:
            return None
        if checksum(raw[checked]) != seal or flags & HAS_ABSOLUTE_TTL:
            return None
        records = raw[told]
        if do and signatures.signer is not None:
            zone = ors_end if key[:1] != ONS_KEY else ends.zone
            made = signatures.of(key, raw, low[12:end], zone)
            if made is None:
                return None
            count, records = made.number, records + made.octets
        reply = b"".join((data[ident], head, count, numbers, data[12 : end + 4], records, opt))
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
