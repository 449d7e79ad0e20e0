"""Running a query: the narrowest index first, then what it leaves is read and compared (§3.5).

An answer is made in one snapshot, for one viewer, within a bound of work: where that is reached the
page ends early and its token goes on. A token says the newest event that its pages may show, so
they stay what they are while capture goes on.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from protocol.epcis.errors import QueryTooComplexException, QueryTooLargeException
from protocol.epcis.event import Role
from protocol.epcis.moment import format_time_us
from protocol.epcis.query import Query, parse_query
from registry.events.granted import seen
from registry.events.index import EventIndex, parse_event
from registry.events.keys import Index
from registry.events.row import EventRow
from registry.labels import Viewer, visible

MOST_READ: Final = 20_000
"""Events read for one page."""
MOST_COUNTED: Final = 200_000
"""Events read where the whole answer must be known: maxEventCount, other orders."""
_ANYBODY: Final = 10
"""To callers who administer nothing here a tenth of that."""
_INSTANCES: Final = (Role.EPC, Role.CHILD)
_ALL: Final = (Role.EPC, Role.CHILD, Role.PARENT, Role.INPUT, Role.OUTPUT)
_CLASSES: Final = (Role.QUANTITY, Role.CHILD_QUANTITY)
_ALL_CLASSES: Final = (*_CLASSES, Role.INPUT_QUANTITY, Role.OUTPUT_QUANTITY)
_MATCHES: Final[Mapping[str, Sequence[Role]]] = {
    "MATCH_epc": _INSTANCES,
    "MATCH_parentID": (Role.PARENT,),
    "MATCH_inputEPC": (Role.INPUT,),
    "MATCH_outputEPC": (Role.OUTPUT,),
    "MATCH_anyEPC": _ALL,
    "MATCH_epcClass": _CLASSES,
    "MATCH_inputEPCClass": (Role.INPUT_QUANTITY,),
    "MATCH_outputEPCClass": (Role.OUTPUT_QUANTITY,),
    "MATCH_anyEPCClass": _ALL_CLASSES,
}
_VALUES: Final[Mapping[str, Index]] = {
    "EQ_transformationID": Index.TRANSFORMATION,
    "EQ_bizLocation": Index.LOCATION,
    "EQ_readPoint": Index.READ_POINT,
    "EQ_bizStep": Index.STEP,
    "EQ_disposition": Index.DISPOSITION,
    "eventType": Index.TYPE,
}
_DOCUMENT: Final = "EQ_bizTransaction_"

Params = Mapping[str, list[str]]
Candidates = Iterator[tuple[int, int]]
"""(event time, sequence), in the order asked for."""


class Found(NamedTuple):
    """A part of an answer. position: where it goes on; None at its end."""

    rows: list[tuple[int, EventRow]]
    position: Any


@dataclass(frozen=True, slots=True)
class Search:
    """A query with its parameters, ready to run."""

    params: Params
    query: Query

    @classmethod
    def of(cls, params: Params) -> Search:
        """Read parameters. Raises QueryParameterException, QueryTooComplexException."""
        return cls(params, parse_query(params))

    @property
    def order(self) -> str:
        return self.query.order_by

    @property
    def descending(self) -> bool:
        return self.query.descending

    @property
    def limit(self) -> int | None:
        return self.query.event_count_limit

    @property
    def most(self) -> int | None:
        return self.query.max_event_count

    def run(self, index: EventIndex, viewer: Viewer, size: int, position: Any) -> Found:
        """The events of one page, as far as this viewer may see them."""
        if self.order not in ("eventTime", "recordTime"):
            return _Sorted(self, index, viewer).page(size, position)
        walk = _Walk(self, index, viewer)
        if self.most is not None and position is None:
            self._require_within(index, viewer)
        return walk.page(size, position)

    def _require_within(self, index: EventIndex, viewer: Viewer) -> None:
        found = _Walk(self, index, viewer, MOST_COUNTED).page((self.most or 0) + 1, None)
        if len(found.rows) > (self.most or 0):
            raise QueryTooLargeException(
                f"more than {self.most} events fit this query (maxEventCount); narrow it, or page "
                "through it without maxEventCount"
            )
        if found.position is not None:
            raise QueryTooComplexException(
                "too many events would have to be read to count them; narrow the query"
            )

    def matches(self, row: EventRow, viewer: Viewer) -> bool:
        """Whether an event belongs into the answer."""
        if visible(row.label, viewer):
            return self.query.matches(full_event(row))
        if viewer.events is None:
            return False
        event: dict[str, Any] | None = None

        def read() -> dict[str, Any]:
            nonlocal event
            event = event or full_event(row)
            return event

        return seen(row, viewer, read) and self.query.matches(read())


def full_event(row: EventRow) -> dict[str, Any]:
    """An event as queries compare it: with its recordTime."""
    return parse_event(row.event) | {"recordTime": format_time_us(row.record_us)}


class _Walk:
    """One pass over the candidates in their order."""

    def __init__(
        self, search: Search, index: EventIndex, viewer: Viewer, most: int = MOST_READ
    ) -> None:
        self._search = search
        self._index = index
        self._viewer = viewer
        self._most = _bound(most, viewer)
        self._last = index.last()

    def page(self, size: int, position: Any) -> Found:
        """Up to `size` events from a position on, and a position where there are more of them.

        What one may not see counts for nothing: a full page has a next one only where an event
        for it was found, or where too many were looked at.
        """
        search = self._search
        left = search.limit
        after: tuple[int, int] | None = None
        if position is not None:
            self._last, time_us, sequence, left = position
            after = (time_us, sequence)
        rows: list[tuple[int, EventRow]] = []
        at = after
        for read, (time_us, sequence) in enumerate(self._candidates(after)):
            if len(rows) == left:
                break
            row = self._index.row(sequence) if read < self._most else None
            fits = row is not None and search.matches(row, self._viewer)
            if at is not None and (read == self._most or (fits and len(rows) == size)):
                rest = None if left is None else left - len(rows)
                return Found(rows, [self._last, *at, rest])
            if row is not None and fits:
                rows.append((sequence, row))
            at = (time_us, sequence)
        return Found(rows, None)

    def _candidates(self, after: tuple[int, int] | None) -> Candidates:
        """Each once, behind a position, none newer than the answer's first page."""
        seen: tuple[int, int] | None = None
        for one in _ordered(self._search, self._index, after):
            if one[1] > self._last or one == seen:
                continue
            if after is not None and (one >= after if self._search.descending else one <= after):
                continue
            seen = one
            yield one


class _Sorted:
    """An answer in the order of something else than time: read whole, then sorted."""

    def __init__(self, search: Search, index: EventIndex, viewer: Viewer) -> None:
        self._search = search
        self._index = index
        self._viewer = viewer

    def page(self, size: int, position: Any) -> Found:
        """Up to `size` events from a position on: how many came before, and the newest shown."""
        search = self._search
        last, before = position if position is not None else (self._index.last(), 0)
        found: list[tuple[bool, Any, int, EventRow]] = []
        for read, (_, sequence) in enumerate(_ordered(search, self._index, None)):
            if read == _bound(MOST_COUNTED, self._viewer):
                raise QueryTooComplexException(
                    "too many events would have to be sorted; narrow the query, "
                    "or order by eventTime or recordTime"
                )
            row = self._index.row(sequence) if sequence <= last else None
            if row is not None and search.matches(row, self._viewer):
                value = _sortable(parse_event(row.event).get(search.order))
                found.append((*value, sequence, row))
        if search.most is not None and len(found) > search.most:
            raise QueryTooLargeException(f"{len(found)} events are above maxEventCount")
        found.sort(key=lambda one: one[:3], reverse=search.descending)
        rows = [(one[2], one[3]) for one in found]
        rows = rows[: search.limit] if search.limit is not None else rows
        more = before + size < len(rows)
        return Found(rows[before : before + size], [last, before + size] if more else None)


def _bound(most: int, viewer: Viewer) -> int:
    return most if viewer.administrator else most // _ANYBODY


def _sortable(value: Any) -> tuple[bool, Any]:
    """Numbers before texts, so that any two values compare."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return False, float(value)
    return True, value if isinstance(value, str) else ""


def _ordered(search: Search, index: EventIndex, after: tuple[int, int] | None) -> Candidates:
    """Candidates of the narrowest index, in the order of the answer; some more than once."""
    window = search.query.event_time
    start, stop = window.start_us, window.stop_us
    if search.order == "recordTime":
        return _by_record(search, index, after, start, stop)
    if after is not None:  # begin where the page before ended
        if search.descending:
            stop = after[0] + 1 if stop is None else min(stop, after[0] + 1)
        else:
            start = after[0] if start is None else max(start, after[0])
    narrow = _narrow(search, index, start, stop)
    if narrow is not None:
        return narrow
    found = index.by_time(start, stop, newest_first=search.descending)
    return ((time_us, sequence) for sequence, time_us in found)


def _by_record(
    search: Search,
    index: EventIndex,
    after: tuple[int, int] | None,
    start: int | None,
    stop: int | None,
) -> Candidates:
    """In the order of capture. The time of a candidate is 0: sequences alone tell the order."""
    narrow = _narrow(search, index, start, stop)
    if narrow is not None:
        sequences = set[int]()
        for _, sequence in narrow:
            sequences.add(sequence)
            if len(sequences) > MOST_COUNTED:
                raise QueryTooComplexException("the query is too wide to be ordered by recordTime")
        return ((0, one) for one in sorted(sequences, reverse=search.descending))
    if search.descending:
        return ((0, one) for one, _ in index.before(after[1] if after is not None else None))
    least = search.query.record_time.start_us
    first = 0 if least is None else index.first_recorded(least) - 1
    return ((0, one) for one, _ in index.since(max(first, after[1] if after is not None else 0)))


def _narrow(
    search: Search, index: EventIndex, start: int | None, stop: int | None
) -> Candidates | None:
    """Candidates by the most selective parameter; None where none has an index."""
    params, back = search.params, search.descending
    ids = search.query.event_ids
    if ids:
        found = {sequence for one in ids for sequence in index.by_event_id(one)}
        rows = ((row.time_us, one) for one in found if (row := index.row(one)) is not None)
        return iter(sorted(rows, reverse=back))
    for name, texts in (search.query.ids or {}).items():
        roles = _MATCHES[name]
        return _merged([_hits(index, one, roles, start, stop, back) for one in texts], back)
    for value_index, values in _indexed(params):
        found_ = [_valued(index, value_index, one, start, stop, back) for one in values]
        return _merged(found_, back)
    return None


def _indexed(params: Params) -> Iterator[tuple[Index, list[str]]]:
    for name in params:
        if name.startswith(_DOCUMENT) and _values(params, name):
            yield Index.DOCUMENT, _values(params, name)
    for name, index in _VALUES.items():
        if _values(params, name):
            yield index, _values(params, name)


def _hits(
    index: EventIndex,
    identifier: str,
    roles: Sequence[Role],
    start: int | None,
    stop: int | None,
    back: bool,
) -> Candidates:
    hits = index.of(
        identifier, roles=roles, start_us=start, stop_us=stop, newest_first=back, coarse=True
    )
    return ((hit.time_us, hit.sequence) for hit in hits)


def _valued(
    index: EventIndex,
    name: Index,
    text: str,
    start: int | None,
    stop: int | None,
    back: bool,
) -> Candidates:
    found = index.by_value(name, text, start_us=start, stop_us=stop, newest_first=back)
    return ((time_us, sequence) for sequence, time_us in found)


def _merged(sources: list[Candidates], back: bool) -> Candidates:
    if len(sources) == 1:
        return sources[0]
    return iter(heapq.merge(*sources, reverse=back))


def _values(params: Params, name: str) -> list[str]:
    """The alternatives of a parameter."""
    return [text for value in params.get(name, ()) for text in value.split("|") if text]
