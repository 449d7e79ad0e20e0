"""How full the store is: counted for /metrics and said in the log before it is too late."""

from __future__ import annotations

import asyncio
import shutil
from typing import Final

import structlog

from protocol.errors import StoreError
from registry.store.lmdb_store import LmdbStore
from resolver.metrics import Metrics

log = structlog.get_logger()

LOOK_S: Final = 60.0


class SpaceWatch:
    """Looks at disk and map once a minute, in the writer process."""

    def __init__(self, store: LmdbStore, metrics: Metrics, *, warn_percent: int) -> None:
        """warn_percent: the share of disk or map from which on each look is a warning."""
        self._store = store
        self._metrics = metrics
        self._warn_percent = warn_percent
        self._task: asyncio.Task[None] | None = None

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
            await asyncio.sleep(LOOK_S)

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
