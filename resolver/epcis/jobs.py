"""Capture jobs: taken durably, done in the background, kept with their result (§3.3).

A job and its document are written before the 202. A reader that starts takes up the jobs it had
not finished: events are captured once, so that doing a part again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from protocol.change import Change
from protocol.epcis.document import Document
from protocol.epcis.moment import format_time_us
from protocol.errors import BiaoshiError, ServerBusy
from protocol.record import Reference
from registry.alter import REFUSED
from registry.events.capture import node_event_signer
from registry.events.index import EventIndex
from registry.notes import Note, encode_note, notes, raw_note, read_note
from registry.store import Snapshot, Store
from registry.writer import Outcome
from resolver.epcis import problems
from resolver.epcis.taking import Sender, Taken, read_body, take_events

if TYPE_CHECKING:
    from resolver.node import Node

log = structlog.get_logger()

JOBS: Final = b"epcis/job/"
DOCUMENTS: Final = b"epcis/doc/"
ROLLBACK: Final = "rollback"
PROCEED: Final = "proceed"
BEHAVIOURS: Final = (ROLLBACK, PROCEED)
PORTION: Final = 500
MOST_ERRORS: Final = 100
AT_ONCE: Final = 2
SMALL: Final = 20
"""Events of a capture that is mostly finished before its 202: the sender waits SMALL_S at most."""
SMALL_S: Final = 2.0
Answer = TypeVar("Answer")
KEPT_US: Final = 30 * 86_400 * 1_000_000
_EXPIRED_AT_ONCE: Final = 20
_NOT_ITSELF: Final = "not done:"
"""How the writer begins the reason of changes that were refused for another one's sake."""


@dataclass(frozen=True, slots=True)
class Job:
    """A capture job. Times: microseconds since 1970. reader: which of the node's works at it."""

    id: str
    owner: str
    reader: int
    created_us: int
    behaviour: str
    media: str
    events: int
    prefix: bytes | None
    memberships: list[list[Any]]
    label: dict[str, Any] | None
    finished_us: int | None = None
    success: bool = True
    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def key(self) -> bytes:
        return JOBS + self.id.encode()

    def note(self, *, new: bool = False) -> Note:
        """The job as it is kept."""
        return Note(self.key(), encode_note(asdict(self)), new)

    def shape(self) -> dict[str, Any]:
        """The job as the standard shows it."""
        shape: dict[str, Any] = {
            "captureID": self.id,
            "createdAt": format_time_us(self.created_us),
            "running": self.finished_us is None,
            "success": self.success,
            "captureErrorBehaviour": self.behaviour,
            "errors": self.errors,
        }
        if self.finished_us is not None:
            shape["finishedAt"] = format_time_us(self.finished_us)
        if self.warnings:
            shape["warnings"] = self.warnings
        return shape

    def sender(self) -> Sender:
        """For whom it captures."""
        lists = tuple(Reference(handle, index) for handle, index in self.memberships)
        return Sender(Reference.parse(self.owner), self.prefix, lists, self.label)


def read_job(state: Snapshot, id_: str) -> Job | None:
    """The job of an id."""
    fields = read_note(state, JOBS + id_.encode())
    return None if fields is None else Job(**fields)


def newest_jobs(state: Snapshot, before: str = "") -> Iterator[Job]:
    """Jobs, the newest first. before: only those older than this id."""
    for _, fields in notes(state, JOBS, before=before.encode(), back=True):
        yield Job(**fields)


class Jobs:
    """The jobs of one reader."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._signer = node_event_signer(node.keys, node.prefix)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def add(self, job: Job, body: bytes, document: Document) -> None:
        """Keep a job and its document durably, and begin. Raises ServerBusy, ReadOnly.

        A small one is waited for a moment: whoever asks next finds its events. document: what was read of the body.
        """
        if len(self._tasks) >= self._node.settings.limits.captures:
            raise ServerBusy(f"{len(self._tasks)} captures wait already; try again in a moment")
        kept = Note(DOCUMENTS + job.id.encode(), body)
        await self._node.writer.keep([job.note(new=True), kept, *self._expired()])
        task = self._begin(job, document)
        if job.events <= SMALL:
            await asyncio.wait([task], timeout=SMALL_S)

    def resume(self) -> None:
        """Begin again with what this reader had not finished when it ended."""
        node = self._node
        with node.store.snapshot() as state:
            found = [key.decode() for key, _ in _waiting(state)]
            jobs = [job for id_ in found if (job := read_job(state, id_)) is not None]
        for job in jobs:
            mine = job.reader == node.number or (node.number == 0 and job.reader >= node.readers)
            if mine and job.finished_us is None and job.id not in self._tasks:
                self._begin(job)

    async def close(self) -> None:
        """Stop; what is not finished is taken up by the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, job: Job, document: Document | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(job, document))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        return task

    async def _run(self, job: Job, document: Document | None) -> None:
        try:
            async with self._turn:
                done = await self._do(job, document)
            await self._finish(done)
        except BiaoshiError as error:
            # The document is still kept: the next start takes the job up again.
            log.warning("capture_stopped", job=job.id, why=str(error))

    async def _finish(self, job: Job) -> None:
        job = replace(job, finished_us=int(self._node.now() * 1_000_000))
        rows = [job.note(), Note(DOCUMENTS + job.id.encode(), None)]
        await _patiently(lambda: self._node.writer.keep(rows))

    async def _do(self, job: Job, document: Document | None) -> Job:
        """Capture the events; the job with its result. document: None: read it again."""
        try:
            taken = await asyncio.to_thread(self._take, job, document)
        except BiaoshiError as error:  # it was read before; only another release would not
            return replace(job, success=False, errors=[problems.shape_of(error)])
        warnings = [line for one in taken for line in one.warnings][:MOST_ERRORS]
        job = replace(job, warnings=warnings)
        errors = [one.problem for one in taken if one.problem is not None]
        changes = [one.change for one in taken if one.change is not None]
        if job.behaviour == ROLLBACK:
            if not errors and changes:
                errors = _problems(await self._submit(changes, atomic=True))
        else:
            for at in range(0, len(changes), PORTION):
                portion = changes[at : at + PORTION]
                errors += _problems(await self._submit(portion, atomic=False))
        return replace(job, success=not errors, errors=errors[:MOST_ERRORS])

    def _take(self, job: Job, document: Document | None) -> list[Taken]:
        if document is None:
            with self._node.store.snapshot() as state:
                body = raw_note(state, DOCUMENTS + job.id.encode())
            document = read_body(body or b"", job.media)
        valid, now_us = job.behaviour == ROLLBACK, int(self._node.now() * 1_000_000)
        sender = replace(job.sender(), earlier=earlier_label(self._node.store))
        return list(take_events(document, sender, self._signer, now_us, valid=valid))

    async def _submit(self, changes: list[Change], *, atomic: bool) -> list[Outcome]:
        writer = self._node.writer
        return await _patiently(lambda: writer.submit(changes, atomic=atomic))

    def _expired(self) -> list[Note]:
        """The notes that forget the oldest jobs, a few at a time."""
        before_us = int(self._node.now() * 1_000_000) - KEPT_US
        made: list[Note] = []
        with self._node.store.snapshot() as state:
            for key, fields in notes(state, JOBS, limit=_EXPIRED_AT_ONCE):
                if fields["created_us"] > before_us:
                    break
                if fields["finished_us"] is not None:
                    made.append(Note(JOBS + key, None))
        return made


def _waiting(state: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    """Ids of the jobs whose document is still kept."""
    from registry.notes import PREFIX
    from registry.store import Table

    start = PREFIX + DOCUMENTS
    for key, _ in state.scan(Table.SECONDARY, start, start[:-1] + b"0"):
        yield key[len(start) :], b""


def earlier_label(store: Store) -> Callable[[str], dict[str, Any] | None]:
    """What finds the label of the event that has an eventID."""

    def find(event_id: str) -> dict[str, Any] | None:
        with store.snapshot() as state:
            index = EventIndex(state)
            rows = (index.row(sequence) for sequence in index.by_event_id(event_id))
            label = next((row.label for row in rows if row is not None), None)
        return None if label is None else dict(label)

    return find


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """What a coroutine function gives, asked again while the writer is busy or starting."""
    while True:
        try:
            return await ask()
        except ServerBusy as busy:
            with contextlib.suppress(TimeoutError):
                await asyncio.sleep(min(5.0, max(0.05, busy.retry_after_s)))


def _problems(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """The entries of refused events, without those that were refused for another's sake."""
    refused = [one for one in outcomes if one.status == REFUSED]
    return [
        problem_of(one) for one in refused if not (one.error or "").startswith(_NOT_ITSELF)
    ] or [problem_of(one) for one in refused[:1]]


def problem_of(outcome: Outcome) -> dict[str, Any]:
    """A refused event as a problem."""
    status, name = _REFUSALS.get(outcome.reason or "", (400, "ValidationException"))
    made = problems.shape(status, name, outcome.error or "refused")
    return made | {"instance": f"eventID:{outcome.handle.decode('utf-8', 'replace')}"}


_REFUSALS: Final = {
    "HandleExists": (409, "ResourceAlreadyExistsException"),
    "NotAuthorized": (403, "SecurityException"),
    "StoreError": (500, "ImplementationException"),
}
