"""The Store promise on LMDB: a memory-mapped file, copy on write, one writer.

Default sync mode only: a commit returns after fdatasync, so apply() is durable. Readers are
other processes on the same file. A process may open a store once; the writer reads through the
same object.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

import lmdb

from protocol.errors import ReadOnly, StoreError, StoreFull
from registry.store import Table, Write
from registry.store.place import (
    MOUNTS,
    Ballast,
    WriterLock,
    require_suitable,
    sync_folder,
    sync_tree,
)

FORMAT = 2
"""The store format this program writes. What each one is, and the way up: registry.migrate."""
FORMAT_KEY = b"format"
STORE_ID_KEY = b"store-id"
MAP_BYTES = 1 << 40
"""Upper bound of the file before the map must grow. The file is sparse: it costs nothing."""
MAX_READERS = 1024
RESERVE_BYTES = 64 << 20
"""Disk space kept free: below it only changes that add no record are written."""
RECLAIM_EVERY_S = 1.0
"""A reader that died keeps pages until somebody looks: as many as are written meanwhile."""

_FILLING = frozenset((Table.RECORDS, Table.EVENTS))
"""Tables that writes to are refused first when the disk is full."""
_LEAST_MAP = 1 << 26
_MAX_KEY = 511
_ROOM = 4
"""A transaction copies the pages it touches: octets on disk per octet given, as a bound."""


def create(path: Path, *, map_bytes: int = MAP_BYTES, mounts: Path = MOUNTS) -> None:
    """Make an empty store: built aside, made durable, then renamed into place.

    path: the folder, which must not exist. Raises StoreError.
    """
    if path.exists():
        raise StoreError(f"{path} exists already; open it, or give another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    require_suitable(path.parent, mounts)
    aside = path.with_name(f".{path.name}.new-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    try:
        env = _environment(aside, map_bytes=map_bytes, readonly=False)
        try:
            tables = {table: env.open_db(table.encode()) for table in Table}
            with env.begin(tables[Table.META], write=True) as txn:
                txn.put(FORMAT_KEY, b"%d" % FORMAT)
                txn.put(STORE_ID_KEY, os.urandom(16))
        finally:
            env.close()
        sync_tree(aside)
        aside.rename(path)
        sync_folder(path.parent)
    except (OSError, lmdb.Error) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StoreError(f"cannot make a store at {path}: {error}") from error


def _environment(path: Path, *, map_bytes: int, readonly: bool) -> lmdb.Environment:
    """Open the files, with the largest map up to `map_bytes` that the platform permits."""
    size = map_bytes
    while True:
        try:
            return lmdb.Environment(
                str(path),
                map_size=size,
                readonly=readonly,
                create=False,
                mode=0o700,
                max_dbs=len(Table) + 5,
                max_readers=MAX_READERS,
                max_spare_txns=1,
                readahead=False,
            )
        except lmdb.MemoryError:
            if size <= _LEAST_MAP:
                raise
        except lmdb.Error as error:
            if getattr(error, "code", 0) != errno.ENOMEM or size <= _LEAST_MAP:
                raise
        size //= 4


class LmdbSnapshot:
    """One consistent state: a read transaction. Bytes it gives are copies."""

    __slots__ = ("_dbs", "_txn")

    def __init__(self, txn: lmdb.Transaction[bytes], dbs: dict[Table, Any]) -> None:
        self._txn = txn
        self._dbs = dbs

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row under a key, or None."""
        if not 0 < len(key) <= _MAX_KEY:
            return None
        return self._txn.get(key, None, self._dbs[table])

    def getter(self, table: Table) -> Callable[[bytes], bytes | None]:
        """get() of one table as a function: a third cheaper than a transaction a read."""
        get, db = self._txn.get, self._dbs[table]
        return lambda key: get(key, None, db) if 0 < len(key) <= _MAX_KEY else None

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order."""
        with self._txn.cursor(self._dbs[table]) as cursor:
            if limit == 0 or not (cursor.set_range(start) if start else cursor.first()):
                return
            for at, (key, value) in enumerate(cursor):
                if (stop is not None and key >= stop) or (limit is not None and at >= limit):
                    return
                yield key, value

    def scan_back(
        self, table: Table, start: bytes, stop: bytes, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, the greatest key first."""
        with self._txn.cursor(self._dbs[table]) as cursor:
            found = cursor.prev() if cursor.set_range(stop) else cursor.last()
            at = 0
            while found and cursor.key() >= start and at != limit:
                yield cursor.item()
                found = cursor.prev()
                at += 1

    def last(self, table: Table) -> tuple[bytes, bytes] | None:
        """The row with the greatest key."""
        with self._txn.cursor(self._dbs[table]) as cursor:
            return cursor.item() if cursor.last() else None

    def count(self, table: Table) -> int:
        """How many rows a table has."""
        return int(self._txn.stat(self._dbs[table])["entries"])


class LmdbStore:
    """A store in a folder: data.mdb, lock.mdb, writer.lock. See registry.store.Store."""

    def __init__(
        self,
        path: Path,
        *,
        readonly: bool,
        map_bytes: int = MAP_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        now: Callable[[], float] = time.monotonic,
        mounts: Path = MOUNTS,
        any_format: bool = False,
        ballast_bytes: int = 0,
    ) -> None:
        """Open an existing store; use `open`. now: a monotonic clock, in seconds.

        any_format: whatever format it has, for migrations. ballast_bytes: a file of this size lies
        beside the store and is given up when the disk is full, so that deleting still works.
        """
        if not (path / "data.mdb").is_file():
            if path.with_name(f"{path.name}.migrating").exists():
                raise StoreError(
                    f"the migration of {path} was broken off at its end; "
                    f"run `biaoshi migrate {path.parent}` again"
                )
            raise StoreError(
                f"there is no store at {path}; `biaoshi init` makes a node's folder, "
                "and a lost store comes back from a backup, never by itself"
            )
        require_suitable(path, mounts)
        self.path = path
        self.readonly = readonly
        self._map_bytes = map_bytes
        self._reserve_bytes = reserve_bytes
        self._ballast = Ballast(path / "ballast", 0 if readonly else ballast_bytes)
        self._now = now
        self._reclaimed_at = now()
        self._broken: str | None = None
        self._growing = RLock()
        self._lock = None if readonly else WriterLock(path / "writer.lock")
        try:
            self._env = _environment(path, map_bytes=map_bytes, readonly=readonly)
            self.format = self._read_format()
            if self.format != FORMAT and not any_format:
                self._refuse_format()
            self._dbs = self._open_tables(lenient=any_format)
        except BaseException as error:
            self._abandon()
            if isinstance(error, lmdb.Error):
                why = str(error).removeprefix(f"{path}: ")
                raise StoreError(
                    f"cannot open the store at {path}: {why}; if it is damaged, restore the "
                    "node's folder from a backup"
                ) from error
            raise

    @classmethod
    def open(cls, path: Path, readonly: bool = False, **options: Any) -> LmdbStore:
        """Open the store in a folder. Raises StoreError; never makes one.

        readonly: for reader processes. Otherwise this process is the one writer.
        """
        return cls(path, readonly=readonly, **options)

    def _read_format(self) -> int:
        main = self._env.open_db(None)
        with self._env.begin(main) as txn:
            if txn.get(Table.META.encode()) is None:
                raise StoreError(f"{self.path} is an LMDB file, but not a store of this program")
        meta = self._env.open_db(Table.META.encode(), create=False)
        with self._env.begin(meta) as txn:
            written = txn.get(FORMAT_KEY)
        return int(written) if written is not None and written.isdigit() else 0

    def _refuse_format(self) -> None:
        if 0 < self.format < FORMAT:
            raise StoreError(
                f"{self.path} has format {self.format}, this program writes {FORMAT}: stop the "
                f"node and run `biaoshi migrate {self.path.parent}` (it keeps a copy)"
            )
        raise StoreError(
            f"{self.path} has format {self.format}, this program knows {FORMAT}: "
            "open it with the release that wrote it"
            + (", or a later one" if self.format > FORMAT else "")
        )

    def _open_tables(self, *, lenient: bool) -> dict[Table, Any]:
        """lenient: an earlier format need not have them all; nothing is made while only reading."""
        found: dict[Table, Any] = {}
        for table in Table:
            try:
                found[table] = self._env.open_db(table.encode(), create=not self.readonly)
            except lmdb.NotFoundError:
                if not lenient:
                    raise
        return found

    def _abandon(self) -> None:
        env = getattr(self, "_env", None)
        if env is not None:
            env.close()
        if self._lock is not None:
            self._lock.release()

    # --- reading

    def getter(self, table: Table) -> Callable[[bytes], bytes | None]:
        """get() of one table with nothing in between.

        begin/get/abort without `with`: 1.61 against 2.29 µs (spec/performance.md §3).
        """
        begin, dbi, again = self._env.begin, self._dbs[table], self._get_again

        def get(key: bytes) -> bytes | None:
            try:
                txn = begin(dbi)
                value = txn.get(key)
                txn.abort()
            except lmdb.Error:
                return again(table, key)
            return value

        return get

    def getter_by_turn(
        self, table: Table, soon: Callable[[Callable[[], None]], object]
    ) -> Callable[[bytes], bytes | None]:
        """getter() whose reads in one turn of an event loop share a transaction.

        soon: calls a function when this turn is over, before the loop waits again (`call_soon`).
        """
        begin, dbi, again = self._env.begin, self._dbs[table], self._get_again
        held: lmdb.Transaction[bytes] | None = None
        read: Callable[[bytes], bytes | None] | None = None

        def end() -> None:
            nonlocal held, read
            over, held, read = held, None, None
            if over is not None:
                over.abort()

        def get(key: bytes) -> bytes | None:
            nonlocal held, read
            try:
                if read is None:
                    held = begin(dbi)
                    read = held.get
                    soon(end)
                return read(key)
            except lmdb.Error:
                return again(table, key)

        return get

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row from the newest state."""
        if not 0 < len(key) <= _MAX_KEY:
            return None
        return self._get_again(table, key)

    def _get_again(self, table: Table, key: bytes) -> bytes | None:
        """The careful path: adopts a map that the writer grew, frees slots of dead readers."""
        if not 0 < len(key) <= _MAX_KEY:
            return None
        with self.snapshot() as state:
            return state.get(table, key)

    @contextmanager
    def snapshot(self) -> Iterator[LmdbSnapshot]:
        """A consistent state for several reads. Never held across a wait."""
        txn = self._begin()
        try:
            yield LmdbSnapshot(txn, self._dbs)
        except lmdb.Error as error:
            raise StoreError(f"cannot read the store at {self.path}: {error}") from error
        finally:
            txn.abort()

    def _begin(self) -> lmdb.Transaction[bytes]:
        for _ in range(3):
            try:
                return self._env.begin()
            except lmdb.MapResizedError:
                with self._growing:
                    self._env.set_mapsize(0)
            except lmdb.ReadersFullError:
                self._env.reader_check()
            except lmdb.PanicError:
                self._reopen()
            except lmdb.Error as error:
                raise StoreError(f"cannot read the store at {self.path}: {error}") from error
        raise StoreError(
            f"cannot begin to read the store at {self.path}: its map keeps growing, or all "
            f"{MAX_READERS} reader slots are taken; stop processes that do not belong to it"
        )

    def _reopen(self) -> None:
        """Read on after LMDB gave its environment up, as it does when the meta page fails."""
        with self._growing:
            self._broken = self._broken or "the database gave up its environment"
            self._env.close()
            self._env = _environment(self.path, map_bytes=self._map_bytes, readonly=True)
            self._dbs = {table: self._env.open_db(table.encode(), create=False) for table in Table}

    # --- writing

    def apply(
        self, writes: Sequence[Write], bare: Mapping[Table, Sequence[bytes]] | None = None
    ) -> None:
        """Write all rows in one durable transaction. bare: keys of rows without a value.

        Raises ReadOnly (a reader, a full disk, or an earlier failed write) or StoreError (this
        write failed: nothing of it is kept, and the store is read-only until opened anew).
        """
        if self.readonly:
            raise ReadOnly(f"the store at {self.path} is open for reading only")
        if self._broken is not None:
            raise ReadOnly(
                f"the store at {self.path} is read-only since a write failed ({self._broken}); "
                "mend the disk, then restart the node"
            )
        tables = _by_table(writes)
        bare = bare or {}
        if not tables and not bare:
            return
        self._require_room(writes)
        self.reclaim_readers()
        with self._growing:
            while True:
                try:
                    self._write(tables, bare)
                    return
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.BadValsizeError as error:
                    raise StoreError(f"a key is empty or above {_MAX_KEY} octets") from error
                except lmdb.Error as error:
                    self._broken = str(error)
                    raise StoreError(
                        f"a write to the store at {self.path} failed: {error}; nothing of it was "
                        "kept and the store is read-only until the node is restarted"
                    ) from error

    def _write(
        self,
        tables: dict[Table, dict[bytes, bytes | None]],
        bare: Mapping[Table, Sequence[bytes]],
    ) -> None:
        txn = self._env.begin(write=True)
        try:
            for table in Table:
                rows = tables.get(table, {})
                puts = [(key, value) for key, value in rows.items() if value is not None]
                db = self._dbs[table]
                if len(puts) < len(rows):
                    for key in [key for key, value in rows.items() if value is None]:
                        txn.delete(key, b"", db)
                puts += [(key, b"") for key in bare.get(table, ())]
                puts.sort()
                if puts:
                    with txn.cursor(db) as cursor:
                        # Appending fills pages wholly: half the file for a growing sequence.
                        append = not cursor.last() or cursor.key() < puts[0][0]
                        cursor.putmulti(puts, append=append)
        except BaseException:
            txn.abort()
            raise
        txn.commit()

    def _grow(self) -> None:
        """Double the map; readers adopt it at their next read."""
        size = int(self._env.info()["map_size"])
        try:
            self._env.set_mapsize(size * 2)
        except lmdb.Error as error:
            self._broken = f"the map of {size} octets is full and cannot grow: {error}"
            raise StoreError(f"{self._broken}; raise `store.map_size_gib`") from error

    def _require_room(self, writes: Sequence[Write]) -> None:
        if not self._reserve_bytes:
            return
        disk = os.statvfs(self.path)
        free = disk.f_bavail * disk.f_frsize
        if free >= self._reserve_bytes + _ROOM * sum(len(w.value or b"") for w in writes):
            return
        self._ballast.give_up(free)
        if any(write.table in _FILLING and write.value is not None for write in writes):
            raise StoreFull(
                f"the disk of {self.path} is full ({free >> 20} MiB left, "
                f"{self._reserve_bytes >> 20} MiB are kept back); free some space. "
                "Reading and deleting still work"
            )

    def reclaim_readers(self) -> int:
        """Free the slots of readers that died, at most once a second; how many were freed."""
        now = self._now()
        if now - self._reclaimed_at < RECLAIM_EVERY_S:
            return 0
        self._reclaimed_at = now
        self._ballast.take(self._reserve_bytes)
        return int(self._env.reader_check())

    def pinned(self) -> dict[int, int]:
        """Process ids of readers that hold an earlier state, and which (its transaction)."""
        newest, found = int(self._env.info()["last_txnid"]), {}
        for line in self._env.readers().splitlines():
            pid, *_, state = line.split() or [""]
            if pid.isdigit() and state.isdigit() and int(state) < newest:
                found[int(pid)] = int(state)
        return found

    # --- care

    @property
    def broken(self) -> str | None:
        """Why the store is read-only; None while it takes writes."""
        return self._broken

    def usage(self) -> dict[str, int]:
        """Octets: of the map, in use, free on the disk; and rows per table."""
        info, disk = self._env.info(), os.statvfs(self.path)
        with self.snapshot() as state:
            rows = {f"rows_{table}": state.count(table) for table in Table}
        page = int(self._env.stat()["psize"])
        return {
            "map_bytes": int(info["map_size"]),
            "used_bytes": (int(info["last_pgno"]) + 1) * page,
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            **rows,
        }

    def copy(self, path: Path) -> None:
        """Write a compact copy of one consistent state into an empty folder."""
        try:
            self._env.copy(str(path), compact=True)
        except lmdb.Error as error:
            raise StoreError(f"cannot copy the store to {path}: {error}") from error

    def check(self) -> list[str]:
        """Walk every table: order of keys, counts, unreadable pages. One line per finding."""
        findings: list[str] = []
        with self.snapshot() as state:
            for table in Table:
                before, rows = None, 0
                try:
                    for key, _ in state.scan(table):
                        rows += 1
                        if before is not None and key <= before:
                            findings.append(f"{table}: key {key!r} is out of order")
                        before = key
                    counted = state.count(table)
                    if counted != rows:
                        findings.append(f"{table}: {rows} rows found, {counted} counted")
                except lmdb.Error as error:
                    findings.append(f"{table}: unreadable after {rows} rows: {error}")
        return findings

    def close(self) -> None:
        """Release the files and the writer's lock."""
        self._abandon()


def _by_table(writes: Sequence[Write]) -> dict[Table, dict[bytes, bytes | None]]:
    """The last row given for each key, table by table."""
    tables: dict[Table, dict[bytes, bytes | None]] = {}
    for table, key, value in writes:
        tables.setdefault(table, {})[key] = value
    return tables
