"""The scrub: every record and every event compared with what its change committed to, digests of SHA-256 included.

A fast checksum guards each read; it cannot tell a row that was exchanged for another valid one.
What does not hold is quarantined: the row is set aside with the reason, and in its place stands a
mark that no reader takes for a row. `biaoshi check --repair` makes it again. An event, which is
nothing but what its change says, is made again at once where the log is sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from protocol.change import pack, unpack
from protocol.errors import ParseError, StoreError
from protocol.identifier import key_of
from protocol.naptr import domain_of
from protocol.record import Record
from registry import tree
from registry.content import same_content
from registry.events.mending import ASIDE, distrust_event, mend_or_set_aside
from registry.log import (
    SEQUENCE_KEY,
    commits_to,
    decode_body,
    decode_leaf,
    last_sequence,
    read_sequence,
    sequence_key,
)
from registry.store import Snapshot, Store, Table, Write
from registry.store.row import QUARANTINED, Row, decode_row, decode_values_of, rows, store_key

PORTION: Final = 256
"""Rows compared in one snapshot."""


class Finding(NamedTuple):
    """A record or an event that cannot be trusted. key: in its table."""

    key: bytes
    why: str
    table: Table = Table.RECORDS

    def name(self) -> bytes:
        """What it is called where people read it: the store key, or `event 17`."""
        if self.table is Table.EVENTS:
            return b"event %d" % read_sequence(self.key)
        return self.key

    def mended(self) -> Finding:
        """The same, told after it was put right."""
        return self._replace(why=f"{self.why}; it was made again from the log")


@dataclass(slots=True)
class Scrub:
    """Walks the records and then the events in portions, again and again."""

    store: Store
    table: Table = Table.RECORDS
    after: bytes = b""
    rows: int = 0
    passes: int = 0

    def portion(self, most: int = PORTION) -> list[Finding]:
        """The next rows; what is wrong with them. Raises StoreError: unreadable pages."""
        found: list[Finding] = []
        with self.store.snapshot() as state:
            last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
            at = self.after
            seen = 0
            for key, raw in state.scan(self.table, at + b"\0" if at else b"", limit=most):
                seen += 1
                self.after = key
                if raw != QUARANTINED:
                    look = _LOOK[self.table]
                    found += [Finding(key, why, self.table) for why in look(state, key, raw, last)][
                        :1
                    ]
        self.rows += seen
        if seen < most:
            self.after = b""
            self.passes += self.table is Table.EVENTS
            self.table = Table.EVENTS if self.table is Table.RECORDS else Table.RECORDS
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
    if leaf is None or body is None or not tree.has_leaf(state, row.version, leaf):
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


_LOOK: Final = {Table.RECORDS: distrust, Table.EVENTS: distrust_event}


class Done(StrEnum):
    """What became of a finding."""

    NOTHING = ""
    ASIDE = "aside"
    MENDED = "mended"


def quarantine(store: Store, finding: Finding, now_s: int) -> Done:
    """Set a row aside or mend it, unless it changed since it was found."""
    key = finding.key
    with store.snapshot() as state:
        raw = state.get(finding.table, key)
        last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
        look = _LOOK[finding.table]
        if raw is None or raw == QUARANTINED or not any(look(state, key, raw, last)):
            return Done.NOTHING
        if finding.table is Table.EVENTS:
            writes, whole = mend_or_set_aside(state, key, raw, finding.why, now_s)
            done = Done.MENDED if whole else Done.ASIDE
        else:
            writes, done = _record_aside(state, key, raw, finding.why, now_s), Done.ASIDE
    store.apply(writes)
    return done


def _record_aside(state: Snapshot, key: bytes, raw: bytes, why: str, now_s: int) -> list[Write]:
    kept = pack({"json": state.get(Table.JSON, key), "record": raw, "time": now_s, "why": why})
    writes = [
        Write(Table.QUARANTINE, key, kept),
        Write(Table.RECORDS, key, QUARANTINED),
        Write(Table.JSON, key, QUARANTINED),
    ]
    domain = domain_of(key)
    if domain is not None and state.get(Table.NAPTR, domain.key) is not None:
        writes.append(Write(Table.NAPTR, domain.key, QUARANTINED))
    return writes


def quarantined(state: Snapshot) -> Iterator[Finding]:
    """What is set aside, and why."""
    for stored, raw in state.scan(Table.QUARANTINE):
        event = stored.startswith(ASIDE)
        key = stored.removeprefix(ASIDE) if event else stored
        table = Table.EVENTS if event else Table.RECORDS
        try:
            yield Finding(key, str(unpack(raw)["why"]), table)
        except (ParseError, KeyError, TypeError):
            yield Finding(key, "the reason was damaged as well", table)
