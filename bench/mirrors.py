"""`python -m bench.mirrors`: what a mirror costs and gives, between real nodes on this machine.

catch up   a mirror begins when the primary has --changes changes
lag        the primary is written as fast as it takes it; how far behind the mirror is meanwhile
lost       the primary is killed for good under that load: acknowledged changes that the mirror
           does not have, with mirror.durable = primary and = mirror
promote    from the command to the first acknowledged write at what was the mirror
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError
from protocol.record import HandleValue
from registry.store.lmdb_store import LmdbStore
from registry.tree import tree_size
from resolver.config import FaceSettings, NodeSettings, OutboundSettings, Settings
from resolver.copy_settings import MirrorSettings
from resolver.founding import found
from resolver.writer_link import running_writer

PREFIX = "88.118.8"
COMMAND = (sys.executable, "-m", "resolver.cli")
BATCH = 500
WRITERS = 2


@dataclass
class Pair:
    """A primary and its mirror on this machine."""

    primary: Path
    mirror: Path
    running: dict[Path, subprocess.Popen[str]] = field(default_factory=dict)

    def serve(self, folder: Path) -> None:
        process = subprocess.Popen(
            [*COMMAND, "serve", str(folder), "--readers", "1"],
            stdout=subprocess.PIPE,
            stderr=(folder / "bench.log").open("a"),
            text=True,
            start_new_session=True,
        )
        self.running[folder] = process
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit(f"{folder} does not start; see {folder}/bench.log")

    def stop(self, folder: Path, number: int = signal.SIGTERM) -> None:
        process = self.running.pop(folder)
        process.send_signal(number)
        process.wait(60)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait(60)


@contextmanager
def pair(durable: str) -> Iterator[Pair]:
    """Two new nodes; nothing runs yet, and nothing is left."""
    folder = Path(tempfile.mkdtemp(prefix="biaoshi-mirrors-"))
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    http, https = (one.getsockname()[1] for one in ports)
    for one in ports:
        one.close()
    made = Pair(folder / "primary", folder / "mirror")
    outbound = OutboundSettings(allow=("127.0.0.0/8",))
    node = NodeSettings(prefix=PREFIX)
    faces = FaceSettings(irp=None, http=http, https=https)
    mirrors = MirrorSettings(durable=durable)
    found(made.primary, Settings(node=node, faces=faces, outbound=outbound, mirror=mirrors))
    key = made.primary / "keys" / "admin_300.pem"
    follows = MirrorSettings(of=f"https://127.0.0.1:{https}", auth=f"300:0.NA/{PREFIX}={key}")
    faces = FaceSettings(irp=None, http=0, https=0)
    node = NodeSettings(role="mirror", prefix=PREFIX)
    found(made.mirror, Settings(node=node, faces=faces, outbound=outbound, mirror=follows))
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


class Load(threading.Thread):
    """Registers batches until told to stop or the node is gone."""

    def __init__(self, folder: Path, number: int, least: int = 0) -> None:
        """least: changes after which it stops by itself; 0: never."""
        super().__init__(daemon=True)
        self._folder = folder
        self._number = number
        self._least = least
        self.acknowledged = 0
        self.last = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        at = 0
        try:
            with running_writer(self._folder) as writer:
                while not self.stopping.is_set() and (not self._least or at < self._least):
                    outcomes = writer.submit(self._batch(at))
                    good = [one for one in outcomes if one.error is None]
                    self.acknowledged += len(good)
                    self.last = max([self.last, *(one.sequence or 0 for one in good)])
                    at += BATCH
        except (BiaoshiError, OSError):
            return

    def _batch(self, at: int) -> list[Change]:
        value = HandleValue(1, b"URL", b"https://example.org/products/%d" % at)
        name = b"%s/%d-%%d" % (PREFIX.encode(), self._number)
        return [Change(Kind.CREATE, name % n, (value,)) for n in range(at, at + BATCH)]


def size_of(folder: Path) -> int:
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            return tree_size(state)
    finally:
        store.close()


def loaded(folder: Path, offset: int, least: int = 0) -> list[Load]:
    made = [Load(folder, offset + number, least) for number in range(WRITERS)]
    for one in made:
        one.start()
    return made


def until_equal(made: Pair, seconds: float) -> float:
    """Seconds until the mirror has what the primary has."""
    began = time.monotonic()
    while size_of(made.mirror) < size_of(made.primary):
        if time.monotonic() - began > seconds:
            raise SystemExit(f"the mirror did not catch up in {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - began


def catch_up_and_lag(changes: int, seconds: float) -> dict[str, Any]:
    with pair("primary") as made:
        made.serve(made.primary)
        began = time.monotonic()
        for one in loaded(made.primary, 0, changes // WRITERS):
            one.join()
        filled_s = time.monotonic() - began
        began = time.monotonic()
        made.serve(made.mirror)
        until_equal(made, 3600)
        caught_s = time.monotonic() - began
        loads, behind, began = loaded(made.primary, 100), list[int](), time.monotonic()
        while time.monotonic() - began < seconds:
            behind.append(size_of(made.primary) - size_of(made.mirror))
            time.sleep(0.1)
        for one in loads:
            one.stopping.set()
        for one in loads:
            one.join()
        written = sum(one.acknowledged for one in loads)
        return {
            "changes": changes,
            "written_per_s": round(changes / filled_s),
            "catch_up_s": round(caught_s, 1),
            "catch_up_per_s": round(changes / caught_s),
            "under_load_written_per_s": round(written / seconds),
            "lag_changes_median": round(statistics.median(behind)),
            "lag_changes_most": max(behind),
            "lag_s_median": round(statistics.median(behind) * seconds / max(written, 1), 2),
            "equal_after_load_s": round(until_equal(made, 600), 2),
        }


def killed(durable: str, seconds: float) -> dict[str, Any]:
    """The primary is gone for good: what was lost, and how long until the mirror takes writes."""
    with pair(durable) as made:
        made.serve(made.primary)
        made.serve(made.mirror)
        first = loaded(made.primary, 0, BATCH)
        for one in first:
            one.join()
        until_equal(made, 60)
        loads = loaded(made.primary, 10)
        time.sleep(seconds)
        os.killpg(made.running[made.primary].pid, signal.SIGKILL)
        made.running.pop(made.primary).wait(60)
        for one in loads:
            one.join(30)
        time.sleep(2.0)  # whatever was on its way has arrived
        last = max(one.last for one in loads)
        lost = max(0, last - size_of(made.mirror))
        began = time.monotonic()
        made.stop(made.mirror)
        subprocess.run(
            [*COMMAND, "promote", str(made.mirror)], check=True, stdout=subprocess.DEVNULL
        )
        made.serve(made.mirror)
        (write,) = [Load(made.mirror, 99, BATCH)]
        write.run()
        took = time.monotonic() - began
        return {
            f"lost_durable_{durable}": lost,
            f"acknowledged_durable_{durable}": sum(one.acknowledged for one in loads),
            f"promote_to_first_write_s_{durable}": round(took, 2),
            f"written_per_s_durable_{durable}": round(
                sum(one.acknowledged for one in loads) / seconds
            ),
            "promoted_writes": write.acknowledged,
        }


def main(
    changes: Annotated[int, typer.Option(min=1000, help="Before the mirror begins.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=1, help="Of each load.")] = 5.0,
    out: Annotated[Path | None, typer.Option(help="Figures are added to this JSON file.")] = None,
) -> None:
    """Lag, catching up, losses and promotion, measured."""
    figures = catch_up_and_lag(changes, seconds)
    print(json.dumps(figures, indent=1), flush=True)
    for durable in ("primary", "mirror"):
        part = killed(durable, seconds)
        print(json.dumps(part, indent=1), flush=True)
        figures |= part
    if out is not None:
        known = json.loads(out.read_text()) if out.exists() else {}
        known["mirrors"] = figures
        out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    typer.run(main)
