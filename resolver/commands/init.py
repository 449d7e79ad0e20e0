"""biaoshi init: make a node's folder without a question asked."""

from __future__ import annotations

import json
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import SettingsError
from resolver.config import (
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    Port,
    Settings,
)
from resolver.copy_settings import MirrorSettings

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi init ./top --role top --prefix 88
  biaoshi init ./steel --role enterprise --prefix 88.118.8 --parent https://parent.example.org:8443
  biaoshi init ./door --role recursive --parent http://127.0.0.1:8000 --root-key top/keys/root_pub.pem
  biaoshi init ./copy --role mirror --prefix 88.118.8 --of https://id.example.org:8443
      --auth 300:0.NA/88.118.8=admin_300.pem --cert cert.pem --log-key steel-log.pub
  biaoshi init ./test --role enterprise --prefix 86.999 --irp 0 --http 0 --https off
\b
Without --parent the node stands alone: it certifies its own keys and is home to its prefix at
once. With --parent it waits for `biaoshi prefix request` and the parent's approval.
\b
Exit codes: 0 made; 2 an option cannot be used, or DIR is not empty; 3 DIR cannot be written."""


class Role(StrEnum):
    """What the node is in the hierarchy."""

    TOP = "top"
    SECOND = "second"
    ENTERPRISE = "enterprise"
    RECURSIVE = "recursive"
    MIRROR = "mirror"


def _port(option: str, text: str) -> Port:
    """A port number, 0 for any free one, `off` for none. option: for the error."""
    if text.lower() == "off":
        return None
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise typer.BadParameter(
            f"{text!r} is neither a port, 0 (any free one) nor off", param_hint=option
        )
    return int(text)


@app.command(epilog=_EPILOG)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to make; it must be new or empty.")
    ],
    role: Annotated[Role, typer.Option(help="What the node is in the hierarchy.")],
    prefix: Annotated[
        str, typer.Option(metavar="P", help="The prefix it is home to, such as 88.118.8.")
    ] = "",
    parent: Annotated[
        str,
        typer.Option(metavar="URL", help="HTTP address of its parent; for recursive: of a root."),
    ] = "",
    host: Annotated[
        list[str] | None, typer.Option(help="Address to listen on; repeat for more.")
    ] = None,
    irp: Annotated[
        str, typer.Option(metavar="PORT", help="DO-IRP, UDP and TCP; 0 any free one, off none.")
    ] = "2641",
    http: Annotated[str, typer.Option(metavar="PORT", help="HTTP; 0 or off as well.")] = "8000",
    https: Annotated[str, typer.Option(metavar="PORT", help="HTTPS; 0 or off as well.")] = "8443",
    dns: Annotated[str, typer.Option(metavar="PORT", help="DNS; 0 or off as well.")] = "off",
    admin_secret: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the secret of administrator 301 (one final newline is not part of it).",
        ),
    ] = None,
    root_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Public key that is trusted as the root."),
    ] = None,
    of: Annotated[
        str, typer.Option(metavar="URL", help="For a mirror: HTTPS address of its primary.")
    ] = "",
    auth: Annotated[
        str,
        typer.Option(
            metavar="KEY", help="For a mirror: INDEX:HANDLE=FILE, an administrator of the primary."
        ),
    ] = "",
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a mirror: the primary's tls/cert.pem.")
    ] = None,
    log_key: Annotated[
        str,
        typer.Option(metavar="FILE|KEY", help="For a mirror: the primary's log key, to be sure."),
    ] = "",
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="One line, published in the site record.")
    ] = "",
    contact: Annotated[
        str, typer.Option(metavar="MAIL", help="Sent along with a delegation request.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Make a node's folder: settings, keys, certificate, empty store, its prefix's own record."""
    from resolver.founding import found, read_secret

    hosts = tuple(dict.fromkeys(host or ["127.0.0.1"]))
    settings = Settings(
        node=NodeSettings(
            role=role.value,
            prefix=prefix,
            parent=parent.rstrip("/"),
            hosts=hosts,
            description=description,
            contact=contact,
        ),
        faces=FaceSettings(
            irp=_port("--irp", irp),
            http=_port("--http", http),
            https=_port("--https", https),
            dns=_port("--dns", dns),
        ),
        outbound=OutboundSettings(allow=_reachable(hosts)),
        mirror=_mirror(role, of, auth, cert),
    )
    if not prefix and role is not Role.RECURSIVE:
        raise SettingsError(f"--role {role} needs --prefix P, such as --prefix 88.118.8")
    secret = read_secret(admin_secret) if admin_secret is not None else None
    pinned = _pinned(role, log_key)
    made = found(
        folder.absolute(), settings, secret=secret, root_key=root_key, primary_log_key=pinned
    )
    show = _print_json if as_json else _print_text
    show(made.folder, made.settings, made.state)


def _pinned(role: Role, log_key: str) -> bytes | None:
    """The log key of a mirror's primary, where it was given. Raises SettingsError."""
    if not log_key:
        return None
    if role is not Role.MIRROR:
        raise SettingsError("--log-key is for --role mirror")
    from resolver.trust.source import read_log_key

    return read_log_key(log_key)


def _mirror(role: Role, of: str, auth: str, cert: Path | None) -> MirrorSettings:
    """Whom a mirror follows. Raises SettingsError."""
    if role is not Role.MIRROR:
        if of or auth or cert:
            raise SettingsError("--of, --auth and --cert are for --role mirror")
        return MirrorSettings()
    if not of or not auth:
        raise SettingsError(
            "a mirror needs --of URL and --auth INDEX:HANDLE=FILE, an administrator of the primary"
        )
    from resolver.registering.auth import Credentials

    Credentials.parse(auth)  # said now rather than at the first start
    name, _, file = auth.rpartition("=")
    return MirrorSettings(
        of=of.rstrip("/"),
        auth=f"{name}={Path(file.removeprefix('@')).absolute()}",
        certificate="" if cert is None else str(cert.absolute()),
    )


def _reachable(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """A node that listens on loopback alone lives in a tree on this machine."""
    try:
        loopback = all(ip_address(host).is_loopback for host in hosts)
    except ValueError:
        return ()  # said by the settings' own check
    return ("127.0.0.0/8", "::1/128") if loopback else ()


def _print_json(folder: Path, settings: Settings, state: str) -> None:
    faces = settings.faces
    shape = {
        "dir": str(folder),
        "role": settings.node.role,
        "prefix": settings.node.prefix or None,
        "state": state or None,
        "hosts": list(settings.node.hosts),
        "irp": faces.irp,
        "http": faces.http,
        "https": faces.https,
        "dns": faces.dns,
        "administrators": list(settings.admin.administrators),
    }
    print(json.dumps(shape))


def _print_text(folder: Path, settings: Settings, state: str) -> None:
    node = settings.node
    article = "an" if node.role.startswith("e") else "a"
    what = f"{node.role} node" + (f" of prefix {node.prefix}" if node.prefix else "")
    print(f"Made {folder}: {article} {what}.")
    if state == "homed":
        print(f"It is home to {node.prefix}. Others trust it by keys/root_pub.pem.")
    print(f"Next: biaoshi serve {folder}")
    if state == "mirror":
        print(f"It follows {settings.mirror.of} and takes no writes of its own.")
    if state == "waiting":
        print(f"Then: biaoshi prefix request --node {folder}")
