"""`biaoshi bench compare`: the same work against other servers in the same run, in turn.

The unit is server CPU per answer, from the process table, with the server on one core and the
generator on another. Rounds alternate between the servers, so that a machine whose speed drifts
slows all of them alike; ratios are of a round's figures, and their spread is printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench import generator, results
from bench.dataset import Shape
from bench.generator import Load
from bench.peers import NotHere, Running, naptr, nginx, ours, redis
from bench.screen import console

SERVER_CORE, GENERATOR_CORE = 0, 1
JSON_BODY = b"x" * 700
OURS = "Biaoshi"
_MOST_DOMAINS = 100_000


@dataclass(frozen=True, slots=True)
class HandleNet:
    """A Handle.Net server that runs already. pid: its Java process. http: 0 for no such face."""

    host: str
    port: int
    http: int
    pid: int
    keys: Path

    def running(self) -> Iterator[Running]:
        """Its faces."""
        for mode in ("irp-udp", "irp-tcp-once"):
            yield Running("Handle.Net", mode, self.host, self.port, self.keys, self.pid)
        if self.http:
            yield Running("Handle.Net", "http", self.host, self.http, self.keys, self.pid)


def measure(server: Running, load: Load) -> dict[str, Any]:
    """One run against one server, closed loop. Raises RuntimeError when it answers nothing."""
    load = replace(load, mode=server.mode, host=server.host, port=server.port)
    server.before()
    figures = generator.run(replace(load, keys=server.keys, pids=server.pids)).figures
    if not figures["answered"]:
        raise RuntimeError(f"{server.name} gave no right answer to {server.mode}: {figures}")
    return figures


def rounds(servers: list[Running], count: int, load: Load) -> list[dict[str, Any]]:
    """`count` rounds, each server once a round, those of one face one after the other.

    load: how each run is done; mode, address, names and processes are the server's.
    """
    order = sorted(servers, key=lambda server: server.group)
    taken = []
    for number in range(count):
        for server in order:
            figures = measure(server, replace(load, seed=number + 1))
            figures |= {"name": server.name, "face": server.group, "round": number}
            taken.append(figures)
            shown = figures["server"]["cpu_us_per_answer"]
            odd = figures["wrong"] + figures["lost"] + figures["failed"]
            console.print(
                f"round {number + 1}: {server.group:<13} {server.name:<15} {shown:>6.1f} µs"
                + (f"  ({odd} wrong, lost or failed)" if odd else ""),
                style="dim",
            )
    return taken


def cost(taken: list[dict[str, Any]], server: str, face: str) -> list[float]:
    """CPU per answer of each round, µs."""
    return [
        run["server"]["cpu_us_per_answer"]
        for run in taken
        if run["name"] == server and run["face"] == face
    ]


def summary(taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per face and server: the median, and the ratio to ours round by round."""
    rows = []
    for face in dict.fromkeys(run["face"] for run in taken):
        mine = cost(taken, OURS, face)
        for name in dict.fromkeys(run["name"] for run in taken if run["face"] == face):
            theirs = cost(taken, name, face)
            row: dict[str, Any] = {"mode": face, "server": name, "us": statistics.median(theirs)}
            if mine and name != OURS:
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
    stack: ExitStack, folder: Path, shape: Shape, mine: dict[str, Running], only: list[str]
) -> list[Running]:
    """Every peer that is installed; a missing one is named and left out."""
    servers = []
    keys = mine["http"].keys
    names = folder / "zone" / "names.txt"
    starts: dict[str, Callable[[], AbstractContextManager[Running]]] = {
        "nginx": partial(nginx.running, folder / "nginx", keys, JSON_BODY, SERVER_CORE),
        "nsd": partial(naptr.nsd, folder / "zone", names, SERVER_CORE),
        "knot": partial(naptr.knot, folder / "zone", names, SERVER_CORE),
        "powerdns": partial(naptr.powerdns, folder / "zone", names, SERVER_CORE),
        "redis": partial(redis.running, folder / "redis", keys, shape, SERVER_CORE),
    }
    for name, start in starts.items():
        if only and name not in only:
            continue
        try:
            servers.append(stack.enter_context(start()))
        except NotHere as error:
            console.print(f"left out: {error}", style="yellow")
    return servers


def compare(
    records: Annotated[int, typer.Option(help="records in the store")] = 100_000,
    count: Annotated[int, typer.Option("--rounds", help="rounds")] = 5,
    seconds: Annotated[float, typer.Option(help="length of one run")] = 3,
    open_: Annotated[int, typer.Option("--open", help="requests under way")] = 64,
    spin: Annotated[
        bool, typer.Option("--spin", help="the generator never sleeps: no server pays to wake it")
    ] = False,
    peers: Annotated[
        str, typer.Option(help="nginx,nsd,knot,powerdns,redis or some of them; default: all")
    ] = "",
    faces: Annotated[str, typer.Option(help="only these faces: irp-udp,http …")] = "",
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
    """Compare with nginx, NSD, Knot, PowerDNS, Redis and Handle.Net, alternating in one run.

    Example: biaoshi bench compare --rounds 5 --records 1000000
    """
    shape = Shape(records, oids=min(records, _MOST_DOMAINS))
    domains = naptr.write_zone(folder / "zone", shape.oids)
    place = folder / f"node-{records}-oids"
    with ExitStack() as stack:
        mine = stack.enter_context(ours.running(place, shape, SERVER_CORE, domains=domains))
        chosen = [name for name in peers.split(",") if name]
        servers = [*mine.values(), *start_peers(stack, folder, shape, mine, chosen)]
        if handle_net and handle_net_keys:
            host, _, port = handle_net.rpartition(":")
            other = HandleNet(host, int(port), handle_net_http, handle_net_pid, handle_net_keys)
            servers += other.running()
        wanted = [face for face in faces.split(",") if face]
        asked = [server for server in servers if not wanted or server.group in wanted]
        load = Load("", "", 0, Path(), open=open_, seconds=seconds, spin=spin)
        load = replace(load, warmup_s=min(1.0, seconds / 2), core=GENERATOR_CORE)
        taken = rounds(asked, count, load)
    rows = summary(taken)
    show(rows)
    file = results.save("compare", {"summary": rows, "runs": taken})
    console.print(f"kept in {file}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(compare)
