"""/api/delegations: children apply for prefixes here, and look what became of it.

POST /api/delegations            an application (resolver.enrol), signed by the child's site key
GET  /api/delegations/{prefix}   what this node says about a prefix

Both give {"prefix", "state", "answer"}; `answer` is signed by this node's site key. Anybody may
apply for a prefix under ours, so what waits is bounded, in all and for each source; only the
operator approves (`biaoshi prefix approve`). Errors are raised; the face makes problems of them. A child that was delegated may move: an application
with the keys that were published renews its site record at once.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Final

from aiohttp import web

from protocol.change import Change, Kind
from protocol.errors import (
    HandleExists,
    NotAuthorized,
    NotServedHere,
    NotSupported,
    ParseError,
    ServerBusy,
)
from protocol.jws import parse_jws, parse_object
from protocol.name import parent_prefix, prefix_record
from protocol.record import HandleValue
from registry.prefixes import DELEGATED, HOMED, REFUSED, REQUESTED, PrefixRow, home_above
from registry.records import read_record
from resolver.delegate import delegation
from resolver.enrol import (
    MAX_APPLICATION_BYTES,
    Answer,
    Application,
    check_prefix,
    fingerprint,
    format_answer,
    parse_application,
    same_keys,
)
from resolver.enrol_keys import NO_MORE, merged, vouched_for
from resolver.http.asked import Senders, read_body
from resolver.http.problem import method_not_allowed
from resolver.node import Node

PER_SOURCE: Final = 50
"""Applications from one network (/24, /56) that may wait."""
MOVE_EVERY_S: Final = 2
"""A delegated child may change its site so often."""
_SHOWN: Final = 5
_JWS: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_KEPT_ANSWERS: Final = 256
_ANSWER_S: Final = 60.0


def setup(app: web.Application, node: Node) -> None:
    """Mount the two routes."""
    face = Delegations(node)
    app.router.add_route("*", "/api/delegations", face.applications)
    app.router.add_route("*", "/api/delegations/{prefix}", face.delegation)


class Delegations:
    """The parent's side of enrolment, in one reader."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._senders = Senders(node.settings)
        self._own = fingerprint(node.keys.site_public)
        self._answers: dict[tuple[bytes, int, str], tuple[float, bytes]] = {}

    async def applications(self, request: web.Request) -> web.Response:
        """POST: take an application."""
        if request.method != "POST":
            return method_not_allowed("POST")
        limits = self._node.settings.limits
        data = await read_body(request, MAX_APPLICATION_BYTES, limits.request_s)
        _require_signed(data)
        application = parse_application(data, now=self._node.now(), audience=self._own)
        fresh = await self._decide(application, _network(self._senders.host(request)))
        return self._answer(application.prefix, 202 if fresh else 200)

    async def delegation(self, request: web.Request) -> web.Response:
        """GET: say what became of one."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        prefix = check_prefix(request.match_info["prefix"])
        self._require_ours(prefix)
        return self._answer(prefix, 200)

    def _require_ours(self, prefix: bytes) -> None:
        """Raise NotServedHere unless the prefix lies under one that this node is home to.

        A node that is not a root certifies only what lies under its own prefix.
        """
        node = self._node
        above = home_above(prefix, node.prefixes) if node.prefix else None
        within = prefix.startswith(node.prefix + b".") or not node.settings.node.parent
        if above is None or not within:
            homed = sorted(each.decode() for each in node.prefixes.homed())
            own = ", ".join(homed[:_SHOWN]) or "no prefix"
            raise NotServedHere(
                f"{prefix.decode()} cannot be had here: this node is home to {own}; "
                "apply to the node of the prefix above yours"
            )

    async def _decide(self, application: Application, source: str) -> bool:
        """Whether the application is a new one. Raises what refuses it."""
        node, prefix = self._node, application.prefix
        self._require_ours(prefix)
        self._require_ours_to_give(prefix)
        row = node.prefixes.get(prefix)
        if row is None or row.state == REFUSED:
            self._require_room(source)
        elif row.state == HOMED:
            raise HandleExists(f"{prefix.decode()} is served by this node itself; take another one")
        elif not self._may_speak(row, application):
            node.metrics.delegations["refused"].inc()
            raise HandleExists(
                f"{prefix.decode()} was requested already, with another key; "
                "ask this node's operator, or take another prefix"
            )
        elif not _news(row, application := _merged(row, application)):
            node.metrics.delegations["repeated"].inc()
            return False
        elif row.state == DELEGATED:
            await self._move(row, application)
            return False
        await self._submit(Kind.REQUEST, prefix, {**application.attributes(), "source": source}, ())
        node.metrics.delegations["requested"].inc()
        return True

    def _may_speak(self, row: PrefixRow, application: Application) -> bool:
        """Whether an application comes from the holder of the keys in a prefix's row."""
        if row.state == DELEGATED:
            key, more = application.site_key, application.more
            return vouched_for(row.prefix, row.attributes, key, more, self._node.now())
        return same_keys(row.attributes, application)

    def _require_ours_to_give(self, prefix: bytes) -> None:
        """A prefix further down belongs to its nearest delegated ancestor."""
        node = self._node
        home = home_above(prefix, node.prefixes)
        above = parent_prefix(prefix)
        while above is not None and above != home:
            if above in node.prefixes.delegated():
                raise NotServedHere(f"{above.decode()} is delegated to another node; apply there")
            above = parent_prefix(above)

    def _require_room(self, source: str) -> None:
        waiting = [row for row in self._node.prefixes.rows() if row.state == REQUESTED]
        most = self._node.settings.limits.delegation_requests
        mine = sum(row.attributes.get("source") == source for row in waiting)
        if len(waiting) >= most or mine >= PER_SOURCE:
            self._node.metrics.delegations["refused"].inc()
            raise ServerBusy(
                f"{len(waiting)} delegation requests wait for this node's operator already; "
                "try again tomorrow, or write to them",
                3600.0,
            )

    async def _move(self, row: PrefixRow, application: Application) -> None:
        """Publish the new site of a child, whose key signed for it."""
        node = self._node
        if node.now() - row.time < MOVE_EVERY_S:
            raise ServerBusy("the site was changed just now; try again", float(MOVE_EVERY_S))
        values = delegation(
            node.store,
            node.keys,
            node.prefix,
            application,
            now=node.now(),
            days=node.settings.signing.certificate_days,
        )
        told = NO_MORE.attributes_anyway() | application.attributes()
        await self._submit(Kind.DELEGATE, row.prefix, told, values)
        node.metrics.delegations["delegated"].inc()

    async def _submit(
        self,
        kind: Kind,
        prefix: bytes,
        attributes: dict[str, object],
        values: tuple[HandleValue, ...],
    ) -> None:
        change = Change(kind, prefix_record(prefix), values, attributes=attributes)
        (outcome,) = await self._node.writer.submit([change])
        if outcome.status == "refused":
            raise HandleExists(outcome.error or "the request was refused")

    def _answer(self, prefix: bytes, status: int) -> web.Response:
        row = self._node.prefixes.get(prefix)
        state = row.state if row is not None else "none"
        key = (prefix, row.sequence if row is not None else 0, state)
        now = self._node.now()
        kept = self._answers.get(key)
        if kept is None or now - kept[0] > _ANSWER_S:
            # An RSA signature costs as much as a hundred lookups: one a minute and prefix does.
            if len(self._answers) >= _KEPT_ANSWERS:
                self._answers.clear()
            kept = (now, self._signed(prefix, row, state))
            self._answers[key] = kept
        shape = {"prefix": prefix.decode(), "state": state, "answer": kept[1].decode()}
        return web.Response(
            body=json.dumps(shape).encode(),
            status=status,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def _signed(self, prefix: bytes, row: PrefixRow | None, state: str) -> bytes:
        node = self._node
        values: tuple[HandleValue, ...] = ()
        if state == DELEGATED:
            record = read_record(node.store, prefix_record(prefix))
            values = tuple(v for v in record.values if v.public) if record is not None else ()
        answer = Answer(
            node=node.prefix,
            key=node.keys.site_public,
            prefix=prefix,
            state=state,
            issued=int(node.now()),
            reason=str(row.attributes.get("reason", "")) if row is not None else "",
            values=values,
            handovers=node.keys.rotation.handovers,
        )
        return format_answer(answer, node.keys.site_private)


def _require_signed(data: bytes) -> None:
    """Raise NotAuthorized for what is written as a JWS and is signed by nobody."""
    if _JWS.fullmatch(data) is None:
        return  # parse_application() says what it is not
    try:
        parse_object(parse_jws(data).payload)
    except (ParseError, NotSupported) as error:
        raise NotAuthorized(f"this is signed by nobody: {error}") from None


def _merged(row: PrefixRow, application: Application) -> Application:
    return replace(application, more=merged(row.attributes, application.more))


def _news(row: PrefixRow, application: Application) -> bool:
    """Whether an application says something that the row does not, and is younger."""
    wanted = application.attributes()
    told = {name: value for name, value in wanted.items() if name != "issued"}
    differs = any(row.attributes.get(name) != value for name, value in told.items())
    return differs and application.issued > int(row.attributes.get("issued", 0))


def _network(host: str) -> str:
    """The /24 or /56 of an address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    return str(ip_network((address, 24 if address.version == 4 else 56), strict=False))
