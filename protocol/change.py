"""Change: one alteration of what a node holds, and the log leaf that commits to it.

A leaf shows no content: it holds salted digests of the key and of the body, so a body can be
erased and every proof still holds. Leaves and bodies are canonical msgpack: keys sorted,
shortest forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgpack

from protocol.errors import ParseError
from protocol.record import HandleValue, Reference, decode_values, encode_values


class Kind(StrEnum):
    """What a change does. Handle administration first, prefix administration after it."""

    CREATE = "create"  # a new record; with overwrite: replaces a whole one
    DELETE = "delete"
    ADD = "add"  # values at new indexes; with overwrite: at taken ones too
    MODIFY = "modify"  # values at taken indexes
    REMOVE = "remove"  # values by index
    MERGE = "merge"  # create or add-with-overwrite, whichever fits
    HOME = "home"  # this node answers for a prefix
    UNHOME = "unhome"
    REQUEST = "request"  # a child applied for a prefix; body: attributes
    DELEGATE = "delegate"  # a prefix was given to a child: its record and its row in one step
    REFUSE = "refuse"
    ERASE = "erase"  # take the content of earlier changes out of the log; attributes: sequences
    EVENT = "event"  # a lifecycle event was captured; handle: its eventID


class Ready(NamedTuple):
    """What is written of a new record, made by the process that took it in.

    values: list<value> in wire form, stamped, every value publicly readable and its TTL relative.
    json: the array of the same. number: of values. min_ttl: the least TTL in seconds. signed: a signature is among
    them, and was made or verified here.
    """

    values: bytes
    json: bytes
    number: int
    min_ttl: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One asked-for alteration.

    handle: as written (its case is kept); for prefix kinds the prefix record `0.NA/P`.
    actor: the authenticated identity; None is the node's own operator (local socket or lock).
    expected_version: refuse unless the record is at it; 0 = must not exist; None = any.
    idempotency_key: the same key with the same body gives the first result again. body_digest: of
    the body as it came, where that is at hand: else the fields say what the body was.
    attributes: further facts of prefix kinds (holder, keys, address) and of events (registry.events),
    msgpack-able.
    memberships: lists (HS_VLIST) at other nodes that name the actor, as found by the process that
    proved the actor; the writer opens no connection.
    ready: of a CREATE, instead of `values`: made by this node's own code only, never taken from
    outside.
    """

    kind: Kind
    handle: bytes
    values: tuple[HandleValue, ...] = ()
    indexes: tuple[int, ...] = ()
    actor: Reference | None = None
    overwrite: bool = False
    expected_version: int | None = None
    idempotency_key: bytes | None = None
    attributes: Mapping[str, Any] | None = None
    memberships: tuple[Reference, ...] = ()
    ready: Ready | None = None
    body_digest: bytes | None = None


def pack(value: Any) -> bytes:
    """Canonical msgpack: map keys sorted at every depth, shortest integer and string forms."""
    return bytes(msgpack.packb(_sorted(value), use_bin_type=True))


def pack_flat(fields: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """pack() for a map whose keys stand in order, or a list, that holds no maps: not sorted again."""
    return bytes(msgpack.packb(fields, use_bin_type=True))


def unpack(data: bytes | memoryview) -> Any:
    """The value of msgpack bytes. Raises ParseError on anything else."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ParseError(f"not msgpack: {error}") from None


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def encode_change(change: Change) -> bytes:
    """A change as it travels from a reader process to the writer."""
    actor = change.actor
    if change.ready is not None:
        return pack_flat(_ready_fields(change, change.ready))
    return pack_flat(
        {
            "actor": [actor.handle, actor.index] if actor else None,
            "attributes": _sorted(change.attributes),
            "digest": change.body_digest,
            "expected": change.expected_version,
            "handle": change.handle,
            "indexes": list(change.indexes),
            "key": change.idempotency_key,
            "kind": change.kind.value,
            "memberships": [[each.handle, each.index] for each in change.memberships],
            "overwrite": change.overwrite,
            "values": encode_values(change.values),
        }
    )


def decode_change(data: bytes | memoryview) -> Change:
    """The inverse of encode_change. Raises ParseError."""
    fields = unpack(data)
    try:
        if type(fields) is list:
            return _ready_change(fields)
        actor = fields["actor"]
        return Change(
            kind=Kind(fields["kind"]),
            handle=fields["handle"],
            values=decode_values(fields["values"]),
            indexes=tuple(fields["indexes"]),
            actor=Reference(actor[0], actor[1]) if actor else None,
            overwrite=fields["overwrite"],
            expected_version=fields["expected"],
            idempotency_key=fields["key"],
            attributes=fields["attributes"],
            memberships=tuple(Reference(*each) for each in fields["memberships"]),
            body_digest=fields["digest"],
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ParseError(f"not a change: {error!r}") from None


def _ready_fields(change: Change, ready: Ready) -> list[Any]:
    """A ready change as a list: half of what the map above costs, a million times."""
    actor = change.actor
    return [
        change.handle,
        actor.handle if actor else None,
        actor.index if actor else 0,
        change.overwrite,
        change.expected_version,
        [[each.handle, each.index] for each in change.memberships],
        change.idempotency_key,
        change.body_digest,
        *ready,
    ]


def _ready_change(fields: Sequence[Any]) -> Change:
    handle, actor, index, overwrite, expected, memberships, key, digest, *ready = fields
    return Change(
        Kind.CREATE,
        handle,
        actor=None if actor is None else Reference(actor, index),
        overwrite=overwrite,
        expected_version=expected,
        idempotency_key=key,
        memberships=tuple(Reference(*each) for each in memberships),
        ready=Ready(*ready),
        body_digest=digest,
    )
