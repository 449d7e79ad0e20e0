"""Registering a file: rows in, acknowledged results out, in order and resumable.

`run` reads ahead while a chunk is being written. Where the changes go is a sink's business:
a node's folder (resolver.registering.local) or its address (resolver.registering.remote).
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from protocol.change import Change
from protocol.errors import SettingsError
from registry.imports import Item

CHUNK_ROWS = 1_000
CHUNK_BYTES = 4 << 20
AHEAD = 2
"""Chunks on their way while the next one is read."""
REFUSED = "refused"
REPLACED = "replaced"
"""The record is another than before; of a batch file's DELETE: it is gone."""
SHOWN = 5
"""Refusals shown when there is no results file."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row."""

    line: int
    handle: bytes
    status: str
    version: int | None = None
    sequence: int | None = None
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """The line of the results file; error is null where there is none."""
        shape: dict[str, Any] = {
            "line": self.line,
            "handle": self.handle.decode("utf-8", "replace"),
            "status": self.status,
        }
        if self.version:
            shape["version"] = self.version
        if self.sequence is not None:
            shape["sequence"] = self.sequence
        shape["error"] = self.error
        return shape


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way."""

    line: int
    change: Change


class Sink(Protocol):
    """Where changes go. Used by one thread at a time."""

    def prepare(self, change: Change) -> Change:
        """Done while reading, beside the writing of earlier rows: signing, for instance."""

    def send(self, rows: Sequence[Row]) -> list[Result]:
        """Write the rows; a result a row, in order. What it returned is durable."""


@dataclass(slots=True)
class Summary:
    """What a run came to."""

    started: float
    rows: int = 0
    skipped: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    refusals: list[Result] = field(default_factory=list)

    def count(self, result: Result) -> None:
        self.rows += 1
        self.counts[result.status] += 1
        if result.status == REFUSED and len(self.refusals) < SHOWN:
            self.refusals.append(result)

    def shape(self) -> dict[str, Any]:
        """For --json."""
        return {
            "rows": self.rows,
            "skipped": self.skipped,
            **{status: self.counts[status] for status in sorted({*self.counts, *_ALWAYS})},
            "seconds": round(self.seconds, 3),
            "per_second": round(self.rows / self.seconds) if self.seconds else 0,
        }


_ALWAYS = ("created", "unchanged", REPLACED, REFUSED)


class Results:
    """The results file: one JSON object a row, written once the row is acknowledged."""

    def __init__(self, file: BinaryIO | None, last: int = 0) -> None:
        self._file = file
        self.last = last
        """Line of the last row acknowledged by an earlier run."""

    @classmethod
    def open(cls, path: Path | None, *, resume: bool) -> Self:
        """Raises SettingsError. resume: keep what is there and continue after it."""
        if path is None:
            if resume:
                raise SettingsError("--resume needs the results file of the earlier run: --results")
            return cls(None)
        try:
            if not resume or not path.exists():
                return cls(path.open("wb"))
            last, end = _last_line(path)
            file = path.open("r+b")
            file.truncate(end)
            file.seek(end)
            return cls(file, last)
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror}") from None

    def write(self, results: Iterable[Result]) -> None:
        """Append acknowledged results; they are in the file when this returns."""
        if self._file is None:
            return
        for result in results:
            self._file.write(json.dumps(result.row(), ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _last_line(path: Path) -> tuple[int, int]:
    """The last row of a results file and the offset after it; a torn last line is left out."""
    last, end = 0, 0
    with path.open("rb") as file:
        for raw in file:
            try:
                last = int(json.loads(raw)["line"])
            except (ValueError, KeyError, TypeError):
                if raw.endswith(b"\n"):
                    raise SettingsError(
                        f"{path} is no results file: {raw[:60]!r}; name the one of the earlier run"
                    ) from None
                break
            end += len(raw)
    return last, end


@dataclass(slots=True)
class _Chunk:
    """Rows and refusals of reading, in the order of lines."""

    slots: list[Row | Result] = field(default_factory=list)
    size: int = 0

    def add(self, slot: Row | Result) -> None:
        self.slots.append(slot)
        if isinstance(slot, Row):
            self.size += sum(len(value.data) + 64 for value in slot.change.values)

    @property
    def full(self) -> bool:
        return len(self.slots) >= CHUNK_ROWS or self.size >= CHUNK_BYTES


def run(
    items: Iterable[Item],
    sink: Sink,
    results: Results,
    progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Send every row, write every result. progress: told how many rows were acknowledged.

    Errors of the sink end the run; what was acknowledged before is in the results file.
    """
    summary = Summary(clock())
    waiting: deque[Future[list[Result]]] = deque()

    def settle(most: int) -> None:
        while len(waiting) > most:
            done = waiting.popleft().result()
            results.write(done)
            for result in done:
                summary.count(result)
            if progress is not None:
                progress(len(done))

    with ThreadPoolExecutor(1, thread_name_prefix="register") as thread:
        try:
            for chunk in _chunks(items, sink, results.last, summary):
                waiting.append(thread.submit(_send, sink, chunk.slots))
                settle(AHEAD)
            settle(0)
        finally:
            for one in waiting:
                one.cancel()
    summary.seconds = max(1e-6, clock() - summary.started)
    return summary


def _chunks(items: Iterable[Item], sink: Sink, after: int, summary: Summary) -> Iterator[_Chunk]:
    chunk = _Chunk()
    for item in items:
        if item.line <= after:
            summary.skipped += 1
            continue
        if item.change is None:
            chunk.add(Result(item.line, item.handle, REFUSED, error=item.error))
        else:
            chunk.add(Row(item.line, sink.prepare(item.change)))
        if chunk.full:
            yield chunk
            chunk = _Chunk()
    if chunk.slots:
        yield chunk


def _send(sink: Sink, slots: Sequence[Row | Result]) -> list[Result]:
    rows = [slot for slot in slots if isinstance(slot, Row)]
    sent = iter(sink.send(rows) if rows else [])
    return [slot if isinstance(slot, Result) else next(sent) for slot in slots]
