"""The scrub in the writer process: a little at a time, so that all was looked at in some hours."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from protocol.errors import BiaoshiError, StoreError
from registry.scrub import PORTION, Done, Finding, Scrub, quarantine
from registry.store import Store, Table
from resolver.metrics import Metrics

log = structlog.get_logger()

_LEAST_PAUSE_S: Final = 0.2
_MOST_PAUSE_S: Final = 600.0

Between = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs something in the writer's thread, between two commits."""


class Scrubbing:
    """The background task, and the whole pass that `biaoshi check --scrub` asks for."""

    def __init__(self, store: Store, between: Between, metrics: Metrics, *, hours: float) -> None:
        """hours: for one pass; 0: only when asked."""
        self._store = store
        self._between = between
        self._metrics = metrics
        self._hours = hours
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._count()
        if self._hours:
            self._task = asyncio.ensure_future(self._watch(Scrub(self._store)))

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def answer(self, _body: Any) -> list[list[Any]]:
        """One whole pass now: [key, why] of what was quarantined."""
        scrub, done = Scrub(self._store), list[Finding]()
        while not scrub.passes:
            done += await self._portion(scrub)
        return [[finding.name(), finding.why] for finding in done]

    async def _watch(self, scrub: Scrub) -> None:
        while True:
            await asyncio.sleep(self._pause())
            try:
                await self._portion(scrub)
            except (StoreError, OSError) as error:
                log.error("scrub_failed", why=str(error))  # noqa: TRY400 - the reason is enough

    def _pause(self) -> float:
        """Seconds between portions, for one pass in the hours that were set."""
        with self._store.snapshot() as state:
            count = state.count(Table.RECORDS) + state.count(Table.EVENTS)
        portions = count / PORTION + 2
        return min(max(self._hours * 3600 / portions, _LEAST_PAUSE_S), _MOST_PAUSE_S)

    async def _portion(self, scrub: Scrub) -> list[Finding]:
        """Look at some records, set aside what does not hold."""
        before = scrub.rows
        found = await asyncio.to_thread(scrub.portion)
        self._metrics.scrubbed.inc(scrub.rows - before)
        done: list[Finding] = []
        for finding in found:
            became: list[Done] = []

            def work(one: Finding = finding, told: list[Done] = became) -> None:
                told.append(quarantine(self._store, one, int(time.time())))

            with contextlib.suppress(BiaoshiError):  # a read-only store: reported all the same
                await self._between(work)
            what = became[0] if became else Done.NOTHING
            if what is Done.MENDED:
                log.error("row_mended", key=finding.name(), why=finding.why)
                finding = finding.mended()
                self._metrics.rows_mended.inc()
            else:
                log.error("row_quarantined", key=finding.name(), why=finding.why, aside=bool(what))
            done.append(finding)
        if found:
            self._count()
        return done

    def _count(self) -> None:
        with self._store.snapshot() as state:
            self._metrics.rows_quarantined.set(state.count(Table.QUARANTINE))
