"""GS1: GTIN, element string or Digital Link -> the one thing it names (§11.3, traceability §4, §5).

normalized is the canonical Digital Link without attributes. Formats and rules of each AI stand in
gs1_ai; EPC URNs in epc.
"""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.schemes.base import Identifier, bounded, shown
from protocol.schemes.gs1_ai import leading_ai
from protocol.schemes.gs1_checks import CHARACTERS
from protocol.schemes.gs1_elements import (
    GS,
    Element,
    check_value,
    parse_bracketed,
    parse_raw,
)
from protocol.schemes.gs1_link import DigitalLink, from_elements, parse_uri

GTIN_LENGTHS = (8, 12, 13, 14)
_URL = re.compile(r"https?://", re.IGNORECASE)
_SCANNED = re.compile(rf"\][A-Za-z][0-9]|[\^{GS}]")


def pad_gtin(digits: str) -> str:
    """GTIN-8, -12, -13 or -14 -> the 14 digits of the same item, checked. Raises BadIdentifier."""
    if not CHARACTERS["N"].fullmatch(digits):
        raise BadIdentifier("charset", f"{shown(digits)} is no GTIN; write digits 0 to 9")
    if len(digits) not in GTIN_LENGTHS:
        raise BadIdentifier(
            "length", f"{shown(digits)} has {len(digits)} digits; a GTIN has 8, 12, 13 or 14"
        )
    gtin = digits.zfill(14)
    check_value("01", gtin)
    return gtin


def parse_link(text: str) -> DigitalLink:
    """Any spelling of a GS1 key -> the Digital Link it stands for. Raises BadIdentifier."""
    bounded(text)
    if _URL.match(text):
        return parse_uri(text)
    if text.startswith("("):
        return from_elements(parse_bracketed(text), attributes_anywhere=True)
    if _SCANNED.match(text) or GS in text:
        return from_elements(parse_raw(text), attributes_anywhere=True)
    digits = CHARACTERS["N"].fullmatch(text) is not None
    if (digits and len(text) <= max(GTIN_LENGTHS)) or leading_ai(text) is None:
        return DigitalLink(Element("01", pad_gtin(text)))
    return from_elements(parse_raw(text), attributes_anywhere=True)


def identify(link: DigitalLink) -> Identifier:
    """The identifier of a Digital Link; extra: `gtin14` where the key holds a GTIN."""
    suffix = "/".join(f"{ai}:{value}" for ai, value in link.qualifiers) or None
    extra: dict[str, object] = {}
    if link.key.ai in ("01", "8006"):
        extra["gtin14"] = link.key.value[:14]
    return Identifier(
        "gs1",
        f"{link.key.ai}:{link.key.value}",
        suffix,
        link.identity,
        link.path.encode(),
        extra,
    )


def parse(text: str) -> Identifier:
    """A GS1 identifier in any spelling. Raises BadIdentifier."""
    return identify(parse_link(text))
