"""Identifier <-> domain name: ORS for OIDs, ONS for GTINs (industrial-identifiers §10.2, §11.3).

Names only; records stand in protocol.naptr_records. Roots are arguments: a private deployment has
its own. What a store keeps under a name is keyed without root and dummy label (`domain_key`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import idna

from protocol.errors import BadIdentifier
from protocol.schemes import oid
from protocol.schemes.base import Identifier, shown

ORS_ROOT = "oid-res.org"
ORS_DUMMY = "ors-dummy"
"""The label in front of each ORS query: DNAME redirects only what is below its owner."""

ONS_ROOT = "onsepc.com"
MAX_LABELS = 127
MAX_LABEL_OCTETS = 63
MAX_NAME_OCTETS = 255
_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def label_of(arc: str) -> str:
    """An arc or Unicode label as a DNS label: lower case, an A-label beyond ASCII.

    Raises BadIdentifier `no-domain-name`.
    """
    label = arc.lower()
    if not label.isascii():
        try:
            label = idna.encode(label, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise BadIdentifier(
                "no-domain-name", f"label {shown(arc)} has no domain form: {error}"
            ) from None
    if not label or len(label) > MAX_LABEL_OCTETS or not _LABEL.issuperset(label):
        raise BadIdentifier(
            "no-domain-name",
            f"label {shown(arc)} has no domain form: at most {MAX_LABEL_OCTETS} letters, digits "
            "and hyphens",
        )
    return label


def ors_domain(labels: Sequence[str], *, root: str = ORS_ROOT) -> str:
    """The arcs or labels of an OID, as written, below the root: `501.3001.156.2.1.oid-res.org.`"""
    if len(labels) > MAX_LABELS:
        raise BadIdentifier("no-domain-name", f"{len(labels)} arcs; a name has {MAX_LABELS} labels")
    return _whole([label_of(label) for label in reversed(labels)], root)


def ors_query(labels: Sequence[str], *, root: str = ORS_ROOT, dummy: str = ORS_DUMMY) -> str:
    """The name an ORS client asks for NAPTR: the dummy label in front, if there is one."""
    domain = ors_domain(labels, root=root)
    return _whole([dummy], domain) if dummy else domain


def ons_fqdn(gtin14: str, *, root: str = ONS_ROOT) -> str:
    """A GTIN without check digit: its first digit, then the other twelve from the last (ONS 2.0)."""
    item = gtin14[:13]
    return ".".join((item[0], *reversed(item[1:]), "gtin.gs1.id", root.strip(".")))


def _whole(labels: Sequence[str], root: str) -> str:
    name = ".".join((*labels, root.strip("."))) + "."
    # One length octet before each label and one for the root: the text and one more.
    if len(name) + 1 > MAX_NAME_OCTETS:
        raise BadIdentifier(
            "no-domain-name", f"the name has {len(name) + 1} octets; DNS takes {MAX_NAME_OCTETS}"
        )
    return name


def domain_names(
    identifier: Identifier,
    *,
    ors_root: str = ORS_ROOT,
    ors_dummy: str = ORS_DUMMY,
    ons_root: str = ONS_ROOT,
) -> dict[str, str]:
    """`ors_domain` and `ors_query` of an OID, `ons_fqdn` of what holds a GTIN.

    Empty for other schemes and for an OID that fits no domain name.
    """
    names: dict[str, str] = {}
    labels = identifier.extra.get("labels")
    if labels is not None:
        try:
            names["ors_domain"] = ors_domain(labels, root=ors_root)
            names["ors_query"] = ors_query(labels, root=ors_root, dummy=ors_dummy)
        except BadIdentifier:
            # A valid OID may be too long for a name; ORS cannot serve it and nothing else is lost.
            names.clear()
    gtin14 = identifier.extra.get("gtin14")
    if gtin14 is not None:
        names["ons_fqdn"] = ons_fqdn(gtin14, root=ons_root)
    return names


# --- keys: what a domain name is without its root


ONS_KEY: Final = b"G"
"""Begins the key of a GTIN; that of an OID begins with the length of a label, at most 63."""
INDEX_KEY: Final = b"\x00"
"""Begins the key that tells which OIDs there are at and below another."""

_OID = re.compile(rb"[012](?:\.(?:0|[1-9][0-9]{0,62}))+")
_GTIN = re.compile(rb"/01/([0-9]{14})")
_TOP = frozenset("012")


class Domain(NamedTuple):
    """The names a record has in DNS.

    key: of its ready answer. below: of the row that says that there is something at this name,
    None where the key says so itself. oid: as `urn:oid:` carries it; None for a GTIN, b"" for an
    OID with a label whose number nobody here knows.
    """

    key: bytes
    below: bytes | None
    oid: bytes | None


def domain_of(key: bytes) -> Domain | None:
    """The domain name of a store key: of an OID or a GTIN, None for all others."""
    first = key[:1]
    if first in (b"0", b"1", b"2"):
        if not _OID.fullmatch(key):
            return None
        labels = key.split(b".")
        name = wire_key(labels)
        return Domain(name, index_key(labels), key) if len(name) < MAX_NAME_OCTETS else None
    if first != b"/":
        return None
    gtin = _GTIN.fullmatch(key)
    return Domain(gtin_key(gtin[1]), None, None) if gtin else _iri_domain(key)


def _iri_domain(key: bytes) -> Domain | None:
    """An OID-IRI: numbers where they are known, A-labels for the rest."""
    try:
        found = oid.parse(key.decode())
        labels = [label_of(label).encode() for label in known_arcs(found.extra["labels"])]
    except (BadIdentifier, UnicodeDecodeError):
        return None
    name = wire_key(labels)
    if labels[0].decode() not in _TOP or len(name) >= MAX_NAME_OCTETS:
        return None
    return Domain(name, index_key(labels), b"")


def known_arcs(labels: Sequence[str]) -> list[str]:
    """The labels of an OID-IRI, each as its number as long as every one before it has one."""
    arcs: list[str] = []
    for at, label in enumerate(labels):
        folded = label.lower()
        if label.isascii() and label.isdigit():
            arcs.append(label)
        elif not arcs and folded in oid.LONG_ARCS:
            arcs += ["2", oid.LONG_ARCS[folded]]
        elif (number := oid.LABELS.get(tuple(arcs), {}).get(folded)) is not None:
            arcs.append(number)
        else:
            return arcs + list(labels[at:])
    return arcs


def wire_key(labels: Sequence[bytes]) -> bytes:
    """Labels from the root -> the octets of the name as a query carries them, without its end."""
    return b"".join(bytes((len(label),)) + label for label in reversed(labels))


def index_key(labels: Sequence[bytes]) -> bytes:
    """Labels from the root -> a key that lies among those of its ancestors and descendants."""
    return INDEX_KEY + b".".join(labels) + b"."


def gtin_key(gtin14: bytes) -> bytes:
    """The key of a GTIN: its digits from the ONS root downward, without the check digit."""
    return ONS_KEY + gtin14[1:13] + gtin14[:1]
