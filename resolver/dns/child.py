"""What a child zone asks its parent to publish: CDS and CDNSKEY records (RFC 7344, RFC 8078).

Read when the parent's operator asks (`biaoshi dnssec follow`), from every name server of the
delegation, and believed only by the DS records that stand there now. A zone without them begins by
hand, and one that asks to be unsigned is told to the operator: neither can be proved this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset

from protocol.errors import InvalidValue, SignatureInvalid, UpstreamError
from resolver.dns.cuts import MOST

PORT: Final = 53
WAIT_S: Final = 5.0
_DIGESTS: Final = {2: "SHA256", 4: "SHA384"}
"""SHA-256 and SHA-384: what this node publishes."""
_IN: Final = dns.rdataclass.IN
_Keys = dict[dns.name.Name, dns.node.Node | dns.rdataset.Rdataset]
_KEY, _CDS, _CDNSKEY = dns.rdatatype.DNSKEY, dns.rdatatype.CDS, dns.rdatatype.CDNSKEY


@dataclass(frozen=True, slots=True)
class Wanted:
    """DS records as zone files write them, and when they were signed (seconds since 1970)."""

    ds: tuple[str, ...]
    signed_at: int


@dataclass(frozen=True, slots=True)
class Said:
    """What one server holds at the apex: each RRset with its signatures; None where there is none."""

    keys: tuple[dns.rrset.RRset, dns.rrset.RRset]
    cds: tuple[dns.rrset.RRset, dns.rrset.RRset] | None
    cdnskey: tuple[dns.rrset.RRset, dns.rrset.RRset] | None


def ask(zone: str, address: str, port: int = PORT, wait_s: float = WAIT_S) -> Said:
    """Ask a name server of the child over TCP. Raises UpstreamError."""
    try:
        keys = _rrset(zone, _KEY, address, port, wait_s)
        cds = _rrset(zone, _CDS, address, port, wait_s)
        cdnskey = _rrset(zone, _CDNSKEY, address, port, wait_s)
    except (dns.exception.DNSException, OSError, EOFError) as error:
        raise UpstreamError(
            f"{address} does not answer for {zone}: {type(error).__name__} {error}"
        ) from None
    if keys is None:
        raise UpstreamError(f"{address} has no signed DNSKEY records of {zone}")
    return Said(keys, cds, cdnskey)


def _rrset(
    zone: str, type_: dns.rdatatype.RdataType, address: str, port: int, wait_s: float
) -> tuple[dns.rrset.RRset, dns.rrset.RRset] | None:
    query = dns.message.make_query(zone, type_, want_dnssec=True)
    query.flags &= ~dns.flags.RD
    answer = dns.query.tcp(query, str(ip_address(address)), wait_s, port)
    if answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA:
        raise UpstreamError(f"{address} gives no answer of its own for {zone}")
    name = dns.name.from_text(zone)
    found = answer.get_rrset(answer.answer, name, _IN, type_)
    signed = answer.get_rrset(answer.answer, name, _IN, dns.rdatatype.RRSIG, type_)
    return None if found is None or signed is None else (found, signed)


def wanted(zone: str, current: Sequence[str], said: Sequence[Said], now: float) -> Wanted:
    """The DS records that the child asks for. current: those published now. said: by each server.

    Raises SignatureInvalid where it is not proved, InvalidValue where it is not to be done.
    """
    if not current:
        raise InvalidValue(
            "no DS record stands there now, by which the child's could be proved; take the first "
            "from its operator and give it with `biaoshi dnssec delegate --ds`"
        )
    found = {_one(zone, current, each, now) for each in said}
    if len({one.ds for one in found}) != 1:
        raise SignatureInvalid(
            f"the name servers of {zone} do not agree on what to publish; ask again later"
        )
    return min(found, key=lambda one: one.signed_at)


def _one(zone: str, current: Sequence[str], said: Said, now: float) -> Wanted:
    name = dns.name.from_text(zone)
    keys = _named(name, said.keys[0], current)
    _validate(*said.keys, name, keys, now)
    # RFC 7344 §4.1: signed by a key that stands in both the DNSKEY and the DS records.
    proved = [pair for pair in (said.cds, said.cdnskey) if pair is not None]
    if not proved:
        raise InvalidValue(f"{zone} has neither CDS nor CDNSKEY records: it asks for nothing")
    signed_at = min(_validate(rrset, sigs, name, keys, now) for rrset, sigs in proved)
    ds = _asked(zone, name, said)
    # What is to stand there must lead to a key that signs the child's keys now.
    _validate(*said.keys, name, _named(name, said.keys[0], ds), now)
    return Wanted(ds, signed_at)


def _asked(zone: str, name: dns.name.Name, said: Said) -> tuple[str, ...]:
    if any(
        rdata.algorithm == 0 for rrset in (said.cds, said.cdnskey) if rrset for rdata in rrset[0]
    ):
        raise InvalidValue(
            f"{zone} asks to be unsigned from now on (RFC 8078 §4); if its operator confirms it, "
            "give the delegation again without --ds"
        )
    made = None
    if said.cdnskey is not None:
        made = {str(dns.dnssec.make_ds(name, key, _DIGESTS[2])).upper() for key in said.cdnskey[0]}
    if said.cds is None:
        return tuple(sorted(made or ()))
    texts = {str(rdata).upper() for rdata in said.cds[0] if rdata.digest_type in _DIGESTS}
    of_sha256 = {text for text in texts if text.split()[2] == "2"}
    if not texts or len(texts) > MOST:
        raise InvalidValue(f"{zone} asks for {len(texts)} DS records of SHA-256 or SHA-384")
    if made is not None and of_sha256 and of_sha256 != made:
        raise InvalidValue(f"the CDS and CDNSKEY records of {zone} name different keys")
    return tuple(sorted(texts))


def _named(name: dns.name.Name, keys: dns.rrset.RRset, ds: Iterable[str]) -> _Keys:
    """The child's keys that DS records name. Raises SignatureInvalid: none."""
    digests = [dns.rdata.from_text(_IN, dns.rdatatype.DS, text) for text in ds]
    fitting = [key for key in keys if any(_fits(name, key, one) for one in digests)]
    if not fitting:
        raise SignatureInvalid(f"no key of {name} is one that the DS records name")
    made = dns.rrset.RRset(name, _IN, _KEY)
    for key in fitting:
        made.add(key, keys.ttl)
    return {name: made}


def _fits(name: dns.name.Name, key: Any, ds: Any) -> bool:
    if (dns.dnssec.key_id(key), key.algorithm) != (ds.key_tag, ds.algorithm):
        return False
    if ds.digest_type not in _DIGESTS:
        return False
    return bool(dns.dnssec.make_ds(name, key, _DIGESTS[ds.digest_type]) == ds)


def _validate(
    rrset: dns.rrset.RRset,
    signatures: dns.rrset.RRset,
    name: dns.name.Name,
    keys: _Keys,
    now: float,
) -> int:
    """When the newest signature that holds was made. Raises SignatureInvalid: none does."""
    made = []
    for one in signatures:
        try:
            if one.signer == name:
                dns.dnssec.validate_rrsig(rrset, one, keys, now=now)
                made.append(int(one.inception))
        except dns.exception.DNSException:
            continue
    if not made:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        raise SignatureInvalid(
            f"the {kind} records of {name} are not signed by a key that the DS records name"
        )
    return max(made)
