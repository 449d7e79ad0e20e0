"""`python -m bench.overhead`: what metrics and the sampled query log cost of a lookup.

The hot paths run in this process with and without their accounting, in turns of 16 questions as
a loaded reader takes them; the difference is set against what a whole lookup costs over loopback
(bench.hotpath). The query log writes one line of a thousand lookups to /dev/null.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from bench import results
from bench.hotpath import make_folder, make_node, over_sockets, questions, timed
from bench.screen import console
from resolver import logs
from resolver.doirp.counting import Tally
from resolver.doirp.exchange import Transport
from resolver.doirp.handler import Handler
from resolver.http import fastpath
from resolver.logs import QueryLog
from resolver.node import Node

TURN = 16
"""Questions a turn of the loop answers."""
SAMPLE = 1_000
ROUNDS = 8
GOAL = 0.05

Turn = Callable[[Sequence[bytes]], object]


def doirp_turns(node: Node) -> dict[str, Turn]:
    """A turn of the datagram loop without its sockets: bare, counted, and logged as well."""
    answer = Handler(node).plain.answer

    def bare(turn: Sequence[bytes]) -> None:
        for _, data in enumerate(turn):  # as the loop of the face has it
            answer(data)

    def counted(tally: Tally) -> Turn:
        def run(turn: Sequence[bytes]) -> None:
            started = perf_counter()
            codes, received, given = tally.codes, 0, 0
            logged = -1 if tally.log is None else tally.log.within(len(turn))
            for slot, data in enumerate(turn):
                reply = answer(data)
                if reply is not None:
                    codes[reply[27]] += 1
                    received += len(data)
                    given += len(reply)
                    if slot == logged:
                        tally.write(data, reply)
            tally.received += received
            tally.sent += given
            tally.turn(started)

        return run

    return {
        "bare": bare,
        "counted": counted(Tally(node.metrics, None, Transport.UDP)),
        "logged": counted(Tally(node.metrics, QueryLog(SAMPLE), Transport.UDP)),
    }


def http_turns(node: Node) -> dict[str, Turn]:
    """Fast answers bare (what they count is timed apart and taken off), counted, and logged."""
    logging = replace(node.settings, log=replace(node.settings.log, query_sample=SAMPLE))
    logged = replace(node, settings=logging, query_log=QueryLog(SAMPLE))
    logged.lookup = node.lookup
    plain, with_log = (fastpath.fast_answers(n, fastpath.Tally()) for n in (node, logged))

    def run(answer: Callable[[bytes], object]) -> Turn:
        def all_of(turn: Sequence[bytes]) -> None:
            for data in turn:
                answer(data)

        return all_of

    return {"counted": run(plain), "logged": run(with_log)}


def http_counting(tally: fastpath.Tally) -> Turn:
    """What a fast answer counts, alone."""

    def count(data: bytes, reply: bytes) -> bytes:
        tally.received += len(data)
        tally.sent += len(reply)
        return reply

    def run(turn: Sequence[bytes]) -> None:
        for data in turn:
            tally.found += 1
            count(data, data)

    return run


def per_lookup(name: str, run: Turn, turns: Sequence[Sequence[bytes]], seconds: float) -> float:
    """µs of CPU a lookup."""
    return timed("overhead", name, run, turns, seconds).us / TURN


def least(
    runs: dict[str, Turn], turns: Sequence[Sequence[bytes]], seconds: float
) -> dict[str, float]:
    """The least CPU a lookup of each over rounds in turn: what disturbs one disturbs all."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            found[name] = min(found[name], per_lookup(name, run, turns, seconds / ROUNDS))
    return found


def measured(node: Node, asked: list[bytes], seconds: float) -> dict[str, dict[str, float]]:
    """By face: µs of counting, and of counting and logging."""
    gets = [b"GET /api/handles/%b HTTP/1.1\r\nHost: a\r\n\r\n" % data[48:-12] for data in asked]
    irp_turns = [asked[at : at + TURN] for at in range(0, len(asked), TURN)]
    get_turns = [gets[at : at + TURN] for at in range(0, len(gets), TURN)]
    doirp = least(doirp_turns(node), irp_turns, seconds)
    runs = http_turns(node) | {"alone": http_counting(fastpath.Tally())}
    http = least(runs, get_turns, seconds)
    counting = http["alone"]
    return {
        "UDP": {
            "counted": max(0.0, doirp["counted"] - doirp["bare"]),
            "logged": max(0.0, doirp["logged"] - doirp["bare"]),
        },
        "HTTP GET, kept connections": {
            "counted": counting,
            "logged": max(0.0, http["logged"] - http["counted"]) + counting,
        },
    }


def rows(costs: dict[str, dict[str, float]], whole: dict[str, float]) -> list[dict[str, Any]]:
    """With the cost of a whole lookup beside it, and the shares of that."""
    return [
        {
            "face": face,
            "lookup_us": whole[face],
            **{f"{name}_us": us for name, us in cost.items()},
            **{f"{name}_share": us / whole[face] for name, us in cost.items()},
        }
        for face, cost in costs.items()
    ]


def show(lines: list[dict[str, Any]]) -> None:
    """The table."""
    grid = Grid(title="metrics and query log, µs of CPU a lookup", title_justify="left")
    for column in ("face", "lookup", "metrics", "share", "and 1/1000 logged", "share"):
        grid.add_column(column, justify="left" if column == "face" else "right")
    for line in lines:
        grid.add_row(
            line["face"],
            f"{line['lookup_us']:.1f}",
            f"{line['counted_us']:.2f}",
            f"{line['counted_share']:.1%}",
            f"{line['logged_us']:.2f}",
            f"{line['logged_share']:.1%}",
        )
    console.print(grid)


def main(
    records: Annotated[int, typer.Option(help="records in the store")] = 100_000,
    seconds: Annotated[float, typer.Option(help="time for each figure")] = 2.0,
    keep: Annotated[bool, typer.Option(help="keep the figures in bench/results")] = True,
) -> None:
    """Measure what metrics and the sampled query log cost.

    Example: python -m bench.overhead --seconds 3
    """
    place = Path(tempfile.gettempdir()) / f"biaoshi-hotpath-{os.getuid()}-{records}"
    node = make_node(make_folder(place, records))
    asked = questions(place / "keys.txt")
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        logs.configure("info", "bench")
        costs = measured(node, asked, seconds)
    logs.configure("error", "bench")
    whole = {
        line.name: line.us for line in asyncio.run(over_sockets(node, place / "keys.txt", seconds))
    }
    node.store.close()
    lines = rows(costs, whole)
    show(lines)
    if keep:
        console.print(f"kept in {results.save('overhead', lines)}", soft_wrap=True)
    if any(line["logged_share"] > GOAL for line in lines):
        console.print(f"above {GOAL:.0%}")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
