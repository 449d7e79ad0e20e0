"""biaoshi verify: check records, answers and receipts from files, offline."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import SettingsError
from protocol.name import fold_prefix
from resolver.exits import Exit

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi verify export.jsonl --root-key root.pem --records prefixes.jsonl --log-key steel.pub
  biaoshi verify answer.json --key steel.pub
  biaoshi verify answer.json --log-key steel.pub --receipt receipt.json
  biaoshi verify receipt.json --log-key steel.pub
  biaoshi verify receipt.json --log-key steel.pub --witness w1+… --witness w2+… --witnesses 1
  biaoshi verify receipt.cose --log-key steel.pub
\b
A signature is followed to a root key through the certificates in FILE and --records; --key
believes a signer by itself. A receipt shows that a change is in a log, and that it wrote exactly
the public values that FILE has; it may be a COSE receipt (RFC 9942), too. A signature alone does not
say that a record is the newest one. What a revoked key signed counts with the receipt of a change
that its log had before the revocation.
\b
Exit codes: 0 everything holds; 1 something does not, or nothing could be checked; 2 a file or an
option cannot be used."""

KeyFiles = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Trusted root key.")]


@app.command(epilog=_EPILOG)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON answer, receipt, JSON lines.")],
    root_key: KeyFiles = None,
    key: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A signer's key, believed by itself.")
    ] = None,
    log_key: Annotated[
        list[str] | None, typer.Option(metavar="FILE|KEY", help="A log key, for receipts.")
    ] = None,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The receipt of the one record in FILE.")
    ] = None,
    records: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Records with certificates.")
    ] = None,
    at: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Judge as of then, since 1970.")
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="A witness, as `biaoshi witness --show-key` prints it."),
    ] = None,
    witnesses: Annotated[
        int | None,
        typer.Option(min=1, help="So many of them must have cosigned. Default: all given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each item.")] = False,
) -> None:
    """Check records, answers and receipts offline."""
    from dataclasses import replace

    from protocol import note
    from resolver.keyfiles import read_public_keys
    from resolver.trust.offline import Trusted, read_items, verify_item
    from resolver.trust.source import read_log_key

    trusted = Trusted(
        tuple(found for path in root_key or () for found in read_public_keys(path)),
        tuple(found for path in key or () for found in read_public_keys(path)),
        tuple(read_log_key(text) for text in log_key or ()),
        int(time.time()) if at is None else at,
        tuple(note.Key.parse(text) for text in witness or ()),
        witnesses or len(witness or ()),
    )
    items = list(read_items(file))
    if receipt is not None:
        (given,) = list(read_items(receipt))
        if len(items) != 1 or given.receipt is None:
            raise SettingsError("--receipt is a receipt, for a FILE with one record")
        items = [replace(items[0], receipt=given.receipt)]
    more = [item for path in records or () for item in read_items(path)]
    known = {fold_prefix(item.handle): item for item in (*items, *more) if item.handle}
    wrong = 0
    for item in items:
        verdict = asyncio.run(verify_item(item, trusted, known))
        wrong += verdict.problem is not None
        if as_json:
            print(json.dumps(verdict.shape(), ensure_ascii=False))
            continue
        name = item.handle.decode("utf-8", "replace") or "receipt"
        said = "; ".join(verdict.held)
        print(f"{name}: {said if verdict.problem is None else f'NOT VALID: {verdict.problem}'}")
    if wrong or not items:
        raise typer.Exit(Exit.REFUSED)
