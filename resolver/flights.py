"""One fetch in flight per key: whoever else asks meanwhile waits for the same one (threats N8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from protocol.errors import ServerBusy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Running fetches by key, bounded in number.

    A fetch goes on when the one who started it gives up: others may wait for it, and its result
    fills the cache.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def running_keys(self) -> tuple[K, ...]:
        """What is being fetched."""
        return tuple(self._running)

    def running(self, key: K) -> bool:
        """Whether a fetch of this key is under way."""
        return key in self._running

    def join(self, key: K, start: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """The running fetch of a key, started if there is none. Raises ServerBusy when full.

        Callers await it under asyncio.shield(), so that their own end is not the fetch's.
        """
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= self._most:
                raise ServerBusy(f"{self._most} look-ups are under way already; ask again")
            task = asyncio.ensure_future(_run(start))
            self._running[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: a fetch whose askers all left must not be reported as lost

    async def close(self) -> None:
        """Stop every fetch and wait until each has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(start: Callable[[], Awaitable[V]]) -> V:
    return await start()
