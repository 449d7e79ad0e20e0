"""biaoshi witness: cosign a log's checkpoint after checking that it extends the last one.

It fetches, or waits to be called (--serve); --push calls one that waits.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from protocol.errors import ParseError, SettingsError, SignatureInvalid
from resolver.commands.options import Cert, Insecure
from resolver.exits import Exit

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from resolver.trust.source import LogSource

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi witness https://id.example.org:8443 --name witness.example.net --key witness.pem
      --state steel.kept > steel.cosigned
  biaoshi witness https://id.example.org:8443 --name witness.example.net --key witness.pem
      --state steel.kept --submit
  biaoshi witness ./steel --name w --key witness.pem --state steel.kept --log-key steel-log.pub
  biaoshi witness --serve 127.0.0.1:8090 --name witness.example.net --key witness.pem
      --state ./kept --log biaoshi/88.118.8+1a2b3c4d+AX…
  biaoshi witness https://id.example.org:8443 --push https://witness.example.net --submit
\b
The state is renewed before the cosignature leaves; without it a witness could be shown two
histories. A fetching run is one checkpoint: run it from a timer. --serve waits to be called
(C2SP tlog-witness, POST /add-checkpoint) for the logs of --log, whose keys `GET /log/keys` of a node
tells; --state is a folder then. --push is the side of the log: it asks such a witness.
One key has one state: a witness that fetches and serves gives both the same folder.
\b
Exit codes: 0 cosigned; 1 the log does not extend what was cosigned before; 2 a file or an option
cannot be used; 3 the node or the witness does not answer; 4 the witness does not hear this log."""


@app.command(epilog=_EPILOG)
def witness(
    place: Annotated[str, typer.Argument(metavar="[URL|DIR]", help="The node.")] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Of the witness, on its signatures.")
    ] = "",
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its Ed25519 private key, PEM.")
    ] = None,
    state: Annotated[Path, typer.Option(metavar="FILE|DIR", help="What it cosigned last.")] = Path(
        "witness.kept"
    ),
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print its verifier key and do nothing else.")
    ] = False,
    log_key: Annotated[
        str, typer.Option(metavar="FILE|KEY", help="The log key; default: kept, or as it says.")
    ] = "",
    cert: Cert = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="For a URL: hand the cosigned checkpoint to the node.")
    ] = False,
    insecure: Insecure = False,
    serve: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Wait for checkpoints; port 0: any free one.")
    ] = "",
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="With --serve: verifier key of a log; repeat for more."),
    ] = None,
    push: Annotated[
        str, typer.Option(metavar="URL", help="Ask the witness that serves there to cosign.")
    ] = "",
) -> None:
    """Cosign a log's newest checkpoint, if it extends the last one."""
    from protocol import note

    if push:
        if name or key or show_key or serve or log or not place:
            raise SettingsError("--push takes a node's URL or folder, --cert, --insecure, --submit")
        _push(place, push, cert, submit=submit, insecure=insecure)
        return
    if not name or key is None:
        raise SettingsError("a witness needs --name NAME and --key FILE")
    private = _private(key)
    try:
        verifier = note.Key(name, private.public_key().public_bytes_raw(), note.COSIGNATURE)
    except ParseError as error:
        raise SettingsError(str(error)) from None
    if show_key:
        print(verifier.text())
    elif serve:
        if place or not log:
            raise SettingsError("--serve takes --log KEY for each log, and no URL or folder")
        _serve(serve, name, private, log, state)
    elif not place or log:
        raise SettingsError("give a node's URL or folder, or --serve HOST:PORT with --log KEY")
    else:
        _fetch(place, name, private, state, log_key, cert, submit=submit, insecure=insecure)


def _private(key: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from registry.keys import load_private_pem

    private = load_private_pem(key)
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{key} must hold an Ed25519 key")
    return private


def _fetch(
    place: str,
    name: str,
    private: Ed25519PrivateKey,
    state: Path,
    log_key: str,
    cert: Path | None,
    *,
    submit: bool,
    insecure: bool,
) -> None:
    from resolver.trust.source import open_source, read_log_key
    from resolver.trust.witnessing import cosign

    source = open_source(place, "", cert, insecure=insecure)
    pinned = read_log_key(log_key) if log_key else None
    with _refusing(source):
        made = cosign(source, pinned, name, private, state, int(time.time()))
        if submit:
            _submit(source, made)
    sys.stdout.write(made.decode())


def _push(place: str, url: str, cert: Path | None, *, submit: bool, insecure: bool) -> None:
    from resolver.registering.connection import Connection
    from resolver.trust.source import open_source
    from resolver.trust.witness_service import push

    base, path = _prefix(url)
    source = open_source(place, "", cert, insecure=insecure)
    with _refusing(source):
        connection = Connection(base)
        try:
            made = push(source, connection, path)
        finally:
            connection.close()
        if submit:
            _submit(source, made)
    sys.stdout.write(made.decode())


def _prefix(url: str) -> tuple[str, str]:
    """A submission prefix as an address and a path without a final slash."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def _submit(source: LogSource, made: bytes) -> None:
    from resolver.trust.source import UrlSource

    if not isinstance(source, UrlSource):
        raise SettingsError("--submit hands it to a running node: give its URL")
    source.cosign(made)


@contextmanager
def _refusing(source: LogSource) -> Iterator[None]:
    """A log that does not hold is said, with its exit code; the source is let go of."""
    try:
        yield
    except (SignatureInvalid, ParseError) as error:
        print(f"NOT COSIGNED: {error}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED) from None
    finally:
        source.close()


def _serve(
    address: str, name: str, private: Ed25519PrivateKey, logs: list[str], state: Path
) -> None:
    import asyncio
    import contextlib
    import json

    from protocol import note
    from resolver.trust.witness_service import Witness, serve

    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise SettingsError(f"--serve is written HOST:PORT, not {address!r}")
    known: dict[str, list[bytes]] = {}
    for text in logs:
        one = note.Key.parse(text)
        known.setdefault(one.name, []).append(one.public)
    if state.exists() and not state.is_dir():
        raise SettingsError(f"{state} is a file; --serve keeps a file for each log: give a folder")
    state.mkdir(mode=0o700, exist_ok=True)
    told = Witness(name, private, known, state)

    def ready(url: str) -> None:
        print(json.dumps({"ready": True, "url": url, "logs": sorted(known)}), flush=True)

    async def run() -> None:
        main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, main.cancel)  # type: ignore[union-attr]
        with contextlib.suppress(asyncio.CancelledError):
            await serve(told, host.strip("[]"), int(port), ready)

    try:
        asyncio.run(run())
    except OSError as error:
        raise SettingsError(f"{address} cannot be listened on: {error.strerror}") from None
