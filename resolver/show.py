"""Values and steps for people: what `biaoshi resolve` prints.

Text that comes from the network is shown without control characters: a terminal obeys them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from protocol.errors import ParseError
from protocol.jws import parse_jws
from protocol.keys.numbers import read_public_key
from protocol.record import TTL_ABSOLUTE, HandleValue, permission_text
from protocol.signature import Claims, parse_certificate, parse_signature
from protocol.values.hs_admin import decode_admin
from protocol.values.hs_site import Transport, decode_site
from protocol.values.hs_vlist import decode_vlist
from resolver.peers import address_of

_YEAR_9999 = 253_370_764_800
_HEADS = ("INDEX", "TYPE", "TTL", "PERM", "DATA")


def table(values: Sequence[HandleValue]) -> list[str]:
    """Lines of a table: index, type, TTL, permissions, data. Data is shown whole."""
    rows = [_HEADS, *(_row(value) for value in sorted(values, key=lambda each: each.index))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def _row(value: HandleValue) -> tuple[str, str, str, str, str]:
    ttl = str(value.ttl)
    if value.ttl_type == TTL_ABSOLUTE:
        ttl = f"@{datetime.fromtimestamp(value.ttl, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return (
        str(value.index),
        printable(value.type),
        ttl,
        permission_text(value.permissions),
        data_text(value),
    )


def data_text(value: HandleValue) -> str:
    """The data of a value on one line: what its type means, else its text, else base64."""
    known = _KNOWN.get(value.type.upper())
    if known is not None:
        try:
            return known(value.data)
        except ParseError:
            pass  # shown as any other octets
    try:
        text = value.data.decode("utf-8")
    except UnicodeDecodeError:
        return f"base64 {base64.b64encode(value.data).decode()}"
    return _line(text)


def printable(octets: bytes) -> str:
    """Octets as one line of text."""
    return _line(octets.decode("utf-8", "replace"))


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _admin(data: bytes) -> str:
    admin = decode_admin(data)
    return f"{admin.index}:{printable(admin.handle)} {admin.permissions:012b}"


def _vlist(data: bytes) -> str:
    return " ".join(f"{item.index}:{printable(item.handle)}" for item in decode_vlist(data))


def _site(data: bytes) -> str:
    site = decode_site(data)
    kind = "primary" if site.primary else "mirror"
    parts = [f"{kind} {site.major}.{site.minor} serial {site.serial}"]
    for server in site.servers:
        faces = " ".join(
            f"{Transport(face.protocol).name.lower()}:{face.port}"
            for face in server.interfaces
            if face.protocol in Transport.__members__.values()
        )
        parts.append(f"server {server.server_id} {address_of(server)} {faces}")
    return "; ".join(parts)


def _key(data: bytes) -> str:
    key = read_public_key(data)
    numbers = key.named()
    size = (numbers.get("n") or numbers.get("p") or 0).bit_length()
    bits = f" {size} bits" if size else ""
    return f"{printable(key.type)}{bits}"


def _signature(data: bytes) -> str:
    jws = parse_jws(data)
    signed = parse_signature(jws)
    indexes = ", ".join(str(index) for index, _ in signed.digests)
    who = printable(signed.claims.issuer.text().encode())
    return f"{jws.algorithm.name} by {who} over values {indexes}{_until(signed.claims)}"


def _certificate(data: bytes) -> str:
    certificate = parse_certificate(data)
    subject, issuer = certificate.subject.text(), certificate.claims.issuer.text()
    perms = ", ".join(f"{p.perm} {printable(p.handle)}".strip() for p in certificate.permissions)
    told = f"{certificate.jws.algorithm.name} for {subject} by {issuer}: {perms}"
    return _line(told) + _until(certificate.claims)


def _until(claims: Claims) -> str:
    ends = claims.validity.expires
    if ends is None or not 0 <= ends < _YEAR_9999:
        return ""
    return f", until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d}"


_KNOWN = {
    b"HS_ADMIN": _admin,
    b"HS_VLIST": _vlist,
    b"HS_SITE": _site,
    b"HS_SITE.6": _site,
    b"HS_SITE.PREFIX": _site,
    b"HS_NA_DELEGATE": _site,
    b"HS_PUBKEY": _key,
    b"HS_SIGNATURE": _signature,
    b"HS_CERT": _certificate,
}


def step_lines(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hops of a question, one a line."""
    lines = []
    for number, step in enumerate(steps, start=1):
        where = " ".join(str(step[key]) for key in ("address", "transport") if step.get(key))
        told = [f"{step['node']}" + (f" ({where})" if where else ""), f"asked {step['asked']}"]
        told.append(str(step["outcome"]))
        if step.get("referral"):
            told.append(f"refers to {step['referral']}")
        if step.get("signature"):
            told.append(f"reply {step['signature']}")
        lines.append(f"{number:>2}. {step['ms']:>8.1f} ms  " + " | ".join(map(_line, told)))
    return lines
