"""A node of ours with a store of a given shape: one reader, on one core, production settings.

Only the scrub is off: the stores are filled past the log, which it would rightly distrust.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import dataset, generator
from bench.dataset import Shape
from bench.peers import Running, process
from bench.peers.naptr import ZONE
from registry.store.lmdb_store import FORMAT, LmdbStore

COMMAND = [sys.executable, "-m", "resolver.cli"]
FACES = {
    "irp-udp": "irp",
    "irp-tcp": "irp",
    "irp-tcp-once": "irp",
    "http": "http",
    "dns": "dns",
}
_MADE = f"{FORMAT}, not scrubbed"


def prepare(folder: Path, shape: Shape) -> Path:
    """Make the node's folder and fill its store, unless it is there; returns the file of keys."""
    keys, made = folder.with_suffix(".keys"), folder.with_suffix(".format")
    if keys.exists() and made.exists() and made.read_text() == _MADE:
        return keys
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    faces = ["--irp", "0", "--http", "0", "--https", "0", "--dns", "0"]
    init = [*COMMAND, "init", str(folder), "--role", "enterprise", "--prefix", shape.prefix]
    subprocess.run([*init, *faces], check=True, capture_output=True)
    settings = folder / "biaoshi.toml"
    text = settings.read_text().replace("oid-res.org", ZONE)
    settings.write_text(re.sub(r"(?m)^scrub_hours = .*", "scrub_hours = 0", text))
    store = LmdbStore.open(folder / "store")
    try:
        dataset.fill(store, shape)
    finally:
        store.close()
    made.write_text(_MADE)  # a store of another format is made anew
    return dataset.write_keys(keys, shape)


@contextmanager
def serving(
    folder: Path, core: int | None = None, readers: int = 1
) -> Iterator[tuple[int, dict[str, int]]]:
    """Serve a prepared folder; gives the keeper's process id and the ports by face.

    Its store's file is kept in memory.
    """
    said = folder.with_suffix(".ready")
    said.unlink(missing_ok=True)
    command = ["sh", "-c", 'exec "$@" > "$0"', str(said), *COMMAND]
    command += ["serve", str(folder), "--readers", str(readers)]
    with (
        dataset.in_memory(folder / "store" / "data.mdb"),
        process(command, folder.with_suffix(".log"), core) as child,
    ):
        yield child.pid, wait_ready(said, child, folder.with_suffix(".log"))


@contextmanager
def running(
    folder: Path,
    shape: Shape,
    core: int | None,
    readers: int = 1,
    domains: Path | None = None,
) -> Iterator[dict[str, Running]]:
    """Serve a folder, made if need be; gives a Running for each of the generator's modes.

    domains: names to ask for over DNS; None leaves that face out.
    """
    keys = prepare(folder, shape)
    with serving(folder, core, readers) as (pid, ports):
        found = {
            mode: Running("Biaoshi", mode, "127.0.0.1", int(ports[face]), keys, pid)
            for mode, face in FACES.items()
            if mode != "dns"
        }
        if domains is not None:
            found["dns"] = Running("Biaoshi", "dns", "127.0.0.1", int(ports["dns"]), domains, pid)
        known = partial(generator.prove, "127.0.0.1", int(ports["irp"]), keys)
        yield {mode: replace(one, before=known) for mode, one in found.items()}


def wait_ready(said: Path, child: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    """The node's ready line. Raises RuntimeError with the log's end when it dies first."""
    while child.poll() is None:
        if said.exists() and (text := said.read_text()).endswith("\n"):
            ready: dict[str, int] = json.loads(text)
            return ready
        try:
            child.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(f"the node did not start: {log.read_text(errors='replace')[-600:]}")
