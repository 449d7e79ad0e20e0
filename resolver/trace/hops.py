"""Across companies, asking everyone oneself: the iterative mode (traceability §9.4).

Each round walks over all events at hand, finds out which other nodes may know more of what was
reached, and asks them for their part with proofs. Every event that comes is checked before it is
walked over. It ends when nobody is left to ask. What fails becomes a gap; nothing aborts a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import orjson

from protocol.epcis.moment import format_time_us, parse_time_us
from protocol.errors import BiaoshiError, ParseError, SignatureInvalid
from registry.labels import Viewer
from resolver.trace.asked import Asked
from resolver.trace.checked import checked
from resolver.trace.foreign import ForeignEvent, ForeignEvents
from resolver.trace.keybook import KeyBook
from resolver.trace.local import LocalTraces, Walked
from resolver.trace.owners import Owners, parties_of
from resolver.trace.reach import Failed, Place, Reach
from resolver.trace.result import Gap, Result, standings
from resolver.trace.spans import ALWAYS, EVER, Span
from resolver.trace.views import OBJECT, OBJECTS, OUTPUTS
from resolver.trace.walk import Direction

if TYPE_CHECKING:
    from resolver.node import Node

ROUNDS: Final = 12
_SIDE_BY_SIDE: Final = 4
_TOO_MANY: Final = Gap("", "query", "limit", retriable=True)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one trace may take of other nodes.

    questions: to all of them. lookups: of things whose owners are sought. events: taken of them.
    strict: a question that is not answered within within_s ends as one that timed out; else it
    may take as long as its connection does.
    """

    questions: int
    within_s: float
    lookups: int = 2_000
    events: int = 1_000_000
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """A walk over own and foreign events. questions: asked. events: what others gave."""

    walked: Walked
    gaps: frozenset[Gap]
    questions: int
    events: tuple[ForeignEvent, ...]


class Question(NamedTuple):
    """What a node is asked. party: through whom it was found; "" for the thing's owner."""

    place: Place
    id: str
    party: str
    span: Span


@dataclass
class _State:
    """What one trace knows so far."""

    events: dict[tuple[str, bytes], ForeignEvent] = field(default_factory=dict)
    asked: dict[tuple[str, str], Span] = field(default_factory=dict)
    gaps: set[Gap] = field(default_factory=set)
    missing: dict[tuple[str, str], Gap] = field(default_factory=dict)
    """(thing, party): nobody to ask, or nothing said. A gap where nobody else says it."""
    questions: int = 0
    left_out: bool = False
    end: float | None = None
    """When nothing is asked any more, on the clock of the loop; None: while a connection lives."""

    def failed(self, id_: str, party: str, failed: Failed) -> None:
        """Write down a question without an answer."""
        gap = Gap(id_, failed.step, failed.reason, failed.retriable)
        if failed.reason == "not_found":
            self.missing[id_, party] = gap
        else:
            self.gaps.add(gap)


class Hops:
    """Traces over several nodes."""

    def __init__(
        self, node: Node, local: LocalTraces, owners: Owners, reach: Reach, keys: KeyBook
    ) -> None:
        self._node = node
        self._local = local
        self._owners = owners
        self._reach = reach
        self._keys = keys

    async def run(self, asked: Asked, viewer: Viewer) -> Result | None:
        """The whole trace; None where nobody knows anything of the start."""
        limits = self._node.settings.limits
        found = await self.gather(asked, viewer, Bounds(limits.trace_hops, limits.trace_s))
        if found.walked.empty:
            return None
        more = {"hops": {"mode": "iterative", "questions": found.questions}}
        return await self._local.result(asked, found.walked, sorted(found.gaps), more)

    async def gather(
        self,
        asked: Asked,
        viewer: Viewer,
        bounds: Bounds,
        known: Iterable[ForeignEvent] = (),
    ) -> Gathered:
        """Ask whoever may know more, round by round. known: events that others gave before."""
        now = asyncio.get_running_loop().time
        end = now() + bounds.within_s
        state = _State(end=end if bounds.strict else None)
        state.events.update(((one.event_id, one.raw), one) for one in known)
        walked = await self._walk(asked, viewer, state)
        for _ in range(ROUNDS):
            wanted = await self._wanted(asked, walked, state, bounds)
            if not wanted or now() >= end:
                state.left_out |= bool(wanted)
                break
            await self._ask_all(asked, wanted, state, bounds, identified=viewer.administrator)
            walked = await self._walk(asked, viewer, state)
        else:
            state.left_out = True
        gaps = state.gaps | set(_missed(asked, walked, state))
        if state.left_out:
            gaps.add(replace(_TOO_MANY, id=asked.start))
        return Gathered(walked, frozenset(gaps), state.questions, tuple(state.events.values()))

    async def _walk(self, asked: Asked, viewer: Viewer, state: _State) -> Walked:
        return await self._local.walk(asked, viewer, ForeignEvents(state.events.values()))

    # --- whom to ask what

    async def _wanted(
        self, asked: Asked, walked: Walked, state: _State, bounds: Bounds
    ) -> list[Question]:
        """The questions that are new, in order. Failed look-ups become gaps."""
        found: dict[tuple[Place, str], Question] = {}
        for lookups, (id_, hint) in enumerate(hints(asked, walked)):
            if lookups > bounds.lookups:
                state.left_out = True
                break
            span = span_of(walked, id_, asked)
            for place in await self._places(id_, hint, state):
                held = state.asked.get((place.name, id_))
                if held is None or span.start < held.start or span.stop > held.stop:
                    found.setdefault((place, id_), Question(place, id_, hint, span))
        made = [found[key] for key in sorted(found)]
        left = bounds.questions - state.questions
        state.left_out |= len(made) > left
        return made[: max(0, left)]

    async def _places(self, id_: str, hint: str, state: _State) -> tuple[Place, ...]:
        try:
            async with asyncio.timeout_at(state.end):
                return await self._owners.of(hint or id_)
        except TimeoutError:
            state.failed(id_, hint, Failed("resolve", "timeout", retriable=True))
        except Failed as failed:
            state.failed(id_, hint, failed)
        return ()

    # --- asking

    async def _ask_all(
        self,
        asked: Asked,
        wanted: Iterable[Question],
        state: _State,
        bounds: Bounds,
        *,
        identified: bool,
    ) -> None:
        turn = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def one(question: Question) -> None:
            state.asked[question.place.name, question.id] = question.span
            state.questions += 1
            async with turn:
                end = state.end
                if end is not None:  # half of the time, so that who is silent leaves some to others
                    now = asyncio.get_running_loop().time()
                    if now >= end:
                        state.left_out = True
                        return
                    end = min(end, now + bounds.within_s / 2)
                try:
                    async with asyncio.timeout_at(end):
                        await self._ask(asked, question, state, bounds, identified=identified)
                except TimeoutError:
                    self._reach.silent(question.place)
                    silent = Failed("connect", "timeout", retriable=True)
                    state.failed(question.id, question.party, silent)
                except Failed as failed:
                    state.failed(question.id, question.party, failed)

        await asyncio.gather(*map(one, wanted))

    async def _ask(
        self,
        asked: Asked,
        question: Question,
        state: _State,
        bounds: Bounds,
        *,
        identified: bool,
    ) -> None:
        place, id_ = question.place, question.id
        path = _path(asked, id_, question.span)
        body = await self._reach.get(place, path, identified=identified)
        try:
            shape = orjson.loads(body)
            events, gaps = shape["events"], shape["gaps"]
            nodes = shape["nodes"]
            if not (isinstance(events, list) and isinstance(gaps, list)):
                raise TypeError
            if len(events) > asked.limits.events:
                raise Failed("query", "limit")
            reached = [str(one["id"]) for one in nodes if not one["carrier"]]
        except (ValueError, KeyError, TypeError):
            raise Failed("query", "refused") from None
        for one in reached:
            # Its answer holds what it knows of these as well, as far as the same spans go.
            state.asked.setdefault((place.name, one), _answered(asked, nodes, one))
        for gap in gaps[:1000]:
            if isinstance(gap, dict):
                state.gaps.add(
                    Gap(
                        str(gap.get("id")),
                        str(gap.get("step"))[:20],
                        str(gap.get("reason"))[:30],
                        gap.get("retriable") is True,
                    )
                )
        await self._take(events, question, state, bounds)

    async def _take(
        self, events: list[Any], question: Question, state: _State, bounds: Bounds
    ) -> None:
        id_, source = question.id, question.place.name
        for at, shape in enumerate(events):
            if at % 32 == 0:
                await asyncio.sleep(0)
            if len(state.events) >= bounds.events:
                state.left_out = True
                return
            try:
                event = await checked(shape, self._keys)
            except (SignatureInvalid, ParseError):
                state.gaps.add(Gap(id_, "verify", "invalid_signature"))
            except BiaoshiError:
                state.gaps.add(Gap(id_, "verify", "refused"))
            else:
                key = event.event_id, event.raw
                before = state.events.get(key)
                if before is None or source < before.source:
                    state.events[key] = replace(event, source=source)


def hints(asked: Asked, walked: Walked) -> list[tuple[str, str]]:
    """(thing, who may know of it) in order; "" for its owner."""
    reached = walked.walk.reached
    found: dict[tuple[str, str], None] = {(asked.start, ""): None}
    for id_ in sorted(reached):
        found[id_, ""] = None
    for view in walked.views:
        parties = parties_of(view.stored.json())
        for mention in view.mentions:
            if mention.id in reached and parties:
                found.update(dict.fromkeys((mention.id, party) for party in parties))
    return list(found)


def _missed(asked: Asked, walked: Walked, state: _State) -> Iterator[Gap]:
    """What nobody said: backward, where a thing came from; forward, where it is now."""
    if asked.direction is Direction.BACK:
        born = _born(walked)
        for (id_, party), gap in state.missing.items():
            node = walked.walk.reached.get(id_)
            if not party and id_ not in born and node is not None and not node.carrier:
                yield gap
        return
    where = standings(walked.walk, walked.views)
    for (id_, party), gap in state.missing.items():
        if party and id_ in where and where[id_].holder == party:
            yield gap


def _born(walked: Walked) -> set[str]:
    """The things whose making is told."""
    return {
        mention.id
        for view in walked.views
        for mention in view.mentions
        if mention.role in OUTPUTS
        or (view.kind == OBJECT and view.action == "ADD" and mention.role in OBJECTS)
    }


def span_of(walked: Walked, id_: str, asked: Asked) -> Span:
    """What of a thing's life is of interest, with the slack of clocks."""
    node = walked.walk.reached.get(id_)
    if node is None or not node.during:
        return asked.span
    slack = asked.limits.slack_us
    start = min(span.start for span in node.during)
    stop = max(span.stop for span in node.during)
    return Span(start if start == EVER else start - slack, stop if stop == ALWAYS else stop + slack)


def _answered(asked: Asked, nodes: list[Any], id_: str) -> Span:
    """The span that an answer covers of a thing: up to its bound, as a walk goes on."""
    windows = next(one["windows"] for one in nodes if one["id"] == id_)
    starts = [EVER if one[0] is None else parse_time_us(str(one[0])) for one in windows]
    stops = [ALWAYS if one[1] is None else parse_time_us(str(one[1])) for one in windows]
    slack = asked.limits.slack_us
    if not starts:
        return Span(0, 0)
    back = asked.direction is Direction.BACK
    start, stop = min(starts), max(stops)
    return Span(start, stop + slack) if back else Span(start - slack, stop)


def _path(asked: Asked, id_: str, span: Span) -> str:
    params = {
        "direction": str(asked.direction),
        "depth": str(asked.limits.depth),
        "events": "proof",
        "hops": "none",
    }
    if asked.limits.classes:
        params["classes"] = "1"
    if span.start > EVER:
        params["from"] = format_time_us(span.start)
    if span.stop < ALWAYS:
        params["to"] = format_time_us(span.stop)
    return f"/api/trace/{quote(id_, safe='')}?{urlencode(sorted(params.items()))}"
