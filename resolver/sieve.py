"""SIEVE: a bounded map that keeps what is asked again (Zhang et al., NSDI 2024).

One queue, one bit an entry, one hand. A hit sets the bit and moves nothing, so it costs a
dictionary look-up; a new entry goes to the head; for room, the hand walks from the tail towards
the head, clears set bits and takes the first entry without one. One pass of names that nobody
asks twice (a scan, a random-name flood) leaves the asked ones where they are, which LRU does not,
and there is no second queue to tune, as segmented LRU has.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Node(Generic[K, V]):
    __slots__ = ("key", "newer", "older", "value", "visited", "weight")

    def __init__(self, key: K, value: V, weight: int) -> None:
        self.key = key
        self.value = value
        self.weight = weight
        self.visited = False
        self.newer: _Node[K, V] | None = None
        self.older: _Node[K, V] | None = None


class Sieve(Generic[K, V]):
    """A map bounded by number of entries and by their weight. evicted: told of each entry lost."""

    def __init__(
        self,
        max_entries: int,
        max_weight: int,
        evicted: Callable[[K, V], None] | None = None,
    ) -> None:
        self._max_entries = max_entries
        self._max_weight = max_weight
        self._evicted = evicted
        self._nodes: dict[K, _Node[K, V]] = {}
        self._newest: _Node[K, V] | None = None
        self._oldest: _Node[K, V] | None = None
        self._hand: _Node[K, V] | None = None
        self._weight = 0

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def weight(self) -> int:
        """The weights of all entries together."""
        return self._weight

    def keys(self) -> Iterator[K]:
        return iter(self._nodes)

    def get(self, key: K) -> V | None:
        """The value, noted as asked for."""
        node = self._nodes.get(key)
        if node is None:
            return None
        node.visited = True
        return node.value

    def peek(self, key: K) -> V | None:
        """The value, not noted as asked for."""
        node = self._nodes.get(key)
        return None if node is None else node.value

    def put(self, key: K, value: V, weight: int = 1) -> bool:
        """Keep a value, in place of an older one. False when it is heavier than the whole map."""
        known = self._nodes.get(key)
        if weight > self._max_weight or self._max_entries < 1:
            self.remove(key)
            return False
        if known is not None:
            self._weight += weight - known.weight
            known.value, known.weight = value, weight
            self._make_room(0, 0, keep=known)
            return True
        self._make_room(1, weight, keep=None)
        self._link(_Node(key, value, weight))
        return True

    def remove(self, key: K) -> V | None:
        """Take an entry out; its value, or None."""
        node = self._nodes.pop(key, None)
        if node is None:
            return None
        self._unlink(node)
        return node.value

    def _link(self, node: _Node[K, V]) -> None:
        self._nodes[node.key] = node
        self._weight += node.weight
        node.older = self._newest
        if self._newest is not None:
            self._newest.newer = node
        self._newest = node
        if self._oldest is None:
            self._oldest = node

    def _unlink(self, node: _Node[K, V]) -> None:
        if self._hand is node:
            self._hand = node.newer
        if node.newer is not None:
            node.newer.older = node.older
        else:
            self._newest = node.older
        if node.older is not None:
            node.older.newer = node.newer
        else:
            self._oldest = node.newer
        self._weight -= node.weight

    def _make_room(self, entries: int, weight: int, keep: _Node[K, V] | None) -> None:
        while (
            len(self._nodes) + entries > self._max_entries
            or self._weight + weight > self._max_weight
        ):
            self._evict(keep)

    def _evict(self, keep: _Node[K, V] | None) -> None:
        node = self._hand or self._oldest
        # Ends: a first walk clears every bit; `keep` is never the only entry over the bounds.
        while node is not None and (node.visited or node is keep):
            node.visited = False
            node = node.newer or self._oldest
        if node is None:
            return
        self._hand = node.newer
        del self._nodes[node.key]
        self._unlink(node)
        if self._evicted is not None:
            self._evicted(node.key, node.value)
