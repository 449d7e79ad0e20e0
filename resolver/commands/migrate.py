"""biaoshi migrate: bring a node's store to the format of this release."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from resolver.commands.telling import JsonOption, tell

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi migrate ./steel
  biaoshi migrate ./steel --drop-copies
\b
The node must be stopped. The work is done on a copy; broken off at any point, it goes on there when
the command is run again. The earlier store stays beside the new one, as store.format1 and so on,
until --drop-copies removes it.
\b
Exit codes: 0 the store has this release's format; 2 the folder cannot be used; 3 the node runs, the
store is of a later release, or it does not add up: nothing was changed."""


@app.command(epilog=_EPILOG)
def migrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder, stopped.")],
    drop_copies: Annotated[
        bool, typer.Option("--drop-copies", help="Remove the stores that were kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the store of a node to the format of this release."""
    from registry.keys import load_keys
    from registry.migrate import migrate as bring
    from registry.store.lmdb_store import FORMAT
    from resolver.config_file import load_settings
    from resolver.trust.signers import log_signer

    node = folder.resolve()
    settings = load_settings(node)
    signer = None if settings.node.role == "mirror" else log_signer(settings, load_keys(node))
    done = bring(
        node,
        signer=signer,
        map_bytes=settings.store.map_size_gib << 30,
        say=lambda text: print(text, file=sys.stderr),
    )
    before, kept = done or (FORMAT, None)
    removed = sorted(node.glob("store.format*")) if drop_copies else []
    for left in removed:
        shutil.rmtree(left)
    if kept is None:
        line = f"{node}: the store has format {FORMAT}, as this release writes it"
    else:
        line = f"{node}: format {before} to {FORMAT}; the earlier store is {kept.name}"
    shape = {
        "node": str(node),
        "before": before,
        "format": FORMAT,
        "kept": kept and kept.name,
        "removed": [left.name for left in removed],
    }
    tell(shape, line, *(f"removed {left.name}" for left in removed), as_json=as_json)
