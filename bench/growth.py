"""`biaoshi bench growth`: what a lookup costs as the store, the value sets and the skew grow.

Every store lies in memory (read before, page faults printed). All stores are served at once and
asked in turn, so that the ratio between sizes is one run's.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import generator, results
from bench.compare import GENERATOR_CORE, SERVER_CORE
from bench.dataset import Shape
from bench.generator import Load
from bench.peers import Running, ours

console = Console(highlight=False)
MODES = ("irp-udp", "http")
FLAT = 1.3


def shapes(counts: list[int], values: list[int]) -> dict[str, Shape]:
    """Stores by what they are called: sizes with short records, then value sets."""
    by_size = {f"{count:,} short records": Shape(count, short=True) for count in counts}
    return by_size | {f"10,000 records of {n} values": Shape(10_000, n) for n in values}


def names(keys: Path, kind: str) -> Path:
    """A file of names: those present, or as many that are not there."""
    if kind == "present":
        return keys
    absent = keys.with_suffix(".absent")
    absent.write_text("".join(f"{name}-none\n" for name in keys.read_text().splitlines()))
    return absent


def one(server: Running, keys: Path, seconds: float, rate: float, zipf: float) -> dict[str, Any]:
    """Closed loop for the cost; then open loop at a fixed rate for p99."""
    load = Load(server.mode, server.host, server.port, keys, pids=server.pids, zipf=zipf)
    load = replace(load, seconds=seconds, warmup_s=0.5, core=GENERATOR_CORE)
    cost = generator.run(load)
    paced = generator.run(replace(load, rate=rate, open=1024))
    return {
        "cpu_us": cost["server"]["cpu_us_per_answer"],
        "major_faults": cost["server"]["major_faults"],
        "rss_mib": cost["server"]["rss_kib"] / 1024,
        "p99_us": paced["latency_us"]["p99"],
        "rate": rate,
    }


def file_bytes(folder: Path, shape: Shape) -> float:
    """Octets on disk per record."""
    return (folder / "store" / "data.mdb").stat().st_blocks * 512 / shape.count


def growth(
    counts: Annotated[str, typer.Option(help="store sizes")] = "10000,1000000,10000000",
    values: Annotated[str, typer.Option(help="values a record")] = "1,5,50",
    count: Annotated[int, typer.Option("--rounds", help="rounds")] = 3,
    seconds: Annotated[float, typer.Option(help="length of one run")] = 2,
    rate: Annotated[float, typer.Option(help="offered rate for p99")] = 10_000,
    folder: Annotated[Path, typer.Option(help="where stores are kept")] = Path(
        "/tmp/biaoshi-bench"  # noqa: S108 - a folder of measurements, not of secrets
    ),
) -> None:
    """Measure CPU per lookup, p99, memory and file size as stores grow.

    Example: biaoshi bench growth --counts 10000,1000000
    """
    sizes = [int(part) for part in counts.split(",") if part]
    sets = [int(part) for part in values.split(",") if part]
    folder.mkdir(parents=True, exist_ok=True)
    wanted = shapes(sizes, sets)
    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        nodes = {
            name: stack.enter_context(ours.running(place(folder, s), s, SERVER_CORE))
            for name, s in wanted.items()
        }
        for number in range(count):
            for name, shape in wanted.items():
                for mode in MODES:
                    server = nodes[name][mode]
                    for kind, zipf in (("present", 0.0), ("present", 1.0), ("absent", 0.0)):
                        figures = one(server, names(server.keys, kind), seconds, rate, zipf)
                        runs.append(
                            {"store": name, "mode": mode, "names": kind, "zipf": zipf}
                            | {"round": number, "bytes": file_bytes(place(folder, shape), shape)}
                            | figures
                        )
    rows = medians(runs)
    show(rows)
    flat(rows, [f"{size:,} short records" for size in sizes])
    console.print(f"kept in {results.save('growth', {'summary': rows, 'runs': runs})}")


def place(folder: Path, shape: Shape) -> Path:
    """The folder of a shape's node."""
    form = "short" if shape.short else f"{shape.values}-values"
    return folder / f"node-{shape.count}-{form}"


def medians(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median of each figure over the rounds."""
    rows = []
    keys = ("store", "mode", "names", "zipf")
    for group in dict.fromkeys(tuple(run[key] for key in keys) for run in runs):
        same = [run for run in runs if tuple(run[key] for key in keys) == group]
        figures = ("cpu_us", "p99_us", "rss_mib", "bytes", "major_faults")
        rows.append(
            dict(zip(keys, group, strict=True))
            | {name: statistics.median(run[name] for run in same) for name in figures}
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table()
    for column in ("store", "face", "names", "µs CPU", "p99 µs", "MiB", "bytes/record", "majflt"):
        table.add_column(column, justify="left" if column in ("store", "face") else "right")
    for row in rows:
        asked = f"{row['names']}{' zipf' if row['zipf'] else ''}"
        table.add_row(
            row["store"],
            row["mode"],
            asked,
            f"{row['cpu_us']:.1f}",
            f"{row['p99_us']:.0f}",
            f"{row['rss_mib']:.0f}",
            f"{row['bytes']:.0f}",
            f"{row['major_faults']:.0f}",
        )
    console.print(table)


def flat(rows: list[dict[str, Any]], stores: list[str]) -> None:
    """Say what the largest store costs against the smallest."""
    for mode in MODES:
        cost = {
            row["store"]: row["cpu_us"]
            for row in rows
            if row["mode"] == mode and row["names"] == "present" and not row["zipf"]
        }
        if len(stores) > 1 and cost.get(stores[0]):
            ratio = cost[stores[-1]] / cost[stores[0]]
            verdict = "flat" if ratio <= FLAT else "not flat"
            console.print(f"{mode}: {stores[-1]} cost {ratio:.2f}× {stores[0]} ({verdict})")
