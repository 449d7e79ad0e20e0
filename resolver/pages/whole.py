"""Whole lives: what other companies' nodes say of a thing, gathered for pages within bounds.

A page is cheap to ask for, and anybody may: so a reader asks others for few pages at a time, once
for all who want the same, as nobody in particular; it keeps what it got, and a network that asks
for ever new things has to wait.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from protocol.epcis.event import biz_location, read_point
from protocol.errors import BiaoshiError
from registry.labels import ANYBODY
from resolver.doirp.limits import Buckets, network_of
from resolver.flights import Flights
from resolver.pages.life import PICTURE, RECALL
from resolver.pages.product import NAME_TYPES, text_of
from resolver.trace.asked import Asked
from resolver.trace.foreign import ForeignEvents
from resolver.trace.hops import Bounds, Gathered, Hops
from resolver.trace.keybook import KeyBook
from resolver.trace.local import LocalTraces
from resolver.trace.owners import Owners, names_of
from resolver.trace.reach import Failed, Reach
from resolver.trace.result import Gap
from resolver.trace.walk import Direction

if TYPE_CHECKING:
    from resolver.node import Node

Kind = Literal["life", "recall"]
Texts = tuple[tuple[bytes, str], ...]

AT_ONCE: Final = 2
"""Lives that one reader gathers at a time."""
MOST_WAITING: Final = 8
"""Lives that are gathered or wait for it; more are not begun."""
BURST: Final = 10
RATE_PER_S: Final = 0.2
"""New lives of one network: so many at once, then one each five seconds."""
LOOKUPS: Final = 100
EVENTS: Final = 600
ANSWER_BYTES: Final = 4 << 20
WALK_S: Final = 1.0
MOST_NAMES: Final = 80
_NAMES_S: Final = 0.5
_NAMES_AT_ONCE: Final = 8
_KEPT: Final = 64
_KEPT_BYTES: Final = 16 << 20
_KEPT_S: Final = 60.0
_GAPS_S: Final = 10.0
"""How long a life is kept in which somebody did not answer."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What others gave. at_s: when, since 1970. names: of things that are not kept here, by
    identifier: types of values and texts.
    """

    foreign: ForeignEvents
    gaps: tuple[Gap, ...]
    questions: int
    at_s: float
    names: Mapping[str, Texts] = field(default_factory=dict)

    @property
    def octets(self) -> int:
        """About what it takes to keep."""
        return sum(2 * len(one.raw) + 1_000 for one in self.foreign.events) + 1_000


class Wholes:
    """The whole lives of one reader. They are the same for everybody who asks."""

    def __init__(self, node: Node, keys: KeyBook) -> None:
        self._node = node
        self._reach = Reach(node, most_bytes=ANSWER_BYTES)
        self._owners = Owners(node, self._reach)
        local = LocalTraces(node, keys, walk_s=WALK_S)
        self._hops = Hops(node, local, self._owners, self._reach, keys)
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._flights: Flights[tuple[str, Kind], Whole] = Flights(MOST_WAITING)
        self._sources = Buckets(RATE_PER_S, BURST, now=lambda: asyncio.get_running_loop().time())
        self._kept: OrderedDict[tuple[str, Kind], Whole] = OrderedDict()
        self._octets = 0
        self.gathered = 0
        """Lives gathered so far."""

    @property
    def open(self) -> bool:
        """Whether pages may ask other nodes at all."""
        return self._node.settings.limits.page_hops > 0

    async def close(self) -> None:
        """Give up what is under way."""
        await self._flights.close()
        await self._reach.close()

    async def of(self, id_: str, kind: Kind, host: str) -> Whole | None:
        """The whole life of a thing, perhaps a kept one; None: not now, ask again.

        id_: canonical. host: the address of who asks.
        """
        key = id_, kind
        kept = self._kept.get(key)
        if kept is not None and self._is_fresh(kept):
            self._kept.move_to_end(key)
            return kept
        under_way = self._flights.running(key)
        if not self.open or not (under_way or self._sources.take(network_of(host))):
            return kept
        patience_s = 2 * self._node.settings.limits.page_s + _NAMES_S + WALK_S
        try:
            task = self._flights.join(key, lambda: self._gather(id_, kind))
            async with asyncio.timeout(patience_s):
                return await asyncio.shield(task)
        except (BiaoshiError, TimeoutError):
            return kept

    def _is_fresh(self, whole: Whole) -> bool:
        age_s = self._node.now() - whole.at_s
        return age_s < (_GAPS_S if any(gap.retriable for gap in whole.gaps) else _KEPT_S)

    async def _gather(self, id_: str, kind: Kind) -> Whole:
        async with self._turn:
            self.gathered += 1
            limits = self._node.settings.limits
            loop = asyncio.get_running_loop()
            end = loop.time() + limits.page_s
            bounds = Bounds(limits.page_hops, limits.page_s, LOOKUPS, EVENTS, strict=True)
            asked = Asked(id_, limits=PICTURE if kind == "life" else RECALL)
            back: tuple[Gathered, ...] = ()
            if kind == "life":
                back = (await self._hops.gather(asked, ANYBODY, bounds),)
                left_s = max(0.01, end - loop.time())
                left = bounds.questions - back[0].questions
                bounds = replace(bounds, questions=left, within_s=left_s)
            asked = replace(asked, direction=Direction.FORWARD)
            known = back[0].events if back else ()
            forward = await self._hops.gather(asked, ANYBODY, bounds, known)
            parts = (*back, forward)
            gaps: set[Gap] = set()
            gaps.update(*(part.gaps for part in parts))
            whole = Whole(
                ForeignEvents(forward.events),
                tuple(sorted(gaps)),
                sum(part.questions for part in parts),
                self._node.now(),
                await self._names(_named(parts)),
            )
        self._keep((id_, kind), whole)
        return whole

    async def _names(self, ids: Iterable[str]) -> dict[str, Texts]:
        """What the records of things at other nodes call them, as far as it is quickly known."""
        found: dict[str, Texts] = {}
        turn = asyncio.Semaphore(_NAMES_AT_ONCE)

        async def one(id_: str) -> None:
            names = names_of(id_)
            if not names or self._node.prefixes.responsible(names[0]):
                return
            async with turn:
                try:
                    values = await self._owners.values(names[0])
                except (Failed, BiaoshiError, TimeoutError):
                    return
            typed = ((value.type.upper(), text_of(value.data)) for value in values if value.public)
            texts = tuple((type_, text) for type_, text in typed if text and type_ in NAME_TYPES)
            if texts:
                found[id_] = texts

        wanted = [id_ for _, id_ in zip(range(MOST_NAMES), ids, strict=False)]
        try:
            async with asyncio.timeout(_NAMES_S):
                await asyncio.gather(*map(one, wanted))
        except TimeoutError:
            pass  # the others are called by their identifiers
        return dict(found)

    def _keep(self, key: tuple[str, Kind], whole: Whole) -> None:
        old = self._kept.pop(key, None)
        self._octets += whole.octets - (old.octets if old is not None else 0)
        self._kept[key] = whole
        while len(self._kept) > _KEPT or self._octets > _KEPT_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._octets -= gone.octets


def _named(parts: Iterable[Gathered]) -> Iterator[str]:
    """Issuers, things, nearest first, and places of what was gathered, each once."""
    found: dict[str, None] = {}
    for part in parts:
        views = part.walked.views
        found.update((view.stored.issuer.partition(":")[2], None) for view in views)
        reached = sorted(part.walked.walk.reached.values(), key=lambda one: (one.depth, one.id))
        found.update((one.id, None) for one in reached)
        for view in views:
            event = view.stored.json()
            places = (read_point(event), biz_location(event))
            found.update((place, None) for place in places if place)
    return iter(found)
