"""biaoshi restore: a node's folder out of backups."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import SettingsError
from resolver.commands.telling import JsonOption, tell

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi restore steel-monday.tar ./steel --then steel-tuesday.tar
  biaoshi restore steel-monday.tar ./steel --at 120000
  biaoshi restore steel-monday.tar ./steel --until 2026-11-20T12:00:00Z
\b
The root of the restored log is compared with the one in the backup. The node reads at once and
takes no writes until `biaoshi epoch confirm DIR`: changes that were acknowledged after the backup
are lost, and whoever kept a later checkpoint must be able to see that.
\b
Exit codes: 0 restored; 2 a file or an option cannot be used; 3 the backup does not add up."""


@app.command(epilog=_EPILOG)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A full backup.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    then: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Increments, in their order.")
    ] = None,
    at: Annotated[
        int | None, typer.Option(min=1, metavar="SEQUENCE", help="The last change to restore.")
    ] = None,
    until: Annotated[
        str, typer.Option(metavar="TIME", help="Or the last one up to this time, ISO 8601.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a node's folder from backups, up to now, a position or a time."""
    from registry.backup import restore as make
    from registry.store.lmdb_store import MAP_BYTES

    if at is not None and until:
        raise SettingsError("give --at or --until, not both")
    position, root = make(
        file,
        folder.absolute(),
        increments=then or (),
        at=at,
        until_s=_seconds(until) if until else None,
        map_bytes=MAP_BYTES,
    )
    tell(
        {"folder": str(folder), "sequence": position, "root": root.hex(), "writes": False},
        f"{folder}: restored at change {position}, root {root.hex()}",
        f"It takes no writes until: biaoshi epoch confirm {folder}",
        as_json=as_json,
    )


def _seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no time; write 2026-11-20T12:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
