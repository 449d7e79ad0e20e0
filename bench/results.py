"""Runs are kept as JSON with the machine, the versions and the command that made them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
LIBRARIES = ("aiohttp", "lmdb", "cryptography", "uvloop", "msgpack", "orjson", "xxhash", "locust")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Versions of the libraries that matter, and of this program."""
    found = {"biaoshi": _commit()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def save(name: str, figures: Any) -> Path:
    """Write one run to `bench/results/`; returns its file."""
    FOLDER.mkdir(exist_ok=True)
    moment = datetime.now(UTC)
    file = FOLDER / f"{name}-{moment:%Y%m%dT%H%M%S}.json"
    command = f"python -m bench.{name} {' '.join(sys.argv[1:])}".strip()
    run = {
        "name": name,
        "at": moment.isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "versions": versions(),
        "figures": figures,
    }
    file.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    return file


def load(name: str | None = None) -> list[dict[str, Any]]:
    """Runs by age, oldest first; of one name or all."""
    files = FOLDER.glob(f"{name or '*'}-[0-9]*T[0-9]*.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda run: str(run["at"]))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
