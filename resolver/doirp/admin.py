"""Administration of handles and prefixes: operations 100 to 106 and 300 to 302 (do-irp 7, 17.3).

Each looks whether the name is ours and is (not) there, then who asks, then hands the change to the
writer, which decides about rights and does it. A request without an identity raises
AuthenticationNeeded, which the handler turns into a challenge.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from uuid import UUID

from protocol.change import Change, Kind
from protocol.doirp.administration import (
    CreatedReply,
    NamesReply,
    decode_indexes_request,
    decode_name,
    decode_values_request,
    encode_created,
    encode_names_reply,
)
from protocol.doirp.header import Flag
from protocol.errors import (
    AuthenticationNeeded,
    BadIdentifier,
    BiaoshiError,
    HandleExists,
    HandleNotFound,
    InvalidValue,
    NotAuthorized,
    NotServedHere,
    ResponseCode,
)
from protocol.labels import is_unseen
from protocol.name import PREFIX_RECORDS, ROOT_RECORD, described_prefix, fold, record_of
from protocol.record import PUBLIC_WRITE, HandleValue, Reference
from protocol.values.hs_admin import Permission
from registry.label_rules import stay_unseen
from registry.records import read_record
from registry.store import Table
from registry.store.row import LONG_KEY, row_name
from registry.store.row import is_unseen as is_unseen_row
from resolver.doirp.desk import Desk
from resolver.doirp.exchange import Exchange, Reply, error_reply
from resolver.groups import memberships, memberships_for
from resolver.node import Node

NAMES_PER_MESSAGE = 50
ANYBODY = Reference(b"", 0)
"""The actor of what everybody may do; no HS_ADMIN value names it."""
_HS_ADMIN = b"HS_ADMIN"
_OVERWRITTEN = frozenset(("replaced", "unchanged"))
"""Something was there and is now as the request has it."""


async def create(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 100; flag OWE replaces a record, flag MNS appends a random suffix."""
    request = decode_values_request(exchange.message.body)
    handle, flags = request.handle, 0
    if exchange.has(Flag.MNS):
        handle += str(UUID(bytes=desk.random(16), version=4)).encode()
        flags |= Flag.MNS
    overwrite = exchange.has(Flag.OWE)
    held = _held(desk.node, handle, exchange.identity)
    _require_fresh(desk.node, exchange)
    _identity(exchange)
    if held is not None and not overwrite:
        raise HandleExists(f"{_shown(handle)} exists already; modify it, or create with overwrite")
    reply = await _submit(
        desk, exchange, Change(Kind.CREATE, handle, request.values, overwrite=overwrite), flags
    )
    if reply.code != ResponseCode.SUCCESS:
        return reply
    return replace(reply, body=encode_created(CreatedReply(handle)))


async def delete(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 101."""
    handle = decode_name(exchange.message.body).handle
    _require_held_for(exchange, desk.node, handle)
    return await _submit(desk, exchange, Change(Kind.DELETE, handle))


async def add(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 102; flag OWE takes indexes that are there already too."""
    request = decode_values_request(exchange.message.body)
    if not request.values:
        raise InvalidValue("a request to add values has none; name at least one")
    _require_held_for(exchange, desk.node, request.handle)
    overwrite = exchange.has(Flag.OWE)
    change = Change(Kind.ADD, request.handle, request.values, overwrite=overwrite)
    return await _submit(desk, exchange, change)


async def remove(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 103."""
    request = decode_indexes_request(exchange.message.body)
    _require_held_for(exchange, desk.node, request.handle)
    return await _submit(
        desk, exchange, Change(Kind.REMOVE, request.handle, indexes=request.indexes)
    )


async def modify(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 104; values that anybody may write need no identity (do-irp 11)."""
    request = decode_values_request(exchange.message.body)
    held = _require_held(desk.node, request.handle, exchange.identity)
    change = Change(Kind.MODIFY, request.handle, request.values)
    if exchange.identity is None and _open_to_all(held, request.values):
        return await _submit(desk, exchange, replace(change, actor=ANYBODY))
    return await _submit(desk, exchange, change)


async def home(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 300."""
    return await _prefix_change(desk, exchange, Kind.HOME)


async def unhome(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 301."""
    return await _prefix_change(desk, exchange, Kind.UNHOME)


async def list_homed(desk: Desk, exchange: Exchange) -> AsyncIterator[Reply]:
    """Operation 302: for administrators of this server only."""
    _require_server_admin(desk, exchange, "list the homed prefixes")
    return _in_parts(sorted(PREFIX_RECORDS + prefix for prefix in desk.node.prefixes.homed()))


async def list_handles(desk: Desk, exchange: Exchange) -> AsyncIterator[Reply]:
    """Operation 105: the handles under a prefix; of `0.NA/0.NA/P` the prefixes derived from P."""
    record = fold(record_of(decode_name(exchange.message.body).handle))
    if record.startswith(ROOT_RECORD + b"/"):
        return await _derived(desk, exchange, PREFIX_RECORDS + record[len(ROOT_RECORD) + 1 :])
    prefix = _homed_prefix(desk.node, record)
    if not desk.node.settings.admin.public_listing:
        await _require_right(desk.node, exchange, record, desk.node.access.require_list)
    return _in_parts(
        _names(desk.node, prefix + b"/", everything=_reads_all(desk.node, exchange, record))
    )


async def list_derived(desk: Desk, exchange: Exchange) -> AsyncIterator[Reply]:
    """Operation 106: the prefixes derived from a prefix, as their records' names."""
    record = fold(record_of(decode_name(exchange.message.body).handle))
    return await _derived(desk, exchange, record)


async def _derived(desk: Desk, exchange: Exchange, record: bytes) -> AsyncIterator[Reply]:
    _homed_prefix(desk.node, record)
    if not desk.node.settings.admin.public_listing:
        require = desk.node.access.require_list_prefixes
        await _require_right(desk.node, exchange, record, require)
    return _in_parts(_names(desk.node, record + b"."))


# --- the common parts


def _held(node: Node, handle: bytes, identity: Reference | None) -> tuple[HandleValue, ...] | None:
    """The values of a record of ours, None when there is none that who asks may know of.

    Raises BadIdentifier for a name that is no UTF-8, NotServedHere for one that is not ours.
    """
    try:
        handle.decode()
    except UnicodeDecodeError:
        raise BadIdentifier(
            "not-utf-8", f"{handle!r} is not UTF-8; encode the name first"
        ) from None
    node.prefixes.require(handle)
    record = read_record(node.store, handle)
    if record is None:
        return None
    if is_unseen(record.values) and (
        identity is None
        or stay_unseen(node.access, Change(Kind.MODIFY, handle, actor=identity), record.values)
    ):
        return None
    return record.values


def _require_held(node: Node, handle: bytes, identity: Reference | None) -> tuple[HandleValue, ...]:
    values = _held(node, handle, identity)
    if values is None:
        raise _not_found(handle)
    return values


def _require_held_for(exchange: Exchange, node: Node, handle: bytes) -> None:
    """Raise HandleNotFound to who proved an identity; others are challenged first, as deployed
    servers do.
    """
    held = _held(node, handle, exchange.identity)
    _require_fresh(node, exchange)
    _identity(exchange)
    if held is None:
        raise _not_found(handle)


def _not_found(handle: bytes) -> HandleNotFound:
    return HandleNotFound(f"{_shown(handle)} is not registered here")


def _identity(exchange: Exchange) -> Reference:
    if exchange.identity is None:
        raise AuthenticationNeeded("this needs an identity: answer the challenge")
    return exchange.identity


def _require_server_admin(desk: Desk, exchange: Exchange, what: str) -> None:
    desk.node.access.require_server_admin(_identity(exchange), what)


async def _submit(desk: Desk, exchange: Exchange, change: Change, flags: int = 0) -> Reply:
    """Have the writer do a change; it says what became of it. Never without an actor."""
    _require_fresh(desk.node, exchange)
    if change.actor is None:
        change = replace(change, actor=_identity(exchange))
    (outcome,) = await desk.node.writer.submit([change])
    if outcome.code == ResponseCode.INVALID_ADMIN and change.actor not in (None, ANYBODY):
        # Lists of this node do not name the actor; those of others may.
        groups = await _groups(desk.node, change)
        if groups:
            (outcome,) = await desk.node.writer.submit([replace(change, memberships=groups)])
    if outcome.code != ResponseCode.SUCCESS:
        return error_reply(outcome.code, outcome.error or "")
    if change.overwrite and outcome.status in _OVERWRITTEN:
        flags |= Flag.OWE
    return Reply(flags=flags, changed=True)


async def _groups(node: Node, change: Change) -> tuple[Reference, ...]:
    if change.actor is None:
        return ()
    return await memberships_for(
        node, change.actor, change.handle, creating=change.kind is Kind.CREATE
    )


async def _require_right(
    node: Node, exchange: Exchange, record: bytes, require: Callable[[Reference, bytes], None]
) -> None:
    """Raise NotAuthorized unless who asks has a right in a record, in lists elsewhere too."""
    identity = _identity(exchange)
    try:
        require(identity, record)
    except NotAuthorized:
        groups = await memberships(node, identity, record)
        if not groups:
            raise
        with node.access.knowing(groups):
            require(identity, record)


def _require_fresh(node: Node, exchange: Exchange) -> None:
    """Refuse a request whose time is past (do-irp 21); nought means that none was set."""
    expires = exchange.message.header.expiration
    if expires and expires < node.now():
        raise BiaoshiError(
            f"the request expired {int(node.now()) - expires} s ago; check your clock, send it anew"
        )


async def _prefix_change(desk: Desk, exchange: Exchange, kind: Kind) -> Reply:
    record = record_of(decode_name(exchange.message.body).handle)
    if not described_prefix(record):
        raise BadIdentifier("no-prefix", f"{_shown(record)} is no prefix record; give 0.NA/PREFIX")
    _require_server_admin(desk, exchange, f"{kind.value} a prefix")
    reply = await _submit(desk, exchange, Change(kind, record))
    if kind is Kind.UNHOME and reply.code == ResponseCode.HANDLE_NOT_FOUND:
        return Reply()  # not homed is what was asked for; deployed servers answer so
    return reply


def _homed_prefix(node: Node, record: bytes) -> bytes:
    """The prefix of a folded prefix record. Raises NotServedHere unless it is homed here."""
    prefix = described_prefix(record)
    if not prefix:
        raise NotServedHere(f"{_shown(record)} is no prefix record; give 0.NA/PREFIX")
    if prefix not in node.prefixes.homed():
        raise NotServedHere(f"prefix {_shown(prefix)} is not homed here; ask the node that is home")
    return prefix


def _open_to_all(held: tuple[HandleValue, ...], values: tuple[HandleValue, ...]) -> bool:
    """Whether every value to be modified may be modified by anybody, and stays no HS_ADMIN."""
    before = {value.index: value for value in held}
    return bool(values) and all(
        value.index in before
        and before[value.index].permissions & PUBLIC_WRITE
        and _HS_ADMIN not in (value.type.upper(), before[value.index].type.upper())
        for value in values
    )


def _reads_all(node: Node, exchange: Exchange, record: bytes) -> bool:
    """Whether who asks sees what labels hide under a prefix. record: of the prefix."""
    identity = exchange.identity
    return identity is not None and node.access.allows(identity, record, int(Permission.READ_VALUE))


def _names(node: Node, start: bytes, *, everything: bool = False) -> Iterator[bytes]:
    """Names as registered whose folded form begins so, in parts of one snapshot each.

    everything: with the records that labels hide.

    Names of more than 511 octets lie under shortened keys, in a range of their own.
    """
    for begin in (start, LONG_KEY + start):
        at, stop = begin, begin[:-1] + bytes((begin[-1] + 1,))
        while True:
            with node.store.snapshot() as state:
                rows = list(state.scan(Table.RECORDS, at, stop, NAMES_PER_MESSAGE))
            yield from (row_name(raw) for _, raw in rows if everything or not is_unseen_row(raw))
            if len(rows) < NAMES_PER_MESSAGE:
                break
            at = rows[-1][0] + b"\0"


async def _in_parts(names: Iterable[bytes]) -> AsyncIterator[Reply]:
    """Names, 50 a message; flag CN on all but the last message."""
    part: list[bytes] = []
    for name in names:
        if len(part) == NAMES_PER_MESSAGE:
            yield Reply(body=encode_names_reply(NamesReply(tuple(part))), flags=Flag.CN)
            part = []
            await asyncio.sleep(0)  # others get their turn between the parts of a long list
        part.append(name)
    yield Reply(body=encode_names_reply(NamesReply(tuple(part))))


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")
