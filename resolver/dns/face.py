"""The DNS server of one reader without its sockets: zones from the settings, one reply a query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import structlog

from protocol.arcs import GS1
from protocol.errors import SettingsError, StoreError
from protocol.name import is_oid
from registry.log import SEQUENCE_KEY, last_sequence
from registry.store import Table
from resolver.config import DnsSettings, Settings
from resolver.dns.answer import Answers
from resolver.dns.fast import Plain, plain_answers
from resolver.dns.keys import KeyRing, load_ring, ring_stamp
from resolver.dns.message import MAX_MESSAGE, Rcode, Response, RRset, Type, compose, parse_query
from resolver.dns.signing import Signer, ds_rdata
from resolver.dns.wire_name import wire_name
from resolver.dns.zones import (
    GTIN_LABELS,
    Apex,
    GtinBranch,
    Names,
    OidBranch,
    OnsZone,
    OrsZone,
    Zone,
)
from resolver.doirp.limits import Proven
from resolver.metrics import Metrics
from resolver.node import Node
from resolver.site import announced

log = structlog.get_logger()

OUTCOME_OF: Final = {
    Rcode.NXDOMAIN: "absent",
    Rcode.REFUSED: "not_here",
    Rcode.FORMERR: "malformed",
    Rcode.NOTIMP: "malformed",
    Rcode.BADVERS & 15: "found",
}
"""Of answers without records; a code not named here counts as failed."""
_KEYS_EVERY_S = 5.0


class DnsFace:
    """One reader's DNS server."""

    def __init__(self, node: Node) -> None:
        settings = node.settings.dns
        self.node = node
        self.settings = settings
        self.names = Names(node.store, node.prefixes, node.now)
        self.answers = Answers(make_zones(node.settings, self.names))
        if not self.answers.zones:
            raise SettingsError(
                "the DNS face has no zone: set dns.ors_zone or dns.ons_zone in biaoshi.toml, "
                'or faces.dns = "off"'
            )
        self.proven = Proven(node.dir / "run" / "proven", now=node.now)
        self._stamp: object = None
        self._second = -1
        self._keys_at = 0.0
        self.plain: Plain = plain_answers(
            self.answers,
            self.names,
            udp_bytes=settings.udp_bytes,
            now=node.now,
            max_signed=settings.signatures,
        )
        self.turn()

    def turn(self) -> None:
        """Take up what changed: prefixes, the zones' serial, the keys. Once a loop turn."""
        now = self.node.now()
        if int(now) != self._second:
            self._second = int(now)
            serial = last_sequence(self.node.store.get(Table.META, SEQUENCE_KEY))
            for zone in self.answers.zones:
                zone.serial = serial
            if abs(now - self._keys_at) >= _KEYS_EVERY_S:
                self._keys_at = now
                self._take_keys()
        self.plain.turn()

    def _take_keys(self) -> None:
        """Read the key files again when they changed; wrong ones are said, the old ones stay."""
        stamp = ring_stamp(self.node.dir)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            ring = load_ring(self.node.dir)
        except SettingsError as error:
            log.error("dnssec_keys_refused", why=str(error))  # noqa: TRY400 - no trace of a slip
            return
        self.answers.signer = make_signer(ring, self.settings, self.node.now)
        for zone in self.answers.zones:
            zone.keys = key_records(ring, zone.apex)

    def reply(self, data: bytes, *, tcp: bool) -> bytes:
        """The reply to a message that is no plain question; empty: nothing is said. Never raises."""
        query = parse_query(data)
        if query is None:
            return b""
        limit = MAX_MESSAGE if tcp else min(query.limit, self.settings.udp_bytes)
        try:
            response = self.answers.respond(query)
        except StoreError as error:
            log.error("dns_failed", why=str(error))  # noqa: TRY400 - the error says where
            self.node.metrics.bad_rows.inc()
            response = Response(Rcode.SERVFAIL)
        return compose(query, response, udp_bytes=self.settings.udp_bytes, limit=limit)


def count(metrics: Metrics, face: str, reply: bytes) -> None:
    """One reply that is no plain answer, in the metrics."""
    rcode = reply[3] & 15
    if rcode == Rcode.NOERROR:
        outcome = "found" if reply[6:8] != b"\0\0" else "no_values"
    else:
        outcome = OUTCOME_OF.get(rcode, "failed")
    metrics.requests[face, outcome].inc()


@dataclass(frozen=True, slots=True)
class ZoneName:
    """A zone that the settings name. above: its labels below the tree's, for a branch."""

    text: str
    what: str
    oids: bool
    above: tuple[bytes, ...] = ()


def zone_names(dns: DnsSettings) -> list[ZoneName]:
    """The zones that the settings name, branches instead of their trees. Raises SettingsError."""
    found = [branch_zone(prefix, dns) for prefix in dns.branches]
    for tree, what, oids in (
        (dns.ors_zone, "dns.ors_zone", True),
        (dns.ons_zone, "dns.ons_zone", False),
    ):
        if tree and not any(branch.oids == oids for branch in found):
            found.append(ZoneName(tree, what, oids))
    names = [zone.text.strip(".").lower() for zone in found]
    if len(set(names)) != len(names):
        raise SettingsError(
            f"two DNS zones are both {max(names, key=names.count)!r}; give dns.ors_zone and "
            "dns.ons_zone different names"
        )
    return found


def branch_zone(prefix: str, dns: DnsSettings) -> ZoneName:
    """The zone of a prefix below a tree that is set. Raises SettingsError."""
    first, *digits = prefix.upper().encode().split(b".")
    if is_oid(prefix.encode()) and dns.ors_zone:
        labels = tuple(reversed(prefix.encode().split(b".")))
        return ZoneName(f"{_dotted(labels)}.{dns.ors_zone}", "dns.branches", True, labels)
    if (
        first == GS1
        and digits
        and all(d.isdigit() and len(d) == 1 for d in digits)
        and dns.ons_zone
    ):
        labels = (*reversed(digits), *GTIN_LABELS)
        return ZoneName(f"{_dotted(labels)}.{dns.ons_zone}", "dns.branches", False, labels)
    raise SettingsError(
        f"dns.branches: {prefix!r} is no branch of a tree that is set; "
        "write OID arcs such as 2.999.5, or GS1 and digits such as GS1.9.5.0.6"
    )


def _dotted(labels: Sequence[bytes]) -> str:
    return b".".join(labels).decode()


def make_zones(settings: Settings, names: Names) -> list[Zone]:
    """The zones that the settings name. Raises SettingsError."""
    dns = settings.dns
    dummy = dns.ors_dummy.lower().encode()
    if not all(octet in _LABEL for octet in dummy) or len(dummy) > 63:
        raise SettingsError(f"dns.ors_dummy = {dns.ors_dummy!r} is no label; write ors-dummy")
    prefix = dns.ors_prefix.encode()
    if not prefix.isascii() or len(prefix) > 32:
        raise SettingsError(f"dns.ors_prefix = {dns.ors_prefix!r} is no prefix; write ORS+")
    zones: list[Zone] = []
    for named in zone_names(dns):
        apex, above = make_apex(named.text, named.what, settings), named.above
        if named.oids:
            kind = OidBranch if above else OrsZone
            zones.append(kind(apex, names, above, dummy=dummy, prefix=prefix))
        else:
            zones.append((GtinBranch if above else OnsZone)(apex, names, above))
    return zones


_LABEL = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


def make_apex(zone: str, what: str, settings: Settings) -> Apex:
    """A zone's own records, from the settings. Raises SettingsError."""
    dns = settings.dns
    name = wire_name(zone, what)
    servers = tuple(wire_name(server, "dns.ns") for server in dns.ns) or (b"\x02ns" + name,)
    addresses = tuple(ip_address(host).packed for host in announced(settings))
    return Apex(
        name,
        servers,
        addresses if not dns.ns else (),
        _mailbox(dns.hostmaster, name),
        dns.ttl,
        dns.negative_ttl,
    )


def _mailbox(address: str, zone: bytes) -> bytes:
    """A mail address as the SOA writes it: what is before the @ is one label (RFC 1035 §8)."""
    if not address:
        return b"\x0ahostmaster" + zone
    local, at, domain = address.rpartition("@")
    label = local.lower().encode()
    if not at or not 0 < len(label) < 64:
        raise SettingsError(f"dns.hostmaster = {address!r} is no mail address; write dns@HOST")
    return bytes((len(label),)) + label + wire_name(domain, "dns.hostmaster")


def make_signer(
    ring: KeyRing | None, settings: DnsSettings, now: Callable[[], float]
) -> Signer | None:
    """Who signs; None where there are no keys."""
    if ring is None:
        return None
    return Signer(
        ring.active.key,
        [entry.key for entry in ring.signing_keys],
        now=now,
        hold_s=settings.signature_days * 86_400,
        max_kept=settings.signatures,
    )


def key_records(ring: KeyRing | None, apex: Apex) -> tuple[RRset, ...]:
    """DNSKEY, and the CDS and CDNSKEY records that tell the parent which keys it should name."""
    if ring is None:
        return ()
    keys = tuple(sorted(entry.key.rdata for entry in ring.published))
    wanted = ring.wanted.key
    return (
        RRset(apex.name, Type.DNSKEY, apex.ttl, keys),
        RRset(apex.name, Type.CDS, apex.ttl, (ds_rdata(apex.name, wanted),)),
        RRset(apex.name, Type.CDNSKEY, apex.ttl, (wanted.rdata,)),
    )
