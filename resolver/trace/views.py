"""Events as a trace reads them: once each, without those that were withdrawn or may not be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from protocol.epcis.event import Mention, Role, action, biz_step, kind, mentions, transformation_id
from protocol.epcis.lots import lots_of
from registry.events.index import EventIndex, StoredEvent
from resolver.trace.foreign import JoinedIndex
from resolver.trace.spans import Span

TRANSFORMATION: Final = "TransformationEvent"
AGGREGATION: Final = "AggregationEvent"
ASSOCIATION: Final = "AssociationEvent"
OBJECT: Final = "ObjectEvent"
CHILDREN: Final = (Role.CHILD, Role.CHILD_QUANTITY)
INPUTS: Final = (Role.INPUT, Role.INPUT_QUANTITY)
OUTPUTS: Final = (Role.OUTPUT, Role.OUTPUT_QUANTITY)
OBJECTS: Final = (Role.EPC, Role.QUANTITY)


@dataclass(eq=False)
class View:
    """One event, read."""

    stored: StoredEvent

    @property
    def order(self) -> tuple[int, int]:
        """Event time, then capture."""
        return self.stored.time_us, self.stored.sequence

    @property
    def time_us(self) -> int:
        return self.stored.time_us

    @cached_property
    def kind(self) -> str:
        return kind(self.stored.json())

    @cached_property
    def action(self) -> str | None:
        return action(self.stored.json())

    @cached_property
    def step(self) -> str | None:
        return biz_step(self.stored.json())

    @cached_property
    def mentions(self) -> tuple[Mention, ...]:
        return mentions(self.stored.json())

    @cached_property
    def parent(self) -> str | None:
        return next((one.id for one in self.mentions if one.role is Role.PARENT), None)

    @cached_property
    def children(self) -> frozenset[str]:
        return frozenset(one.id for one in self.mentions if one.role in CHILDREN)

    @cached_property
    def lots(self) -> tuple[tuple[str, str], ...]:
        return lots_of(self.stored.json())

    @cached_property
    def transformation(self) -> str | None:
        return transformation_id(self.stored.json())

    def of_roles(self, roles: tuple[Role, ...]) -> list[Mention]:
        """What the event names in these roles."""
        return [one for one in self.mentions if one.role in roles]


class Views:
    """The events of one snapshot for one caller. visible: whether the caller may know of one."""

    def __init__(
        self, index: EventIndex | JoinedIndex, visible: Callable[[StoredEvent], bool]
    ) -> None:
        self.index = index
        self._visible = visible
        self._known: dict[int, View | None] = {}
        self.withdrawn: set[int] = set()
        """Sequences of events that were left out because they were withdrawn."""

    @property
    def read(self) -> int:
        """How many events were read so far."""
        return len(self._known)

    def view(self, sequence: int) -> View | None:
        """An event; None when it is withdrawn, hidden or gone."""
        if sequence not in self._known:
            self._known[sequence] = self._read(sequence)
        return self._known[sequence]

    def of(
        self, id_: str, roles: tuple[Role, ...], span: Span, *, coarse: bool = False
    ) -> Iterator[tuple[View, Role]]:
        """The events that name an identifier in one of these roles, by event time and capture."""
        hits = self.index.of(
            id_, roles=roles, start_us=span.start, stop_us=span.stop + 1, coarse=coarse
        )
        for hit in hits:
            view = self.view(hit.sequence)
            if view is not None:
                yield view, hit.role

    def group(self, view: View) -> list[View]:
        """The events of the same transformation: those that share its transformationID."""
        if view.transformation is None:
            return [view]
        found = map(self.view, self.index.by_transformation(view.transformation))
        same = [
            one
            for one in found
            if one is not None
            and one.kind == TRANSFORMATION
            and one.transformation == view.transformation
        ]
        return same or [view]

    def _read(self, sequence: int) -> View | None:
        stored = self.index.event(sequence)
        if stored is None or not self._visible(stored):
            return None
        if stored.withdrawn and self._declared(stored.event_id):
            self.withdrawn.add(sequence)
            return None
        return View(stored)

    def _declared(self, event_id: str) -> bool:
        """Whether a copy that the caller may know of declares an event an error."""
        copies = map(self.index.event, self.index.by_event_id(event_id))
        return any(one is not None and one.declares and self._visible(one) for one in copies)
