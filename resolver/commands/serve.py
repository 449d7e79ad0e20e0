"""biaoshi serve: run a node."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi serve ./steel
  biaoshi serve /var/lib/biaoshi --readers 4
\b
Signals: TERM or INT finish what is in flight and stop; HUP reads settings, keys and
certificate again without refusing a connection.
\b
Exit codes: 0 stopped; 2 a setting or a key file cannot be used; 3 a port is in use, the
folder is served already, or the store cannot be opened (of a newer format, for example)."""


@app.command(epilog=_EPILOG)
def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The node's folder, made by `biaoshi init`.")
    ],
    readers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Reader processes; default: the settings file's."),
    ] = None,
) -> None:
    """Run the node of a folder until it is told to stop.

    Prints one JSON line {"ready":true,"irp":…,"http":…,…} when every face answers; logs are JSON
    lines on the standard error output.
    """
    gc.disable()  # a tenth of the time that importing takes; resolver.app turns it on again
    from resolver.app import serve as serve_node

    raise typer.Exit(serve_node(folder.resolve(), readers))
