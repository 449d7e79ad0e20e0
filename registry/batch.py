"""A batch in the making: the store as it will be once the batch is written.

The later change of a batch sees the earlier ones. A part that must be whole or not at all is made
in a `part()`, which is absorbed or dropped.
"""

# ruff: noqa: SLF001 - a batch and its part are of one class

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from typing import NamedTuple, TypeAlias

from protocol.change import Ready
from protocol.identifier import key_of
from protocol.name import PREFIX_RECORDS
from protocol.record import HandleValue, Record, Reference, decode_values
from registry.events.keys import keys
from registry.events.row import EventRow
from registry.events.writing import Captured
from registry.log import Entry
from registry.prefixes import DELEGATED, PrefixRow, is_responsible
from registry.records import read_row
from registry.store import Snapshot, Table, Write
from registry.store.row import decode_values_of, no_rows, ready_rows, rows


class Held(NamedTuple):
    """A record as the batch sees it.

    version: sequence of the change that made it. wire: its values encoded, where that was done.
    """

    name: bytes
    values: tuple[HandleValue, ...]
    version: int
    time_s: int
    wire: tuple[bytes, ...] | None = None


class ReadyHeld:
    """A new record that came ready: its values are taken apart only if somebody asks."""

    __slots__ = ("_values", "name", "ready", "time_s", "version")
    wire = None

    def __init__(self, name: bytes, ready: Ready, version: int, time_s: int) -> None:
        self.name = name
        self.ready = ready
        self.version = version
        self.time_s = time_s
        self._values: tuple[HandleValue, ...] | None = None

    @property
    def values(self) -> tuple[HandleValue, ...]:
        """As of Held."""
        if self._values is None:
            self._values = decode_values(self.ready.values)
        return self._values


AnyHeld: TypeAlias = Held | ReadyHeld


class Batch:
    """Reads through to a snapshot; writes stay here until `writes()`."""

    def __init__(self, state: Snapshot, sequence: int, above: Batch | None = None) -> None:
        """sequence: of the last change logged. above: the batch that this one is a part of."""
        self.state = state
        self.sequence = sequence
        self.entries: list[Entry] = []
        self.extra: list[Write] = []
        self.trace: list[bytes] = []
        self.index: list[bytes] = []
        """Keys of rows without a value: of the indexes of events."""
        self.remembered: dict[bytes, bytes] = {}
        self.prefixes_changed = False
        self.served: set[bytes] = set()
        """Prefixes whose handles were found to lie here; forgotten when prefixes change."""
        self.policies: dict[bytes, str] = {}
        """Prefixes and what they say of records without a signature; forgotten with them."""
        self.creators: set[tuple[bytes, Reference | None, tuple[Reference, ...]]] = set()
        """Prefixes and who was found to be allowed new records there; forgotten when anything
        else than a ready record is written."""
        self._new: dict[bytes, AnyHeld | None] = {}
        self._known: MutableMapping[bytes, AnyHeld | None] = above._known if above else {}
        self._records: MutableMapping[bytes, AnyHeld | None] = (
            ChainMap(self._new, above._records) if above else self._new
        )
        self._new_events: dict[str, list[tuple[int, EventRow]]] = {}
        self._new_prefixes: dict[bytes, PrefixRow | None] = {}
        self._prefixes: MutableMapping[bytes, PrefixRow | None] = (
            ChainMap(self._new_prefixes, above._prefixes) if above else self._new_prefixes
        )
        self._states: dict[bytes, PrefixRow | None] = above._states if above else {}
        self._above = above

    @property
    def is_part(self) -> bool:
        """Whether it may still be dropped while the batch above goes on."""
        return self._above is not None

    # --- records

    def held(self, handle: bytes) -> AnyHeld | None:
        """The record of a handle, in any case. Raises RowDamaged."""
        return self.held_key(key_of(handle))

    def held_key(self, folded: bytes) -> AnyHeld | None:
        """The record under a key in full length. Raises RowDamaged."""
        if folded in self._records:
            return self._records[folded]
        if folded not in self._known:
            row = read_row(self.state, folded)
            self._known[folded] = (
                None
                if row is None
                else Held(row.name, decode_values_of(row), row.version, row.time)
            )
        return self._known[folded]

    def values(self, handle: bytes) -> tuple[HandleValue, ...] | None:
        """The values of a handle."""
        held = self.held(handle)
        return None if held is None else held.values

    def put(self, folded: bytes, held: AnyHeld | None) -> None:
        """Set a record, or delete it."""
        if folded.startswith(PREFIX_RECORDS) and (
            _has_namespace(held) or _has_namespace(self.held(folded))
        ):
            self.prefixes_changed = True  # readers keep what namespaces say of a prefix
        self.creators.clear()
        self._new[folded] = held

    def put_ready(self, folded: bytes, held: ReadyHeld) -> None:
        """Add a record that came ready: nobody's rights and no prefix depend on it."""
        self._new[folded] = held

    def has_key(self, folded: bytes) -> bool:
        """Whether there is a record under a plain key."""
        if folded in self._records:
            return self._records[folded] is not None
        return self.state.get(Table.RECORDS, folded) is not None

    # --- prefixes

    def prefix(self, prefix: bytes) -> PrefixRow | None:
        """The row of a folded prefix."""
        if prefix in self._prefixes:
            return self._prefixes[prefix]
        if prefix not in self._states:
            data = self.state.get(Table.PREFIXES, prefix)
            self._states[prefix] = None if data is None else PrefixRow.decode(prefix, data)
        return self._states[prefix]

    def prefix_state(self, prefix: bytes) -> str | None:
        """homed, waiting, requested, delegated, refused; None for an unknown prefix."""
        row = self.prefix(prefix)
        return None if row is None else row.state

    def responsible(self, handle: bytes, *states: str) -> bool:
        """Whether a handle's prefix is in one of these states here (do-irp 17.1)."""
        return is_responsible(
            handle,
            lambda prefix: self.prefix_state(prefix) in states,
            lambda prefix: self.prefix_state(prefix) == DELEGATED,
        )

    def put_prefix(self, prefix: bytes, row: PrefixRow | None) -> None:
        """Set a prefix's row, or delete it."""
        self._new_prefixes[prefix] = row
        self.prefixes_changed = True
        self.creators.clear()
        self.served.clear()
        self.policies.clear()

    # --- events

    def put_event(self, event: Captured, sequence: int) -> None:
        """Add an event with its rows."""
        self._new_events.setdefault(event.row.event_id, []).append((sequence, event.row))
        self.extra.append(event.row_write(sequence))
        self.trace += keys(event.trace, sequence)
        self.index += keys(event.index, sequence)

    def captured(self, event_id: str) -> Iterator[tuple[int, EventRow]]:
        """The events of this batch that have an id, with their sequences."""
        at: Batch | None = self
        while at is not None:
            yield from at._new_events.get(event_id, ())
            at = at._above

    # --- idempotency keys

    def remembered_result(self, key: bytes) -> bytes | None:
        """The row of an idempotency key: of this batch, or stored."""
        at: Batch | None = self
        while at is not None:
            if key in at.remembered:
                return at.remembered[key]
            at = at._above
        return self.state.get(Table.SECONDARY, key)

    # --- the whole

    def part(self) -> Batch:
        """A batch upon this one, to be absorbed whole or dropped."""
        return Batch(self.state, self.sequence, self)

    def absorb(self, part: Batch) -> None:
        """Take over what a part did."""
        self.sequence = part.sequence
        self.creators.clear()
        self.served.clear()
        self.entries += part.entries
        self.extra += part.extra
        self.trace += part.trace
        self.index += part.index
        self.remembered |= part.remembered
        self.prefixes_changed |= part.prefixes_changed
        self._new.update(part._new)
        for event_id, found in part._new_events.items():
            self._new_events.setdefault(event_id, []).extend(found)
        self._new_prefixes.update(part._new_prefixes)

    def bare_keys(self) -> dict[Table, list[bytes]]:
        """Keys of rows that have no value, table by table: no object for each is made of them."""
        found = {Table.TRACE: self.trace, Table.SECONDARY: self.index}
        return {table: bare for table, bare in found.items() if bare}

    def writes(self) -> list[Write]:
        """Every row of the batch; each record once, as it is in the end."""
        made: list[Write] = []
        for folded, held in self._new.items():
            if held is None:
                made += no_rows(folded)
            elif isinstance(held, ReadyHeld):
                made += ready_rows(held.name, held.ready, held.version, held.time_s)
            else:
                made += rows(Record(held.name, held.values), held.version, held.time_s, held.wire)
        for prefix, row in self._new_prefixes.items():
            made.append(row.write() if row is not None else Write(Table.PREFIXES, prefix, None))
        for logged in self.entries:
            made += logged.writes()
        return made + self.extra


def _has_namespace(held: AnyHeld | None) -> bool:
    return held is not None and any(v.type.upper() == b"HS_NAMESPACE" for v in held.values)
