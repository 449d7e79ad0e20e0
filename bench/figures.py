"""`make figures`: the paired comparisons that the goals are judged by, and the table of the goals.

Runs `bench.compare`, `bench.writes` and `bench.overhead` one after the other, each of which keeps
its JSON in bench/results/, then judges the newest of them against the goals and writes the table
into docs/benchmark.md, between its marks, and bench-report.html. About ten minutes; nothing else
should run on the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import report, results
from bench.screen import console

PAGE = Path(__file__).parent.parent / "docs" / "benchmark.md"
BEGIN, END = "<!-- figures: make figures -->", "<!-- end of figures -->"
OURS, HANDLE_NET = "Biaoshi", "Handle.Net"
PERSISTENT_US = 15.0
REGISTRATIONS = 10_000

Rows = list[dict[str, Any]]
Seen = tuple[float, str] | None
"""A figure, and how it is shown with its spread; None: not measured."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table. most: whether the figure may be so much at most, or must be so much.

    seen: out of the rows of a comparison and of a run of registrations.
    """

    face: str
    goal: str
    bound: float
    most: bool
    seen: Callable[[Rows, Rows], Seen]

    def judged(self, compared: Rows, written: Rows) -> tuple[str, str, str]:
        """The goal, what was seen, and whether it is met."""
        seen = self.seen(compared, written)
        if seen is None:
            return self.goal, "not measured", "–"
        met = seen[0] <= self.bound if self.most else seen[0] >= self.bound
        return self.goal, seen[1], "met" if met else "missed"


def ratio(mode: str, server: str, *, cheaper: bool = False) -> Callable[[Rows, Rows], Seen]:
    """Ours to theirs over the rounds; cheaper: theirs to ours."""

    def seen(compared: Rows, _: Rows) -> Seen:
        for row in compared:
            if row["mode"] == mode and row["server"] == server and "ours_to_theirs" in row:
                least, middle, most = row["ours_to_theirs"]
                if cheaper:
                    least, middle, most = 1 / most, 1 / middle, 1 / least
                return middle, f"{middle:.2f}× ({least:.2f}–{most:.2f})"
        return None

    return seen


def _persistent(compared: Rows, _: Rows) -> Seen:
    for row in compared:
        if row["mode"] == "irp-tcp" and row["server"] == OURS:
            return row["us"], f"{row['us']:.1f} µs"
    return None


def _registered(names: str) -> Callable[[Rows, Rows], Seen]:
    def seen(_: Rows, written: Rows) -> Seen:
        rates = [row["per_second"] for row in written if row["names"] == names]
        if not rates:
            return None
        best = max(rates)
        faces = ", ".join(
            f"{row['face']} {row['per_second']:,.0f}/s" for row in written if row["names"] == names
        )
        return best, faces

    return seen


GOALS = (
    Goal("HTTP GET", "≤ 1.6× nginx's constant", 1.6, True, ratio("http", "nginx constant")),
    Goal(
        "HTTP GET", "≥ 5.5× cheaper than Handle.Net", 5.5, False,
        ratio("http", HANDLE_NET, cheaper=True),
    ),
    Goal(
        "DO-IRP UDP", "≥ 2.6× cheaper than Handle.Net", 2.6, False,
        ratio("irp-udp", HANDLE_NET, cheaper=True),
    ),
    Goal(
        "DO-IRP TCP, one connection a request", "≥ 1.35× cheaper than Handle.Net", 1.35, False,
        ratio("irp-tcp-once", HANDLE_NET, cheaper=True),
    ),
    Goal("DO-IRP TCP, persistent", "≤ 15 µs", PERSISTENT_US, True, _persistent),
    Goal("NAPTR UDP", "≤ 1.5× NSD", 1.5, True, ratio("dns", "NSD")),
    Goal(
        "registrations, batches of 1000 serial names into 10⁶", "≥ 10,000/s", REGISTRATIONS, False,
        _registered("serial"),
    ),
    Goal(
        "the same, each name anywhere among the 10⁶", "≥ 10,000/s", REGISTRATIONS, False,
        _registered("anywhere"),
    ),
)  # fmt: skip


def table(compared: dict[str, Any], written: Rows) -> str:
    """The goals and the medians, as Markdown."""
    rows = compared["figures"]["summary"]
    lines = ["| face | goal | seen | |", "| --- | --- | --- | --- |"]
    lines += [f"| {goal.face} | {' | '.join(goal.judged(rows, written))} |" for goal in GOALS]
    lines += ["", "| face | server | µs of CPU an answer (median) |", "| --- | --- | --- |"]
    lines += [f"| {row['mode']} | {row['server']} | {row['us']:.1f} |" for row in rows]
    lines += ["", "| registrations | a second | µs of CPU a record |", "| --- | --- | --- |"]
    for row in written:
        cpu = ", ".join(f"{name} {us:.0f}" for name, us in row["process_us"].items())
        what = f"{row['face']}, {row['names']} names, {row['clients']} clients"
        lines.append(f"| {what} | {row['per_second']:,.0f} | {cpu} |")
    where = compared["machine"]
    said = (
        f"{where['processor']}, {where['cores']} cores, Python {where['python']}, load "
        f"{where['load_average']:.1f} at the end, {compared['at'][:10]}; "
        f"`{compared['command']}` (JSON of this and of the others in `bench/results/`)."
    )
    return "\n".join([*lines, "", said])


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    old = page.read_text(encoding="utf-8")
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{page} lacks the marks {BEGIN} and {END}; put them back")
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


def _run(module: str, *options: str, check: bool = True) -> None:
    command = [sys.executable, "-m", f"bench.{module}", *options]
    console.print(f"$ python -m bench.{module} {' '.join(options)}", style="bold")
    subprocess.run(command, check=check, env=os.environ | {"PYTHONUNBUFFERED": "1"})


def _measure(rounds: int, records: int, batches: int, peer: list[str]) -> None:
    count, size = str(rounds), str(records)
    _run("compare", "--rounds", count, "--records", size, "--peers", "nginx,nsd", "--spin", *peer)
    for face in ("https", "http"):
        _run(
            "writes", "--records", size, "--batches", str(batches), "--only", "http",
            "--face", face, "--readers", "2", "--clients", "3",
        )  # fmt: skip
    _run("overhead", check=False)  # says by its exit code whether its goal is met


def main(
    rounds: Annotated[int, typer.Option(help="rounds of the comparison")] = 5,
    records: Annotated[int, typer.Option(help="records in the stores")] = 1_000_000,
    batches: Annotated[int, typer.Option(help="batches a client registers")] = 20,
    handle_net: Annotated[str, typer.Option(help="HOST:PORT of a running Handle.Net")] = "",
    handle_net_http: Annotated[int, typer.Option(help="its HTTP port")] = 0,
    handle_net_pid: Annotated[int, typer.Option(help="its process id")] = 0,
    handle_net_keys: Annotated[str, typer.Option(help="file of identifiers it holds")] = "",
    only_page: Annotated[
        bool, typer.Option("--only-page", help="measure nothing: judge the runs that are kept")
    ] = False,
) -> None:
    """Measure what the goals are judged by, and write the table into docs/benchmark.md.

    Example: make figures ARGS="--handle-net 127.0.0.1:2641 --handle-net-http 8000
    --handle-net-pid 4242 --handle-net-keys handles.txt"
    """
    if not only_page:
        peer = []
        if handle_net:
            peer = ["--handle-net", handle_net, "--handle-net-http", str(handle_net_http)]
            peer += ["--handle-net-pid", str(handle_net_pid), "--handle-net-keys", handle_net_keys]
        _measure(rounds, records, batches, peer)
    text = table(results.load("compare")[-1], newest_writes())
    put_into(PAGE, text)
    report.report(Path("bench-report.html"))
    console.print(text, markup=False)


def newest_writes() -> Rows:
    """The newest registrations over each face, for each kind of names."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for run in results.load("writes"):
        for row in run["figures"].get("http", []):
            if "names" in row:
                found[row["face"], row["names"]] = row
    return [found[key] for key in sorted(found)]


if __name__ == "__main__":
    typer.run(main)
