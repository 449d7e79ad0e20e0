"""The fence: a row that keeps a store from being written, and who may take it away.

A store is fenced when it was restored, when a later checkpoint of its own log is known than it
holds (threats S10), when it is a mirror, or when a mirror of it was promoted. Reads go on.
An operator lifts the fence by confirming a new epoch: the log then goes on under another origin,
so that the checkpoints of both histories can never be taken for one another.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol import merkle, note
from protocol.errors import ParseError, ReadOnly, SettingsError, SignatureInvalid, StoreError
from registry import tree
from registry.log import SALT_BYTES, SEQUENCE_KEY, Body, entry, last_sequence, sequence_key
from registry.store import Snapshot, Store, Table, Write

FENCE_KEY: Final = b"fence"
"""Row of the meta table: why the store takes no writes, UTF-8."""
EPOCH_KIND: Final = "epoch"
"""Kind of the change that begins a new epoch; its attributes tell the epoch and what ended."""
KNOWN_FILE: Final = "checkpoint.txt"
"""In the node's folder, beside the store: the last checkpoint that was made, so that an older
store put back under it is found out."""
KNOWN_EVERY_S: Final = 1.0


def fence_of(state: Snapshot) -> str | None:
    """Why the store takes no writes; None while it does."""
    raw = state.get(Table.META, FENCE_KEY)
    return None if raw is None else raw.decode("utf-8", "replace")


def require_open(state: Snapshot) -> None:
    """Raise ReadOnly where the store is fenced."""
    why = fence_of(state)
    if why is not None:
        raise ReadOnly(f"this node takes no writes: {why}")


def fence_write(why: str) -> Write:
    """The row that fences a store."""
    return Write(Table.META, FENCE_KEY, why.encode())


def fence_copy(store: Store, made: str) -> tuple[int, bytes]:
    """Fence what was made of an older state; gives its size and root.

    made: how, as in `restored`. Another node may have acknowledged more since.
    """
    with store.snapshot() as state:
        size = tree.tree_size(state)
        root = tree.root_at(state, size)
    told = (
        f"it was {made} at change {size} and later ones may have been acknowledged; begin "
        "a new epoch with `biaoshi epoch confirm DIR`"
    )
    store.apply([fence_write(told)])
    return size, root


def new_epoch(
    store: Store,
    signer: tree.LogSigner,
    *,
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    least: int = 0,
) -> int:
    """Lift the fence and begin a new epoch, logged as a change; gives the epoch.

    least: the epoch is above this one, too: another node's that is left behind.
    """
    tree.complete(store, None)
    with store.snapshot() as state:
        epoch = max(tree.epoch_of(state), least) + 1
        sequence = last_sequence(state.get(Table.META, SEQUENCE_KEY)) + 1
        ended = tree.root_at(state, sequence - 1)
        attributes = {"epoch": epoch, "root": ended, "size": sequence - 1}
        body = Body(EPOCH_KIND, b"", attributes=attributes)
        logged = entry(sequence, int(now()), b"", body, random(2 * SALT_BYTES))
        growth = tree.grow(state, [merkle.leaf_hash(logged.leaf)])
    store.apply(
        [
            *logged.writes(),
            *growth.writes,
            tree.checkpoint_write(signer, growth.size, growth.root, epoch),
            Write(Table.META, SEQUENCE_KEY, sequence_key(sequence)),
            Write(Table.META, tree.EPOCH_KEY, sequence_key(epoch)),
            Write(Table.META, FENCE_KEY, None),
        ]
    )
    return epoch


class Known:
    """The file with the last checkpoint made. Written after the commit, so never ahead of it."""

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        """folder: of the node. now: a monotonic clock, seconds."""
        self.path = folder / KNOWN_FILE
        self._now = now
        self._at = float("-inf")
        self._kept: bytes | None = None

    def keep(self, checkpoint: bytes | None, *, at_once: bool = False) -> None:
        """Write a checkpoint down, at most once a second unless asked."""
        if checkpoint is None or checkpoint == self._kept:
            return
        if not at_once and self._now() - self._at < KNOWN_EVERY_S:
            return
        aside = self.path.with_name(f".{KNOWN_FILE}.new")
        # A full disk must not fail a commit that is durable already: the older note still serves.
        with contextlib.suppress(OSError):
            with aside.open("wb") as file:
                file.write(checkpoint)
                file.flush()
                os.fsync(file.fileno())  # else a power cut leaves an empty note, and that fences
            aside.replace(self.path)
            self._kept = checkpoint
        self._at = self._now()

    def read(self) -> bytes | None:
        """The note; None where there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be read: {error.strerror}") from None


def contradiction(state: Snapshot, checkpoint: bytes, signer: tree.LogSigner) -> str | None:
    """Why a checkpoint of this log does not fit the store; None when it does.

    A checkpoint of an epoch that is over says nothing. Raises ParseError, SignatureInvalid.
    """
    signed = note.decode(checkpoint)
    said = note.parse_checkpoint(signed.text)
    epoch = tree.epoch_of(state)
    if said.origin in {tree.origin_of(signer.name, old) for old in range(epoch)}:
        return None
    if said.origin != tree.origin_of(signer.name, epoch):
        return f"a checkpoint of another log or of a later epoch is known: {said.origin}"
    note.verify(signed, signer.verifiers(epoch))
    size = tree.tree_size(state)
    if said.size > size:
        return (
            f"a checkpoint over {said.size} changes is known and this log has {size}: the store "
            "is an old copy"
        )
    if tree.root_at(state, said.size) != said.root:
        return (
            f"a checkpoint over {said.size} changes is known that this log contradicts: its "
            "history was altered"
        )
    return None


def compare_known(store: Store, known: bytes | None, signer: tree.LogSigner) -> str | None:
    """Fence the store where a known checkpoint contradicts it; gives the reason.

    A damaged note fences as well: what cannot be compared is not passed over.
    """
    if known is None:
        return None
    with store.snapshot() as state:
        already = fence_of(state)
        if already is not None:
            return already
        try:
            why = contradiction(state, known, signer)
        except (ParseError, SignatureInvalid, StoreError) as error:
            why = f"the known checkpoint and this log cannot be compared: {error}"
    if why is None:
        return None
    told = (
        f"{why}; restore a newer copy, or begin a new epoch with `biaoshi epoch confirm DIR` "
        "(changes after this point are lost then)"
    )
    store.apply([fence_write(told)])
    return told
