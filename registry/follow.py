"""Tables out of a log: the same rows that the writer made, from leaves and bodies.

What mirrors, incremental backups and restores to a position have in common. A portion is checked
whole against a signed checkpoint before any of it is written, and then written in one transaction.
Results of idempotency keys are not in the log and are not made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from protocol import merkle, note
from protocol.change import Kind, pack, unpack
from protocol.errors import InvalidValue, SignatureInvalid, StoreError
from protocol.name import described_prefix
from protocol.record import Record
from registry import tree
from registry.erase import erase_writes, erasures
from registry.events.row import decode_event_row
from registry.events.writing import captured, stored_event
from registry.fence import EPOCH_KIND
from registry.log import SEQUENCE_KEY, Body, read_sequence, sequence_key
from registry.prefixes import DELEGATED, PrefixRow
from registry.replay import Logged, Opened, Replay, require_root
from registry.store import Snapshot, Store, Table, Write
from registry.store.row import decode_row, decode_values_of, no_rows, rows

PORTION = 4_096
"""Changes applied in one transaction, about."""
WITHHELD_KEY = b"withheld"
"""Row of a mirror's meta table: changes that came without content and that nothing erased yet."""


class Tables:
    """Writes that changes lead to, upon a snapshot; the later of two rows counts."""

    def __init__(self, state: Snapshot) -> None:
        self._state = state
        self._made: dict[tuple[Table, bytes], Write] = {}
        self._events: dict[int, list[Write]] = {}
        self.prefixes_changed = False
        self.withheld = withheld(state)

    def take(self, opened: Opened) -> None:
        """Do one change. Without its body nothing is known of it and nothing done."""
        body = opened.body
        if body is None or opened.key is None:
            self.withheld.add(opened.sequence)
            return
        if body.kind == Kind.ERASE:
            gone = erasures(body.kind, body.attributes)
            self.withheld.difference_update(gone)
            self._erase(gone)
            return
        if body.kind == EPOCH_KIND:
            epoch = int((body.attributes or {}).get("epoch", 0))
            self._put(Write(Table.META, tree.EPOCH_KEY, sequence_key(epoch)))
            return
        if body.kind == Kind.EVENT:
            self._event(opened.sequence, body)
            return
        if sets_record(body):
            self._record(opened.sequence, opened.fields, opened.key, body)
        if body.attributes is not None and "state" in body.attributes:
            self._prefix(opened.sequence, opened.fields, opened.key, body.attributes)

    def _event(self, sequence: int, body: Body) -> None:
        try:
            event = captured(body.handle, body.attributes)
        except InvalidValue as error:
            raise StoreError(f"change {sequence}: {error}") from None
        self._events[sequence] = event.writes(sequence)
        for write in self._events[sequence]:
            self._put(write)

    def _erase(self, sequences: Sequence[int]) -> None:
        """Bodies and event rows go, those of the changes that are taken now as well."""
        for write in erase_writes(self._state, sequences):
            self._put(write)
        for number in sequences:
            for write in self._events.pop(number, ()):
                self._put(Write(write.table, write.key, None))

    def _record(self, sequence: int, fields: Mapping[str, Any], key: bytes, body: Body) -> None:
        if body.after is not None:
            record = Record(body.handle, body.after)
            made = rows(record, sequence, int(fields["time"]))
        else:
            made = no_rows(key)
            prefix = described_prefix(key)
            if prefix is not None and self._prefix_state(prefix) == DELEGATED:
                made.append(Write(Table.PREFIXES, prefix, None))
                self.prefixes_changed = True
        for write in made:
            self._put(write)

    def _prefix(
        self, sequence: int, fields: Mapping[str, Any], key: bytes, attributes: Mapping[str, Any]
    ) -> None:
        prefix = described_prefix(key)
        if prefix is None:
            raise StoreError(f"change {sequence} sets a prefix and is about {key!r}")
        state = attributes["state"]
        row = PrefixRow(
            prefix, state or "", int(fields["time"]), sequence, attributes.get("attributes") or {}
        )
        self._put(row.write() if state is not None else Write(Table.PREFIXES, prefix, None))
        self.prefixes_changed = True

    def _prefix_state(self, prefix: bytes) -> str | None:
        made = self._made.get((Table.PREFIXES, prefix))
        raw = made.value if made is not None else self._state.get(Table.PREFIXES, prefix)
        return None if raw is None else PrefixRow.decode(prefix, raw).state

    def _put(self, write: Write) -> None:
        self._made[write.table, write.key] = write

    def writes(self) -> list[Write]:
        """Every row as it is in the end; written after the log's own, of which erasures take some."""
        return list(self._made.values())


def withheld(state: Snapshot) -> set[int]:
    """Changes that came without their content although no change that came erased it."""
    raw = state.get(Table.META, WITHHELD_KEY)
    return set() if raw is None else set(unpack(raw))


def sets_record(body: Body) -> bool:
    """Whether a change wrote or deleted its record: changes of a prefix need not."""
    return body.attributes is None or body.before != body.after


def replay_from(state: Snapshot) -> Replay:
    """A replay that goes on where a store's log ends."""
    size = tree.tree_size(state)
    nodes = tree.nodes(tree.tile_reader(state))
    hashes = [nodes(level, index) for level, index in merkle.subtrees(0, size)]
    replay = Replay(merkle.Frontier(size, hashes))
    epoch = tree.epoch_of(state)
    if epoch:
        replay.epochs.append((epoch, size))
    return replay


def append(
    store: Store, found: Iterable[Logged], checkpoint: bytes, said: note.Checkpoint
) -> tuple[int, bool]:
    """Check changes against a verified checkpoint and write them with their tables.

    said: what the checkpoint says. Gives the size of the log then, and whether prefixes changed.
    Raises SignatureInvalid, and nothing was written.
    """
    with store.snapshot() as state:
        replay, tables = replay_from(state), Tables(state)
        first, before = replay.size, set(tables.withheld)
        taken: list[Logged] = []
        for logged in found:
            tables.take(replay.take(logged))
            taken.append(logged)
            if replay.size == said.size:
                break
        if replay.size != said.size:
            raise SignatureInvalid(
                f"the checkpoint is over {said.size} changes, those that came end at {replay.size}"
            )
        require_root(said, replay.frontier.root())
        growth = tree.grow(state, [merkle.leaf_hash(logged.leaf) for logged in taken])
    if replay.size == first:
        return first, False
    store.apply(
        [
            *_log_rows(taken),
            *tables.writes(),
            *growth.writes,
            *_withheld_row(before, tables.withheld),
            Write(Table.CHECKPOINTS, sequence_key(said.size), checkpoint),
            Write(Table.META, SEQUENCE_KEY, sequence_key(said.size)),
        ]
    )
    return said.size, tables.prefixes_changed


def _withheld_row(before: set[int], after: set[int]) -> list[Write]:
    if before == after:
        return []
    return [Write(Table.META, WITHHELD_KEY, pack(sorted(after)) if after else None)]


def _log_rows(taken: Iterable[Logged]) -> Iterator[Write]:
    for logged in taken:
        key = sequence_key(logged.sequence)
        yield Write(Table.CHANGES, key, logged.leaf)
        if logged.body is not None:
            yield Write(Table.BODIES, key, logged.body)


def copy_log(source: Store, target: Store, last: int) -> int:
    """Build a store anew from changes 1 … last of another; gives its size.

    Checkpoints come along, so that the new log is the old one up to there. Records whose change
    was erased are taken from the source's own table, where they are not newer.
    """
    at = 0
    while at < last:
        with source.snapshot() as state:
            stop = min(at + PORTION, last)
            found = list(_stored(state, at + 1, stop))
            notes = list(
                state.scan(Table.CHECKPOINTS, sequence_key(at + 1), sequence_key(stop + 1))
            )
        if not found or found[-1].sequence != stop:
            raise StoreError(f"the log has no change {stop}; run `biaoshi check`")
        write_portion(target, found, notes)
        at = stop
    carry_over(source, target, last)
    return at


def write_portion(
    target: Store, found: Sequence[Logged], notes: Iterable[tuple[bytes, bytes]]
) -> None:
    """The next changes of a log and their tables, in one transaction. notes: checkpoints with keys.

    Raises SignatureInvalid where a change is not what its leaf says.
    """
    with target.snapshot() as state:
        replay, tables = replay_from(state), Tables(state)
        for logged in found:
            tables.take(replay.take(logged))
        growth = tree.grow(state, [merkle.leaf_hash(logged.leaf) for logged in found])
    target.apply(
        [
            *_log_rows(found),
            *tables.writes(),
            *growth.writes,
            *(Write(Table.CHECKPOINTS, key, raw) for key, raw in notes),
            Write(Table.META, SEQUENCE_KEY, sequence_key(replay.size)),
        ]
    )


def carry_over(source: Store, target: Store, last: int, *, lenient: bool = False) -> None:
    """Records and events whose content was erased from the log, as the source still has them.

    lenient: pass over damaged ones; otherwise they raise StoreError.
    """
    with source.snapshot() as state:
        writes: list[Write] = []
        for _, raw in state.scan(Table.RECORDS):
            with _passing_over(lenient):
                row = decode_row(raw)
                if row.version > last or state.get(Table.BODIES, sequence_key(row.version)):
                    continue
                writes += rows(Record(row.name, decode_values_of(row)), row.version, row.time)
        for key, raw in state.scan(Table.EVENTS, stop=sequence_key(last + 1)):
            if state.get(Table.BODIES, key) is None:
                with _passing_over(lenient):
                    writes += stored_event(decode_event_row(raw)).writes(read_sequence(key))
    target.apply(writes)


def _passing_over(lenient: bool) -> AbstractContextManager[None]:
    return suppress(StoreError) if lenient else nullcontext()


def _stored(state: Snapshot, first: int, last: int) -> Iterator[Logged]:
    for key, leaf in state.scan(Table.CHANGES, sequence_key(first), sequence_key(last + 1)):
        yield Logged(int.from_bytes(key, "big"), leaf, state.get(Table.BODIES, key))
