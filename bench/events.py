"""`python -m bench.events`: signed, durable lifecycle events a second, and where the time goes.

`stages`: CPU of each step of a capture, apart. `local`: whole documents through every step in one
process on one core: read, checked, signed, written durably. `http`: documents through POST
/epcis/capture of a running node until their jobs are done, with the CPU of its processes. An event
names five identifiers, a step, a disposition, two places and a document.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.table import Table as Grid

from bench import results
from bench.peers import cpu_s, family
from bench.screen import console
from protocol.change import Change, Kind, decode_change, encode_change
from protocol.epcis.schema import check_document, check_rules
from protocol.record import Reference
from registry.events.capture import EventSigner, make_change
from registry.store.lmdb_store import LmdbStore, create
from registry.tree import LogSigner
from registry.writer import Outcome, Writer
from resolver.epcis.taking import Sender, read_body, require_valid, take_events

PREFIX = b"2.999"
ISSUER = Reference(b"0.NA/2.999", 300)
KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
SIGNER = EventSigner(Reference(b"0.NA/2.999", 302), KEY)
FOLDER = Path("/tmp/biaoshi-bench-events")  # noqa: S108 - a folder of measurements, not of secrets
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
KINDS = ("stages", "local", "http")
START_S = 1_767_225_600
"""2026-01-01: the first event."""


def event(number: int) -> dict[str, Any]:
    """One event of five items, without an eventID unless `number` says so by being odd."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(START_S + number))
    gtin = "09506000134352"
    return {
        "type": "ObjectEvent",
        "eventID": f"urn:uuid:00000000-0000-4000-8000-{number:012x}",
        "eventTime": f"{moment}.000Z",
        "eventTimeZoneOffset": "+08:00",
        "epcList": [
            f"https://id.gs1.org/01/{gtin}/21/S{number * 5 + item:09d}" for item in range(5)
        ],
        "action": "OBSERVE",
        "bizStep": "shipping",
        "disposition": "in_transit",
        "readPoint": {"id": f"https://id.gs1.org/414/9520053855415/254/{number % 40}"},
        "bizLocation": {"id": "https://id.gs1.org/414/9520053855415"},
        "bizTransactionList": [{"type": "po", "bizTransaction": f"urn:example:po:{number // 100}"}],
    }


def document(first: int, events: int) -> bytes:
    """A capture document of events that follow each other."""
    return orjson.dumps(
        {
            "@context": CONTEXT,
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": "2026-01-01T00:00:00Z",
            "epcisBody": {"eventList": [event(first + at) for at in range(events)]},
        }
    )


def _now_us() -> int:
    return int(time.time() * 1_000_000)


def taken(body: bytes) -> list[Change]:
    """A document as changes: what a reader process does before the writer's queue."""
    found = read_body(body, "application/json")
    require_valid(found, events=True)
    sender = Sender(ISSUER, PREFIX, (), None)
    made = list(take_events(found, sender, SIGNER, _now_us(), valid=True))
    changes = [one.change for one in made if one.change is not None]
    if len(changes) != len(made):
        raise RuntimeError(f"an event of the measurement is refused: {made[0].problem}")
    return changes


# --- stages


def stages(seconds: float) -> list[dict[str, Any]]:
    """CPU of each step, µs an event, the least of some rounds."""
    size = 200
    body = document(1, size)
    parsed = read_body(body, "application/json")
    changes = taken(body)
    packed = [encode_change(change) for change in changes]
    steps: dict[str, Callable[[], object]] = {
        "read: JSON with exact numbers": lambda: read_body(body, "application/json"),
        "read: schema": lambda: check_document(parsed.value),
        "read: rules beyond the schema": lambda: [
            check_rules(one, CONTEXT, now_us=_now_us()) for one in parsed.events
        ],
        "read: id, JCS, keys of the index, signature": lambda: [
            make_change(one, issuer=ISSUER, signer=SIGNER, now_us=_now_us(), context=CONTEXT)
            for one in parsed.events
        ],
        "read: to the writer": lambda: [encode_change(change) for change in changes],
        "write: from the reader": lambda: [decode_change(data) for data in packed],
    }
    found = [{"step": name, "us": _least(step, seconds) / size} for name, step in steps.items()]
    writer, close = _writer()
    times = []
    for at in range(8):
        batch = taken(document(1 + at * 1_000, 1_000))
        started = time.process_time()
        _commit(writer, batch)
        times.append((time.process_time() - started) / len(batch) * 1e6)
    close()
    found.append({"step": "write: rights, rows, log, tree, store", "us": min(times)})
    return found


def _least(step: Callable[[], object], seconds: float) -> float:
    least, until = 1e12, time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.process_time()
        step()
        least = min(least, (time.process_time() - started) * 1e6)
    return least


def _writer() -> tuple[Writer, Callable[[], None]]:
    """A writer on a fresh store in the folder of measurements."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    create(FOLDER / "store")
    store = LmdbStore.open(FOLDER / "store")
    writer = Writer(store, log_signer=LogSigner("biaoshi/2.999", KEY))
    writer.commit([Change(Kind.HOME, b"0.NA/2.999")])
    return writer, store.close


def _commit(writer: Writer, changes: Sequence[Change]) -> list[Outcome]:
    operator = [Change(one.kind, one.handle, attributes=one.attributes) for one in changes]
    outcomes = writer.commit(operator, atomic=True)
    if any(outcome.status != "created" for outcome in outcomes):
        raise RuntimeError(f"not captured: {outcomes[0]}")
    return outcomes


# --- everything in one process


def local(events: int, batch: int) -> dict[str, Any]:
    """Durable events a second through every step on one core, and their CPU."""
    bodies = [document(1 + at, batch) for at in range(0, events, batch)]
    writer, close = _writer()
    began, cpu = time.monotonic(), time.process_time()
    latencies = []
    for body in bodies:
        started = time.monotonic()
        changes = [decode_change(encode_change(change)) for change in taken(body)]
        _commit(writer, changes)
        latencies.append(time.monotonic() - started)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    close()
    octets = (FOLDER / "store" / "data.mdb").stat().st_blocks * 512
    return {
        "events": len(bodies) * batch,
        "batch": batch,
        "events_s": len(bodies) * batch / took,
        "cpu_us": cpu / (len(bodies) * batch) * 1e6,
        "batch_ms_median": statistics.median(latencies) * 1e3,
        "octets_an_event": octets / (len(bodies) * batch),
    }


# --- a running node


def over_http(events: int, batch: int) -> dict[str, Any]:
    """Events a second through a node of one reader, until the last job is done."""
    node = FOLDER / "node"
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o700)
    secret = FOLDER / "secret"
    secret.write_text("word")
    secret.chmod(0o600)
    command = [sys.executable, "-m", "resolver.cli"]
    subprocess.run(
        [
            *(*command, "init", str(node), "--role", "enterprise", "--prefix", "2.999"),
            *("--irp", "0", "--http", "0", "--https", "0", "--admin-secret", str(secret)),
        ],
        check=True,
        capture_output=True,
    )
    with subprocess.Popen(
        [*command, "serve", str(node), "--readers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            ready = json.loads(process.stdout.readline() if process.stdout else "{}")
            return _drive(node, int(ready["https"]), process.pid, events, batch)
        finally:
            process.terminate()


def _drive(node: Path, port: int, pid: int, events: int, batch: int) -> dict[str, Any]:
    from resolver.registering.auth import Credentials
    from resolver.registering.connection import Connection

    credentials = Credentials.parse(f"301:0.NA/2.999=@{FOLDER / 'secret'}")
    bodies = [document(1 + at, batch) for at in range(0, events, batch)]
    made = Connection(
        f"https://127.0.0.1:{port}", credentials=credentials, certificate=node / "tls" / "cert.pem"
    )
    with contextlib.closing(made) as connection:
        before, began = _cpu_s(pid), time.monotonic()
        jobs = []
        for body in bodies:
            answer = connection.request(
                "POST", "/epcis/capture", body=body, headers={"Content-Type": "application/json"}
            )
            jobs.append(answer.location or "")
        for job in jobs:
            while True:
                shape = connection.request("GET", job).json()
                if not shape["running"]:
                    break
                time.sleep(0.02)
            if not shape["success"]:
                raise RuntimeError(f"not captured: {shape}")
        took = time.monotonic() - began
    cpu = _cpu_s(pid) - before
    count = len(bodies) * batch
    return {"events": count, "batch": batch, "events_s": count / took, "cpu_us": cpu / count * 1e6}


def _cpu_s(pid: int) -> float:
    """CPU of a process and all below it that live, seconds."""
    return sum(map(cpu_s, family(pid)))


# --- the command


def main(
    events: Annotated[int, typer.Option(help="Events of local and http.")] = 20_000,
    batch: Annotated[int, typer.Option(help="Events of one document.")] = 500,
    seconds: Annotated[float, typer.Option(help="Time for each step of stages.")] = 1.0,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(KINDS)}.")] = None,
    keep: Annotated[bool, typer.Option(help="Write the run to bench/results.")] = True,
) -> None:
    """Measure the capture of lifecycle events."""
    figures: dict[str, Any] = {}
    chosen = only or list(KINDS)
    if "stages" in chosen:
        figures["stages"] = stages(seconds)
        grid = Grid("step", "µs an event")
        for row in figures["stages"]:
            grid.add_row(row["step"], f"{row['us']:.1f}")
        grid.add_row("sum", f"{sum(row['us'] for row in figures['stages']):.1f}")
        console.print(grid)
    for name, measure in (("local", local), ("http", over_http)):
        if name in chosen:
            figures[name] = measure(events, batch)
            told = ", ".join(f"{key} {value:,.1f}" for key, value in figures[name].items())
            console.print(f"{name}: {told}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    if keep:
        console.print(f"written to {results.save('events', figures)}")


if __name__ == "__main__":
    typer.run(main)
