"""What a page tells of a thing's life: its events, those of what it was in, and its trace.

Reads one snapshot through EventIndex, within bounds; everything here may run in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.epcis.event import Role
from protocol.epcis.identity import level_of
from registry.events.index import EventIndex, StoredEvent
from registry.labels import ANYBODY, visible
from registry.store import Snapshot
from resolver.trace.containment import Containment
from resolver.trace.foreign import NOTHING, ForeignEvents, JoinedIndex
from resolver.trace.spans import WHOLE, Span
from resolver.trace.views import (
    CHILDREN,
    INPUTS,
    OBJECTS,
    OUTPUTS,
    TRANSFORMATION,
    View,
    Views,
)
from resolver.trace.walk import Direction, Edge, Limits, Reached, Walk, first_step

MOST_EVENTS: Final = 200
MOST_WHOLE: Final = 300
"""Events of a whole life."""
MOST_DEEP: Final = 8
"""Containers in containers."""
PICTURE: Final = Limits(depth=12, nodes=120, events=4_000)
RECALL: Final = Limits(depth=50, nodes=3_000, events=40_000)
PICTURE_S: Final = 1.0
RECALL_S: Final = 5.0
_OWN: Final = (*OBJECTS, *CHILDREN, *INPUTS, *OUTPUTS, Role.PARENT)
_CARRIER: Final = (*OBJECTS, *CHILDREN, *INPUTS)


@dataclass(slots=True)
class Moment:
    """One event of a life. roles: of the thing, or of what carried it. via: what carried it then,
    outermost last; () for its own events. of: in a whole life, the things of its trace that the
    event is about; () for its own. carrier: those only carried what belongs to the trace.
    """

    view: View
    roles: set[Role] = field(default_factory=set)
    via: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    carrier: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """What a thing comes from and went into. back: depth of what lies before it; forward: after.

    cut: whether a limit ended a walk.
    """

    start: str
    back: dict[str, Reached]
    forward: dict[str, Reached]
    edges: tuple[Edge, ...]
    views: tuple[View, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class Life:
    """What was found of one thing. more: there are events beyond the bound. foreign: the events
    of other nodes among them.
    """

    id: str
    moments: tuple[Moment, ...]
    graph: Graph
    withdrawn: int = 0
    more: bool = False
    foreign: ForeignEvents = NOTHING

    @property
    def empty(self) -> bool:
        """Whether no public event is known."""
        return not self.moments and not self.graph.views

    @property
    def views(self) -> list[View]:
        """Every event that is shown somewhere, once."""
        found = {view.stored.sequence: view for view in self.graph.views}
        found.update((one.view.stored.sequence, one.view) for one in self.moments)
        return [found[sequence] for sequence in sorted(found)]


def public(stored: StoredEvent) -> bool:
    """Whether everybody may see an event: pages are for everybody."""
    return visible(stored.label, ANYBODY)


def read_life(
    state: Snapshot, id_: str, *, recall: bool = False, whole: ForeignEvents | None = None
) -> Life:
    """The life of a thing as anybody may see it. id_: canonical.

    whole: what other nodes gave; then its life is that of all it was made of and went into.
    """
    foreign = NOTHING if whole is None else whole
    own = EventIndex(state)
    index = JoinedIndex(own, foreign, public) if len(foreign) else own
    views = Views(index, public)
    moments, more = _moments(views, id_)
    if recall:
        graph = _graph(index, id_, (Direction.FORWARD,), RECALL, RECALL_S)
    else:
        graph = _graph(index, id_, (Direction.BACK, Direction.FORWARD), PICTURE, PICTURE_S)
    if whole is not None and not recall:
        others = _of_others(graph, {one.view.stored.sequence for one in moments})
        every = [*moments, *others]
        more |= len(every) > MOST_WHOLE or graph.cut
        moments = tuple(sorted(every[:MOST_WHOLE], key=lambda one: one.view.order))
    return Life(id_, moments, graph, len(views.withdrawn), more, foreign)


def _of_others(graph: Graph, told: Collection[int]) -> list[Moment]:
    """The events of the trace that are not of the thing itself, by time."""
    reached = {**graph.forward, **graph.back}
    found = []
    for view in sorted(graph.views, key=lambda one: one.order):
        if view.stored.sequence in told:
            continue
        about = _about(view, reached)
        if about:
            roles = {one.role for one in view.mentions if one.id in about}
            carrier = all(reached[id_].carrier for id_ in about)
            found.append(Moment(view, roles, of=about, carrier=carrier))
    return found


def _about(view: View, reached: Mapping[str, Reached]) -> tuple[str, ...]:
    """What of a trace an event is about: what it makes, moves or packs, before what it uses."""
    order = (OUTPUTS, INPUTS) if view.kind == TRANSFORMATION else (CHILDREN, OBJECTS)
    for roles in (*order, (Role.PARENT,)):
        ids = tuple(dict.fromkeys(one.id for one in view.of_roles(roles) if one.id in reached))
        if ids:
            return ids
    return ()


def _moments(views: Views, id_: str) -> tuple[tuple[Moment, ...], bool]:
    """Its own events and those of its containers while it was in there, by time."""
    containment = Containment(views)
    found: dict[int, Moment] = {}
    waiting: list[tuple[str, Span, tuple[str, ...]]] = [(id_, WHOLE, ())]
    seen: set[tuple[str, Span]] = set()
    while waiting:
        thing, span, via = waiting.pop(0)
        if (thing, span) in seen or len(via) > MOST_DEEP:
            continue
        seen.add((thing, span))
        roles = _CARRIER if via else _OWN
        for view, role in views.of(thing, roles, span, coarse=level_of(thing) == "lot"):
            moment = found.setdefault(view.stored.sequence, Moment(view, via=via))
            if moment.via == via:
                moment.roles.add(role)
            if len(found) > MOST_EVENTS:
                break
        if len(found) > MOST_EVENTS:
            break
        for stay in containment.of_child(thing):
            shared = stay.span.meet(span)
            if shared is not None:
                waiting.append((stay.parent, shared, (*via, stay.parent)))
    inorder = sorted(found.values(), key=lambda one: one.view.order)
    return tuple(inorder[:MOST_EVENTS]), len(found) > MOST_EVENTS


def _graph(
    index: EventIndex | JoinedIndex,
    id_: str,
    directions: Iterable[Direction],
    limits: Limits,
    most_s: float,
) -> Graph:
    reached: dict[Direction, dict[str, Reached]] = {}
    edges: dict[Edge, None] = {}
    views: dict[int, View] = {}
    cut = False
    for direction in directions:
        walk = Walk(Views(index, public), direction, limits, out_of_time=_ends_after(most_s))
        walk.run([first_step(id_)])
        reached[direction] = walk.reached
        edges.update(dict.fromkeys(walk.edges))
        views.update(walk.events)
        cut |= bool(walk.cut)
    return Graph(
        id_,
        reached.get(Direction.BACK, {}),
        reached.get(Direction.FORWARD, {}),
        tuple(edges),
        tuple(views[sequence] for sequence in sorted(views)),
        cut,
    )


def _ends_after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
