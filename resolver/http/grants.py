"""/api/grants and /api/audit: who was granted what, and who read it; for administrators.

GET    /api/grants?prefix=P            the grants of a prefix
POST   /api/grants?prefix=P            one more: {"to", "identifier"?, "under"?, "class"?, "type"?, …}
DELETE /api/grants?prefix=P&number=N   one less
GET    /api/audit?prefix=P&after=NAME  reads by grant

To all but administrators of the prefix who may read values, both say 403, whatever there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from protocol.errors import AuthenticationNeeded, NotAuthorized, ParseError, ResponseCode
from protocol.name import PREFIX_RECORDS, fold, prefix_record
from protocol.record import Reference
from protocol.values.hs_admin import Permission
from registry.grants import grants_record, make_grant
from registry.reads import logged_reads
from registry.records import read_record
from resolver.granting import given, giving, taking_back
from resolver.groups import memberships
from resolver.http.asked import Parameters, Senders, read_json
from resolver.http.auth import Authenticator
from resolver.http.auth_errors import NotProved
from resolver.http.challenged import challenged
from resolver.http.problem import method_not_allowed, problem

if TYPE_CHECKING:
    from resolver.node import Node

MOST_BODY: Final = 16_384
PER_PAGE: Final = 1_000
_HEADERS: Final = {"Cache-Control": "private, no-store"}
_READ: Final = int(Permission.READ_VALUE)


def setup(app: web.Application, node: Node, authenticator: Authenticator, senders: Senders) -> None:
    """Mount the routes."""
    face = GrantsFace(node, authenticator, senders)
    app.router.add_route("*", "/api/grants", face.grants)
    app.router.add_route("*", "/api/audit", face.audit)


class GrantsFace:
    """The resources, in one reader."""

    def __init__(self, node: Node, authenticator: Authenticator, senders: Senders) -> None:
        self._node = node
        self._authenticator = authenticator
        self._senders = senders

    async def grants(self, request: web.Request) -> web.Response:
        """List, add, remove."""
        if request.method not in {"GET", "HEAD", "POST", "DELETE"}:
            return method_not_allowed("GET, HEAD, POST, DELETE")
        try:
            prefix, actor = await self._administrator(request)
        except (NotProved, AuthenticationNeeded) as error:
            return challenged(request, error, self._authenticator, self._senders)
        record = read_record(self._node.store, grants_record(prefix))
        if request.method == "POST":
            shape = await read_json(request, MOST_BODY, self._node.settings.limits.request_s)
            change, number = giving(prefix, record, make_grant(shape), actor)
            status, said = 201, {"number": number}
        elif request.method == "DELETE":
            number = Parameters.of(request).integer("number") or 0
            change, status, said = taking_back(prefix, record, [number], actor), 200, {}
        else:
            shown = [one.shape() for one in given(record)]
            return web.json_response({"grants": shown}, headers=_HEADERS)
        (outcome,) = await self._node.writer.submit([change])
        if outcome.code == ResponseCode.VALUE_ALREADY_EXISTS:
            why = "another grant was given at the same time; send it again"
            return problem(409, "conflict", "The grants have changed", detail=why)
        if outcome.code != ResponseCode.SUCCESS:
            raise NotAuthorized(outcome.error or "the grant was refused")
        told: Mapping[str, Any] = {**said, "sequence": outcome.sequence}
        return web.json_response(told, status=status, headers=_HEADERS)

    async def audit(self, request: web.Request) -> web.Response:
        """Reads by grant, oldest first; `next` where there are more."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        try:
            prefix, _ = await self._administrator(request)
        except (NotProved, AuthenticationNeeded) as error:
            return challenged(request, error, self._authenticator, self._senders)
        after = Parameters.of(request).integer("after") or 0
        if not 0 <= after < 1 << 63:
            raise ParseError("`after` is the number of a change")
        with self._node.store.snapshot() as state:
            later = (one for one in logged_reads(state, prefix) if one["sequence"] > after)
            reads = list(islice(later, PER_PAGE))
        shape: dict[str, Any] = {"reads": reads}
        if len(reads) == PER_PAGE:
            shape["next"] = reads[-1]["sequence"]
        return web.json_response(shape, headers=_HEADERS)

    async def _administrator(self, request: web.Request) -> tuple[bytes, Reference]:
        """The folded prefix, and who asks. Raises NotProved, AuthenticationNeeded, NotAuthorized."""
        actor = (await self._authenticator.caller(request)).identity
        if actor is None:
            raise AuthenticationNeeded("this is for administrators; say who")
        given_prefix = Parameters.of(request).first("prefix")
        prefix = self._node.prefix
        if given_prefix is not None:
            prefix = fold(given_prefix.encode("utf-8", "replace")).removeprefix(PREFIX_RECORDS)
        refused = NotAuthorized(
            "this takes the right to read values of the prefix, and the prefix to be homed here"
        )
        if prefix not in self._node.prefixes.homed():
            raise refused
        record, access = prefix_record(prefix), self._node.access
        access.forget()
        if not access.allows(actor, record, _READ):
            groups = await memberships(self._node, actor, record)
            with access.knowing(groups):
                if not groups or not access.allows(actor, record, _READ):
                    raise refused
        return prefix, actor
