"""Servers to compare with, each started on loopback with the same records and stopped again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WAIT_S = 60.0


class NotHere(RuntimeError):
    """The peer is not installed; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. mode: the generator's; root: its first process.

    face: which of ours it is compared with; empty: that of the same mode. before: to be called
    before each run.
    """

    name: str
    mode: str
    host: str
    port: int
    keys: Path
    root: int
    face: str = ""
    before: Callable[[], None] = lambda: None

    @property
    def group(self) -> str:
        """What it is compared within."""
        return self.face or self.mode

    @property
    def pids(self) -> tuple[int, ...]:
        """Every process that does its work, as of now."""
        return family(self.root)


def program(name: str, package: str) -> str:
    """The path of a program. Raises NotHere."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotHere(f"{name} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    """A TCP port that is free on loopback now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> tuple[int, ...]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return tuple(dict.fromkeys(found))


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(
    command: list[str], log: Path, core: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in its own session, on one core if asked; end it and its children after."""
    if core is not None and shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    with log.open("ab") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield child
    finally:
        for pid in reversed(family(child.pid)):
            _end(pid)
        child.wait(timeout=WAIT_S)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def wait_for_tcp(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    """Return once something listens. Raises RuntimeError with the log's end when it dies."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if child.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"no answer on port {port}: {log.read_text(errors='replace')[-400:]}")
