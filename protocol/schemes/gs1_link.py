"""GS1 Digital Link: URI <-> key, qualifiers and attributes (traceability §5).

The uncompressed form alone. A path whose last segment holds compressed AIs is expanded by
protocol.schemes.gs1_compress first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple
from urllib.parse import quote

from protocol.errors import BadIdentifier
from protocol.schemes.base import bounded, percent_decode, shown, split_url
from protocol.schemes.gs1_ai import AIS, KEYS
from protocol.schemes.gs1_elements import Element, check_together, check_value, format_bracketed

CANONICAL = "https://id.gs1.org"
"""Where the canonical form lives."""

_ORIGIN = re.compile(r"(?:https?|HTTPS?)://[^/?#]*")
_HOST = re.compile(r"[A-Za-z]+://[A-Za-z0-9.\-:\[\]]*")
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_DIGITS = re.compile(r"[0-9]*")
_SEMICOLON = re.compile(r";(?=[0-9]{2,4}=)")

WORDS = {
    "gtin": "01", "itip": "8006", "cpid": "8010", "gln": "414", "party": "417",
    "gsrnp": "8017", "gsrn": "8018", "gcn": "255", "sscc": "00", "gdti": "253", "ginc": "401",
    "gsin": "402", "grai": "8003", "giai": "8004", "cpv": "22", "lot": "10", "ser": "21",
}  # fmt: skip
"""Word forms of AIs, dropped from the syntax in 2022; read where the reader is lenient."""
_KEY_WORDS = frozenset(word for word, ai in WORDS.items() if ai in KEYS)


def is_key(segment: str) -> bool:
    """Whether a path segment names a key, by its AI or by its word."""
    return segment in KEYS or segment.lower() in _KEY_WORDS


def encode_value(value: str) -> str:
    """Percent-encode everything but letters, digits and `-._~` (§5.2)."""
    return quote(value, safe="")


@dataclass(frozen=True, slots=True)
class DigitalLink:
    """What a Digital Link says: one key, its qualifiers in path order, attributes as given.

    parameters: query members that are no AIs, as they stood; they identify nothing. base: what
    stood before the key in the URI; two links that differ in it are equal.
    """

    key: Element
    qualifiers: tuple[Element, ...] = ()
    attributes: tuple[Element, ...] = ()
    parameters: tuple[str, ...] = ()
    base: str = field(default=CANONICAL, compare=False)

    @property
    def elements(self) -> tuple[Element, ...]:
        """Key, qualifiers, attributes."""
        return (self.key, *self.qualifiers, *self.attributes)

    @property
    def element_string(self) -> str:
        """The bracketed form of all elements."""
        return format_bracketed(self.elements)

    @property
    def path(self) -> str:
        """`/01/…/21/…`: what identifies; the store key."""
        return "".join(f"/{ai}/{encode_value(value)}" for ai, value in (self.key, *self.qualifiers))

    @property
    def identity(self) -> str:
        """The canonical URI without attributes: one thing, one text."""
        return CANONICAL + self.path

    @property
    def canonical(self) -> str:
        """The canonical URI with attributes in the given order (§5.3)."""
        return self.uri(CANONICAL)

    def uri(self, base: str, *, parameters: bool = False) -> str:
        """The URI below a base such as `https://example.org/shop`.

        parameters: with the foreign query members too.
        """
        members = [f"{ai}={encode_value(value)}" for ai, value in self.attributes]
        if parameters:
            members += self.parameters
        query = "&".join(members)
        return base.rstrip("/") + self.path + (f"?{query}" if query else "")


def levels(link: DigitalLink) -> tuple[DigitalLink, ...]:
    """The link and everything above it that a record may stand for, finest first (§6.3).

    A record answers for whatever carries all of its own qualifiers with the same values. The last
    qualifier is the finest: of lot and serial, the serial alone comes before the lot alone.
    """
    count = len(link.qualifiers)
    chosen = (
        tuple(q for at, q in enumerate(link.qualifiers) if mask >> at & 1)
        for mask in range(2**count - 1, -1, -1)
    )
    return tuple(DigitalLink(link.key, qualifiers, base=link.base) for qualifiers in chosen)


def from_elements(elements: Sequence[Element], *, attributes_anywhere: bool = False) -> DigitalLink:
    """The Digital Link of an element string; its values are already checked.

    The first key that leaves only allowed attributes is the key.
    attributes_anywhere: also keep attributes that no Digital Link may carry.
    Raises BadIdentifier: `key-missing`, `qualifier-order`, `attribute`, `pairing`, `duplicate-ai`.
    """
    unique = tuple(dict.fromkeys(elements))
    failed: BadIdentifier | None = None
    for element in unique:
        if element.ai not in KEYS:
            continue
        try:
            return with_key(element, unique, attributes_anywhere=attributes_anywhere)
        except BadIdentifier as error:
            failed = failed or error
    raise failed or BadIdentifier(
        "key-missing",
        f"{shown(format_bracketed(unique))} has no key such as (01) or (00); it identifies nothing",
    )


def with_key(
    key: Element, elements: Sequence[Element], *, attributes_anywhere: bool = False
) -> DigitalLink:
    """The Digital Link of elements, each of them checked, one of which is the key.

    Raises BadIdentifier as from_elements() does.
    """
    _check_once(elements)
    sequences = KEYS[key.ai].key or ()
    wanted = frozenset(chain.from_iterable(sequences))
    present = {element.ai: element for element in elements if element.ai in wanted}
    for sequence in sequences:
        if set(present) <= set(sequence):
            qualifiers = tuple(present[ai] for ai in sequence if ai in present)
            break
    else:
        if present:
            raise _not_together(key.ai, list(present))
        qualifiers = ()
    rest = tuple(e for e in elements if e != key and e.ai not in wanted)
    if not attributes_anywhere:
        for ai, _ in rest:
            _check_attribute(ai)
    link = DigitalLink(key, qualifiers, rest)
    check_together(link.elements, free=wanted)
    return link


def _check_once(elements: Sequence[Element]) -> None:
    ais = [ai for ai, _ in elements]
    for ai in ais:
        if ais.count(ai) > 1:
            raise BadIdentifier("duplicate-ai", f"({ai}) stands twice; one thing has one of it")


def _not_together(key: str, qualifiers: Sequence[str]) -> BadIdentifier:
    takes = " or ".join(", ".join(sequence) for sequence in KEYS[key].key or ()) or "none"
    return BadIdentifier(
        "qualifier-order",
        f"{', '.join(qualifiers)} below {key}; its qualifiers, in this order: {takes}",
    )


def _check_attribute(ai: str) -> None:
    row = AIS[ai]
    if not row.attribute:
        raise BadIdentifier(
            "attribute", f"({ai}) {row.title} may not stand in a Digital Link query"
        )


class Uri(NamedTuple):
    """An http or https URI in its parts, as they stood. origin: scheme and host."""

    origin: str
    path: str
    query: str


def read_uri(text: str) -> Uri:
    """Take a URI apart. Raises BadIdentifier where it is none, or has a character it may not."""
    origin = _ORIGIN.match(bounded(text))
    url = split_url(text) if origin else None
    if url is None or origin is None:
        raise BadIdentifier("structure", f"{shown(text)} is no http or https URI")
    if not _URI_CHARACTERS.fullmatch(text):
        raise BadIdentifier(
            "charset", f"{shown(text)} has a character no URI may have; escape it as %XX"
        )
    if not _HOST.fullmatch(origin[0]):
        raise BadIdentifier(
            "charset", f"{shown(origin[0])}: a host has letters, digits, `-` and `.`, and a port"
        )
    return Uri(origin[0], url.path, url.query)


def parse_uri(text: str, *, lenient: bool = False) -> DigitalLink:
    """Read an uncompressed Digital Link URI of any host.

    lenient: as a resolver may, accept a trailing slash, word forms of AIs, short GTINs, and
    semicolons between attributes.
    Raises BadIdentifier.
    """
    uri = read_uri(text)
    segments = uri.path[1:].split("/")
    if lenient:
        segments = _tolerate(segments)
    if segments[-1] == "" and len(segments) > 1:
        raise BadIdentifier("structure", f"{shown(text)} ends with a slash; remove it")
    stem, key, qualifiers = _read_path(segments, text, lenient=lenient)
    # The syntax allows semicolons between attributes; inside a value they are data.
    query = _SEMICOLON.sub("&", uri.query) if lenient else uri.query
    attributes, parameters = read_query(query, key.ai)
    base = "/".join((uri.origin, *stem))
    link = DigitalLink(key, qualifiers, attributes, parameters, base)
    _check_once(link.elements)
    check_together(link.elements, free=[ai for ai, _ in qualifiers])
    return link


def _tolerate(segments: list[str]) -> list[str]:
    while len(segments) > 1 and segments[-1] == "":
        segments = segments[:-1]
    names = len(segments) % 2
    return [
        WORDS.get(segment.lower(), segment) if at % 2 == names else segment
        for at, segment in enumerate(segments)
    ]


def _read_path(
    segments: Sequence[str], text: str, *, lenient: bool
) -> tuple[Sequence[str], Element, tuple[Element, ...]]:
    """The stem, the rightmost pair that is a key, and the pairs after it."""
    at = _key_at(segments)
    if at is None:
        raise BadIdentifier(
            "key-missing", f"no key and value end the path of {shown(text)}; write /01/ and a GTIN"
        )
    pairs = [
        Element(ai, percent_decode(value))
        for ai, value in zip(segments[at::2], segments[at + 1 :: 2], strict=True)
    ]
    if lenient and pairs[0].ai == "01" and len(pairs[0].value) in (8, 12, 13):
        pairs[0] = Element("01", pairs[0].value.zfill(14))
    _check_sequence(pairs[0].ai, [ai for ai, _ in pairs[1:]])
    for ai, value in pairs:
        check_value(ai, value)
    return segments[:at], pairs[0], tuple(pairs[1:])


def _key_at(segments: Sequence[str]) -> int | None:
    """Where the key stands behind which there are pairs alone."""
    at = len(segments) - 2
    while at >= 0 and segments[at] not in KEYS and segments[at] in AIS:
        at -= 2
    return at if at >= 0 and segments[at] in KEYS else None


def has_key(path: str) -> bool:
    """Whether a path ends like an uncompressed link, right or wrong; words for AIs count."""
    return _key_at(_tolerate(path[1:].split("/"))) is not None


def _check_sequence(key: str, qualifiers: Sequence[str]) -> None:
    """Whether the qualifiers are a part, in order, of one sequence of the key."""
    for sequence in KEYS[key].key or ():
        left = iter(sequence)
        if all(ai in left for ai in qualifiers):
            return
    if qualifiers:
        raise _not_together(key, qualifiers)


def read_query(query: str, key: str) -> tuple[tuple[Element, ...], tuple[str, ...]]:
    """Attributes of a key, each checked, and the members that are no AIs."""
    qualifiers = frozenset(chain.from_iterable(KEYS[key].key or ()))
    attributes: list[Element] = []
    parameters: list[str] = []
    for member in filter(None, query.split("&")):
        name, equals, value = member.partition("=")
        if not equals or not _DIGITS.fullmatch(name):
            parameters.append(member)
            continue
        if name not in AIS:
            raise BadIdentifier("unknown-ai", f"there is no Application Identifier {shown(name)}")
        if name in qualifiers:
            raise BadIdentifier(
                "attribute", f"({name}) qualifies ({key}); write it in the path, not in the query"
            )
        _check_attribute(name)
        # A plus sign in a query is a space, which no AI takes; check_value says so.
        decoded = percent_decode(value.replace("+", " "))
        check_value(name, decoded)
        attributes.append(Element(name, decoded))
    return tuple(attributes), tuple(parameters)
