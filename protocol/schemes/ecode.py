"""Ecode: version, coding-system number (NSI) and main code (GB/T 31866; §11.5).

The widths are from memory of the standard, so this is a shape and no more, and an Ecode is only
read where the scheme is named, by the caller or by `ecode:` before it. That is also how one
travels and is stored: its digits alone would be a prefix.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocol.errors import BadIdentifier
from protocol.schemes.base import Identifier, bounded, check_characters, shown


class Version(NamedTuple):
    """NSI digits, most characters of the main code, and what it may hold (None: any printable)."""

    nsi_digits: int
    most: int
    characters: re.Pattern[str] | None


VERSIONS = {
    "1": Version(4, 20, re.compile(r"[0-9]*")),
    "2": Version(4, 28, re.compile(r"[0-9]*")),
    "3": Version(5, 39, re.compile(r"[0-9A-Za-z]*")),
    "4": Version(5, 255, None),
}
_DIGITS = re.compile(r"[0-9]*")
SPELLED = "ecode:"


def parse(text: str) -> Identifier:
    """prefix: `version:NSI`. suffix: the main code."""
    text = bounded(text).removeprefix(SPELLED)
    version = VERSIONS.get(text[:1])
    if version is None:
        raise BadIdentifier(
            "structure", f"{shown(text)} begins with no Ecode version ({', '.join(VERSIONS)})"
        )
    nsi, main = text[1 : 1 + version.nsi_digits], text[1 + version.nsi_digits :]
    if not _DIGITS.fullmatch(nsi):
        raise BadIdentifier("charset", f"coding-system number {shown(nsi)}: write digits")
    if len(nsi) < version.nsi_digits:
        raise BadIdentifier(
            "length", f"coding-system number {shown(nsi)} is below {version.nsi_digits} digits"
        )
    if not main:
        raise BadIdentifier("empty-suffix", f"no main code after {shown(text)}")
    if len(main) > version.most:
        raise BadIdentifier(
            "length", f"main code of {len(main)} characters; version {text[0]} takes {version.most}"
        )
    if version.characters is None:
        check_characters(main, "main code")
    elif not version.characters.fullmatch(main):
        raise BadIdentifier("charset", f"main code {shown(main)} is out of version {text[0]}'s set")
    key = (SPELLED + text).encode()
    return Identifier("ecode", f"{text[0]}:{nsi}", main, text, key, carried=key)
