"""`biaoshi bench report`: one HTML page from the runs that are kept, newest of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import results, svg

Runs = list[dict[str, Any]]

OURS = "Biaoshi"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto; margin: 1rem 0 } code { background: #f2f2f2; padding: .1em .3em }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: right }
td:first-child, th:first-child { text-align: left } small { color: #555 }
"""


def comparison(runs: Runs) -> str:
    """CPU per answer by face and server, and the ratios, of the newest comparison."""
    rows = runs[0]["figures"]["summary"]
    drawn = svg.bars(
        "server CPU per answer",
        "µs",
        [(f"{row['mode']}: {row['server']}", row["us"]) for row in rows],
    )
    ratios = [
        (f"{row['mode']}: ours / {row['server']}", *(f"{r:.2f}" for r in row["ours_to_theirs"]))
        for row in rows
        if "ours_to_theirs" in row
    ]
    return drawn + table(("ratio of a round's figures", "least", "median", "most"), ratios)


def faces(runs: Runs) -> str:
    """CPU per lookup of our own faces, of the newest comparison."""
    rows = [
        (str(row["mode"]), float(row["us"]))
        for row in runs[0]["figures"]["summary"]
        if row["server"] == OURS
    ]
    return svg.bars("CPU per lookup by face", "µs", rows)


def latency(runs: Runs) -> str:
    """p99 and p50 against offered rate, the newest sweep of each face."""
    by_mode: dict[str, Runs] = {}
    for run in runs:
        by_mode.setdefault(run["figures"]["mode"], run["figures"]["runs"])
    lines = [
        svg.Line(f"{mode} {name}", [(r["rate_asked"], r["latency_us"][name]) for r in swept])
        for mode, swept in by_mode.items()
        for name in ("p99", "p50")
    ]
    return svg.lines("latency against offered rate", "requests a second", "µs", lines)


def grown(runs: Runs) -> str:
    """CPU per lookup by number of records and by values, of the newest growth run."""
    rows = runs[0]["figures"]["summary"]
    sizes = [row for row in rows if row["store"].endswith(" short")]
    kinds = dict.fromkeys((row["mode"], row["names"], row["zipf"]) for row in sizes)
    lines = [
        svg.Line(
            f"{mode} {names}{' zipf' if zipf else ''}",
            [
                (float(row["store"].split()[0].replace(",", "")), row["cpu_us"])
                for row in sizes
                if (row["mode"], row["names"], row["zipf"]) == (mode, names, zipf)
            ],
        )
        for mode, names, zipf in kinds
    ]
    sets = [
        (f"{row['store']}, {row['mode']}", row["cpu_us"])
        for row in rows
        if row not in sizes and row["names"] == "present" and not row["zipf"]
    ]
    drawn = svg.lines("CPU per lookup as stores grow", "records", "µs", lines)
    return drawn + svg.bars("CPU per lookup by values a record", "µs", sets)


def registered(runs: Runs) -> str:
    """Durable registrations a second, of the newest run."""
    figures = runs[0]["figures"]
    rows = [
        (f"HTTP batches of {row['batch']} into {row['records']:,}", row["per_second"])
        for row in figures.get("http", [])
    ] + [
        (f"writer alone, {row['variant']}, {row['records']:,}", row["per_second"])
        for row in figures.get("local", [])
    ]
    bodies = [
        (row["form"], f"{row['us']:.1f}", f"{row['octets']:,}") for row in figures.get("bodies", [])
    ]
    drawn = svg.bars("durable registrations a second", "/s", rows)
    return drawn + table(("stored form of a record", "µs to make", "octets"), bodies)


def accounting(runs: Runs) -> str:
    """What metrics and the query log cost, of the newest run."""
    rows = [
        (
            row["face"],
            f"{row['lookup_us']:.1f}",
            f"{row['counted_share']:.1%}",
            f"{row['logged_share']:.1%}",
        )
        for row in runs[0]["figures"]
    ]
    return table(("face", "µs a lookup", "metrics", "metrics and query log"), rows)


def traced(runs: Runs) -> str:
    """How long traces take, by events of one node and over four, of the newest run."""
    figures = runs[0]["figures"]
    found = [("1", row) for row in figures.get("growth", [])]
    found += [("4", figures["companies"])] if "companies" in figures else []
    rows = [
        (
            nodes,
            f"{row['events']:,}",
            direction,
            f"{row[direction]['p50_ms']:.1f}",
            f"{row[direction]['p95_ms']:.1f}",
            f"{row[direction]['events_a_trace']:.0f}",
        )
        for nodes, row in found
        for direction in ("back", "forward")
    ]
    head = ("nodes", "events", "direction", "p50 ms", "p95 ms", "events a trace")
    rate = figures.get("capture", {}).get("events_s")
    told = f"<p>{rate:,.0f} durable captures a second on one core</p>" if rate else ""
    return table(head, rows) + told


SECTIONS: tuple[tuple[str, str, Callable[[Runs], str]], ...] = (
    ("One lookup", "compare", faces),
    ("Comparison", "compare", comparison),
    ("Latency", "saturate", latency),
    ("Growth", "growth", grown),
    ("Registrations", "writes", registered),
    ("Traces", "trace", traced),
    ("Metrics and logs", "overhead", accounting),
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table; empty without rows."""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f"<table><tr>{top}</tr>{body}</table>" if body else ""


def provenance(run: dict[str, Any]) -> str:
    """What was run, where and with what."""
    where, versions = run["machine"], run["versions"]
    words = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"<p><small><code>{escape(run['command'])}</code> on {escape(where['processor'])}, "
        f"{where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}, "
        f"load {where['load_average']:.1f}; {escape(words)}; {escape(run['at'])}</small></p>"
    )


def page() -> str:
    """The whole report."""
    head = "<!doctype html><html lang=en><meta charset=utf-8><title>Biaoshi benchmarks</title>"
    parts = [f"{head}<style>{STYLE}</style><h1>Benchmarks</h1>"]
    for title, name, draw in SECTIONS:
        runs = results.load(name)[::-1]
        if runs:
            parts.append(f"<h2>{title}</h2>{draw(runs)}{provenance(runs[0])}")
    if len(parts) == 1:
        parts.append("<p>No runs are kept yet: try <code>biaoshi bench compare</code>.</p>")
    return "\n".join(parts)


def report(
    output: Annotated[Path, typer.Option(help="the page to write")] = Path("bench-report.html"),
    as_json: Annotated[bool, typer.Option("--json", help="the kept runs as JSON")] = False,
) -> None:
    """Write one HTML page with plots from the runs in bench/results.

    Example: biaoshi bench report --output report.html
    """
    if as_json:
        print(json.dumps(results.load()))
        return
    output.write_text(page(), encoding="utf-8")
    print(output)


if __name__ == "__main__":
    typer.run(report)
