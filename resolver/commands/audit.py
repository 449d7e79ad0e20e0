"""biaoshi audit: replay the log of a node and name the first thing that does not add up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import ParseError, SignatureInvalid
from resolver.commands.options import Cert, Insecure
from resolver.exits import Exit

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi audit ./steel
  biaoshi audit https://id.example.org:8443 --log-key steel.pub --keep steel.checkpoint
  biaoshi audit https://id.example.org:8443 --auth 300:0.NA/88.118.8=keys/admin_300.pem
\b
With --keep the newest checkpoint is written to a file, and the next audit proves that the log
still begins with what it was: whoever keeps one catches a log that was rewritten. With --auth of
an administrator the content is checked against the leaves as well.
\b
Exit codes: 0 all adds up; 1 something does not, and it is named; 2 a file or an option cannot be
used; 3 the node does not answer; 4 the identity was not proved or lacks the right."""


@app.command(epilog=_EPILOG)
def audit(
    place: Annotated[str, typer.Argument(metavar="DIR|URL", help="The node.")],
    log_key: Annotated[
        str,
        typer.Option(
            metavar="FILE|KEY",
            help="Its log key: a file, or a line name+id+base64. Default: kept, or as the node says.",
        ),
    ] = "",
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare with this checkpoint, then renew it."),
    ] = None,
    auth: Annotated[
        str, typer.Option(metavar="KEY", help="For a URL: INDEX:HANDLE=FILE of an administrator.")
    ] = "",
    cert: Cert = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Replay a node's log and name the first thing that does not add up."""
    from resolver.trust.auditing import audit_log
    from resolver.trust.source import open_source, read_log_key

    source = open_source(place, auth, cert, insecure=insecure)
    started = time.monotonic()
    try:
        told = audit_log(source, read_log_key(log_key) if log_key else None, keep)
    except (SignatureInvalid, ParseError) as error:
        if as_json:
            print(json.dumps({"ok": False, "finding": str(error)}))
        else:
            print(f"DOES NOT ADD UP: {error}")
        raise typer.Exit(Exit.REFUSED) from None
    finally:
        source.close()
    if as_json:
        print(
            json.dumps({"ok": True, "seconds": round(time.monotonic() - started, 3)} | told.shape())
        )
        return
    print(f"{told.size} changes of {told.origin} add up, root {told.root.hex()}")
    print(f"content checked: {told.bodies}; erased or not readable: {told.without}")
    if told.earlier is not None:
        print(f"begins with the {told.earlier} changes of the checkpoint that was kept")
    if not told.pinned:
        print("the log key is the one the node names itself; give --log-key or --keep to be sure")
