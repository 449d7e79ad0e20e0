"""MA: IDcode, the identifiers of ISO/IEC 15459 agency "MA" (industrial-identifiers §11.4).

Only the structure is checked: the check characters belong to the registry's own service.
"""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.schemes.base import Identifier, bounded, shown

MAX_CHARACTERS = 255
_HEAD = re.compile(r"MA\.[0-9]{3}\.M[0-9]+\.[0-9]{6}")
_DI = re.compile(r"[A-Za-z0-9]+")
_PI = re.compile(r"[SMPLDEV][!-\-0-~]+|C[!-\-0-~]")
_SHAPE = "MA.156.M0.100204.13351764, then segments such as .Sx00008.M220117.C3"


def parse(text: str) -> Identifier:
    """Four segments of the holder, the device identifier, production segments."""
    segments = bounded(text).split(".")
    head = ".".join(segments[:4])
    if len(segments) < 5 or not _HEAD.fullmatch(head):
        raise BadIdentifier("structure", f"{shown(text)} is no MA code; write {_SHAPE}")
    if len(text) > MAX_CHARACTERS:
        raise BadIdentifier(
            "too-long", f"{len(text)} characters; an MA code here has at most {MAX_CHARACTERS}"
        )
    if not _DI.fullmatch(segments[4]):
        raise BadIdentifier(
            "structure", f"device identifier {shown(segments[4])}: write letters and digits"
        )
    for at, segment in enumerate(segments[5:], start=5):
        if not _PI.fullmatch(segment) or (segment[0] == "C" and at != len(segments) - 1):
            raise BadIdentifier(
                "structure",
                f"segment {shown(segment)}: write one of S M P L D E V and its value, "
                "or last of all C and one check character",
            )
    return Identifier("ma", head, ".".join(segments[4:]), text, text.encode())
