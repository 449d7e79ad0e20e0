"""How full the store is: counted for /metrics and said in the log before it is too late.

A reader that holds an old state keeps its pages, so that the file grows: it is named as well.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import Final

import structlog

from protocol.errors import StoreError
from registry.store.lmdb_store import LmdbStore
from resolver.metrics import Metrics

log = structlog.get_logger()

LOOK_S: Final = 10.0
PINNED_S: Final = 5.0
"""A reader that holds one state so long keeps pages from being used again: it is named."""


class SpaceWatch:
    """Looks at disk and map once a minute, in the writer process."""

    def __init__(self, store: LmdbStore, metrics: Metrics, *, warn_percent: int) -> None:
        """warn_percent: the share of disk or map from which on each look is a warning."""
        self._store = store
        self._metrics = metrics
        self._warn_percent = warn_percent
        self._task: asyncio.Task[None] | None = None
        self._pinned: dict[int, tuple[int, float]] = {}

    def start(self) -> None:
        """Look now and from then on."""
        self._task = asyncio.ensure_future(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            try:
                self.look()
            except (StoreError, OSError) as error:
                log.warning("store_not_measured", why=str(error))
            for _ in range(int(LOOK_S / PINNED_S)):
                await asyncio.sleep(PINNED_S)
                self.look_at_readers(asyncio.get_running_loop().time())

    def look_at_readers(self, now: float) -> list[int]:
        """Free the slots of dead readers; name those that hold an old state too long."""
        self._store.reclaim_readers()
        held = self._store.pinned()
        self._pinned = {
            pid: before
            if (before := self._pinned.get(pid, (-1, 0.0)))[0] == state
            else (state, now)
            for pid, state in held.items()
        }
        long = [pid for pid, (_, since) in self._pinned.items() if now - since >= PINNED_S]
        for pid in long:
            log.warning("reader_pins_pages", pid=pid, seconds=round(now - self._pinned[pid][1], 1))
        return long

    def look(self) -> dict[str, float]:
        """Measure once; gives the shares in percent."""
        usage = self._store.usage()
        disk = shutil.disk_usage(self._store.path)
        self._metrics.store_octets.set(usage["used_bytes"])
        self._metrics.disk_free_octets.set(disk.free)
        shares = {
            "map": 100 * usage["used_bytes"] / usage["map_bytes"],
            "disk": 100 * (disk.total - disk.free) / max(disk.total, 1),
        }
        for name, share in shares.items():
            if share >= self._warn_percent:
                log.warning("store_filling", what=name, percent=round(share, 1), free=disk.free)
        return shares
