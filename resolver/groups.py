"""Groups across nodes: which lists (HS_VLIST) at other nodes name an identity (do-irp 8.3).

Rights are decided where the record lies, by a writer that opens no connection. Where its own lists
do not name an administrator, the lists elsewhere that its HS_ADMIN values lead to are looked up
here, from the primary of their prefix, and those that do are handed in with the change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from protocol.errors import ParseError, ResponseCode
from protocol.labels import labels_in
from protocol.name import fold_prefix, prefix_of, whole_name
from protocol.record import HandleValue, Reference, decode_values
from protocol.values.hs_vlist import decode_vlist
from registry.access import admins, creation_right, matches
from registry.records import read_record
from resolver.lookup import Query
from resolver.node import Node

MOST_LISTS = 100
MOST_FETCHES = 8
"""Lists fetched from other nodes for one decision."""
_HS_VLIST = b"HS_VLIST"

Key = tuple[bytes, int]


async def memberships(node: Node, actor: Reference, *handles: bytes) -> tuple[Reference, ...]:
    """Lists at other nodes that name `actor`, reached from the HS_ADMIN values of records here.

    handles: the records whose administrators count. Empty where this node asks no others, or
    where every list that matters lies here. A list that cannot be had names nobody.
    """
    if node.asking is None:
        return ()
    search = _Search(node, actor)
    for handle in handles:
        record = read_record(node.store, whole_name(handle))
        if record is not None:
            search.follow(admin.reference for admin in admins(record.values))
            if labels_in(record.values) is not None:
                grants = node.lookup.grants.of(prefix_of(record.handle))
                search.follow(grant.to for grant in grants)
    await search.run()
    return tuple(search.found)


async def granted_memberships(
    node: Node, actor: Reference, prefixes: Iterable[bytes]
) -> tuple[Reference, ...]:
    """Lists at other nodes that name `actor`, reached from the grants of folded prefixes."""
    if node.asking is None:
        return ()
    search = _Search(node, actor)
    for prefix in prefixes:
        search.follow(grant.to for grant in node.lookup.grants.of(prefix))
    await search.run()
    return tuple(search.found)


async def memberships_for(
    node: Node, actor: Reference, handle: bytes, *, creating: bool = False
) -> tuple[Reference, ...]:
    """The same for a change of one handle: its record, and the one that lets it be created."""
    parents = (creation_right(handle, node.access.values)[0],) if creating else ()
    return await memberships(node, actor, handle, *parents)


class _Search:
    """Breadth first from list to list, each once; what names the actor, and the way to it."""

    def __init__(self, node: Node, actor: Reference) -> None:
        self.found: list[Reference] = []
        self._node = node
        self._actor = actor
        self._waiting: deque[tuple[Reference, tuple[Reference, ...]]] = deque()
        self._seen: set[Key] = set()
        self._fetches = 0

    def follow(self, references: Iterable[Reference], path: tuple[Reference, ...] = ()) -> None:
        """Note lists to be looked at. path: the lists at other nodes on the way here."""
        for reference in references:
            key = (fold_prefix(reference.handle), reference.index)
            if reference.index and key not in self._seen and len(self._seen) < MOST_LISTS:
                self._seen.add(key)
                self._waiting.append((reference, path))

    async def run(self) -> None:
        """Look at every list."""
        while self._waiting:
            reference, path = self._waiting.popleft()
            values = self._here(reference)
            if values is None:
                path = (*path, reference)
                values = await self._there(reference)
            for members in _lists(values, reference.index):
                if path and any(matches(self._actor, member) for member in members):
                    self.found += path
                self.follow(members, path)

    def _here(self, reference: Reference) -> tuple[HandleValue, ...] | None:
        """Values of a record of this node; None where it lies elsewhere."""
        name = whole_name(reference.handle)
        if not self._node.prefixes.responsible(name):
            return None
        record = read_record(self._node.store, name)
        return () if record is None else record.values

    async def _there(self, reference: Reference) -> tuple[HandleValue, ...]:
        """The named public value of a record at another node, verified on the way."""
        if self._fetches >= MOST_FETCHES or self._node.asking is None:
            return ()
        self._fetches += 1
        answer = await self._node.asking.resolve(
            Query(reference.handle, (reference.index,), authoritative=True)
        )
        if answer.code != ResponseCode.SUCCESS:
            return ()
        return decode_values(answer.values)


def _lists(values: tuple[HandleValue, ...], index: int) -> list[tuple[Reference, ...]]:
    """The members of the list at an index; none where it is no list, or does not parse."""
    found = []
    for value in values:
        if value.index == index and value.type.upper() == _HS_VLIST:
            try:
                found.append(decode_vlist(value.data))
            except ParseError:
                continue
    return found
