"""DID: decentralized identifiers; did:cn and did:bid in their own shape (§11.2, W3C DID core).

A DID URL (path, query or fragment) names a part of a document and is refused.
"""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.schemes.base import MAX_HANDLE_BYTES, Identifier, bounded, shown

_METHOD = re.compile(r"[a-z0-9]+")
_SPECIFIC = re.compile(r"(?:[A-Za-z0-9._:\-]|%[0-9A-Fa-f]{2})*(?:[A-Za-z0-9._\-]|%[0-9A-Fa-f]{2})")
_DIGITS = re.compile(r"[0-9]+")
_CN_DOMAIN = re.compile(r"[A-Za-z0-9\-]{1,63}:[0-9A-Fa-f]{64}")
_BID = re.compile(r"(?:[A-Za-z0-9]{4}:)?[A-Za-z0-9]{22,42}|[A-Za-z0-9]{4}:?")
CN_CODES = (("issuer code", 2, 2), ("industry code", 3, 5), ("enterprise code", 1, 128))
"""The codes of a prefix holder's did:cn: name, least and most digits; the last may be missing."""


def _check_cn(specific: str) -> None:
    """The codes of a prefix, or a domain label and a SHA-256."""
    if _CN_DOMAIN.fullmatch(specific):
        return
    codes = specific.split(".")
    if not 2 <= len(codes) <= 3 or not all(map(_DIGITS.fullmatch, codes)):
        raise BadIdentifier(
            "structure",
            f"did:cn takes the codes of a prefix, as did:cn:88.100.1: {shown(specific)}",
        )
    for code, (name, least, most) in zip(codes, CN_CODES, strict=False):
        if not least <= len(code) <= most:
            takes = str(least) if least == most else f"{least} to {most}"
            raise BadIdentifier(
                "segment-length",
                f"the {name} {shown(code)} has {len(code)} digits; it takes {takes}",
            )


def _check_bid(specific: str) -> None:
    """An optional chain code of four characters and an address of 22 to 42."""
    if not _BID.fullmatch(specific):
        raise BadIdentifier(
            "structure",
            f"did:bid takes an address of 22 to 42 letters and digits: {shown(specific)}",
        )


METHODS = {"cn": _check_cn, "bid": _check_bid}
"""Methods whose identifiers have a shape of their own."""


def parse(text: str) -> Identifier:
    """A DID as written; nothing folds. prefix: `did:` and the method."""
    if not bounded(text).startswith("did:"):
        raise BadIdentifier("bad-scheme", f"{shown(text)} does not begin with did: in lower case")
    method, colon, specific = text[4:].partition(":")
    if not colon or not _METHOD.fullmatch(method):
        raise BadIdentifier(
            "structure", f"{shown(text)} names no method; write did:method:identifier"
        )
    if not _SPECIFIC.fullmatch(specific) or len(text) > MAX_HANDLE_BYTES:
        raise BadIdentifier(
            "structure",
            f"{shown(specific)} is no identifier of did:{method}; write letters, digits and . - _ :",
        )
    METHODS.get(method, lambda _: None)(specific)
    return Identifier("did", f"did:{method}", specific, text, text.encode())
