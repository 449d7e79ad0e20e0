"""The Store promise: ordered tables with atomic, durable batches.

What the bytes mean is the business of the modules above it; each implementation uses its
database the native way beneath it. Every implementation passes tests/registry/store_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol


class Table(StrEnum):
    """Every table of a store; keys compare as octets."""

    RECORDS = "records"  # store key -> row (registry.store.row)
    JSON = "json"  # store key -> ready-made JSON of the public values
    NAPTR = "naptr"  # domain name without its root -> ready-made NAPTR records (OIDs, GTINs)
    CHANGES = "changes"  # sequence, u8 big-endian -> leaf
    BODIES = "bodies"  # sequence -> content of the change, erasable
    TILES = "tiles"
    CHECKPOINTS = "checkpoints"
    PREFIXES = "prefixes"  # folded prefix -> state, holder, keys
    EVENTS = "events"  # sequence -> event (registry.events.row)
    TRACE = "trace"  # identifier hash, role, event time, sequence -> empty (registry.events.keys)
    SECONDARY = "secondary"  # what else events are found by; idempotency keys
    QUARANTINE = "quarantine"  # store key -> a record that was set aside, and why (registry.scrub)
    META = "meta"  # name -> format version, last sequence, epoch


class Write(NamedTuple):
    """One row to put, or to delete where value is None."""

    table: Table
    key: bytes
    value: bytes | None


class Snapshot(Protocol):
    """One consistent state. Bytes it gives are copies; it must be closed before any wait."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row under a key, or None."""

    def getter(self, table: Table) -> Callable[[bytes], bytes | None]:
        """get() of one table as a function, for many reads of one state."""

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order."""

    def scan_back(
        self, table: Table, start: bytes, stop: bytes, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, the greatest key first."""

    def last(self, table: Table) -> tuple[bytes, bytes] | None:
        """The row with the greatest key."""

    def count(self, table: Table) -> int:
        """How many rows a table has."""


class Store(Protocol):
    """Any number of readers in any number of processes, one writer.

    apply() is all or nothing and durable once it returns; readers see it at their next get().
    After a failed write or sync the store is read-only until it is opened anew.
    """

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row from the newest state."""

    def getter(self, table: Table) -> Callable[[bytes], bytes | None]:
        """get() of one table as a bound function with nothing in between: the lookup path's read."""

    def getter_by_turn(
        self, table: Table, soon: Callable[[Callable[[], None]], object]
    ) -> Callable[[bytes], bytes | None]:
        """The same, where the reads of one turn of an event loop may share a state.

        soon: calls a function when this turn is over, before the loop waits again.
        """

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A consistent state for several reads. Never held across a wait."""

    def apply(
        self, writes: Sequence[Write], bare: Mapping[Table, Sequence[bytes]] | None = None
    ) -> None:
        """Write all rows in one durable transaction. Raises ReadOnly or StoreError.

        bare: keys of rows without a value, besides `writes`: for indexes, which have many.
        """

    def check(self) -> list[str]:
        """Walk everything; one line per thing that is wrong, none when all is well."""

    def close(self) -> None:
        """Release the store."""
