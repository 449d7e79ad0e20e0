"""`biaoshi bench report`: one HTML page from the runs that are kept, newest of each kind."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import results, svg

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto; margin: 1rem 0 } code { background: #f2f2f2; padding: .1em .3em }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: right }
td:first-child, th:first-child { text-align: left } small { color: #555 }
"""


def newest(name: str) -> list[dict[str, Any]]:
    """The kept runs of one kind, newest first."""
    return results.load(name)[::-1]


def latency(runs: list[dict[str, Any]]) -> str:
    """p99 against offered rate, the newest sweep of each face."""
    by_mode: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_mode.setdefault(run["figures"]["mode"], run["figures"]["runs"])
    rows = [
        svg.Line(mode, [(r["rate_asked"], r["latency_us"]["p99"]) for r in swept])
        for mode, swept in by_mode.items()
    ]
    return svg.lines("p99 latency against offered rate", "requests a second", "µs", rows)


def comparison(runs: list[dict[str, Any]]) -> str:
    """CPU per answer by face and server, of the newest comparison."""
    if not runs:
        return ""
    rows = [(f"{row['mode']}: {row['server']}", row["us"]) for row in runs[0]["figures"]["summary"]]
    return svg.bars("server CPU per answer", "µs", rows)


def grown(runs: list[dict[str, Any]]) -> str:
    """CPU per lookup by store, of the newest growth run."""
    if not runs:
        return ""
    rows = [
        (f"{row['store']}, {row['mode']}", row["cpu_us"])
        for row in runs[0]["figures"]["summary"]
        if row["names"] == "present" and not row["zipf"]
    ]
    return svg.bars("CPU per lookup as stores grow", "µs", rows)


def paths(runs: list[dict[str, Any]]) -> str:
    """Where a lookup's time goes, of the newest hotpath run."""
    if not runs:
        return ""
    stages = runs[0]["figures"].get("stages", {})
    rows = [(name, float(us)) for name, us in stages.items()]
    return svg.bars("one lookup by stage", "µs", rows)


def provenance(runs: list[dict[str, Any]]) -> str:
    """What was run, where and with what."""
    if not runs:
        return ""
    run = runs[0]
    where, versions = run["machine"], run["versions"]
    words = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"<p><small><code>{escape(run['command'])}</code> on {escape(where['processor'])}, "
        f"{where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}, "
        f"load {where['load_average']:.1f}; {escape(words)}; {escape(run['at'])}</small></p>"
    )


def page() -> str:
    """The whole report."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Biaoshi benchmarks</title><style>{STYLE}</style><h1>Benchmarks</h1>"
    ]
    for title, name, draw in (
        ("Comparison", "compare", comparison),
        ("Latency", "saturate", latency),
        ("Growth", "growth", grown),
        ("One lookup", "hotpath", paths),
    ):
        runs = newest(name)
        if runs:
            parts.append(f"<h2>{title}</h2>{draw(runs)}{provenance(runs)}")
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
