"""biaoshi witness: cosign a log's checkpoint after checking that it extends the last one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import ParseError, SettingsError, SignatureInvalid
from resolver.exits import Exit

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi witness https://id.example.org:8443 --name witness.example.net --key witness.pem
      --state steel.kept > steel.cosigned
  biaoshi witness https://id.example.org:8443 --name witness.example.net --key witness.pem
      --state steel.kept --submit
  biaoshi witness ./steel --name w --key witness.pem --state steel.kept --log-key steel-log.pub
\b
The state file is renewed before the cosignature is printed; without it a witness could be shown
two histories. Run it from a timer; each run is one checkpoint.
\b
Exit codes: 0 cosigned; 1 the log does not extend what was cosigned before; 2 a file or an option
cannot be used; 3 the node does not answer."""


@app.command(epilog=_EPILOG)
def witness(
    place: Annotated[str, typer.Argument(metavar="URL|DIR", help="The node.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the witness, on its signatures.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Its Ed25519 private key, PEM.")],
    state: Annotated[Path, typer.Option(metavar="FILE", help="What it cosigned last.")] = Path(
        "witness.kept"
    ),
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print its verifier key and do nothing else.")
    ] = False,
    log_key: Annotated[
        str, typer.Option(metavar="FILE|KEY", help="The log key; default: kept, or as it says.")
    ] = "",
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a URL: the node's tls/cert.pem.")
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="For a URL: hand the cosigned checkpoint to the node.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="For a URL: accept any certificate.")
    ] = False,
) -> None:
    """Cosign a log's newest checkpoint, if it extends the last one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from protocol import note
    from registry.keys import load_private_pem
    from resolver.trust.source import UrlSource, open_source, read_log_key
    from resolver.trust.witnessing import cosign

    private = load_private_pem(key)
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{key} must hold an Ed25519 key")
    verifier = note.Key(name, private.public_key().public_bytes_raw(), note.COSIGNATURE)
    if show_key:
        print(verifier.text())
        return
    source = open_source(place, "", cert, insecure=insecure)
    pinned = read_log_key(log_key) if log_key else None
    try:
        made = cosign(source, pinned, name, private, state, int(time.time()))
        if submit:
            if not isinstance(source, UrlSource):
                raise SettingsError("--submit hands it to a running node: give its URL")
            source.cosign(made)
    except (SignatureInvalid, ParseError) as error:
        print(f"NOT COSIGNED: {error}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED) from None
    finally:
        source.close()
    sys.stdout.write(made.decode())
