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

from bench.histogram import Histogram

SOURCES = Path(__file__).parent / "native"
MODES = ("irp-udp", "irp-tcp", "irp-tcp-once", "http", "dns", "redis")
DATAGRAMS = ("irp-udp", "dns")
EXPECTED = ("present", "absent", "withheld")
FLAGS = ("-O2", "-Wall", "-Wextra")


class NoGenerator(RuntimeError):
    """It cannot be built, or it gave no answer; the message says why."""


class NoCompiler(NoGenerator):
    """There is no C compiler on this machine."""


@dataclass(frozen=True, slots=True)
class Load:
    """One run.

    rate: requests a second (open loop); 0 = closed loop with `open` in flight.
    expected: present, absent or withheld names; which answer counts as the right one.
    pids: server processes whose CPU and page faults are counted.
    core: the processor to run on; None leaves it to the kernel. spin: never sleep, so that no
    server on the same machine pays for waking it.
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
    expected: str = "present"
    seed: int = 1
    pids: tuple[int, ...] = ()
    core: int | None = None
    spin: bool = False

    def arguments(self) -> list[str]:
        """The generator's command line, without its name."""
        out = ["-m", self.mode, "-H", self.host, "-p", str(self.port), "-f", str(self.keys)]
        out += ["-n", str(self.open), "-t", str(self.seconds), "-w", str(self.warmup_s)]
        out += ["-s", str(self.seed), "-e", self.expected]
        if self.rate:
            out += ["-r", str(self.rate)]
        if self.zipf:
            out += ["-z", str(self.zipf)]
        if self.spin:
            out += ["-b"]
        if self.pids:
            out += ["-P", ",".join(map(str, self.pids))]
        return out


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run gave. figures: counts, rates, `latency_us`, `server`; ready for JSON."""

    figures: dict[str, Any]
    latencies: Histogram


def build() -> Path:
    """The generator's program, compiled if this source was not compiled before."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"biaoshi-load-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise NoGenerator(f"{folder} belongs to somebody else; remove it or set TMPDIR")
    program = folder / f"load-{digest}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompiler("no C compiler: apt-get install gcc libc6-dev")
        beside = program.with_suffix(f".{os.getpid()}")
        code = [str(file) for file in sources if file.suffix == ".c"]
        subprocess.run([compiler, *FLAGS, "-o", str(beside), *code, "-lm"], check=True)
        beside.rename(program)
    return program


def run(load: Load) -> Measured:
    """One measurement. Raises NoGenerator with the generator's words when it cannot run."""
    command = [str(build()), *load.arguments()]
    if load.core is not None and shutil.which("taskset"):
        command = ["taskset", "-c", str(load.core), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise NoGenerator(f"the generator gave no answer: {done.stderr.strip()}")
    figures: dict[str, Any] = json.loads(done.stdout)
    latencies = Histogram(tuple((top, count) for top, count in figures.pop("histogram_ns")))
    figures["latency_us"] = latencies.summary_us()
    return Measured(figures, latencies)


def prove(host: str, port: int, keys: Path) -> None:
    """Ask a node once over DO-IRP on TCP: then it knows that this address receives its answers,
    and its limit on answers to forged UDP sources does not hold for it.
    """
    run(Load("irp-tcp-once", host, port, keys, open=1, seconds=0.05, warmup_s=0))
