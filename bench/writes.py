"""`python -m bench.writes`: durable registrations a second, and what each ready-made body costs.

Three measurements. `bodies`: making each form that is stored of a record, apart. `local`: the
writer in this process, batch after batch, each one durable transaction, with all forms and
without some. `http`: batches through POST /api/registrations of a running node, as an enterprise
sends them, with the CPU of the reader and of the writer apart. The names of a batch are serial
numbers that follow each other, somewhere between the names that are there; or each of them lies
anywhere, which is the dear case: pages all over the tree are copied.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from bench import results
from bench.dataset import Shape, read_whole, value_set
from bench.peers import cpu_s, family, ours
from bench.screen import console
from protocol.change import Change, Kind
from protocol.handle_json import format_values
from protocol.naptr import domain_of
from protocol.record import HandleValue, Record, Reference
from registry import batch as batch_module
from registry.keys import load_keys
from registry.signing import VERIFIED, RecordSigner, node_signer
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore
from registry.store.row import encode_row, no_rows, ready_json, ready_naptr, rows
from registry.writer import Writer
from resolver.registering.auth import Credentials
from resolver.registering.connection import Connection

PREFIX = Shape(0).prefix
ADMIN = Reference(f"0.NA/{PREFIX}".encode(), 300)
FOLDER = Path("/tmp/biaoshi-bench")  # noqa: S108 - a folder of measurements, not of secrets
KINDS = ("bodies", "local", "http")


def new_values(number: int) -> tuple[HandleValue, ...]:
    """What a product is registered with."""
    return value_set(Shape(1), number * 50)


def new_handle(records: int, draw: random.Random) -> bytes:
    """A name that is not there, anywhere between those that are."""
    at = Shape(records).handle(draw.randrange(max(1, records)))
    return f"{at}-{draw.getrandbits(48):012x}".encode()


def new_handles(records: int, size: int, draw: random.Random, names: str) -> list[bytes]:
    """Names of a batch that are not there. names: `anywhere` in the store each, or `serial`
    numbers one after the other, the batch anywhere: what a production line makes.
    """
    if names == "serial":
        first = new_handle(records, draw)
        return [b"%b-%06d" % (first, number) for number in range(size)]
    return [new_handle(records, draw) for _ in range(size)]


# --- bodies


def body_costs(seconds: float) -> list[dict[str, Any]]:
    """µs of CPU and octets of each stored form of a signed record of four values."""
    keys = _signer(FOLDER / "keys-only")
    handle = b"2.999.1"
    values = keys.sign(handle, new_values(1), 1_790_000_000)
    record = Record(handle, values)
    domain = domain_of(handle)
    if domain is None:
        raise RuntimeError(f"{handle!r} has no domain name")
    makers: dict[str, Callable[[], bytes | None]] = {
        "row (DO-IRP)": lambda: encode_row(record, 1, 1),
        "JSON": lambda: ready_json(record, 1, 1),
        "NAPTR": lambda: ready_naptr(record, domain, 1),
        "signature (Ed25519, by the reader)": lambda: keys.signature(handle, values[:-1], 1),
    }
    return [
        {"form": name, "us": _timed(make, seconds), "octets": len(make() or b"")}
        for name, make in makers.items()
    ]


def _timed(make: Callable[[], object], seconds: float) -> float:
    """The least CPU of a call, µs, over rounds of 200."""
    least, until = 1e9, time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.process_time()
        for _ in range(200):
            make()
        least = min(least, (time.process_time() - started) / 200 * 1e6)
    return least


def _signer(folder: Path) -> RecordSigner:
    """The signer of a node that is made here if need be."""
    ours.prepare(folder, Shape(100))
    return node_signer(load_keys(folder), PREFIX.encode(), ())


# --- the writer in this process


def only(*tables: Table) -> Callable[..., list[Write]]:
    """`rows()` that makes only the forms of some tables: the others cost nothing."""

    def made(record: Record, version: int, time_s: int, wire: Any = None) -> list[Write]:
        key = record.handle.upper()
        out = []
        if Table.RECORDS in tables:
            out.append(Write(Table.RECORDS, key, encode_row(record, version, time_s, wire)))
        if Table.JSON in tables:
            out.append(Write(Table.JSON, key, ready_json(record, version, time_s)))
        return out

    return made


VARIANTS: dict[str, Callable[..., list[Write]]] = {
    "all forms": rows,
    "row alone": only(Table.RECORDS),
}


@contextmanager
def store_of(records: int, folder: Path) -> Iterator[LmdbStore]:
    """A copy of a store with so many records, to be written to."""
    source = folder / f"node-{records}-4-values"
    ours.prepare(source, Shape(records))
    copy = folder / "writes"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source / "store", copy)
    read_whole(copy / "data.mdb")
    store = LmdbStore.open(copy)
    try:
        yield store
    finally:
        store.close()
        shutil.rmtree(copy)


def changes(
    records: int, count: int, signer: RecordSigner, draw: random.Random, names: str
) -> list[Change]:
    """Registrations as a reader hands them to the writer: signed, verified."""
    made = []
    for number, handle in enumerate(new_handles(records, count, draw, names)):
        values = signer.sign(handle, new_values(number), int(time.time()))
        made.append(Change(Kind.CREATE, handle, values, actor=ADMIN, attributes={VERIFIED: True}))
    return made


def local(records: int, count: int, size: int, folder: Path, names: str) -> list[dict[str, Any]]:
    """The writer alone, by variant: registrations a second and octets a record."""
    signer = _signer(folder / "keys-only")
    out = []
    for name, make in VARIANTS.items():
        draw = random.Random(records)
        with store_of(records, folder) as store, _patched(make):
            writer = Writer(store)
            before = _used_bytes(store)
            rates, cpu = [], []
            for _ in range(count):
                batch = changes(records, size, signer, draw, names)
                started, busy = time.perf_counter(), time.process_time()
                outcomes = writer.commit(batch)
                rates.append(size / (time.perf_counter() - started))
                cpu.append((time.process_time() - busy) / size * 1e6)
                _require_created([outcome.status for outcome in outcomes])
            out.append(
                {
                    "records": records,
                    "variant": name,
                    "names": names,
                    "batch": size,
                    "per_second": statistics.median(rates),
                    "cpu_us": statistics.median(cpu),
                    "file_bytes": (_used_bytes(store) - before) / (count * size),
                }
            )
    return out


@contextmanager
def _patched(make: Callable[..., list[Write]]) -> Iterator[None]:
    """The writer makes other forms for a while."""
    vars(batch_module).update(rows=make)
    try:
        yield
    finally:
        vars(batch_module).update(rows=rows, no_rows=no_rows)


def _used_bytes(store: LmdbStore) -> int:
    return int((store.path / "data.mdb").stat().st_size)


def _require_created(statuses: Sequence[str]) -> None:
    odd = [status for status in statuses if status != "created"]
    if odd:
        raise RuntimeError(f"{len(odd)} registrations were not created but {odd[0]}")


# --- over HTTP


@dataclass(frozen=True, slots=True)
class Sender:
    """A client: its connection, and what it got."""

    connection: Connection
    bodies: list[bytes]
    idempotent: bool

    def run(self, latencies: list[float]) -> None:
        """Send every body, one after the other."""
        run = os.urandom(6).hex()
        for number, body in enumerate(self.bodies):
            headers = {"Content-Type": "application/x-ndjson"}
            if self.idempotent:
                headers["Idempotency-Key"] = f"{run}-{number}"
            started = time.perf_counter()
            answer = self.connection.request("POST", "/api/registrations", body, headers)
            latencies.append(time.perf_counter() - started)
            lines = answer.body.splitlines()
            _require_created([str(json.loads(line)["status"]) for line in lines[:: len(lines) - 1]])
            if answer.status != 200 or answer.body.count(b'"created"') != body.count(b"\n"):
                raise RuntimeError(f"{answer.status}: {answer.body[:300]!r}")


def encoded(records: int, size: int, draw: random.Random, names: str = "serial") -> bytes:
    """One batch of rows without signatures: the node signs them."""
    return b"".join(
        b'{"handle":"%b","values":%b}\n' % (handle, format_values(new_values(number)))
        for number, handle in enumerate(new_handles(records, size, draw, names))
    )


@dataclass(frozen=True, slots=True)
class Batches:
    """What is sent: `count` batches of `size` by each of `clients`, over a face.

    idempotent: with an Idempotency-Key. names: see new_handles. readers: processes of the node.
    """

    count: int
    size: int
    clients: int
    idempotent: bool = False
    face: str = "https"
    names: str = "serial"
    readers: int = 1


def over_http(records: int, sent: Batches, folder: Path) -> dict[str, Any]:
    """Batches through an HTTP face of a running node."""
    size = sent.size
    place = folder / f"node-{records}-4-values"
    ours.prepare(place, Shape(records))
    copy = folder / "writes-node"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(place, copy)
    draw = random.Random(time.time_ns())
    latencies: list[float] = []
    with ours.serving(copy, readers=sent.readers) as (pid, ports):
        credentials = Credentials.parse(f"{ADMIN.text()}={copy / 'keys' / 'admin_300.pem'}")
        senders = [
            Sender(
                Connection(f"{sent.face}://127.0.0.1:{ports[sent.face]}", credentials),
                [encoded(records, size, draw, sent.names) for _ in range(sent.count)],
                sent.idempotent,
            )
            for _ in range(sent.clients)
        ]
        senders[0].connection.request(
            "POST", "/api/registrations", encoded(records, 10, draw),
            {"Content-Type": "application/x-ndjson"},
        )  # fmt: skip
        before, started = _cpu(pid), time.perf_counter()
        busy = time.process_time()
        threads = [threading.Thread(target=one.run, args=(latencies,)) for one in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - started
        after = _cpu(pid)
    shutil.rmtree(copy)
    total = len(latencies) * size
    return {
        "records": records,
        "batch": size,
        "clients": sent.clients,
        "face": sent.face,
        "names": sent.names,
        "idempotency_keys": sent.idempotent,
        "per_second": total / took,
        "batch_ms": statistics.median(latencies) * 1000,
        "client_us": (time.process_time() - busy) / total * 1e6,
        "process_us": {name: (after[name] - before[name]) / total * 1e6 for name in after},
    }


_PROCESSES = ("keeper", "supervisor", "writer", "readers")


def _cpu(keeper: int) -> dict[str, float]:
    """CPU seconds by process, which were started in this order."""
    found = dict.fromkeys(_PROCESSES, 0.0)
    for at, pid in enumerate(sorted(family(keeper))):
        found[_PROCESSES[min(at, 3)]] += cpu_s(pid)
    return found


# --- the command


def show(title: str, lines: list[dict[str, Any]]) -> None:
    """Any of the measurements as a table."""
    if not lines:
        return
    grid = Grid(title=title, title_justify="left")
    for name in lines[0]:
        grid.add_column(name, justify="right")
    for line in lines:
        grid.add_row(*(_shown(value) for value in line.values()))
    console.print(grid)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    return (
        f"{value:,.1f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else str(value)
    )


def main(
    records: Annotated[str, typer.Option(help="records in the store, comma-separated")] = (
        "10000,1000000"
    ),
    count: Annotated[int, typer.Option("--batches", help="batches of each measurement")] = 20,
    size: Annotated[int, typer.Option("--batch", help="registrations in a batch")] = 1000,
    clients: Annotated[int, typer.Option(help="HTTP clients at once")] = 2,
    only_: Annotated[str, typer.Option("--only", help="bodies,local,http or some of them")] = "",
    idempotent: Annotated[bool, typer.Option(help="with an Idempotency-Key a batch")] = False,
    face: Annotated[str, typer.Option(help="https or http")] = "https",
    names: Annotated[
        str, typer.Option(help="serial (a batch's names follow each other), anywhere, or both")
    ] = "serial,anywhere",
    readers: Annotated[int, typer.Option(help="reader processes of the node")] = 1,
    folder: Annotated[Path, typer.Option(help="where stores are kept")] = FOLDER,
    keep: Annotated[bool, typer.Option(help="keep the figures in bench/results")] = True,
) -> None:
    """Measure durable registrations.

    Example: python -m bench.writes --records 10000,1000000 --batches 30
    """
    wanted = [kind for kind in only_.split(",") if kind] or list(KINDS)
    sizes = [int(part) for part in records.split(",")]
    figures: dict[str, Any] = {}
    if "bodies" in wanted:
        figures["bodies"] = body_costs(1.0)
        show("the stored forms of a signed record of four values", figures["bodies"])
    kinds = names.split(",")
    if "local" in wanted:
        figures["local"] = [
            line for n in sizes for kind in kinds for line in local(n, count, size, folder, kind)
        ]
        show("the writer alone", figures["local"])
    if "http" in wanted:
        sent = Batches(count, size, clients, idempotent, face, readers=readers)
        figures["http"] = [
            over_http(n, replace(sent, names=kind), folder) for n in sizes for kind in kinds
        ]
        show("POST /api/registrations", figures["http"])
    if keep:
        console.print(f"kept in {results.save('writes', figures)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
