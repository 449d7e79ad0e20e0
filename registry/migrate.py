"""Store formats: what each was, and the way from an earlier one to this one.

format 1  records, ready bodies, log; trees and NAPTR rows only where a later release wrote them
format 2  every leaf in the tree, a NAPTR row for each name in DNS, a table for quarantined rows

A migration works on a copy, in portions that note how far they came: broken off at any point it
goes on there. At its end the copy takes the store's place, and the earlier store stays beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from protocol.change import pack, unpack
from protocol.errors import ParseError, StoreError
from protocol.record import Record
from registry import tree
from registry.check import check_node
from registry.store import Store, Table, Write
from registry.store.lmdb_store import FORMAT, FORMAT_KEY, STORE_ID_KEY, LmdbStore
from registry.store.place import WriterLock, sync_folder, sync_tree
from registry.store.row import decode_row, decode_values_of, rows

ASIDE: Final = "store.migrating"
PROGRESS_KEY: Final = b"migrating"
"""Row of the meta table of a copy under way: the step and the last key done."""
PORTION: Final = 1_000

Said = Callable[[str], None]


def migrate(
    folder: Path, *, signer: tree.LogSigner | None, map_bytes: int, say: Said = lambda _: None
) -> tuple[int, Path] | None:
    """Bring the store of a stopped node to this format; the earlier one and where it is kept.

    signer: of the log's checkpoints; None at a mirror. None when there is nothing to do. Raises
    StoreError.
    """
    store, aside = folder / "store", folder / ASIDE
    if not store.exists() and aside.exists():  # broken off between the two renames
        found = next(folder.glob("store.format*"), None)
        _take_place(folder, None)
        return None if found is None else (int(found.suffix.removeprefix(".format")), found)
    lock = WriterLock(store / "writer.lock")
    source = None
    try:
        source = LmdbStore.open(store, readonly=True, map_bytes=map_bytes, any_format=True)
        before = source.format
        if before == FORMAT:
            shutil.rmtree(aside, ignore_errors=True)
            return None
        require_known(store, before)
        _copy(source, aside, map_bytes, say)
        copy = LmdbStore.open(aside, map_bytes=map_bytes, any_format=True)
        try:
            upgrade(copy, signer, say)
        finally:
            copy.close()
        sync_tree(aside)
        return before, _take_place(folder, before)
    finally:
        if source is not None:
            source.close()
        lock.release()


def require_known(path: Path, found: int) -> None:
    """Raise StoreError for a format that there is no way from."""
    if found > FORMAT or found < 1:
        raise StoreError(
            f"{path} has format {found}, this program knows {FORMAT}: use the release that wrote "
            "it, or a later one"
        )


def upgrade(store: LmdbStore, signer: tree.LogSigner | None, say: Said = lambda _: None) -> None:
    """Bring an open store to this format, where it is. Raises StoreError: it does not add up."""
    if store.format == FORMAT:
        return
    require_known(store.path, store.format)
    say(f"format {store.format} to {FORMAT}: the tree of the log")
    tree.complete(store, signer)
    _remake(store, say)
    findings = check_node(store, most=3, signer=signer)
    if findings:
        raise StoreError(f"the migrated store does not add up: {'; '.join(findings)}")
    store.apply(
        [Write(Table.META, FORMAT_KEY, b"%d" % FORMAT), Write(Table.META, PROGRESS_KEY, None)]
    )


def _remake(store: LmdbStore, say: Said) -> None:
    """Every row that is made of a record, written anew where it is missing or of another layout."""
    at, done = _progress(store), 0
    while True:
        with store.snapshot() as state:
            found = list(state.scan(Table.RECORDS, at + b"\0" if at else b"", limit=PORTION))
            writes = [
                write
                for _, raw in found
                for write in _made(raw)
                if state.get(write.table, write.key) != write.value
            ]
        if not found:
            return
        at = found[-1][0]
        store.apply([*writes, Write(Table.META, PROGRESS_KEY, pack({"after": at}))])
        done += len(found)
        say(f"{done} records")


def _made(raw: bytes) -> Iterator[Write]:
    row = decode_row(raw)
    yield from rows(Record(row.name, decode_values_of(row)), row.version, row.time)


def _progress(store: Store) -> bytes:
    raw = store.get(Table.META, PROGRESS_KEY)
    try:
        return bytes(unpack(raw)["after"]) if raw is not None else b""
    except (ParseError, KeyError, TypeError):
        return b""


def _copy(source: LmdbStore, aside: Path, map_bytes: int, say: Said) -> None:
    """The copy to work on: the one of a migration that was broken off, if it is of this store."""
    if (aside / "data.mdb").is_file() and _same(source, aside, map_bytes):
        say("going on where the last migration was broken off")
        return
    shutil.rmtree(aside, ignore_errors=True)
    part = aside.with_name(f"{ASIDE}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    say("copying the store")
    source.copy(part)
    sync_tree(part)
    part.rename(aside)
    sync_folder(aside.parent)


def _same(source: LmdbStore, aside: Path, map_bytes: int) -> bool:
    """Whether an earlier copy is of this store as it is now."""
    try:
        copy = LmdbStore.open(aside, map_bytes=map_bytes, any_format=True)
    except StoreError:
        return False
    try:
        return all(
            copy.get(Table.META, name) == source.get(Table.META, name)
            for name in (STORE_ID_KEY, b"sequence")
        )
    finally:
        copy.close()


def _take_place(folder: Path, before: int | None) -> Path:
    """The copy becomes the store; the earlier one is kept beside it."""
    kept = folder / f"store.format{before}"
    if before is not None:
        number = 1
        while kept.exists():
            number += 1
            kept = folder / f"store.format{before}-{number}"
        (folder / "store").rename(kept)
        sync_folder(folder)
    (folder / ASIDE).rename(folder / "store")
    sync_folder(folder)
    return kept
