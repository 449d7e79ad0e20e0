"""VAA: the carrier form of an identifier, ANSI MH10.8.2 data identifier 15N (§11.1).

Fixed-width codes and a serial of few characters. The way to an 88. identifier and back is not
settled (padded and unpadded codes differ there), so none is made here.
"""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.schemes.base import Identifier, bounded, shown

AGENCY = "VAA"
DATA_IDENTIFIER = "15N"
FIELDS = (("top", 3), ("second", 3), ("company", 8))
"""The numeric fields after the agency code, with their digits."""

MAX_SERIAL = 33
_DIGITS_BEFORE_SERIAL = sum(width for _, width in FIELDS)
_NUMERIC = re.compile(r"[0-9]*")
_SERIAL = re.compile(r"[A-Za-z0-9*+\-./()!]*")


def parse(text: str) -> Identifier:
    """With or without the data identifier. extra: `top`, `second`, `company`."""
    rest = bounded(text).removeprefix(DATA_IDENTIFIER)
    if not rest.startswith(AGENCY):
        raise BadIdentifier("structure", f"{shown(text)} does not begin with 15NVAA or VAA")
    digits = rest[len(AGENCY) : len(AGENCY) + _DIGITS_BEFORE_SERIAL]
    serial = rest[len(AGENCY) + _DIGITS_BEFORE_SERIAL :]
    if not _NUMERIC.fullmatch(digits):
        raise BadIdentifier(
            "charset", f"{shown(digits)} after VAA is not {_DIGITS_BEFORE_SERIAL} digits 0 to 9"
        )
    if len(digits) < _DIGITS_BEFORE_SERIAL:
        raise BadIdentifier(
            "length",
            f"{len(digits)} digits after VAA in {shown(text)}; write 3 + 3 + 8, padded with zeros",
        )
    if not serial:
        raise BadIdentifier("empty-suffix", f"no serial after the 14 digits of {shown(text)}")
    if len(serial) > MAX_SERIAL:
        raise BadIdentifier(
            "length", f"the serial has {len(serial)} characters; it takes {MAX_SERIAL}"
        )
    if not _SERIAL.fullmatch(serial):
        raise BadIdentifier(
            "charset", f"the serial {shown(serial)} takes letters, digits and * + - . / ( ) !"
        )
    extra: dict[str, object] = {}
    at = 0
    for name, width in FIELDS:
        extra[name] = digits[at : at + width]
        at += width
    return Identifier("vaa", AGENCY + digits, serial, rest, rest.encode(), extra)
