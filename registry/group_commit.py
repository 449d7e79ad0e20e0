"""The queue before the writer: what waits is coalesced, so that many submissions share one
transaction and one sync.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from protocol.change import Change
from protocol.errors import BiaoshiError, ReadOnly, ServerBusy
from registry.notes import Note
from registry.writer import Outcome, Submission, Writer


@dataclass(slots=True)
class _Waiting:
    """A submission in the queue and who waits for it."""

    submission: Submission
    done: asyncio.Future[list[Outcome]]


class GroupCommit:
    """The queue before the writer: one transaction takes all that waits.

    Submissions of one source keep their order; sources take turns. The commit runs in a thread
    of its own, so the event loop goes on.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        queue_changes: int = 20_000,
        group_changes: int = 2_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """queue_changes: that may wait. group_changes: in one transaction, about. now: seconds."""
        self._writer = writer
        self._queue_changes = queue_changes
        self._group_changes = group_changes
        self._now = now
        self._sources: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        self._waiting = 0
        self._rate = 2_000.0
        self._running: asyncio.Task[None] | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")

    @property
    def waiting(self) -> int:
        """Changes in the queue."""
        return self._waiting

    async def submit(
        self, changes: Sequence[Change], atomic: bool = False, *, source: Hashable = None
    ) -> list[Outcome]:
        """One outcome a change, in order; durable once it returns.

        source: who submits, for fairness. Raises ServerBusy with the time to retry after,
        ReadOnly or StoreError.
        """
        if self._closed:
            raise ReadOnly("this node is stopping and takes no more changes; try again later")
        if self._waiting and self._waiting + len(changes) > self._queue_changes:
            seconds = min(30.0, max(0.1, self._waiting / self._rate))
            raise ServerBusy(
                f"{self._waiting} changes wait already; try again in {seconds:.1f} s", seconds
            )
        step = len(changes) if atomic else self._group_changes
        waits = [
            self._enqueue(Submission(changes[at : at + step], atomic), source)
            for at in range(0, len(changes), max(1, step))
        ]
        return [outcome for wait in waits for outcome in await wait]

    async def keep(self, notes: Sequence[Note]) -> bool:
        """As Writer.keep(), between two groups."""
        if self._closed:
            raise ReadOnly("this node is stopping and takes no more changes; try again later")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._writer.keep, notes)

    def _enqueue(self, submission: Submission, source: Hashable) -> asyncio.Future[list[Outcome]]:
        done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        key = object() if source is None else source
        self._sources.setdefault(key, deque()).append(_Waiting(submission, done))
        self._waiting += len(submission.changes)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while group := self._take():
                started = self._now()
                submissions = [one.submission for one in group]
                results = await loop.run_in_executor(self._thread, self._commit, submissions)
                for one, result in zip(group, results, strict=True):
                    _settle(one.done, result)
                took = max(1e-4, self._now() - started)
                rate = sum(len(one.changes) for one in submissions) / took
                self._rate = 0.8 * self._rate + 0.2 * rate
        finally:
            self._running = None

    def _take(self) -> list[_Waiting]:
        """The next group: one submission of each source in turn, until it is large enough."""
        group: list[_Waiting] = []
        size = 0
        while self._sources and size < self._group_changes:
            source, queue = self._sources.popitem(last=False)
            one = queue.popleft()
            if queue:
                self._sources[source] = queue
            self._waiting -= len(one.submission.changes)
            if one.done.cancelled():
                continue
            group.append(one)
            size += len(one.submission.changes)
        return group

    def _commit(self, submissions: Sequence[Submission]) -> list[list[Outcome] | Exception]:
        """In the writer's thread. A fault of ours in one submission does not spoil the others."""
        try:
            return list(self._writer.commit_all(submissions))
        except BiaoshiError as error:
            return [error] * len(submissions)
        except Exception as error:  # noqa: BLE001 - reported to who submitted it
            if len(submissions) == 1:
                return [error]
            return [self._commit([one])[0] for one in submissions]

    async def between(self, work: Callable[[], None]) -> None:
        """Do something with the store in the writer's thread, when no commit is under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Take no more; finish what waits."""
        self._closed = True
        while self._running is not None:
            await self._running
        self._thread.shutdown()


def _settle(done: asyncio.Future[list[Outcome]], result: list[Outcome] | Exception) -> None:
    if done.cancelled():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
