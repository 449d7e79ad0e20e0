"""A mirror follows its primary's log: every portion verified whole, then written with its tables.

The primary's log key is pinned at `biaoshi init`, or at the first contact. What does not fit ends
the following for good: the mirror goes on answering from what it verified, says so, and waits for
its operator. A primary that cannot be reached is asked again and again. Beside the log it carries
some notes along (resolver.trust.carried).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from typing import Any, Final

import structlog

from protocol import note
from protocol.errors import (
    BiaoshiError,
    HandleNotFound,
    ParseError,
    SignatureInvalid,
    UpstreamError,
)
from registry import tree
from registry.fence import fence_write
from registry.follow import PORTION, append, withheld
from registry.generation import Generation
from registry.replay import epoch_of_origin, read_checkpoint
from registry.store import Snapshot, Store, Table, Write
from registry.store.lmdb_store import LmdbStore
from resolver.config import Settings
from resolver.metrics import Metrics
from resolver.registering.auth import Credentials
from resolver.registering.connection import Connection
from resolver.trust.carried import note_writes
from resolver.trust.kept import Kept, follow_key, read_kept, write_kept
from resolver.trust.source import UrlSource

log = structlog.get_logger()

PRIMARY: Final = "primary.checkpoint"
"""In a mirror's folder: the primary's log key and the newest checkpoint verified."""
STATUS: Final = "run/mirror.json"
DIVERGED_KEY: Final = b"diverged"
"""Row of the meta table: why the mirror stopped for good, UTF-8."""
STATES: Final = ("following", "waiting", "diverged")
MOST_PAUSE_S: Final = 1.0
"""Between attempts while the primary is silent: a healed network is noticed within it."""
DEAD_AFTER_S: Final = 2.0
HELD_EVERY_S: Final = 10.0
"""So often a mirror says where it is although nothing changed: the primary may have restarted."""
NOTES_EVERY_S: Final = 5.0
"""So often a mirror takes the notes that it carries along."""
_ASK_S: Final = 3.0


def fence_mirror(store_folder: Path, of: str) -> None:
    """A new store that only the log of another node fills."""
    store = LmdbStore.open(store_folder, readonly=False)
    try:
        store.apply([fence_write(f"it is a mirror; send changes to {of}")])
    finally:
        store.close()


def read_status(folder: Path) -> dict[str, Any]:
    """What the mirror said last: state, size, behind, at, why."""
    try:
        status: dict[str, Any] = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return status


def own_name(folder: Path) -> str:
    """What a mirror without a name is called: two on one machine are two."""
    return f"{gethostname()}-{sha256(str(folder).encode()).hexdigest()[:8]}"


class Follower:
    """One mirror's reading of its primary, step by step. Synchronous: it runs in a thread."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        store: Store,
        generation: Generation | None,
        sites: Sequence[bytes] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """sites: where this mirror answers, as the primary publishes it. now: seconds."""
        self._sites = sites
        self._now = now
        self._said: tuple[int, float] | None = None
        self._notes: dict[bytes, bytes] | None = None
        self._notes_at = -math.inf
        self._folder = folder
        self._settings = settings
        self._store = store
        self._generation = generation
        self._source: UrlSource | None = None
        self._name = tree.log_name(settings.node.prefix)

    def step(self) -> tuple[int, int]:
        """Take up to a portion of changes; gives the own size and the primary's.

        Raises SignatureInvalid: the primary's log does not fit what was verified; other errors
        pass by.
        """
        source = self._connected()
        key = self._log_key(source)
        size = self._size()
        self._ask_notes(source)
        try:
            newest_raw = source.checkpoint(after=size)
        except HandleNotFound:
            return size, 0
        key = follow_key(key, newest_raw, source.handovers, int(time.time()))
        newest = self._checked(newest_raw, key)
        if newest.size < size:
            self._require_beginning(newest)
            raise UpstreamError(
                f"the primary has {newest.size} changes, this mirror {size}: the primary is an "
                "old copy of itself; promote this mirror, or restore the primary from it"
            )
        if newest.size == size:
            self._require_beginning(newest)
            self._require_content()
            self._keep_notes()
            self._say_held(source, newest)
            return size, newest.size
        wanted = min(size + PORTION, newest.size)
        raw = newest_raw if wanted == newest.size else source.checkpoint_at(wanted)
        said = newest if raw is newest_raw else self._checked(raw, key)
        if not size < said.size <= newest.size:
            raise UpstreamError("the primary gave another checkpoint than was asked for")
        try:
            size, prefixes = append(self._store, source.rows(size + 1, said.size), raw, said)
        except SignatureInvalid as error:
            with self._store.snapshot() as state:
                raise SignatureInvalid(f"{error}{self._later_epoch(state, said)}") from None
        if prefixes and self._generation is not None:
            self._generation.bump()
        write_kept(self._folder / PRIMARY, Kept(key, raw))
        if size == newest.size:
            self._keep_notes()
        self._say_held(source, said)
        return size, newest.size

    def _ask_notes(self, source: UrlSource) -> None:
        """Take the primary's notes now and then, to keep them when the log has come as far."""
        now = self._now()
        if self._notes is None and now - self._notes_at >= NOTES_EVERY_S:
            self._notes_at = now
            try:
                self._notes = source.notes()
            except UpstreamError as error:  # the log is more important, and says so by itself
                log.warning("notes_not_taken", why=str(error))

    def _keep_notes(self) -> None:
        if self._notes is not None:
            with self._store.snapshot() as state:
                writes = note_writes(state, self._notes)
            if writes:
                self._store.apply(writes)
            self._notes = None

    def _say_held(self, source: UrlSource, said: note.Checkpoint) -> None:
        """Tell the primary what is durable here, when that changed and now and then."""
        now = self._now()
        told, at = self._said or (-1, now)
        if said.size == told and now - at < HELD_EVERY_S:
            return
        name = self._settings.mirror.name or own_name(self._folder)
        source.held(name, said.size, said.root, self._sites)
        self._said = (said.size, now)

    def _checked(self, raw: bytes, key: bytes) -> note.Checkpoint:
        said = read_checkpoint(raw, key)
        epoch_of_origin(said.origin, self._name)
        return said

    def _require_beginning(self, said: note.Checkpoint) -> None:
        with self._store.snapshot() as state:
            if tree.root_at(state, said.size) != said.root:
                raise SignatureInvalid(
                    f"the primary's log of {said.size} changes is not the beginning of what this "
                    f"mirror verified: its history was altered{self._later_epoch(state, said)}"
                )

    def _later_epoch(self, state: Snapshot, said: note.Checkpoint) -> str:
        """What to do where the primary is a promoted mirror that had less than this one."""
        epoch = epoch_of_origin(said.origin, self._name)
        if epoch <= tree.epoch_of(state):
            return ""
        return (
            f", or it was promoted (epoch {epoch}) without changes that this mirror holds, up to "
            f"{tree.tree_size(state)}: what it lacks is here; promote the mirror that is furthest, "
            "and make this one anew"
        )

    def _require_content(self) -> None:
        """Raise SignatureInvalid where content was kept from us: an old record would stay served.

        Called with all that a checkpoint covers which was asked for after the last content: an
        erasure, which comes after what it takes away, is among it.
        """
        with self._store.snapshot() as state:
            lacking = withheld(state)
        if lacking:
            raise SignatureInvalid(
                f"change {min(lacking)} came without its content, and no change erased it: the "
                f"primary withholds the content of {len(lacking)} changes"
            )

    def _size(self) -> int:
        with self._store.snapshot() as state:
            return tree.tree_size(state)

    def _log_key(self, source: UrlSource) -> bytes:
        """The pinned key; at the first contact the one that the primary's record names."""
        path = self._folder / PRIMARY
        kept = read_kept(path)
        if kept is not None:
            return kept.log_key
        key = source.log_key()
        write_kept(path, Kept(key))
        log.warning("primary_key_learnt", key=note.Key.of_log(self._name, key).text())
        return key

    def _connected(self) -> UrlSource:
        if self._source is None:
            mirror = self._settings.mirror
            certificate = Path(mirror.certificate) if mirror.certificate else None
            credentials = Credentials.parse(mirror.auth)
            connection = Connection(
                mirror.of,
                credentials,
                certificate=certificate,
                timeout_s=30.0,
                tries=1,
                dead_after_s=DEAD_AFTER_S,
            )
            self._source = UrlSource(connection)
        return self._source

    def disconnect(self) -> None:
        """Begin anew at the next step: another connection, the identity proved again."""
        self._said = None
        self._notes, self._notes_at = None, -math.inf
        if self._source is not None:
            self._source.close()
            self._source = None


class Following:
    """The task that keeps a mirror up to date."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        store: Store,
        generation: Generation | None,
        sites: Sequence[bytes] = (),
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._folder = folder
        self._every_s = settings.mirror.every_s
        self._store = store
        self._follower = Follower(folder, settings, store, generation, sites)
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    def start(self) -> None:
        """Begin; needs a running event loop. What an earlier process said is not true of this one."""
        with contextlib.suppress(OSError):
            (self._folder / STATUS).unlink(missing_ok=True)
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Finish the portion that is under way and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._follower.disconnect()

    async def _run(self) -> None:
        why = self._store.get(Table.META, DIVERGED_KEY)
        if why is not None:
            self._say("diverged", why=why.decode("utf-8", "replace"))
            return
        pause, before = self._every_s, -1
        while True:
            began = time.monotonic()
            step = asyncio.ensure_future(asyncio.to_thread(self._follower.step))
            try:
                size, newest = await asyncio.shield(step)
            except asyncio.CancelledError:
                with contextlib.suppress(BiaoshiError):
                    await step
                raise
            except (SignatureInvalid, ParseError) as error:
                self._store.apply([Write(Table.META, DIVERGED_KEY, str(error).encode())])
                self._say("diverged", why=str(error))
                return
            except BiaoshiError as error:
                self._follower.disconnect()
                self._say("waiting", why=str(error))
                pause = min(MOST_PAUSE_S, pause * 2)
            except Exception as error:
                # A fault of ours must not end the following without a word.
                log.exception("mirror_failed")
                self._follower.disconnect()
                self._say("waiting", why=f"{type(error).__name__}: {error}")
                pause = MOST_PAUSE_S
            else:
                # A primary that let us wait for news, or had some, need not be given a pause.
                waited = time.monotonic() - began >= self._every_s
                pause = 0.0 if waited or size != before else self._every_s
                before = size
                self._say("following", size=size, behind=max(0, newest - size))
            await asyncio.sleep(pause or 0.0)
            pause = pause or self._every_s

    def _say(self, state: str, **facts: Any) -> None:
        """The status file, and the log where the state is a new one."""
        if state != self._told:
            report = log.info if state == "following" else log.error
            report("mirror_" + state, **facts)
            self._told = state
        if self._metrics is not None:
            for one in STATES:
                self._metrics.mirror_state[one].set(one == state)
            if "behind" in facts:
                self._metrics.mirror_behind.set(facts["behind"])
        status = {"state": state, "at": time.time(), **facts}
        aside = self._folder / (STATUS + ".new")
        with contextlib.suppress(OSError):
            aside.write_text(json.dumps(status), encoding="utf-8")
            aside.replace(self._folder / STATUS)


def superseded(settings: Settings, store: Store) -> str | None:
    """Why this node must not write: one of its mirrors is in a later epoch. None: none says so.

    A mirror that cannot be reached says nothing.
    """
    name = tree.log_name(settings.node.prefix)
    with store.snapshot() as state:
        epoch = tree.epoch_of(state)
    for address in settings.mirror.copies:
        connection = None
        try:
            connection = Connection(address, insecure=True, timeout_s=_ASK_S, tries=1)
            raw = UrlSource(connection).checkpoint()
            theirs = epoch_of_origin(note.parse_checkpoint(note.decode(raw).text).origin, name)
        except BiaoshiError as error:
            log.warning("copy_silent", address=address, why=str(error))
            continue
        finally:
            if connection is not None:
                connection.close()
        if theirs > epoch:
            return (
                f"its mirror at {address} was promoted (epoch {theirs}, here {epoch}); make this "
                "node a mirror of that one in a new folder"
            )
    return None
