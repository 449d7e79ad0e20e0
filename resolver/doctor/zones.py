"""The DNS face and its zones, asked as a resolver asks: authority, signatures, and what was given away.

No site record names this face; its port and its zones are known from the node's folder.
"""

from __future__ import annotations

import asyncio
import time

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from protocol.errors import BiaoshiError
from registry.prefixes import Prefixes
from registry.store.lmdb_store import LmdbStore
from resolver.config import Settings
from resolver.dns.cuts import ATTRIBUTE
from resolver.dns.face import branch_zone, zone_names
from resolver.dns.keys import KeyRing, load_ring
from resolver.doctor.findings import Report
from resolver.doctor.patient import Patient

_WAIT_S = 3.0
_MOST = 20
"""Delegations that are looked at."""
_SOA, _RRSIG, _KEY = dns.rdatatype.SOA, dns.rdatatype.RRSIG, dns.rdatatype.DNSKEY
_IN = dns.rdataclass.IN


async def check_dns(report: Report, patient: Patient, *, child_port: int = 53) -> None:
    """The DNS face. child_port: where the name servers of delegated arcs listen."""
    settings, folder = patient.settings, patient.folder
    if settings is None or folder is None:
        report.skipped("dns", "whether there is a DNS face is only known from the node's folder")
        return
    port = (patient.state or {}).get("dns") or settings.faces.dns
    if not port:
        return
    try:
        zones, ring = [each.text for each in zone_names(settings.dns)], load_ring(folder)
    except BiaoshiError as error:
        report.fault("dns", str(error), "mend [dns] of biaoshi.toml, or restore the key files")
        return
    for host in settings.node.hosts:
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        for tcp in (False, True):
            where = f"{shown} port {port} over {'TCP' if tcp else 'UDP'}"
            for zone in zones:
                await check_zone(report, zone, (shown, port, tcp), where, ring)
    await _check_children(report, patient, settings, child_port)


async def check_zone(
    report: Report, zone: str, at: tuple[str, int, bool], where: str, ring: KeyRing | None
) -> None:
    """One zone at one address, port and transport (over TCP)."""
    try:
        answer = await asyncio.to_thread(ask_soa, zone, *at)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        text = f"{where}: {error or type(error).__name__}"
        report.fault("dns", text, "see the node's log; is the port taken, or closed by a firewall?")
        return
    name = dns.name.from_text(zone)
    soa = answer.get_rrset(answer.answer, name, _IN, _SOA)
    if soa is None or not answer.flags & dns.flags.AA:
        said = dns.rcode.to_text(answer.rcode())
        mend = "restart the node with the zones of its settings; another server may have the port"
        report.fault("dns", f"{where} has no authority for {zone} ({said})", mend)
        return
    signed = answer.get_rrset(answer.answer, name, _IN, _RRSIG, _SOA)
    report.ok("dns", f"{where} answers for {zone}, serial {soa[0].serial}")
    if not at[2]:
        _check_signature(report, zone, soa, signed, ring)


def _check_signature(
    report: Report,
    zone: str,
    soa: dns.rrset.RRset,
    signed: dns.rrset.RRset | None,
    ring: KeyRing | None,
) -> None:
    """The signature of the SOA, by the keys in the folder and the clock of now."""
    if ring is None:
        mend = (
            "`biaoshi dnssec keys --make`, then give the parent zone what `biaoshi dnssec ds` says"
        )
        report.warn("dnssec", f"{zone} is not signed", mend)
        return
    if signed is None:
        mend = "restart the node; its log says why the keys were not taken (dnssec_keys_refused)"
        report.fault("dnssec", f"{zone} has keys and is answered unsigned", mend)
        return
    keys = dns.rrset.from_rdata_list(
        soa.name,
        soa.ttl,
        [
            dns.rdata.from_wire(_IN, _KEY, entry.key.rdata, 0, len(entry.key.rdata))
            for entry in ring.published
        ],
    )
    try:
        dns.dnssec.validate(soa, signed, {soa.name: keys})
    except dns.exception.DNSException as error:
        report.fault("dnssec", f"{zone}: {error}", _mend_signature(signed))
        return
    left = (max(each.expiration for each in signed) - time.time()) / 86_400
    report.ok("dnssec", f"{zone} is signed by key {ring.active.key.tag}, {left:.0f} days left")


def _mend_signature(signed: dns.rrset.RRset) -> str:
    now = time.time()
    if all(each.expiration < now or each.inception > now for each in signed):
        return "the signature is not of this time: set the clock of the node, then restart it"
    return "the key is not one of the folder: restart the node, or restore keys/dnssec*"


async def _check_children(
    report: Report, patient: Patient, settings: Settings, child_port: int
) -> None:
    """Whether the name servers of arcs that were given away answer for them."""
    if patient.folder is None:
        return
    store = LmdbStore.open(patient.folder / "store", readonly=True)
    try:
        rows = [row for row in Prefixes(store).rows() if row.attributes.get(ATTRIBUTE)]
    finally:
        store.close()
    for row in rows[:_MOST]:
        prefix = row.prefix.decode()
        zone = branch_zone(prefix, settings.dns).text
        servers = [text.split() for text in row.attributes[ATTRIBUTE].get("ns", ())]
        for address in (address for _, *addresses in servers for address in addresses):
            await check_child(report, prefix, zone, address, child_port)


async def check_child(report: Report, prefix: str, zone: str, address: str, port: int) -> None:
    """One name server of an arc that was given away."""
    mend = f"ask its operator, or give the servers anew: `biaoshi dnssec delegate {prefix}`"
    try:
        answer = await asyncio.to_thread(ask_soa, zone, address, port)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        report.warn("dns", f"lame: {address} does not answer for {zone}: {error}", mend)
        return
    if answer.flags & dns.flags.AA:
        report.ok("dns", f"{address} answers for {zone}, which was given away")
    else:
        said = dns.rcode.to_text(answer.rcode())
        report.warn("dns", f"lame: {address} has no authority for {zone} ({said})", mend)


def ask_soa(zone: str, host: str, port: int, tcp: bool = False) -> dns.message.Message:
    """The answer about a zone's SOA. Raises OSError, EOFError, DNSException."""
    query = dns.message.make_query(zone, _SOA, want_dnssec=True)
    query.flags &= ~dns.flags.RD
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, host, _WAIT_S, port)
