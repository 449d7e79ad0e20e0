"""`biaoshi resolve`: ask for an identifier, as dig asks for a name."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from protocol.errors import (
    BadIdentifier,
    BiaoshiError,
    ParseError,
    ResponseCode,
    SettingsError,
    SignatureInvalid,
)
from protocol.handle_json import format_values
from protocol.identifier import parse
from protocol.keys import PublicKey
from protocol.values.hs_site import Transport
from resolver.ask import Finding, Wanted, ask_server, root_keys_of, walk
from resolver.dns.lookup_command import show_services, wish_of
from resolver.keyfiles import read_public_keys
from resolver.show import printable, step_lines, table

app = typer.Typer()

FOUND, NOT_FOUND, USAGE, NO_ANSWER, BAD_SIGNATURE = range(5)
LOCAL_SERVER = "127.0.0.1"

_EXIT_CODES = {
    ResponseCode.SUCCESS: FOUND,
    ResponseCode.HANDLE_NOT_FOUND: NOT_FOUND,
    ResponseCode.VALUES_NOT_FOUND: NOT_FOUND,
    ResponseCode.INVALID_HANDLE: USAGE,
    SignatureInvalid.code: BAD_SIGNATURE,
}

_EPILOG = """\b
Examples:
  biaoshi resolve 88.118.8/JXDY2106023
  biaoshi resolve 88.118.8/JXDY2106023 --server 192.0.2.7:2641 --tcp --type URL
  biaoshi resolve 88.118.8/JXDY2106023 --server https://node.example.org:8443
  biaoshi resolve 88.118.8/JXDY2106023 --root https://root.example.org:8443 --steps
  biaoshi resolve 88.118.8/JXDY2106023 --server 192.0.2.7 --verify --root-key root.pem
  biaoshi resolve urn:oid:1.2.156.3001 --dns 192.0.2.53 --service UINF
\b
Without --root the server is asked, and asks others for us; with --root and no --server the way
from the root is walked here. --http speaks the DO-IRP tunnel (POST of application/x-hdl-message),
not the JSON interface.
\b
Exit codes: 0 found; 1 no such identifier, or none of the asked values; 2 no identifier, or the
command cannot be used like that; 3 no answer; 4 a signature does not hold, or --verify and there
is none."""


@app.command("resolve", epilog=_EPILOG)
def resolve(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="In any spelling.")],
    *,
    server: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT, [V6]:PORT or URL. Default: 127.0.0.1, port 2641, or 8000 with --http."
        ),
    ] = None,
    udp: Annotated[bool, typer.Option("--udp", help="UDP alone.")] = False,
    tcp: Annotated[bool, typer.Option("--tcp", help="TCP alone.")] = False,
    http: Annotated[bool, typer.Option("--http", help="The HTTP tunnel.")] = False,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", help="Only values of this type; may repeat. `URL.` takes URL.x too."
        ),
    ] = None,
    indexes: Annotated[
        list[int] | None,
        typer.Option("--index", min=0, max=0xFFFFFFFF, help="Only this value; may repeat."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Demand signatures up to a root: the one of --root-key or --root, "
            "else the one that the server shows (said so).",
        ),
    ] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Show every hop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    root: Annotated[
        str | None,
        typer.Option(help="A node's folder, a siteinfo.json, or a root's URL ([PREFIX=]URL)."),
    ] = None,
    root_key: Annotated[
        list[Path] | None,
        typer.Option(help="A trusted root key: PEM, JWK, siteinfo.json or Handle form."),
    ] = None,
    scheme: Annotated[str | None, typer.Option(help="Read ID as this scheme.")] = None,
    dns: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]|system",
            help="By DNS: OIDs by ORS, GTINs by ONS. What an OID without other options does.",
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="With --dns: the base domain of ORS or ONS.")
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(help="With --dns: only this service, such as UINF; may repeat."),
    ] = None,
    climb: Annotated[
        bool, typer.Option("--climb", help="With --dns: the nearest ancestor that has records.")
    ] = False,
    aliases: Annotated[
        bool, typer.Option("--alias/--no-alias", help="Follow HS_ALIAS when walking from a root.")
    ] = True,
) -> None:
    """Resolve an identifier and show its values."""
    try:
        parsed = parse(identifier, scheme)
        elsewhere = server is not None or root is not None or udp or tcp or http
        if dns is not None or (parsed.scheme == "oid" and not elsewhere):
            if elsewhere:
                raise SettingsError("--dns asks DNS alone; leave --server, --root and ways out")
            wish = wish_of(dns, zone, service, climb=climb)
            raise typer.Exit(show_services(parsed, wish, steps=steps, as_json=as_json))
        name = parsed.handle
        transports = _transports(udp=udp, tcp=tcp, http=http)
        if transports and server is None and root is not None:
            raise SettingsError("--udp, --tcp and --http are for --server; a walk uses them all")
        wanted = Wanted(
            name,
            tuple(each.encode() for each in types or ()),
            tuple(indexes or ()),
            verify,
            aliases,
        )
        keys = tuple(key for path in root_key or () for key in read_public_keys(path))
        finding = asyncio.run(_find(wanted, server, transports, root, keys))
    except BiaoshiError as error:
        _fail(identifier, error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps(_as_json(name, finding, steps=steps), ensure_ascii=False))
    else:
        _print(name, finding, steps=steps)
    raise typer.Exit(_EXIT_CODES.get(finding.code, NO_ANSWER))


def _transports(*, udp: bool, tcp: bool, http: bool) -> tuple[Transport, ...]:
    chosen = ((udp, Transport.UDP), (tcp, Transport.TCP), (http, Transport.HTTP))
    return tuple(transport for wanted, transport in chosen if wanted)


async def _find(
    wanted: Wanted,
    server: str | None,
    transports: tuple[Transport, ...],
    root: str | None,
    keys: tuple[PublicKey, ...],
) -> Finding:
    if server is None and root is not None:
        return await walk(wanted, root, keys)
    if wanted.verify and not keys and root is not None:
        keys = await root_keys_of(root)
    return await ask_server(wanted, server or LOCAL_SERVER, transports, keys)


def _fail(identifier: str, error: BiaoshiError, *, as_json: bool) -> NoReturn:
    if isinstance(error, SignatureInvalid):
        code = BAD_SIGNATURE
    elif isinstance(error, BadIdentifier | SettingsError):
        code = USAGE
    else:
        code = USAGE if isinstance(error, ParseError) else NO_ANSWER
    if as_json:
        shape = {"input": identifier, "responseCode": int(error.code), "error": str(error)}
        typer.echo(json.dumps(shape, ensure_ascii=False))
    else:
        typer.echo(f"biaoshi resolve: {error}", err=True)
    raise typer.Exit(code)


def _print(name: bytes, finding: Finding, *, steps: bool) -> None:
    typer.echo(f";; {printable(name)}")
    for line in table(finding.values) if finding.values else ():
        typer.echo(line)
    typer.echo(f";; {finding.code.name} ({finding.code.value}), {len(finding.values)} values")
    if finding.message:
        typer.echo(f";; {finding.message}")
    if finding.server:
        typer.echo(
            f";; server {finding.server} ({finding.transport}), {finding.took_ms:.1f} ms, "
            f"flags {finding.flags or 'none'}"
        )
    else:
        typer.echo(f";; walked from the root, {finding.took_ms:.1f} ms")
    if finding.verification:
        typer.echo(f";; verification: {finding.verification}")
    for note in finding.notes:
        typer.echo(f";; {note}")
    if steps:
        for line in step_lines(finding.steps):
            typer.echo(f";; {line}")
        if finding.server:
            typer.echo(";; the server's own hops do not travel over DO-IRP; walk them with --root")


def _as_json(name: bytes, finding: Finding, *, steps: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "responseCode": int(finding.code),
        "handle": printable(name),
        "values": json.loads(format_values(finding.values)),
        "ms": round(finding.took_ms, 2),
    }
    if finding.server:
        shape |= {
            "server": finding.server,
            "transport": finding.transport.lower(),
            "flags": finding.flags.split(),
        }
    if finding.message:
        shape["message"] = finding.message
    if finding.verification:
        shape["verification"] = finding.verification
    if finding.notes:
        shape["notes"] = list(finding.notes)
    if steps:
        shape["steps"] = [dict(step) for step in finding.steps]
    return shape
