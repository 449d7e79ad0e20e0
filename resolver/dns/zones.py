"""What stands where in the two zones: the ORS tree of OIDs and the ONS tree of GTINs.

A zone has a few records of its own (SOA, NS, their addresses, DNSSEC keys, the DNAMEs that lead
from a label such as `iso` to its number) and those of the store, which are looked up when asked.
Names are labels below the zone, the leftmost first, lower case.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from xxhash import xxh3_64_intdigest

from protocol.arcs import GS1
from protocol.errors import InvalidValue
from protocol.name import is_oid
from protocol.naptr import ONS_KEY, index_key, wire_key
from protocol.naptr_records import ORS_PREFIX
from protocol.schemes.oid import LABELS, LONG_ARCS
from registry.prefixes import Prefixes
from registry.store import Store, Table
from registry.store.row import GIVEN, HAS_ABSOLUTE_TTL, NAPTR_HEAD, NAPTR_HEAD_SIZE, RowDamaged
from resolver.dns.cuts import cut_records
from resolver.dns.message import RRset, Type, labels_of, name_of

_RR = Struct(">HHHIH")
_U8_AT = Struct(">Q").unpack_from
_SOA = Struct(">IIIII")
REFRESH_S: Final = 3_600
RETRY_S: Final = 600
EXPIRE_S: Final = 1_209_600
GTIN_LABELS: Final = (b"gtin", b"gs1", b"id")
_GTIN_DIGITS: Final = 13


@dataclass(frozen=True, slots=True)
class Place:
    """What is at a name: its records; none where there is only something below it."""

    rrsets: tuple[RRset, ...] = ()

    def of(self, type_: int) -> RRset | None:
        return next((rrset for rrset in self.rrsets if rrset.type == type_), None)


@dataclass(frozen=True, slots=True)
class Redirect:
    """A DNAME above the name asked for. target: the name that is meant."""

    dname: RRset
    target: bytes


@dataclass(frozen=True, slots=True)
class Away:
    """The name belongs to a node that an arc or a company's numbers were delegated to.

    ns, ds, glue: as the operator gave them (resolver.dns.cuts); without ns, DNS does not lead there.
    """

    ns: RRset | None = None
    ds: RRset | None = None
    glue: tuple[RRset, ...] = ()


Found = Place | Redirect | Away | None
"""None: there is no such name."""


class Names:
    """The store's part of the zones. now: seconds since 1970."""

    def __init__(self, store: Store, prefixes: Prefixes, now: Callable[[], float]) -> None:
        self.get = store.getter(Table.NAPTR)
        self.prefixes = prefixes
        self._store = store
        self._now = now

    def records(self, key: bytes, owner: bytes, prefix: bytes = ORS_PREFIX) -> RRset | None:
        """The NAPTR records under a key of the NAPTR table. Raises RowDamaged.

        prefix: before the ORS service types of records that were made, not given.
        """
        raw = self.get(key)
        if not raw:
            return None
        if len(raw) < NAPTR_HEAD_SIZE or xxh3_64_intdigest(raw[8:]) != _U8_AT(raw)[0]:
            raise RowDamaged(f"the NAPTR row of {key!r} does not match its checksum")
        _, flags, count, time_s = NAPTR_HEAD.unpack_from(raw)
        rdatas, at, ttl = [], NAPTR_HEAD_SIZE, 0
        for _ in range(count):
            _, _, _, ttl, size = _RR.unpack_from(raw, at)
            at += _RR.size
            rdatas.append(raw[at : at + size])
            at += size
        if flags & HAS_ABSOLUTE_TTL:
            ttl = max(0, ttl - max(0, int(self._now()) - time_s))
        if not flags & GIVEN and prefix != ORS_PREFIX:
            rdatas = [_renamed(rdata, prefix) for rdata in rdatas]
        return RRset(owner, Type.NAPTR, ttl, tuple(rdatas))

    @contextmanager
    def turn(self) -> Iterator[Callable[[bytes], bytes | None]]:
        """One state of the NAPTR table for one turn of a loop, as get()."""
        with self._store.snapshot() as state:
            yield state.getter(Table.NAPTR)

    def away(self, prefix: bytes, owner: bytes, ttl: int) -> Away:
        """Where a prefix went that was given to another node. owner: its name in the zone."""
        row = self.prefixes.get(prefix)
        try:
            found = cut_records(row.attributes, owner, ttl) if row is not None else None
        except InvalidValue as error:
            raise RowDamaged(f"the row of prefix {prefix!r}: {error}") from None
        return Away(*found) if found is not None else Away()

    def given_below(self, prefix: bytes) -> bool:
        """Whether an arc below this one was given to another node."""
        return any(each.startswith(prefix + b".") for each in self.prefixes.delegated())

    def any_from(self, start: bytes, stop: bytes) -> bool:
        """Whether the NAPTR table has a key between these two."""
        with self._store.snapshot() as state:
            return next(state.scan(Table.NAPTR, start, stop, 1), None) is not None

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row of the NAPTR table, for an export."""
        with self._store.snapshot() as state:
            yield from state.scan(Table.NAPTR)


def _renamed(rdata: bytes, prefix: bytes) -> bytes:
    """A made record with another prefix before its service type."""
    at = 5 + rdata[4]
    service = rdata[at + 1 : at + 1 + rdata[at]]
    if not service.startswith(ORS_PREFIX):
        return rdata
    named = prefix + service[len(ORS_PREFIX) :]
    return b"".join((rdata[:at], bytes((len(named),)), named, rdata[at + 1 + rdata[at] :]))


@dataclass(frozen=True, slots=True)
class Apex:
    """What a zone's own records are made of. names and addresses of its servers."""

    name: bytes
    servers: tuple[bytes, ...]
    addresses: tuple[bytes, ...]
    hostmaster: bytes
    ttl: int
    negative_ttl: int

    def soa(self, serial: int) -> RRset:
        """The SOA; its TTL is that of negative answers (RFC 2308 §3)."""
        numbers = _SOA.pack(serial & 0xFFFFFFFF, REFRESH_S, RETRY_S, EXPIRE_S, self.negative_ttl)
        rdata = self.servers[0] + self.hostmaster + numbers
        return RRset(self.name, Type.SOA, min(self.ttl, self.negative_ttl), (rdata,))

    def ns(self) -> RRset:
        return RRset(self.name, Type.NS, self.ttl, tuple(sorted(self.servers)))

    def server_addresses(self, owner: bytes) -> Place:
        """A and AAAA records of the server whose name lies in the zone."""
        made = []
        for type_, size in ((Type.A, 4), (Type.AAAA, 16)):
            rdatas = tuple(address for address in self.addresses if len(address) == size)
            if rdatas:
                made.append(RRset(owner, type_, self.ttl, rdatas))
        return Place(tuple(made))


@dataclass
class Zone(ABC):
    """A zone of this node. serial, keys: as they are now, set by who answers.

    above: labels between the zone and the tree it is a branch of; none where it is the whole tree.
    """

    apex: Apex
    names: Names
    above: tuple[bytes, ...] = ()
    serial: int = 1
    keys: tuple[RRset, ...] = ()
    """DNSKEY, CDS and CDNSKEY records at the apex; none where the zone is not signed."""
    _server: list[bytes] = field(init=False)
    _tree: bytes = field(init=False)

    def __post_init__(self) -> None:
        inside = [name for name in self.apex.servers if name.endswith(self.apex.name)]
        self._server = labels_of(inside[0])[: -len(labels_of(self.apex.name))] if inside else []
        self._tree = name_of(labels_of(self.apex.name)[len(self.above) :])

    @property
    def name(self) -> bytes:
        return self.apex.name

    def find(self, labels: Sequence[bytes]) -> Found:
        """What is at a name below the zone. Raises RowDamaged."""
        if not labels:
            return Place((self.apex.soa(self.serial), self.apex.ns(), *self.keys))
        whole = [*labels, *self.above]
        if self._server and list(labels) == self._server and self.apex.addresses:
            return self.apex.server_addresses(self.owner(whole))
        return self.look(whole)

    @abstractmethod
    def look(self, labels: Sequence[bytes]) -> Found:
        """What is at a name that the store knows of. labels: below the tree."""

    @abstractmethod
    def cuts(self) -> Iterator[Away]:
        """Every delegation in the zone that DNS leads on to."""

    def owner(self, labels: Sequence[bytes]) -> bytes:
        """The whole name of labels below the tree."""
        return name_of(labels)[:-1] + self._tree


@dataclass
class Oids(Zone):
    """OIDs: `ors-dummy.501.3001.156.2.1.TREE` (industrial-identifiers §10.2)."""

    dummy: bytes = b""
    prefix: bytes = ORS_PREFIX

    def look(self, labels: Sequence[bytes]) -> Found:
        redirect = self._redirect(labels)
        if redirect is not None:
            return redirect
        arcs = list(labels)
        leaf = not self.dummy
        if self.dummy and arcs[0] == self.dummy:
            arcs, leaf = arcs[1:], True
        if not arcs:
            return None
        served, at = _nearest(self.names.prefixes, arcs)
        if served is None:
            return self._away(arcs[at:])
        if leaf and served:
            found = self.names.records(wire_key(arcs[::-1]), self.owner(labels), self.prefix)
            if found is not None:
                return Place((found,))
        if leaf and self.dummy:
            return None
        return Place() if self._something(arcs) else None

    def _redirect(self, labels: Sequence[bytes]) -> Found:
        """The DNAME at or above a name: from a label whose number is known to that number."""
        if self.above:
            return None  # such labels are further up
        arcs: tuple[str, ...] = ()
        for at in range(len(labels) - 1, -1, -1):
            label = labels[at].decode("latin-1")
            target = dname_target(arcs, label)
            if target is not None:
                owner = self.owner(labels[at:])
                meant = self.owner([arc.encode() for arc in reversed(target)])
                dname = RRset(owner, Type.DNAME, self.apex.ttl, (meant,))
                if at == 0:
                    return Place((dname,))
                return Redirect(dname, name_of(labels[:at])[:-1] + meant)
            arcs = (*arcs, label)
            if arcs not in LABELS:
                return None
        return None

    def _away(self, arcs: Sequence[bytes]) -> Away:
        """The delegation of some arcs, leaf first."""
        return self.names.away(b".".join(reversed(arcs)), self.owner(arcs), self.apex.ttl)

    def cuts(self) -> Iterator[Away]:
        above = list(self.above)
        for prefix in sorted(self.names.prefixes.delegated()):
            arcs = prefix.split(b".")[::-1]
            below = len(arcs) > len(above) and arcs[len(arcs) - len(above) :] == above
            if below and is_oid(prefix) and _nearest(self.names.prefixes, arcs[1:])[0]:
                found = self._away(arcs)
                if found.ns is not None:
                    yield found

    def _something(self, arcs: Sequence[bytes]) -> bool:
        """Whether there is a record at or below these arcs, or a DNAME below them."""
        path = tuple(arc.decode("latin-1") for arc in reversed(arcs))
        if path in LABELS:
            return True
        if any(b"." in arc for arc in arcs):
            return False
        start = index_key(arcs[::-1])
        if self.names.any_from(start, start[:-1] + b"/"):
            return True
        return self.names.given_below(b".".join(reversed(arcs)))


class OrsZone(Oids):
    """The whole tree of OIDs."""


class OidBranch(Oids):
    """The OIDs below some arcs, whose parent zone lies at another node."""


def _nearest(prefixes: Prefixes, arcs: Sequence[bytes]) -> tuple[bool | None, int]:
    """Whether arcs, the leaf first, are homed here; None when they were given away.

    With it, where in them the prefix begins that says so.
    """
    homed, delegated = prefixes.homed(), prefixes.delegated()
    for at in range(len(arcs)):
        above = b".".join(reversed(arcs[at:]))
        if above in homed:
            return True, at
        if above in delegated:
            return None, at
    return False, len(arcs)


def dname_target(arcs: tuple[str, ...], label: str) -> tuple[str, ...] | None:
    """The arcs that a label stands for below these arcs; None for one that stands for none."""
    number = LABELS.get(arcs, {}).get(label)
    if number is not None:
        return (*arcs, number)
    if not arcs and label in LONG_ARCS:
        return ("2", LONG_ARCS[label])
    return None


class Gtins(Zone):
    """GTINs: `5.3.4.3.1.0.0.0.6.0.5.9.0.gtin.gs1.id.TREE` (§11.3)."""

    def look(self, labels: Sequence[bytes]) -> Found:
        fixed, digits = labels[-3:], labels[:-3]
        if tuple(fixed) != GTIN_LABELS[-len(fixed) :]:
            return None
        if not digits:
            return Place()
        if len(digits) > _GTIN_DIGITS or not all(len(d) == 1 and d.isdigit() for d in digits):
            return None
        whole = len(digits) == _GTIN_DIGITS
        company = digits[1:] if whole else digits  # the first label of a GTIN is its indicator
        served, at = _nearest(self.names.prefixes, [*company, GS1])
        if served is None:
            return self._away(company[at:])
        key = ONS_KEY + b"".join(reversed(digits))
        if not whole:
            below = self.names.any_from(key, key + b":")
            given = self.names.given_below(b".".join((GS1, *reversed(digits))))
            return Place() if below or given else None
        found = self.names.records(key, self.owner(labels)) if served else None
        return Place((found,)) if found is not None else None

    def _away(self, digits: Sequence[bytes]) -> Away:
        prefix = b".".join((GS1, *reversed(digits)))
        return self.names.away(prefix, self.owner([*digits, *GTIN_LABELS]), self.apex.ttl)

    def cuts(self) -> Iterator[Away]:
        above = list(self.above[:-3])
        for prefix in sorted(self.names.prefixes.delegated()):
            first, *digits = prefix.split(b".")
            digits.reverse()
            below = len(digits) > len(above) and digits[len(digits) - len(above) :] == above
            if first == GS1 and below and _nearest(self.names.prefixes, [*digits[1:], GS1])[0]:
                found = self._away(digits)
                if found.ns is not None:
                    yield found


class OnsZone(Gtins):
    """The whole tree of GTINs."""


class GtinBranch(Gtins):
    """The GTINs of some company numbers, whose parent zone lies at another node."""
