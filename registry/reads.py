"""Who read what was not public: reads by grant, kept in the log.

A reader process gathers its reads and gives them to the writer in batches, each a record
`P/0.READS/TIME-READER` with one value of type `0.READS`: a leaf of the log like any change, every
value labelled 3. Of the content only a digest is kept. What cannot be noted is not shown: while
`full`, no grant opens anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from protocol.change import Change, Kind
from protocol.labels import LABEL
from protocol.name import prefix_of
from protocol.record import HandleValue, Reference
from registry.store import Snapshot, Table
from registry.store.row import decode_row

READS: Final = b"0.READS"
PLACE: Final = b"/0.READS/"
MOST_WAITING: Final = 10_000
PER_CHANGE: Final = 500
CLOSED: Final = b'{"*":{"class":"management","level":3}}'
"""Labels of a record that is for administrators of its prefix alone."""


@dataclass(frozen=True, slots=True)
class Read:
    """One read. indexes: of the values that a grant opened; digest: of these values, hex.

    what: a record, or an event by its eventID (its index is 0). when: seconds since 1970. prefix:
    folded; whose grant it was.
    """

    who: Reference
    what: bytes
    indexes: tuple[int, ...]
    when: int
    purposes: tuple[str, ...]
    digest: str
    prefix: bytes

    def shape(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "who": self.who.text(),
            "what": self.what.decode("utf-8", "replace"),
            "indexes": list(self.indexes),
            "when": self.when,
            "purposes": list(self.purposes),
            "digest": self.digest,
        }


class ReadLog:
    """The reads of one process that are not written yet."""

    def __init__(self) -> None:
        self._waiting: list[Read] = []
        self.closed = False
        """Nothing is written here: a mirror has no writer, so no grant opens anything at it."""

    @property
    def full(self) -> bool:
        """Whether no further read can be noted."""
        return self.closed or len(self._waiting) >= MOST_WAITING

    def note(
        self,
        who: Reference,
        what: bytes,
        octets: Sequence[tuple[int, bytes]],
        when: int,
        purposes: Sequence[str],
        prefix: bytes | None = None,
    ) -> None:
        """Keep one read. octets: index and wire form of what a grant opened.

        prefix: of the grant; default: that of the record.
        """
        digest = sha256(b"".join(data for _, data in octets)).hexdigest()
        indexes = tuple(index for index, _ in octets)
        home = prefix_of(what) if prefix is None else prefix
        self._waiting.append(Read(who, what, indexes, when, tuple(purposes), digest, home))

    def take(self) -> list[Read]:
        """What waits; it is the caller's now."""
        taken, self._waiting = self._waiting, []
        return taken

    def give_back(self, reads: Sequence[Read]) -> None:
        """What could not be written."""
        self._waiting[:0] = reads


def changes_of(reads: Sequence[Read], place: str) -> list[Change]:
    """The changes that log some reads. place: names the batch, the same never twice."""
    by_prefix: dict[bytes, list[Read]] = {}
    for read in reads:
        by_prefix.setdefault(read.prefix, []).append(read)
    made = []
    for prefix, some in by_prefix.items():
        for start in range(0, len(some), PER_CHANGE):
            shape = [read.shape() for read in some[start : start + PER_CHANGE]]
            name = prefix + PLACE + f"{place}-{start:06d}".encode()
            values = (HandleValue(1, READS, orjson.dumps(shape)), HandleValue(2, LABEL, CLOSED))
            made.append(Change(Kind.CREATE, name, values))
    return made


def logged_reads(state: Snapshot, prefix: bytes, after: bytes = b"") -> Iterator[dict[str, Any]]:
    """The reads of a folded prefix in the order of their batches, each with the change that has it.

    after: the name of the last batch seen.
    """
    start = prefix + PLACE
    begin = after + b"\0" if after else start
    for _, raw in state.scan(Table.RECORDS, begin, start[:-1] + b"0"):
        row = decode_row(raw)
        for value in row.values():
            if value.type == READS:
                for shape in orjson.loads(value.data):
                    yield {**shape, "sequence": row.version}
