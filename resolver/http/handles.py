"""/api/handles/{handle}: resolve, write and delete over the Handle JSON interface.

Order of checks as deployed servers have it (do-irp 17.1), but that nobody learns without an
identity whether a write would find a record: the request's shape, the prefix, identity, existence,
rights, the change itself. Extensions of ours: POST adds or replaces values
like PUT ?index=various; If-Match and If-None-Match: * bind a write to a version; Idempotency-Key
makes a repeated write safe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from protocol.change import Change, Kind
from protocol.errors import (
    AtOdds,
    BadIdentifier,
    BiaoshiError,
    HandleNotFound,
    IdempotencyConflict,
    InvalidValue,
    NotServedHere,
    ParseError,
    ResponseCode,
    TakesNoChanges,
    ValueExists,
    VersionConflict,
)
from protocol.handle_json import format_values, json_text, parse_values
from protocol.identifier import key_of
from protocol.labels import with_labels
from protocol.name import whole_name
from protocol.record import MAX_INDEX, HandleValue, decode_values
from registry.store import Table
from registry.store.row import checked, is_unseen, json_head, json_is_named, json_values, store_key
from registry.writer import Outcome
from resolver.groups import memberships_for
from resolver.http.asked import decoded, raw_path, read_json
from resolver.http.face import (
    NOT_SERVED,
    Asked,
    HandleFace,
    MethodNotAllowed,
    MethodUnknown,
    NeedsIdentity,
)
from resolver.http.reply import Answer, error_body, status_of
from resolver.lookup import Answer as Found
from resolver.lookup import Query
from resolver.pressure import RETRY_S

MOUNT: Final = "/api/handles/"
VARIOUS: Final = "various"
_MAX_KEY: Final = 255
_conflict = re.compile(r"index conflict for (\d+)", re.IGNORECASE)
_version = re.compile(r'(?:W/)?"(\d{1,19})(?:-gzip)?"').fullmatch


@dataclass(frozen=True, slots=True)
class Indexes:
    """The `index` parameters of a write. various: whatever the body holds."""

    named: tuple[int, ...] = ()
    various: bool = False

    def __bool__(self) -> bool:
        return self.various or bool(self.named)


class Handles:
    """The resource of one record."""

    def __init__(self, face: HandleFace) -> None:
        self._face = face
        self._node = face.node
        self._json = face.node.store.getter(Table.JSON)

    async def __call__(self, asked: Asked) -> Answer:
        """Any method on /api/handles/{handle}."""
        method = asked.request.method
        if method in {"GET", "HEAD"}:
            return await self._read(asked)
        if method == "PUT":
            return await self._put(asked)
        if method == "POST":
            return await self._post(asked)
        if method == "DELETE":
            return await self._delete(asked)
        raise self._unknown(asked, method)

    def _unknown(self, asked: Asked, method: str) -> BiaoshiError:
        """What a method that no record takes is told; first that there is no such record."""
        if method == "TRACE":
            return MethodNotAllowed(method, "GET, HEAD, PUT, POST, DELETE, OPTIONS")
        held = self._node.lookup.row(self._handle(asked))
        if held is None or is_unseen(held):
            return HandleNotFound("")
        return MethodUnknown(f"Unknown method {method}")

    # --- reading

    async def _read(self, asked: Asked) -> Answer:
        parameters = asked.parameters
        handle = self._handle(asked)
        indexes, types = parameters.indexes(), parameters.types()
        # A page that embeds a script must not read what its visitor may see: no identity here.
        identity = None
        if parameters.first("callback") is None:
            identity = (await self._face.identify(asked)).identity
        public_only = parameters.flag("publicOnly", default=identity is None)
        if public_only and not indexes and not types:
            ready = self.ready(handle)
            if ready is not None:
                return ready
        query = Query(
            handle,
            indexes,
            types,
            public_only=public_only,
            authoritative=parameters.flag("auth"),
            do_not_refer=True,
            identity=identity,
        )
        lookup = self._node.lookup
        found = lookup.answer_now(query) or await lookup.answer(query)
        if identity is not None and (
            found.code == ResponseCode.INVALID_ADMIN or lookup.is_labelled(handle)
        ):
            # Lists of this node do not name the identity; those of others may.
            groups = await memberships_for(self._node, identity, handle)
            if groups:
                found = await lookup.answer(replace(query, memberships=groups))
        return self._told(asked, handle, found)

    def ready(self, handle: bytes) -> Answer | None:
        """The stored JSON of a record's public values; None where the general way must answer."""
        name = whole_name(handle)
        if not self._node.prefixes.responsible(name):
            return None
        folded = key_of(name)
        key = store_key(folded)
        raw = self._json(key)
        if raw is None or not json_is_named(checked(raw), key, folded):
            return None
        values = json_values(raw)
        if values == b"[]":
            return None
        self._node.metrics.lookups["store"].inc()
        self._log(handle, ResponseCode.SUCCESS, "store")
        return Answer(record_body(handle, values), etag=str(json_head(raw).version))

    def _log(self, handle: bytes, code: int, source: str) -> None:
        if self._node.query_log.due():
            self._node.query_log.write("http", handle, code, 0, source)

    def _told(self, asked: Asked, handle: bytes, found: Found) -> Answer:
        """A lookup's answer as this interface says it."""
        code = found.code
        self._log(handle, code, found.source)
        if code == ResponseCode.SUCCESS:
            self._node.metrics.lookups[found.source].inc()
            body = record_body(handle, format_values(decode_values(found.values)))
            etag = str(found.version) if found.version else None
            # What an identity was needed for is its alone; the rest of its answers may differ
            # from anybody's as well, so caches keep none of them.
            private = found.private or asked.caller.identity is not None
            # Handle JSON has no member for it; caches of HTTP know this header (RFC 7234 §5.5.1).
            stale = {"Warning": '110 - "Response is Stale"'} if found.stale else {}
            return Answer(body, etag=etag, private=private, headers=stale)
        if code == ResponseCode.VALUES_NOT_FOUND:
            return Answer(b'{"responseCode":200,"values":[],"handle":%b}' % json_text(handle))
        if code == ResponseCode.AUTHENTICATION_NEEDED:
            raise NeedsIdentity(handle, asked.caller)
        not_ours = {ResponseCode.SERVER_NOT_RESPONSIBLE, ResponseCode.SERVICE_REFERRAL}
        if code in not_ours and (whole_name(handle) != handle or not self._node.prefix):
            # A name without slash is no prefix of ours; a node that is home to none asked around.
            code = ResponseCode.HANDLE_NOT_FOUND
        if code == ResponseCode.HANDLE_NOT_FOUND:
            return Answer(error_body(code, handle=handle), 404)
        message = NOT_SERVED if code == ResponseCode.SERVER_NOT_RESPONSIBLE else found.message
        status = status_of(code, secure=asked.secure)
        busy = code == ResponseCode.SERVER_BUSY
        headers = {"Retry-After": str(round(RETRY_S))} if busy else {}
        return Answer(error_body(code, message=message, handle=handle), status, headers=headers)

    # --- writing

    async def _put(self, asked: Asked) -> Answer:
        overwrite = asked.parameters.flag("overwrite", default=True)
        indexes = _write_indexes(asked, deleting=False)
        handle = self._handle(asked, mint=asked.parameters.flag("mintNewSuffix"))
        values = await self._values(asked, handle)
        _check_indexes(indexes, values)
        self._check_served(handle)
        if indexes:
            change = Change(Kind.ADD, handle, values=values, overwrite=overwrite)
        else:
            change = Change(Kind.CREATE, handle, values=values, overwrite=overwrite)
        return await self._write(asked, change)

    async def _post(self, asked: Asked) -> Answer:
        overwrite = asked.parameters.flag("overwrite", default=True)
        indexes = _write_indexes(asked, deleting=False) or Indexes(various=True)
        handle = self._handle(asked)
        values = await self._values(asked, handle)
        _check_indexes(indexes, values)
        self._check_served(handle)
        return await self._write(
            asked, Change(Kind.ADD, handle, values=values, overwrite=overwrite)
        )

    async def _delete(self, asked: Asked) -> Answer:
        indexes = _write_indexes(asked, deleting=True)
        handle = self._handle(asked)
        self._check_served(handle)
        if indexes:
            return await self._write(asked, Change(Kind.REMOVE, handle, indexes=indexes.named))
        return await self._write(asked, Change(Kind.DELETE, handle))

    async def _values(self, asked: Asked, handle: bytes) -> tuple[HandleValue, ...]:
        limits = self._node.settings.limits
        body = await read_json(asked.request, limits.http_body_bytes, limits.request_s)
        if (
            isinstance(body, dict)
            and "handle" in body
            and not asked.parameters.has("mintNewSuffix")
        ):
            named = body["handle"]
            if not isinstance(named, str) or key_of(_utf8(named)) != key_of(handle):
                raise ParseError("the body names another handle than the path")
        values = parse_values(body)
        if isinstance(body, dict) and "labels" in body:
            values = with_labels(values, body["labels"])
        return values

    async def _write(self, asked: Asked, change: Change) -> Answer:
        caller = await self._face.identify(asked)
        if caller.identity is None:
            raise NeedsIdentity(change.handle, caller)
        change = replace(
            change,
            actor=caller.identity,
            expected_version=self._expected_version(asked, change),
            idempotency_key=idempotency_key(asked.request.headers.get("Idempotency-Key")),
        )
        writer = self._node.writer
        (outcome,) = await writer.submit([change])
        if outcome.code == ResponseCode.INVALID_ADMIN:
            creating = change.kind is Kind.CREATE
            groups = await memberships_for(
                self._node, caller.identity, change.handle, creating=creating
            )
            if groups:
                (outcome,) = await writer.submit([replace(change, memberships=groups)])
        return self._outcome(change, outcome)

    def _expected_version(self, asked: Asked, change: Change) -> int | None:
        """What If-Match or If-None-Match bind a write to (RFC 9110 §13.1). Raises ParseError, and
        VersionConflict for a record that must be there and is not.
        """
        wanted, unwanted = (
            asked.request.headers.get(name, "").strip() for name in ("If-Match", "If-None-Match")
        )
        if wanted == "*":
            if change.kind is Kind.CREATE and self._node.lookup.row(change.handle) is None:
                raise VersionConflict("there is no such record; to create it leave If-Match out")
        elif wanted:
            found = _version(wanted)
            if found is None:
                raise ParseError(f"If-Match takes one ETag of this interface, not {wanted[:60]!r}")
            return int(found.group(1))
        if unwanted not in {"", "*"}:
            raise ParseError("a write takes `If-None-Match: *`; name a version by If-Match")
        return 0 if unwanted else None

    def _outcome(self, change: Change, outcome: Outcome) -> Answer:
        """What became of a change."""
        code, handle = outcome.code, change.handle
        if code == ResponseCode.SUCCESS:
            created = outcome.status == "created" or (
                change.kind is Kind.ADD and outcome.status == "changed"
            )
            etag = {"ETag": f'"{outcome.version}"'} if outcome.version else {}
            body = b'{"responseCode":1,"handle":%b}' % json_text(handle)
            return Answer(body, 201 if created else 200, headers=etag)
        raise_for(outcome.reason, outcome.error or "")
        message = outcome.error
        if code == ResponseCode.VALUE_ALREADY_EXISTS and message:
            found = _conflict.search(message)
            message = f"Index conflict for {found.group(1)}" if found else message
        if code == ResponseCode.HANDLE_NOT_FOUND:
            message = None
        if code == ResponseCode.SERVER_NOT_RESPONSIBLE:
            message = NOT_SERVED
        status = 400 if code == ResponseCode.VALUES_NOT_FOUND else status_of(code)
        return Answer(error_body(code, message=message, handle=handle), status)

    # --- shared

    def _handle(self, asked: Asked, *, mint: bool = False) -> bytes:
        """The handle of the path, decoded once. Raises BadIdentifier or ParseError."""
        handle = decoded(raw_path(asked.request)[len(MOUNT) :])
        if mint:
            handle += str(UUID(bytes=self._face.authenticator.random(16), version=4)).encode()
        asked.handle = handle
        if not handle:
            asked.handle = None
            raise BadIdentifier("empty", "Empty handle invalid")
        if len(handle) > self._node.settings.limits.handle_bytes:
            raise BadIdentifier("too-long", f"a handle of {len(handle)} octets is too long")
        try:
            handle.decode()
        except UnicodeDecodeError:
            raise BadIdentifier("not-utf-8", "the handle is not UTF-8; encode it first") from None
        return handle

    def _check_served(self, handle: bytes) -> None:
        if not self._node.prefix:
            raise TakesNoChanges(
                "this node is recursive; send changes to the node that is home to the prefix"
            )
        if not self._node.prefixes.responsible(handle):
            raise NotServedHere(NOT_SERVED)


def record_body(handle: bytes, values: bytes) -> bytes:
    """The successful answer: the handle as asked for, and the JSON array of its values."""
    return b'{"responseCode":1,"handle":%b,"values":%b}' % (json_text(handle), values)


_RAISED: Final[dict[str, type[BiaoshiError]]] = {
    kind.__name__: kind for kind in (AtOdds, IdempotencyConflict, VersionConflict)
}


def raise_for(reason: str | None, message: str) -> None:
    """Raise the refusals that have a status of their own."""
    kind = _RAISED.get(reason or "")
    if kind is not None:
        raise kind(message)


def idempotency_key(header: str | None, row: int | None = None) -> bytes | None:
    """The key of a request, or of one of its rows. Raises ParseError when it is too long."""
    if header is None:
        return None
    if not 1 <= len(header) <= _MAX_KEY:
        raise ParseError(f"an Idempotency-Key has 1 … {_MAX_KEY} characters, not {len(header)}")
    text = header.encode("utf-8", "surrogateescape")
    return sha256(text if row is None else b"%b\0%d" % (text, row)).digest()


def _write_indexes(asked: Asked, *, deleting: bool) -> Indexes:
    """The `index` parameters. Raises ParseError or InvalidValue."""
    texts = asked.parameters.all("index")
    if VARIOUS in texts:
        if deleting:
            raise ParseError("index=various is for PUT; name the indexes to delete")
        return Indexes(various=True)
    named = asked.parameters.indexes()
    if any(not 1 <= index <= MAX_INDEX for index in named):
        raise InvalidValue("Value indexes must be positive")
    return Indexes(named)


def _check_indexes(indexes: Indexes, values: tuple[HandleValue, ...]) -> None:
    """The list of indexes and the body must agree, and no index stand twice."""
    seen: set[int] = set()
    for value in values:
        if value.index in seen:
            raise ValueExists(f"Index conflict for {value.index}")
        seen.add(value.index)
    if indexes.named and seen != set(indexes.named):
        raise ParseError("Mismatched indexes in PUT request")


def _utf8(text: Any) -> bytes:
    return str(text).encode("utf-8", "replace")
