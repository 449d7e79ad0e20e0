"""An audit: the whole log replayed under its key, and compared with what was kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.errors import SignatureInvalid
from registry.replay import Replay, read_checkpoint
from resolver.trust.kept import Kept, follow_key, read_kept, write_kept
from resolver.trust.source import LogSource


@dataclass(frozen=True, slots=True)
class Audited:
    """What was found in order.

    bodies: changes whose content was checked; without: whose content was erased or not readable.
    earlier: size of the checkpoint that was kept. pinned: the log key came from the auditor.
    """

    origin: str
    size: int
    root: bytes
    bodies: int
    without: int
    earlier: int | None
    pinned: bool

    def shape(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "origin": self.origin,
            "size": self.size,
            "root": self.root.hex(),
            "bodies": self.bodies,
            "without": self.without,
            "kept": self.earlier,
            "pinned": self.pinned,
        }


def audit_log(source: LogSource, log_key: bytes | None, keep: Path | None) -> Audited:
    """Replay a log. Raises SignatureInvalid or ParseError: the first thing that is wrong."""
    kept = read_kept(keep) if keep is not None else None
    pinned = log_key or (kept.log_key if kept is not None else None)
    key = pinned or source.log_key()
    raw = source.checkpoint()
    earlier = kept.checkpoint if kept is not None else None
    key = follow_key(key, raw, source.handovers, int(time.time()))
    newest = read_checkpoint(raw, key)
    known = {} if earlier is None else {earlier.size: [earlier]}
    replay = Replay(kept=known)
    if earlier is not None and earlier.size > newest.size:
        raise SignatureInvalid(
            f"a checkpoint over {earlier.size} changes was kept and the log says it has "
            f"{newest.size}: changes were taken away"
        )
    replay.take_all(source.rows(1, newest.size))
    replay.finish(newest)
    if keep is not None:
        write_kept(keep, Kept(key, raw))
    return Audited(
        newest.origin,
        newest.size,
        newest.root,
        replay.bodies,
        replay.erased,
        earlier.size if earlier is not None else None,
        pinned is not None,
    )
