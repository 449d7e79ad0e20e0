"""Across companies, hand to hand: the delegated mode (traceability §9.4).

A node traces what it holds and asks its neighbours to go on. What comes back from them is counts:
nobody sees past the next company. Each node signs its answer, so the neighbour vouches for what
lies behind it. An order carries the hashes of the nodes it passed, salted with its nonce; a node
that finds its own there refuses, as it does an order it had already.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from protocol.epcis.jcs import canonical
from protocol.errors import (
    InvalidValue,
    ParseError,
    RecursionTooDeep,
    ServerBusy,
    SignatureInvalid,
)
from protocol.event_signature import EventClaims, read_claims, sign_event, verify_event
from protocol.record import Reference
from protocol.strict_json import whole
from registry.labels import Viewer
from registry.signing import LOG_KEY_INDEX
from resolver.http.auth_errors import TooManyRequests
from resolver.trace.asked import Asked, parse_asked
from resolver.trace.hops import hints, span_of
from resolver.trace.keybook import KeyBook
from resolver.trace.local import LocalTraces, Walked
from resolver.trace.owners import Owners
from resolver.trace.reach import Failed, Place, Reach
from resolver.trace.result import Gap, Result, window_of

if TYPE_CHECKING:
    from resolver.node import Node

MEMBERS: Final = (
    "start",
    "direction",
    "depth",
    "budget",
    "purpose",
    "nonce",
    "traceId",
    "visited",
    "from",
    "to",
)
PURPOSES: Final = ("recall", "quality", "audit", "service", "other")
MOST_BUDGET: Final = 8
_NEIGHBOURS: Final = 16
_REMEMBERED: Final = 4_096
_AGAIN_S: Final = 600.0
_PER_SOURCE: Final = 60
"""Orders of one sender a minute."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LEVELS: Final = ("item", "lot", "class", "other")


@dataclass(frozen=True, slots=True)
class Order:
    """What a neighbour asks for. budget: how many more companies may be asked one behind another."""

    asked: Asked
    budget: int
    purpose: str
    nonce: str
    trace: str
    visited: tuple[str, ...]

    def mark(self, node: str) -> str:
        """The salted hash of a node."""
        return sha256(f"{self.nonce}\n{self.trace}\n{node}".encode()).hexdigest()


class Delegated:
    """Both sides of it, for one reader."""

    def __init__(
        self, node: Node, local: LocalTraces, owners: Owners, reach: Reach, keys: KeyBook
    ) -> None:
        self._node = node
        self._local = local
        self._owners = owners
        self._reach = reach
        self._keys = keys
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._orders: Counter[str] = Counter()
        self._minute = 0

    async def begin(self, asked: Asked, viewer: Viewer) -> Result | None:
        """A trace of this node's own, handed on to its neighbours. None: nothing is known."""
        token = os.urandom(16).hex()
        order = Order(asked, MOST_BUDGET, "other", os.urandom(16).hex(), token, ())
        result, walked, known = await self._run(order, viewer)
        return None if walked.empty and not known else result

    async def answer(self, shape: Any, viewer: Viewer, source: str) -> bytes:
        """The signed answer to an order. Raises RecursionTooDeep, ServerBusy, InvalidValue."""
        order = parse_order(shape, self._local)
        self._require_turn(source)
        self._require_new(order)
        result, _, _ = await self._run(order, viewer)
        told = result.shape() | {"traceId": order.trace, "nonce": order.nonce}
        node = self._node
        reference = Reference(node.record_name, LOG_KEY_INDEX)
        claims = EventClaims(reference, reference, int(node.now()), None)
        body = await asyncio.to_thread(canonical, told)
        signature = sign_event(body, claims, node.keys.log_private)
        return orjson.dumps({"answer": told, "signature": signature.decode()})

    # --- own part, and the neighbours'

    async def _run(self, order: Order, viewer: Viewer) -> tuple[Result, Walked, bool]:
        walked = await self._local.walk(order.asked, viewer)
        gaps: set[Gap] = set()
        answers: list[Mapping[str, Any]] = []
        if order.budget > 0 and order.asked.limits.depth > 0:
            wanted = await self._neighbours(order, walked, gaps)
            turn = asyncio.Semaphore(4)

            async def one(place: Place, id_: str) -> Mapping[str, Any] | None:
                async with turn:
                    try:
                        return await self._hand_on(
                            order, walked, place, id_, identified=viewer.administrator
                        )
                    except Failed as failed:
                        if failed.reason not in ("not_found", "loop"):
                            gaps.add(Gap(id_, failed.step, failed.reason, failed.retriable))
                        return None

            found = await asyncio.gather(*(one(*question) for question in wanted))
            answers = [each for each in found if each is not None]
        beyond = _sum(answers)
        more = {"hops": {"mode": "delegated"}, "beyond": beyond}
        result = await self._local.result(order.asked, walked, sorted(gaps), more)
        result.head["complete"] = bool(result.head["complete"] and beyond["complete"])
        return result, walked, any(beyond["nodes"].values())

    async def _neighbours(
        self, order: Order, walked: Walked, gaps: set[Gap]
    ) -> list[tuple[Place, str]]:
        """Whom to hand what on to: each company that the trace leads to, each thing once."""
        found: dict[tuple[Place, str], None] = {}
        for id_, party in hints(order.asked, walked):
            try:
                places = await self._owners.of(party or id_)
            except Failed as failed:
                if failed.reason != "not_found":
                    gaps.add(Gap(id_, failed.step, failed.reason, failed.retriable))
                continue
            for place in places:
                if order.mark(place.name) not in order.visited:
                    found[place, id_] = None
        if len(found) > _NEIGHBOURS:
            gaps.add(Gap(order.asked.start, "query", "limit", retriable=True))
        return sorted(found)[:_NEIGHBOURS]

    async def _hand_on(
        self, order: Order, walked: Walked, place: Place, id_: str, *, identified: bool
    ) -> Mapping[str, Any]:
        """A neighbour's signed answer. Raises Failed."""
        asked = replace(order.asked, start=id_, at=None, span=span_of(walked, id_, order.asked))
        used = walked.walk.reached[id_].depth if id_ in walked.walk.reached else 0
        depth = max(0, asked.limits.depth - used)
        asked = replace(asked, limits=replace(asked.limits, depth=depth))
        visited = (*order.visited, order.mark(self._node.prefix.decode()))
        passed = replace(order, asked=asked, budget=order.budget - 1, visited=visited)
        body = await self._reach.post(place, "/trace", format_order(passed), identified=identified)
        try:
            shape = orjson.loads(body)
            told, jws = shape["answer"], str(shape["signature"]).encode()
            await self._verified(told, jws)
            if told["traceId"] != order.trace or told["nonce"] != order.nonce:
                raise SignatureInvalid("the answer is to another order")
        except SignatureInvalid:
            raise Failed("verify", "invalid_signature") from None
        except (ValueError, KeyError, TypeError, ParseError):
            raise Failed("query", "refused") from None
        return dict(told)

    async def _verified(self, told: Any, jws: bytes) -> None:
        found = await self._keys.find(read_claims(jws).key)
        octets = canonical(told)
        if found.trust not in ("own", "local", "verified"):
            raise SignatureInvalid("the answer is signed by a key that nobody vouches for")
        for key in found.keys:
            try:
                verify_event(octets, jws, key)
                return
            except SignatureInvalid:
                continue
        raise SignatureInvalid("the answer is not signed by the key it names")

    # --- refusals

    def _require_new(self, order: Order) -> None:
        """Refuse what was here before: by the marks in it, or by what this reader remembers."""
        now = self._node.now()
        while self._seen and next(iter(self._seen.values())) < now - _AGAIN_S:
            self._seen.popitem(last=False)
        key = (order.trace, order.asked.start)
        marks = {order.mark(prefix.decode()) for prefix in self._node.prefixes.homed()}
        marks.add(order.mark(self._node.prefix.decode()))
        if key in self._seen or marks & set(order.visited):
            raise RecursionTooDeep("this order was here before")
        if len(self._seen) >= _REMEMBERED:
            raise ServerBusy("too many traces are under way; ask again", 10.0)
        self._seen[key] = now

    def _require_turn(self, source: str) -> None:
        minute = int(self._node.now() // 60)
        if minute != self._minute:
            self._minute = minute
            self._orders.clear()
        self._orders[source] += 1
        if self._orders[source] > _PER_SOURCE:
            raise TooManyRequests(f"{_PER_SOURCE} orders a minute are taken from one sender", 60.0)


def parse_order(shape: Any, local: LocalTraces) -> Order:
    """An order out of JSON. Raises InvalidValue, ParseError."""
    if not isinstance(shape, Mapping) or not isinstance(shape.get("start"), str):
        raise InvalidValue("an order is an object with `start`, `nonce` and `traceId`")
    unknown = sorted(str(name) for name in shape if name not in MEMBERS)
    if unknown:
        raise InvalidValue(f"an order has no member {unknown[0][:40]!r}")
    nonce, trace = shape.get("nonce"), shape.get("traceId")
    for name, text in (("nonce", nonce), ("traceId", trace)):
        if not isinstance(text, str) or not _TOKEN.fullmatch(text):
            raise InvalidValue(f"`{name}` is 16 to 64 letters, digits, `-` or `_`")
    visited = shape.get("visited", [])
    if (
        not isinstance(visited, list)
        or len(visited) > MOST_BUDGET
        or not all(isinstance(one, str) and _HASH.fullmatch(one) for one in visited)
    ):
        raise InvalidValue(f"`visited` is a list of at most {MOST_BUDGET} SHA-256 hashes in hex")
    purpose = shape.get("purpose", "other")
    if purpose not in PURPOSES:
        raise InvalidValue(f"`purpose` is one of {', '.join(PURPOSES)}")
    budget = whole(shape.get("budget", 0))
    if type(budget) is not int or not 0 <= budget <= MOST_BUDGET:
        raise InvalidValue(f"`budget` is a number from 0 to {MOST_BUDGET}")
    params = {}
    for name in ("direction", "depth", "from", "to"):
        if name in shape:
            value = whole(shape[name])
            if type(value) is not (int if name == "depth" else str):
                raise InvalidValue(f"`{name}` is {'a number' if name == 'depth' else 'a text'}")
            params[name] = str(value)
    asked = parse_asked(shape["start"], params, local.bounds())
    return Order(asked, budget, purpose, str(nonce), str(trace), tuple(visited))


def format_order(order: Order) -> dict[str, Any]:
    """The inverse."""
    start, stop = window_of(order.asked.span)
    shape: dict[str, Any] = {
        "start": order.asked.start,
        "direction": str(order.asked.direction),
        "depth": order.asked.limits.depth,
        "budget": order.budget,
        "purpose": order.purpose,
        "nonce": order.nonce,
        "traceId": order.trace,
        "visited": list(order.visited),
    }
    if start is not None:
        shape["from"] = start
    if stop is not None:
        shape["to"] = stop
    return shape


def _sum(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What lies beyond this node, as counts: no names, no events, no parties."""
    nodes: Counter[str] = Counter(dict.fromkeys(_LEVELS, 0))
    reasons: Counter[str] = Counter()
    events, complete = 0, True
    for one in answers:
        for row in _rows(one, "nodes"):
            if row.get("level") in _LEVELS:
                nodes[row["level"]] += 1
        events += len(_rows(one, "events"))
        reasons.update(str(row.get("reason"))[:20] for row in _rows(one, "gaps"))
        further = one.get("beyond")
        if isinstance(further, Mapping):
            nodes.update(_counts(further.get("nodes"), _LEVELS))
            reasons.update(_counts(further.get("gaps"), None))
            events += _count(further.get("events"))
        complete = complete and one.get("complete") is True
    return {
        "nodes": dict(sorted(nodes.items())),
        "events": events,
        "gaps": dict(sorted(reasons.items())),
        "complete": complete,
    }


def _rows(shape: Mapping[str, Any], name: str) -> list[Any]:
    rows = shape.get(name)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _counts(shape: Any, names: Sequence[str] | None) -> dict[str, int]:
    if not isinstance(shape, Mapping):
        return {}
    return {
        str(name)[:20]: _count(value)
        for name, value in list(shape.items())[:32]
        if names is None or name in names
    }


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
