"""Replaying a log: each leaf in its place, each body what its leaf commits to, each root as signed.

Sans-I/O: rows come from a store, a file or another node. Nothing is believed but the log key and
what the caller kept from earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol import merkle, note
from protocol.errors import ParseError, SignatureInvalid, StoreError
from registry import tree
from registry.fence import EPOCH_KIND
from registry.log import Body, commits_to, decode_body, decode_leaf


@dataclass(frozen=True, slots=True)
class Logged:
    """One change as it lies in a log. body: None where it was erased or may not be read."""

    sequence: int
    leaf: bytes
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A change that was checked. key: folded name; None without a body."""

    sequence: int
    fields: Mapping[str, Any]
    key: bytes | None
    body: Body | None


def read_checkpoint(raw: bytes, log_key: bytes) -> note.Checkpoint:
    """A checkpoint, its signature verified. log_key: Ed25519 (32 octets) or SM2 (65). Raises SignatureInvalid or ParseError."""
    signed = note.decode(raw)
    said = note.parse_checkpoint(signed.text)
    note.verify(signed, [note.Key.of_log(said.origin, log_key)])
    return said


@dataclass(slots=True)
class Replay:
    """The state of a replay: what was read, and the tree over it.

    kept: checkpoints known from elsewhere, by size; they are compared on the way.
    """

    frontier: merkle.Frontier = field(default_factory=merkle.Frontier)
    kept: Mapping[int, Sequence[note.Checkpoint]] = field(default_factory=dict)
    bodies: int = 0
    erased: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=list)
    """(epoch, size before it) of each new epoch whose body could be read."""

    @property
    def size(self) -> int:
        return self.frontier.size

    def take(self, logged: Logged) -> Opened:
        """Check the next change. Raises SignatureInvalid naming what does not add up."""
        number = self.size + 1
        if logged.sequence != number:
            raise SignatureInvalid(f"change {number} is missing: {logged.sequence} follows")
        try:
            fields = decode_leaf(logged.leaf)
        except StoreError as error:
            raise SignatureInvalid(f"change {number}: {error}") from None
        if fields["sequence"] != number:
            raise SignatureInvalid(
                f"change {number}: its leaf says that it is change {fields['sequence']}"
            )
        opened = self._open(number, fields, logged.body)
        self.frontier.append(merkle.leaf_hash(logged.leaf))
        for known in self.kept.get(number, ()):
            require_root(known, self.frontier.root())
        return opened

    def _open(self, number: int, fields: Mapping[str, Any], raw: bytes | None) -> Opened:
        if raw is None:
            self.erased += 1
            return Opened(number, fields, None, None)
        try:
            key, body = decode_body(raw)
            if not commits_to(fields, key, raw) or body.kind != fields["kind"]:
                raise SignatureInvalid(f"change {number}: its leaf does not commit to its body")
        except (StoreError, ParseError) as error:
            raise SignatureInvalid(f"change {number}: {error}") from None
        self.bodies += 1
        if body.kind == EPOCH_KIND:
            self._epoch(number, body.attributes or {})
        return Opened(number, fields, key, body)

    def _epoch(self, number: int, attributes: Mapping[str, Any]) -> None:
        before = self.epochs[-1][0] if self.epochs else 0
        epoch = attributes.get("epoch")
        if type(epoch) is not int or epoch <= before:
            raise SignatureInvalid(f"change {number}: epoch {epoch} follows epoch {before}")
        if attributes.get("root") != self.frontier.root():
            raise SignatureInvalid(f"change {number}: epoch {epoch} began on another log than this")
        self.epochs.append((epoch, number - 1))

    def take_all(self, rows: Iterable[Logged]) -> None:
        """Check what follows, to its end."""
        for logged in rows:
            self.take(logged)

    def finish(self, checkpoint: note.Checkpoint) -> None:
        """The end of the log against its newest checkpoint and those that were kept."""
        if checkpoint.size > self.size:
            raise SignatureInvalid(
                f"the checkpoint is over {checkpoint.size} changes, the log ends at {self.size}"
            )
        if checkpoint.size == self.size:
            require_root(checkpoint, self.frontier.root())
        for size, known in sorted(self.kept.items()):
            if size > self.size and known:
                raise SignatureInvalid(
                    f"a checkpoint over {size} changes was kept and the log ends at {self.size}: "
                    "changes were taken away"
                )


def require_root(known: note.Checkpoint, root: bytes) -> None:
    """Raise SignatureInvalid unless a checkpoint has this root."""
    if known.root != root:
        raise SignatureInvalid(
            f"the first {known.size} changes are not those of the checkpoint of {known.origin} "
            f"over {known.size}: one of them was altered, or their order"
        )


def epoch_of_origin(origin: str, name: str) -> int:
    """The epoch that an origin line names. Raises SignatureInvalid: another log."""
    if origin == name:
        return 0
    head, mark, digits = origin.rpartition("/epoch/")
    if not mark or head != name or not digits.isascii() or not digits.isdigit():
        raise SignatureInvalid(f"{origin[:200]!r} is not the log {name!r}")
    epoch = int(digits)
    if tree.origin_of(name, epoch) != origin:
        raise SignatureInvalid(f"{origin[:200]!r} is not the log {name!r}")
    return epoch
