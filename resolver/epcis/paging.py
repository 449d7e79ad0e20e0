"""Pages of an answer: `perPage`, `nextPageToken`, and the Link to the next one (§3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from protocol.epcis.errors import QueryParameterException
from protocol.epcis.moment import format_time_us
from registry.labels import Viewer
from resolver.epcis.tokens import Tokens
from resolver.http.asked import Parameters, raw_path

PER_PAGE: Final = 30
MOST_PER_PAGE: Final = 1_000
PER_PAGE_NAME: Final = "perPage"
TOKEN_NAME: Final = "nextPageToken"  # noqa: S105 - the name of a parameter
_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Page:
    """One page. position: where it begins, as the token before it said; None: at the start."""

    size: int
    position: Any


class Pages:
    """Reads and writes pages of one reader."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def asked(self, request: web.BaseRequest, viewer: Viewer, now_s: int) -> Page:
        """The page a request asks for. Raises QueryParameterException, NoSuchResourceException."""
        parameters = Parameters.of(request)
        size = page_size(parameters.first(PER_PAGE_NAME))
        token = parameters.first(TOKEN_NAME)
        if token is None:
            return Page(size, None)
        return Page(size, self._tokens.read(token, _bound(request, viewer), now_s))

    def headers(
        self, request: web.BaseRequest, viewer: Viewer, position: Any, now_s: int
    ) -> dict[str, str]:
        """The headers that lead to the next page; none where position is None."""
        if position is None:
            return {}
        token, expires = self._tokens.make(_bound(request, viewer), position, now_s)
        pairs = [*_query(request), (TOKEN_NAME, token)]
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
        return {
            "Link": f'<{raw_path(request)}?{query}>; rel="next"',
            "GS1-Next-Page-Token-Expires": format_time_us(expires * 1_000_000),
        }


def page_size(text: str | None) -> int:
    """`perPage`, within bounds. Raises QueryParameterException."""
    if text is None:
        return PER_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) > 0):
        raise QueryParameterException(f"{PER_PAGE_NAME} is a number from 1 on, not {text[:40]!r}")
    return min(int(text), MOST_PER_PAGE)


def _query(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The parameters without the token."""
    return [pair for pair in Parameters.of(request).pairs if pair[0] != TOKEN_NAME]


def _bound(request: web.BaseRequest, viewer: Viewer) -> bytes:
    """What a token belongs to: path, parameters but the page's size, and who asks."""
    who = viewer.actor.text() if viewer.actor is not None else ""
    pairs = sorted(pair for pair in _query(request) if pair[0] != PER_PAGE_NAME)
    return repr((raw_path(request), pairs, who)).encode("utf-8", "backslashreplace")
