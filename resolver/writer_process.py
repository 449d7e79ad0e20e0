"""The writer process, the one that changes the store, and the same writer for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from protocol.change import Change, Kind
from protocol.errors import StoreError
from registry import tree
from registry.access import Access
from registry.fence import Known, compare_known, fence_of, fence_write
from registry.generation import Generation
from registry.group_commit import GroupCommit
from registry.keys import NodeKeys, load_keys
from registry.rules import WriterSettings
from registry.signing import NodeSigners
from registry.store.lmdb_store import LmdbStore
from registry.store.place import StoreLocked
from registry.writer import Outcome, Submission, Writer
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.local import LocalServer, listen, run_folder
from resolver.metrics import Metrics
from resolver.scrubbing import Scrubbing
from resolver.site import make_sites, read_site_info
from resolver.site_update import update_site
from resolver.sockets import Ports
from resolver.space import SpaceWatch
from resolver.trust.following import Following, superseded
from resolver.trust.mirrors import Mirrors, encoded, unconfirmed
from resolver.trust.signers import log_signer
from resolver.writer_link import SOCKET, Submitter, access_settings, keep_handler, submit_handler

log = structlog.get_logger()

STORE: Final = "store"
_LOCKED_S: Final = 3.0
_PAUSE_S: Final = 0.05


def writer_settings(settings: Settings) -> WriterSettings:
    """The bounds of the writer, as the settings file has them."""
    limits = settings.limits
    return WriterSettings(
        value_bytes=limits.value_bytes,
        values=limits.record_values,
        handle_bytes=limits.handle_bytes,
        record_bytes=limits.record_bytes,
        link_schemes=tuple(scheme.lower() for scheme in settings.http.redirect_schemes),
        unsigned=settings.signing.unsigned,
    )


def open_store(folder: Path, settings: Settings) -> LmdbStore:
    """The store, for writing: takes its lock. Raises StoreError."""
    return LmdbStore.open(
        folder / STORE,
        readonly=False,
        map_bytes=settings.store.map_size_gib << 30,
        ballast_bytes=settings.store.ballast_mib << 20,
    )


class NodeWriter(Writer):
    """The writer of a node: signs with its key where asked, and counts."""

    def __init__(
        self,
        store: LmdbStore,
        settings: Settings,
        keys: NodeKeys,
        *,
        generation: Generation,
        metrics: Metrics | None = None,
        known: Known | None = None,
    ) -> None:
        """known: the file of the last checkpoint; compared with the store now, kept up later."""
        prefix = settings.node.prefix.encode().upper()
        signers = NodeSigners(keys, prefix, rsa=settings.signing.handle_compat) if prefix else None
        super().__init__(
            store,
            now=time.time,
            random=os.urandom,
            settings=writer_settings(settings),
            access=Access(store, access_settings(settings)),
            generation=generation,
            signers=signers,
            log_signer=log_signer(settings, keys),
        )
        self._lmdb = store
        self._metrics = metrics
        self._known = known
        self.generation = generation
        self._compare(store, known)

    def fence(self) -> str | None:
        """Why the store takes no writes; None while it does."""
        with self._store.snapshot() as state:
            return fence_of(state)

    def _compare(self, store: LmdbStore, known: Known | None) -> None:
        """Complete the tree and compare it with the known checkpoint; may fence the store."""
        signer = self._log_signer
        tree.complete(store, signer)
        if known is None or signer is None:
            return
        why = compare_known(store, known.read(), signer)
        if why is not None:
            log.error("writes_refused", why=why)
        elif self.fence() is None:
            tree.renew_checkpoint(store, signer)

    def commit_all(self, submissions: Sequence[Submission]) -> list[list[Outcome]]:
        """As Writer.commit_all()."""
        started = time.monotonic()
        try:
            results = super().commit_all(submissions)
        except StoreError as error:
            self._failed(error)
            raise
        if self._known is not None:
            self._known.keep(self.checkpoint)
        if self._metrics is not None:
            self._metrics.commits.inc()
            self._metrics.commit_time.observe(time.monotonic() - started)
            for outcomes in results:
                for outcome in outcomes:
                    self._metrics.changes[outcome.status].inc()
        return results

    def _failed(self, error: StoreError) -> None:
        """Say once that the store takes no more writes; /health/ready says it as well."""
        if self._lmdb.broken is None or self._metrics is None:
            return
        if not self._metrics.store_read_only.value:
            log.error("store_read_only", why=str(error))
        self._metrics.store_read_only.set(1)

    def close(self) -> None:
        """Write the last checkpoint down."""
        if self._known is not None:
            self._known.keep(self.checkpoint, at_once=True)


class WriterProcess:
    """The writer while it runs: its queue and its local socket."""

    def __init__(
        self,
        store: LmdbStore,
        writer: NodeWriter,
        settings: Settings,
        metrics: Metrics,
        mirrors: Mirrors,
        republish: Callable[[], None],
    ) -> None:
        """republish: brings the records of the node's own prefixes up to date.

        After a mirror said where it is, and after a further prefix came home, by whatever face.
        """
        self._republish = republish
        self._store = store
        self._writer = writer
        self._metrics = metrics
        self._queue = GroupCommit(
            writer,
            queue_changes=settings.store.queue_changes,
            group_changes=settings.store.group_changes,
        )
        self._space = SpaceWatch(store, metrics, warn_percent=settings.store.warn_full_percent)
        self._scrubbing = Scrubbing(
            store, self._queue.between, metrics, hours=settings.store.scrub_hours
        )
        self._mirrors = mirrors
        self._settings = settings
        self._local: LocalServer | None = None
        self._following: Following | None = None

    async def start(self, run: Path) -> None:
        """Take submissions from now on."""
        self._space.start()
        self._scrubbing.start()
        verbs = {
            "scrub": self._scrubbing.answer,
            "submit": submit_handler(self._submit),
            "keep": keep_handler(self._queue.keep),
            "held": self._held,
        }
        self._local = LocalServer(listen(run / SOCKET), verbs)
        await self._local.start()

    def follow(self, following: Following) -> None:
        """Follow a primary until the end."""
        self._following = following
        following.start()

    async def _submit(self, changes: Sequence[Change], atomic: bool) -> list[Outcome]:
        self._metrics.queue.set(self._queue.waiting + len(changes))
        try:
            outcomes = await self._queue.submit(changes, atomic)
        finally:
            self._metrics.queue.set(self._queue.waiting)
        if any(change.kind is Kind.HOME for change in changes):
            await self._queue.between(self._republish)
        mirror = self._settings.mirror
        if mirror.durable == "mirror":
            # A repeated request is `unchanged`: then it is the earlier change that must be there.
            last = max((one.version for one in outcomes if one.error is None), default=0)
            last = max([last, *(one.sequence or 0 for one in outcomes)])
            if not await self._mirrors.wait(last, mirror.durable_s):
                return unconfirmed(outcomes, mirror.durable_s)
        return outcomes

    async def _held(self, body: Any) -> bool:
        """A mirror says how far it holds the log, and where it answers: [name, size, sites]."""
        name, size, sites = body
        self._mirrors.confirm(str(name), int(size))
        self._metrics.mirrored.set(self._mirrors.confirmed)
        news = self._mirrors.learn(str(name), [bytes(site) for site in sites])
        if news:
            await self._queue.between(self._republish)
        return news

    async def close(self, grace_s: float) -> None:
        """Answer what was taken, then let go of the store."""
        if self._following is not None:
            await self._following.close()
        await self._space.close()
        await self._scrubbing.close()
        if self._local is not None:
            await self._local.close(grace_s)
        await self._queue.close()
        self._writer.close()
        self._store.close()


async def _open_patiently(folder: Path, settings: Settings) -> LmdbStore:
    """The store; a command that just writes something is given time to finish."""
    until = time.monotonic() + _LOCKED_S
    while True:
        try:
            return open_store(folder, settings)
        except StoreLocked:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(_PAUSE_S)


async def start_writer(
    folder: Path, settings: Settings, ports: Ports, metrics: Metrics
) -> WriterProcess:
    """Open the store, bring the node's own site record up to date, take submissions."""
    run = run_folder(folder)
    store = await _open_patiently(folder, settings)
    keys = load_keys(folder)
    writer = NodeWriter(
        store,
        settings,
        keys,
        generation=Generation(run / "generation", writable=True),
        metrics=metrics,
        known=Known(folder),
    )
    await _ask_copies(settings, store, writer)
    if writer.fence() is None or settings.node.role == "mirror":
        update_site(folder, settings, ports, store, writer)

    def republish() -> None:
        update_site(folder, settings, ports, store, writer)

    running = WriterProcess(store, writer, settings, metrics, Mirrors(folder), republish)
    if settings.node.role == "mirror":
        sites = make_sites(settings, ports, keys, read_site_info(folder).serial)
        running.follow(
            Following(folder, settings, store, writer.generation, encoded(sites), metrics)
        )
    await running.start(run)
    return running


async def _ask_copies(settings: Settings, store: LmdbStore, writer: NodeWriter) -> None:
    """Before the first write: was a mirror of this node promoted while it was away?"""
    if not settings.mirror.copies or writer.fence() is not None:
        return
    why = await asyncio.to_thread(superseded, settings, store)
    if why is not None:
        store.apply([fence_write(why)])
        log.error("writes_refused", why=why)


class _OwnWriter:
    """Submitter over the store itself."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def submit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        return self._writer.commit(changes, atomic=atomic)


@contextlib.contextmanager
def own_writer(folder: Path) -> Iterator[Submitter]:
    """A writer of our own, while no node serves the folder. Raises StoreError if one does."""
    settings = load_settings(folder)
    keys = load_keys(folder)
    store = open_store(folder, settings)
    try:
        generation = Generation(run_folder(folder) / "generation", writable=True)
        writer = NodeWriter(store, settings, keys, generation=generation, known=Known(folder))
        try:
            yield _OwnWriter(writer)
        finally:
            writer.close()
    finally:
        store.close()
