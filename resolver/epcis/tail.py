"""The end of the log of events: who waits for more is woken when there is more."""

from __future__ import annotations

import asyncio
from typing import Final

from registry.events.index import EventIndex
from registry.store import Store

LOOK_S: Final = 0.2
"""How often the store is asked while somebody waits: commits are made in another process."""


class Tail:
    """The newest sequence of a store, for the waiting of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters = 0
        self._more = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._last = 0

    def last(self) -> int:
        """The newest sequence now."""
        with self._store.snapshot() as state:
            self._last = EventIndex(state).last()
        return self._last

    async def beyond(self, sequence: int, timeout_s: float) -> bool:
        """Wait until there is an event behind a sequence; False when the time is over."""
        if self.last() > sequence:
            return True
        self._waiters += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout_s), self._more:
                await self._more.wait_for(lambda: self._last > sequence)
        except TimeoutError:
            return False
        finally:
            self._waiters -= 1
        return True

    async def _look(self) -> None:
        while self._waiters:
            await asyncio.sleep(LOOK_S)
            before = self._last
            if self.last() != before:
                async with self._more:
                    self._more.notify_all()
        self._looking = None

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
