"""Who was in what, and when (traceability §9.1, "Containment interval").

A child is in its parent from the ADD (or the first OBSERVE that shows it) until the next of: a
DELETE that names the child, a DELETE of that parent that names no child at all, an ADD to another
parent, the end of the child or of the parent (an ObjectEvent DELETE, or its use as an input).
Aggregation and association are two relations: what ends the one leaves the other. A lot can be in
many places at once: for it only a DELETE at the same parent ends a span.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from protocol.epcis.event import Role
from protocol.epcis.identity import level_of
from resolver.trace.spans import ALWAYS, EVER, WHOLE, Covered, Span
from resolver.trace.views import (
    AGGREGATION,
    ASSOCIATION,
    CHILDREN,
    INPUTS,
    OBJECT,
    TRANSFORMATION,
    View,
    Views,
)

RELATIONS: Final = {AGGREGATION: "aggregation", ASSOCIATION: "association"}
_ENDS: Final = (Role.EPC, Role.INPUT)
_WINDOWS_US: Final = (86_400_000_000, 30 * 86_400_000_000)
"""How far ahead an end is looked for at first: what is used daily has events without number."""
Order = tuple[int, int]
_LAST: Final[Order] = (ALWAYS, 0)


class Stay(NamedTuple):
    """One containment. began, ended: the events that show it; ended None: it goes on."""

    child: str
    parent: str
    relation: str
    span: Span
    began: View
    ended: View | None


@dataclass(frozen=True, slots=True)
class _Open:
    parent: str
    relation: str
    began: View


class Containment:
    """The stays of one set of views, remembered."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._stays: dict[str, tuple[Stay, ...]] = {}
        self._ends: dict[tuple[str, bool], _Ends] = {}

    def of_child(self, child: str) -> tuple[Stay, ...]:
        """Every stay of a child, in the order of their beginning."""
        if child not in self._stays:
            stays = _Reader(self, child, single=level_of(child) not in {"lot", "class"}).stays()
            self._stays[child] = tuple(sorted(stays, key=_order))
        return self._stays[child]

    def of_parent(self, parent: str, during: Span) -> Iterator[Stay]:
        """The stays in a parent that touch a span, by child."""
        seen = {
            child
            for view, _ in self._views.of(parent, (Role.PARENT,), Span(EVER, during.stop))
            for child in view.children
        }
        for child in sorted(seen):
            for stay in self.of_child(child):
                if stay.parent == parent and stay.span.meet(during) is not None:
                    yield stay

    def events(self, child: str) -> list[tuple[View, Role]]:
        """What may begin a stay of a child or take it out again, in order."""
        found = self._views.of(child, CHILDREN, WHOLE)
        return sorted(found, key=lambda one: (one[0].order, one[1]))

    def end_of(self, id_: str, open_: _Open, before: Order, *, parent: bool) -> View | None:
        """The first event of a thing itself that ends a stay, before another event.

        parent: of what contains, else of what is contained.
        """
        ends = self._ends.setdefault((id_, parent), _Ends())
        began = open_.began
        for width in (*_WINDOWS_US, ALWAYS):
            stop = min(began.time_us + width, before[0])
            for span in ends.covered.add(Span(began.time_us, stop)):
                self._read_ends(id_, ends, span, parent=parent)
            at = bisect_right(ends.views, began.order, key=lambda view: view.order)
            for view in ends.views[at:]:
                if view.order >= before:
                    return None
                if _concerns(view, open_):
                    return view
            if stop == before[0]:
                return None
        return None

    def _read_ends(self, id_: str, ends: _Ends, span: Span, *, parent: bool) -> None:
        roles = (*_ENDS, Role.PARENT) if parent else _ENDS
        test = _ends_parent if parent else _ends_child
        found = {view for view, role in self._views.of(id_, roles, span) if test(view, role)}
        ends.views = sorted({*ends.views, *found}, key=lambda view: view.order)


@dataclass(slots=True)
class _Ends:
    """What ends the stays with a thing, as far as was read. views: in order."""

    covered: Covered = field(default_factory=Covered)
    views: list[View] = field(default_factory=list)


class _Reader:
    """Goes through the events of one child once."""

    def __init__(self, containment: Containment, child: str, *, single: bool) -> None:
        self._containment = containment
        self._child = child
        self._single = single
        self._open: list[_Open] = []
        self._stays: list[Stay] = []

    def stays(self) -> list[Stay]:
        for view, _ in self._containment.events(self._child):
            self._ended(view.order)
            if view.kind in RELATIONS:
                self._contained(view, RELATIONS[view.kind])
        self._ended(_LAST)
        self._close(list(self._open), None)
        return self._stays

    def _contained(self, view: View, relation: str) -> None:
        same = [one for one in self._open if one.relation == relation]
        if view.action == "DELETE":
            named = view.parent
            self._close([one for one in same if named is None or one.parent == named], view)
            return
        if view.parent is None or any(one.parent == view.parent for one in same):
            return
        if self._single:
            self._close(same, view)
        self._open.append(_Open(view.parent, relation, view))

    def _ended(self, before: Order) -> None:
        """Close what ended by the parent's end, or the child's own."""
        find = self._containment.end_of
        for one in list(self._open):
            ends = [find(one.parent, one, before, parent=True)]
            if self._single:
                ends.append(find(self._child, one, before, parent=False))
            found = [view for view in ends if view is not None]
            if found:
                self._close([one], min(found, key=lambda view: view.order))

    def _close(self, closing: list[_Open], view: View | None) -> None:
        for one in closing:
            self._open.remove(one)
            stop = ALWAYS if view is None else view.time_us
            span = Span(one.began.time_us, stop)
            self._stays.append(Stay(self._child, one.parent, one.relation, span, one.began, view))


def _order(stay: Stay) -> tuple[Order, str, str]:
    return stay.began.order, stay.parent, stay.relation


def _ends_child(view: View, role: Role) -> bool:
    """Whether an event ends a thing: it is destroyed, or consumed."""
    if role is Role.EPC:
        return view.kind == OBJECT and view.action == "DELETE"
    return role in INPUTS and view.kind == TRANSFORMATION


def _ends_parent(view: View, role: Role) -> bool:
    if role is Role.PARENT:
        return view.kind in RELATIONS and view.action == "DELETE" and not view.children
    return _ends_child(view, role)


def _concerns(view: View, open_: _Open) -> bool:
    return view.kind not in RELATIONS or RELATIONS[view.kind] == open_.relation
