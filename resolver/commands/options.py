"""Options that mean the same in several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Auth = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        help="For a URL: [INDEX:HANDLE=]FILE, FILE a private key or a secret; a FILE alone is that "
        "of an administrator of the node's prefix.",
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For a URL: the node's certificate, tls/cert.pem."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="For a URL: accept any certificate.")]
