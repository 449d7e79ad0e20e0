"""The scrub: every record compared with what its change committed to, digests of SHA-256 included.

A fast checksum guards each read; it cannot tell a row that was exchanged for another valid one.
What does not hold is quarantined: the row is set aside with the reason, and in its place stands a
mark that no reader takes for a row. `biaoshi check --repair` makes it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol import merkle, tiles
from protocol.change import pack, unpack
from protocol.errors import ParseError, StoreError
from protocol.identifier import key_of
from protocol.naptr import domain_of
from protocol.record import Record
from registry import tree
from registry.content import same_content
from registry.log import (
    SEQUENCE_KEY,
    commits_to,
    decode_body,
    decode_leaf,
    last_sequence,
    sequence_key,
)
from registry.store import Snapshot, Store, Table, Write
from registry.store.row import QUARANTINED, Row, decode_row, decode_values_of, rows, store_key

PORTION: Final = 256
"""Records compared in one snapshot."""


class Finding(NamedTuple):
    """A record that cannot be trusted. key: its store key."""

    key: bytes
    why: str


@dataclass(slots=True)
class Scrub:
    """Walks the records in portions, again and again."""

    store: Store
    after: bytes = b""
    rows: int = 0
    passes: int = 0

    def portion(self, most: int = PORTION) -> list[Finding]:
        """The next records; what is wrong with them. Raises StoreError: unreadable pages."""
        found: list[Finding] = []
        with self.store.snapshot() as state:
            last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
            at = self.after
            seen = 0
            for key, raw in state.scan(Table.RECORDS, at + b"\0" if at else b"", limit=most):
                seen += 1
                self.after = key
                if raw != QUARANTINED:
                    found += [Finding(key, why) for why in distrust(state, key, raw, last)][:1]
        self.rows += seen
        if seen < most:
            self.after = b""
            self.passes += 1
        return found

    def whole(self) -> list[Finding]:
        """One pass over everything."""
        self.after, found, passes = b"", list[Finding](), self.passes
        while self.passes == passes:
            found += self.portion()
        return found


def distrust(state: Snapshot, key: bytes, raw: bytes, last: int) -> Iterator[str]:
    """Why a record is not to be served; nothing where it is what its change wrote.

    last: the last change of the log. Damage in the log alone condemns no record: `biaoshi check`
    tells of it.
    """
    try:
        row = decode_row(raw)
        values = decode_values_of(row)
    except StoreError as error:
        yield str(error)
        return
    if store_key(key_of(row.name)) != key:
        yield f"it is the row of another name, {row.name!r}"
    if not 0 < row.version <= last:
        yield f"it has version {row.version}, the log ends at {last}"
        return
    for write in rows(Record(row.name, values), row.version, row.time):
        if state.get(write.table, write.key) != write.value:
            yield f"its row in the table {write.table} is not what its values make"
    yield from _against_log(state, key, row)


def _against_log(state: Snapshot, key: bytes, row: Row) -> Iterator[str]:
    at = sequence_key(row.version)
    leaf, body = state.get(Table.CHANGES, at), state.get(Table.BODIES, at)
    if leaf is None or body is None or not in_tree(state, row.version, leaf):
        return
    try:
        name, content = decode_body(body)
        if not commits_to(decode_leaf(leaf), name, body):
            return
    except StoreError:
        return
    if store_key(name) != key:
        yield f"change {row.version}, which it names, is about another name"
    elif content.after is None or not same_content(content.after, row.values()):
        yield f"its digest is not the one in change {row.version}"


def in_tree(state: Snapshot, sequence: int, leaf: bytes) -> bool:
    """Whether a leaf is the one that the tree has at its place."""
    index, offset = divmod(sequence - 1, tiles.WIDTH)
    hashes = tree.tile_reader(state)(0, index)
    start = offset * merkle.HASH_SIZE
    return hashes[start : start + merkle.HASH_SIZE] == merkle.leaf_hash(leaf)


def quarantine(store: Store, finding: Finding, now_s: int) -> bool:
    """Set a record aside, unless it changed since it was found; whether it was."""
    key = finding.key
    with store.snapshot() as state:
        raw = state.get(Table.RECORDS, key)
        last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
        if raw is None or raw == QUARANTINED or not any(distrust(state, key, raw, last)):
            return False
        ready = state.get(Table.JSON, key)
        domain = domain_of(key)
        named = domain is not None and state.get(Table.NAPTR, domain.key) is not None
    kept = pack({"json": ready, "record": raw, "time": now_s, "why": finding.why})
    writes = [
        Write(Table.QUARANTINE, key, kept),
        Write(Table.RECORDS, key, QUARANTINED),
        Write(Table.JSON, key, QUARANTINED),
    ]
    if domain is not None and named:
        writes.append(Write(Table.NAPTR, domain.key, QUARANTINED))
    store.apply(writes)
    return True


def quarantined(state: Snapshot) -> Iterator[Finding]:
    """What is set aside, and why."""
    for key, raw in state.scan(Table.QUARANTINE):
        try:
            yield Finding(key, str(unpack(raw)["why"]))
        except (ParseError, KeyError, TypeError):
            yield Finding(key, "the reason was damaged as well")
