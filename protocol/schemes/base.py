"""What every scheme gives back, and the rules of characters they share.

An Identifier is made only by the `parse` of a scheme, so it holds no half-valid value. Which
schemes there are, and how one is recognised, is the business of protocol.identifier.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

from protocol.errors import BadIdentifier

MAX_TEXT = 16_384
"""Characters of one input; a longer one is refused before anything looks at it."""

MAX_HANDLE_BYTES = 2048
"""Octets of an identifier on the wire (industrial-identifiers §3.1)."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """One identifier in the one spelling that counts.

    prefix: what selects the responsible node. suffix: what that node tells apart below it, None
    where the key stands alone. normalized: parses to this same identifier. key: store key
    (ARCHITECTURE §10). extra: further facts of the scheme, named as `biaoshi id --json` names
    them. carried: the handle where it is not the normalized form.
    """

    scheme: str
    prefix: str
    suffix: str | None
    normalized: str
    key: bytes
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    carried: bytes = b""

    @property
    def handle(self) -> bytes:
        """The name under which it travels over DO-IRP: its normalized form, UTF-8."""
        return self.carried or self.normalized.encode()


def shown(text: str) -> str:
    """A value for a message: quoted, escaped, at most about 60 characters."""
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "…"


def bounded(text: str) -> str:
    """The text, unless it is empty or above MAX_TEXT."""
    if not text:
        raise BadIdentifier("empty", "nothing was given; write the identifier")
    if len(text) > MAX_TEXT:
        raise BadIdentifier(
            "too-long", f"{len(text)} characters; no identifier is above {MAX_TEXT}: {shown(text)}"
        )
    return text


_GRAPHIC = re.compile(r"[!-~]*")
_ALLOWED = "LMNPS"


def check_characters(text: str, part: str) -> None:
    """Printable and without blanks: ASCII graphics, and letters, marks, numbers, punctuation and
    symbols beyond (industrial-identifiers §3.1); then Unicode form C.

    part: how the message names the text, such as "suffix".
    """
    if _GRAPHIC.fullmatch(text):
        return
    for at, char in enumerate(text):
        category = unicodedata.category(char)
        if char != " " and category[0] in _ALLOWED:
            continue
        where = f"U+{ord(char):04X} at character {at + 1} of the {part} {shown(text)}"
        if category[0] == "Z":
            raise BadIdentifier("whitespace", f"white space {where}; remove it")
        if category in ("Cc", "Cf"):
            raise BadIdentifier("control-char", f"invisible character {where}; remove it")
        raise BadIdentifier("charset", f"no assigned printable character: {where}; remove it")
    if not unicodedata.is_normalized("NFC", text):
        raise BadIdentifier(
            "not-nfc",
            f"the {part} {shown(text)} is not in Unicode form C; "
            f"register {shown(unicodedata.normalize('NFC', text))}",
        )


def check_ascii_digits(text: str, part: str) -> None:
    """Refuse digits of other scripts, which str.isdigit() and int() let through."""
    if text.isascii():
        return
    for char in text:
        if not char.isascii() and unicodedata.category(char)[0] == "N":
            raise BadIdentifier(
                "non-ascii-digit",
                f"U+{ord(char):04X} in the {part} {shown(text)} is no ASCII digit; write 0 to 9",
            )


_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


def check_escapes(text: str) -> None:
    """Each percent sign begins an escape. Raises BadIdentifier `bad-percent-encoding`."""
    bad = _BAD_ESCAPE.search(text)
    if bad:
        raise BadIdentifier(
            "bad-percent-encoding",
            f"{text[bad.start() : bad.start() + 3]!r} in {shown(text)} is no escape; "
            "write %25 for a percent sign",
        )


def percent_decode(text: str) -> str:
    """Undo percent-encoding once, as UTF-8. Raises BadIdentifier `bad-percent-encoding`."""
    if "%" not in text:
        return text
    check_escapes(text)
    try:
        return _ESCAPES.sub(
            lambda run: bytes.fromhex(run[0].replace("%", "")).decode("utf-8"), text
        )
    except UnicodeDecodeError:
        raise BadIdentifier(
            "bad-percent-encoding", f"the escapes of {shown(text)} are not UTF-8; encode it anew"
        ) from None


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an http or https URL, still percent-encoded. host: lower case, no port."""

    host: str
    path: str
    query: str
    fragment: str


_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_HOST = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[^\x00-\x20\x7f\[\]:@%\\]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?"
)


def _is_address(host: str) -> bool:
    """Whether what stands in brackets is an IPv6 address; True for any other host."""
    if not host.startswith("["):
        return True
    try:
        IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def split_url(text: str) -> Url | None:
    """The parts of an http(s) URL; None for text that is none. User information is refused."""
    match = _URL.fullmatch(text)
    if match is None:
        return None
    host = _HOST.fullmatch(match["authority"])
    if host is None or not _is_address(host["host"]):
        raise BadIdentifier(
            "structure", f"{shown(match['authority'])} is no host of a URL; write host or host:port"
        )
    return Url(
        host["host"].lower(), match["path"] or "/", match["query"] or "", match["fragment"] or ""
    )
