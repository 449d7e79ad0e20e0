"""The walk through the graph of events, backward or forward (traceability §9.1, §9.3).

Two ways of being in the graph: *matter* — what flows from inputs to outputs, and is part of what
contains it — and *carrier* — a thing that contains what is traced: what happens to it meanwhile
happens to its content, but neither its own past nor its other content belongs to the trace. This
is what keeps a reused pallet from joining strangers.

One walk reads one snapshot and never waits. What other nodes may know is left in `Walk.reached`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from protocol.epcis.event import Mention, Role
from protocol.epcis.identity import Level, level_of
from resolver.trace.containment import Containment, Stay
from resolver.trace.spans import ALWAYS, EVER, WHOLE, Covered, Span
from resolver.trace.views import (
    CHILDREN,
    INPUTS,
    OBJECTS,
    OUTPUTS,
    TRANSFORMATION,
    View,
    Views,
)

_LIFE: Final = (*OBJECTS, *CHILDREN, *INPUTS, *OUTPUTS, Role.PARENT)
_CARRIED: Final = (*OBJECTS, *CHILDREN, *INPUTS)


class Direction(StrEnum):
    BACK = "back"
    FORWARD = "forward"


class EdgeKind(StrEnum):
    """How two things are joined. Edges point the way that matter goes: from part to whole."""

    TRANSFORMATION = "transformation"
    AGGREGATION = "aggregation"
    ASSOCIATION = "association"
    LOT = "lot"  # from a lot to an item of it


class Step(NamedTuple):
    """A thing to look at. Steps compare in the order they are taken.

    during: when its events belong to the trace. holding: when its content does; None: never.
    carrier: it only contains what is traced. issuer: of the event that bounds `during`; its clock
    and another company's may differ. certain: no lot stands between the start and here.
    """

    depth: int
    id: str
    carrier: bool
    during: Span
    holding: Span | None = None
    issuer: str = ""
    certain: bool = True


class Edge(NamedTuple):
    """Two things joined, and the event that says so. certain: no lot or class is on either side."""

    source: str
    target: str
    kind: EdgeKind
    event: str
    span: Span
    certain: bool = True
    quantity: Decimal | None = None
    uom: str | None = None


@dataclass(slots=True)
class Reached:
    """A thing of the trace. depth: the least. certain: some way here passes no lot."""

    id: str
    level: Level
    depth: int
    certain: bool
    carrier: bool
    during: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a walk ends. slack_us: by how much clocks of two issuers may differ."""

    depth: int = 50
    nodes: int = 20_000
    events: int = 100_000
    slack_us: int = 300_000_000
    classes: bool = False
    """Whether what is known by its class alone is followed."""


class Walk:
    """One trace over one snapshot. out_of_time: asked between steps; true: stop."""

    def __init__(
        self,
        views: Views,
        direction: Direction,
        limits: Limits | None = None,
        *,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> None:
        self._views = views
        self._containment = Containment(views)
        self._back = direction is Direction.BACK
        self._limits = limits or Limits()
        self._out_of_time = out_of_time
        self._queue: list[tuple[tuple[Any, ...], Step]] = []
        self._covered: dict[tuple[Any, ...], Covered] = {}
        self._told: dict[str, dict[tuple[int, str], View]] = {}
        self.reached: dict[str, Reached] = {}
        self._edges: dict[Edge, Covered] = {}
        self.events: dict[int, View] = {}
        """By sequence: each event of the trace."""
        self.cut: set[str] = set()
        """Things that a limit kept from being looked at."""

    def run(self, steps: Iterable[Step]) -> None:
        """Take these steps and all that follow from them."""
        for step in steps:
            self._queue_push(step)
        while self._queue:
            _, step = heapq.heappop(self._queue)
            if self._full(step):
                self.cut.add(step.id)
            else:
                self._take(step)

    @property
    def edges(self) -> list[Edge]:
        """What is joined, in order; for each, the spans in which it is."""
        found = (
            edge._replace(span=span)
            for edge, spans in self._edges.items()
            for span in spans.joined()
        )
        return sorted(found, key=_edge_order)

    def _full(self, step: Step) -> bool:
        limits = self._limits
        return (
            step.depth > limits.depth
            or (step.id not in self.reached and len(self.reached) >= limits.nodes)
            or self._views.read >= limits.events
            or self._out_of_time()
        )

    # --- one thing

    def _take(self, step: Step) -> None:
        node = self._node(step)
        if node.level == "class" and step.depth and not self._limits.classes:
            return
        fresh = self._fresh(step, (step.id, step.carrier), step.during)
        node.during += fresh
        for span in fresh:
            for view, role in self._seen(step, span):
                self._see(step, view, role)
            for stay in self._containment.of_child(step.id):
                shared = stay.span.meet(span)
                if shared is not None:
                    self._into(step, stay, shared)
        for view, role in self._beyond(step):
            self._see(step, view, role)
        if not step.carrier:
            self._lots(step)
        if step.holding is not None:
            for span in self._fresh(step, (step.id, "held"), step.holding):
                for stay in self._containment.of_parent(step.id, span):
                    self._out_of(step, stay, span)

    def _fresh(self, step: Step, key: tuple[Any, ...], span: Span) -> list[Span]:
        """What of a span was not looked at before, by a step as certain as this one."""
        fresh = self._covered.setdefault((*key, False), Covered()).add(span)
        if step.certain:
            return self._covered.setdefault((*key, True), Covered()).add(span)
        return fresh

    def _node(self, step: Step) -> Reached:
        node = self.reached.get(step.id)
        if node is None:
            level = level_of(step.id)
            node = Reached(step.id, level, step.depth, step.certain, step.carrier)
            self.reached[step.id] = node
        node.certain |= step.certain
        node.carrier &= step.carrier
        node.depth = min(node.depth, step.depth)
        return node

    def _seen(self, step: Step, span: Span) -> Iterator[tuple[View, Role]]:
        """The events of a thing in a span."""
        roles = _CARRIED if step.carrier else _LIFE
        return self._views.of(step.id, roles, span, coarse=level_of(step.id) == "lot")

    def _beyond(self, step: Step) -> Iterator[tuple[View, Role]]:
        """The events of other issuers a little beyond the bound of a step: clocks differ."""
        bound = self._slack(step)
        if bound is None:
            return
        for span in self._fresh(step, (step.id, "slack", step.issuer), bound):
            for view, role in self._seen(step, span):
                if view.stored.issuer != step.issuer:
                    yield view, role

    def _slack(self, step: Step) -> Span | None:
        slack, (start, stop) = self._limits.slack_us, step.during
        if not step.issuer or step.carrier or not slack:
            return None
        return Span(stop + 1, stop + slack) if self._back else Span(start - slack, start - 1)

    def _see(self, step: Step, view: View, role: Role) -> None:
        self._record(view, step.id, role, carrier=step.carrier)
        self._follow(step, view, role)

    def _record(self, view: View, id_: str, role: Role, *, carrier: bool) -> None:
        if role is Role.PARENT and carrier:
            return
        if any(one.id == id_ for one in view.mentions):
            self.events[view.stored.sequence] = view

    # --- from an event on

    def _follow(self, step: Step, view: View, role: Role) -> None:
        named = any(one.id == step.id and one.role is role for one in view.mentions)
        if not step.carrier:
            self._tell_lots(step.id, view)
        if not named or view.kind != TRANSFORMATION:
            return
        if self._back and role in OUTPUTS and not step.carrier:
            self._made_of(step, view, role)
        elif not self._back and role in INPUTS:
            self._made_into(step, view, role)

    def _made_of(self, step: Step, view: View, role: Role) -> None:
        """Backward: an output comes from every input of its transformation."""
        own = _mention(view, step.id, role)
        for event in self._views.group(view):
            for one in event.of_roles(INPUTS):
                certain = _single(one) and _single(own)
                at = Span(event.time_us, event.time_us)
                self._edge(one.id, step.id, event, certain, one)
                self._push(step, one.id, Span(EVER, event.time_us), at, event, certain=certain)

    def _made_into(self, step: Step, view: View, role: Role) -> None:
        """Forward: an input goes into every output of its transformation."""
        own = [one for one in view.mentions if one.id == step.id and one.role is role]
        for event in self._views.group(view):
            for one in event.of_roles(OUTPUTS):
                certain = _single(one) and _single(own[0])
                for each in own:
                    self._edge(step.id, one.id, view, certain, each)
                self._push(step, one.id, Span(event.time_us, ALWAYS), None, event, certain=certain)

    def _edge(self, source: str, target: str, view: View, certain: bool, input_: Mention) -> None:
        at = Span(view.time_us, view.time_us)
        kind, event = EdgeKind.TRANSFORMATION, view.stored.event_id
        self._join(
            Edge(source, target, kind, event, at, certain, input_.quantity, input_.uom), view
        )

    def _join(self, edge: Edge, *views: View) -> None:
        spans = self._edges.setdefault(edge._replace(span=WHOLE), Covered())
        spans.add(edge.span)
        for view in views:
            self.events[view.stored.sequence] = view

    def _tell_lots(self, id_: str, view: View) -> None:
        """Remember what an event tells of items and lots."""
        for item, lot in view.lots:
            here, other = (item, lot) if self._back else (lot, item)
            if here != id_ or (self._back and self._is_made(item)):
                continue
            self._told.setdefault(id_, {})[view.stored.sequence, other] = view
            at = Span(view.time_us, view.time_us)
            told = Edge(lot, item, EdgeKind.LOT, view.stored.event_id, at, certain=False)
            self._join(told, view)

    def _lots(self, step: Step) -> None:
        """An item comes from its lot, unless its own making is known; a lot goes into its items.

        Never certain. Which lot an item is of does not change: whatever event of the step's time
        tells it, the lot is followed up to the end of that time.
        """
        told = self._told.get(step.id)
        if not told:
            return
        during = Span(EVER, step.during.stop) if self._back else Span(step.during.start, ALWAYS)
        if not self._fresh(step, (step.id, "lots", step.issuer), during):
            return
        slack = self._slack(step)
        for (_, other), view in told.items():
            near = slack is not None and slack.start <= view.time_us <= slack.stop
            if step.during.start <= view.time_us <= step.during.stop or (
                near and view.stored.issuer != step.issuer
            ):
                self._push(step, other, during, None, view, certain=False)

    def _is_made(self, item: str) -> bool:
        return any(True for _ in self._views.of(item, OUTPUTS, WHOLE))

    # --- containment

    def _into(self, step: Step, stay: Stay, shared: Span) -> None:
        """The parent of a thing, while it was in there: a carrier."""
        self._stay_edge(stay, shared)
        certain = step.certain and _whole(stay)
        self._queue_push(
            Step(step.depth + 1, stay.parent, True, shared, None, "", certain),
        )

    def _out_of(self, step: Step, stay: Stay, span: Span) -> None:
        """The content of a thing, while it was in there."""
        shared = stay.span.meet(span)
        if shared is None:
            return
        self._stay_edge(stay, shared)
        during = Span(EVER, shared.stop) if self._back else Span(shared.start, ALWAYS)
        certain = step.certain and _whole(stay)
        self._queue_push(Step(step.depth + 1, stay.child, False, during, shared, "", certain))

    def _stay_edge(self, stay: Stay, shared: Span) -> None:
        kind, event = EdgeKind(stay.relation), stay.began.stored.event_id
        edge = Edge(stay.child, stay.parent, kind, event, shared, _whole(stay))
        self._join(edge, *(view for view in (stay.began, stay.ended) if view is not None))

    def _push(
        self,
        step: Step,
        id_: str,
        during: Span,
        holding: Span | None,
        view: View,
        *,
        certain: bool,
    ) -> None:
        issuer = view.stored.issuer
        self._queue_push(
            Step(step.depth + 1, id_, False, during, holding, issuer, step.certain and certain)
        )

    def _queue_push(self, step: Step) -> None:
        heapq.heappush(self._queue, (_order(step), step))


def first_step(id_: str, at: Span = WHOLE) -> Step:
    """Where a trace begins: a thing with all that it held. id_: canonical."""
    return Step(0, id_, False, at, at)


def _order(step: Step) -> tuple[Any, ...]:
    """In which order steps are taken: the same whatever order they were found in."""
    return (*step[:4], step.holding or (), *step[5:])


def _edge_order(edge: Edge) -> tuple[Any, ...]:
    quantity = (edge.quantity is not None, edge.quantity or 0, edge.uom or "")
    return (edge.source, edge.target, edge.kind, edge.span, edge.event, edge.certain, quantity)


def _single(mention: Mention) -> bool:
    """Whether a mention names one thing, not a quantity of a lot or class."""
    return mention.role in {Role.EPC, Role.INPUT, Role.OUTPUT, Role.CHILD}


def _mention(view: View, id_: str, role: Role) -> Mention:
    return next(one for one in view.mentions if one.id == id_ and one.role is role)


def _whole(stay: Stay) -> bool:
    return level_of(stay.child) not in {"lot", "class"}
