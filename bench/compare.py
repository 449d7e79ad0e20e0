"""`biaoshi bench compare`: the same work against other servers in the same run, in turn.

The unit is server CPU per answer, from the process table, with the server on one core and the
generator on another. Rounds alternate between the servers, so that a machine whose speed drifts
slows all of them alike; ratios are of a round's figures, and their spread is printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import generator, results
from bench.dataset import Shape
from bench.generator import Load
from bench.peers import NotHere, Running, naptr, nginx, ours

console = Console(highlight=False)
SERVER_CORE, GENERATOR_CORE = 0, 1
JSON_BODY = b"x" * 700


@dataclass(frozen=True, slots=True)
class Handle:
    """A Handle.Net server that runs already. pid: its Java process."""

    host: str
    port: int
    http: int
    pid: int
    keys: Path

    def running(self) -> Iterator[Running]:
        for mode in ("irp-udp", "irp-tcp-once"):
            yield Running("Handle.Net", mode, self.host, self.port, self.keys, self.pid)
        if self.http:
            yield Running("Handle.Net", "http", self.host, self.http, self.keys, self.pid)


def measure(server: Running, seconds: float, open_: int, seed: int) -> dict[str, Any]:
    """One run against one server, closed loop."""
    load = Load(
        server.mode,
        server.host,
        server.port,
        server.keys,
        open=open_,
        seconds=seconds,
        warmup_s=min(1.0, seconds / 2),
        seed=seed,
        pids=server.pids,
        core=GENERATOR_CORE,
    )
    return generator.run(load)


def rounds(servers: list[Running], count: int, seconds: float, open_: int) -> list[dict[str, Any]]:
    """`count` rounds, each server once a round."""
    taken = []
    for number in range(count):
        for server in servers:
            figures = measure(server, seconds, open_, number + 1)
            taken.append({**figures, "name": server.name, "mode": server.mode, "round": number})
            shown = figures["server"]["cpu_us_per_answer"]
            console.print(
                f"round {number + 1}: {server.mode:<13} {server.name:<15} {shown:>6.1f} µs",
                style="dim",
            )
    return taken


def cost(taken: list[dict[str, Any]], server: str, mode: str) -> list[float]:
    """CPU per answer of each round, µs."""
    return [
        run["server"]["cpu_us_per_answer"]
        for run in taken
        if run["name"] == server and run["mode"] == mode
    ]


def summary(taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per mode and server: the median, and the ratio to ours round by round."""
    rows = []
    for mode in dict.fromkeys(run["mode"] for run in taken):
        mine = cost(taken, "Biaoshi", mode)
        for name in dict.fromkeys(run["name"] for run in taken if run["mode"] == mode):
            theirs = cost(taken, name, mode)
            row: dict[str, Any] = {"mode": mode, "server": name, "us": statistics.median(theirs)}
            if mine and name != "Biaoshi":
                ratios = [a / b for a, b in zip(mine, theirs, strict=True) if b]
                row["ours_to_theirs"] = [min(ratios), statistics.median(ratios), max(ratios)]
            rows.append(row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table of medians and ratios."""
    table = Table(title="server CPU per answer", title_justify="left")
    for column in ("face", "server", "µs (median)", "ours / theirs (min, median, max)"):
        table.add_column(column)
    for row in rows:
        ratio = row.get("ours_to_theirs")
        shown = " ".join(f"{value:.2f}×" for value in ratio) if ratio else ""
        table.add_row(row["mode"], row["server"], f"{row['us']:.1f}", shown)
    console.print(table)


def start_peers(
    stack: ExitStack, folder: Path, shape: Shape, mine: dict[str, Running]
) -> list[Running]:
    """Every peer that is installed; a missing one is named and left out."""
    servers = []
    keys = mine["http"].keys
    oids = Shape(min(shape.count, 100_000))
    names = naptr.write_zone(folder / "zone", oids)
    for start in (
        partial(nginx.running, folder / "nginx", keys, JSON_BODY, SERVER_CORE),
        partial(ours.running_dns, folder / f"dns-{oids.count}", oids, SERVER_CORE),
        partial(naptr.nsd, folder / "zone", names, SERVER_CORE),
        partial(naptr.knot, folder / "zone", names, SERVER_CORE),
    ):
        try:
            servers.append(stack.enter_context(start()))
        except NotHere as error:
            console.print(f"left out: {error}", style="yellow")
    return servers


def compare(
    records: Annotated[int, typer.Option(help="records in the store")] = 100_000,
    count: Annotated[int, typer.Option("--rounds", help="rounds")] = 5,
    seconds: Annotated[float, typer.Option(help="length of one run")] = 3,
    open_: Annotated[int, typer.Option("--open", help="requests in flight")] = 64,
    folder: Annotated[Path, typer.Option(help="where stores and zones are kept")] = Path(
        "/tmp/biaoshi-bench"  # noqa: S108 - a folder of measurements, not of secrets
    ),
    handle_net: Annotated[str, typer.Option(help="HOST:PORT of a running Handle.Net")] = "",
    handle_net_http: Annotated[int, typer.Option(help="its HTTP port")] = 0,
    handle_net_pid: Annotated[int, typer.Option(help="its process id")] = 0,
    handle_net_keys: Annotated[
        Path | None, typer.Option(help="file of identifiers it holds")
    ] = None,
) -> None:
    """Compare with nginx, NSD, Knot and Handle.Net, alternating in one run.

    Example: biaoshi bench compare --rounds 5 --records 1000000
    """
    shape = Shape(records)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        mine = stack.enter_context(ours.running(folder / f"node-{records}", shape, SERVER_CORE))
        servers = [*mine.values(), *start_peers(stack, folder, shape, mine)]
        if handle_net and handle_net_keys:
            host, _, port = handle_net.rpartition(":")
            other = Handle(host, int(port), handle_net_http, handle_net_pid, handle_net_keys)
            servers += other.running()
        taken = rounds(servers, count, seconds, open_)
    rows = summary(taken)
    show(rows)
    console.print(f"kept in {results.save('compare', {'summary': rows, 'runs': taken})}")


if __name__ == "__main__":
    typer.run(compare)
