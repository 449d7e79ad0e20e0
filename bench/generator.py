"""The C load generator: built once per source version, run as a process, its answer read.

A generator in Python costs more than the server it measures (docs/benchmark.md), so this one is
in C: `bench/native/load.c`. It needs a C compiler (`apt-get install gcc libc6-dev`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "native" / "load.c"
MODES = ("irp-udp", "irp-tcp", "irp-tcp-once", "http", "dns")


class NoCompiler(RuntimeError):
    """There is no C compiler on this machine."""


@dataclass(frozen=True, slots=True)
class Load:
    """One run.

    rate: requests a second (open loop); 0 = closed loop with `open` in flight.
    pids: server processes whose CPU and page faults are counted.
    """

    mode: str
    host: str
    port: int
    keys: Path
    rate: float = 0
    open: int = 64
    seconds: float = 5
    warmup_s: float = 1
    zipf: float = 0
    seed: int = 1
    pids: tuple[int, ...] = ()
    core: int | None = None


def build() -> Path:
    """The generator's program, compiled if this source was not compiled before."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"biaoshi-load-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise NoCompiler(f"{folder} belongs to somebody else; remove it or set TMPDIR")
    program = folder / f"load-{digest}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompiler("no C compiler: apt-get install gcc libc6-dev")
        beside = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", beside, SOURCE, "-lm"], check=True)
        beside.rename(program)
    return program


def run(load: Load) -> dict[str, Any]:
    """One measurement. Raises RuntimeError with the generator's words when it cannot run."""
    command = [str(build()), "-m", load.mode, "-H", load.host, "-p", str(load.port)]
    command += ["-f", str(load.keys), "-n", str(load.open), "-t", str(load.seconds)]
    command += ["-w", str(load.warmup_s), "-s", str(load.seed)]
    if load.rate:
        command += ["-r", str(load.rate)]
    if load.zipf:
        command += ["-z", str(load.zipf)]
    if load.pids:
        command += ["-P", ",".join(map(str, load.pids))]
    if load.core is not None and shutil.which("taskset"):
        command = ["taskset", "-c", str(load.core), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(f"the generator gave no answer: {done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
