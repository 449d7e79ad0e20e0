"""`biaoshi bench saturate`: offered rate against latency, and the knee.

Open loop: every request is due at its time whatever the server does, and its latency counts
from then. The sweep doubles the offered rate until a run misses (late p99, lost answers, or
the generator itself falls behind), then halves the gap between the last good and the first bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import generator, results
from bench.generator import Load

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a run counts as kept up. p99_ms: latest 99th percentile. lost_share: 0 … 1."""

    p99_ms: float
    lost_share: float = 0.001
    answered_share: float = 0.99


def misses(figures: dict[str, Any], load: Load, bounds: Bounds) -> str | None:
    """Why a run did not keep up, or None."""
    p99_ms = figures["latency_us"]["p99"] / 1000
    if figures["wrong"]:
        return f"{figures['wrong']} wrong answers"
    if figures["answered"] < figures["sent"] * (1 - bounds.lost_share):
        return f"{figures['sent'] - figures['answered']} of {figures['sent']} lost"
    if figures["sent"] < load.rate * load.seconds * bounds.answered_share:
        return "not all could be sent: every slot was waiting"
    if p99_ms > bounds.p99_ms:
        return f"p99 {p99_ms:.1f} ms"
    return None


def sweep(load: Load, bounds: Bounds, start: float, most: float) -> Iterator[dict[str, Any]]:
    """Runs at doubling rates, then bisection around the knee; yields each run's figures."""
    good, bad, offered = 0.0, 0.0, start
    for _ in range(24):
        figures = generator.run(replace(load, rate=offered))
        reason = misses(figures, replace(load, rate=offered), bounds)
        yield {**figures, "missed": reason}
        if reason is None:
            good = offered
        else:
            bad = offered
        if not bad and good >= most:
            return
        if bad and (bad - good) / bad < 0.1:
            return
        offered = min(good * 2, most) if not bad else (good + bad) / 2


def saturate(
    server: Annotated[str, typer.Argument(help="HOST:PORT of the face to load")],
    keys: Annotated[Path, typer.Option(help="file of identifiers (domain names for dns)")],
    mode: Annotated[str, typer.Option(help=" | ".join(generator.MODES))] = "irp-udp",
    rate: Annotated[float, typer.Option(help="one run at this rate; 0 = sweep")] = 0,
    start: Annotated[float, typer.Option(help="the sweep's first rate")] = 2000,
    most: Annotated[float, typer.Option(help="the sweep's last rate")] = 1_000_000,
    p99_ms: Annotated[float, typer.Option(help="latest p99 that counts as kept up")] = 10,
    seconds: Annotated[float, typer.Option(help="length of a run")] = 5,
    open_: Annotated[int, typer.Option("--open", help="most requests in flight")] = 1024,
    zipf: Annotated[float, typer.Option(help="skew of the keys; 0 = uniform")] = 0,
    pids: Annotated[str, typer.Option(help="server processes, comma-separated")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="figures as JSON on stdout")] = False,
) -> None:
    """Load a face at stated rates and find where it stops keeping up.

    Example: biaoshi bench saturate 127.0.0.1:2641 --keys ids.txt --mode irp-udp --pids 4242
    """
    if mode not in generator.MODES:
        raise typer.BadParameter(f"{mode!r} is none of {', '.join(generator.MODES)}")
    host, _, port = server.rpartition(":")
    numbers = tuple(int(pid) for pid in pids.split(",") if pid)
    load = Load(
        mode, host.strip("[]"), int(port), keys, rate, open_, seconds, zipf=zipf, pids=numbers
    )
    bounds = Bounds(p99_ms)
    runs: list[dict[str, Any]] = []
    source = [generator.run(load)] if rate else sweep(load, bounds, start, most)
    for figures in source:
        runs.append(figures)
        if not as_json:
            console.print(line(figures))
    file = results.save("saturate", {"mode": mode, "runs": runs, "p99_ms": p99_ms})
    if as_json:
        console.print_json(data={"file": str(file), "runs": runs})
        return
    console.print(table(runs))
    console.print(f"kept in {file}")


def line(figures: dict[str, Any]) -> str:
    """One run in a line."""
    latency = figures["latency_us"]
    state = f"missed: {figures['missed']}" if figures.get("missed") else "kept up"
    return (
        f"{figures['rate_asked']:>9,.0f}/s asked  {figures['per_second']:>9,.0f}/s answered  "
        f"p50 {latency['p50']:>7,.0f} µs  p99 {latency['p99']:>8,.0f} µs  {state}"
    )


def table(runs: list[dict[str, Any]]) -> Table:
    """All runs by rate."""
    out = Table()
    for name in ("asked/s", "answered/s", "p50 µs", "p99 µs", "p99.9 µs", "server µs", "majflt"):
        out.add_column(name, justify="right")
    for run in sorted(runs, key=lambda r: r["rate_asked"]):
        latency, server = run["latency_us"], run["server"]
        out.add_row(
            f"{run['rate_asked']:,.0f}",
            f"{run['per_second']:,.0f}",
            f"{latency['p50']:,.0f}",
            f"{latency['p99']:,.0f}",
            f"{latency['p999']:,.0f}",
            f"{server['cpu_us_per_answer']:.1f}",
            f"{server['major_faults']}",
        )
    return out
