"""Checks that a node's tables say the same: records, their ready bodies, and the log.

Store.check() walks the database; this walks what the rows mean. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from protocol import merkle, note, tiles
from protocol.change import Kind
from protocol.errors import BiaoshiError, ParseError, SignatureInvalid, StoreError
from protocol.identifier import key_of
from protocol.name import described_prefix
from protocol.record import Record
from registry import tree
from registry.alter import RECORD_KINDS
from registry.content import same_content
from registry.events.checking import check_events
from registry.log import (
    SEQUENCE_KEY,
    Body,
    commits_to,
    decode_body,
    decode_leaf,
    last_sequence,
    read_sequence,
    sequence_key,
)
from registry.prefixes import PrefixRow
from registry.scrub import quarantined
from registry.store import Snapshot, Store, Table
from registry.store.row import (
    HEAD_SIZE,
    QUARANTINED,
    Row,
    decode_row,
    decode_values_of,
    row_version,
    rows,
    store_key,
)

MAX_FINDINGS = 1_000


class Verifiers(Protocol):
    """Who may have signed the checkpoints of a log: tree.LogSigner, or a mirror's knowledge."""

    def verifiers(self, epoch: int) -> Sequence[note.Key]:
        """The keys that may have signed checkpoints of an epoch, whenever."""


def check_node(
    store: Store, *, most: int = MAX_FINDINGS, signer: Verifiers | None = None
) -> list[str]:
    """Everything that does not add up, a line each; empty when all is well.

    signer: of the log's checkpoints, whose signatures are verified then.
    """
    findings = store.check()
    with store.snapshot() as state:
        epochs = range(tree.epoch_of(state) + 1) if signer is not None else ()
        keys = [key for epoch in epochs if signer for key in signer.verifiers(epoch)]

        def walk_tree(state: Snapshot) -> Iterator[str]:
            return _tree(state, keys)

        for walk in (_records, _ready_bodies, _log, walk_tree, _prefixes, check_events):
            try:
                for finding in walk(state):
                    findings.append(finding)
                    if len(findings) >= most:
                        return [*findings, f"stopped after {most} findings"]
            except StoreError as error:
                findings.append(str(error))
    return findings


def _records(state: Snapshot) -> Iterator[str]:
    """Each row decodes, lies under its own name, and is what its change made of it."""
    last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
    why = {one.key: one.why for one in quarantined(state) if one.table is Table.RECORDS}
    for key, raw in state.scan(Table.RECORDS):
        if raw == QUARANTINED:
            yield f"records: {key[:80]!r} is quarantined: {why.get(key, 'nothing says why')}"
            continue
        try:
            row = decode_row(raw)
            values = decode_values_of(row)
        except StoreError as error:
            yield f"records: {key[:80]!r}: {error}"
            continue
        if store_key(key_of(row.name)) != key:
            yield f"records: {row.name!r} lies under another name's key, {key[:80]!r}"
        if not 0 < row.version <= last:
            yield f"records: {row.name!r} has version {row.version}, the log ends at {last}"
            continue
        made = rows(Record(row.name, values), row.version, row.time)
        for write in made:
            if state.get(write.table, write.key) != write.value:
                yield f"{write.table}: the row of {row.name!r} is not what its values make"
        yield from _from_log(state, row, key)


def _from_log(state: Snapshot, row: Row, key: bytes) -> Iterator[str]:
    """The change that a row names must have made it; its body may have been erased."""
    raw = state.get(Table.BODIES, sequence_key(row.version))
    if raw is None:
        return
    try:
        name, body = decode_body(raw)
    except StoreError as error:
        yield f"bodies: {row.version}: {error}"
        return
    if store_key(name) != key:
        yield f"records: {row.name!r} names change {row.version}, which is about {name!r}"
    elif body.after is None or not same_content(body.after, row.values()):
        yield f"records: {row.name!r} does not hold what change {row.version} wrote"


def _ready_bodies(state: Snapshot) -> Iterator[str]:
    """No ready body without its record."""
    for key, _ in state.scan(Table.JSON):
        if state.get(Table.RECORDS, key) is None:
            yield f"json: {key[:80]!r} has no record"


def _log(state: Snapshot) -> Iterator[str]:
    """Leaves without a gap, each that of its body; no record older than its last change."""
    last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
    expected, missing = 0, dict[bytes, int]()
    for key, raw in state.scan(Table.CHANGES):
        expected += 1
        sequence = read_sequence(key)
        if sequence != expected:
            yield f"changes: {expected} is missing, {sequence} follows"
            expected = sequence
        try:
            leaf = decode_leaf(raw)
            if leaf["sequence"] != sequence:
                yield f"changes: leaf {sequence} says it is {leaf['sequence']}"
            body = state.get(Table.BODIES, key)
            if body is not None:
                yield from _body(state, sequence, leaf, body, missing)
            elif leaf["kind"] == Kind.DELETE:
                missing.clear()  # erased: which name it deleted can no longer be told
        except BiaoshiError as error:
            yield f"changes: {sequence}: {error}"
    for name, sequence in missing.items():
        yield f"records: {name!r} is missing, change {sequence} wrote it"
    if expected != last:
        yield f"changes: the log ends at {expected}, the store says {last}"
    for key, _ in state.scan(Table.BODIES):
        if state.get(Table.CHANGES, key) is None:
            yield f"bodies: {read_sequence(key)} has no leaf"


def _tree(state: Snapshot, keys: Sequence[note.Key]) -> Iterator[str]:
    """Tiles are the hashes of the leaves; each checkpoint has the root of its size."""
    size = tree.tree_size(state)
    hashed = _Hashed(state)
    signed = {read_sequence(key): raw for key, raw in state.scan(Table.CHECKPOINTS)}
    frontier = merkle.Frontier()
    for key, leaf in state.scan(Table.CHANGES):
        if frontier.size >= size:
            break
        hash_ = merkle.leaf_hash(leaf)
        frontier.append(hash_)
        yield from hashed.add(hash_)
        note_raw = signed.pop(read_sequence(key), None)
        if note_raw is not None:
            yield from _checkpoint(note_raw, frontier, keys)
    if frontier.size != size:
        yield f"tiles: the tree has {size} leaves, the log {frontier.size}"
    yield from hashed.finish()
    for beyond in signed:
        yield f"checkpoints: one over {beyond} leaves, the tree has {size}"


class _Hashed:
    """The tiles of every level made again, and compared as each is whole."""

    def __init__(self, state: Snapshot) -> None:
        self._state = state
        self._levels: list[tuple[int, list[bytes]]] = []

    def add(self, hash_: bytes, level: int = 0) -> Iterator[str]:
        """Append a hash at a level."""
        if level == len(self._levels):
            self._levels.append((0, []))
        index, hashes = self._levels[level]
        hashes.append(hash_)
        if len(hashes) == tiles.WIDTH:
            self._levels[level] = (index + 1, [])
            yield from self._compare(level, index, hashes)
            yield from self.add(tiles.joined(b"".join(hashes)), level + 1)

    def finish(self) -> Iterator[str]:
        """Compare what is not whole yet."""
        for level, (index, hashes) in enumerate(self._levels):
            if hashes:
                yield from self._compare(level, index, hashes)

    def _compare(self, level: int, index: int, hashes: list[bytes]) -> Iterator[str]:
        if self._state.get(Table.TILES, tree.tile_key(level, index)) != b"".join(hashes):
            yield f"tiles: {tiles.path(level, index)} does not hold the hashes below it"


def _checkpoint(raw: bytes, frontier: merkle.Frontier, keys: Sequence[note.Key]) -> Iterator[str]:
    try:
        signed = note.decode(raw)
        said = note.parse_checkpoint(signed.text)
        if keys:
            note.verify(signed, keys)
    except (ParseError, SignatureInvalid) as error:
        yield f"checkpoints: {frontier.size}: {error}"
        return
    if (said.size, said.root) != (frontier.size, frontier.root()):
        yield f"checkpoints: the one over {frontier.size} leaves has another root than the leaves"


def _body(
    state: Snapshot, sequence: int, leaf: Mapping[str, Any], raw: bytes, missing: dict[bytes, int]
) -> Iterator[str]:
    """A body against its leaf and its record. missing: names written and not there (so far)."""
    name, body = decode_body(raw)
    if not commits_to(leaf, name, raw):
        yield f"changes: leaf {sequence} does not commit to its body"
    if not _sets_record(body):
        return
    row = state.get(Table.RECORDS, store_key(name))
    if body.after is None:
        missing.pop(name, None)
    elif row is None:
        missing[name] = sequence
    if row is not None and len(row) >= HEAD_SIZE and row_version(row) < sequence:
        yield f"records: {name!r} is at {row_version(row)}, change {sequence} is later"


def _sets_record(body: Body) -> bool:
    """Whether a change touched its record: prefix changes need not."""
    return body.kind in RECORD_KINDS or not (
        body.before is body.after
        or (
            body.before is not None
            and body.after is not None
            and same_content(body.before, body.after)
        )
    )


def _prefixes(state: Snapshot) -> Iterator[str]:
    """Each prefix row decodes, is folded, and stands at a change that is about it."""
    for prefix, raw in state.scan(Table.PREFIXES):
        row = PrefixRow.decode(prefix, raw)
        if prefix != prefix.upper():
            yield f"prefixes: {prefix!r} is not folded"
        body = state.get(Table.BODIES, sequence_key(row.sequence))
        if body is None:
            continue
        name, content = decode_body(body)
        leaf = state.get(Table.CHANGES, sequence_key(row.sequence))
        time_s = int(decode_leaf(leaf)["time"]) if leaf is not None else row.time
        logged = content.attributes or {}
        made = PrefixRow(
            prefix,
            str(logged.get("state")),
            time_s,
            row.sequence,
            logged.get("attributes") or {},
        )
        if described_prefix(name) != prefix or made.encode() != raw:
            yield f"prefixes: {prefix!r} is not what change {row.sequence} made of it"
