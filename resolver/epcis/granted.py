"""What an identity is granted of events, and the log of what it read by that.

Grants, and lists at this node, are read anew for each request and each delivery. Lists at other
nodes are asked for once in GROUPS_S for each identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Final

from protocol.record import Reference
from registry.events.capture import operator_of
from registry.events.granted import EventGrants, Held, by_grant
from registry.events.row import EventRow
from registry.events.writing import prefix_of_actor
from registry.grants import Grant
from registry.labels import Viewer
from registry.reads import OpenedEvent
from resolver.groups import granted_memberships

if TYPE_CHECKING:
    from resolver.node import Node

GROUPS_S: Final = 30.0
ASKING_S: Final = 3.0
"""How long lists at other nodes are waited for; what does not come names nobody."""
MOST_PREFIXES: Final = 256
_MOST_KEPT: Final = 4_096


class Granted:
    """Reads what is granted at one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._groups: dict[str, tuple[float, tuple[Reference, ...]]] = {}

    async def of(self, actor: Reference) -> EventGrants | None:
        """What an identity is granted now; None: nothing can be, since no read can be noted."""
        node = self._node
        if node.lookup.reads.full:
            return None
        groups = await self._memberships(actor)
        homed = node.prefixes.homed()
        # A view of its own: it is asked in threads, and remembers groups for this request alone.
        access = node.access.reading(node.access.values)

        @cache
        def named(home: bytes) -> tuple[Grant, ...]:
            with access.knowing(groups):
                grants = node.lookup.grants.of(home)
                return tuple(grant for grant in grants if access.is_member(actor, grant.to))

        def granted(issuer: str) -> tuple[bytes, tuple[Grant, ...]]:
            prefix = prefix_of_actor(Reference.parse(issuer))
            home = prefix if prefix in homed else node.prefix
            return home, named(home)

        return EventGrants(granted, node.now())

    def partner(self, viewer: Viewer) -> bool:
        """Whether a grant of events that holds now names somebody."""
        events = viewer.events
        if events is None:
            return False
        homed = self._prefixes()
        return any(events.names(operator_of(one).text()) for one in homed)

    async def _memberships(self, actor: Reference) -> tuple[Reference, ...]:
        node, name = self._node, actor.text()
        if node.asking is None:
            return ()
        kept = self._groups.get(name)
        if kept is not None and kept[0] > node.now():
            return kept[1]
        found: tuple[Reference, ...] = ()
        try:
            async with asyncio.timeout(ASKING_S):
                found = await granted_memberships(node, actor, self._prefixes())
        except TimeoutError:
            pass  # asked again when this is no longer kept
        if len(self._groups) >= _MOST_KEPT:
            self._groups.clear()
        self._groups[name] = node.now() + GROUPS_S, found
        return found

    def _prefixes(self) -> list[bytes]:
        """The prefixes homed here, the node's own first."""
        homed, own = self._node.prefixes.homed(), self._node.prefix
        return [own, *sorted(homed - {own})[:MOST_PREFIXES]]


def opened(viewer: Viewer, held: Held, change: int) -> OpenedEvent | None:
    """What is to be logged of an event that is shown whole; None: no grant was needed."""
    grants = viewer.events
    if grants is None or not by_grant(held, viewer):
        return None
    octets = held.event if isinstance(held, EventRow) else held.raw
    purposes = frozenset(one.purpose for one in grants.whole(held) if one.purpose)
    return OpenedEvent(change, held.event_id, octets, grants.home(held.issuer), purposes)


def note_reads(node: Node, viewer: Viewer, found: Iterable[OpenedEvent | None]) -> None:
    """Log what grants opened of an answer, before it is given."""
    some = [one for one in found if one is not None]
    if some and viewer.actor is not None:
        node.lookup.reads.note_events(viewer.actor, some, int(node.now()))
