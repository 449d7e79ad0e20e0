"""`python -m bench.trace`: how long a trace takes, and how that grows with the events of a node.

Companies make parts of coils of ore, carry the coils on pallets that are used again and again, build
machines of the parts and service them. `growth`: nodes with more and more events, asked over HTTP
back from machines and forward from lots of ore. `companies`: the same events over four nodes below
one parent, asked with hops. `capture`: the rate at which events are taken (bench.events). Goals:
p95 under 1 s with 100,000 events on one node, under 3 s over four; 2,500 captures a second.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.table import Table as Grid

from bench import events as capturing
from bench import results
from bench.screen import console
from protocol.schemes.gs1_checks import check_digit
from registry.events.capture import make_change, node_event_signer, operator_of
from registry.keys import load_keys
from resolver.config import FaceSettings, NodeSettings, OutboundSettings, Settings
from resolver.founding import found
from resolver.writer_link import open_writer

ROOT: Final = "https://id.gs1.org"
COMPANIES: Final = {
    "steel": "9521111",
    "carrier": "9522222",
    "maker": "9523333",
    "service": "9524444",
}
PUBLIC: Final = {"class": "operation", "level": 1}
PER_BATCH: Final = 93
TRIPS: Final = 25
"""How often a pallet is used."""
START_S: Final = 1_767_225_600
KINDS: Final = ("growth", "companies", "capture")
GOAL_ONE_S, GOAL_FOUR_S, GOAL_CAPTURE = 1.0, 3.0, 2_500
COMMAND: Final = (sys.executable, "-m", "resolver.cli")
_CHUNK: Final = 2_000


def gtin(company: str, number: int) -> str:
    """A class of things of a company."""
    body = f"0{COMPANIES[company]}{number:05d}"
    return f"{ROOT}/01/{body}{check_digit(body)}"


def ore(batch: int) -> str:
    return f"{gtin('steel', 1)}/10/ORE{batch}"


def machine(number: int) -> str:
    return f"{ROOT}/8004/{COMPANIES['maker']}M{number}"


def _event(second: int, number: int, kind: str, **fields: Any) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(START_S + second))
    return {
        "type": kind,
        "eventID": f"urn:uuid:00000000-0000-4000-8000-{number:012x}",
        "eventTime": f"{moment}.000Z",
        "eventTimeZoneOffset": "+08:00",
        **fields,
    }


def batch_events(batch: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(company, event) of one lot of ore and all that becomes of it: PER_BATCH of them."""
    at = iter(range(batch * PER_BATCH, (batch + 1) * PER_BATCH))

    def one(company: str, kind: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        number = next(at)
        return company, _event(number * 10, number, kind, **fields)

    coils = [f"{gtin('steel', 2)}/21/C{batch * 4 + n}" for n in range(4)]
    lots = [f"{gtin('maker', 1)}/10/B{batch * 4 + n}" for n in range(4)]
    parts = [f"{gtin('maker', 2)}/21/P{batch * 16 + n}" for n in range(16)]
    amount = [{"epcClass": ore(batch), "quantity": 80, "uom": "TNE"}]
    yield one(
        "steel",
        "TransformationEvent",
        inputQuantityList=amount,
        outputEPCList=coils,
        destinationList=[{"type": "possessing_party", "destination": _party("carrier")}],
    )
    for n, coil in enumerate(coils):
        digits = f"{COMPANIES['carrier']}00001"
        pallet = f"{ROOT}/8003/0{digits}{check_digit(digits)}T{(batch // TRIPS) * 4 + n}"
        to = _party("maker")
        yield one("carrier", "AggregationEvent", action="ADD", parentID=pallet, childEPCs=[coil])
        yield one("carrier", "ObjectEvent", action="OBSERVE", bizStep="departing", epcList=[pallet])
        yield one(
            "carrier",
            "ObjectEvent",
            action="OBSERVE",
            bizStep="shipping",
            epcList=[coil],
            sourceList=[{"type": "possessing_party", "source": _party("carrier")}],
            destinationList=[{"type": "possessing_party", "destination": to}],
        )
        yield one("carrier", "AggregationEvent", action="DELETE", parentID=pallet, childEPCs=[coil])
    for coil, lot in zip(coils, lots, strict=True):
        cut = [{"epcClass": lot, "quantity": 40}]
        carried = [{"type": "possessing_party", "source": _party("carrier")}]
        yield one(
            "maker",
            "TransformationEvent",
            inputEPCList=[coil],
            outputQuantityList=cut,
            sourceList=carried,
        )
    for n, part in enumerate(parts):
        used = [{"epcClass": lots[n // 4], "quantity": 1}]
        yield one("maker", "TransformationEvent", inputQuantityList=used, outputEPCList=[part])
    for n, part in enumerate(parts):
        whole = machine(batch * 8 + n // 2)
        sold = [{"type": "possessing_party", "destination": _party("service")}]
        yield one(
            "maker",
            "AssociationEvent",
            action="ADD",
            parentID=whole,
            childEPCs=[part],
            destinationList=sold,
        )
    for n in range(40):
        yield one(
            "service",
            "ObjectEvent",
            action="OBSERVE",
            bizStep="inspecting",
            epcList=[machine(batch * 8 + n % 8)],
        )


def _party(company: str) -> str:
    digits = f"{COMPANIES[company]}00001"
    return f"{ROOT}/417/{digits}{check_digit(digits)}"


def zone(company: str) -> str:
    return "GS1." + ".".join(COMPANIES[company])


# --- nodes


def make(folder: Path, prefix: str, parent: str = "", role: str = "enterprise") -> Path:
    """A founded folder on free ports."""
    settings = Settings(
        node=NodeSettings(role=role, prefix=prefix, parent=parent),
        faces=FaceSettings(irp=0, http=0, https=0),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
    )
    found(folder, settings)
    return folder


def fill(folder: Path, prefix: str, events: Iterator[dict[str, Any]]) -> int:
    """Capture events as the operator, durably; how many."""
    keys, name = load_keys(folder), prefix.encode()
    signer, issuer = node_event_signer(keys, name), operator_of(name)
    count = 0
    with open_writer(folder) as writer:
        while True:
            chunk = [event for event, _ in zip(events, range(_CHUNK), strict=False)]
            if not chunk:
                return count
            now_us = int(time.time() * 1e6)
            changes = [
                make_change(one, issuer=issuer, signer=signer, now_us=now_us, label=PUBLIC)
                for one in chunk
            ]
            outcomes = writer.submit(changes)
            if any(one.status != "created" for one in outcomes):
                raise RuntimeError(f"an event of the measurement is refused: {outcomes[0]}")
            count += len(chunk)


class Served:
    """A node that serves until the end of the measurement."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        log = stack.enter_context((folder / "bench.log").open("a"))
        process = stack.enter_context(
            subprocess.Popen(
                [*COMMAND, "serve", str(folder), "--readers", "1"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        )
        stack.callback(process.terminate)
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RuntimeError(f"the node did not start; see {folder / 'bench.log'}")
        self.port = int(json.loads(line)["http"])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        stack.callback(self.connection.close)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trace(self, id_: str, query: str) -> tuple[float, dict[str, Any]]:
        """Seconds and result."""
        began = time.perf_counter()
        self.connection.request("GET", f"/api/trace/{quote(id_, safe='')}?{query}")
        reply = self.connection.getresponse()
        body = reply.read()
        took = time.perf_counter() - began
        if reply.status != 200:
            raise RuntimeError(f"{id_}: {reply.status} {body[:200]!r}")
        return took, json.loads(body)


def ask(node: Served, ids: Sequence[str], query: str) -> dict[str, Any]:
    """Traces of many things, one after the other: percentiles and what they held."""
    times, sizes, gaps = [], [], 0
    for id_ in ids:
        took, result = node.trace(id_, query)
        times.append(took)
        sizes.append(result["stats"]["events"])
        gaps += len(result["gaps"])
    ordered = sorted(times)
    return {
        "traces": len(times),
        "p50_ms": statistics.median(ordered) * 1e3,
        "p95_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1e3,
        "events_a_trace": statistics.mean(sizes),
        "gaps": gaps,
    }


# --- what is measured


def growth(sizes: Sequence[int], traces: int, base: Path) -> list[dict[str, Any]]:
    """The same questions to nodes with more and more events."""
    rows = []
    chance = random.Random(1)
    for size in sizes:
        batches = max(1, size // PER_BATCH)
        folder = make(base / f"one-{size}", zone("maker"))
        began = time.monotonic()
        count = fill(
            folder,
            zone("maker"),
            (event for batch in range(batches) for _, event in batch_events(batch)),
        )
        filled = time.monotonic() - began
        with ExitStack() as stack:
            node = Served(stack, folder)
            machines = [machine(chance.randrange(batches * 8)) for _ in range(traces)]
            lots = [ore(chance.randrange(batches)) for _ in range(traces)]
            row = {
                "events": count,
                "filled_s": filled,
                "back": ask(node, machines, "direction=back"),
                "forward": ask(node, lots, "direction=forward"),
            }
        rows.append(row)
        shutil.rmtree(folder)
    return rows


def companies(events: int, traces: int, base: Path) -> dict[str, Any]:
    """Four nodes below a parent, each with its part of the events."""
    batches = max(1, events // PER_BATCH)
    chance = random.Random(2)
    with ExitStack() as stack:
        top = Served(stack, make(base / "top", "GS1", role="top"))
        nodes = {}
        for company in COMPANIES:
            folder = make(base / company, zone(company), parent=top.url)
            fill(
                folder,
                zone(company),
                (
                    event
                    for batch in range(batches)
                    for who, event in batch_events(batch)
                    if who == company
                ),
            )
            nodes[company] = Served(stack, folder)
            _enrol(folder, top.folder, zone(company))
        machines = [machine(chance.randrange(batches * 8)) for _ in range(traces)]
        lots = [ore(chance.randrange(batches)) for _ in range(traces)]
        return {
            "events": batches * PER_BATCH,
            "back": ask(nodes["service"], machines, "direction=back&hops=iterative"),
            "forward": ask(nodes["steel"], lots, "direction=forward&hops=iterative"),
        }


def _enrol(child: Path, parent: Path, prefix: str) -> None:
    for arguments in (
        ("prefix", "request", "--node", str(child)),
        ("prefix", "approve", prefix, "--node", str(parent)),
        ("prefix", "request", "--node", str(child), "--wait"),
    ):
        subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, text=True)


def main(
    events: Annotated[int, typer.Option(help="Events over four nodes, and to capture.")] = 10_000,
    sizes: Annotated[str, typer.Option(help="Events of one node, for growth.")] = "10000,100000",
    traces: Annotated[int, typer.Option(help="Traces of each kind.")] = 100,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(KINDS)}.")] = None,
    keep: Annotated[bool, typer.Option(help="Write the run to bench/results.")] = True,
) -> None:
    """Measure traces; in full: --events 100000 --sizes 10000,100000,1000000 --traces 200."""
    chosen = only or list(KINDS)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="biaoshi-trace-") as name:
        base = Path(name)
        grid = Grid("nodes", "events", "direction", "p50 ms", "p95 ms", "events a trace", "goal ms")
        if "growth" in chosen:
            figures["growth"] = growth([int(one) for one in sizes.split(",")], traces, base)
            for row in figures["growth"]:
                _row(grid, "1", row, GOAL_ONE_S)
        if "companies" in chosen:
            figures["companies"] = companies(events, traces, base)
            _row(grid, "4", figures["companies"], GOAL_FOUR_S)
    console.print(grid)
    if "capture" in chosen:
        figures["capture"] = capturing.local(min(events, 20_000), 500)
        rate = figures["capture"]["events_s"]
        console.print(f"capture: {rate:,.0f} durable events/s on one core (goal {GOAL_CAPTURE:,})")
        shutil.rmtree(capturing.FOLDER, ignore_errors=True)
    if keep:
        console.print(f"written to {results.save('trace', figures)}")


def _row(grid: Grid, nodes: str, row: dict[str, Any], goal_s: float) -> None:
    for direction in ("back", "forward"):
        one = row[direction]
        grid.add_row(
            nodes,
            f"{row['events']:,}",
            direction,
            f"{one['p50_ms']:.1f}",
            f"{one['p95_ms']:.1f}",
            f"{one['events_a_trace']:.0f}",
            f"{goal_s * 1e3:.0f}",
        )


if __name__ == "__main__":
    typer.run(main)
