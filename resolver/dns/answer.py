"""From a query to a response (RFC 1034 §4.3.2, RFC 2308, RFC 6672, RFC 8482, RFC 9824).

The one general way; plain questions have a shorter one with the same octets
(resolver.dns.fast). Nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from resolver.dns.message import (
    CLASS_IN,
    MAX_NAME,
    Query,
    Rcode,
    Response,
    RRset,
    Type,
    labels_of,
)
from resolver.dns.signing import Signer, denial
from resolver.dns.zones import Away, Place, Redirect, Zone

MAX_REDIRECTS = 4
"""DNAMEs followed for one answer: none of ours leads to more than two others."""
YXDOMAIN = 6
_TRANSFERS = frozenset((Type.AXFR, Type.IXFR))
_NEVER_ASKED = frozenset((Type.OPT, Type.NXNAME))
"""RFC 6895 §3.1, RFC 9824 §3.5."""
_NO_QUESTIONS = frozenset((Type.TKEY, Type.TSIG, Type.MAILA, Type.MAILB))


@dataclass
class Answers:
    """Answers queries about some zones. signer: None where they are not signed."""

    zones: Sequence[Zone]
    signer: Signer | None = None
    _by_name: dict[bytes, Zone] = field(init=False)

    def __post_init__(self) -> None:
        self._by_name = {zone.name: zone for zone in self.zones}

    def respond(self, query: Query) -> Response:
        """The response to a query. Raises RowDamaged."""
        if query.rcode:
            return Response(query.rcode)
        if query.type in _NEVER_ASKED:
            return Response(Rcode.FORMERR)
        if query.type in _NO_QUESTIONS:
            return Response(Rcode.NOTIMP)
        zone = self.zone_of(query.name)
        if zone is None or query.klass != CLASS_IN or query.type in _TRANSFERS:
            return Response(Rcode.REFUSED)
        response = Response(authoritative=True)
        self._fill(response, query, zone)
        return response

    def zone_of(self, name: bytes) -> Zone | None:
        """The zone that a name lies in."""
        at = 0
        while True:
            zone = self._by_name.get(name[at:])
            if zone is not None or not name[at]:
                return zone
            at += name[at] + 1

    def _fill(self, response: Response, query: Query, zone: Zone) -> None:
        """Follow the name through the zone and put down what is found."""
        name, signed = query.name, query.do and self.signer is not None
        for _ in range(MAX_REDIRECTS):
            found = zone.find(labels_of(name)[: -len(labels_of(zone.name))])
            if isinstance(found, Redirect):
                self._add(response.answer, found.dname, zone, signed)
                if len(found.target) > MAX_NAME:
                    response.rcode = YXDOMAIN
                    return
                response.answer.append(RRset(name, Type.CNAME, found.dname.ttl, (found.target,)))
                if query.type == Type.CNAME:
                    return
                name = found.target
                continue
            if isinstance(found, Away):
                self._away(response, query, zone, name, found, signed)
                return
            if found is None:
                self._absent(response, query, zone, name, signed)
            else:
                self._place(response, query, zone, name, found, signed)
            return

    def _away(
        self, response: Response, query: Query, zone: Zone, name: bytes, away: Away, signed: bool
    ) -> None:
        """A referral to the servers of the zone below (RFC 1034 §4.2.1, RFC 4035 §3.1.4)."""
        if away.ns is None:
            response.rcode, response.authoritative = Rcode.REFUSED, False
            response.answer.clear()
            return
        cut = away.ns.owner
        if query.type == Type.DS and name == cut:
            # What is above the cut is this zone's own word.
            rrsets = (away.ns, away.ds) if away.ds is not None else (away.ns,)
            self._place(response, query, zone, name, Place(rrsets), signed)
            return
        response.authoritative = bool(response.answer)
        response.authority.append(away.ns)
        if away.ds is not None:
            if query.do:
                self._add(response.authority, away.ds, zone, signed)
        elif signed and self.signer is not None:
            nsec = denial(cut, [Type.NS], zone.apex.negative_ttl)
            response.authority += (nsec, self.signer.sign(nsec, zone.name, keep=False))
        response.additional += away.glue

    def _place(
        self, response: Response, query: Query, zone: Zone, name: bytes, place: Place, signed: bool
    ) -> None:
        """The records of a name: those asked for, or that there are none."""
        chosen: RRset | None
        if query.type == Type.ANY:
            chosen = place.rrsets[0] if place.rrsets else None  # RFC 8482 §4.1
        elif query.type == Type.RRSIG and self.signer is not None and place.rrsets:
            response.answer.append(self.signer.sign(place.rrsets[0], zone.name))
            return
        else:
            chosen = place.of(query.type)
        if chosen is not None:
            self._add(response.answer, chosen, zone, signed)
            return
        self._soa(response, zone, signed)
        if signed:
            types = [rrset.type for rrset in place.rrsets]
            self._deny(response, query, zone, name, types)

    def _absent(
        self, response: Response, query: Query, zone: Zone, name: bytes, signed: bool
    ) -> None:
        """No such name. Where it is proved, NOERROR unless the client takes both (RFC 9824 §5)."""
        self._soa(response, zone, signed)
        response.rcode = Rcode.NXDOMAIN
        if signed:
            if not query.compact:
                response.rcode = Rcode.NOERROR
            self._deny(response, query, zone, name, [Type.NXNAME])

    def _deny(
        self, response: Response, query: Query, zone: Zone, name: bytes, types: Sequence[int]
    ) -> None:
        assert self.signer is not None  # noqa: S101 - callers ask for signed answers only
        ttl = zone.apex.negative_ttl
        nsec = denial(name, types, ttl)
        asked = query.type == Type.NSEC
        section = response.answer if asked else response.authority
        if asked:
            response.authority.clear()
            response.rcode = Rcode.NOERROR
        section.append(nsec)
        section.append(self.signer.sign(nsec, zone.name, keep=False))

    def _soa(self, response: Response, zone: Zone, signed: bool) -> None:
        self._add(response.authority, zone.apex.soa(zone.serial), zone, signed)

    def _add(self, section: list[RRset], rrset: RRset, zone: Zone, signed: bool) -> None:
        section.append(rrset)
        if signed and self.signer is not None:
            section.append(self.signer.sign(rrset, zone.name))
