"""Linksets: what can be had about one thing and where (RFC 9264, RFC 8288; traceability §6.2).

JSON, the text form and the Link header, in and out. Which link a caller gets is
protocol.negotiate's matter; who may see it, the node's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from protocol.errors import ParseError

MEDIA_TYPE: Final = "application/linkset+json"
TEXT_MEDIA_TYPE: Final = "application/linkset"
LD_MEDIA_TYPE: Final = "application/ld+json"
CONTEXT_URL: Final = "https://ref.gs1.org/standards/resolver/linkset-context"
GS1: Final = "https://ref.gs1.org/voc/"
"""Namespace of GS1 link types, as it is written out."""

DEFAULT_LINK: Final = GS1 + "defaultLink"
DEFAULT_LINK_MULTI: Final = GS1 + "defaultLinkMulti"
NAMESPACES: Final[Mapping[str, str]] = {
    "gs1": GS1,
    "untp": "https://vocabulary.uncefact.org/untp/",
    "schema": "https://schema.org/",
}
"""Prefixes that a link type may be written with."""

_OLD_GS1 = ("https://gs1.org/voc/", "http://gs1.org/voc/", "https://www.gs1.org/voc/")
SCHEMES: Final = frozenset(("https", "http"))
"""Target schemes that are accepted; javascript: and data: have reached browsers elsewhere."""

MAX_BYTES: Final = 1_048_576
MAX_LINKS: Final = 10_000
_CURIE = re.compile(r"([a-z][a-z0-9]*):([A-Za-z][A-Za-z0-9]*)")
_RELATION = re.compile(r"[a-z][a-z0-9.\-]*|[a-z][a-z0-9+.\-]*:[^\s<>\"]+", re.IGNORECASE)
_HREF = re.compile(r"([a-z][a-z0-9+.\-]*):[^\s<>\"\\^`{|}\x00-\x1f\x7f]*", re.IGNORECASE)
_TEMPLATED = re.compile(r"\{[A-Za-z0-9]+\}")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_GS1_LANGUAGE = re.compile(r"[A-Za-z]{2}(?:-[A-Za-z]{2})?")
_GS1_RELATION = re.compile(r"[a-z\-]+|https?://[A-Za-z0-9./\[\]\\^_`]+")
_GS1_ADDRESS = re.compile(r"https?://[A-Za-z0-9./\[\]\\^_`]")
"""What the GS1 linkset schema takes as link type, as anchor and as target."""
_WEB = re.compile(r"https?:", re.IGNORECASE)
_PLAIN_URI = re.compile(r"[!#-;=?-~]*")
_AUTHORITY = re.compile(r"[A-Za-z]+://([^/?#]+)")
_MEDIA = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+(?:\s*;.*)?")


@dataclass(frozen=True, slots=True)
class Link:
    """One link. relation: full URI, or a registered short name in lower case.

    href: the target, which may hold `{serial}`-like places. forward_query: whether the request's
    query goes along; None: as the node does by default. public: false = not for everyone.
    more: further target attributes as they came.
    """

    relation: str
    href: str
    title: str | None = None
    languages: tuple[str, ...] = ()
    media_type: str | None = None
    contexts: tuple[str, ...] = ()
    forward_query: bool | None = None
    public: bool = True
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class LinkContext:
    """What one anchor links to. anchor: the uncompressed URI of the thing."""

    anchor: str
    links: tuple[Link, ...]
    description: str | None = None


def expand_relation(text: str) -> str:
    """The full form of a link type: `gs1:pip`, an old namespace, a URI, a registered name.

    Raises ParseError.
    """
    curie = _CURIE.fullmatch(text)
    if curie and curie[1] in NAMESPACES:
        return NAMESPACES[curie[1]] + curie[2]
    for old in _OLD_GS1:
        if text.startswith(old):
            return GS1 + text[len(old) :]
    if not _RELATION.fullmatch(text):
        raise ParseError(
            f"{text[:80]!r} is no link type; write gs1:pip, a URI or a registered name"
        )
    return text if ":" in text else text.lower()


def check_href(text: str, schemes: Iterable[str] = SCHEMES) -> str:
    """The target, if it is an absolute URI of an allowed scheme; places count as text.

    No place stands in the host: what is scanned would decide where a browser goes.
    """
    match = _HREF.fullmatch(_TEMPLATED.sub("x", text))
    if match is None or match[1].lower() not in schemes:
        raise ParseError(
            f"link target {text[:80]!r} is not allowed; write a URI of {', '.join(sorted(schemes))}"
        )
    if _WEB.match(text):
        authority = _AUTHORITY.match(text)
        if authority is None or "{" in authority[1]:
            raise ParseError(
                f"link target {text[:80]!r} has no host, or a place such as {{serial}} in it; "
                "write https://, the host's name, and places after its slash"
            )
    return text


def parse_linkset(
    data: bytes | str, *, schemes: Iterable[str] = SCHEMES
) -> tuple[LinkContext, ...]:
    """Read a JSON linkset. Raises ParseError, which says where.

    Members of a context that are no list of links (a creator, a comment) are passed over; a
    context without anchor holds only such and is left out.
    """
    if len(data) > MAX_BYTES:
        raise ParseError(f"{len(data)} bytes; a linkset has at most {MAX_BYTES}")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error}") from None
    contexts = document.get("linkset") if isinstance(document, dict) else None
    if not isinstance(contexts, list):
        raise ParseError('a linkset is an object with a list under "linkset"')
    allowed = frozenset(schemes)
    found = tuple(
        _context(context, f"linkset[{at}]", allowed)
        for at, context in enumerate(contexts)
        if not isinstance(context, dict) or "anchor" in context
    )
    if sum(len(context.links) for context in found) > MAX_LINKS:
        raise ParseError(f"more than {MAX_LINKS} links in one linkset")
    return found


def _context(value: Any, where: str, schemes: frozenset[str]) -> LinkContext:
    if not isinstance(value, dict) or not isinstance(value["anchor"], str):
        raise ParseError(f"{where} is no object with a text under anchor")
    links: list[Link] = []
    for name, targets in value.items():
        if isinstance(targets, list) and name != "anchor":
            relation = expand_relation(name)
            links += (
                parse_link(relation, target, f"{where}.{name}[{at}]", schemes)
                for at, target in enumerate(targets)
            )
    description = value.get("itemDescription")
    return LinkContext(
        check_href(value["anchor"], schemes),
        tuple(links),
        description if isinstance(description, str) else None,
    )


def parse_link(relation: str, value: Any, where: str, schemes: frozenset[str]) -> Link:
    """One target object. where: its place, for messages. Raises ParseError."""
    if not isinstance(value, dict) or not isinstance(value.get("href"), str):
        raise ParseError(f"{where} is no link: write an object with a text under href")
    known = ("href", "title", "hreflang", "type", "context", "fwqs", "public")
    media_type = _text(value, "type", where)
    if media_type is not None and not _MEDIA.fullmatch(media_type):
        raise ParseError(f"{where}.type {media_type[:80]!r} is no media type")
    languages = _texts(value, "hreflang", where)
    for language in languages:
        if not _LANGUAGE.fullmatch(language):
            raise ParseError(f"{where}.hreflang {language[:80]!r} is no language tag")
    return Link(
        relation,
        check_href(value["href"], schemes),
        _text(value, "title", where),
        languages,
        media_type,
        _texts(value, "context", where),
        _flag(value, "fwqs", where),
        _flag(value, "public", where) is not False,
        {name: more for name, more in value.items() if name not in known},
    )


def _text(value: Mapping[str, Any], name: str, where: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise ParseError(f"{where}.{name} is no text")
    return found


def _texts(value: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = value.get(name, [])
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ParseError(f"{where}.{name} is no list of texts")
    return tuple(found)


def _flag(value: Mapping[str, Any], name: str, where: str) -> bool | None:
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise ParseError(f"{where}.{name} is neither true nor false")
    return found


def format_linkset(contexts: Sequence[LinkContext], *, json_ld: bool = False) -> bytes:
    """The JSON that satisfies the GS1 schema, which knows few attributes and short languages.

    json_ld: name the JSON-LD context inside, for who gets no Link header.

    What it asks for and a link has not is filled in: the anchor as description, the target as
    title. Attributes, link types and schemes of targets it does not take are left out, and all
    but target and title of the default link.
    """
    inside = {"@context": CONTEXT_URL} if json_ld else {}
    return orjson.dumps({**inside, "linkset": [_context_object(context) for context in contexts]})


def _context_object(context: LinkContext) -> dict[str, Any]:
    value: dict[str, Any] = {
        "anchor": context.anchor,
        "itemDescription": context.description or context.anchor,
    }
    for link in context.links:
        shaped = _link_object(link)
        if _GS1_RELATION.fullmatch(link.relation) and _GS1_ADDRESS.match(shaped["href"]):
            value.setdefault(link.relation, []).append(shaped)
    return value


def _link_object(link: Link) -> dict[str, Any]:
    languages = [language for language in link.languages if _GS1_LANGUAGE.fullmatch(language)]
    href = _ascii_uri(_WEB.sub(lambda scheme: scheme[0].lower(), link.href))
    value: dict[str, Any] = {"href": href, "title": link.title or link.href}
    if link.relation == DEFAULT_LINK:
        return value
    if link.media_type:
        value["type"] = link.media_type
    if languages:
        value["hreflang"] = languages
    if link.contexts:
        value["context"] = list(link.contexts)
    if link.forward_query is not None:
        value["fwqs"] = link.forward_query
    if not link.public:
        value["public"] = False
    return value


_UNQUOTABLE = re.compile(r"[\x00-\x1f\x7f]")


def _quoted(text: str) -> str:
    escaped = _UNQUOTABLE.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _extended(text: str) -> str:
    """A value of RFC 8187, for text beyond ASCII."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
    octets = text.encode()
    return "UTF-8''" + "".join(chr(o) if o in plain else f"%{o:02X}" for o in octets)


def format_link(link: Link, anchor: str | None = None) -> str:
    """One link as a member of a Link header (RFC 8288 §3). Only characters a header may hold."""
    parts = [f"<{_ascii_uri(link.href)}>", f"rel={_quoted(_ascii_uri(link.relation))}"]
    if anchor is not None:
        parts.append(f"anchor={_quoted(_ascii_uri(anchor))}")
    if link.media_type and link.media_type.isascii():
        parts.append(f"type={_quoted(link.media_type)}")
    parts += (f"hreflang={_quoted(language)}" for language in link.languages if language.isascii())
    if link.title:
        parts.append(
            f"title={_quoted(link.title)}"
            if link.title.isascii()
            else f"title*={_extended(link.title)}"
        )
    return "; ".join(parts)


def _ascii_uri(text: str) -> str:
    """A URI with its other characters, and those that end a target, percent-encoded."""
    if _PLAIN_URI.fullmatch(text):
        return text
    return "".join(
        char if "!" <= char <= "~" and char not in '<>"' else _escaped(char) for char in text
    )


def _escaped(char: str) -> str:
    return "".join(f"%{octet:02X}" for octet in char.encode("utf-8", "replace"))


def format_link_header(links: Iterable[Link], anchor: str | None = None) -> str:
    """The value of one Link header."""
    return ", ".join(format_link(link, anchor) for link in links)


def format_linkset_text(contexts: Sequence[LinkContext]) -> bytes:
    """The form `application/linkset`: the header's syntax, an anchor on each (RFC 9264 §4.1)."""
    lines = (format_link(link, context.anchor) for context in contexts for link in context.links)
    return ",\n".join(lines).encode()


_TARGET = re.compile(r"\s*<([^>]*)>")
_PARAMETER = re.compile(
    r"\s*;\s*([!#$&+\-.^_`|~0-9A-Za-z]+\*?)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\",;]*)))?",
    re.DOTALL,
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_NEXT = re.compile(r"\s*(?:,[\s,]*|$)")


def parse_link_header(text: str) -> tuple[Link, ...]:
    """The links of a Link header, one for each relation. Raises ParseError.

    Anchors and unknown attributes stand in `more`; a relative target is kept as it is.
    """
    if len(text) > MAX_BYTES:
        raise ParseError(f"{len(text)} characters; a Link header has at most {MAX_BYTES}")
    links: list[Link] = []
    at = 0
    while at < len(text):
        target = _TARGET.match(text, at)
        if target is None:
            raise ParseError(f"no <target> at character {at + 1} of a Link header")
        at = target.end()
        parameters: dict[str, list[str]] = {}
        while found := _PARAMETER.match(text, at):
            quoted = re.sub(r"\\(.)", r"\1", found[2], flags=re.DOTALL) if found[2] else found[2]
            value = found[3] if found[2] is None else quoted
            parameters.setdefault(found[1].lower(), []).append(value or "")
            at = found.end()
        end = _NEXT.match(text, at)
        if end is None:
            raise ParseError(f"no comma at character {at + 1} of a Link header")
        at = end.end()
        links += _header_links(target[1].strip(), parameters)
        if len(links) > MAX_LINKS:
            raise ParseError(f"more than {MAX_LINKS} links in one header")
    return tuple(links)


def _header_links(href: str, parameters: Mapping[str, Sequence[str]]) -> list[Link]:
    known = ("rel", "title", "title*", "hreflang", "type")
    # Of a parameter that may stand once the first counts (RFC 8288 §3.3, §3.4).
    first = {name: values[0] for name, values in parameters.items()}
    title = _unextended(first["title*"]) if "title*" in first else None
    return [
        Link(
            expand_relation(relation),
            href,
            title or first.get("title"),
            tuple(parameters.get("hreflang", ())),
            first.get("type"),
            more={name: value for name, value in first.items() if name not in known},
        )
        for relation in first.get("rel", "").split()
    ]


def _unextended(text: str) -> str | None:
    charset, _, rest = text.partition("'")
    _, quote, value = rest.partition("'")
    if not quote or charset.lower() != "utf-8":
        return None
    octets = bytearray()
    at = 0
    while at < len(value):
        escape = _ESCAPE.match(value, at)
        if escape:
            octets.append(int(escape[1], 16))
            at = escape.end()
        else:
            octets += value[at].encode("utf-8", "replace")
            at += 1
    return octets.decode("utf-8", "replace")
