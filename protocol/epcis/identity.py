"""One spelling for one object: EPC URN or Digital Link of any host -> id.gs1.org (traceability §2.3).

The *constrained* canonical form: no attributes, the finest level alone, a GTIN of 14 digits. It is
what the event hash, the index and the trace compare. Nothing here checks a check digit or raises:
an event says what it says, and a text that is no GS1 identifier stands for itself. Strict parsing
is protocol.schemes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from protocol.schemes.epc import ANY, COMPANY_DIGITS, KINDS, Kind
from protocol.schemes.gs1_checks import check_digit
from protocol.schemes.gs1_link import CANONICAL, WORDS

Level = Literal["item", "lot", "class", "other"]

MAX_TEXT = 4_096
"""Characters of an identifier that is looked at; a longer one stands for itself."""
_CACHED = 65_536


class Key(NamedTuple):
    """One key of a canonical identifier.

    shape: what its value looks like, with the serial part, if it has one, as group 1.
    qualifiers: AI -> level it names, finest first. alone: level of the bare key; with_serial: that
    of a key whose serial part is there.
    """

    shape: re.Pattern[str]
    qualifiers: Mapping[str, Level] = {}
    alone: Level = "other"
    with_serial: Level = "item"


_TRADE: Mapping[str, Level] = {"21": "item", "235": "item", "10": "lot"}
KEYS: Mapping[str, Key] = {
    "00": Key(re.compile(r"[0-9]{18}"), alone="item"),
    "01": Key(re.compile(r"[0-9]{14}|[0-9]{12,13}|[0-9]{8}"), _TRADE, alone="class"),
    "253": Key(re.compile(r"[0-9]{13}(.{1,17})?"), alone="class"),
    "255": Key(re.compile(r"[0-9]{13}([0-9]{1,12})?"), alone="class"),
    "401": Key(re.compile(r".{1,30}")),
    "402": Key(re.compile(r"[0-9]{17}")),
    "414": Key(re.compile(r"[0-9]{13}"), {"254": "item"}),
    "417": Key(re.compile(r"[0-9]{13}")),
    "8003": Key(re.compile(r"[0-9]{14}(.{1,16})?"), alone="class"),
    "8004": Key(re.compile(r".{1,30}"), alone="item"),
    "8006": Key(re.compile(r"[0-9]{18}"), {"21": "item", "10": "lot"}, alone="class"),
    "8010": Key(re.compile(r".{1,30}"), {"8011": "item"}, alone="class"),
    "8017": Key(re.compile(r"[0-9]{18}")),
    "8018": Key(re.compile(r"[0-9]{18}")),
}
"""The keys that have a canonical form in events (traceability §2.3)."""

_QUALIFIERS = frozenset(("22", "10", "21", "235", "254", "7040", "8011", "8019"))
_UNNAMED = frozenset(("22", "7040", "8019"))
"""Qualifiers that no canonical identifier keeps."""

_ORIGIN = re.compile(r"(?:https?|HTTPS?)://[^/?#]+(/[^?#]*)")
_URN = re.compile(r"(?i:urn:epc):(id|class|idpat):([a-z]+):([0-9]+)\.(.*)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9\-._~]*")
_DIGITS = re.compile(r"[0-9]*")
_HANDLE = re.compile(
    r"(?:(?i:hdl:|info:hdl/)|(?i:https?://hdl\.handle\.net/))([0-9A-Za-z][0-9A-Za-z.]*/[^?#]+)"
)
_USUAL = re.compile(re.escape(CANONICAL) + r"/01/[0-9]{14}(?:/(?:21|10|235)/[A-Za-z0-9\-._~]+)?")
"""What most identifiers are, and are already in their canonical form."""
_CANONICAL = re.compile(
    re.escape(CANONICAL) + r"/([0-9]{2,4})/([^/?#]+)(?:/([0-9]{2,4})/([^/?#]+))?"
)


@lru_cache(_CACHED)
def canonical_id(text: str) -> str:
    """The one spelling of an object's identifier. Never raises; other text comes back as it is.

    Events hold URIs, so a handle stands in them as `hdl:88.118.8/X1`: it becomes the handle.
    """
    found = gs1_id(text)
    if found != text or text[:1].lower() not in "hi":
        return found
    match = _HANDLE.fullmatch(text)
    if match is None:
        return text
    try:
        return unquote_to_bytes(match[1]).decode()
    except UnicodeDecodeError:
        return text


def gs1_id(text: str) -> str:
    """The canonical form of a GS1 identifier, as event hashes have it; others as they are."""
    if len(text) > MAX_TEXT or _USUAL.fullmatch(text):
        return text
    head = text[:8].lower()
    if head.startswith("http"):
        return _of_link(text) or text
    if head == "urn:epc:":
        return _of_urn(text) or text
    return text


def _of_link(text: str) -> str | None:
    found = _path(text)
    if found is None:
        return None
    key, value, qualifiers = found
    for ai in KEYS[key].qualifiers:
        if ai in qualifiers:
            return f"{CANONICAL}/{key}/{value}/{ai}/{qualifiers[ai]}"
    return f"{CANONICAL}/{key}/{value}"


def _path(text: str) -> tuple[str, str, dict[str, str]] | None:
    """Key, value and qualifiers of a Digital Link, each value encoded the one way."""
    origin = _ORIGIN.match(text)
    if origin is None:
        return None
    segments = origin[1].split("/")[1:]
    at = len(segments) - 2
    qualifiers: dict[str, str] = {}
    while at >= 0:
        ai = WORDS.get(segments[at], segments[at])
        if ai in KEYS:
            break
        value = _encoded(segments[at + 1])
        if ai not in _QUALIFIERS or not value or ai in qualifiers:
            return None
        qualifiers[ai] = value
        at -= 2
    else:
        return None
    allowed = KEYS[ai].qualifiers
    if any(name not in allowed and name not in _UNNAMED for name in qualifiers):
        return None
    value = _encoded(segments[at + 1])
    if not value or not KEYS[ai].shape.fullmatch(_decoded(value)):
        return None
    return ai, value.zfill(14) if ai == "01" else value, qualifiers


def _encoded(segment: str) -> str | None:
    """A path segment with the escapes of traceability §5.2 and no others; None for bad ones."""
    if _PLAIN.fullmatch(segment):
        return segment
    raw = unquote_to_bytes(segment)
    try:
        raw.decode()
    except UnicodeDecodeError:
        return None
    return quote(raw, safe="")


def _decoded(segment: str) -> str:
    return segment if "%" not in segment else unquote_to_bytes(segment).decode()


def _of_urn(text: str) -> str | None:
    match = _URN.fullmatch(text)
    if match is None:
        return None
    form, name, company, rest = match.groups()
    kind = KINDS.get(name)
    least, most = COMPANY_DIGITS
    if kind is None or not least <= len(company) <= most or form not in (kind.form, "idpat"):
        return None
    fields = rest.split(".", len(kind.fields))
    if len(fields) <= len(kind.fields) or ANY in fields[:-1]:
        return None
    value = _key_value(kind, company, fields[0])
    if value is None:
        return None
    return _with_fields(kind, value, fields[1:], pattern=form == "idpat")


def _key_value(kind: Kind, company: str, reference: str) -> str | None:
    if kind.digits is None:
        return _encoded(company + reference) if reference else None
    if len(company) + len(reference) != kind.digits or not _DIGITS.fullmatch(reference):
        return None
    body = reference[: kind.leading] + company + reference[kind.leading :]
    return ("0" if kind.zero else "") + body + check_digit(body)


def _with_fields(kind: Kind, value: str, fields: list[str], *, pattern: bool) -> str | None:
    """The link of a key and the fields of a URN that follow it."""
    stem = f"{CANONICAL}/{kind.ai}/"
    if not fields:
        return None if pattern else stem + value
    between = "".join(fields[:-1])
    encoded = [_encoded(field) for field in fields]
    last = encoded[-1]
    if not last or not _DIGITS.fullmatch(between):
        return None
    if pattern:
        return stem + value + between if fields[-1] == ANY else None
    if not kind.qualifier:
        return stem + value + last
    if kind.ai == "414" and last == "0":
        return stem + value
    return f"{stem}{value}{between}/{kind.qualifier}/{last}"


def is_canonical(text: str) -> bool:
    """Whether a text has the form of a canonical identifier."""
    match = _CANONICAL.fullmatch(text)
    return match is not None and match[1] in KEYS


def level_of(text: str) -> Level:
    """Which level of identity an identifier names, in any spelling (traceability §4.2)."""
    match = _CANONICAL.fullmatch(canonical_id(text))
    key = KEYS.get(match[1]) if match else None
    if match is None or key is None:
        return "other"
    if match[3]:
        return key.qualifiers.get(match[3], "other")
    shape = key.shape.fullmatch(_decoded(match[2]))
    if shape is None:
        return "other"
    return key.with_serial if shape.re.groups and shape[1] else key.alone


def parents_of(text: str) -> tuple[str, ...]:
    """What stands above an identifier by its own words, finest first: lot, variant, class.

    The canonical form of a serial names no lot; give the link as it was written to learn it.
    """
    found = _path(text) if text[:4].lower() == "http" else None
    if found is None:
        return _above_canonical(canonical_id(text))
    key, value, qualifiers = found
    stem = f"{CANONICAL}/{key}/{value}"
    levels = [f"{stem}/{ai}/{qualifiers[ai]}" for ai in ("10", "22") if ai in qualifiers]
    own = canonical_id(text)
    above = [level for level in levels if level != own]
    return tuple(dict.fromkeys((*above, *_above_canonical(own))))


def _above_canonical(identity: str) -> tuple[str, ...]:
    match = _CANONICAL.fullmatch(identity)
    if match is None or match[1] not in KEYS:
        return ()
    stem = f"{CANONICAL}/{match[1]}/"
    if match[3]:
        return (stem + match[2],)
    value = _decoded(match[2])
    shape = KEYS[match[1]].shape.fullmatch(value)
    if shape is None or not shape.re.groups or not shape[1]:
        return ()
    return (stem + value[: shape.start(1)],)
