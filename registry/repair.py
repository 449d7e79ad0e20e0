"""Repair: a store made again from its log, where that is sound, and from a mirror's, where not.

Nothing is believed but the root of the tree: the last checkpoint that the node's own key signed.
The damaged store is kept beside the new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol import note
from protocol.errors import BiaoshiError, ParseError, SignatureInvalid, StoreError
from registry import tree
from registry.check import check_node
from registry.fence import FENCE_KEY
from registry.follow import PORTION, carry_over, write_portion
from registry.log import (
    SEQUENCE_KEY,
    commits_to,
    decode_body,
    decode_leaf,
    last_sequence,
    read_sequence,
    sequence_key,
)
from registry.replay import Logged, read_checkpoint
from registry.store import Snapshot, Store, Table, Write
from registry.store.lmdb_store import LmdbStore, create
from registry.store.place import sync_folder

ASIDE: Final = "store.repairing"
_KEPT_META: Final = (FENCE_KEY,)
_REMEMBERED: Final = ((b"idem", b"ideN"), (b"note/", b"note0"))
"""Rows that no change of the log makes: results of idempotency keys, the node's notes."""

Fetch = Callable[[int, int], Iterator[Logged]]
"""Changes first … last of a mirror, with their content."""


@dataclass(slots=True)
class Repaired:
    """What was done. fetched: changes taken from the mirror; kept: where the damaged store is."""

    changes: int
    fetched: int
    root: bytes
    kept: Path


def repair(
    folder: Path, *, log_key: bytes, fetch: Fetch | None, known: Sequence[bytes], map_bytes: int
) -> Repaired:
    """Make the store of a stopped node again.

    log_key: of the checkpoints. known: signed notes of this log from elsewhere: the file beside
    the store, the mirror. Raises StoreError naming what cannot be made good.
    """
    aside = folder / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    damaged = LmdbStore.open(folder / "store", map_bytes=map_bytes)
    try:
        raw, said = _trusted(damaged, log_key, known)
        create(aside, map_bytes=map_bytes)
        made = LmdbStore.open(aside, map_bytes=map_bytes)
        try:
            fetched = _rebuild(damaged, made, said.size, fetch)
            _finish(damaged, made, raw, said, log_key)
        finally:
            made.close()
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        damaged.close()
    kept = _free_name(folder)
    (folder / "store").rename(kept)
    aside.rename(folder / "store")
    sync_folder(folder)
    return Repaired(said.size, fetched, said.root, kept)


def _free_name(folder: Path) -> Path:
    number = 1
    while (folder / f"store.damaged-{number}").exists():
        number += 1
    return folder / f"store.damaged-{number}"


def _trusted(store: Store, log_key: bytes, known: Sequence[bytes]) -> tuple[bytes, note.Checkpoint]:
    """The checkpoint with the most changes that the log key signed."""
    best: tuple[bytes, note.Checkpoint] | None = None
    with store.snapshot() as state:
        size = last_sequence(state.get(Table.META, SEQUENCE_KEY))
        own = [raw for _, raw in state.scan(Table.CHECKPOINTS)]
    for raw in (*known, *own):
        try:
            said = read_checkpoint(raw, log_key)
        except (ParseError, SignatureInvalid):
            continue
        if best is None or said.size > best[1].size:
            best = (raw, said)
    if best is None or best[1].size < size:
        held = 0 if best is None else best[1].size
        raise StoreError(
            f"the log has {size} changes and no sound checkpoint over more than {held}; "
            "repair from a mirror, or restore a backup"
        )
    return best


def _rebuild(damaged: Store, made: Store, last: int, fetch: Fetch | None) -> int:
    """Every change in its place; how many came from the mirror."""
    fetched, first = 0, 1
    while first <= last:
        stop = min(first + PORTION - 1, last)
        rows = {number: _own(damaged, number) for number in range(first, stop + 1)}
        missing = [number for number, row in rows.items() if row is None]
        for start, end in _runs(missing):
            for row in _from_mirror(fetch, start, end):
                rows[row.sequence] = row
                fetched += 1
        whole = [row for row in rows.values() if row is not None]
        write_portion(made, whole, ())
        first = stop + 1
    return fetched


def _own(store: Store, number: int) -> Logged | None:
    """A change as the damaged store has it; None where leaf or content do not hold."""
    key = sequence_key(number)
    try:
        with store.snapshot() as state:
            leaf, body = state.get(Table.CHANGES, key), state.get(Table.BODIES, key)
            if leaf is None or not tree.has_leaf(state, number, leaf):
                return None
        if body is not None and not commits_to(decode_leaf(leaf), decode_body(body)[0], body):
            return None
    except BiaoshiError:
        return None
    return Logged(number, leaf, body)


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = end = 0
    for number in numbers:
        if number != end + 1 or not start:
            if start:
                yield start, end
            start = number
        end = number
    if start:
        yield start, end


def _from_mirror(fetch: Fetch | None, first: int, last: int) -> list[Logged]:
    if fetch is None:
        raise StoreError(
            f"change {first} of the log is damaged as well; repair from a mirror "
            "(--repair-from URL), or restore a backup"
        )
    found = list(fetch(first, last))
    if [row.sequence for row in found] != list(range(first, last + 1)):
        raise StoreError(f"the mirror does not have changes {first} to {last}; try another one")
    return found


def _finish(damaged: Store, made: Store, raw: bytes, said: note.Checkpoint, log_key: bytes) -> None:
    """The root as it was signed, then what is not in the log; the whole checked."""
    with made.snapshot() as state:
        if tree.root_at(state, said.size) != said.root:
            raise StoreError(
                "the changes, put together, do not have the signed root: one of the mirror's is "
                "not of this log"
            )
    carry_over(damaged, made, said.size, lenient=True)
    with damaged.snapshot() as state:
        writes = list(_besides(state, log_key))
    made.apply([*writes, Write(Table.CHECKPOINTS, sequence_key(said.size), raw)])
    findings = check_node(made, most=3)
    if findings:
        raise StoreError(f"what was made does not add up: {'; '.join(findings)}")


def _besides(state: Snapshot, log_key: bytes) -> Iterator[Write]:
    """The fence, remembered results, and the checkpoints that hold."""
    for name in _KEPT_META:
        value = state.get(Table.META, name)
        if value is not None:
            yield Write(Table.META, name, value)
    for start, stop in _REMEMBERED:
        for key, value in state.scan(Table.SECONDARY, start, stop):
            yield Write(Table.SECONDARY, key, value)
    for key, raw in state.scan(Table.CHECKPOINTS):
        try:
            if read_checkpoint(raw, log_key).size == read_sequence(key):
                yield Write(Table.CHECKPOINTS, key, raw)
        except (ParseError, SignatureInvalid):
            continue
