"""biaoshi doctor: test a node from outside in and say what to mend."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from resolver.doctor.examine import examine
from resolver.doctor.findings import Finding, State
from resolver.doctor.patient import patient_of
from resolver.exits import Exit

app = typer.Typer()

_MARKS = {
    State.OK: "ok     ",
    State.SKIPPED: "skipped",
    State.WARNING: "WARNING",
    State.FAULT: "FAULT  ",
}

_EPILOG = """\b
Examples:
  biaoshi doctor ./steel
  biaoshi doctor https://node.example.org:8443 --prefix 88.118.8 --parent https://parent.example.org:8443
  biaoshi doctor ./steel --root https://root.example.org:8443 --root-key root.pem --json
\b
Exit codes: 0 nothing has to be mended (there may be warnings); 1 there are faults; 2 NODE, a
setting or a file cannot be used; 3 the node cannot be reached at all."""


@app.command("doctor", epilog=_EPILOG)
def doctor(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Its folder, or the URL of its HTTP face.")
    ],
    *,
    prefix: Annotated[
        str | None, typer.Option(metavar="P", help="The prefix it is home to, where NODE is a URL.")
    ] = None,
    parent: Annotated[str, typer.Option(metavar="URL", help="Of the parent's HTTP face.")] = "",
    root: Annotated[
        str, typer.Option(metavar="DIR|FILE|URL", help="A root, to follow the chain from there.")
    ] = "",
    root_key: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A trusted root key.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=600, metavar="SECONDS", help="For everything together.")
    ] = 60.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings and faults.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Test a node from outside in: ports, keys, delegation, signatures, clock, readiness, store."""
    patient = patient_of(node, parent=parent, root=root, root_keys=tuple(root_key or ()))
    named = (
        prefix if prefix is not None else patient.settings.node.prefix if patient.settings else ""
    )
    report = asyncio.run(examine(patient, named.encode().upper(), total_s=timeout))
    shown = [f for f in report.findings if not quiet or f.state in {State.WARNING, State.FAULT}]
    counts = {state.value: report.count(state) for state in State}
    unreachable = any(
        f.check in {"reachable", "running"} and f.state is State.FAULT for f in report.findings
    )
    if as_json:
        shape = {"node": node, **counts, "findings": [dict(f.as_dict()) for f in shown]}
        print(json.dumps(shape, ensure_ascii=False))
    else:
        for finding in shown:
            _print(finding)
        print(f"{counts['fault']} faults, {counts['warning']} warnings, {counts['ok']} checks well")
    if unreachable:
        raise typer.Exit(Exit.UNAVAILABLE)
    raise typer.Exit(Exit.REFUSED if counts["fault"] else Exit.OK)


def _print(finding: Finding) -> None:
    print(f"{_MARKS[finding.state]}  {finding.check}: {finding.text}")
    if finding.mend:
        print(f"         -> {finding.mend}")
