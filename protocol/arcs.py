"""Which prefixes an OID or a GS1 key lies under: delegation arc by arc (ARCHITECTURE §10).

An OID lies under its own arcs. A GS1 key lies under the digits of its company prefix, each an arc
below `GS1`; how many of them make the company is the business of who delegates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from protocol.errors import BadIdentifier
from protocol.identifier import key_of
from protocol.name import is_oid
from protocol.naptr import known_arcs
from protocol.schemes import oid

GS1: Final = b"GS1"
_KEY = re.compile(rb"/([0-9]{2,4})/([0-9]*)")
_DIGITS: Final[Mapping[bytes, tuple[int, int]]] = {
    # AI: where the company prefix begins in its value, and where its last digit may be
    b"00": (1, 17),
    b"01": (1, 13),
    b"253": (0, 12),
    b"255": (0, 12),
    b"401": (0, 12),
    b"402": (0, 16),
    b"414": (0, 12),
    b"417": (0, 12),
    b"8003": (1, 13),
    b"8004": (0, 12),
    b"8006": (1, 13),
    b"8010": (0, 12),
    b"8013": (0, 12),
    b"8017": (0, 17),
    b"8018": (0, 17),
}


def arcs_of(name: bytes) -> bytes | None:
    """The longest prefix that a name could lie under; None for what is not delegated so."""
    key = key_of(name)
    if is_oid(key):
        return key
    if key[:1] != b"/":
        return None
    gs1 = _KEY.match(key)
    if gs1 is not None and gs1[1] in _DIGITS:
        start, stop = _DIGITS[gs1[1]]
        return b".".join((GS1, *(bytes((digit,)) for digit in gs1[2][start:stop])))
    return _iri_arcs(key)


def _iri_arcs(key: bytes) -> bytes | None:
    """The arcs of an OID-IRI up to the first label without a known number."""
    try:
        arcs = known_arcs(oid.parse(key.decode()).extra["labels"])
    except (BadIdentifier, UnicodeDecodeError):
        return None
    numbers = []
    for arc in arcs:
        if not (arc.isascii() and arc.isdigit()):
            break
        numbers.append(arc.encode())
    return b".".join(numbers) or None
