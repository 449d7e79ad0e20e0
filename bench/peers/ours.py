"""A node of ours with a store of a given shape: one reader, on one core, production settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import dataset
from bench.dataset import Shape
from bench.peers import Running, naptr, process
from protocol.record import HandleValue, Record
from registry.store.lmdb_store import LmdbStore
from registry.store.row import rows

COMMAND = [sys.executable, "-m", "resolver.cli"]
FACES = {"irp-udp": "irp", "irp-tcp": "irp", "irp-tcp-once": "irp", "http": "http"}
MAP_GIB = 64


def prepare(folder: Path, shape: Shape) -> Path:
    """Make the node's folder and fill its store, unless it is there; returns the file of keys."""
    keys = folder.with_suffix(".keys")
    if keys.exists():
        return keys
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    faces = ["--irp", "0", "--http", "0", "--https", "off"]
    init = [*COMMAND, "init", str(folder), "--role", "enterprise", "--prefix", shape.prefix]
    subprocess.run([*init, *faces], check=True, capture_output=True)
    store = LmdbStore.open(folder / "store")
    try:
        dataset.fill(store, shape)
    finally:
        store.close()
    return dataset.write_keys(keys, shape)


def prepare_dns(folder: Path, shape: Shape) -> Path:
    """As prepare(), with the records of naptr.write_zone: OIDs with one NAPTR value each."""
    if folder.exists():
        return folder.with_suffix(".names") / "names.txt"
    faces = ["--irp", "0", "--http", "0", "--https", "off", "--dns", "0"]
    init = [*COMMAND, "init", str(folder), "--role", "enterprise", "--prefix", "2.999"]
    subprocess.run([*init, *faces], check=True, capture_output=True)
    settings = folder / "biaoshi.toml"
    settings.write_text(settings.read_text().replace('"oid-res.org"', f'"{naptr.ZONE}"'))
    store = LmdbStore.open(folder / "store")
    try:
        for start in range(0, shape.count, dataset.BATCH):
            numbers = range(start, min(start + dataset.BATCH, shape.count))
            store.apply([write for n in numbers for write in rows(_oid(n), n + 1, dataset.TIME_S)])
    finally:
        store.close()
    names = folder.with_suffix(".names")
    names.mkdir(exist_ok=True)
    return naptr.write_names(names, shape)


def _oid(number: int) -> Record:
    value = HandleValue(1, b"NAPTR", naptr.record(number).encode(), ttl=300)
    return Record(b"2.999.%d" % number, (value,))


@contextmanager
def running_dns(folder: Path, shape: Shape, core: int | None) -> Iterator[Running]:
    """Serve a folder prepared for DNS, with one reader."""
    names = prepare_dns(folder, shape)
    with serving(folder, core) as (ready, pid):
        yield Running("Biaoshi", "dns", "127.0.0.1", int(ready["dns"]), names, pid)


@contextmanager
def serving(
    folder: Path, core: int | None, readers: int = 1
) -> Iterator[tuple[dict[str, int], int]]:
    """Serve a folder; gives the node's ready line and the number of its first process."""
    dataset.read_whole(folder / "store" / "data.mdb")
    said = folder.with_suffix(".ready")
    said.unlink(missing_ok=True)
    command = ["sh", "-c", 'exec "$@" > "$0"', str(said), *COMMAND]
    command += ["serve", str(folder), "--readers", str(readers)]
    with process(command, folder.with_suffix(".log"), core) as child:
        yield wait_ready(said, child, folder.with_suffix(".log")), child.pid


@contextmanager
def running(
    folder: Path, shape: Shape, core: int | None, readers: int = 1
) -> Iterator[dict[str, Running]]:
    """Serve a prepared folder; gives a Running for each of the generator's modes."""
    keys = prepare(folder, shape)
    with serving(folder, core, readers) as (ready, pid):
        yield {
            mode: Running("Biaoshi", mode, "127.0.0.1", int(ready[face]), keys, pid)
            for mode, face in FACES.items()
        }


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
