"""The page of memory that all processes of a node share: their counters, pids and the node's state.

The supervisor makes it before it forks. Every number has one writing process: each reader and
the writer count in a bank of their own; pids, restarts and flags are the supervisor's.
"""

from __future__ import annotations

import mmap
from typing import Final

from resolver.metrics import CELLS, Metrics, clear_gauges, layout

_HEAD: Final = 64
"""Numbers before the table of pids."""
_AT: Final = {attribute: at for attribute, _, at in layout()}
_READY, _DRAINING, _READER_RESTARTS, _WRITER_RESTARTS, _SUPERVISOR, _RELOADS, _BEATS = range(7)


class Board:
    """Slots 0 … readers-1 are the readers, slot `readers` the writer.

    A slot has two banks: during a reload the old and the new process count side by side.
    """

    def __init__(self, readers: int) -> None:
        self.readers = readers
        self.slots = readers + 1
        numbers = _HEAD + self.slots * 2 * (1 + CELLS)
        self._memory = mmap.mmap(-1, numbers * 8)
        self._view = memoryview(self._memory).cast("q")

    def _number(self, slot: int, generation: int) -> int:
        return slot * 2 + generation % 2

    def bank(self, slot: int, generation: int) -> memoryview:
        """The bank of a process."""
        start = _HEAD + self.slots * 2 + self._number(slot, generation) * CELLS
        return self._view[start : start + CELLS]

    def banks(self) -> list[memoryview]:
        """All banks, of the living and the dead."""
        return [self.bank(slot, half) for slot in range(self.slots) for half in (0, 1)]

    def gauge(self, name: str) -> int:
        """A gauge without labels, over all processes."""
        return sum(bank[_AT[name]] for bank in self.banks())

    def metrics(self, slot: int, generation: int) -> Metrics:
        """What a process counts with."""
        return Metrics(self.bank(slot, generation))

    def started(self, slot: int, generation: int, pid: int) -> None:
        """The supervisor notes a process."""
        self._view[_HEAD + self._number(slot, generation)] = pid

    def ended(self, slot: int, generation: int) -> None:
        """The supervisor notes its end; what it counted stays, what it held does not."""
        self._view[_HEAD + self._number(slot, generation)] = 0
        clear_gauges(self.bank(slot, generation))

    def abandoned(self) -> None:
        """A supervisor begins, perhaps after another that was killed: nobody lives, no flag is up."""
        for slot in range(self.slots):
            for half in (0, 1):
                self.ended(slot, half)
        self.ready = self.draining = False

    def pids(self) -> dict[str, int]:
        """The living processes by name: supervisor, writer, reader-0 …"""
        found = {"supervisor": int(self._view[_SUPERVISOR])}
        for slot in range(self.slots):
            name = "writer" if slot == self.readers else f"reader-{slot}"
            for half in (0, 1):
                pid = int(self._view[_HEAD + self._number(slot, half)])
                if pid:
                    found[name] = pid
        return {name: pid for name, pid in found.items() if pid}

    @property
    def supervisor(self) -> int:
        return int(self._view[_SUPERVISOR])

    @supervisor.setter
    def supervisor(self, pid: int) -> None:
        self._view[_SUPERVISOR] = pid

    @property
    def beats(self) -> int:
        """How often the supervisor looked around; it stands still while that hangs."""
        return int(self._view[_BEATS])

    def beat(self) -> None:
        """The supervisor lives."""
        self._view[_BEATS] += 1

    @property
    def ready(self) -> bool:
        """Every face answered once, and the writer is there."""
        return bool(self._view[_READY])

    @ready.setter
    def ready(self, value: bool) -> None:
        self._view[_READY] = int(value)

    @property
    def draining(self) -> bool:
        """The node is stopping."""
        return bool(self._view[_DRAINING])

    @draining.setter
    def draining(self, value: bool) -> None:
        self._view[_DRAINING] = int(value)

    def restarted(self, *, writer: bool) -> None:
        """Count a process that died and was started again."""
        self._view[_WRITER_RESTARTS if writer else _READER_RESTARTS] += 1

    def reloaded(self) -> None:
        """Count a reload."""
        self._view[_RELOADS] += 1

    @property
    def restarts(self) -> dict[str, int]:
        return {
            "reader": int(self._view[_READER_RESTARTS]),
            "writer": int(self._view[_WRITER_RESTARTS]),
        }

    @property
    def reloads(self) -> int:
        return int(self._view[_RELOADS])

    @property
    def writer_alive(self) -> bool:
        return "writer" in self.pids()
