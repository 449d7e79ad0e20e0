"""GET /{identifier}: what browsers follow (handle-http-api 9).

A URL value or the chosen 10320/loc location becomes a redirect, HS_ALIAS one to its own path
here; everything else is a page of the values. Only the schemes in `http.redirect_schemes` are
redirected to, whatever a record says, and nothing that a request brings can change the host of
the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from protocol.errors import BadIdentifier, BiaoshiError, ParseError, ResponseCode
from protocol.identifier import parse
from protocol.record import TTL_ABSOLUTE, HandleValue, decode_values, select
from protocol.values.loc import Caller, Locations
from resolver.aliases import HS_ALIAS, MUTUAL, follow
from resolver.http.address import safe_address
from resolver.http.asked import Parameters, Senders, decoded, raw_path, raw_query
from resolver.http.countries import Countries
from resolver.http.link_path import Asked, link_of, read_compressed
from resolver.http.links import (
    METHODS,
    Links,
    asks_for_links,
    has_links,
    preflight,
    refused,
)
from resolver.http.locations import LOC, chain_for, shared_locations, target
from resolver.http.locations import shown as listed_locations
from resolver.http.naming import digital_link_of
from resolver.http.page import (
    SECURITY_HEADERS,
    error_page,
    front_page,
    not_found_page,
    record_page,
    redirect,
)
from resolver.http.problem import method_not_allowed
from resolver.lookup import Answer, Query
from resolver.namespaces import Chain
from resolver.pages.face import QR, Pages

if TYPE_CHECKING:
    from resolver.node import Node

PAGE: Final = "page"
_METHODS: Final = ("GET", "HEAD", "POST")
_SPELLED: Final = ("hdl:", "doi:", "info:", "urn:", "oid:", "did:")


class Proxy:
    """The browser-facing resolver."""

    def __init__(
        self,
        node: Node,
        senders: Senders,
        links: Links,
        pages: Pages,
        *,
        draw: Callable[[], float],
    ) -> None:
        """draw: a random number, 0 ≤ draw < 1, for weighted locations. Raises SettingsError."""
        self._links = links
        self._pages = pages
        self._node = node
        self._senders = senders
        self._draw = draw
        self._elsewhere = 404 if node.settings.recursion.enabled else 400
        self._countries = Countries(node.settings.http, node.dir, senders)
        self._schemes = frozenset(scheme.lower() for scheme in node.settings.http.redirect_schemes)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Any path that is no mount point."""
        if request.method == "OPTIONS":
            return self._preflight(request)
        path = raw_path(request)
        methods = METHODS if path.startswith(f"/{PAGE}/") else _METHODS
        if request.method not in methods:
            return method_not_allowed(", ".join(methods))
        try:
            parameters = Parameters.of(request)
            only_page = path.startswith(f"/{PAGE}/")
            if only_page:
                path = path.removesuffix(QR)
            asked = self._digital_link(path.removeprefix(f"/{PAGE}"), raw_query(request))
            if asked is not None:
                return await self._links.digital_link(request, asked, page=only_page)
            octets = decoded(path[1:])
        except ParseError as error:
            return refused(request, error, path)
        if not octets:
            wanted = parameters.first("id")
            return front_page() if not wanted else redirect(302, _path_of(wanted.strip()), {})
        shown = octets.decode("utf-8", "replace")
        try:
            return await self._resolve(request, parameters, octets)
        except ParseError as error:
            return refused(request, error, shown)
        except BiaoshiError as error:
            return error_page(500, "It could not be resolved", shown, str(error))

    def _preflight(self, request: web.Request) -> web.Response:
        """What may be done here: a Digital Link is only read."""
        if raw_path(request).startswith(f"/{PAGE}/"):
            return preflight()
        try:
            asked = self._digital_link(raw_path(request), "")
        except ParseError:
            return preflight()
        if asked is not None:
            return self._links.options(request, asked)
        return preflight(*_METHODS, "OPTIONS")

    def _digital_link(self, path: str, query: str) -> Asked | None:
        return link_of(path, query, self._node.prefixes.homed())

    async def _other_link(
        self, request: web.Request, handle: bytes, *, page: bool
    ) -> web.StreamResponse | None:
        """The answer for a GS1 key that is spelled otherwise: a GTIN, an URN, one segment."""
        link = digital_link_of(handle)
        asked = None if link is None else Asked(link)
        if asked is None and b"/" not in handle and not page:
            asked = read_compressed(raw_path(request), raw_query(request))
        return None if asked is None else await self._links.digital_link(request, asked, page=page)

    async def _resolve(
        self, request: web.Request, parameters: Parameters, octets: bytes
    ) -> web.StreamResponse:
        mount, slash, rest = octets.partition(b"/")
        only_page = bool(slash) and mount == PAGE.encode()
        handle = name_of(rest if only_page else octets)
        if b"/" not in handle or b":" in handle:
            response = await self._other_link(request, handle, page=only_page)
            if response is not None:
                return response
        query = Query(handle, authoritative=parameters.flag("auth"), do_not_refer=True)
        lookup = self._node.lookup
        answer = lookup.answer_now(query) or await lookup.answer(query)
        if MUTUAL in answer.values and not parameters.has("ignore_aliases"):
            answer = (await follow(self._ask, query, mutual_only=True)).answer
        shown = handle.decode("utf-8", "replace")
        chain = await chain_for(lookup, self._ask, answer)
        if chain.inactive:
            return error_page(404, "This prefix is inactive", shown, chain.message)
        if answer.code == ResponseCode.VALUES_NOT_FOUND:
            return record_page(shown, (), "It has no public values.")
        if answer.code != ResponseCode.SUCCESS:
            known = await self._pages.without_record(request, shown) if only_page else None
            return known or _failed(answer, shown, self._elsewhere)
        self._node.metrics.lookups[answer.source].inc()
        values = decode_values(answer.values)
        if parameters.first("action") == "showurls":
            return await self._listed(query, shown, values, chain)
        indexes, types = _indexes(parameters), parameters.types()
        chosen = select(values, indexes, types)
        all_of_it = not indexes and not types
        if only_page or parameters.has("noredirect"):
            if not all_of_it:
                return record_page(shown, chosen)
            return await self._pages.record(request, shown, answer.handle, values)
        if not parameters.has("ignore_aliases"):
            alias = next((v for v in chosen if v.type.upper() == HS_ALIAS and v.data), None)
            if alias is not None:
                return _to_alias(alias, parameters, self._expires(alias))
        if all_of_it and (asks_for_links(request, parameters) or has_links(values)):
            return await self._links.record(request, answer.handle, values)
        shared = await shared_locations(self._ask, chain)
        redirected = self._redirected(request, parameters, shown, chosen, shared)
        if redirected is not None:
            return redirected
        if not all_of_it:
            return record_page(shown, chosen)
        return await self._pages.record(request, shown, answer.handle, values)

    async def _ask(self, query: Query) -> Answer:
        lookup = self._node.lookup
        return lookup.answer_now(query) or await lookup.answer(query)

    def _redirected(
        self,
        request: web.Request,
        parameters: Parameters,
        shown: str,
        values: Sequence[HandleValue],
        shared: Locations,
    ) -> web.StreamResponse | None:
        """To where the values lead; None where they lead nowhere."""
        found, value = target(shown, values, shared, self._caller(request, parameters))
        if value is None:
            return None
        address = safe_address(found, parameters.first("urlappend") or "", self._schemes)
        if address is None:
            note = "The address below is not one that this server sends browsers to."
            return record_page(shown, values, note)
        headers = {"Expires": self._expires(value)}
        if value.type.upper() == LOC or shared.locations:
            headers["Cache-Control"] = "private"  # chosen for this caller
        return redirect(302, address, headers)

    def _expires(self, value: HandleValue) -> str:
        """Until when a redirect by this value may be kept."""
        until = value.ttl if value.ttl_type == TTL_ABSOLUTE else self._node.now() + value.ttl
        return formatdate(min(until, 2**32), usegmt=True)

    async def _listed(
        self, query: Query, shown: str, values: Sequence[HandleValue], chain: Chain
    ) -> web.Response:
        """`action=showurls`, of what an alias stands for as well."""
        if any(value.type.upper() == HS_ALIAS and value.data for value in values):
            answer = (await follow(self._ask, query)).answer
            values = decode_values(answer.values) if answer.code == ResponseCode.SUCCESS else values
        return _locations(shown, values, await shared_locations(self._ask, chain))

    def _caller(self, request: web.Request, parameters: Parameters) -> Caller:
        name, colon, wanted = (parameters.first("locatt") or "").partition(":")
        return Caller(
            draw=self._draw(),
            locatt=(name, wanted) if colon else None,
            address=self._senders.host(request),
            country=self._countries.of(request),
        )


def name_of(octets: bytes) -> bytes:
    """The name a path stands for, as the lookup takes it. Raises BadIdentifier.

    A handle stays as it is spelled; schemes that say their name, and names without a slash that
    parse as another scheme's, are carried in their own form.
    """
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise BadIdentifier("not-utf-8", "the path is not UTF-8; encode it first") from None
    if text[:5].lower().startswith(_SPELLED):
        return parse(text).handle
    if b"/" in octets:
        return octets
    try:
        return parse(text).handle
    except BadIdentifier:
        return octets  # a prefix, or nothing at all: the lookup says which


def _indexes(parameters: Parameters) -> tuple[int, ...]:
    """The indexes asked for; what is no number selects nothing and hides nothing."""
    try:
        return parameters.indexes()
    except ParseError:
        return ()


def _to_alias(alias: HandleValue, parameters: Parameters, expires: str) -> web.Response:
    target = _path_of(alias.data.decode("utf-8", "replace"))
    if parameters.pairs:
        target += "?" + urlencode(parameters.pairs)
    return redirect(301, target, {"Expires": expires})


def _path_of(name: str) -> str:
    """The path of a name on this host; never one that begins with two slashes."""
    return "/" + quote(name, safe="/:").lstrip("/")


def _locations(name: str, values: Sequence[HandleValue], shared: Locations) -> web.Response:
    headers = {**SECURITY_HEADERS, "Content-Type": "text/xml;charset=UTF-8"}
    return web.Response(body=listed_locations(name, values, shared), headers=headers)


def _failed(answer: Answer, shown: str, elsewhere: int) -> web.Response:
    """elsewhere: the status for names of other nodes' prefixes."""
    code = answer.code
    not_ours = {
        ResponseCode.SERVER_NOT_RESPONSIBLE,
        ResponseCode.SERVICE_REFERRAL,
        ResponseCode.PREFIX_REFERRAL,
    }
    if code == ResponseCode.HANDLE_NOT_FOUND or (code in not_ours and "/" not in shown):
        return not_found_page(shown)
    if code in not_ours:
        why = "Its prefix is not served here. Ask the resolver of its organisation, or a root."
        return error_page(elsewhere, "Not served here", shown, why)
    return error_page(502, "It could not be resolved", shown, answer.message)
