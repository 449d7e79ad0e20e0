"""Who was in what, and when (traceability §9.1, "Containment interval").

A child is in its parent from the ADD (or the first OBSERVE that shows it) until the next of: a
DELETE that names the child, a DELETE of that parent that names no child at all, an ADD to another
parent, the end of the child or of the parent (an ObjectEvent DELETE, or its use as an input).
Aggregation and association are two relations: what ends the one leaves the other. A lot can be in
many places at once: for it only a DELETE at the same parent ends a span.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.epcis.event import Role
from protocol.epcis.identity import level_of
from resolver.trace.spans import ALWAYS, EVER, WHOLE, Span
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
_OWN: Final = (Role.EPC, Role.CHILD, Role.CHILD_QUANTITY, Role.INPUT)
_ENDS: Final = (Role.EPC, Role.INPUT, Role.PARENT)
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
        self._enders: dict[str, tuple[View, ...]] = {}

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

    def events(self, child: str) -> Iterator[tuple[View, Role]]:
        """What may begin or end a stay of a child, in order."""
        found = list(self._views.of(child, _OWN, WHOLE))
        yield from sorted(found, key=lambda one: (one[0].order, one[1]))

    def end_of(self, open_: _Open, before: Order) -> View | None:
        """The first event of the parent itself that ends a stay, before another event."""
        if open_.parent not in self._enders:
            found = self._views.of(open_.parent, _ENDS, WHOLE)
            enders = {view for view, role in found if _ends_parent(view, role)}
            self._enders[open_.parent] = tuple(sorted(enders, key=lambda view: view.order))
        for view in self._enders[open_.parent]:
            if view.order >= before:
                return None
            if view.order > open_.began.order and _concerns(view, open_):
                return view
        return None


class _Reader:
    """Goes through the events of one child once."""

    def __init__(self, containment: Containment, child: str, *, single: bool) -> None:
        self._containment = containment
        self._child = child
        self._single = single
        self._open: list[_Open] = []
        self._stays: list[Stay] = []

    def stays(self) -> list[Stay]:
        for view, role in self._containment.events(self._child):
            self._ended_by_parents(view.order)
            if role in CHILDREN and view.kind in RELATIONS:
                self._contained(view, RELATIONS[view.kind])
            elif self._single and _ends_child(view, role):
                self._close(list(self._open), view)
        self._ended_by_parents(_LAST)
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

    def _ended_by_parents(self, before: Order) -> None:
        for one in list(self._open):
            end = self._containment.end_of(one, before)
            if end is not None:
                self._close([one], end)

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
