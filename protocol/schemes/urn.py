"""URN: any namespace, and UUIDs in their own shape (RFC 8141, RFC 9562; §11.6).

`urn:oid:` and `urn:epc:` have schemes of their own when none is named.
"""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.schemes.base import MAX_HANDLE_BYTES, Identifier, bounded, shown

_NID = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]{0,30}[A-Za-z0-9]")
_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_NSS = re.compile(rf"{_PCHAR}(?:{_PCHAR}|/)*")
_COMPONENTS = re.compile(r"(?:\?\+[^#]*?)?(?:\?=[^#]*)?(?:#.*)?", re.DOTALL)
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse(text: str) -> Identifier:
    """r-, q- and f-components are left out: they do not name (RFC 8141 §3.1)."""
    scheme, colon, rest = bounded(text).partition(":")
    if scheme.lower() != "urn" or not colon:
        raise BadIdentifier("bad-scheme", f"{shown(text)} does not begin with urn:")
    nid, colon, rest = rest.partition(":")
    if not _NID.fullmatch(nid):
        raise BadIdentifier(
            "nid", f"namespace {shown(nid)}: write 2 to 32 letters, digits and inner hyphens"
        )
    end = next((at for at, char in enumerate(rest) if char in "?#"), len(rest))
    nss = rest[:end]
    if not _NSS.fullmatch(nss) or len(text) > MAX_HANDLE_BYTES:
        raise BadIdentifier(
            "nss", f"{shown(nss)} is no name below urn:{nid}:; escape other characters as %XX"
        )
    if not _COMPONENTS.fullmatch(rest[end:]):
        raise BadIdentifier(
            "nss", f"{shown(rest[end:])}: write ?+ or ?= for a component, or %3F for the character"
        )
    nid = nid.lower()
    nss = _ESCAPE.sub(lambda escape: escape[0].upper(), nss)
    if nid == "uuid":
        if not _UUID.fullmatch(nss):
            raise BadIdentifier(
                "structure", f"{shown(nss)} is no UUID; write 8-4-4-4-12 hex digits"
            )
        nss = nss.lower()
    normalized = f"urn:{nid}:{nss}"
    return Identifier("urn", nid, nss, normalized, normalized.encode())
