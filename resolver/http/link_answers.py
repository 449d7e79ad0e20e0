"""Answers with links: redirect, linkset, choice, tombstone (GS1 resolver 1.2.0; RFC 9264).

What was found comes in; how it was found is the business of resolver.http.links.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from aiohttp import web
from xxhash import xxh3_64_hexdigest

from protocol.linkset import (
    CONTEXT_URL,
    DEFAULT_LINK,
    LD_MEDIA_TYPE,
    MEDIA_TYPE,
    TEXT_MEDIA_TYPE,
    Link,
    LinkContext,
    format_link_header,
    format_linkset,
    format_linkset_text,
)
from protocol.negotiate import Chosen, Outcome, Wanted, choose, fill, parse_qualities, target
from protocol.record import HandleValue
from protocol.record_links import Retired
from resolver.http.address import safe_address
from resolver.http.link_pages import choice_page, gone_page, linkset_page
from resolver.http.page import record_page, redirect
from resolver.http.problem import problem
from resolver.http.reply import is_known
from resolver.links import Level, contexts

VARY: Final = {"Vary": "Accept, Accept-Language"}
_OK: Final = 200
_HTML: Final = "text/html"
_FORMS: Final[Mapping[str, Callable[[Sequence[LinkContext]], bytes]]] = {
    MEDIA_TYPE: format_linkset,
    TEXT_MEDIA_TYPE: format_linkset_text,
    LD_MEDIA_TYPE: partial(format_linkset, json_ld=True),
    "application/json": format_linkset,
}
"""How a linkset is written in each media type that a client may name."""
_CONTEXT: Final = Link(
    "http://www.w3.org/ns/json-ld#context", CONTEXT_URL, media_type=LD_MEDIA_TYPE
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as it was found.

    path: below the root. places: what stands for the places of targets. query: to be passed on.
    ttl_s: how long the records hold. values: of the finest record. compressed: so was the link.
    """

    path: str
    root: str
    levels: tuple[Level, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    ttl_s: int = 0
    retired: Retired | None = None
    values: tuple[HandleValue, ...] = ()
    compressed: bool = False

    @property
    def anchor(self) -> str:
        """The uncompressed URI."""
        return self.root + self.path

    @property
    def name(self) -> str:
        """For people."""
        return self.path.lstrip("/")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a node answers. schemes: of targets. forward_query: where a link does not say."""

    schemes: frozenset[str]
    forward_query: bool


def answer(
    request: web.BaseRequest, subject: Subject, want: Wanted, manner: Manner
) -> web.Response | None:
    """What a request gets of what was found (§6.3); None: the page of the thing."""
    chosen = choose([level.links for level in subject.levels], want)
    nothing = chosen.outcome is Outcome.NONE
    if subject.retired is not None and (want.relation is None or nothing):
        return _gone(request, subject, subject.retired)
    if chosen.outcome is Outcome.LINKSET:
        return _linkset(request, subject, contexts(_filled(subject), subject.root))
    if chosen.outcome is Outcome.REDIRECT:
        return _redirected(subject, chosen, manner)
    if chosen.outcome is Outcome.CHOICE:
        return _choice(request, subject, chosen)
    if want.relation is None:
        return None
    headers = {**VARY, "Link": link_header(subject)}
    why = f"{subject.anchor} has no link of type {want.relation}"
    return problem(404, "no-such-link", "No link of this type", detail=why, headers=headers)


def _with(response: web.Response, headers: Mapping[str, str]) -> web.Response:
    response.headers.update(headers)
    return response


def _redirected(subject: Subject, chosen: Chosen, manner: Manner) -> web.Response:
    (link,) = chosen.links
    to = target(link, subject.places, subject.query, forward=manner.forward_query)
    address = safe_address(to, "", manner.schemes)
    headers = {
        **VARY,
        "Link": link_header(subject),
        "Cache-Control": f"max-age={subject.ttl_s}",
    }
    if address is None:
        note = "The address below is not one that this server sends browsers to."
        return _with(record_page(subject.name, subject.values, note), headers)
    return redirect(307, address, headers)


def _choice(request: web.BaseRequest, subject: Subject, chosen: Chosen) -> web.Response:
    level = subject.levels[chosen.level or 0]
    (filled,) = _filled(replace(subject, levels=(replace(level, links=chosen.links),)))
    if takes_html(request):
        page = choice_page(subject.anchor, filled.links)
        return _with(page, {**VARY, "Link": link_header(subject)})
    context = LinkContext(subject.root + level.path, filled.links, level.description)
    return _linkset(request, subject, (context,), status=300)


def _gone(request: web.BaseRequest, subject: Subject, retired: Retired) -> web.Response:
    """410 with what is left: its linkset, or a page of it."""
    levels = _filled(subject)
    if not takes_html(request):
        return _linkset(request, subject, contexts(levels, subject.root), status=410)
    left = [link for link in levels[0].links if link.relation != DEFAULT_LINK]
    page = gone_page(subject.anchor, retired, left)
    return _with(page, {**VARY, "Link": link_header(subject)})


def _filled(subject: Subject) -> tuple[Level, ...]:
    """The levels with the places of their targets filled."""
    return tuple(
        replace(
            level,
            links=tuple(
                replace(link, href=fill(link.href, subject.places)) if "{" in link.href else link
                for link in level.links
            ),
        )
        for level in subject.levels
    )


def _linkset(
    request: web.BaseRequest, subject: Subject, some: Sequence[LinkContext], status: int = _OK
) -> web.Response:
    """A linkset in the form asked for, with the header that makes it JSON-LD."""
    media_type = _form(request)
    if media_type == _HTML:
        page = linkset_page(subject.name, some)
        return _with(page, {**VARY, "Link": link_header(subject)})
    body = _FORMS[media_type](some)
    headers = {
        **VARY,
        "Link": f"{format_link_header([_CONTEXT])}, {link_header(subject)}",
        "Cache-Control": f"max-age={subject.ttl_s}" if status == _OK else "no-cache",
        "Content-Type": media_type,
    }
    if status == _OK:
        etag = xxh3_64_hexdigest(body)
        headers["ETag"] = f'"{etag}"'
        if is_known(request, etag):
            return web.Response(status=304, headers=headers)
    return web.Response(status=status, body=body, headers=headers)


def _form(request: web.BaseRequest) -> str:
    """The first form of a linkset that a client names; JSON for whoever names none."""
    for range_, quality in parse_qualities(header(request, "Accept")):
        if quality and (range_ in _FORMS or range_ == _HTML):
            return range_
    return MEDIA_TYPE


def link_header(subject: Subject) -> str:
    """The Link header: where the linkset is, and of a compressed link what it stands for."""
    address = f"{subject.anchor}?linkType=linkset"
    linkset = Link("linkset", address, media_type=MEDIA_TYPE)
    return format_link_header([linkset, *same_as(subject)])


def page_headers(subject: Subject) -> dict[str, str]:
    """What the page of a thing says besides."""
    return {**VARY, "Link": link_header(subject)}


def same_as(subject: Subject) -> list[Link]:
    """What a compressed link stands for (§6.1 #17)."""
    return [Link("owl:sameAs", subject.anchor)] if subject.compressed else []


def header(request: web.BaseRequest, name: str) -> str | None:
    """A header's lines as one."""
    lines = request.headers.getall(name, [])
    return ", ".join(lines) if lines else None


def takes_html(request: web.BaseRequest) -> bool:
    """Whether a client asks for pages, as browsers do."""
    ranges = parse_qualities(header(request, "Accept"))
    return any(range_ == _HTML and quality for range_, quality in ranges)
