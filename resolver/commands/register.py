"""biaoshi register: register identifiers from a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from protocol.errors import InvalidValue, SettingsError
from protocol.labels import parse_label_text
from registry.imports import Format, OnExists, Options, detect, read_items
from resolver.commands import progress
from resolver.commands.options import Auth, Cert, Insecure
from resolver.exits import Exit
from resolver.registering import REFUSED, Results, Sink, Summary, run

app = typer.Typer()

_SNIFF_BYTES = 65_536

_EPILOG = """\b
Examples:
  biaoshi register products.csv --node ./steel
  biaoshi register products.csv --node ./steel --on-exists merge --results done.jsonl
  biaoshi register products.jsonl --node https://id.example.org:8443
      --auth 300:0.NA/88.118.8=keys/admin_300.pem
  biaoshi register old-handles.txt --node ./steel --no-sign --dry-run
  biaoshi register products.csv --node ./steel --label BOM=production:2
  cat products.csv | biaoshi register - --node ./steel --encoding gb18030
\b
CSV:   identifier,URL,DESC,TYPE@INDEX      a value type a column
JSON:  {"handle":"88.118.8/a","values":[{"index":1,"type":"URL","data":"https://example.org/a"}]}
Batch: CREATE, ADD, MODIFY, REMOVE, DELETE … as Handle.Net tools write them
\b
Registering the same again changes nothing ("unchanged"), so a broken run can be repeated; with
--results FILE --resume it continues after the last acknowledged line.
\b
Exit codes: 0 all registered; 1 some rows were refused; 2 the file, an option or a setting cannot
be used; 3 the node or its store is not available; 4 the identity was not proved or lacks the
right."""


@app.command(epilog=_EPILOG)
def register(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="CSV, JSON lines or Handle batch file; - is stdin."),
    ],
    node: Annotated[
        str, typer.Option(metavar="DIR|URL", help="The node: its folder, or its HTTP address.")
    ],
    on_exists: Annotated[
        OnExists, typer.Option(help="What to do with identifiers that have other values already.")
    ] = OnExists.REFUSE,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JSON line for each row.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue after the last line in --results.")
    ] = False,
    auth: Auth = "",
    cert: Cert = None,
    insecure: Insecure = False,
    sign: Annotated[
        bool | None,
        typer.Option(
            "--sign/--no-sign", help="For DIR: sign with the node's key. Default: its settings."
        ),
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="What the file holds; auto looks at it.")
    ] = Format.AUTO,
    encoding: Annotated[
        str, typer.Option(help="Encoding of CSV and batch files, such as gb18030.")
    ] = "utf-8",
    admin: Annotated[
        bool,
        typer.Option(
            "--admin/--no-admin", help="Add HS_ADMIN of the prefix's administrators unless given."
        ),
    ] = True,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=LABEL",
            help="Label values: INDEX, TYPE or * = CLASS:LEVEL[:PURPOSE], such as "
            "BOM=production:2; for rows that bring no labels. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Register identifiers with typed values from a file, thousands a second."""
    if "://" in node:
        _check_for_url(auth, sign=sign, dry_run=dry_run)
    elif auth or cert or insecure:
        raise SettingsError("--auth, --cert and --insecure are for a URL; a DIR is its operator's")
    with _input(file) as (stream, size):
        kind = detect(file, _peek(stream)) if format_ is Format.AUTO else format_
        folder = Path(file).resolve().parent if file != "-" else None
        options = Options(on_exists, admin, encoding, folder, _labels(label or []))
        if results is not None and file != "-" and results.exists() and results.samefile(file):
            raise SettingsError(f"{results} is the input itself; name another file for --results")
        with _sink(node, auth, cert, sign=sign, insecure=insecure, dry_run=dry_run) as sink:
            written = Results.open(results, resume=resume)  # a slip above must not empty it
            try:
                summary = _run(stream, size, kind, options, sink, written)
            finally:
                written.close()
    _report(summary, shown=results is None, dry_run=dry_run, as_json=as_json)
    if summary.counts[REFUSED]:
        raise typer.Exit(Exit.REFUSED)


def _check_for_url(auth: str, *, sign: bool | None, dry_run: bool) -> None:
    if sign is not None:
        raise SettingsError("--sign and --no-sign are for a DIR, whose key would sign")
    if not auth and not dry_run:
        raise SettingsError(
            "a node wants to know who registers: add --auth FILE, the private key or the secret of "
            "its administrator, or --auth INDEX:HANDLE=FILE for another"
        )


def _labels(given: list[str]) -> dict[str, str]:
    """--label as Options has it. Raises SettingsError."""
    labels = {}
    for text in given:
        what, mark, label = text.partition("=")
        try:
            parse_label_text(label)
        except InvalidValue as error:
            raise SettingsError(f"--label {text!r}: {error}") from None
        if not mark or not what:
            raise SettingsError(f"--label is written WHAT=CLASS:LEVEL, not {text!r}")
        labels[what] = label
    return labels


@contextmanager
def _input(name: str) -> Iterator[tuple[BufferedReader, int | None]]:
    """The file and its size; the size of standard input is not known."""
    if name == "-":
        yield cast("BufferedReader", sys.stdin.buffer), None
        return
    path = Path(name)
    try:
        with path.open("rb") as stream:
            yield stream, path.stat().st_size
    except OSError as error:
        if error.filename != name:
            raise
        raise SettingsError(f"{name} cannot be read: {error.strerror}") from None


def _peek(stream: BufferedReader) -> bytes:
    return stream.peek(_SNIFF_BYTES)[:_SNIFF_BYTES]


@contextmanager
def _sink(
    node: str, auth: str, cert: Path | None, *, sign: bool | None, insecure: bool, dry_run: bool
) -> Iterator[Sink]:
    if "://" not in node:
        from resolver.registering.local import local_sink

        with local_sink(Path(node).resolve(), sign=sign, dry_run=dry_run) as local:
            yield local
        return
    from resolver.registering.auth import Credentials
    from resolver.registering.connection import Connection
    from resolver.registering.remote import DryRemoteSink, RemoteSink

    credentials = Credentials.parse(auth, unnamed=True) if auth else None
    if dry_run:
        yield DryRemoteSink()
        return
    connection = Connection(node, credentials, certificate=cert, insecure=insecure)
    try:
        yield RemoteSink(connection)
    finally:
        connection.close()


def _run(
    stream: BinaryIO,
    size: int | None,
    kind: Format,
    options: Options,
    sink: Sink,
    results: Results,
) -> Summary:
    with progress.shown("registering", size) as tell:

        def acknowledged(rows: int) -> None:
            tell(rows, stream.tell() if size is not None else None)

        return run(read_items(stream, kind, options), sink, results, acknowledged)


def _report(summary: Summary, *, shown: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary.shape() | {"dry_run": dry_run}))
        return
    if shown:
        for result in summary.refusals:
            name, error = result.handle.decode("utf-8", "replace"), result.error or ""
            told = error if error.startswith(name) else f"{name}: {error}"
            sys.stderr.write(f"line {result.line}: {told}\n")
        more = summary.counts[REFUSED] - len(summary.refusals)
        if more > 0:
            sys.stderr.write(f"… and {more} more; --results FILE lists them all\n")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.counts.items()))
    rate = summary.rows / summary.seconds if summary.seconds else 0
    print(
        f"{summary.rows} rows{' (dry run)' if dry_run else ''}: {counts or 'nothing to do'}"
        f" in {summary.seconds:.1f} s ({rate:.0f}/s)"
    )
