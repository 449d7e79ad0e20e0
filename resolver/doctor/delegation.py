"""What the parent says of the node: its prefix record there, its site, key and signature chain."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from protocol.errors import BiaoshiError, ResponseCode, UpstreamError
from protocol.keys import PublicKey, decode_public_key, encode_public_key
from protocol.name import prefix_record
from protocol.record import TTL_ABSOLUTE, HandleValue
from protocol.values.hs_site import Site, Transport
from resolver.ask import Finding as Found
from resolver.ask import Wanted, ask_server, open_book, walk
from resolver.doctor.findings import Report
from resolver.doctor.patient import Patient, open_client
from resolver.keyfiles import read_public_keys
from resolver.peers import SITE_TYPES, sites_in
from resolver.roots import parse_sources

_LONGEST_TTL_S = 172_800
_SHORT_TTL_S = 60
_NAME_ROOT = "mend `recursion.roots`, or `recursion.root_keys` where the key is another one"
_ENROL = "apply with `biaoshi prefix request`, and have the parent approve it"


async def own_sites(patient: Patient, prefix: bytes, site: Site) -> list[Site]:
    """The site that the node gives of itself, and those of its prefix record: the IPv6 one too."""
    found = [site]
    if prefix:
        with suppress(BiaoshiError):  # a node that is not home yet has no record to give
            record = await ask_server(Wanted(prefix_record(prefix)), patient.url, (), ())
            own = {server.public_key for server in site.servers}
            for each in (v for s in sites_in(record.values, SITE_TYPES) for v in s.variants):
                known = _places([each]) <= _places(found)
                if not known and {server.public_key for server in each.servers} == own:
                    found.append(each)
    return found


async def check_roots(report: Report, patient: Patient) -> None:
    """Whether a node that resolves for others reaches its roots, and believes their keys."""
    settings, folder = patient.settings, patient.folder
    if settings is None or folder is None or not settings.recursion.enabled:
        return
    if not settings.recursion.roots and not settings.node.parent:
        report.fault("roots", "the node resolves for others and has no root", _NAME_ROOT)
        return
    for address in settings.recursion.roots or (settings.node.parent,):
        keys = tuple(key for path in patient.root_keys for key in read_public_keys(path))
        guard, client = open_client()
        book = open_book(address, guard, client, keys)
        try:
            root = await book.for_zone(parse_sources(address)[0].zone)
        except BiaoshiError as error:
            report.fault("roots", str(error), _NAME_ROOT)
        else:
            count = len(root.sites) if root is not None else 0
            report.ok("roots", f"{address} answers with {count} site and a key that is trusted")
        finally:
            await book.close()
    if not settings.recursion.root_keys:
        text = "the root's key is the one it showed first"
        report.warn("roots", text, "pin it: `recursion.root_keys` with the root's public key")


async def check_delegation(
    report: Report, patient: Patient, prefix: bytes, sites: Sequence[Site]
) -> None:
    """The prefix record at the parent against the node itself, and the chain above it."""
    record = prefix_record(prefix)
    if not patient.parent:
        report.skipped(
            "delegation", "no parent is known: the node stands alone", "else give --parent URL"
        )
    else:
        values = await _at_parent(report, patient, record)
        if values:
            _compare(report, values, sites)
            _check_ttls(report, values)
    await _check_chain(report, patient, record)


async def _at_parent(report: Report, patient: Patient, record: bytes) -> tuple[HandleValue, ...]:
    try:
        found = await ask_server(Wanted(record), patient.parent, (), ())
    except BiaoshiError as error:
        report.fault("delegation", f"the parent does not answer: {error}", "ask its operator")
        return ()
    shown = record.decode("utf-8", "replace")
    if found.code != ResponseCode.SUCCESS:
        text = f"the parent {patient.parent} has no {shown}: {found.code.name}"
        report.fault("delegation", text, _ENROL)
        return ()
    if not sites_in(found.values, SITE_TYPES):
        report.fault("delegation", f"{shown} at the parent names no site", _ENROL)
        return ()
    return found.values


def _compare(report: Report, values: Sequence[HandleValue], sites: Sequence[Site]) -> None:
    """The sites that the parent publishes against those that answer."""
    published = [each for found in sites_in(values, SITE_TYPES) for each in found.variants]
    mend = "the node tells its parent at its next start; if not: `biaoshi prefix request`"
    keys = {server.public_key for each in published for server in each.servers}
    own = {server.public_key for site in sites for server in site.servers}
    if {_normal(key) for key in own} <= {_normal(key) for key in keys}:
        report.ok("delegation", "the parent publishes the site's key")
    else:
        text = "the parent publishes another key than the node has: every answer is refused"
        report.fault("delegation", text, mend)
    here, there = _places(sites), _places(published)
    if here <= there:
        report.ok("delegation", "the parent publishes the addresses and ports in use")
        return
    missing = ", ".join(sorted(map(_shown, here - there)))
    state = report.fault if not here & there else report.warn
    state("delegation", f"the parent does not publish {missing}", mend)


def _normal(key: bytes) -> bytes:
    return encode_public_key(decode_public_key(key)) if key else b""


def _places(sites: Sequence[Site]) -> set[tuple[str, int, int]]:
    return {
        (server.ip, face.protocol, face.port)
        for site in sites
        for server in site.servers
        for face in server.interfaces
    }


def _shown(place: tuple[str, int, int]) -> str:
    address, protocol, port = place
    return f"{address}:{port} {Transport(protocol).name}"


def _check_ttls(report: Report, values: Sequence[HandleValue]) -> None:
    odd = [
        value
        for value in values
        if value.ttl_type == TTL_ABSOLUTE or not _SHORT_TTL_S <= value.ttl <= _LONGEST_TTL_S
    ]
    if odd:
        told = ", ".join(f"{value.index}: {value.ttl}" for value in odd[:5])
        report.warn(
            "ttl",
            f"values of the prefix record with an absolute, very short or very long TTL ({told})",
            f"{_SHORT_TTL_S} to {_LONGEST_TTL_S} s serve best; the usual one is 86400",
        )
    else:
        report.ok("ttl", "the TTLs of the prefix record are usual")


async def _check_chain(report: Report, patient: Patient, record: bytes) -> None:
    """From the root on down, as a resolver comes: the way, and every signature on it."""
    root = patient.root or (str(patient.folder) if patient.folder and not patient.parent else "")
    if not root:
        report.skipped("chain", "no root is known", "give --root URL (and --root-key FILE)")
        return
    keys: tuple[PublicKey, ...] = ()
    try:
        keys = tuple(key for path in patient.root_keys for key in read_public_keys(path))
        found = await walk(Wanted(record, verify=True), root, keys)
    except (BiaoshiError, UpstreamError) as error:
        report.fault("chain", str(error), "mend --root, or ask the operator of the root")
        return
    _tell_chain(report, found, record)


def _tell_chain(report: Report, found: Found, record: bytes) -> None:
    shown = record.decode("utf-8", "replace")
    if found.code == ResponseCode.SUCCESS:
        report.ok("chain", f"{shown} from the root on down: {found.verification}")
        return
    if found.code == ResponseCode.INVALID_CREDENTIAL:
        mend = "the parent signs it anew with `biaoshi prefix approve`; compare --root-key"
    elif found.code == ResponseCode.HANDLE_NOT_FOUND:
        mend = _ENROL
    else:
        mend = "see each hop with `biaoshi resolve --root … --steps`"
    report.fault("chain", f"{shown} from the root: {found.code.name} {found.message}", mend)
