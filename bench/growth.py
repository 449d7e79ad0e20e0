"""`biaoshi bench growth`: what a lookup costs as the store, the value sets and the skew grow.

Every store lies in memory (read before, page faults printed). All stores are served at once and
asked in turn, so that the ratio between sizes is one run's.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from bench import generator, results
from bench.compare import GENERATOR_CORE, SERVER_CORE
from bench.dataset import Shape, names_of
from bench.generator import Load
from bench.peers import Running, ours
from bench.screen import console

MODES = ("irp-udp", "http")
FLAT = 1.3
"""The largest store may cost so much more than the smallest."""


class Asked(NamedTuple):
    """Which names are asked for. zipf: skew, 0 = evenly."""

    names: str
    zipf: float


ASKED = (Asked("present", 0), Asked("present", 1), Asked("absent", 0), Asked("withheld", 0))


def shapes(counts: list[int], values: list[int]) -> dict[str, Shape]:
    """Stores by what they are called: sizes with short records, then value sets."""
    by_size = {f"{count:,} short": Shape(count, short=True) for count in counts}
    return by_size | {f"10,000 of {n} values": Shape(10_000, n) for n in values}


def one(server: Running, asked: Asked, seconds: float, rate: float) -> dict[str, Any]:
    """Closed loop for the cost; then open loop at a fixed rate for p99."""
    keys = names_of(server.keys, asked.names)
    load = Load(server.mode, server.host, server.port, keys, pids=server.pids, zipf=asked.zipf)
    load = replace(load, expected=asked.names, seconds=seconds, warmup_s=0.5, core=GENERATOR_CORE)
    server.before()
    # Spinning: the shorter the answers, the more often a server would pay to wake the generator.
    cost = generator.run(replace(load, spin=True)).figures
    paced = generator.run(replace(load, rate=rate, open=256)).figures
    if not cost["answered"] or cost["wrong"]:
        raise RuntimeError(f"{server.mode}: wrong answers to {asked.names} names: {cost}")
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


def rounds(
    nodes: dict[str, dict[str, Running]], sizes: dict[str, float], count: int, load: Load
) -> list[dict[str, Any]]:
    """Every store, face and kind of name once a round. load: length and rate of a run."""
    runs = []
    for number in range(count):
        for mode in MODES:
            for asked in ASKED:
                for name, faces in nodes.items():
                    figures = one(faces[mode], asked, load.seconds, load.rate)
                    what = {"store": name, "mode": mode, **asked._asdict()}
                    runs.append(what | {"round": number, "bytes": sizes[name]} | figures)
                    console.print(
                        f"round {number + 1}: {name} {mode} {asked.names} zipf {asked.zipf:g}: "
                        f"{figures['cpu_us']:.1f} µs",
                        style="dim",
                        soft_wrap=True,
                    )
    return runs


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
    with ExitStack() as stack:
        nodes = {
            name: stack.enter_context(ours.running(place(folder, s), s, SERVER_CORE))
            for name, s in wanted.items()
        }
        bytes_of = {name: file_bytes(place(folder, s), s) for name, s in wanted.items()}
        load = Load("", "", 0, Path(), rate=rate, seconds=seconds)
        runs = rounds(nodes, bytes_of, count, load)
    rows = medians(runs)
    show(rows)
    flat(rows, [name for name, shape in wanted.items() if shape.short])
    file = results.save("growth", {"summary": rows, "runs": runs})
    console.print(f"kept in {file}", soft_wrap=True)


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
    """The table. RSS counts the pages of the store that the readers have touched."""
    table = Table()
    for column in ("store", "face", "names", "CPU µs", "p99 µs", "RSS MiB", "B/record", "majflt"):
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


def flatness(rows: list[dict[str, Any]], stores: list[str]) -> dict[str, float]:
    """By face: what the largest store costs against the smallest."""
    ratios = {}
    for mode in MODES:
        cost = {
            row["store"]: row["cpu_us"]
            for row in rows
            if row["mode"] == mode and row["names"] == "present" and not row["zipf"]
        }
        if len(stores) > 1 and cost.get(stores[0]):
            ratios[mode] = cost[stores[-1]] / cost[stores[0]]
    return ratios


def flat(rows: list[dict[str, Any]], stores: list[str]) -> None:
    """Say whether the lookup stays flat."""
    for mode, ratio in flatness(rows, stores).items():
        verdict = "flat" if ratio <= FLAT else "not flat"
        console.print(f"{mode}: {stores[-1]} cost {ratio:.2f}× {stores[0]} ({verdict})")


if __name__ == "__main__":
    typer.run(growth)
