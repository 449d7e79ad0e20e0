"""What keeps a reader's cache in step with the world: its file, commands, and followed logs.

`biaoshi cache` speaks to every reader over its local socket (verb `cache`); each answers for its
own memory. With `cache.persist` what changed is written behind every few seconds, and at once
after a purge. The first reader looks at the logs of `cache.follow` and tells the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from protocol.errors import BiaoshiError, InvalidValue, StoreError
from protocol.name import whole_name
from resolver.cache import State
from resolver.cache_file import FOLDER, CacheFile, Clocks, encode_entry, fingerprint
from resolver.follow import Follower
from resolver.keyfiles import encoded, read_public_keys

if TYPE_CHECKING:
    from resolver.node import Node
    from resolver.recursion import Recursion

log = structlog.get_logger()

VERB: Final = "cache"
WRITE_S: Final = 5.0


class CacheKeeper:
    """One in each reader that resolves for others."""

    def __init__(self, node: Node, recursion: Recursion) -> None:
        self._node = node
        self._recursion = recursion
        self._file: CacheFile | None = None
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        node.siblings.answer(VERB, self._command)

    async def start(self) -> None:
        """Take over what the file holds, and begin to write and to follow. Raises StoreError."""
        settings = self._node.settings.cache
        if settings.persist:
            await asyncio.to_thread(self._open)
            self._tasks.append(asyncio.ensure_future(self._write_behind()))
        if settings.follow and self._node.number == 0:
            follower = Follower(settings, self._recursion.guard, self._doubt_everywhere)
            self._tasks += [asyncio.ensure_future(each) for each in follower.watches()]

    def _open(self) -> None:
        node = self._node
        settings = node.settings.recursion
        pinned = [
            key for name in settings.root_keys for key in encoded(read_public_keys(node.dir / name))
        ]
        wanted = fingerprint(settings, pinned)
        self._file = CacheFile(node.dir / FOLDER, node.settings.cache.max_bytes, wanted)
        cache = self._recursion.cache
        for entry in self._file.load(_clocks()):
            cache.restore(entry)
        cache.changed = set()

    async def _write_behind(self) -> None:
        while True:
            await asyncio.sleep(WRITE_S)
            try:
                await self.flush()
            except StoreError as error:
                log.warning("cache_file_failed", why=str(error))

    async def flush(self) -> None:
        """Write what came and went since the last time. Raises StoreError."""
        cache, file = self._recursion.cache, self._file
        if file is None or cache.changed is None:
            return
        async with self._writing:
            keys, cache.changed = cache.changed, set()
            clocks = _clocks()
            rows: dict[bytes, bytes | None] = {}
            for key in keys:
                entry = cache.record(key)
                rows[key] = None if entry is None else encode_entry(entry, clocks)
            if rows and not await asyncio.to_thread(file.write, rows):
                log.warning("cache_file_full", kept=len(file))

    # Commands

    async def _command(self, body: Any) -> Mapping[str, Any]:
        """One command of `biaoshi cache`, or of a sibling. Raises InvalidValue."""
        recursion = self._recursion
        match body:
            case {"do": "purge", "name": bytes(name)}:
                count = int(recursion.purge(name))
            case {"do": "purge", "prefix": bytes(prefix)}:
                count = recursion.purge_prefix(prefix)
            case {"do": "purge"}:
                count = recursion.purge_all()
            case {"do": "doubt", "prefix": bytes(prefix)}:
                recursion.doubt_zone(prefix)
                return {"reader": self._node.number}
            case {"do": "show", "name": bytes(name)}:
                return self._shown(name)
            case {"do": "show"}:
                return self._shown(None)
            case _:
                raise InvalidValue("there is no such command for the cache")
        await self.flush()
        return {"reader": self._node.number, "purged": count}

    def _shown(self, name: bytes | None) -> dict[str, Any]:
        cache = self._recursion.cache
        shape: dict[str, Any] = {
            "reader": self._node.number,
            "entries": len(cache),
            "octets": cache.weight,
            "file": len(self._file) if self._file is not None else None,
        }
        entry = cache.peek(whole_name(name)) if name else None
        if entry is not None:
            state = cache.state(entry)
            shape |= {
                "code": entry.code.name,
                "state": state.value,
                "age_s": round(cache.age_s(entry), 1),
                "left_s": round(cache.left_s(entry), 1) if state is State.FRESH else 0,
                "proof": entry.proof or "",
            }
        return shape

    async def _doubt_everywhere(self, prefix: bytes) -> None:
        """A followed log grew: every reader fetches that prefix's names anew."""
        self._recursion.doubt_zone(prefix)
        body = {"do": "doubt", "prefix": prefix}
        others = [n for n in range(self._node.readers) if n != self._node.number]
        told = (self._node.siblings.ask(number, VERB, body) for number in others)
        for result in await asyncio.gather(*told, return_exceptions=True):
            if isinstance(result, BiaoshiError):
                log.warning("cache_doubt_unheard", why=str(result))

    async def close(self, _grace_s: float) -> None:
        """Write what is left and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self.flush()
        if self._file is not None:
            self._file.close()


def _clocks() -> Clocks:
    return Clocks(time.monotonic(), time.time())
