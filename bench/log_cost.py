"""What the log costs: registering with and without its tree, and following it as a mirror does.

    python -m bench.log_cost [--changes 40000]

Prints a JSON line a measurement. The store lies in a temporary folder of the disk that --folder
names, so that syncs are real.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import note
from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.batch import Batch
from registry.check import check_node
from registry.follow import PORTION, append
from registry.replay import Logged
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore, create
from registry.tree import LogSigner
from registry.writer import Writer

SIGNER = LogSigner("biaoshi/86.1", Ed25519PrivateKey.generate())
VALUES = (
    HandleValue(1, b"URL", b"https://example.org/coil/1"),
    HandleValue(2, b"DESC", b"x" * 120),
    HandleValue(3, b"EMAIL", b"sales@example.org"),
)


class TreelessWriter(Writer):
    """The same writer with nothing above the leaves: the control."""

    def complete_tree(self) -> None:
        """There is none."""

    def _grown(self, batch: Batch) -> tuple[list[Write], bytes | None]:
        del batch
        return [], None


def registering(folder: Path, changes: int, group: int, *, tree: bool) -> dict[str, Any]:
    """Register records in commits of `group`. The control is a new store: its tree is empty."""
    create(folder)
    store = LmdbStore.open(folder)
    writer = (Writer if tree else TreelessWriter)(store, log_signer=SIGNER if tree else None)
    writer.commit([Change(Kind.HOME, b"0.NA/86.1")])

    def run() -> None:
        for at in range(0, changes, group):
            names = range(at, min(changes, at + group))
            writer.commit([Change(Kind.CREATE, b"86.1/%d" % n, VALUES) for n in names])

    measured = timed(run, changes)
    store.close()
    return {"what": "registering", "tree": tree, "group": group, **measured}


def following(source: Path, folder: Path) -> dict[str, Any]:
    """Make a mirror's tables out of a log that is there already."""
    primary = LmdbStore.open(source, readonly=True)
    create(folder)
    mirror = LmdbStore.open(folder)
    with primary.snapshot() as state:
        rows = [
            Logged(int.from_bytes(key, "big"), leaf, state.get(Table.BODIES, key))
            for key, leaf in state.scan(Table.CHANGES)
        ]
        notes = [raw for _, raw in state.scan(Table.CHECKPOINTS)]

    def run() -> None:
        at = 0
        for number, raw in enumerate(notes):
            said = note.parse_checkpoint(note.decode(raw).text)
            if said.size - at >= PORTION or number == len(notes) - 1:
                append(mirror, rows[at : said.size], raw, said)
                at = said.size

    measured = timed(run, len(rows))
    primary.close()
    mirror.close()
    return {"what": "following", **measured}


def checking(source: Path) -> dict[str, Any]:
    """Everything made again from the log and compared."""
    store = LmdbStore.open(source, readonly=True)
    with store.snapshot() as state:
        rows = state.count(Table.CHANGES)
    measured = timed(lambda: check_node(store, signer=SIGNER), rows)
    store.close()
    return {"what": "checking", **measured}


def timed(run: Callable[[], object], count: int) -> dict[str, Any]:
    """Changes a second by the wall and by this process's processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {
        "changes": count,
        "per_second": round(count / wall),
        "per_processor_second": round(count / processor),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=40_000)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        for group, changes in ((2_000, asked.changes), (1, asked.changes // 40)):
            for tree in (False, True):
                place = folder / f"{group}-{tree}"
                print(json.dumps(registering(place, changes, group, tree=tree)), flush=True)
        print(json.dumps(following(folder / "2000-True", folder / "mirror")), flush=True)
        print(json.dumps(checking(folder / "2000-True")), flush=True)


if __name__ == "__main__":
    main()
