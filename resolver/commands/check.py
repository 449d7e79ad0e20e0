"""biaoshi check: whether everything in a node's folder adds up."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import BiaoshiError
from resolver.exits import Exit

if TYPE_CHECKING:
    from resolver.config import Settings

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi check ./steel
  biaoshi check ./steel --json
  biaoshi check ./steel --scrub
  biaoshi check ./steel --repair
  biaoshi check ./steel --repair-from https://copy.example.org:8443 --auth 300:0.NA/88.118.8=key.pem
\b
Every record, ready body, prefix, tile and checkpoint is made again from the log and compared;
SHA-256 digests, checksums and signatures are checked on the way. Nothing is changed, and the node
may run meanwhile.
\b
--scrub compares every record with its digests at once (a running node does it all the time) and
quarantines what does not hold. --repair makes the store of a stopped node again from its log;
--repair-from takes what is damaged in the log too from a mirror, proved by the signed root. The
damaged store is kept beside.
\b
Exit codes: 0 all adds up; 1 something does not, a line each; 2 the folder cannot be used; 3 the
store cannot be opened."""


@app.command(epilog=_EPILOG)
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="Quarantine damaged records first.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make the store again from its log first.")
    ] = False,
    repair_from: Annotated[
        str, typer.Option(metavar="URL", help="The same, with a mirror's log.")
    ] = "",
    auth: Annotated[
        str, typer.Option(metavar="KEY", help="For --repair-from: INDEX:HANDLE=FILE.")
    ] = "",
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For --repair-from: its tls/cert.pem.")
    ] = None,
) -> None:
    """Make the tables again from the log, and compare."""
    from registry.check import check_node
    from registry.fence import Known, contradiction, fence_of
    from registry.keys import load_keys
    from registry.store.lmdb_store import LmdbStore
    from resolver.config_file import load_settings
    from resolver.trust.following import PRIMARY
    from resolver.trust.signers import log_signer, signers_of

    node = folder.resolve()
    settings = load_settings(node)
    signer = log_signer(settings, load_keys(node))
    if scrub:
        _scrub(node, settings)
    if repair or repair_from:
        _repair(node, settings, repair_from, auth, cert)
    started = time.monotonic()
    known = Known(node).read()  # before the snapshot: it is never ahead of what follows
    map_bytes = settings.store.map_size_gib << 30
    store = LmdbStore.open(node / "store", readonly=True, map_bytes=map_bytes)
    try:
        signers = signers_of(node, settings, load_keys(node), store, Path(PRIMARY))
        findings = check_node(store, signer=signers)
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


def _scrub(node: Path, settings: Settings) -> None:
    from resolver.trust.repairing import scrub

    for name, why in scrub(node, settings):
        shown = name.decode("utf-8", "replace")
        print(f"quarantined {shown}: {why}", file=sys.stderr)


def _repair(node: Path, settings: Settings, url: str, auth: str, cert: Path | None) -> None:
    from resolver.trust.repairing import repair_folder

    done = repair_folder(node, settings, url, auth, cert)
    print(
        f"repaired: {done.changes} changes, {done.fetched} of them from the mirror, root "
        f"{done.root.hex()}; the damaged store is {done.kept.name}",
        file=sys.stderr,
    )
