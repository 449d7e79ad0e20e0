"""Registering in a node's folder: through its running writer, else under the store's lock.

Records are signed here with the node's key, a chunk at a time. Records that are
merged into others are signed by the writer, which alone knows what they will be in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from protocol.change import Change, Kind
from protocol.errors import ServerBusy
from protocol.name import prefix_of, prefix_record
from registry.batch_signing import BatchSigner
from registry.keys import load_keys
from registry.prefixes import Prefixes
from registry.records import read_record
from registry.rules import SIGN, is_signature
from registry.signing import VERIFIED, NodeSigners, ValuesOf
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore
from registry.writer import Outcome, Writer
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.registering import REPLACED, Result, Row
from resolver.writer_link import Submitter, open_writer
from resolver.writer_process import STORE, writer_settings

TRIES = 20
_REPLACING = ("changed", "deleted")
"""What the writer says of a merge, and of a batch file's ADD, MODIFY, REMOVE and DELETE."""


class Signing:
    """Who signs what, as long as one request or command takes. batch: records under one signature."""

    def __init__(self, signers: NodeSigners, values_of: ValuesOf, batch: int = 1) -> None:
        self._signers = signers
        self._values_of = values_of
        self._batch = batch
        self._known: dict[bytes, BatchSigner | None] = {}
        self._same: dict[int, BatchSigner] = {}

    def of(self, handle: bytes) -> BatchSigner | None:
        """The signer of a handle, one object for one signer; None where no certificate covers it."""
        prefix = prefix_of(handle)
        if prefix not in self._known:
            signer = self._signers.of(handle, self._values_of)
            if signer is not None:
                made = self._same.setdefault(id(signer), BatchSigner(signer, self._batch))
            self._known[prefix] = made if signer is not None else None
        return self._known[prefix]

    def sign(self, changes: Sequence[Change], now_s: int) -> list[Change]:
        """The changes with the node's signatures, where one may and should be made.

        A name that cannot be signed is left as it is: the writer refuses it, with its reason.
        """
        made = list(changes)
        to_sign: dict[int, tuple[BatchSigner, list[int]]] = {}
        for at, change in enumerate(changes):
            signer = self.of(change.handle)
            if signer is None or any(map(is_signature, change.values)):
                continue
            if change.kind is Kind.MERGE:
                made[at] = replace(change, attributes={SIGN: True})
            elif change.kind is Kind.CREATE and _is_text(change.handle):
                to_sign.setdefault(id(signer), (signer, []))[1].append(at)
        for signer, places in to_sign.values():
            records = [(changes[at].handle, changes[at].values) for at in places]
            for at, values in zip(places, signer.sign(records, now_s), strict=True):
                made[at] = replace(changes[at], values=values, attributes={VERIFIED: True})
        return made


def _is_text(handle: bytes) -> bool:
    try:
        handle.decode()
    except UnicodeDecodeError:
        return False
    return True


class LocalSink:
    """A node's folder."""

    def __init__(
        self,
        writer: Submitter,
        signing: Signing | None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """signing: None leaves records as they are. now: seconds since 1970."""
        self._sleep = sleep
        self._writer = writer
        self._signing = signing
        self._now = now

    def prepare(self, change: Change) -> Change:
        """Nothing: rows are signed together."""
        return change

    def send(self, rows: Sequence[Row]) -> list[Result]:
        """Sign the rows and hand them to the writer; wait while its queue is full."""
        changes = [row.change for row in rows]
        if self._signing is not None:
            changes = self._signing.sign(changes, int(self._now()))
        for _ in range(TRIES):
            try:
                outcomes = self._writer.submit(changes)
                break
            except ServerBusy as busy:
                self._sleep(busy.retry_after_s)
        else:
            outcomes = self._writer.submit(changes)
        return [_result(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)]


def _result(row: Row, outcome: Outcome) -> Result:
    status = REPLACED if outcome.status in _REPLACING else outcome.status
    return Result(
        row.line, row.change.handle, status, outcome.version, outcome.sequence, outcome.error
    )


def node_signing(folder: Path, settings: Settings) -> Signing:
    """The signers of a node's folder. Raises SettingsError or StoreError."""
    prefix = settings.node.prefix.encode().upper()
    store = _reader(folder, settings)
    try:  # all at once: the writer may open the store next
        held = {name: read_record(store, name) for name in _own_records(store, prefix)}
    finally:
        store.close()
    values = {name: record.values for name, record in held.items() if record is not None}
    signers = NodeSigners(load_keys(folder), prefix, rsa=settings.signing.handle_compat)
    return Signing(signers, values.get, settings.signing.batch)


def _own_records(store: LmdbStore, prefix: bytes) -> set[bytes]:
    """The names of the records of the prefixes that are home here."""
    return set(map(prefix_record, {prefix, *Prefixes(store).homed()}))


def _reader(folder: Path, settings: Settings) -> LmdbStore:
    return LmdbStore.open(
        folder / STORE, readonly=True, map_bytes=settings.store.map_size_gib << 30
    )


@contextmanager
def local_sink(folder: Path, *, sign: bool | None, dry_run: bool) -> Iterator[LocalSink]:
    """The sink of a node's folder. sign: None follows the settings. dry_run: write nothing."""
    settings = load_settings(folder)
    wanted = settings.signing.sign_registrations if sign is None else sign
    signing = node_signing(folder, settings) if wanted and settings.node.prefix else None
    if dry_run:
        store = _reader(folder, settings)
        try:
            yield LocalSink(_Rehearsal(store, settings), signing)
        finally:
            store.close()
        return
    with open_writer(folder) as writer:
        yield LocalSink(writer, signing)


class _Unwritten:
    """A store that forgets what is written."""

    def __init__(self, store: LmdbStore) -> None:
        self.get = store.get
        self.getter = store.getter
        self.getter_by_turn = store.getter_by_turn
        self.snapshot = store.snapshot
        self.check = store.check
        self.close = store.close

    def apply(
        self, writes: Sequence[Write], bare: Mapping[Table, Sequence[bytes]] | None = None
    ) -> None:
        """Nothing is written."""


class _Rehearsal:
    """The writer's checks, every one of them, on a store that forgets."""

    def __init__(self, store: LmdbStore, settings: Settings) -> None:
        self._writer = Writer(_Unwritten(store), settings=writer_settings(settings))

    def submit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        """What would become of each change."""
        return self._writer.commit(changes, atomic=atomic)
