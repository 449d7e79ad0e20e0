"""biaoshi check: whether everything in a node's folder adds up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import BiaoshiError
from resolver.exits import Exit

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi check ./steel
  biaoshi check ./steel --json
\b
Every record, ready body, prefix, tile and checkpoint is made again from the log and compared;
SHA-256 digests, checksums and signatures are checked on the way. Nothing is changed, and the node
may run meanwhile.
\b
Exit codes: 0 all adds up; 1 something does not, a line each; 2 the folder cannot be used; 3 the
store cannot be opened."""


@app.command(epilog=_EPILOG)
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make the tables again from the log, and compare."""
    from registry.check import check_node
    from registry.fence import Known, contradiction, fence_of
    from registry.keys import load_keys
    from registry.store.lmdb_store import LmdbStore
    from resolver.config_file import load_settings
    from resolver.trust.signers import log_signer

    node = folder.resolve()
    settings = load_settings(node)
    signer = log_signer(settings, load_keys(node))
    started = time.monotonic()
    known = Known(node).read()  # before the snapshot: it is never ahead of what follows
    map_bytes = settings.store.map_size_gib << 30
    store = LmdbStore.open(node / "store", readonly=True, map_bytes=map_bytes)
    try:
        findings = check_node(store, signer=signer)
        with store.snapshot() as state:
            fence = fence_of(state)
            if known is not None and signer is not None:
                try:
                    why = contradiction(state, known, signer)
                except BiaoshiError as error:
                    why = f"cannot be compared: {error}"
                findings += [f"checkpoint.txt: {why}"] if why else []
        rows = {name: count for name, count in store.usage().items() if name.startswith("rows_")}
    finally:
        store.close()
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        shape = {"ok": not findings, "findings": findings, "fence": fence, "seconds": seconds}
        print(json.dumps(shape | rows))
    else:
        for finding in findings:
            print(finding)
        if fence is not None:
            print(f"takes no writes: {fence}")
        if not findings:
            counts = f"{rows['rows_records']} records and {rows['rows_changes']} changes"
            print(f"{counts} add up ({seconds} s)")
    if findings:
        raise typer.Exit(Exit.REFUSED)
