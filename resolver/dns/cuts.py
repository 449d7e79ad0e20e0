"""Where a zone ends: the name servers and keys of arcs that were given to another node.

The operator of the zone writes them down with `biaoshi dnssec delegate`; they lie with the
prefix's row (attribute `dns`) as zone files write them, so that they outlive a change of site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from protocol.errors import BiaoshiError, InvalidValue
from resolver.dns.message import RRset, Type
from resolver.dns.wire_name import wire_name

ATTRIBUTE: Final = "dns"
MOST: Final = 16
"""Name servers, addresses of one, and DS records of a delegation."""
_DIGESTS: Final[Mapping[int, int]] = {2: 32, 4: 48}
"""Octets of a DS digest by its type: SHA-256 and SHA-384 (RFC 8624 §3.3)."""


def parse_server(text: str) -> tuple[bytes, tuple[bytes, ...]]:
    """`ns.example.org 192.0.2.7 2001:db8::7`: the name in wire form, the packed addresses.

    Raises InvalidValue.
    """
    name, *addresses = text.split() or [""]
    try:
        packed = tuple(ip_address(address).packed for address in addresses)
        wire = wire_name(name, "the name server")
    except (ValueError, BiaoshiError) as error:
        raise InvalidValue(
            f"{text!r} is no name server ({error}); write NAME [ADDRESS …]"
        ) from None
    if len(packed) > MOST:
        raise InvalidValue(f"{name} has {len(packed)} addresses; {MOST} are the most")
    return wire, packed


def parse_ds(text: str) -> bytes:
    """`12345 13 2 ABCD…` as RDATA. Raises InvalidValue."""
    words = text.split()
    try:
        tag, algorithm, kind = map(int, words[:3])
        digest = bytes.fromhex("".join(words[3:]))
        head = tag.to_bytes(2, "big") + bytes((algorithm, kind))
    except (ValueError, OverflowError):
        raise InvalidValue(
            f"{text!r} is no DS record; write TAG ALGORITHM 2 DIGEST, as `biaoshi dnssec ds` does"
        ) from None
    if len(digest) != _DIGESTS.get(kind):
        raise InvalidValue(f"the digest of {text!r} is neither SHA-256 (type 2) nor SHA-384 (4)")
    return head + digest


def format_ds(text: str) -> str:
    """A DS record in one spelling. Raises InvalidValue."""
    rdata = parse_ds(text)
    tag = int.from_bytes(rdata[:2], "big")
    return f"{tag} {rdata[2]} {rdata[3]} {rdata[4:].hex().upper()}"


def cut_records(
    attributes: Mapping[str, Any], owner: bytes, ttl: int
) -> tuple[RRset, RRset | None, tuple[RRset, ...]] | None:
    """NS, DS and addresses of a delegation; None where its operator named no server.

    owner: the name of the cut. Raises InvalidValue for a row that was not written by us.
    """
    said = attributes.get(ATTRIBUTE)
    if not isinstance(said, Mapping) or not said.get("ns"):
        return None
    servers = [parse_server(text) for text in _texts(said.get("ns"))]
    wanted = tuple(sorted({parse_ds(text) for text in _texts(said.get("ds"))}))
    ns = RRset(owner, Type.NS, ttl, tuple(sorted({name for name, _ in servers})))
    ds = RRset(owner, Type.DS, ttl, wanted) if wanted else None
    return ns, ds, tuple(_glue(servers, ttl))


def _texts(found: Any) -> Sequence[str]:
    if not isinstance(found, list | tuple | None):
        raise InvalidValue("the DNS servers of a prefix's row are no list")
    return [str(text) for text in (found or ())[:MOST]]


def _glue(servers: Sequence[tuple[bytes, tuple[bytes, ...]]], ttl: int) -> list[RRset]:
    made = []
    for name, addresses in dict(servers).items():
        for type_, size in ((Type.A, 4), (Type.AAAA, 16)):
            rdatas = tuple(address for address in addresses if len(address) == size)
            if rdatas:
                made.append(RRset(name, type_, ttl, rdatas))
    return made
