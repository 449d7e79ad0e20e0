"""Are both sides the same? Counts and a digest that does not depend on order.

A record's digest is SHA-256 over its folded name and, by index, each value from its TTL on: what
a record signature covers. Timestamps are the server's own and left out. The digest of a side is the
sum of its records' digests modulo 2^256.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from protocol.name import fold
from protocol.record import HandleValue, encode_value
from registry.store import Store, Table
from registry.store.row import decode_row, decode_values_of
from resolver.migration.changes import Plan

_MODULUS = 1 << 256
_PER_READ = 1_000
SHOWN = 10
_UNDATED = 8
"""Octets of index and timestamp before what counts."""


def record_digest(handle: bytes, values: Sequence[HandleValue]) -> bytes:
    """What a record says, whenever it was written."""
    out = sha256(fold(handle))
    for value in sorted(values, key=lambda value: value.index):
        data = encode_value(value)
        out.update(data[:4] + len(data).to_bytes(4) + data[_UNDATED:])
    return out.digest()


@dataclass(slots=True)
class Side:
    """One side of the comparison: a digest a record, by folded name."""

    records: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, handle: bytes, values: Sequence[HandleValue]) -> None:
        self.records[sha256(fold(handle)).digest()[:16] + fold(handle)[-64:]] = record_digest(
            handle, values
        )

    @property
    def count(self) -> int:
        return len(self.records)

    @property
    def digest(self) -> str:
        total = sum(int.from_bytes(each) for each in self.records.values()) % _MODULUS
        return total.to_bytes(32).hex()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it. differing: names (their last 64 octets) that differ or miss on one side."""

    theirs: int
    ours: int
    their_digest: str
    our_digest: str
    differing: tuple[bytes, ...]

    @property
    def same(self) -> bool:
        return self.theirs == self.ours and self.their_digest == self.our_digest

    def shape(self) -> dict[str, object]:
        """For --json."""
        return {
            "theirs": self.theirs,
            "ours": self.ours,
            "their_digest": self.their_digest,
            "our_digest": self.our_digest,
            "same": self.same,
            "differing": [name.decode("utf-8", "replace") for name in self.differing],
        }


def compare(theirs: Side, ours: Side) -> Comparison:
    """Both sides, with the first names that differ."""
    names = sorted(
        name
        for name in theirs.records.keys() | ours.records.keys()
        if theirs.records.get(name) != ours.records.get(name)
    )
    return Comparison(
        theirs.count,
        ours.count,
        theirs.digest,
        ours.digest,
        tuple(name[16:] for name in names[:SHOWN]),
    )


def our_side(store: Store, plan: Plan) -> Side:
    """The records of the moved prefixes as they lie here; the node's own prefix record left out."""
    side = Side()
    for handle, values in _stored(store):
        if plan.takes(handle) and not plan.is_own(handle):
            side.add(handle, values)
    return side


def side_of(records: Iterable[tuple[bytes, Sequence[HandleValue]]], plan: Plan) -> Side:
    """The same of records that came from elsewhere."""
    side = Side()
    for handle, values in records:
        if plan.takes(handle) and not plan.is_own(handle):
            side.add(handle, values)
    return side


def _stored(store: Store) -> Iterator[tuple[bytes, tuple[HandleValue, ...]]]:
    at = b""
    while True:
        with store.snapshot() as state:
            rows = list(state.scan(Table.RECORDS, at, None, _PER_READ))
        for _, raw in rows:
            row = decode_row(raw)
            yield row.name, decode_values_of(row)
        if len(rows) < _PER_READ:
            return
        at = rows[-1][0] + b"\0"
