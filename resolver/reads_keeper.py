"""Writes what a reader's ReadLog gathered: soon, in batches, and what is left when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

import structlog

from protocol.errors import BiaoshiError
from registry.reads import changes_of

if TYPE_CHECKING:
    from resolver.node import Node

EVERY_S: Final = 1.0
log = structlog.get_logger()


class ReadsKeeper:
    """One reader's. Reads of the last second are lost when the process dies at once."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write what waits; what could not be written waits on."""
        reads = self._node.lookup.reads.take()
        if not reads:
            return
        place = f"{int(self._node.now() * 1e6):016d}-{self._node.number}-{os.urandom(4).hex()}"
        try:
            outcomes = await self._node.writer.submit(changes_of(reads, place))
        except BiaoshiError as error:
            self._node.lookup.reads.give_back(reads)
            log.warning("reads_not_logged", reads=len(reads), why=str(error))
            return
        for outcome in outcomes:
            self._node.metrics.granted_reads["refused" if outcome.error else "logged"].inc()
            if outcome.error is not None:
                log.error("reads_refused", why=outcome.error)

    async def close(self, _grace_s: float) -> None:
        """Write the rest."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.write()
