"""POST /api/registrations: rows in, a result line per row out, while they are being written.

A row is one line of JSON: {"line"?, "handle", "values", "on_exists"?: "refuse"|"replace"|"merge",
"expected_version"?}; its result is {"line", "handle", "status", "version"?, "sequence"?,
"error": text or null}. Rows go to the writer in batches, each one durable transaction; signatures that rows
bring are verified, and missing ones made, here and not in the writer. With an Idempotency-Key the
request may be sent again: row n of it has the key of its own that follows from n. The same key
with other rows is 422, and nothing of the request is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from protocol.change import Change, Kind
from protocol.errors import (
    AuthenticationNeeded,
    BiaoshiError,
    ParseError,
    ResponseCode,
    ServerBusy,
)
from protocol.handle_json import parse_values
from protocol.labels import with_labels
from protocol.record import Reference
from protocol.strict_json import TOLERANT, parse_json, whole
from registry.idempotency import require_unused_keys
from registry.ready import Drafter
from registry.rules import is_signature
from registry.signing import VERIFIED, NodeSigners, check_brought
from registry.writer import Outcome
from resolver.groups import memberships
from resolver.http.asked import BodyTooLarge, BodyTooSlow, Senders, read_body
from resolver.http.auth import Authenticator
from resolver.http.auth_errors import NotProved
from resolver.http.challenged import challenged
from resolver.http.handles import idempotency_key, raise_for
from resolver.http.problem import problem, problem_of
from resolver.http.reply import status_of
from resolver.registering.local import Signing
from resolver.writer_process import writer_settings

if TYPE_CHECKING:
    from resolver.node import Node

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
BATCH_ROWS: Final = 1_000
BATCH_BYTES: Final = 4 << 20
IN_FLIGHT: Final = 2
"""Batches at the writer while the next one is read."""
LINE_BYTES: Final = 1 << 20
PAUSE_S: Final = 0.05
"""A sender that pauses for so long gets the results of what it sent."""
_HELD_BYTES: Final = 16 << 20
"""Results kept for a sender that reads them only after its last row."""
_UNSENT_BYTES: Final = 65_536
_TRIES: Final = 20
_ELSEWHERE: Final = frozenset((ResponseCode.SERVER_NOT_RESPONSIBLE, ResponseCode.HANDLE_NOT_FOUND))

_RULES: Final = {
    "refuse": (Kind.CREATE, False),
    "replace": (Kind.CREATE, True),
    "merge": (Kind.MERGE, True),
}


class Row(NamedTuple):
    """A row on its way. change: None where it cannot be read; error then says why."""

    line: int
    handle: str
    change: Change | None
    error: str | None = None


@dataclass(slots=True)
class _Batch:
    """Lines that were read, the number of the first one before them."""

    first: int = 0
    rows: list[bytes] = field(default_factory=list)
    octets: int = 0

    @property
    def full(self) -> bool:
        return len(self.rows) >= BATCH_ROWS or self.octets >= BATCH_BYTES


class Registrations:
    """The resource."""

    def __init__(self, node: Node, authenticator: Authenticator, senders: Senders) -> None:
        self._node = node
        self._authenticator = authenticator
        self._senders = senders

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take rows until the body ends."""
        try:
            actor = await self._actor(request)
            key = request.headers.get("Idempotency-Key")
            idempotency_key(key)
            _check_type(request)
        except (NotProved, AuthenticationNeeded) as error:
            return challenged(request, error, self._authenticator, self._senders)
        # Once for all rows: what lists of other nodes say of the actor under this node's prefix.
        groups = await memberships(self._node, actor, self._node.record_name)
        stream = _Stream(self._node, request, actor, key, groups)
        return await (stream.one() if request.content_type == JSON else stream.run())

    async def _actor(self, request: web.Request) -> Reference:
        caller = await self._authenticator.caller(request)
        if caller.identity is None:
            raise AuthenticationNeeded(
                "registering needs an identity: send Basic credentials, an answered Handle "
                "challenge or a client certificate over TLS"
            )
        return caller.identity


class _Stream:
    """One request."""

    def __init__(
        self,
        node: Node,
        request: web.Request,
        actor: Reference,
        key: str | None,
        groups: tuple[Reference, ...],
    ) -> None:
        self._node = node
        self._request = request
        self._actor = actor
        self._groups = groups
        self._key = key
        self._number = 0
        self._waiting: deque[tuple[list[Row], asyncio.Task[list[Outcome]]]] = deque()
        self._response = web.StreamResponse(headers={"Content-Type": NDJSON})
        self._held = bytearray()
        self._signing = self._make_signing()

    async def run(self) -> web.StreamResponse:
        """Read, write and answer. Errors before the first result have a status of their own."""
        batch = _Batch()
        try:
            async for line in self._lines():
                if line is None:  # the sender pauses
                    if batch.rows:
                        await self._submit(batch)
                        batch = _Batch()
                    await self._settle(0)
                    continue
                self._add(batch, line)
                if batch.full:
                    await self._submit(batch)
                    batch = _Batch()
                    await self._settle(IN_FLIGHT)
            if batch.rows:
                await self._submit(batch)
            if not self._number:
                raise ParseError(f"there is no row in the body; send one a line, as {NDJSON}")
            await self._settle(0)
            await self._flush(last=True)
        except BiaoshiError as error:
            if self._response.prepared:
                self._request.protocol.force_close()  # half an answer must not look whole
                raise ConnectionError(str(error)) from error
            return problem_of(error)
        finally:
            for _, task in self._waiting:
                task.cancel()
        return self._response

    async def one(self) -> web.Response:
        """The only row, which has a status of its own: as JSON in any form."""
        limits = self._node.settings.limits
        batch = _Batch(rows=[await read_body(self._request, LINE_BYTES, limits.request_s)])
        (row,) = await asyncio.to_thread(self._prepared, batch)
        if row.change is None:
            raise ParseError(row.error or "the row cannot be read")
        if self._key is not None:
            await asyncio.to_thread(require_unused_keys, self._node.store, [row.change])
        (outcome,) = await self._written([row.change], patient=False)
        if outcome.status == "refused":
            raise_for(outcome.reason, outcome.error or "")
            status = 404 if outcome.code in _ELSEWHERE else status_of(outcome.code)
            return problem(status, "refused", "The row was refused", detail=outcome.error)
        status = 201 if outcome.status == "created" else 200
        return web.Response(body=_result(row, outcome), status=status, content_type=JSON)

    # --- rows in

    async def _lines(self) -> AsyncIterator[bytes | None]:
        """The lines of the body; None when the sender pauses. Raises BodyTooLarge, BodyTooSlow."""
        limits, content = self._node.settings.limits, self._request.content
        loop = asyncio.get_running_loop()
        rest, heard = b"", loop.time()
        while not content.at_eof():
            try:
                async with asyncio.timeout(PAUSE_S):
                    part = await content.readany()
            except RequestPayloadError:
                raise ParseError("the body's chunks are broken") from None
            except TimeoutError:
                if loop.time() - heard > limits.request_s:
                    raise BodyTooSlow(f"no row came for {limits.request_s:g} s") from None
                yield None
                continue
            heard = loop.time()
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > LINE_BYTES:
                raise BodyTooLarge(f"a row is longer than {LINE_BYTES} octets")
        if rest:
            yield rest

    def _add(self, batch: _Batch, line: bytes) -> None:
        if not line.strip():
            return
        if not batch.rows:
            batch.first = self._number
        self._number += 1
        if self._number > self._node.settings.limits.batch_rows:
            raise BodyTooLarge(
                f"more than {self._node.settings.limits.batch_rows} rows; send fewer at once"
            )
        batch.rows.append(line)
        batch.octets += len(line)

    def _row(self, line: bytes, number: int) -> Row:
        shown, at = "", number
        try:
            if len(line) > LINE_BYTES:
                raise ParseError(f"a row of {len(line)} octets is above {LINE_BYTES}")
            row = parse_json(line, "the row", decoder=TOLERANT)
            if not isinstance(row, dict):
                raise ParseError("a row is a JSON object")
            at = _integer(row, "line", number)
            handle = row.get("handle")
            if not isinstance(handle, str) or not handle:
                raise ParseError("a row needs a `handle`")
            shown = handle
            change = replace(self._change(row, handle, number), body_digest=self._digest(line))
            return Row(at, handle, change)
        except BiaoshiError as error:
            return Row(at, shown, None, str(error))

    def _digest(self, line: bytes) -> bytes | None:
        """What the key of a row is bound to: its octets."""
        return None if self._key is None else sha256(line.strip()).digest()

    def _change(self, row: dict[str, Any], handle: str, number: int) -> Change:
        rule = row.get("on_exists", "refuse")
        if not isinstance(rule, str) or rule not in _RULES:
            raise ParseError(f"`on_exists` must be one of {', '.join(_RULES)}, not {rule!r:.40}")
        kind, overwrite = _RULES[rule]
        try:
            octets = handle.encode()
        except UnicodeEncodeError:
            raise ParseError("`handle` holds half of a surrogate pair") from None
        expected = row.get("expected_version")
        values = parse_values({"values": row.get("values")})
        if "labels" in row:
            values = with_labels(values, row["labels"])
        return Change(
            kind,
            octets,
            values=values,
            actor=self._actor,
            memberships=self._groups,
            overwrite=overwrite,
            expected_version=None if expected is None else _integer(row, "expected_version", 0),
            idempotency_key=idempotency_key(self._key, number),
        )

    # --- to the writer and back

    async def _submit(self, batch: _Batch) -> None:
        """Prepare a batch beside the event loop and hand it to the writer, waiting while busy."""
        rows = await asyncio.to_thread(self._prepared, batch)
        changes = [row.change for row in rows if row.change is not None]
        first = not self._response.prepared and not self._waiting
        if first and self._key is not None:
            await asyncio.to_thread(require_unused_keys, self._node.store, changes)
        task = asyncio.create_task(self._written(changes, patient=not first))
        self._waiting.append((rows, task))
        if first:  # whether there is room at all is said with the status
            await asyncio.wait([task])
            await self._settle(0)

    async def _written(self, changes: Sequence[Change], *, patient: bool) -> list[Outcome]:
        if not changes:
            return []
        tries = _TRIES if patient else 1
        while True:
            tries -= 1
            try:
                return await self._node.writer.submit(changes)
            except ServerBusy as busy:
                if tries <= 0:
                    raise
                await asyncio.sleep(busy.retry_after_s)

    async def _settle(self, most: int) -> None:
        """Take results in order until at most so many batches are at the writer."""
        while len(self._waiting) > most:
            rows, task = self._waiting[0]
            outcomes = iter(await task)
            self._waiting.popleft()
            for row in rows:
                self._held += _result(row, next(outcomes) if row.change is not None else None)
            await self._flush()

    async def _flush(self, *, last: bool = False) -> None:
        """Send results, unless the sender does not read yet: then a bounded lot is kept."""
        if not self._response.prepared:
            await self._response.prepare(self._request)
        transport = self._request.transport
        unsent = transport.get_write_buffer_size() if transport is not None else 0
        if self._held and (last or unsent < _UNSENT_BYTES or len(self._held) > _HELD_BYTES):
            part, self._held = bytes(self._held), bytearray()
            await self._response.write(part)
        if last:
            await self._response.write_eof()

    # --- signatures

    def _make_signing(self) -> Signing | None:
        node = self._node
        signing = node.settings.signing
        if not signing.sign_registrations or not node.prefix:
            return None
        signers = NodeSigners(node.keys, node.prefix, rsa=signing.handle_compat)
        return Signing(signers, node.access.values, signing.batch)

    def _prepared(self, batch: _Batch) -> list[Row]:
        """The rows of a batch, read and signed. Plain ones are made ready (registry.ready)."""
        now_s = int(self._node.now())
        rows: list[Row | None] = [None] * len(batch.rows)
        self._make_ready(batch, rows, now_s)
        others = [at for at, row in enumerate(rows) if row is None]
        read = [self._row(batch.rows[at], batch.first + at + 1) for at in others]
        signed = self._signed([self._checked(row, now_s) for row in read], now_s)
        for at, row in zip(others, signed, strict=True):
            rows[at] = row
        return [row for row in rows if row is not None]

    def _make_ready(self, batch: _Batch, rows: list[Row | None], now_s: int) -> None:
        """Fill in the rows that are plain."""
        signing = self._signing
        bounds = writer_settings(self._node.settings)
        drafter = Drafter(None if signing is None else signing.of, bounds, now_s)
        found = [drafter.read(line, batch.first + at + 1) for at, line in enumerate(batch.rows)]
        drafts = [draft for draft in found if draft is not None]
        places = [at for at, draft in enumerate(found) if draft is not None]
        for at, draft, ready in zip(places, drafts, drafter.finish(drafts), strict=True):
            if ready is not None:
                change = Change(
                    Kind.CREATE,
                    draft.handle.encode(),
                    actor=self._actor,
                    memberships=self._groups,
                    overwrite=draft.overwrite,
                    ready=ready,
                    idempotency_key=idempotency_key(self._key, batch.first + at + 1),
                    body_digest=self._digest(batch.rows[at]),
                )
                rows[at] = Row(draft.line, draft.handle, change)

    def _checked(self, row: Row, now_s: int) -> Row:
        """A row whose own signatures were verified."""
        change = row.change
        if change is None or change.kind is not Kind.CREATE:
            return row
        brought = [value for value in change.values if is_signature(value)]
        try:
            check_brought(change.handle, change.values, tuple(brought), self._node.access, now_s)
        except BiaoshiError as error:
            return row._replace(change=None, error=str(error))
        if not brought:
            return row
        return row._replace(change=replace(change, attributes={VERIFIED: True}))

    def _signed(self, rows: list[Row], now_s: int) -> list[Row]:
        """The rows, those without a signature signed by the node."""
        if self._signing is None:
            return rows
        changes = [row.change for row in rows if row.change is not None]
        signed = iter(self._signing.sign(changes, now_s))
        return [row if row.change is None else row._replace(change=next(signed)) for row in rows]


def _result(row: Row, outcome: Outcome | None) -> bytes:
    shape: dict[str, Any] = {
        "line": row.line,
        "handle": row.handle.encode("utf-8", "replace").decode(),
        "status": "refused",
    }
    if outcome is not None:
        shape["status"] = "replaced" if outcome.status == "changed" else outcome.status
        if outcome.version:
            shape["version"] = outcome.version
        if outcome.sequence is not None:
            shape["sequence"] = outcome.sequence
    error = row.error if outcome is None else outcome.error
    shape["error"] = None if error is None else error.encode("utf-8", "replace").decode()
    return orjson.dumps(shape) + b"\n"


def _integer(row: dict[str, Any], name: str, default: int) -> int:
    value = whole(row.get(name, default))
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ParseError(f"`{name}` must be an integer from 0, not {value!r:.40}")
    return value


def _check_type(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ParseError("an encoded body is not read; send the rows as they are")
    known = {
        NDJSON,
        JSON,
        "application/jsonl",
        "application/json-lines",
        "application/octet-stream",
    }
    if request.content_type not in known:
        raise ParseError(f"send the rows as {NDJSON}, not as {request.content_type}")
