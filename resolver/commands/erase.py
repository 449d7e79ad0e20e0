"""biaoshi erase: take content out of the log; every proof stays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import HandleNotFound, InvalidValue, SettingsError
from resolver.commands.telling import JsonOption, tell

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi erase ./steel 88.118.8/alice --reason "request of the person"
  biaoshi erase ./steel 88.118.8/alice --change 17 --change 21
  biaoshi erase ./steel urn:uuid:3f2a5b1c-0d4e-4f60-8a7b-9c8d7e6f5a4b
\b
The content of the changes of one record is taken out of the log: values before and after, actor,
salts. Leaves, tree, checkpoints and receipts that were given out stay as they are. The record itself
stays, too; delete it first where it has to go. The erasure is logged, and mirrors repeat it; backups
made earlier keep what they have.
\b
Exit codes: 0 done; 1 nothing of that name has content in the log; 2 an option cannot be used;
3 the store or the writer cannot be used."""


@app.command(epilog=_EPILOG)
def erase(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    handle: Annotated[
        str, typer.Argument(metavar="HANDLE", help="The record, or an event by its eventID.")
    ],
    change: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Only these changes of it.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Logged with the erasure.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Take the content of a record's changes out of the log."""
    from protocol.change import Change, Kind
    from registry.erase import MOST, changes_of
    from resolver.config_file import load_settings
    from resolver.trust.source import FolderSource
    from resolver.writer_link import open_writer

    node = folder.resolve()
    load_settings(node)
    name = handle.encode()
    source = FolderSource(node)
    try:
        found = changes_of(source.store, name)
    finally:
        source.close()
    if not found:
        raise HandleNotFound(f"the log has no content of {handle}")
    if change and not set(change) <= set(found):
        raise SettingsError(f"changes of {handle} with content are {found}")
    wanted = sorted(change or found)
    with open_writer(node) as writer:
        for at in range(0, len(wanted), MOST):
            attributes = {"sequences": wanted[at : at + MOST], "reason": reason}
            (outcome,) = writer.submit([Change(Kind.ERASE, name, attributes=attributes)])
            if outcome.status == "refused":
                raise InvalidValue(f"nothing was erased: {outcome.error}")
    tell(
        {"handle": handle, "erased": wanted},
        f"{len(wanted)} changes of {handle} erased; their proofs hold on.",
        as_json=as_json,
    )
