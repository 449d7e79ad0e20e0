"""Pages for people who follow a link that is several, or none any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from aiohttp import web

from protocol.linkset import GS1, LD_MEDIA_TYPE, Link, LinkContext, format_linkset
from protocol.record_links import Retired
from resolver.http.page import is_web_address, page


def choice_page(name: str, links: Iterable[Link], *, status: int = 300) -> web.Response:
    """Several links that fit equally well."""
    body = f"<h1>Several links fit</h1><p><code>{escape(name)}</code></p>{_list(links)}"
    return page("Several links fit", body, status=status)


def linkset_page(name: str, levels: Sequence[LinkContext]) -> web.Response:
    """A linkset for a reader, with the one for programs inside (GS1 resolver 1.2 §2.10)."""
    parts = "".join(
        f"<h2>{escape(level.description or 'Without a description')}</h2>"
        f"<p><code>{escape(level.anchor)}</code></p>{_list(level.links)}"
        for level in levels
    )
    data = format_linkset(levels, json_ld=True).decode().replace("<", "\\u003c")
    inside = f'<script type="{LD_MEDIA_TYPE}">{data}</script>'
    return page("Links", f"<h1>Links of <code>{escape(name)}</code></h1>{parts}{inside}")


def gone_page(name: str, retired: Retired, links: Iterable[Link]) -> web.Response:
    """A tombstone, and what is left of the thing."""
    since = f" since {escape(retired.since)}" if retired.since else ""
    note = f"<p>{escape(retired.note)}</p>" if retired.note else ""
    body = f"<h1>No longer in use{since}</h1><p><code>{escape(name)}</code></p>{note}{_list(links)}"
    return page("No longer in use", body, status=410)


def _list(links: Iterable[Link]) -> str:
    lines = "".join(f"<li>{_item(link)}</li>" for link in links)
    return f"<ul>{lines}</ul>" if lines else ""


def _item(link: Link) -> str:
    kind = escape(link.relation.removeprefix(GS1))
    more = ", ".join((*link.languages, *filter(None, (link.media_type,)), *link.contexts))
    text = escape(link.title or link.href)
    if is_web_address(link.href):
        text = f'<a rel="noopener noreferrer nofollow" href="{escape(link.href)}">{text}</a>'
    return f"{text} ({kind}{', ' * bool(more)}{escape(more)})"
