"""Identifier -> domain name: ORS for OIDs, ONS for GTINs (industrial-identifiers §10.2, §11.3).

Names only. Roots are arguments: a private deployment has its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import idna

from protocol.errors import BadIdentifier
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
