"""`biaoshi bench locust`: Locust scenarios against any node, headless or with its web page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

FILE = Path(__file__).parent / "locustfile.py"
SCENARIOS = ("HttpResolve", "IrpUdp", "IrpTcp", "Register")


def locust(
    url: Annotated[str, typer.Argument(help="the node's HTTP address, http://127.0.0.1:8000")],
    keys: Annotated[Path, typer.Option(help="file of identifiers, one a line")],
    irp: Annotated[str, typer.Option(help="HOST:PORT of the DO-IRP face")] = "127.0.0.1:2641",
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(SCENARIOS)}; may repeat (all)")
    ] = None,
    users: Annotated[int, typer.Option(help="how many users")] = 20,
    spawn_rate: Annotated[float, typer.Option(help="users started a second")] = 10,
    seconds: Annotated[int, typer.Option(help="length; with --web until stopped")] = 30,
    web: Annotated[bool, typer.Option("--web", help="with Locust's page on port 8089")] = False,
    processes: Annotated[int, typer.Option(help="generator processes")] = 1,
    absent: Annotated[float, typer.Option(help="share of names not there")] = 0.05,
    p99_ms: Annotated[float, typer.Option(help="fail above this p99; 0 = never")] = 0,
    error_share: Annotated[float, typer.Option(help="fail above this share of errors")] = 0.01,
    report: Annotated[Path | None, typer.Option(help="folder for report.html and *.csv")] = None,
    more: Annotated[list[str] | None, typer.Argument(help="further options of Locust")] = None,
) -> None:
    """Run Locust users against a node; exit 1 when a threshold is passed.

    Example: biaoshi bench locust http://127.0.0.1:8000 --keys ids.txt --p99-ms 50
    """
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--host", url]
    command += ["--users", str(users), "--spawn-rate", str(spawn_rate), "--irp", irp]
    command += ["--keys", str(keys), "--absent", str(absent), "--p99-ms", str(p99_ms)]
    command += ["--error-share", str(error_share)]
    if processes > 1:
        command += ["--processes", str(processes)]
    if not web:
        command += ["--headless", "--only-summary", "--run-time", f"{seconds}s"]
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        command += ["--html", str(report / "report.html"), "--csv", str(report / "locust")]
    command += [*(more or []), *(scenario or [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
