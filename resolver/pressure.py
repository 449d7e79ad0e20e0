"""Whether work waits too long in a reader: then what would wait on top of it is shed (threats O1).

Every queue of a reader is bounded in number: datagrams in the kernel's buffer, 1024 requests that
wait (64 of a network), 1000 fetches. What makes them old is the event loop, which all of them pass:
when each of its turns takes longer than SHED_S for a while, a new question that another node would
have to be asked for is answered "busy", with a second to come back in. What is stored here or kept
fresh is answered as ever, and so are health, metrics and administrators.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

SHED_S: Final = 0.1
"""A question that waits this long for its turn has waited too long."""
STRAINED_S: Final = 0.01
TICK_S: Final = 0.02
TICKS: Final = 5
"""Turns in a row that must be late: one long turn is no queue (as in RFC 8289 §4)."""
RETRY_S: Final = 1.0


class Pressure:
    """One for each reader. now: seconds, monotonic."""

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self._now = now
        self._late: deque[float] = deque(maxlen=TICKS)
        self._task: asyncio.Task[None] | None = None
        self.looks: list[Callable[[], None]] = []
        """What looks at a socket for questions that need no waiting."""

    def breathe(self) -> None:
        """Between two steps of long work: answer what came meanwhile and is at hand (threats N7).

        A turn of the loop carries out a step of every fetch that heard something; without this
        the questions behind it wait for all of them.
        """
        for look in self.looks:
            look()

    @property
    def overloaded(self) -> bool:
        """Whether every one of the last turns came late."""
        return len(self._late) == TICKS and min(self._late) > SHED_S

    @property
    def strained(self) -> bool:
        """Whether they come late enough for a single asker to be held back."""
        return len(self._late) == TICKS and min(self._late) > STRAINED_S

    def note(self, late_s: float) -> None:
        """How much later than it should a turn came."""
        self._late.append(late_s)

    def start(self) -> None:
        """Begin to look; needs a running event loop."""
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            due = self._now() + TICK_S
            await asyncio.sleep(TICK_S)
            self.note(self._now() - due)

    async def close(self, _grace_s: float) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
