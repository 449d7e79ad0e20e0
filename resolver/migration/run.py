"""A migration from beginning to end: dump, transactions until caught up, comparison.

Every record that is acknowledged is durable; a broken run is simply run again, and what is here
already is "unchanged".
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from protocol.change import Change, Kind
from protocol.doirp.stream_records import (
    DumpPosition,
    DumpRecord,
    Queue,
    Status,
    Transaction,
    TxnEnd,
    TxnHead,
)
from protocol.errors import ServerBusy, UpstreamError
from protocol.name import PREFIX_RECORDS
from protocol.record import HandleValue
from registry.store import Store
from registry.writer import Outcome
from resolver.migration.changes import Plan
from resolver.migration.compare import Comparison, compare, our_side, side_of
from resolver.migration.primary import Position, Primary
from resolver.writer_link import Submitter

BATCH = 500
_TRIES = 40
_BUSY_S = 0.5
SHOWN = 10


@dataclass(slots=True)
class Progress:
    """What was done so far. refused: the first refusals, for people."""

    counts: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    transactions: int = 0
    refused: list[Outcome] = field(default_factory=list)

    def note(self, outcome: Outcome) -> None:
        if outcome.status == "refused" and len(self.refused) < SHOWN:
            self.refused.append(outcome)
        self.counts[outcome.status] += 1


class RedumpNeeded(UpstreamError):
    """The old server's log does not reach back to where we stand; take its dump again."""


class Migration:
    """One old server, one node."""

    def __init__(
        self,
        primary: Primary,
        writer: Submitter,
        own_values: Sequence[HandleValue],
        plan: Plan,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """own_values: of this node's prefix record, now. progress: told after each batch."""
        self._primary = primary
        self._writer = writer
        self._own_values = own_values
        self.plan = plan
        self._tell = progress
        self._sleep = sleep
        self.done = Progress()
        self.position: Position | None = None
        self.resumed = False

    def home(self) -> None:
        """Become home to the prefixes that move."""
        changes = [Change(Kind.HOME, PREFIX_RECORDS + prefix) for prefix in self.plan.prefixes]
        for outcome in self._submit(changes):
            if outcome.status == "refused":
                raise UpstreamError(
                    f"{outcome.handle.decode()} cannot be homed here: {outcome.error}"
                )

    def begin(self, position: Position | None) -> None:
        """Take every record, or go on from where an earlier run stood.

        Raises what the primary raises.
        """
        self.resumed = position is not None
        self.position = position
        if position is None:
            self._write(self._dumped())

    def catch_up(self) -> int:
        """Repeat what was done there since; the number of transactions.

        Where its log does not reach back to an earlier run, the dump is taken again. Raises
        RedumpNeeded, or what the primary raises.
        """
        if self.position is None:
            raise RedumpNeeded("the dump told no position in the old server's log; take it again")
        before = self.done.transactions
        try:
            self._write(self._followed(self.position))
        except RedumpNeeded:
            if not self.resumed:
                raise
            self.begin(None)
            return self.catch_up()
        return self.done.transactions - before

    @property
    def settled(self) -> Position | None:
        """Where a later run may go on; None while something was refused: it is tried again."""
        return None if self.done.counts["refused"] else self.position

    # --- streams into changes

    def _dumped(self) -> Iterator[Change | None]:
        for item in self._primary.dump():
            if isinstance(item, DumpPosition):
                self.position = Position(item.txn_id, item.date_ms)
            elif isinstance(item, DumpRecord):
                yield self.plan.record(item.handle, item.values, self._own_values)

    def _followed(self, since: Position) -> Iterator[Change | None]:
        last = since.txn_id
        date_ms = since.date_ms
        for item in self._primary.transactions(since):
            if isinstance(item, TxnHead) and item.status is Status.REDUMP_NEEDED:
                raise RedumpNeeded(
                    "the old server's log does not reach back to the dump; run this again"
                )
            if isinstance(item, Queue):
                continue
            if isinstance(item, Transaction):
                last = max(last, item.id)
                self.done.transactions += 1
                yield self.plan.transaction(item, self._own_values)
            elif isinstance(item, TxnEnd) and item.date_ms is not None:
                date_ms = item.date_ms
        self.position = Position(last, date_ms)

    # --- into the node

    def _write(self, changes: Iterator[Change | None]) -> None:
        batch: list[Change] = []
        for change in changes:
            if change is None:
                self.done.skipped += 1
                continue
            batch.append(change)
            if len(batch) >= BATCH:
                self._settle(batch)
                batch = []
        if batch:
            self._settle(batch)

    def _settle(self, batch: Sequence[Change]) -> None:
        for change, outcome in zip(batch, self._submit(batch), strict=True):
            gone = (
                change.kind is Kind.DELETE and outcome.status == "refused" and not outcome.version
            )
            if gone:
                self.done.counts["absent"] += 1  # made and deleted there between two questions
            else:
                self.done.note(outcome)
        self._tell(self.done)

    def _submit(self, changes: Sequence[Change]) -> list[Outcome]:
        for _ in range(_TRIES):
            try:
                return self._writer.submit(changes)
            except ServerBusy as busy:
                self._sleep(busy.retry_after_s or _BUSY_S)
        return self._writer.submit(changes)


def compared(primary: Primary, store: Store, plan: Plan) -> Comparison:
    """A fresh dump against what lies here now."""
    theirs = side_of(
        ((item.handle, item.values) for item in primary.dump() if isinstance(item, DumpRecord)),
        plan,
    )
    return compare(theirs, our_side(store, plan))
