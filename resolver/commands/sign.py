"""biaoshi sign: sign records in JSON lines with a key of one's own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer

from protocol.errors import BiaoshiError, ParseError, SettingsError
from protocol.handle_json import format_values, parse_values
from protocol.record import Reference
from protocol.strict_json import parse_json
from resolver.exits import Exit

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi sign products.jsonl --auth 302:0.NA/88.118.8=keys/log_key.pem > signed.jsonl
  biaoshi sign products.jsonl --auth 302:0.NA/88.118.8=key.pem --chain 402:0.NA/88.118.8
      --chain 400:0.NA/88.118 --days 365 > signed.jsonl
\b
Each line is {"handle", "values"} as the Handle interface writes it; an HS_SIGNATURE value with a
digest of every public value is added, an earlier one of the same signer replaced. --chain names
the signer's certificates, nearest first.
\b
Exit codes: 0 all signed; 1 a line could not be signed; 2 a file or an option cannot be used."""

_MAX_LINE_BYTES = 2 << 20


@app.command(epilog=_EPILOG)
def sign(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is stdin.")],
    auth: Annotated[
        str, typer.Option(metavar="KEY", help="INDEX:HANDLE=FILE: the signer and its private key.")
    ],
    chain: Annotated[
        list[str] | None, typer.Option(metavar="INDEX:HANDLE", help="A certificate of the signer.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="How long the signatures hold.")
    ] = None,
) -> None:
    """Sign records in JSON lines with a key."""
    from registry.signing import RecordSigner
    from resolver.registering.auth import Credentials

    credentials = Credentials.parse(auth)
    if credentials.key is None:
        raise SettingsError(f"the file of {credentials.identity.text()} holds no private key")
    references = None if chain is None else tuple(map(Reference.parse, chain))
    valid_s = None if days is None else days * 86_400
    signer = RecordSigner(credentials.identity, credentials.key, references, valid_s)
    now_s, refused = int(time.time()), 0
    for number, line in _lines(file):
        try:
            fields = parse_json(line, f"line {number}")
            if not isinstance(fields, dict) or not isinstance(fields.get("handle"), str):
                raise ParseError('a line is {"handle", "values"}')
            values = parse_values({"values": fields.get("values")})
            signed = signer.sign(fields["handle"].encode(), values, now_s)
        except BiaoshiError as error:
            refused += 1
            sys.stderr.write(f"line {number}: {error}\n")
            continue
        kept = {name: value for name, value in fields.items() if name not in {"values", "receipt"}}
        head = orjson.dumps(kept)[:-1]
        sys.stdout.buffer.write(head + b',"values":' + format_values(signed) + b"}\n")
    sys.stdout.buffer.flush()
    if refused:
        raise typer.Exit(Exit.REFUSED)


def _lines(name: str) -> Iterator[tuple[int, bytes]]:
    if name == "-":
        yield from _numbered(sys.stdin.buffer)
        return
    try:
        with Path(name).open("rb") as stream:
            yield from _numbered(stream)
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {error.strerror}") from None


def _numbered(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise ParseError(f"line {number} is above {_MAX_LINE_BYTES} octets")
        if line.strip():
            yield number, line
