"""A zone as a zone file, for other servers and for checks: every name, signed where wanted."""

from __future__ import annotations

import itertools
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address
from struct import Struct
from time import gmtime, strftime
from typing import Final

from protocol.naptr import INDEX_KEY, ONS_KEY
from protocol.naptr_records import Naptr, format_domain, format_naptr
from protocol.schemes.oid import LABELS, LONG_ARCS
from resolver.dns.keys import KeyRing
from resolver.dns.message import RRset, Type, labels_of, name_end
from resolver.dns.signing import EARLIER_S, signature, type_bitmap
from resolver.dns.zones import GTIN_LABELS, Gtins, Oids, OrsZone, Place, Zone

_SOA = Struct(">IIIII")
_RRSIG = Struct(">HBBIIIH")


def zone_rrsets(zone: Zone) -> Iterator[RRset]:
    """Every RRset of a zone, its own first. Raises RowDamaged."""
    apex = zone.find(())
    if isinstance(apex, Place):
        yield from apex.rrsets
    server = zone.apex.servers[0]
    if server.endswith(zone.name) and zone.apex.addresses:
        yield from zone.apex.server_addresses(server).rrsets
    if isinstance(zone, OrsZone):
        yield from _dnames(zone)
    for labels in _names(zone):
        found = zone.find(labels)
        if isinstance(found, Place):
            yield from found.rrsets
    for cut in zone.cuts():
        if cut.ns is not None:
            yield cut.ns
        if cut.ds is not None:
            yield cut.ds
        yield from cut.glue


def _dnames(zone: OrsZone) -> Iterator[RRset]:
    for arcs, labels in LABELS.items():
        known = [*labels, *(LONG_ARCS if not arcs else ())]
        for label in dict.fromkeys(known):
            path = [label.encode(), *(arc.encode() for arc in reversed(arcs))]
            found = zone.find(path)
            if isinstance(found, Place):
                yield from found.rrsets


def _names(zone: Zone) -> Iterator[list[bytes]]:
    """The names of the store's records below a zone."""
    size = len(zone.above)
    for key, _ in zone.names.scan():
        if key[:1] == INDEX_KEY:
            continue
        labels: list[bytes] = []
        if key[:1] == ONS_KEY:
            if isinstance(zone, Gtins):
                labels = [bytes((digit,)) for digit in reversed(key[1:])] + list(GTIN_LABELS)
        elif isinstance(zone, Oids):
            labels = ([zone.dummy] if zone.dummy else []) + labels_of(key + b"\0")
        if len(labels) > size and tuple(labels[len(labels) - size :]) == zone.above:
            yield labels[: len(labels) - size]


def zone_lines(zone: Zone) -> Iterator[str]:
    """The zone file, unsigned."""
    for rrset in zone_rrsets(zone):
        yield from rrset_lines(rrset)


def signed_lines(zone: Zone, ring: KeyRing, now_s: int, hold_s: int) -> Iterator[str]:
    """The zone file in canonical order with RRSIG and a chain of NSEC records (RFC 4034)."""
    by_owner: dict[bytes, list[RRset]] = {}
    cuts = tuple(cut.ns.owner for cut in zone.cuts() if cut.ns is not None)
    for rrset in zone_rrsets(zone):
        if rrset.owner not in cuts and rrset.owner.endswith(cuts):
            yield from rrset_lines(rrset)  # addresses of servers below a cut: not of this zone
        elif rrset.owner.endswith(zone.name):
            by_owner.setdefault(rrset.owner, []).append(rrset)
    owners = sorted(by_owner, key=lambda name: labels_of(name)[::-1])
    start, end = now_s - EARLIER_S, now_s + hold_s
    for owner, following in zip(owners, itertools.chain(owners[1:], owners[:1]), strict=True):
        rrsets = by_owner[owner]
        types = sorted({*(rrset.type for rrset in rrsets), Type.RRSIG, Type.NSEC})
        nsec = RRset(owner, Type.NSEC, zone.apex.negative_ttl, (following + type_bitmap(types),))
        for rrset in (*rrsets, nsec):
            if rrset.type == Type.NS and owner in cuts:
                yield from rrset_lines(rrset)  # the word of the zone below (RFC 4035 §2.2)
                continue
            own = rrset.type in {Type.DNSKEY, Type.CDS, Type.CDNSKEY}
            keys = ring.signing_keys if own else (ring.active,)
            made = tuple(signature(rrset, zone.name, entry.key, start, end) for entry in keys)
            yield from rrset_lines(rrset)
            yield from rrset_lines(RRset(owner, Type.RRSIG, rrset.ttl, made))


def rrset_lines(rrset: RRset) -> Iterable[str]:
    """An RRset as lines of a zone file."""
    name = format_domain(rrset.owner)
    type_ = Type(rrset.type).name
    for rdata in rrset.rdatas:
        yield f"{name} {rrset.ttl} IN {type_} {_TEXT[rrset.type](rdata)}"


def _soa(rdata: bytes) -> str:
    first = name_end(rdata, 0)
    second = name_end(rdata, first)
    numbers = " ".join(map(str, _SOA.unpack_from(rdata, second)))
    return f"{format_domain(rdata)} {format_domain(rdata[first:])} {numbers}"


def _key(rdata: bytes) -> str:
    return (
        f"{int.from_bytes(rdata[:2], 'big')} {rdata[2]} {rdata[3]} {b64encode(rdata[4:]).decode()}"
    )


def _ds(rdata: bytes) -> str:
    return f"{int.from_bytes(rdata[:2], 'big')} {rdata[2]} {rdata[3]} {rdata[4:].hex().upper()}"


def _rrsig(rdata: bytes) -> str:
    type_, algorithm, labels, ttl, end, start, tag = _RRSIG.unpack_from(rdata)
    name = name_end(rdata, _RRSIG.size)
    signer, octets = format_domain(rdata[_RRSIG.size :]), b64encode(rdata[name:]).decode()
    times = " ".join(strftime("%Y%m%d%H%M%S", gmtime(when)) for when in (end, start))
    return f"{Type(type_).name} {algorithm} {labels} {ttl} {times} {tag} {signer} {octets}"


def _nsec(rdata: bytes) -> str:
    at = name_end(rdata, 0)
    types = []
    while at < len(rdata):
        window, size = rdata[at], rdata[at + 1]
        for place, octet in enumerate(rdata[at + 2 : at + 2 + size]):
            types += [window << 8 | place << 3 | bit for bit in range(8) if octet & 0x80 >> bit]
        at += 2 + size
    return " ".join((format_domain(rdata), *(Type(type_).name for type_ in types)))


def _naptr(rdata: bytes) -> str:
    strings, at = [], 4
    for _ in range(3):
        strings.append(rdata[at + 1 : at + 1 + rdata[at]])
        at += 1 + rdata[at]
    order, preference = int.from_bytes(rdata[:2], "big"), int.from_bytes(rdata[2:4], "big")
    flags, service, regexp = strings
    return format_naptr(Naptr(order, preference, flags, service, regexp, rdata[at:]))


def _address(rdata: bytes) -> str:
    return str(ip_address(rdata))


_TEXT: Final[Mapping[int, Callable[[bytes], str]]] = {
    Type.A: _address,
    Type.AAAA: _address,
    Type.NS: format_domain,
    Type.DNAME: format_domain,
    Type.CNAME: format_domain,
    Type.SOA: _soa,
    Type.NAPTR: _naptr,
    Type.DNSKEY: _key,
    Type.CDNSKEY: _key,
    Type.DS: _ds,
    Type.CDS: _ds,
    Type.RRSIG: _rrsig,
    Type.NSEC: _nsec,
}
