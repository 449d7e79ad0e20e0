"""The memory that the readers of a node share for HTTP sessions and failed proofs.

A small LMDB file in DIR/run, written without sync: it outlives a reader, not the machine's next
start (its name holds the boot's id, so no half-written file is ever opened). It keeps digests of
session ids, no secret of an identity. Why so: docs/adr/0011-http-sessions.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any, Final

import lmdb
import msgpack

from protocol.errors import ServerBusy, StoreError

_MAP_BYTES: Final = 128 * 1024 * 1024
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SECRET: Final = b"k"
_SESSION: Final = b"s"
_FAILURES: Final = b"f"
_TIME: Final = Struct(">d")
_MAX_FAILURE_ROWS: Final = 65_536
_SWEEP_S: Final = 30.0


class SessionTable:
    """Rows with an end; every reader process opens its own view after it was forked."""

    def __init__(self, run: Path, *, now: Callable[[], float], max_sessions: int) -> None:
        """run: the node's DIR/run. now: seconds since 1970."""
        self._now = now
        self._max_sessions = max_sessions
        self._swept = now()
        path = run / f"http-sessions-{_boot()}"
        for old in run.glob("http-sessions-*"):
            if not old.name.startswith(path.name):
                with contextlib.suppress(FileNotFoundError):
                    old.unlink()
        try:
            self._env = lmdb.open(
                str(path), subdir=False, map_size=_MAP_BYTES, sync=False, metasync=False, mode=0o600
            )
        except lmdb.Error as error:
            raise StoreError(
                f"the session table {path} cannot be opened: {error}; remove it"
            ) from None

    def close(self) -> None:
        """Let go of the file."""
        self._env.close()

    def secret(self, fresh: bytes) -> bytes:
        """The secret that all readers share: what the first of them brought."""
        with self._writing() as rows:
            found = rows.get(_SECRET)
            if found is None:
                rows.put(_SECRET, fresh)
                return fresh
            return bytes(found)

    def session(self, session_id: bytes) -> list[Any] | None:
        """What was kept for a session; None when there is nothing or its time is over."""
        with self._env.begin() as rows:
            found = rows.get(_SESSION + _digest(session_id))
        return self._living(found)

    def change_session(
        self,
        session_id: bytes,
        change: Callable[[list[Any] | None], list[Any] | None],
        until: float,
    ) -> None:
        """Replace a session's fields in one step against all other readers.

        change: from the old fields (None: none) to the new ones; None leaves all as it is. until:
        when the row may go. Raises ServerBusy when the table is full.
        """
        key = _SESSION + _digest(session_id)
        with self._writing() as rows:
            old = self._living(rows.get(key))
            new = change(old)
            if new is None:
                return
            if old is None and self._is_full(rows):
                raise ServerBusy("too many open sessions; end one or try again later")
            rows.put(key, _TIME.pack(until) + msgpack.packb(new))

    def take_attempt(self, allowances: Sequence[tuple[bytes, int]]) -> float:
        """Take one attempt from each allowance: a key and how many a minute it has.

        0.0: taken. Else none was taken; the seconds until there is one again.
        """
        now, wait = self._now(), 0.0
        with self._writing() as rows:
            left = [self._left(rows, key, per_minute) for key, per_minute in allowances]
            for count, (_, per_minute) in zip(left, allowances, strict=True):
                wait = max(wait, (1.0 - count) * 60.0 / per_minute)
            if wait > 0:
                return wait
            for count, (key, _) in zip(left, allowances, strict=True):
                self._put_left(rows, key, count - 1.0, now)
            return 0.0

    def give_attempt_back(self, allowances: Sequence[tuple[bytes, int]]) -> None:
        """The attempt was no failure."""
        now = self._now()
        with self._writing() as rows:
            for key, per_minute in allowances:
                left = self._left(rows, key, per_minute) + 1.0
                if left >= per_minute:
                    rows.delete(_FAILURES + _digest(key))
                else:
                    self._put_left(rows, key, left, now)

    def forgive(self, key: bytes) -> None:
        """Forget the failures of one allowance: its owner proved who it is."""
        with self._writing() as rows:
            rows.delete(_FAILURES + _digest(key))

    def count(self) -> int:
        """How many sessions are kept."""
        with self._env.begin() as rows:
            return sum(1 for _ in _keys(rows, _SESSION))

    def _left(self, rows: Any, key: bytes, per_minute: int) -> float:
        fields = self._living(rows.get(_FAILURES + _digest(key)))
        if fields is None:
            return float(per_minute)
        passed = max(0.0, self._now() - fields[1])
        return float(min(per_minute, fields[0] + passed * per_minute / 60.0))

    def _put_left(self, rows: Any, key: bytes, left: float, now: float) -> None:
        row = _TIME.pack(now + 60.0) + msgpack.packb([left, now])
        rows.put(_FAILURES + _digest(key), row)

    def _living(self, row: bytes | None) -> list[Any] | None:
        if row is None or _TIME.unpack_from(row)[0] < self._now():
            return None
        fields: list[Any] = msgpack.unpackb(row[_TIME.size :])
        return fields

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            with self._env.begin(write=True) as rows:
                if self._now() - self._swept > _SWEEP_S:
                    self._sweep(rows)
                yield rows
        except lmdb.Error as error:
            raise ServerBusy(f"the session table takes nothing now: {error}") from None

    def _sweep(self, rows: Any) -> None:
        """Drop what is over; all failures when there are too many sources to follow."""
        self._swept = now = self._now()
        for kind in (_SESSION, _FAILURES):
            over = [key for key, row in _rows(rows, kind) if _TIME.unpack_from(row)[0] < now]
            for key in over:
                rows.delete(key)
        failures = list(_keys(rows, _FAILURES))
        if len(failures) > _MAX_FAILURE_ROWS:
            for key in failures:
                rows.delete(key)

    def _is_full(self, rows: Any) -> bool:
        # Counting all keys is one field of the tree's head; the few that are no sessions do not
        # matter for a limit of this kind.
        if rows.stat()["entries"] < self._max_sessions:
            return False
        self._sweep(rows)
        return sum(1 for _ in _keys(rows, _SESSION)) >= self._max_sessions


def _rows(rows: Any, kind: bytes) -> Iterator[tuple[bytes, bytes]]:
    cursor = rows.cursor()
    if cursor.set_range(kind):
        for key, row in cursor:
            if not key.startswith(kind):
                return
            yield key, row


def _keys(rows: Any, kind: bytes) -> Iterator[bytes]:
    return (key for key, _ in _rows(rows, kind))


def _digest(text: bytes) -> bytes:
    return sha256(text).digest()[:16]


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
