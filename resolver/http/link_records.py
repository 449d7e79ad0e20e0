"""The records of a Digital Link and of what stands above it, here or at other nodes; and where a
link goes whose records another resolver keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.arcs import arcs_of
from protocol.errors import RecursionTooDeep, ResponseCode
from protocol.record import TTL_ABSOLUTE, HandleValue, decode_values
from protocol.record_links import LINK, LINKSET
from protocol.schemes.gs1_link import DigitalLink, levels
from protocol.value_slices import join
from protocol.values.loc import Caller
from resolver.aliases import HS_ALIAS, MUTUAL, follow
from resolver.http.locations import LOC
from resolver.links import HANDLED_BY, RecordLinks, links_of
from resolver.lookup import Answer, Query

if TYPE_CHECKING:
    from resolver.node import Node

_ABSENT: Final = frozenset(
    (
        ResponseCode.HANDLE_NOT_FOUND,
        ResponseCode.VALUES_NOT_FOUND,
        ResponseCode.SERVER_NOT_RESPONSIBLE,
        ResponseCode.SERVICE_REFERRAL,
        ResponseCode.PREFIX_REFERRAL,
    )
)


def _is_steady(answer: Answer, values: Sequence[HandleValue]) -> bool:
    """Not from elsewhere, not made by a template, not chosen by chance, not ending at a time."""
    if answer.source != "store" or not answer.version:
        return False
    return all(v.ttl_type != TTL_ABSOLUTE and v.type.upper() != LOC for v in values)


@dataclass(frozen=True, slots=True)
class Found:
    """The record of one level. steady: the same for every caller until something is registered."""

    level: DigitalLink
    values: tuple[HandleValue, ...]
    links: RecordLinks
    steady: bool


class LookupFailed(Exception):
    """A look-up that gave neither a record nor its absence."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


class LinkRecords:
    """Finds them through the node's lookup."""

    def __init__(self, node: Node, schemes: frozenset[str]) -> None:
        self._node = node
        self._schemes = schemes
        forward = node.settings.digital_link.forward
        self._forwards = sorted(forward, key=lambda pair: -len(pair[0]))

    async def of(self, link: DigitalLink, caller: Caller) -> list[Found]:
        """The records of a link's levels, finest first. Raises LookupFailed."""
        every = levels(link)
        queries = [Query(level.identity.encode(), do_not_refer=True) for level in every]
        found = []
        for level, answer in zip(every, await self._answers(queries), strict=True):
            if answer.code == ResponseCode.SUCCESS:
                self._node.metrics.lookups[answer.source].inc()
                values = decode_values(answer.values)
                name = answer.handle.decode("utf-8", "replace")
                links = links_of(values, name, caller=caller, schemes=self._schemes)
                found.append(Found(level, values, links, _is_steady(answer, values)))
            elif answer.code not in _ABSENT:
                raise LookupFailed(answer)
        return found

    async def _answers(self, queries: Sequence[Query]) -> list[Answer]:
        lookup = self._node.lookup
        ready = [lookup.answer_now(query) for query in queries]
        waiting = [at for at, answer in enumerate(ready) if answer is None]
        late = await asyncio.gather(*(lookup.answer(queries[at]) for at in waiting))
        for at, answer in zip(waiting, late, strict=True):
            ready[at] = answer
        return [
            await self._followed(query, answer)
            for query, answer in zip(queries, ready, strict=True)
            if answer is not None
        ]

    async def _followed(self, query: Query, answer: Answer) -> Answer:
        """What an alias stands for."""
        if MUTUAL not in answer.values and HS_ALIAS not in answer.values:
            return answer
        try:
            return (await follow(self._ask, query)).answer
        except RecursionTooDeep as error:
            return Answer(error.code, query.handle, message=str(error))

    async def _ask(self, query: Query) -> Answer:
        lookup = self._node.lookup
        return lookup.answer_now(query) or await lookup.answer(query)

    def elsewhere(self, link: DigitalLink) -> str | None:
        """The resolver that links of this company prefix are sent to, by settings or delegation."""
        name = link.identity.encode()
        arcs = arcs_of(name) or b""
        digits = arcs.partition(b".")[2].replace(b".", b"").decode()
        for prefix, root in self._forwards:
            if digits.startswith(prefix):
                return root
        lookup = self._node.lookup
        record = lookup.prefixes.delegation_for(name)
        if record is None:
            return None
        values = decode_values(join(lookup.public_values(record, (LINK, LINKSET))))
        found = links_of(values, schemes=self._schemes).links
        return next((one.link.href for one in found if one.link.relation == HANDLED_BY), None)
