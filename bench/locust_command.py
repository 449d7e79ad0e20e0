"""`biaoshi bench locust`: Locust scenarios against any node, headless or with its web page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

FILE = Path(__file__).parent / "locustfile.py"
SCENARIOS = ("HttpResolve", "IrpUdp", "IrpTcp", "DnsUdp", "Trace", "Register", "MixedDay")


def chosen(scenario: list[str], dns: str, auth: str, traced: bool = False) -> list[str]:
    """The user classes to run: those named, or all whose options are given. Raises BadParameter."""
    unknown = [name for name in scenario if name not in SCENARIOS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(SCENARIOS)}")
    if "DnsUdp" in scenario and not dns:
        raise typer.BadParameter("DnsUdp needs --dns HOST:PORT and --domains FILE")
    if "Trace" in scenario and not traced:
        raise typer.BadParameter("Trace needs --traced FILE, identifiers that have events")
    if "Register" in scenario and not auth:
        raise typer.BadParameter("Register needs --auth and --register-prefix")
    if scenario:
        return scenario
    optional = (("DnsUdp", dns), ("Trace", traced), ("Register", auth))
    return ["HttpResolve", "IrpUdp", "IrpTcp", *(name for name, given in optional if given)]


def locust(
    url: Annotated[str, typer.Argument(help="the node's HTTP address, http://127.0.0.1:8000")],
    keys: Annotated[Path, typer.Option(help="file of identifiers, one a line")],
    irp: Annotated[str, typer.Option(help="HOST:PORT of the DO-IRP face")] = "127.0.0.1:2641",
    dns: Annotated[str, typer.Option(help="HOST:PORT of the DNS face")] = "",
    domains: Annotated[Path | None, typer.Option(help="file of domain names for DNS")] = None,
    traced: Annotated[
        Path | None, typer.Option(help="file of identifiers that have events, for Trace")
    ] = None,
    auth: Annotated[
        str, typer.Option(help="who registers: INDEX:HANDLE=FILE, as for `biaoshi register`")
    ] = "",
    register_prefix: Annotated[str, typer.Option(help="prefix to register under")] = "",
    batch: Annotated[int, typer.Option(help="registrations in a request")] = 100,
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(SCENARIOS)}; may repeat")
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
    classes = chosen(scenario or [], dns, auth, traced is not None)
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--host", url]
    command += ["--users", str(users), "--spawn-rate", str(spawn_rate), "--irp", irp]
    command += ["--keys", str(keys), "--absent", str(absent), "--p99-ms", str(p99_ms)]
    command += ["--error-share", str(error_share), "--batch", str(batch)]
    if dns:
        command += ["--dns", dns, "--domains", str(domains or "")]
    if traced is not None:
        command += ["--traced", str(traced)]
    if auth:
        command += ["--auth", auth, "--register-prefix", register_prefix]
    if processes > 1:
        command += ["--processes", str(processes)]
    if not web:
        command += ["--headless", "--only-summary", "--run-time", f"{seconds}s"]
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        command += ["--html", str(report / "report.html"), "--csv", str(report / "locust")]
    command += [*(more or []), *classes]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
