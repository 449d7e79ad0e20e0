"""What a trace found, as everybody reads it (traceability §9.5): the same data, the same octets.

Times are RFC 3339 in UTC; a span without an end has null there. Nothing in it depends on when or in
which order it was made, so a result can be signed and archived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import orjson

from protocol.epcis.event import biz_location, destinations, disposition, read_point
from protocol.epcis.moment import format_time_us
from resolver.trace.graph import cyclic
from resolver.trace.spans import ALWAYS, EVER, Span
from resolver.trace.views import OBJECT, TRANSFORMATION, View
from resolver.trace.walk import Edge, EdgeKind, Reached, Walk

_OPTIONS: Final = orjson.OPT_SORT_KEYS
_STAYS: Final = (EdgeKind.AGGREGATION, EdgeKind.ASSOCIATION)
_POSSESSING: Final = "possessing_party"


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Where a trace could not go on. Absent and denied are one: `not_found`."""

    id: str
    step: str  # resolve, connect, authorise, query, verify, walk
    reason: str  # not_found, unreachable, timeout, invalid_signature, limit, refused
    retriable: bool = False

    def shape(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "id": self.id,
            "step": self.step,
            "reason": self.reason,
            "retriable": self.retriable,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a thing was last seen, as far as its events say."""

    order: tuple[int, int]
    holder: str | None = None
    disposition: str | None = None


@dataclass
class Result:
    """A trace, its parts in order. head: the members that are no list."""

    head: dict[str, Any]
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    events: list[Any]
    gaps: list[dict[str, Any]]
    evidence: list[dict[str, Any]]
    more: dict[str, Any] = field(default_factory=dict)
    """Further members, such as the asked limits or what lies beyond a delegation."""

    def shape(self) -> dict[str, Any]:
        """The whole as one object."""
        return {
            **self.head,
            **self.more,
            "nodes": self.nodes,
            "edges": self.edges,
            "events": self.events,
            "gaps": self.gaps,
            "evidence": self.evidence,
        }

    def octets(self) -> bytes:
        """The whole as JSON, members sorted."""
        return orjson.dumps(self.shape(), option=_OPTIONS)

    def lines(self, each: int = 500) -> Iterator[bytes]:
        """The whole as JSON lines, some at a time: counts first, then each part."""
        counts = {name: len(rows) for name, rows in self._parts()}
        head = {"part": "trace", **self.head, **self.more, "counts": counts}
        yield orjson.dumps(head, option=_OPTIONS) + b"\n"
        for name, rows in self._parts():
            part = name.removesuffix("s")
            for at in range(0, len(rows), each):
                yield b"".join(
                    orjson.dumps({"part": part, part: row}, option=_OPTIONS) + b"\n"
                    for row in rows[at : at + each]
                )

    def _parts(self) -> tuple[tuple[str, Sequence[Any]], ...]:
        return (
            ("nodes", self.nodes),
            ("edges", self.edges),
            ("events", self.events),
            ("gaps", self.gaps),
            ("evidence", self.evidence),
        )


def trace_id(*parts: object) -> str:
    """The name of a trace: of what was asked, and of whom."""
    return sha256(orjson.dumps([str(part) for part in parts])).hexdigest()[:32]


def views_of(walk: Walk) -> list[View]:
    """The events of a walk, in the order of their times."""
    return sorted(walk.events.values(), key=lambda view: (view.time_us, view.stored.event_id))


def nodes_of(walk: Walk, views: Sequence[View]) -> list[dict[str, Any]]:
    """The things of a walk, nearest first."""
    standing = standings(walk, views)
    made = []
    for node in sorted(walk.reached.values(), key=lambda one: (one.depth, one.id)):
        shape: dict[str, Any] = {
            "id": node.id,
            "level": node.level,
            "depth": node.depth,
            "certain": node.certain,
            "carrier": node.carrier,
            "windows": [window_of(span) for span in _joined(node)],
        }
        stands = standing.get(node.id)
        if stands is not None and stands.holder is not None:
            shape["holder"] = stands.holder
        if stands is not None and stands.disposition is not None:
            shape["disposition"] = stands.disposition
        made.append(shape)
    return made


def edges_of(edges: Iterable[Edge]) -> list[dict[str, Any]]:
    """Edges in order; `cycle` on those from which a way leads back to where they begin."""
    found = list(edges)
    round_ = cyclic((edge.source, edge.target) for edge in found)
    made = []
    for edge in found:
        shape: dict[str, Any] = {
            "from": edge.source,
            "to": edge.target,
            "kind": str(edge.kind),
            "event": edge.event,
            "window": window_of(edge.span),
            "certain": edge.certain,
        }
        if edge.quantity is not None:
            shape["quantity"] = _number(edge.quantity)
            if edge.uom is not None:
                shape["uom"] = edge.uom
        if (edge.source, edge.target) in round_:
            shape["cycle"] = True
        made.append(shape)
    return made


def event_reference(view: View) -> dict[str, Any]:
    """What a result says of an event that it only names."""
    stored = view.stored
    shape: dict[str, Any] = {
        "eventID": stored.event_id,
        "type": view.kind,
        "time": format_time_us(stored.time_us),
        "issuer": stored.issuer,
    }
    told = {
        "action": view.action,
        "bizStep": view.step,
        "disposition": disposition(stored.json()),
        "readPoint": read_point(stored.json()),
        "bizLocation": biz_location(stored.json()),
    }
    return shape | {name: value for name, value in told.items() if value is not None}


def standings(walk: Walk, views: Sequence[View]) -> dict[str, Standing]:
    """Where each thing is, by its last event or that of what it is in now."""
    own: dict[str, Standing] = {}
    for view in views:
        told = _told(view)
        for mention in view.mentions:
            if mention.id in walk.reached and told is not None:
                before = own.get(mention.id, Standing((0, 0)))
                own[mention.id] = Standing(
                    view.order,
                    told.holder or before.holder,
                    told.disposition or before.disposition,
                )
    inside = {
        edge.source: edge.target
        for edge in walk.edges
        if edge.kind in _STAYS and edge.span.stop == ALWAYS
    }
    return {id_: _through(id_, own, inside) for id_ in own.keys() | inside.keys()}


def _through(id_: str, own: Mapping[str, Standing], inside: Mapping[str, str]) -> Standing:
    """The last word about a thing or what holds it, however deep."""
    best, seen = own.get(id_, Standing((0, 0))), {id_}
    while id_ in inside and inside[id_] not in seen:
        id_ = inside[id_]
        seen.add(id_)
        other = own.get(id_)
        if other is not None and other.order > best.order:
            best = Standing(
                other.order, other.holder or best.holder, best.disposition or other.disposition
            )
    return best


def _told(view: View) -> Standing | None:
    event = view.stored.json()
    if view.kind == OBJECT and view.action == "DELETE":
        return Standing(view.order, biz_location(event), disposition(event) or "destroyed")
    to = next(
        (
            one.id
            for one in destinations(event)
            if one.type is not None and one.type.rpartition("/")[2].endswith(_POSSESSING)
        ),
        None,
    )
    holder = to or biz_location(event)
    state = disposition(event)
    if view.kind == TRANSFORMATION and holder is None:
        holder = read_point(event)
    return None if holder is None and state is None else Standing(view.order, holder, state)


def _joined(node: Reached) -> list[Span]:
    made: list[Span] = []
    for span in sorted(node.during):
        if made and span.start <= made[-1].stop + 1:
            made[-1] = Span(made[-1].start, max(made[-1].stop, span.stop))
        else:
            made.append(span)
    return made


def window_of(span: Span) -> list[str | None]:
    """Both ends as text; None: none."""
    return [_time(span.start), _time(span.stop)]


def _time(us: int) -> str | None:
    return None if us in (EVER, ALWAYS) or abs(us) > 1 << 60 else format_time_us(us)


def _number(value: Decimal) -> int | float:
    return (
        int(value) if value == value.to_integral_value() and abs(value) < 1 << 53 else float(value)
    )
