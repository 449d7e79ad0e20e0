"""biaoshi audit-reads: who read by a grant what is not public."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi audit-reads ./steel
  biaoshi audit-reads ./steel --who 300:0.NA/88.200 --json
\b
A read names who, which record and values, when, the purposes granted and a digest of what was
shown; never the content. `biaoshi audit` shows that nothing was taken out of the log.
\b
Exit codes: 0 done; 2 an option or a setting cannot be used; 3 the store cannot be read."""


@app.command(epilog=_EPILOG)
def audit_reads(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    prefix: Annotated[
        str, typer.Option(metavar="P", help="The prefix; default: the node's own.")
    ] = "",
    who: Annotated[str, typer.Option(metavar="WHO", help="Only reads of this identity.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one read a line.")] = False,
) -> None:
    """List reads of protected values by grant, oldest first."""
    from protocol.name import fold
    from registry.reads import logged_reads
    from resolver.config_file import load_settings
    from resolver.trust.source import FolderSource

    node = folder.resolve()
    home = fold((prefix or load_settings(node).node.prefix).encode())
    source = FolderSource(node)
    try:
        with source.store.snapshot() as state:
            for read in logged_reads(state, home):
                if who and read["who"] != who:
                    continue
                if as_json:
                    print(json.dumps(read, ensure_ascii=False))
                    continue
                at = datetime.fromtimestamp(read["when"], UTC).isoformat()
                what = f"{read['what']} {','.join(map(str, read['indexes']))}".rstrip()
                if "changes" in read:
                    what += f" (changes {read['changes']})"
                why = ", ".join(read["purposes"]) or "-"
                print(f"{at}  {read['who']}  {what}  {why}  {read['digest'][:16]}")
    finally:
        source.close()
