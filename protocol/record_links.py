"""0.LINK, 0.LINKSET, 0.RETIRED: what a record says about links (traceability §6.2).

0.LINK holds one link as JSON, 0.LINKSET a whole linkset (RFC 9264 §4.2), 0.RETIRED that the thing
is no more. Which link somebody gets is protocol.negotiate's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from protocol.errors import BadIdentifier, ParseError
from protocol.linkset import (
    DEFAULT_LINK,
    SCHEMES,
    Link,
    check_href,
    expand_relation,
    parse_link,
    parse_linkset,
)
from protocol.schemes.gs1_ai import AIS
from protocol.schemes.gs1_elements import check_value
from protocol.schemes.gs1_link import DigitalLink, parse_uri

LINK: Final = b"0.LINK"
LINKSET: Final = b"0.LINKSET"
RETIRED: Final = b"0.RETIRED"

MAX_BYTES: Final = 65_536
_RELATIONS = ("relation", "rel", "linktype", "linkType")
_MEMBERS = frozenset(
    ("href", "title", "title*", "hreflang", "type", "context", "fwqs", "public", *_RELATIONS)
)
_OWN = frozenset(("default", "qualifiers", "itemDescription"))


@dataclass(frozen=True, slots=True)
class RecordLink:
    """A link and for what of the record it counts.

    below: qualifiers that the request must carry besides those of the record, with a value or
    with any (None). description: of the thing, where the link's own linkset says one.
    anchor: the Digital Link that a linkset names; None: whatever the record is.
    """

    link: Link
    below: tuple[tuple[str, str | None], ...] = ()
    description: str | None = None
    anchor: DigitalLink | None = None


@dataclass(frozen=True, slots=True)
class Retired:
    """That a thing is no more.

    since: a date as text. note: for people. archive: where its documents are kept.
    """

    since: str = ""
    note: str = ""
    archive: str | None = None


def parse_link_value(data: bytes, schemes: Iterable[str] = SCHEMES) -> tuple[RecordLink, ...]:
    """The link of a 0.LINK value; with `"default": true` the default link too. ParseError."""
    value = _object(data, "0.LINK")
    names = [name for name in _RELATIONS if name in value]
    if len(names) != 1 or not isinstance(value[names[0]], str):
        raise ParseError(f'0.LINK needs one "relation", such as "gs1:pip"; it has {names}')
    unknown = sorted(value.keys() - _MEMBERS - _OWN)
    if unknown:
        raise ParseError(
            f"0.LINK does not know {', '.join(unknown)[:120]!r}; it knows relation, href, title, "
            "hreflang, type, context, fwqs, public, default, qualifiers, itemDescription"
        )
    target = {name: value[name] for name in value if name in _MEMBERS and name != names[0]}
    link = parse_link(expand_relation(value[names[0]]), target, "0.LINK", frozenset(schemes))
    description = value.get("itemDescription")
    if description is not None and not isinstance(description, str):
        raise ParseError("0.LINK.itemDescription is no text")
    if not isinstance(value.get("default", False), bool):
        raise ParseError("0.LINK.default is neither true nor false")
    one = RecordLink(link, _below(value.get("qualifiers")), description)
    if value.get("default") and link.relation != DEFAULT_LINK:
        return one, replace(one, link=replace(link, relation=DEFAULT_LINK))
    return (one,)


def _below(value: Any) -> tuple[tuple[str, str | None], ...]:
    """`["21"]`, or `{"10": "LOT7"}` with values; null: any."""
    if value is None:
        return ()
    if isinstance(value, list):
        value = dict.fromkeys(map(str, value))
    if not isinstance(value, dict):
        raise ParseError('0.LINK.qualifiers is no list of AIs such as ["21"], and no object')
    for ai, text in value.items():
        if ai not in AIS:
            raise ParseError(f"0.LINK.qualifiers: there is no Application Identifier {ai[:20]!r}")
        if text is not None:
            if not isinstance(text, str):
                raise ParseError(f"0.LINK.qualifiers.{ai} is no text and not null")
            check_value(ai, text)
    return tuple(value.items())


def parse_linkset_value(data: bytes, schemes: Iterable[str] = SCHEMES) -> tuple[RecordLink, ...]:
    """The links of a 0.LINKSET value, each under its anchor. Raises ParseError."""
    if len(data) > MAX_BYTES:
        raise ParseError(f"{len(data)} octets; a 0.LINKSET value has at most {MAX_BYTES}")
    return tuple(
        RecordLink(link, (), context.description, _anchored(context.anchor))
        for context in parse_linkset(data, schemes=schemes)
        for link in context.links
    )


def _anchored(anchor: str) -> DigitalLink | None:
    try:
        return parse_uri(anchor, lenient=True)
    except BadIdentifier:
        return None


def parse_retired(data: bytes, schemes: Iterable[str] = SCHEMES) -> Retired:
    """A 0.RETIRED value: nothing, a note, or an object. Raises ParseError."""
    if data[:1] != b"{":
        try:
            return Retired(note=data.decode())
        except UnicodeDecodeError:
            raise ParseError("0.RETIRED is no text in UTF-8") from None
    value = _object(data, "0.RETIRED")
    unknown = sorted(value.keys() - {"since", "note", "archive"})
    if unknown or not all(isinstance(text, str) for text in value.values()):
        raise ParseError(
            '0.RETIRED is {"since": "2026-07-01", "note": "…", "archive": "https://…"}'
        )
    archive = value.get("archive")
    return Retired(
        value.get("since", ""),
        value.get("note", ""),
        None if archive is None else check_href(archive, schemes),
    )


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    if len(data) > MAX_BYTES:
        raise ParseError(f"{len(data)} octets; a {what} value has at most {MAX_BYTES}")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ParseError(f"{what} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ParseError(f"{what} is no JSON object")
    return value


def places_of(link: DigitalLink) -> dict[str, str]:
    """What `{serial}`, `{lot}`, `{gtin}`, `{21}` … in a target stand for."""
    places = dict(link.elements)
    for ai, names in _PLACES.items():
        if ai in places:
            places.update(dict.fromkeys(names, places[ai]))
    return places


_PLACES: Mapping[str, tuple[str, ...]] = {
    "00": ("sscc",),
    "01": ("gtin",),
    "10": ("lot", "batch", "lotnumber"),
    "21": ("serial", "ser", "serialnumber"),
    "22": ("cpv", "variant"),
    "235": ("tpx",),
    "253": ("gdti",),
    "254": ("extension",),
    "255": ("gcn",),
    "401": ("ginc",),
    "402": ("gsin",),
    "414": ("gln",),
    "415": ("payTo",),
    "417": ("party",),
    "8003": ("grai",),
    "8004": ("giai",),
    "8006": ("itip",),
    "8010": ("cpid",),
    "8011": ("cpidserial",),
    "8013": ("gmn",),
    "8017": ("gsrnp",),
    "8018": ("gsrn",),
    "8019": ("srin",),
    "8020": ("refno",),
}
"""Names that places may have, by AI; the AI's digits are one too."""
