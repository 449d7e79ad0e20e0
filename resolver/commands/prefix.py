"""biaoshi prefix: how a child gets its prefix from its parent, and what the parent has given."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocol.errors import HandleNotFound, NotServedHere, ParseError
from resolver.exits import Exit

if TYPE_CHECKING:
    from registry.prefixes import PrefixRow
    from registry.store.lmdb_store import LmdbStore
    from registry.writer import Outcome

app = typer.Typer(
    help="Apply for a prefix, approve, list, show.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="""\b
A delegation needs two acts: the parent's operator approves and so publishes it; the child
sees that and is home to the prefix. Until both are done the child answers 301.""",
)

NodeOption = Annotated[
    Path, typer.Option("--node", metavar="DIR", help="The node's folder, running or not.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
PrefixArgument = Annotated[str, typer.Argument(metavar="P", help="A prefix such as 88.118.8.")]


class State(StrEnum):
    """What a prefix can be at a node."""

    HOMED = "homed"
    WAITING = "waiting"
    REQUESTED = "requested"
    DELEGATED = "delegated"
    REFUSED = "refused"


class Unsigned(StrEnum):
    """What happens to records without a valid signature."""

    ACCEPT = "accept"
    MARK = "mark"
    REFUSE = "refuse"


@app.command(
    epilog="""\b
Examples:
  biaoshi prefix request --node ./steel
  biaoshi prefix request --node ./steel --wait
  biaoshi prefix request --node ./steel --parent-key parent_pub.pem
  biaoshi prefix request GS1.6.9.0.1.2.3.4 --node ./steel --parent https://root.example.org
\b
With P, another prefix than the node's own: a further one, that the node at --parent holds the
authority over. Records under it are signed once it is approved.
\b
The parent's key is remembered at the first request; compare its fingerprint with what the
parent's operator tells you, or give --parent-key.
\b
Exit codes: 0 sent (with --wait: home); 1 the parent refused it; 2 no parent, or a file cannot be
used; 3 the parent does not answer; 4 a key is not the expected one."""
)
def request(
    prefix: Annotated[
        str | None, typer.Argument(metavar="[P]", help="Default: the node's own prefix.")
    ] = None,
    node: NodeOption = Path(),
    parent: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of the parent in the settings.")
    ] = None,
    parent_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The parent's public key, to be sure.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the node is home to it.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait at most.")
    ] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """Apply to the parent for the node's prefix, or a further one."""
    from resolver.apply import apply, wait_until_home

    folder = node.resolve()
    further = _further(folder, prefix)
    done = asyncio.run(apply(folder, parent=parent, parent_key=parent_key, further=further))
    if wait:

        def told(state: str) -> None:
            print(f"The parent says: {state}.", file=sys.stderr)

        done = asyncio.run(wait_until_home(folder, timeout_s=timeout, told=told, further=further))
    if as_json:
        print(json.dumps(asdict(done)))
        return
    if done.state == "homed":
        print(f"{done.prefix} is home here; its parent is {done.parent} ({done.fingerprint}).")
        return
    print(f"{done.prefix}: {done.state} at {done.parent} ({done.url}).")
    print(f"The parent's key is {done.fingerprint}; compare it with its operator.")
    if done.state == "requested":
        print(f"The parent's operator approves with: biaoshi prefix approve {done.prefix}")


def _further(folder: Path, prefix: str | None) -> bytes:
    """The prefix to apply for where it is not the node's own, folded; else b"". Raises ParseError."""
    from resolver.config_file import load_settings
    from resolver.further import is_further

    own = load_settings(folder).node.prefix.upper().encode()
    folded = own if prefix is None else _any_prefix(prefix)
    if folded == own:
        return b""
    if own and not is_further(folded, own):
        raise ParseError(
            f"{folded.decode()} is under {own.decode()}, whose certificates cover it; "
            f"`biaoshi prefix home {folded.decode()}` is all that is needed"
        )
    return folded


@app.command(
    epilog="""\b
Examples:
  biaoshi prefix approve 88.118.8 --node ./second
  biaoshi prefix approve 88.118.8 --node ./second --refuse --reason "not our customer"
\b
Approving again signs the delegation anew, with the same keys.
\b
Exit codes: 0 done; 1 nobody applied for it; 2 this node cannot give it; 3 no store or writer."""
)
def approve(
    prefix: PrefixArgument,
    node: NodeOption = Path(),
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it instead.")] = False,
    reason: Annotated[str, typer.Option(help="Told to the child when refused.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Publish and sign the delegation of a prefix that a child applied for."""
    from protocol.change import Change, Kind
    from protocol.name import prefix_record
    from resolver.enrol import check_prefix

    folder, folded = node.resolve(), check_prefix(prefix)
    record = prefix_record(folded)
    if refuse:
        change = Change(Kind.REFUSE, record, attributes={"reason": reason[:500]})
    else:
        change = Change(Kind.DELEGATE, record, _delegation(folder, folded))
    outcome = _submit(folder, change)
    shape = {"prefix": prefix, "status": outcome.status, "error": outcome.error}
    if as_json:
        print(json.dumps(shape))
    elif outcome.status != "refused":
        print(f"{folded.decode()}: {'refused' if refuse else 'delegated, signed and published'}.")
    if outcome.status == "refused":
        if not as_json:
            print(f"biaoshi: {outcome.error}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)


@app.command(
    epilog="""\b
Examples:
  biaoshi prefix home GS1 --node ./steel
  biaoshi prefix home GS1.6.9.0.1.2.3.4 --node ./steel
  biaoshi prefix home 1.2.156.3001 --node ./steel
  biaoshi prefix home 1.2.156.3001 --node ./steel --away
  biaoshi prefix home 88.118.8 --node ./steel --unsigned refuse
\b
For OID arcs, GS1 company prefixes (a digit an arc) and further prefixes. It says what this node
answers for; whether others find it here is the business of the prefix's parent, or of DNS.
\b
Records under it are signed once the node's key is certified for it. A node that stands alone does
so itself; a node with a parent asks that one, where the prefix is under the parent's; for others:
biaoshi prefix request P --parent URL, and at that node biaoshi prefix approve P.
\b
Exit codes: 0 done; 1 it cannot be, for the reason given; 2 no such prefix; 3 no store or writer."""
)
def home(
    prefix: PrefixArgument,
    node: NodeOption = Path(),
    away: Annotated[bool, typer.Option("--away", help="No longer be home to it.")] = False,
    unsigned: Annotated[
        Unsigned | None,
        typer.Option(help="Records under it without a valid signature. Default: the settings."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make this node answer for a further prefix, OID arc or GS1 company prefix."""
    from protocol.change import Change, Kind
    from protocol.name import prefix_record
    from resolver.home import Homed, be_home

    folded = _any_prefix(prefix)
    if away:
        gone = _submit(node.resolve(), Change(Kind.UNHOME, prefix_record(folded)))
        done = Homed(gone)
    else:
        done = be_home(node.resolve(), folded, None if unsigned is None else unsigned.value)
    outcome = done.outcome
    if as_json:
        shape = {"prefix": prefix, "status": outcome.status, "error": outcome.error}
        print(json.dumps({**shape, "certificate": done.certificate or None, "note": done.told}))
    elif outcome.status != "refused":
        print(f"{folded.decode()} is {'not ' if away else ''}home here.")
        if done.told:
            print(f"{done.told[0].upper()}{done.told[1:]}.")
    if outcome.status == "refused":
        if not as_json:
            print(f"biaoshi: {outcome.error}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)


def _any_prefix(text: str) -> bytes:
    """A prefix or OID arc as folded octets. Raises BadIdentifier."""
    from protocol.name import is_oid
    from resolver.enrol import check_prefix

    name = text.encode()
    return name if is_oid(name) else check_prefix(text)


def _delegation(folder: Path, prefix: bytes) -> Any:
    """The values that this node publishes for a child that applied."""
    from registry.keys import load_keys
    from registry.prefixes import HOMED, Prefixes, home_above
    from resolver.config_file import load_settings
    from resolver.delegate import delegation
    from resolver.enrol import application_of

    settings, keys = load_settings(folder), load_keys(folder)
    own = settings.node.prefix.encode().upper()
    with _reading(folder) as store:
        prefixes = Prefixes(store)
        if not own or own not in prefixes.homed():
            raise NotServedHere(
                f"{folder} is not home to {own.decode() or 'any prefix'} yet, so it cannot "
                "delegate; finish its own enrolment first"
            )
        row = prefixes.get(prefix)
        if row is None or row.state == HOMED or "keys" not in row.attributes:
            raise HandleNotFound(
                f"nobody applied for {prefix.decode()} here; `biaoshi prefix list` shows what waits"
            )
        if home_above(prefix, prefixes) is None:
            raise ParseError(f"{prefix.decode()} is under no prefix that is home here")
        if settings.node.parent and not prefix.startswith(own + b"."):
            raise ParseError(
                f"{prefix.decode()} is not under {own.decode()}: a node that has a parent can "
                "certify nothing else"
            )
        application = application_of(prefix, row.attributes)
        days = settings.signing.certificate_days
        return delegation(store, keys, own, application, now=time.time(), days=days)


def _submit(folder: Path, change: Any) -> Outcome:
    from resolver.writer_link import open_writer

    with open_writer(folder) as writer:
        (outcome,) = writer.submit([change])
    return outcome


@contextmanager
def _reading(folder: Path) -> Iterator[LmdbStore]:
    from registry.store.lmdb_store import LmdbStore
    from resolver.config_file import load_settings

    load_settings(folder)  # says in plain words when this is no node's folder
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        yield store
    finally:
        store.close()


@app.command(
    "list",
    epilog="""\b
Examples:
  biaoshi prefix list --node ./second
  biaoshi prefix list --node ./second --state requested --json
\b
Exit codes: 0 listed; 2 the folder is no node's; 3 its store cannot be opened.""",
)
def list_(
    node: NodeOption = Path(),
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every prefix this node knows: its own, those it gave away, those that wait."""
    from registry.prefixes import Prefixes

    with _reading(node.resolve()) as store:
        rows = Prefixes(store).rows()
    for row in rows:
        if state is not None and row.state != state.value:
            continue
        if as_json:
            print(json.dumps(_shape(row)))
        else:
            print(
                f"{row.prefix.decode():<24} {row.state:<10} {_when(row)}  {_contact(row)}".rstrip()
            )


@app.command(
    epilog="""\b
Examples:
  biaoshi prefix show 88.118.8 --node ./second
  biaoshi prefix show 88.118.8 --node ./second --json
\b
Exit codes: 0 shown; 1 not known here."""
)
def show(prefix: PrefixArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """What is known of one prefix: state, keys, sites, contact."""
    from registry.prefixes import Prefixes

    with _reading(node.resolve()) as store:
        row = Prefixes(store).get(prefix.encode())
    if row is None:
        raise HandleNotFound(f"{prefix} is not known here; `biaoshi prefix list` shows what is")
    shape = _shape(row)
    if as_json:
        print(json.dumps(shape))
        return
    for name, value in shape.items():
        for line in value if isinstance(value, list) else [value]:
            print(f"{name:<12} {line}")


def _shape(row: PrefixRow) -> dict[str, Any]:
    """A row as people and programs read it; keys as fingerprints."""
    from protocol.keys import decode_public_key
    from protocol.values.hs_site import decode_site
    from resolver.enrol import fingerprint

    held = row.attributes
    shape: dict[str, Any] = {"prefix": row.prefix.decode(), "state": row.state, "time": _when(row)}
    for name in ("contact", "description", "reason", "source"):
        if held.get(name):
            shape[name] = str(held[name])
    if isinstance(held.get("parent"), bytes):
        shape["parent"] = held["parent"].decode()
    try:
        for index, key in sorted(dict(held.get("keys", {})).items()):
            shape[f"key {index}"] = fingerprint(decode_public_key(key))
        sites = [decode_site(data) for data in held.get("sites", [])]
    except (ParseError, TypeError, ValueError):
        return shape
    if sites:
        shape["sites"] = [_site_text(site) for site in sites]
    return shape


def _site_text(site: Any) -> str:
    from protocol.values.hs_site import Transport

    ways = [
        f"{Transport(way.protocol).name.lower()} {way.port}"
        for server in site.servers
        for way in server.interfaces
        if way.protocol in set(Transport)
    ]
    return f"{site.servers[0].ip}: {', '.join(ways) or 'no ports yet'}"


def _when(row: PrefixRow) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.time))


def _contact(row: PrefixRow) -> str:
    return str(row.attributes.get("contact") or "")
