"""idis: identifiers of China's industrial Internet under 86 and 88 (industrial-identifiers §3.1).

A handle whose prefix has two or three codes of fixed widths. The suffix is the enterprise's own
and is kept to the octet; codes keep their leading zeros.
"""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.name import fold
from protocol.schemes.base import Identifier, shown
from protocol.schemes.handle import check_suffix, split_name, unspell

ISSUERS = {"86": "Handle, China", "88": "VAA"}
MAX_CHARACTERS = 255
"""Of a whole identifier, as second-level nodes accept it over HTTP."""

CODES = (("second-level code", 3, 5), ("enterprise code", 1, 128))
"""What follows the issuer: name, least and most digits. The last may be missing."""

_DIGITS = re.compile(r"[0-9]+")


def parse_codes(prefix: str) -> dict[str, str | None]:
    """`88.118.8` -> top, second, enterprise (None where the second level holds it itself)."""
    codes = prefix.split(".")
    for code in codes:
        if not _DIGITS.fullmatch(code):
            raise BadIdentifier(
                "bad-prefix-segment",
                f"{shown(code)} in prefix {shown(prefix)} is no code; "
                "write digits between dots, such as 88.118.8",
            )
    if codes[0] not in ISSUERS or not 2 <= len(codes) <= 3:
        raise BadIdentifier(
            "bad-prefix-segment",
            f"prefix {shown(prefix)} is not 86 or 88, a second-level code and an enterprise code; "
            "write it as 88.118.8, or name the scheme handle",
        )
    for code, (name, least, most) in zip(codes[1:], CODES, strict=False):
        if not least <= len(code) <= most:
            raise BadIdentifier(
                "segment-length",
                f"the {name} {shown(code)} has {len(code)} digits; it takes {least} to {most}",
            )
    return {
        "top": codes[0],
        "second": codes[1],
        "enterprise": codes[2] if len(codes) == 3 else None,
    }


def parse(text: str) -> Identifier:
    """An identifier under 86 or 88 in any spelling of a handle.

    extra: `parts`, and `index` where a value reference was given. Raises BadIdentifier.
    """
    spelling = unspell(text)
    name = spelling.name
    prefix, suffix = split_name(name)
    parts = parse_codes(prefix)
    if len(name) > MAX_CHARACTERS:
        raise BadIdentifier(
            "too-long", f"{len(name)} characters; second-level nodes take {MAX_CHARACTERS}"
        )
    check_suffix(name, suffix)
    extra: dict[str, object] = {"parts": parts}
    if spelling.index is not None:
        extra["index"] = spelling.index
    return Identifier("idis", prefix, suffix, name, fold(name.encode()), extra)
