"""The resolver of links: GS1 Digital Links level by level, other identifiers by their one record.

GET /{key}/{value}…, `?linkType=` and `Accept: application/linkset+json` of any identifier, and
/api/linkset/{identifier}. Which answer follows from what is found: resolver.http.link_answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from protocol.errors import ParseError, ResponseCode
from protocol.linkset import Link, format_link_header
from protocol.negotiate import Wanted, parse_qualities, prefers_linkset, wanted
from protocol.record import TTL_ABSOLUTE, HandleValue
from protocol.record_links import places_of
from protocol.schemes.gs1_link import DigitalLink
from protocol.values.loc import Caller
from resolver.aliases import MUTUAL, name_in
from resolver.http.address import SAFE, safe_address
from resolver.http.asked import Parameters, Senders, raw_query
from resolver.http.link_answers import (
    VARY,
    Manner,
    Subject,
    answer,
    header,
    link_header,
    page_headers,
    same_as,
    takes_html,
)
from resolver.http.link_memo import memo_of
from resolver.http.link_path import Asked
from resolver.http.link_records import Found, LinkRecords, LookupFailed
from resolver.http.naming import digital_link_of
from resolver.http.page import PUBLIC_HEADERS, error_page, not_found_page, redirect
from resolver.http.problem import method_not_allowed, problem, problem_of
from resolver.links import HANDLED_BY, LINK_TYPES, level_of, levels_of, links_of
from resolver.lookup import Answer
from resolver.pages.face import Pages

if TYPE_CHECKING:
    from resolver.node import Node

METHODS: Final = ("GET", "HEAD", "OPTIONS")
_PREFLIGHT: Final = {
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
    **PUBLIC_HEADERS,
}
_MOST_TTL_S: Final = 86_400
_REDIRECT: Final = 307
_FAILURES: Final[Mapping[ResponseCode, tuple[int, str]]] = {
    ResponseCode.SERVER_BUSY: (503, "busy"),
    ResponseCode.RECURSION_COUNT_TOO_HIGH: (508, "loop"),
}


class Links:
    """The resolver of links of one reader."""

    def __init__(
        self, node: Node, senders: Senders, pages: Pages, *, draw: Callable[[], float]
    ) -> None:
        """draw: a random number, 0 ≤ draw < 1, for weighted locations."""
        self._node = node
        self._pages = pages
        self._senders = senders
        self._draw = draw
        self.root = pages.root
        schemes = frozenset(scheme.lower() for scheme in node.settings.http.redirect_schemes)
        self._manner = Manner(schemes, node.settings.digital_link.forward_query)
        self._records = LinkRecords(node, schemes)
        self._memo = memo_of(node.store)

    async def digital_link(
        self, request: web.Request, asked: Asked, *, linkset: bool = False, page: bool = False
    ) -> web.StreamResponse:
        """Answer a Digital Link. linkset: with its linkset, whatever the request says; page: with
        the page of its finest record.

        Raises ParseError for a link type that is none.
        """
        if request.method not in METHODS:
            return method_not_allowed(", ".join(METHODS))
        parameters = Parameters.of(request)
        want = _wanted(request, parameters, linkset=linkset)
        link = asked.link
        subject = self._subject(request, asked)
        mark = self._memo.mark()
        try:
            found = await self._records.of(link, self._caller(request, parameters))
        except LookupFailed as failed:
            known = await self._pages.without_record(request, link.identity) if page else None
            return known or _failure(failed.answer)
        if not found:
            known = await self._pages.without_record(request, link.identity) if page else None
            return known or self._unknown(request, link, subject)
        subject = replace(
            subject,
            levels=levels_of(link, [(one.level, one.links) for one in found]),
            ttl_s=min(_ttl_s(one.values, self._node.now()) for one in found),
            retired=found[0].links.retired,
            values=found[0].values,
        )
        handle = found[0].level.identity.encode()
        if parameters.has("noredirect") or page:
            return await self._pages.record(request, link.identity, handle, subject.values)
        elsewhere = _handled_by(subject)
        if elsewhere is not None:
            return self._forwarded(elsewhere, link, subject)
        made = answer(request, subject, want, self._manner)
        if made is None:
            return await self._pages.record(
                request, link.identity, handle, subject.values, headers=page_headers(subject)
            )
        if made.status == _REDIRECT and self._node.prefixes.responsible(link.identity.encode()):
            self._keep(request, mark, made, found)
        return made

    def options(self, request: web.Request, asked: Asked) -> web.Response:
        """The answer to OPTIONS of a Digital Link; it says where the linkset is, too."""
        response = preflight()
        response.headers["Link"] = link_header(self._subject(request, asked))
        return response

    def _subject(self, request: web.BaseRequest, asked: Asked) -> Subject:
        return Subject(
            asked.link.path,
            self.root.of(request) + ("" if self.root.fixed else asked.link.base),
            places=places_of(asked.link),
            query=_passed_on(asked, request),
            compressed=asked.compressed,
        )

    def _keep(
        self,
        request: web.BaseRequest,
        mark: bytes | None,
        made: web.Response,
        found: Sequence[Found],
    ) -> None:
        """Remember a redirect for the fast way, where it holds for whoever asks the same."""
        if request.method != "GET" or self._senders.forwarded(request):
            return
        if not all(one.steady for one in found) or not request.raw_path.startswith("/"):
            return
        face = "https" if self._senders.secure(request) else "http"
        asked = (header(request, name) or "" for name in ("Host", "Accept", "Accept-Language"))
        host, accept, language = (text.encode("utf-8", "surrogateescape") for text in asked)
        target = request.raw_path[1:].encode("utf-8", "surrogateescape")
        self._memo.keep((face, target, host, accept, language), mark, made)

    async def record(
        self,
        request: web.Request,
        name: bytes,
        values: Sequence[HandleValue],
        *,
        linkset: bool = False,
    ) -> web.StreamResponse:
        """Answer for a record found under any name. Raises ParseError.

        One that is a GS1 key too, by its name or because both say so, is answered as that key.
        """
        parameters = Parameters.of(request)
        link = digital_link_of(name) or await self._declared(values)
        if link is not None:
            return await self.digital_link(request, Asked(link), linkset=linkset)
        want = _wanted(request, parameters, linkset=linkset)
        shown = name.decode("utf-8", "replace")
        caller = self._caller(request, parameters)
        links = links_of(values, shown, caller=caller, schemes=self._manner.schemes)
        path = "/" + quote(shown, safe="/:").lstrip("/")
        subject = Subject(
            path,
            self.root.of(request),
            (level_of(path, links),),
            {"hdl": shown, "suffix": shown.partition("/")[2]},
            _clean(raw_query(request)),
            _ttl_s(values, self._node.now()),
            links.retired,
            tuple(values),
        )
        made = answer(request, subject, want, self._manner)
        if made is not None:
            return made
        headers = page_headers(subject)
        return await self._pages.record(request, shown, name, values, headers=headers)

    async def _declared(self, values: Sequence[HandleValue]) -> DigitalLink | None:
        """The first GS1 key that a record calls itself, where that one leads here."""
        for value in values:
            other = name_in(value.data) if value.type.upper() == MUTUAL else None
            link = None if other is None else digital_link_of(other)
            if link is not None:
                try:
                    found = await self._records.of(link, Caller(draw=0.0))
                except LookupFailed:
                    return None
                same = bool(found) and found[0].level == link and found[0].values == tuple(values)
                return link if same else None
        return None

    def _caller(self, request: web.BaseRequest, parameters: Parameters) -> Caller:
        name, colon, value = (parameters.first("locatt") or "").partition(":")
        return Caller(
            draw=self._draw(),
            locatt=(name, value) if colon else None,
            address=self._senders.host(request),
        )

    def _unknown(
        self, request: web.BaseRequest, link: DigitalLink, subject: Subject
    ) -> web.StreamResponse:
        elsewhere = self._records.elsewhere(link)
        if elsewhere is not None:
            return self._forwarded(elsewhere, link, subject)
        if takes_html(request):
            return not_found_page(link.identity)
        why = f"{link.identity} is not known here"
        same = same_as(subject)
        headers = {"Link": format_link_header(same)} if same else {}
        return problem(404, "not-found", "No such identifier", detail=why, headers=headers)

    def _forwarded(self, root: str, link: DigitalLink, subject: Subject) -> web.StreamResponse:
        """307 to the same link at another resolver (§6.1 #18)."""
        query = subject.query
        to = f"{root.rstrip('/')}{link.path}{'?' * bool(query)}{query}"
        address = safe_address(to, "", self._manner.schemes)
        if address is None:
            told = "no link of it is kept here; ask the resolver of who issued it"
            return problem(404, "not-found", "No such identifier", detail=told)
        handled = format_link_header([Link("gs1:handledBy", root), *same_as(subject)])
        return redirect(307, address, {**VARY, "Link": handled, "Cache-Control": "no-cache"})


def preflight(*methods: str) -> web.Response:
    """The answer to OPTIONS. methods: where they are others than those of links."""
    allowed = ", ".join(methods or METHODS)
    headers = {"Allow": allowed, "Access-Control-Allow-Methods": allowed, **_PREFLIGHT}
    return web.Response(status=204, headers=headers)


def refused(request: web.BaseRequest, error: ParseError, shown: str) -> web.Response:
    """400 for a link that is none (§6.1 #3)."""
    if takes_html(request):
        return error_page(400, "This is no identifier", shown, str(error))
    return problem_of(error)


def has_links(values: Sequence[HandleValue]) -> bool:
    """Whether a record says something about links that a plain redirect does not know."""
    return any(value.type.upper() in LINK_TYPES for value in values)


def asks_for_links(request: web.BaseRequest, parameters: Parameters) -> bool:
    """Whether a request wants links: by linkType, or a linkset by Accept."""
    if parameters.has("linkType"):
        return True
    return prefers_linkset(parse_qualities(header(request, "Accept")))


def _wanted(request: web.BaseRequest, parameters: Parameters, *, linkset: bool) -> Wanted:
    asked = wanted(
        link_type=None if linkset else parameters.first("linkType"),
        accept=header(request, "Accept"),
        accept_language=header(request, "Accept-Language"),
        context=parameters.first("context"),
    )
    return replace(asked, linkset=True) if linkset else asked


def _failure(failed: Answer) -> web.Response:
    status, code = _FAILURES.get(failed.code, (502, "upstream"))
    return problem(status, code, "It could not be resolved", detail=failed.message)


def _handled_by(subject: Subject) -> str | None:
    """Where the records say that another resolver answers, and nothing else."""
    links = [link for level in subject.levels for link in level.links]
    if subject.retired is not None or any(link.relation != HANDLED_BY for link in links):
        return None
    return links[0].href if links else None


def _passed_on(asked: Asked, request: web.BaseRequest) -> str:
    """The query that goes along: as it was sent, or as it was compressed."""
    if not asked.compressed:
        return _clean(raw_query(request))
    return _clean(asked.link.uri("", parameters=True).partition("?")[2])


def _clean(query: str) -> str:
    """A query in the characters that a URI may hold."""
    return quote(query.encode("utf-8", "surrogateescape"), safe=SAFE.replace("#", ""))


def _ttl_s(values: Sequence[HandleValue], now: float) -> int:
    ttls = [v.ttl - now if v.ttl_type == TTL_ABSOLUTE else v.ttl for v in values]
    return int(max(0, min((*ttls, _MOST_TTL_S))))
