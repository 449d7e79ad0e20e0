"""Which link a request gets: link type, language, media type, context (traceability §6.3).

Pure: the caller brings the links of each level, finest first, already freed of what may not be
seen, and turns the answer into a redirect, a linkset, a choice or "not found".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.linkset import (
    DEFAULT_LINK,
    DEFAULT_LINK_MULTI,
    MEDIA_TYPE,
    TEXT_MEDIA_TYPE,
    Link,
    expand_relation,
)
from protocol.schemes.gs1_link import encode_value

MAX_HEADER: Final = 8192
MAX_MEMBERS: Final = 100
LINKSET_TYPES: Final = ("linkset", "all")
"""Values of `linkType` that ask for the linkset; `all` is the older one."""

OWN_PARAMETERS: Final = ("linkType", "context")
"""Query parameters that are the resolver's own."""

_PLACE = re.compile(r"\{([A-Za-z0-9]+)\}")
_MEMBER = re.compile(r"\s*([^;,\s]+)\s*(.*)", re.DOTALL)
_QUALITY = re.compile(r";\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)
_ANY_QUALITY = re.compile(r";\s*q\s*=", re.IGNORECASE)


def parse_qualities(header: str | None) -> tuple[tuple[str, float], ...]:
    """Members of Accept or Accept-Language with their q, best first, equal ones as they came.

    Lower case, without parameters; a q that is none counts as 0. What is above MAX_HEADER
    characters or MAX_MEMBERS members is not looked at.
    """
    if not header:
        return ()
    found: list[tuple[str, float]] = []
    for member in header[:MAX_HEADER].split(",")[:MAX_MEMBERS]:
        match = _MEMBER.fullmatch(member)
        if match is None:
            continue
        quality = _QUALITY.search(match[2])
        q = float(quality[1]) if quality else 0.0 if _ANY_QUALITY.search(match[2]) else 1.0
        found.append((match[1].lower(), q))
    return tuple(sorted(found, key=lambda pair: -pair[1]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for. relation: full form, None for the default link."""

    relation: str | None = None
    linkset: bool = False
    languages: tuple[tuple[str, float], ...] = ()
    media: tuple[tuple[str, float], ...] = ()
    context: str | None = None

    @property
    def particular(self) -> bool:
        """Whether it states any preference that a default link could be chosen by."""
        return bool(self.languages or self.media or self.context)


def wanted(
    *,
    link_type: str | None = None,
    accept: str | None = None,
    accept_language: str | None = None,
    context: str | None = None,
) -> Wanted:
    """A request's `?linkType=`, Accept, Accept-Language and `?context=`. Raises ParseError.

    A lone `*` or `*/*` is no preference.
    """
    media = parse_qualities(accept)
    languages = parse_qualities(accept_language)
    asks_linkset = link_type in LINKSET_TYPES or (not link_type and prefers_linkset(media))
    relation = expand_relation(link_type) if link_type and not asks_linkset else None
    return Wanted(
        relation,
        asks_linkset,
        () if all(range_ == "*" for range_, _ in languages) else languages,
        () if all(range_ == "*/*" for range_, _ in media) else media,
        context or None,
    )


def prefers_linkset(media: Sequence[tuple[str, float]]) -> bool:
    """Whether the best of the media types, as parse_qualities() gives them, is a linkset."""
    return bool(media) and media[0][0] in (MEDIA_TYPE, TEXT_MEDIA_TYPE) and media[0][1] > 0


class Outcome(StrEnum):
    """What to answer."""

    LINKSET = "linkset"  # 200, all levels
    REDIRECT = "redirect"  # 307 to the one link
    CHOICE = "choice"  # 300, a linkset of just these
    NONE = "none"  # 404


@dataclass(frozen=True, slots=True)
class Chosen:
    """links: one for REDIRECT, several for CHOICE, else none. level: index of where they were."""

    outcome: Outcome
    links: tuple[Link, ...] = ()
    level: int | None = None


def choose(levels: Sequence[Sequence[Link]], asked: Wanted) -> Chosen:
    """Choose among the links of an identifier's levels, finest first.

    The finest level that has a link of the wanted type decides; attributes only narrow it.
    """
    if asked.linkset:
        return Chosen(Outcome.LINKSET)
    for at, links in enumerate(levels):
        candidates = _candidates(links, asked)
        if candidates:
            left = _narrow(candidates, asked)
            outcome = Outcome.REDIRECT if len(left) == 1 else Outcome.CHOICE
            return Chosen(outcome, tuple(left), at)
    return Chosen(Outcome.NONE)


def _candidates(links: Sequence[Link], asked: Wanted) -> list[Link]:
    if asked.relation is not None and asked.relation != DEFAULT_LINK:
        return [link for link in links if link.relation == asked.relation]
    several = [link for link in links if link.relation == DEFAULT_LINK_MULTI]
    if asked.relation is None and asked.particular:
        fitting = [link for link in several if _fits(link, asked)]
        if fitting:
            return fitting
    return [link for link in links if link.relation == DEFAULT_LINK] or several


def _fits(link: Link, asked: Wanted) -> bool:
    """Whether a link meets every stated preference that it says something about."""
    return (
        (not asked.languages or not link.languages or bool(_by_language([link], asked.languages)))
        and (not asked.media or not link.media_type or bool(_by_media([link], asked.media)))
        and (not asked.context or not link.contexts or bool(_by_context([link], asked.context)))
    )


def _narrow(links: list[Link], asked: Wanted) -> list[Link]:
    """Stated preferences first, each unless it would leave nothing; then the plainest."""
    left = links
    if asked.languages:
        left = _by_language(left, asked.languages) or _without(left, _language) or left
    if asked.media:
        left = _by_media(left, asked.media) or _without(left, _media) or left
    if asked.context:
        left = _by_context(left, asked.context) or _without(left, _contexts) or left
    if not asked.languages:
        left = _without(left, _language) or left
    if not asked.media:
        left = _without(left, _media) or left
    if not asked.context:
        left = _without(left, _contexts) or left
    return left


def _language(link: Link) -> object:
    return [tag for tag in link.languages if tag.lower() != "und"]


def _media(link: Link) -> object:
    return link.media_type


def _contexts(link: Link) -> object:
    return link.contexts


def _without(links: Sequence[Link], attribute: Callable[[Link], object]) -> list[Link]:
    return [link for link in links if not attribute(link)]


def _by_language(links: Sequence[Link], ranges: Iterable[tuple[str, float]]) -> list[Link]:
    """RFC 4647 lookup: each range, shortened from its end; then tags that go on where it ends."""
    tags = [frozenset(tag.lower() for tag in link.languages) for link in links]
    for range_, quality in ranges:
        if not quality or range_ == "*":
            continue
        tag = range_
        while tag:
            found = [link for link, own in zip(links, tags, strict=True) if tag in own]
            if found:
                return found
            tag = _shorter(tag)
        found = [
            link
            for link, own in zip(links, tags, strict=True)
            if any(language.startswith(range_ + "-") for language in own)
        ]
        if found:
            return found
    return []


def _shorter(tag: str) -> str:
    """Without its last part, and without a single letter before that (RFC 4647 §3.4)."""
    head = tag.rpartition("-")[0]
    return head.rpartition("-")[0] if head[-2:-1] == "-" else head


def _by_media(links: Sequence[Link], ranges: Sequence[tuple[str, float]]) -> list[Link]:
    """The links whose media type has the best quality above 0."""
    scored = [(media_quality(link.media_type, ranges), link) for link in links if link.media_type]
    best = max((quality for quality, _ in scored), default=0.0)
    return [link for quality, link in scored if quality == best] if best else []


def media_quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The q of the most specific range that takes a media type; 0 where none does."""
    own = media_type.partition(";")[0].strip().lower()
    general = own.partition("/")[0] + "/*"
    known = dict(reversed(ranges))
    for range_ in (own, general, "*/*"):
        if range_ in known:
            return known[range_]
    return 0.0


def _by_context(links: Sequence[Link], context: str) -> list[Link]:
    folded = context.lower()
    return [link for link in links if folded in (own.lower() for own in link.contexts)]


def target(link: Link, values: Mapping[str, str], query: str, *, forward: bool = True) -> str:
    """Where to redirect: the link's target with its places filled and the request's query.

    values: what `{name}` stands for; a place without a value stays empty. query: of the request,
    without question mark. forward: the node's default for links that say nothing.
    """
    href = fill(link.href, values)
    wanted_along = forward if link.forward_query is None else link.forward_query
    members = [
        member
        for member in query.split("&")
        if member and member.partition("=")[0] not in OWN_PARAMETERS
    ]
    if not wanted_along or not members:
        return href
    before, hash_, fragment = href.partition("#")
    joint = "&" if "?" in before else "?"
    return f"{before}{joint}{'&'.join(members)}{hash_}{fragment}"


def fill(href: str, values: Mapping[str, str]) -> str:
    """A target with its places filled, each value percent-encoded; one without a value is empty."""
    return _PLACE.sub(lambda place: encode_value(values.get(place[1], "")), href)
