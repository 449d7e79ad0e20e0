"""biaoshi export: the records or events of a node as JSON lines, each with its proof."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from protocol.errors import SettingsError

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi export ./steel > steel.jsonl
  biaoshi export ./steel --output steel.jsonl --prefix 88.118.8
  biaoshi export ./steel --all --no-proofs --output everything.jsonl
  biaoshi export ./steel --events --all --output events.jsonl
\b
A line is {"handle", "values", "receipt"}: `biaoshi register` reads it, `biaoshi verify` checks it.
With --events a line is a lifecycle event with its signature and receipt, which `biaoshi verify`
checks too. Public values and events only, unless --all is given. One consistent state of the node, which may run.
\b
Exit codes: 0 written; 2 a file or an option cannot be used; 3 the store cannot be read."""


@app.command(epilog=_EPILOG)
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new file; default: standard output.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="P", help="Only handles of this prefix.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="With what is not public.")] = False,
    scitt: Annotated[
        bool, typer.Option("--scitt", help="With a COSE receipt as well, for other software.")
    ] = False,
    cosigned: Annotated[
        bool,
        typer.Option("--cosigned", help="Receipts under the checkpoint that witnesses cosigned."),
    ] = False,
    proofs: Annotated[
        bool, typer.Option("--proofs/--no-proofs", help="With a receipt for each record.")
    ] = True,
    events: Annotated[
        bool, typer.Option("--events", help="The lifecycle events in place of the records.")
    ] = False,
) -> None:
    """Write the records or events of a node as JSON lines with proofs."""
    from registry.keys import load_keys
    from resolver.config_file import load_settings
    from resolver.trust.exporting import export_events, export_lines
    from resolver.trust.source import FolderSource

    if events and (prefix or not proofs):
        raise SettingsError("--events takes neither --prefix nor --no-proofs")
    node = folder.resolve()
    if load_settings(node).node.role == "mirror" and scitt:
        raise SettingsError(f"{node} is a mirror; COSE receipts are signed by the log's own node")
    source = FolderSource(node)
    count = 0
    try:
        with _output(output) as stream:
            wanted = prefix.encode() if prefix else None
            lines = (
                export_events(source.store, everything=everything)
                if events
                else export_lines(
                    source.store,
                    wanted,
                    everything=everything,
                    proofs=proofs or cosigned,
                    checkpoint=_cosigned(node) if cosigned else None,
                    cose_key=load_keys(node).log_private if scitt else None,
                )
            )
            for line in lines:
                stream.write(line)
                count += 1
    finally:
        source.close()
    sys.stderr.write(f"{count} {'events' if events else 'records'}\n")


def _cosigned(folder: Path) -> bytes:
    from resolver.trust.cosigned import read_cosigned

    found = read_cosigned(folder)
    if found is None:
        raise SettingsError(f"{folder} has no cosigned checkpoint; run `biaoshi witness --submit`")
    return found


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"{path} cannot be made: {error.strerror}") from None
    with os.fdopen(handle, "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
