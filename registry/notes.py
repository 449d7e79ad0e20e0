"""Notes: what a node remembers for itself and does not log: jobs, named queries, subscriptions.

They lie in the `secondary` table under keys of their own, are durable like everything else and go
into full backups; restores to a position do not have them. Mirrors take some of them from their
primary (resolver.trust.carried).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from protocol.change import pack, unpack
from protocol.errors import InvalidValue, ParseError, StoreError
from registry.store import Snapshot, Table, Write

PREFIX: Final = b"note/"
MAX_KEY: Final = 400


class Gets(Protocol):
    """A store or a snapshot."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Note:
    """One to write. value: octets; None deletes. new: only where there is none yet."""

    key: bytes
    value: bytes | None
    new: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.key) <= MAX_KEY:
            raise InvalidValue(f"a note has a key of 1 to {MAX_KEY} octets, not {len(self.key)}")

    def row_key(self) -> bytes:
        """Where it lies in the table."""
        return PREFIX + self.key

    def write(self) -> Write:
        """The row."""
        return Write(Table.SECONDARY, self.row_key(), self.value)


def encode_note(value: Any) -> bytes:
    """A msgpack-able value as a note has it."""
    return pack(value)


def read_note(source: Gets, key: bytes) -> Any:
    """The value of a note that encode_note() wrote; None: there is none."""
    raw = source.get(Table.SECONDARY, PREFIX + key)
    return None if raw is None else _decode(key, raw)


def raw_note(source: Gets, key: bytes) -> bytes | None:
    """The octets of a note."""
    return source.get(Table.SECONDARY, PREFIX + key)


def notes(
    state: Snapshot,
    prefix: bytes,
    *,
    after: bytes = b"",
    before: bytes = b"",
    back: bool = False,
    limit: int | None = None,
) -> Iterator[tuple[bytes, Any]]:
    """(key without the prefix, value) of the notes whose keys begin so, in their order.

    after, before: keys without the prefix, exclusive. back: the last one first.
    """
    start = PREFIX + prefix + (after + b"\0" if after else b"")
    stop = PREFIX + prefix + before if before else PREFIX + prefix[:-1] + bytes((prefix[-1] + 1,))
    scan = state.scan_back if back else state.scan
    for key, raw in scan(Table.SECONDARY, start, stop, limit):
        yield key[len(PREFIX) + len(prefix) :], _decode(key, raw)


def _decode(key: bytes, raw: bytes) -> Any:
    try:
        return unpack(raw)
    except ParseError as error:
        raise StoreError(f"the note {key[:80]!r} is damaged: {error}") from None
