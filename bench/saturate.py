"""`biaoshi bench saturate`: offered rate against latency, and the knee.

Open loop: every request is due at its time whatever the server does, and its latency counts
from then. The sweep doubles the offered rate until a run misses (late p99, lost answers, or
the generator itself falls behind), then halves the gap between the last good and the first bad.
A miss is repeated once before it counts: a shared machine stumbles now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench import generator, results
from bench.generator import Load, Measured
from bench.peers import family
from bench.screen import console
from bench.served import NotServed, served

_MOST_RUNS = 24
_CLOSE_ENOUGH = 0.1
"""The sweep ends when the knee lies between two rates so near to each other."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a run counts as kept up. p99_ms: latest 99th percentile. lost_share: 0 … 1."""

    p99_ms: float
    lost_share: float = 0.001
    sent_share: float = 0.99


def misses(figures: dict[str, Any], load: Load, bounds: Bounds) -> str | None:
    """Why a run did not keep up, or None."""
    p99_ms = figures["latency_us"]["p99"] / 1000
    if figures["wrong"]:
        return f"{figures['wrong']} wrong answers"
    if figures["answered"] < figures["sent"] * (1 - bounds.lost_share):
        return f"{figures['sent'] - figures['answered']} of {figures['sent']} lost"
    if figures["sent"] < load.rate * load.seconds * bounds.sent_share:
        return "not all could be sent in time"
    if p99_ms > bounds.p99_ms:
        return f"p99 {p99_ms:.1f} ms"
    return None


def attempt(load: Load, bounds: Bounds) -> Measured:
    """One run, repeated once if it missed; figures["missed"] says why, or None."""
    for _ in range(2):
        run = generator.run(load)
        reason = misses(run.figures, load, bounds) if load.rate else None
        run.figures["missed"] = reason
        if reason is None:
            break
    return run


def sweep(load: Load, bounds: Bounds, start: float, most: float) -> Iterator[Measured]:
    """Runs at doubling rates, then bisection around the knee; yields each of them."""
    good, bad, offered = 0.0, 0.0, start
    for _ in range(_MOST_RUNS):
        run = attempt(replace(load, rate=offered), bounds)
        yield run
        if run.figures["missed"] is None:
            good = offered
        else:
            bad = offered
        if not bad and good >= most:
            return
        if bad and (bad - good) / bad < _CLOSE_ENOUGH:
            return
        offered = min(good * 2, most) if not bad else (good + bad) / 2


def knee(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The run at the highest rate that was kept up with."""
    kept = [run for run in runs if run["rate_asked"] and not run["missed"]]
    return max(kept, key=lambda run: float(run["rate_asked"]), default=None)


def target(server: str, node: Path | None, mode: str, pids: str) -> tuple[str, int, list[int]]:
    """Host, port and processes to measure. Raises BadParameter."""
    if node is not None:
        try:
            found = served(node, mode)
        except NotServed as error:
            raise typer.BadParameter(str(error)) from error
        console.print(f"{found.store_bytes / 2**20:,.0f} MiB of records read before", style="dim")
        return found.host, found.port, list(found.pids)
    host, _, port = server.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter("give HOST:PORT of the face, or --node DIR of a node here")
    roots = [int(pid) for pid in pids.split(",") if pid]
    return host.strip("[]"), int(port), [pid for root in roots for pid in family(root)]


def keep_percentiles(folder: Path, runs: list[Measured]) -> None:
    """One file a run in HdrHistogram's text form, for its plotter."""
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        rate = run.figures["rate_asked"]
        name = f"{run.figures['mode']}-{rate:.0f}" if rate else f"{run.figures['mode']}-closed"
        (folder / f"{name}.hgrm").write_text(run.latencies.hdr_text())


def saturate(
    server: Annotated[str, typer.Argument(help="HOST:PORT of the face; or give --node")] = "",
    keys: Annotated[
        Path, typer.Option(help="file of identifiers, one a line (domain names for dns)")
    ] = ...,  # type: ignore[assignment]
    node: Annotated[
        Path | None, typer.Option(help="folder of a node here: its address, processes, store")
    ] = None,
    mode: Annotated[str, typer.Option(help=" | ".join(generator.MODES))] = "irp-udp",
    rates: Annotated[
        str, typer.Option(help="runs at these rates, comma-separated; default: a sweep")
    ] = "",
    closed: Annotated[
        bool, typer.Option("--closed", help="one run with --open requests always under way")
    ] = False,
    start: Annotated[float, typer.Option(help="the sweep's first rate")] = 2000,
    most: Annotated[float, typer.Option(help="the sweep's last rate")] = 1_000_000,
    p99_ms: Annotated[float, typer.Option(help="latest p99 that counts as kept up")] = 10,
    seconds: Annotated[float, typer.Option(help="length of a run")] = 5,
    open_: Annotated[
        int, typer.Option("--open", help="most requests under way; 0: 1024 over UDP, else 256")
    ] = 0,
    zipf: Annotated[float, typer.Option(help="skew of the names; 0 = even")] = 0,
    expected: Annotated[
        str, typer.Option(help="the right answer to these names: present, absent or withheld")
    ] = "present",
    spin: Annotated[
        bool, typer.Option("--spin", help="never sleep: no server here pays to wake the generator")
    ] = False,
    core: Annotated[int | None, typer.Option(help="the generator's processor")] = None,
    pids: Annotated[str, typer.Option(help="server processes; their children too")] = "",
    hdr: Annotated[Path | None, typer.Option(help="folder for HdrHistogram text files")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="figures as JSON on stdout")] = False,
) -> None:
    """Load a face at stated rates and find where it stops keeping up.

    Example: biaoshi bench saturate --node ./steel --keys ids.txt --mode irp-udp
    """
    if mode not in generator.MODES:
        raise typer.BadParameter(f"{mode!r} is none of {', '.join(generator.MODES)}")
    if expected not in generator.EXPECTED:
        raise typer.BadParameter(f"{expected!r} is none of {', '.join(generator.EXPECTED)}")
    host, port, found = target(server, node, mode, pids)
    most_open = open_ or (1024 if mode in generator.DATAGRAMS else 256)
    load = Load(mode, host, port, keys, open=most_open, seconds=seconds, zipf=zipf, core=core)
    load = replace(load, expected=expected, pids=tuple(found), spin=spin)
    bounds = Bounds(p99_ms)
    if closed:
        source = iter([attempt(load, bounds)])
    elif rates:
        source = (attempt(replace(load, rate=float(r)), bounds) for r in rates.split(","))
    else:
        source = sweep(load, bounds, start, most)
    runs: list[Measured] = []
    for run in source:
        runs.append(run)
        if not as_json:
            console.print(line(run.figures), soft_wrap=True)
    tell(runs, mode, p99_ms, hdr, as_json=as_json)


def tell(
    runs: list[Measured], mode: str, p99_ms: float, hdr: Path | None, *, as_json: bool
) -> None:
    """Keep the runs and show them."""
    figures = [run.figures for run in runs]
    if hdr is not None:
        keep_percentiles(hdr, runs)
    file = results.save("saturate", {"mode": mode, "runs": figures, "p99_ms": p99_ms})
    if as_json:
        console.print_json(data={"file": str(file), "runs": figures})
        return
    console.print(table(figures))
    best = knee(figures)
    if best is not None:
        late = best["latency_us"]["p99"] / 1000
        console.print(f"knee: {best['rate_asked']:,.0f}/s kept up with, p99 {late:.1f} ms")
    console.print(f"kept in {file}", soft_wrap=True)


def line(figures: dict[str, Any]) -> str:
    """One run in a line."""
    latency = figures["latency_us"]
    state = f"missed: {figures['missed']}" if figures["missed"] else "kept up"
    return (
        f"{figures['rate_asked']:>9,.0f}/s asked  {figures['per_second']:>9,.0f}/s answered  "
        f"p50 {latency['p50']:>7,.0f} µs  p99 {latency['p99']:>8,.0f} µs  {state}"
    )


def table(runs: list[dict[str, Any]]) -> Table:
    """All runs by rate. late: how far the generator itself fell behind, µs."""
    out = Table()
    for name in ("asked/s", "answered", "p50 µs", "p99 µs", "p99.9", "late", "CPU µs"):
        out.add_column(name, justify="right")
    out.add_column("majflt", justify="right")
    for run in sorted(runs, key=lambda r: r["rate_asked"]):
        latency, server = run["latency_us"], run["server"]
        out.add_row(
            f"{run['rate_asked']:,.0f}",
            f"{run['per_second']:,.0f}",
            f"{latency['p50']:,.0f}",
            f"{latency['p99']:,.0f}",
            f"{latency['p999']:,.0f}",
            f"{run['behind_max_us']:,.0f}",
            f"{server['cpu_us_per_answer']:.1f}",
            f"{server['major_faults']}",
        )
    return out


if __name__ == "__main__":
    typer.run(saturate)
