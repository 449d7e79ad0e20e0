"""biaoshi auth test: does a login work, and if not, at which step and why?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import SettingsError
from resolver.exits import Exit
from resolver.keyfiles import read_passphrase
from resolver.login import Step, try_http, try_irp
from resolver.registering.auth import Credentials

app = typer.Typer(help="Try identities.", no_args_is_help=True)

_EPILOG = """\b
Examples:
  biaoshi auth test 300:0.NA/88.118.8=keys/admin_300.pem --server 192.0.2.7:2641
  biaoshi auth test 301:0.NA/88.118.8=secret.txt --server https://id.example.org:8443
\b
Exit codes: 0 the identity was proved; 2 an option cannot be used; 3 no server answers; 4 the
identity was not proved: the last step says why."""


@app.callback()
def _auth() -> None:
    """Try identities."""


@app.command("test", epilog=_EPILOG)
def try_login(
    identity: Annotated[
        str,
        typer.Argument(
            metavar="INDEX:HANDLE=FILE",
            help="Who, and the private key or the secret that proves it.",
        ),
    ],
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT|URL", help="DO-IRP over TCP, or the HTTPS interface.")
    ] = "127.0.0.1:2641",
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The passphrase of an encrypted key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
) -> None:
    """Log in step by step and say which step fails and why; nothing is changed."""
    credentials = Credentials.parse(identity, read_passphrase(passphrase_file))
    if not credentials.identity.handle:
        raise SettingsError(f"{identity!r} names no identity; write INDEX:HANDLE=FILE")
    steps = (
        try_http(server, credentials)
        if "://" in server
        else asyncio.run(try_irp(server, credentials))
    )
    if as_json:
        print(json.dumps([step.shape() for step in steps], ensure_ascii=False))
    else:
        _print(steps)
    last = steps[-1]
    if not last.passed:
        raise typer.Exit(Exit.UNAVAILABLE if last.name in {"connect", "tls"} else Exit.DENIED)


def _print(steps: list[Step]) -> None:
    for step in steps:
        mark = "ok  " if step.passed else "FAIL"
        print(f"{mark}  {step.name:10}  {step.text}")
