"""biaoshi backup: a node at one position of its log, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resolver.commands.telling import JsonOption, tell

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi backup ./steel steel-monday.tar
  biaoshi backup ./steel steel-tuesday.tar --since steel-monday.tar
  biaoshi backup ./steel steel-public.tar --no-keys
\b
The node may run and be written meanwhile. The file holds the private keys unless --no-keys is
given: keep it as you keep them. With --since only the later changes are written.
\b
Exit codes: 0 written and checked; 2 a file or an option cannot be used; 3 the store cannot be
read, or does not add up."""


@app.command(epilog=_EPILOG)
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    since: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only what came after this backup.")
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys/--no-keys", help="With the private keys of the node.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a backup of a node, running or not."""
    from registry.backup import back_up, back_up_since
    from resolver.config_file import load_settings

    node = folder.resolve()
    map_bytes = load_settings(node).store.map_size_gib << 30
    if since is not None:
        made = back_up_since(node, file, since, map_bytes=map_bytes)
        held = f"changes {made.first} to {made.sequence}"
        if made.first > made.sequence:
            held = f"nothing new after change {made.sequence}"
    else:
        made = back_up(node, file, map_bytes=map_bytes, keys=keys)
        held = f"the node at change {made.sequence}"
    root = made.root.hex()
    shape = {"file": str(file), "first": made.first, "sequence": made.sequence, "root": root}
    tell(shape, f"{file}: {held}, root {root}", as_json=as_json)
