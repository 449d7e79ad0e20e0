"""`biaoshi events`: lifecycle events out of what a company's systems already write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from protocol.errors import SettingsError
from resolver.commands import progress
from resolver.commands.options import Auth, Cert, Insecure
from resolver.exits import Exit

if TYPE_CHECKING:
    from resolver.event_import import Summary, Target

app = typer.Typer(
    name="events",
    help="Make lifecycle events of a company's own files.",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Make lifecycle events of a company's own files."""


_EPILOG: Final = """\b
Examples:
  biaoshi events import bookings.csv --map mes.toml --dry-run
  biaoshi events import bookings.csv --map mes.toml > document.json
  biaoshi events import picks.xlsx --map wms.toml --node ./steel
  biaoshi events import visits.json --map service.toml --node https://id.example.org:8443
      --auth 300:0.NA/88.118.8=keys/admin_300.pem --label 2
\b
MAPPING is a TOML file: [source] says how to read, [[event]] what to make of a row:
  [source]
  time_zone = "Asia/Shanghai"
  [[event]]
  type = "ObjectEvent"
  action = "ADD"
  eventTime = "{finished}"
  bizStep = "commissioning"
  epcList = ["https://id.gs1.org/01/{gtin|gtin}/21/{serial}"]
docs/events.md shows all of it, with files of a MES, a WMS and a service system.
\b
Events get their hash id: importing the same again changes nothing.
\b
Exit codes: 0 every row that the mapping names gave its event; 1 some were refused; 2 the file, the
mapping or an option cannot be used; 3 the node or its store is not available; 4 the identity was
not proved or lacks the right."""


@app.command("import", epilog=_EPILOG)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, XLSX, JSON or JSON lines.")],
    map_: Annotated[Path, typer.Option("--map", metavar="MAPPING", help="The mapping file.")],
    node: Annotated[
        str, typer.Option(metavar="DIR|URL", help="The node: its folder, or its HTTP address.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write events: an EPCISDocument, or a line each for .jsonl."
        ),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the mapping's document files lie. Default: beside FILE."
        ),
    ] = None,
    label: Annotated[
        str, typer.Option(help="Level of the events: public, 1, 2, 3 or a JSON object.")
    ] = "",
    auth: Auth = "",
    cert: Cert = None,
    insecure: Insecure = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make and check every event, and keep none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Turn rows of a MES, WMS or service system into EPCIS events and capture them.

    Without --node and --out the events come as one EPCISDocument on standard output.
    """
    from protocol.epcis.mapping import Mapper
    from resolver.event_import import Digests, find_zone, load_mapping, run
    from resolver.event_import.rows import open_rows

    _require(node, out, auth or cert or insecure, label)
    mapping = load_mapping(map_)
    folder = documents if documents is not None else file.resolve().parent
    mapper = Mapper(mapping, find_zone(mapping.source.time_zone), Digests(folder))
    rows = open_rows(file, mapping.source)
    now_us = time.time_ns() // 1000
    with (
        _target(
            node,
            out,
            mapping.contexts(),
            now_us,
            label,
            auth,
            cert,
            insecure=insecure,
            dry_run=dry_run,
        ) as target,
        progress.shown("importing", None) as tell,
    ):
        summary = run(mapper, rows, target, now_us, lambda count: tell(count, None))
    _report(summary, as_json=as_json, dry_run=dry_run, stdout=bool(node or out or dry_run))
    if summary.refused:
        raise typer.Exit(Exit.REFUSED)


def _require(node: str, out: Path | None, remote: object, label: str) -> None:
    if node and out is not None:
        raise SettingsError("give --node or --out, not both")
    if remote and "://" not in node:
        raise SettingsError("--auth, --cert and --insecure are for a URL; a DIR is its operator's")
    if label and not node:
        raise SettingsError("--label is for a --node, which keeps it with the events")


@contextmanager
def _target(
    node: str,
    out: Path | None,
    contexts: list[Any],
    now_us: int,
    label: str,
    auth: str,
    cert: Path | None,
    *,
    insecure: bool,
    dry_run: bool,
) -> Iterator[Target]:
    from resolver.event_import import targets

    header, level = targets.parse_label(label) if label else (None, None)
    if dry_run:
        yield targets.Nowhere()
    elif "://" in node:
        target = _remote(node, contexts, header, auth, cert, insecure=insecure)
        try:
            yield target
        finally:
            target.close()
    elif node:
        with targets.local_target(Path(node).resolve(), contexts, level) as local:
            yield local
    elif out is not None:
        try:
            with out.open("wb") as stream:
                lines = out.suffix.lower() in (".jsonl", ".ndjson")
                written: Target = (
                    targets.LinesFile(stream, contexts)
                    if lines
                    else targets.DocumentFile(stream, contexts, now_us)
                )
                yield written
                written.close()
        except OSError as error:
            raise SettingsError(f"{out} cannot be written: {error.strerror}") from None
    else:
        shown = targets.DocumentFile(sys.stdout.buffer, contexts, now_us)
        yield shown
        shown.close()


def _remote(
    node: str,
    contexts: list[Any],
    label: str | None,
    auth: str,
    cert: Path | None,
    *,
    insecure: bool,
) -> Target:
    from resolver.event_import.targets import Remote
    from resolver.registering.auth import Credentials
    from resolver.registering.connection import Connection

    if not auth:
        raise SettingsError(
            "a node wants to know who captures: add --auth FILE, the private key or the secret of "
            "its administrator, or --auth INDEX:HANDLE=FILE for another"
        )
    credentials = Credentials.parse(auth, unnamed=True)
    connection = Connection(node, credentials, certificate=cert, insecure=insecure)
    return Remote(connection, contexts, label=label)


def _report(summary: Summary, *, as_json: bool, dry_run: bool, stdout: bool) -> None:
    """The summary; on standard error where standard output holds the document."""
    stream = sys.stdout if stdout else sys.stderr
    if as_json:
        print(json.dumps(summary.shape() | {"dry_run": dry_run}, ensure_ascii=False), file=stream)
        return
    for refusal in summary.refusals:
        sys.stderr.write(refusal.text() + "\n")
    if summary.refused > len(summary.refusals):
        sys.stderr.write(f"… and {summary.refused - len(summary.refusals)} more\n")
    for flag in summary.flags[:3]:
        sys.stderr.write(f"note: {flag}\n")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.kinds.items()))
    parts = [f"{summary.rows} rows{' (dry run)' if dry_run else ''}: {summary.events} events"]
    parts += [f"({kinds})"] if kinds else []
    told = " ".join(parts)
    told += f", {summary.refused} refused" if summary.refused else ""
    told += f", {summary.unused} rows of no event" if summary.unused else ""
    told += f", {summary.flagged} with a note" if summary.flagged else ""
    print(told, file=stream)
