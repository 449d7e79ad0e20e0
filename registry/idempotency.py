"""Idempotency keys: the same key with the same body gives the first result again (threats I5).

Two rows of the `secondary` table: key -> body digest and result, and order -> key, by which the
oldest are dropped. Both are written in the transaction of the change itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from protocol.change import Change, pack, unpack
from protocol.errors import IdempotencyConflict, ParseError, StoreError
from registry.content import change_digest
from registry.log import sequence_key
from registry.store import Snapshot, Store, Table, Write

_KEY = b"idem/"
_ORDER = b"idem-order/"
_ORDER_END = b"idem-order0"
_LAST = b"idem-last"
_DROPPED_AT_ONCE = 2_000
"""Most old keys dropped in one transaction, so that a commit stays short."""


def row_key(change: Change) -> bytes:
    """The key of a change's row. Keys of different actors are different keys."""
    actor = change.actor.text().encode() if change.actor else b""
    return _KEY + sha256(sha256(actor).digest() + (change.idempotency_key or b"")).digest()


def remembered(change: Change, row: bytes | None) -> list[Any] | None:
    """The first result of a change with this key, or None when the key is new.

    Raises IdempotencyConflict when the key was used for another change.
    """
    if row is None:
        return None
    try:
        digest, result, _ = unpack(row)
    except (ParseError, ValueError, TypeError) as error:
        raise StoreError(f"a stored idempotency key is damaged: {error}") from error
    if digest != change_digest(change):
        shown = change.handle.decode("utf-8", "replace")
        raise IdempotencyConflict(
            f"{shown}: the idempotency key was used for another change; use a new key"
        )
    return list(result)


def require_unused_keys(store: Store, changes: Sequence[Change]) -> None:
    """Raise IdempotencyConflict when a key of these changes was used for another change.

    Asked before anything of a request is written, so that the whole request can be refused.
    """
    with store.snapshot() as state:
        for change in changes:
            if change.idempotency_key is not None:
                remembered(change, state.get(Table.SECONDARY, row_key(change)))


def encode(change: Change, result: Sequence[Any], time_s: int) -> bytes:
    """The row of a key. result: msgpack-able."""
    return pack([change_digest(change), list(result), time_s])


def last_order(state: Snapshot) -> int:
    """The greatest order number in use."""
    return int.from_bytes(state.get(Table.META, _LAST) or b"", "big")


def store_writes(new: Mapping[bytes, bytes], last: int) -> list[Write]:
    """The rows that remember new keys. last: the greatest order number in use."""
    made = []
    for order, (key, row) in enumerate(new.items(), last + 1):
        made.append(Write(Table.SECONDARY, key, row))
        made.append(Write(Table.SECONDARY, _ORDER + sequence_key(order), key))
    if new:
        made.append(Write(Table.META, _LAST, sequence_key(last + len(new))))
    return made


def expire_writes(state: Snapshot, before_s: int, last: int, most: int) -> list[Write]:
    """The rows that forget keys older than a time, and the oldest beyond `most`.

    before_s: seconds since 1970. At most some thousand keys a call.
    """
    made: list[Write] = []
    for order, key in state.scan(Table.SECONDARY, _ORDER, _ORDER_END, _DROPPED_AT_ONCE):
        too_many = last - int.from_bytes(order[len(_ORDER) :], "big") >= most
        if not too_many and _time(state.get(Table.SECONDARY, key)) >= before_s:
            break
        made.append(Write(Table.SECONDARY, order, None))
        made.append(Write(Table.SECONDARY, key, None))
    return made


def _time(row: bytes | None) -> int:
    if row is None:
        return 0
    try:
        return int(unpack(row)[2])
    except (ParseError, ValueError, TypeError, IndexError):
        return 0
