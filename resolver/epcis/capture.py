"""POST /capture and its jobs; POST /events (§3.1, §3.3)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from aiohttp import web

from protocol.epcis.document import Document
from protocol.epcis.errors import (
    CaptureLimitExceededException,
    NoSuchResourceException,
    ValidationException,
)
from protocol.errors import ParseError
from protocol.event_signature import MAX_EVENT_BYTES
from protocol.keys import PublicKey, decode_public_key
from protocol.record import Reference
from registry.alter import REFUSED
from registry.events.capture import node_event_signer, signed_change
from resolver.epcis import problems
from resolver.epcis.callers import Callers, Capturer
from resolver.epcis.jobs import (
    BEHAVIOURS,
    ROLLBACK,
    Job,
    Jobs,
    earlier_label,
    newest_jobs,
    problem_of,
    read_job,
)
from resolver.epcis.paging import Page
from resolver.epcis.taking import (
    Sender,
    parse_label,
    read_body,
    refuse_invalid,
    require_valid,
    take_event,
)
from resolver.http.asked import read_body as read_octets

if TYPE_CHECKING:
    from resolver.node import Node

LABEL: Final = "Biaoshi-Label"
JOSE: Final = "application/jose"
MOST_LOOKED_AT: Final = 5_000
"""Jobs looked at for one page of those of a caller."""


class Capture:
    """The resources."""

    def __init__(self, node: Node, callers: Callers) -> None:
        self._node = node
        self._callers = callers
        self._signer = node_event_signer(node.keys, node.prefix)
        self.jobs = Jobs(node)

    async def post(self, request: web.Request) -> web.Response:
        """Take a document: 202 and where its job is seen."""
        who = await self._callers.capturer(request)
        behaviour = request.headers.get("GS1-Capture-Error-Behaviour", ROLLBACK)
        if behaviour not in BEHAVIOURS:
            raise ValidationException(
                f"GS1-Capture-Error-Behaviour is one of {', '.join(BEHAVIOURS)}, not {behaviour!r:.40}"
            )
        label = parse_label(request.headers.get(LABEL))
        limits = self._node.settings.limits
        body = await read_octets(request, limits.capture_bytes, limits.request_s)
        document = await asyncio.to_thread(self._check, body, request.content_type, behaviour)
        job = self._job(who, behaviour, request.content_type, len(document.events), label)
        await self.jobs.add(job, body, document)
        location = f"/epcis/capture/{job.id}"
        return web.Response(status=202, headers={"Location": location})

    def _check(self, body: bytes, media: str, behaviour: str) -> Document:
        """What is refused before a job is made of it (400): what is no document."""
        document = read_body(body, media)
        most = self._node.settings.limits.capture_events
        if len(document.events) > most:
            raise CaptureLimitExceededException(
                f"{len(document.events)} events are above {most} a capture; send fewer at once"
            )
        require_valid(document, events=behaviour == ROLLBACK)
        return document

    def _job(self, who: Capturer, behaviour: str, media: str, events: int, label: Any) -> Job:
        now_us = int(self._node.now() * 1_000_000)
        return Job(
            id=f"{now_us:016x}{os.urandom(8).hex()}",
            owner=who.actor.text(),
            reader=self._node.number,
            created_us=now_us,
            behaviour=behaviour,
            media=media,
            events=events,
            prefix=who.prefix,
            memberships=[[each.handle, each.index] for each in who.memberships],
            label=label,
        )

    async def listed(self, request: web.Request, page: Page) -> tuple[list[Any], Any]:
        """The caller's jobs, the newest first; and where the next page begins."""
        actor = await self._callers.actor(request)
        if actor is None:
            return [], None
        everything = self._node.access.is_server_admin(actor)
        chosen: list[Job] = []
        last = page.position
        with self._node.store.snapshot() as state:
            for at, job in enumerate(newest_jobs(state, page.position or "")):
                if len(chosen) == page.size or at == MOST_LOOKED_AT:
                    return [one.shape() for one in chosen], last
                last = job.id
                if everything or job.owner == actor.text():
                    chosen.append(job)
        return [one.shape() for one in chosen], None

    async def one(self, request: web.Request, id_: str) -> web.Response:
        """A job of the caller. Raises NoSuchResourceException: also for another's."""
        actor = await self._callers.actor(request)
        job = None
        if actor is not None and id_.isalnum() and len(id_) <= 64:
            with self._node.store.snapshot() as state:
                job = read_job(state, id_)
        if job is None or actor is None or not self._may_see(actor, job):
            raise NoSuchResourceException("there is no such capture job of yours")
        return web.Response(
            body=orjson.dumps(job.shape()),
            headers={"Content-Type": "application/json", "Cache-Control": "private, no-store"},
        )

    def _may_see(self, actor: Reference, job: Job) -> bool:
        return job.owner == actor.text() or self._node.access.is_server_admin(actor)

    # --- one event

    async def post_event(self, request: web.Request) -> web.Response:
        """Capture one event at once: 201 and where it is read."""
        who = await self._callers.capturer(request)
        label = parse_label(request.headers.get(LABEL))
        limits = self._node.settings.limits
        body = await read_octets(
            request, min(limits.capture_bytes, 2 * MAX_EVENT_BYTES), limits.request_s
        )
        now_us = int(self._node.now() * 1_000_000)
        if request.content_type == JOSE:
            change, event = await self._signed(body.strip(), who, now_us)
            refuse_invalid(event, None, now_us)
        else:
            document = read_body(body, request.content_type)
            if document.kind != "event":
                raise ValidationException("POST /events takes one bare event; use /capture")
            earlier = earlier_label(self._node.store)
            sender = Sender(who.actor, who.prefix, who.memberships, label, earlier)
            change_ = take_event(document.events[0], None, sender, self._signer, now_us).change
            assert change_ is not None  # noqa: S101 - what is refused is raised
            change = change_
        (outcome,) = await self._node.writer.submit([change])
        if outcome.status == REFUSED:
            return problems.of_shape(problem_of(outcome))
        location = f"/epcis/events/{quote(change.handle, safe='')}"
        return web.Response(status=201, headers={"Location": location})

    async def _signed(self, jws: bytes, who: Capturer, now_us: int) -> tuple[Any, dict[str, Any]]:
        """An event that its issuer signed."""
        from protocol.event_signature import read_claims

        keys = self._public_keys(read_claims(jws).key)
        return signed_change(
            jws,
            keys,
            actor=who.actor,
            now_us=now_us,
            prefix=who.prefix,
            memberships=who.memberships,
        )

    def _public_keys(self, reference: Reference) -> list[PublicKey]:
        made: list[PublicKey] = []
        for data in self._node.access.find_public_keys(reference):
            try:
                made.append(decode_public_key(data))
            except ParseError:
                continue
        return made
