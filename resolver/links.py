"""What a record links to, whichever of its names it was found by (traceability §6.2, §6.3).

links_of() reads the values; levels_of() puts the records of a Digital Link and of what stands
above it in order, finest first, each with one default link where it has any. Choosing among them
is protocol.negotiate; answering, resolver.http.links.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from protocol.errors import ParseError
from protocol.linkset import DEFAULT_LINK, DEFAULT_LINK_MULTI, GS1, SCHEMES, Link, LinkContext
from protocol.record import HandleValue
from protocol.record_links import (
    LINK,
    LINKSET,
    RETIRED,
    RecordLink,
    Retired,
    parse_link_value,
    parse_linkset_value,
    parse_retired,
)
from protocol.schemes.gs1_elements import Element
from protocol.schemes.gs1_link import DigitalLink
from protocol.values.loc import Caller, Locations
from resolver.http.locations import target

HANDLED_BY: Final = GS1 + "handledBy"
PIP: Final = GS1 + "pip"
ARCHIVES: Final = "archives"
LINK_TYPES: Final = frozenset((LINK, LINKSET, RETIRED))
"""Value types that only this page reads."""

_DESCRIBING = (b"ITEMDESCRIPTION", b"DESC", b"TITLE", b"NAME")
_MOST_DESCRIBED = 500
_DEFAULTS = frozenset((DEFAULT_LINK, DEFAULT_LINK_MULTI))


@dataclass(frozen=True, slots=True)
class RecordLinks:
    """What one record says. address: what its 10320/loc or URL values lead to."""

    links: tuple[RecordLink, ...] = ()
    address: str | None = None
    description: str | None = None
    retired: Retired | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """One thing among those a request names: itself, its lot, its class. path: below the root."""

    path: str
    links: tuple[Link, ...]
    description: str | None = None


def links_of(
    values: Sequence[HandleValue],
    name: str = "",
    *,
    caller: Caller | None = None,
    schemes: Iterable[str] = SCHEMES,
) -> RecordLinks:
    """Read the links of a record's values: 0.LINK, 0.LINKSET, 10320/loc and URL.

    name: for templates of 10320/loc. caller: who asks, where locations are chosen by that.
    schemes: of targets; links of others, and such as are not for everyone, are left out.
    """
    allowed = tuple(schemes)
    links: list[RecordLink] = []
    description: str | None = None
    retired: Retired | None = None
    for value in values:
        folded = value.type.upper()
        try:
            if folded in (LINK, LINKSET):
                parse = _parsed if len(value.data) <= _MOST_KEPT else _parse
                links += parse(folded, value.data, allowed)
            elif folded == RETIRED:
                retired = retired or parse_retired(value.data, allowed)
            elif folded in _DESCRIBING and description is None:
                description = _described(value.data)
        except ParseError:
            continue  # of another node, or older than the rule: shown on the page as it is
    address, source = target(name, values, Locations(()), caller or Caller(draw=0.0))
    return RecordLinks(
        tuple(one for one in links if one.link.public),
        address if source is not None and _is_allowed(address, allowed) else None,
        description,
        retired,
    )


def _parse(folded: bytes, data: bytes, schemes: tuple[str, ...]) -> tuple[RecordLink, ...]:
    parse = parse_link_value if folded == LINK else parse_linkset_value
    return parse(data, schemes)


_parsed = lru_cache(maxsize=8192)(_parse)
_MOST_KEPT = 1_024
"""Octets of a value whose links are remembered."""


def _described(data: bytes) -> str | None:
    text = data.decode("utf-8", "replace").strip()
    return text[:_MOST_DESCRIBED] or None


def _is_allowed(address: str, schemes: Sequence[str]) -> bool:
    return address.partition(":")[0].lower() in schemes


def level_of(path: str, record: RecordLinks) -> Level:
    """The one level of a record that is no GS1 key."""
    links = tuple(one.link for one in record.links if not one.below)
    links = _with_archive(links, record.retired)
    links = _with_default(links, record.address, record.description)
    described = next((one.description for one in record.links if one.description), None)
    return with_defaults([Level(path, links, record.description or described)])[0]


def levels_of(
    asked: DigitalLink, found: Sequence[tuple[DigitalLink, RecordLinks]]
) -> tuple[Level, ...]:
    """The levels of a Digital Link that have something to say, finest first.

    found: the records that exist among protocol.schemes.gs1_link.levels(asked), in that order. A
    link that counts only below its record stands at the level it asks for, after that level's own
    record.
    """
    order = {element: at for at, element in enumerate(asked.qualifiers)}
    placed: dict[tuple[int, int], list[RecordLink]] = {}
    for at, (level, record) in enumerate(found):
        own = _mask(level.qualifiers, order)
        placed.setdefault((own, at), [])
        for one in record.links:
            mask = _place(one, level, asked, order)
            if mask is not None:
                placed.setdefault((mask, at), []).append(one)
    levels = []
    for mask, at in sorted(placed, key=lambda key: (-key[0], key[1])):
        level, record = found[at]
        own = mask == _mask(level.qualifiers, order)
        levels.append(_made(asked, mask, record, placed[mask, at], own=own))
    return with_defaults(levels)


def _mask(elements: Iterable[Element], order: dict[Element, int]) -> int:
    return sum(1 << order[element] for element in elements)


def _place(
    one: RecordLink, level: DigitalLink, asked: DigitalLink, order: dict[Element, int]
) -> int | None:
    """The level a link counts at; None where it does not count for what was asked."""
    present = dict(asked.qualifiers)
    wanted = {Element(ai, present.get(ai, "")) for ai, _ in one.below}
    if any(present.get(ai) is None or value not in (None, present[ai]) for ai, value in one.below):
        return None
    if one.anchor is not None:
        if one.anchor.key != asked.key or not set(one.anchor.qualifiers) <= set(asked.qualifiers):
            return None
        wanted.update(one.anchor.qualifiers)
    return _mask(wanted | set(level.qualifiers), order)


def _made(
    asked: DigitalLink, mask: int, record: RecordLinks, some: Sequence[RecordLink], *, own: bool
) -> Level:
    qualifiers = tuple(e for at, e in enumerate(asked.qualifiers) if mask >> at & 1)
    path = DigitalLink(asked.key, qualifiers).path
    links = tuple(one.link for one in some)
    if own:
        links = _with_archive(links, record.retired)
    links = _with_default(links, record.address if own else None, record.description)
    described = next((one.description for one in some if one.description), None)
    first, second = (record.description, described) if own else (described, record.description)
    return Level(path, links, first or second)


def _with_archive(links: tuple[Link, ...], retired: Retired | None) -> tuple[Link, ...]:
    if retired is None or retired.archive is None:
        return links
    return (*links, Link(ARCHIVES, retired.archive, "Archive"))


def _with_default(
    links: tuple[Link, ...], address: str | None, description: str | None
) -> tuple[Link, ...]:
    """One default link at most, bare, and the same target under a descriptive type too.

    Further defaults, and attributes of the only one, live on as gs1:defaultLinkMulti.
    """
    defaults = [link for link in links if link.relation == DEFAULT_LINK]
    several = [link for link in links if link.relation == DEFAULT_LINK_MULTI]
    others = tuple(link for link in links if link.relation not in _DEFAULTS)
    if not defaults and not several and address is not None:
        defaults = [Link(DEFAULT_LINK, address, description)]
    if not defaults and not several:
        return links
    first = (defaults or several)[0]
    if len(defaults) > 1 or (defaults and several and first.languages):
        several = [replace(link, relation=DEFAULT_LINK_MULTI) for link in defaults] + several
    made: tuple[Link, ...] = (_bare(first),)
    if address is not None and all(link.href != address for link in (*others, first)):
        others = (*others, Link(PIP, address, description))
    if all(link.href != first.href for link in others):
        others = (replace(first, relation=PIP), *others)
    return (*made, *several, *others)


def _bare(link: Link) -> Link:
    return Link(DEFAULT_LINK, link.href, link.title, forward_query=link.forward_query)


def with_defaults(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Where no level has a default link, the coarsest with links gets one (§6.1 #6)."""
    if any(link.relation == DEFAULT_LINK for level in levels for link in level.links):
        return tuple(levels)
    for at in reversed(range(len(levels))):
        own = [link for link in levels[at].links if link.relation not in (HANDLED_BY, ARCHIVES)]
        if own:
            first = next((link for link in own if link.relation == PIP), own[0])
            made = replace(levels[at], links=(_bare(first), *levels[at].links))
            return (*levels[:at], made, *levels[at + 1 :])
    return tuple(levels)


def contexts(levels: Sequence[Level], root: str) -> tuple[LinkContext, ...]:
    """The levels as a linkset: one context a thing, one default link in each."""
    merged: dict[str, list[Level]] = {}
    for level in levels:
        merged.setdefault(level.path, []).append(level)
    return tuple(
        LinkContext(
            root + path,
            _united(some),
            next((level.description for level in some if level.description), None),
        )
        for path, some in merged.items()
    )


def _united(levels: Sequence[Level]) -> tuple[Link, ...]:
    """All links, with the first default alone."""
    links = [link for level in levels for link in level.links]
    default = next((link for link in links if link.relation == DEFAULT_LINK), None)
    others = [link for link in links if link.relation != DEFAULT_LINK]
    return tuple(others) if default is None else (default, *others)
