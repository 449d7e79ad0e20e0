"""`biaoshi trace`: where a thing came from, where it went, and who has it now."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer
from rich.console import Console
from rich.table import Table

from protocol.errors import SettingsError, UpstreamError
from resolver.commands.options import Auth, Cert, Insecure
from resolver.exits import Exit
from resolver.trace import shown

app = typer.Typer()

_LOCAL: Final = "http://127.0.0.1:8000"
_EPILOG: Final = """\b
Examples:
  biaoshi trace https://id.gs1.org/01/09521234543213/21/S1
  biaoshi trace 88.118.8/P1 --node https://id.example.org:8443 --hops iterative
  biaoshi trace https://id.gs1.org/01/09521234543213/10/L7 --recall --node ./steel
  biaoshi trace 88.118.8/P1 --at 2026-03-01T00:00:00Z --json
\b
A URL is asked as anybody, or with --auth; events that are not public are then shown to
administrators of that node. A folder is read as its operator, this node's events alone.
\b
✓ signature verified, ? key unknown, – unsigned, ✗ does not hold.
\b
Exit codes: 0 traced; 1 nothing is known of it there; 2 the identifier or an option cannot be used;
3 the node or its store is not available; 4 the identity was not proved."""


@app.command("trace", epilog=_EPILOG)
def trace(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="In any spelling.")],
    *,
    node: Annotated[
        str, typer.Option(metavar="URL|DIR", help="The node: its HTTP address, or its folder.")
    ] = _LOCAL,
    forward: Annotated[
        bool, typer.Option("--forward", help="Where it went, instead of where it came from.")
    ] = False,
    recall: Annotated[
        bool, typer.Option("--recall", help="Forward, and who has what now.")
    ] = False,
    depth: Annotated[
        int | None, typer.Option(min=0, max=200, help="Most steps from the identifier.")
    ] = None,
    at: Annotated[str, typer.Option(metavar="TIME", help="With what it held at this moment.")] = "",
    classes: Annotated[
        bool, typer.Option("--classes", help="Follow what is known by its class alone, too.")
    ] = False,
    hops: Annotated[
        str, typer.Option(metavar="MODE", help="Other nodes: none, iterative or delegated.")
    ] = "none",
    as_json: Annotated[bool, typer.Option("--json", help="The whole result as JSON.")] = False,
    auth: Auth = "",
    cert: Cert = None,
    insecure: Insecure = False,
) -> None:
    """Trace a thing through the events of its life."""
    params = {"direction": "forward" if forward or recall else "back", "hops": hops}
    params |= {} if depth is None else {"depth": str(depth)}
    params |= {"at": at} if at else {}
    params |= {"classes": "1"} if classes else {}
    if "://" in node:
        found = _asked(node, identifier, params, auth, cert, insecure=insecure)
    else:
        if auth or cert or insecure or hops != "none":
            raise SettingsError(
                "--auth, --cert, --insecure and --hops are for a URL, not for a DIR"
            )
        found = asyncio.run(_read(Path(node).resolve(), identifier, params))
    if found is None:
        typer.echo(f"nothing is known of {identifier} at {node}", err=True)
        raise typer.Exit(Exit.REFUSED)
    if as_json:
        groups = {"recall": shown.recall(found)} if recall else {}
        typer.echo(json.dumps(found | groups, ensure_ascii=False, sort_keys=True))
    elif recall:
        _show_recall(found)
    else:
        _show(found)


def _asked(
    node: str,
    identifier: str,
    params: dict[str, str],
    auth: str,
    cert: Path | None,
    *,
    insecure: bool,
) -> dict[str, Any] | None:
    from resolver.registering.auth import Credentials
    from resolver.registering.connection import Connection, error_of

    credentials = Credentials.parse(auth, unnamed=True) if auth else None
    connection = Connection(node, credentials, certificate=cert, insecure=insecure)
    try:
        path = f"/api/trace/{quote(identifier, safe='')}?{urlencode(params)}"
        answer = connection.request("GET", path, headers={"Accept": "application/json"})
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status in {400, 422}:
        raise SettingsError(answer.problem() or "the node does not take this question")
    if answer.status != 200:
        raise error_of(answer, credentials)
    shape = answer.json()
    if not isinstance(shape, dict) or "nodes" not in shape:
        raise UpstreamError(f"{node} gives no trace; is it the address of a node?")
    return shape


async def _read(folder: Path, identifier: str, params: dict[str, str]) -> dict[str, Any] | None:
    """A trace of what a node holds, for who may read its folder."""
    from registry.labels import Viewer
    from resolver.trace.asked import parse_asked
    from resolver.trace.holder import open_folder
    from resolver.trace.keybook import KeyBook
    from resolver.trace.local import LocalTraces

    with open_folder(folder) as held:
        local = LocalTraces(held, KeyBook(held, lambda: None))
        asked = parse_asked(identifier, params, local.bounds())
        walked = await local.walk(asked, Viewer(administrator=True))
        if walked.empty:
            return None
        return (await local.result(asked, walked)).shape()


def _show(result: dict[str, Any]) -> None:
    for line in shown.tree(result):
        typer.echo(line)
    typer.echo("")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("time", "event", "place", "who says so", "verified"):
        table.add_column(name, overflow="fold")
    for row in shown.event_rows(result):
        table.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(table)
    _show_end(result)


def _show_recall(result: dict[str, Any]) -> None:
    for group in shown.recall(result):
        holder = shown.short(group["holder"]) or "nobody that is known"
        state = f", {group['disposition']}" if group["disposition"] else ""
        typer.echo(f"{holder}{state}: {len(group['things'])}")
        for id_ in group["things"]:
            typer.echo(f"  {shown.short(id_)}")
    _show_end(result)


def _show_end(result: dict[str, Any]) -> None:
    stats = result["stats"]
    typer.echo("")
    typer.echo(
        f"{stats['nodes']} things, {stats['edges']} edges, {stats['events']} events"
        + (f", {stats['withdrawn']} withdrawn" if stats["withdrawn"] else "")
        + ("" if result["complete"] else "; not complete:")
    )
    for gap in result["gaps"]:
        again = ", ask again" if gap["retriable"] else ""
        typer.echo(f"  gap at {shown.short(gap['id'])}: {gap['step']}, {gap['reason']}{again}")
    beyond = result.get("beyond")
    if beyond is not None:
        counts = ", ".join(f"{count} {level}" for level, count in beyond["nodes"].items() if count)
        typer.echo(f"  beyond this node: {counts or 'nothing'}, {beyond['events']} events")
