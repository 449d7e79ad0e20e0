"""Which prefixes a name without prefix and suffix lies under: delegation arc by arc (plan §10).

An OID lies under its own arcs. A GS1 key lies under the digits of its company prefix, each an arc
below `GS1`; how many of them make the company is the business of who delegates. Of the names that
stand alone:

    urn:isbn:9780306406157            URN.ISBN
    did:cn:88.100.1                   88.100.1, whose holder it names
    did:bid:ef21…                     DID.BID
    MA.156.M0.100204.13351764         MA.156.M0.100204
    VAA08811800000008JXDY2106023      88.118.8: the codes without their padding
    ecode:100646901234567892          ECODE

That a VAA code belongs to the prefix of its unpadded codes is inferred (industrial-identifiers
§11.1): codes that differ in leading zeros only cannot be told apart on a carrier.
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
_VAA = re.compile(rb"VAA([0-9]{3})([0-9]{3})([0-9]{8})")
_CODES = re.compile(rb"[0-9]+(?:\.[0-9]+)+")
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
        return _alone_arcs(key)
    gs1 = _KEY.match(key)
    if gs1 is not None and gs1[1] in _DIGITS:
        start, stop = _DIGITS[gs1[1]]
        return b".".join((GS1, *(bytes((digit,)) for digit in gs1[2][start:stop])))
    return _iri_arcs(key)


def _alone_arcs(key: bytes) -> bytes | None:
    """Where a name that stands alone lies; None for any other."""
    vaa = _VAA.match(key)
    if vaa is not None:
        return b".".join(b"%d" % int(code) for code in vaa.groups())
    if key.startswith(b"MA."):
        return b".".join(key.split(b".")[:4])
    if key.startswith(b"ecode:"):
        return b"ECODE"
    scheme, _, rest = key.partition(b":")
    space, colon, specific = rest.partition(b":")
    if scheme not in (b"urn", b"did") or not colon:
        return None
    if (scheme, space) == (b"did", b"cn") and _CODES.fullmatch(specific):
        return specific
    return b"%b.%b" % (scheme.upper(), space.upper())


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
