"""biaoshi escrow: deposit a node's log at its parent, and make the node again from there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import SettingsError
from resolver.commands.telling import JsonOption, tell

if TYPE_CHECKING:
    from resolver.escrow.notes import Deposit
    from resolver.parent import Pinned

app = typer.Typer(
    help="Deposit a node's log at its parent, and make the node again from there.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="""\b
The parent verifies every deposit against the node's signed checkpoint and answers with a receipt
that it signs. Contents are encrypted unless --plain; the key is DIR/keys/escrow_key: keep it, with
the other keys, where the loss of this machine does not reach it.""",
)

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")]


def _pinned(folder: Path) -> Pinned:
    from resolver.parent import load_pinned

    pinned = load_pinned(folder)
    if pinned is None:
        raise SettingsError(f"{folder} applied to no parent yet; see `biaoshi prefix request`")
    return pinned


@app.command(
    epilog="""\b
Examples:
  biaoshi escrow deposit ./steel
  biaoshi escrow deposit ./steel --plain
\b
--json prints one object a deposit; no line means that there was nothing new.
The node may run. Only what came after the last deposit is sent, so that the command may stand in a
timer. The parent needs an HTTPS face.
\b
Exit codes: 0 deposited, or there was nothing new; 2 the folder cannot be used, or has no parent;
3 the parent does not answer, or has no room; 4 a receipt does not hold."""
)
def deposit(
    folder: FolderArgument,
    plain: Annotated[bool, typer.Option("--plain", help="Do not encrypt the contents.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send what is new in the log to the parent; keep its receipts."""
    from registry.keys import load_keys
    from registry.store.lmdb_store import LmdbStore
    from resolver.config_file import load_settings
    from resolver.escrow.depositor import Parent, deposits, keep_receipt, load_secret

    node = folder.resolve()
    settings, pinned = load_settings(node), _pinned(node)
    parent = Parent.reached(pinned, settings.node.prefix, load_keys(node))
    secret = None if plain else load_secret(node, make=True)
    map_bytes = settings.store.map_size_gib << 30
    store = LmdbStore.open(node / "store", readonly=True, map_bytes=map_bytes)
    try:
        first = int(parent.listing()["last"]) + 1
        last = first - 1
        made = deposits(store, settings.node.prefix, first, audience=parent.audience, secret=secret)
        for one, data in made:
            keep_receipt(node, parent.deposit(one, data))
            last = one.last
            line = f"changes {one.first} to {one.last}: {one.size} octets, root {one.root.hex()}"
            tell(_shape(one), line, as_json=as_json)
        if last < first and not as_json:
            print(f"nothing new: the parent has the {last} changes of this log")
    finally:
        store.close()
        parent.connection.close()


@app.command(
    epilog="""\b
Examples:
  biaoshi escrow verify ./steel
\b
The parent need not be reached: its key was pinned when the prefix was requested.
\b
Exit codes: 0 every receipt holds and is about this log; 2 the folder cannot be used, or there is
no receipt; 4 a receipt does not hold, or contradicts the log."""
)
def verify(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Check the receipts that were kept against the parent's key and the log."""
    from registry.store.lmdb_store import LmdbStore
    from resolver.config_file import load_settings
    from resolver.escrow.depositor import compare_receipt, verified_receipts

    node = folder.resolve()
    settings, pinned = load_settings(node), _pinned(node)
    found = verified_receipts(node, pinned)
    if not found:
        raise SettingsError(f"{node} has no receipt yet; see `biaoshi escrow deposit`")
    map_bytes = settings.store.map_size_gib << 30
    store = LmdbStore.open(node / "store", readonly=True, map_bytes=map_bytes)
    try:
        for one, _ in found:
            compare_receipt(store, one)
    finally:
        store.close()
    last = max(one.last for one, _ in found)
    shape = {"receipts": len(found), "last": last}
    line = f"{len(found)} receipts hold; the parent has the first {last} changes of this log"
    tell(shape, line, as_json=as_json)


@app.command(
    "list",
    epilog="""\b
Examples:
  biaoshi escrow list ./steel
  biaoshi escrow list ./steel --json
\b
Exit codes: 0 listed; 2 the folder cannot be used; 3 the parent does not answer.""",
)
def list_(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Ask the parent what lies there."""
    from registry.keys import load_keys
    from resolver.config_file import load_settings
    from resolver.escrow.depositor import Parent
    from resolver.escrow.notes import read_receipt

    node = folder.resolve()
    settings, pinned = load_settings(node), _pinned(node)
    parent = Parent.reached(pinned, settings.node.prefix, load_keys(node))
    try:
        shape = parent.listing()
    finally:
        parent.connection.close()
    found = [read_receipt(one["receipt"].encode(), pinned.key) for one in shape["deposits"]]
    if as_json:
        rows = [{**_shape(one), "received": _time(at)} for one, at in found]
        print(json.dumps({**shape, "deposits": rows}))
        return
    for one, at in found:
        kind = "encrypted" if one.encrypted else "plain"
        print(f"{one.first:>10} to {one.last:>10}  {one.size:>10} octets  {kind}  {_time(at)}")
    print(f"{shape['used'] >> 20} of {shape['quota'] >> 20} MiB used")


def _shape(one: Deposit) -> dict[str, object]:
    return {
        "first": one.first,
        "last": one.last,
        "octets": one.size,
        "encrypted": one.encrypted,
        "root": one.root.hex(),
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@app.command(
    epilog="""\b
Examples:
  biaoshi escrow fetch ./steel --keys ./steel-safe
\b
--keys is what was kept elsewhere of the lost node: a folder with keys/ (and parent.json, tls/,
biaoshi.toml, where they were kept too). Every change is verified against the checkpoints that the
node itself had signed. The node reads at once and takes no writes until `biaoshi epoch confirm`.
\b
Exit codes: 0 made; 2 a folder or an option cannot be used; 3 the parent does not answer; 4 what it
gave does not hold."""
)
def fetch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    keys: Annotated[Path, typer.Option(metavar="DIR", help="A folder with the node's own `keys`.")],
    parent: Annotated[
        str, typer.Option(metavar="URL", help="The parent, where no parent.json was kept.")
    ] = "",
    parent_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its site key, with --parent.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(metavar="P", help="The node's prefix, where no settings were kept.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a lost node again from what its parent holds."""
    from resolver.config import FILE_NAME
    from resolver.config_file import load_settings
    from resolver.escrow.fetching import fetch as make

    source = keys.resolve()
    pinned = _given(parent, parent_key) if parent else _pinned(source)
    if not prefix and (source / FILE_NAME).exists():
        prefix = load_settings(source).node.prefix
    if not prefix:
        raise SettingsError(f"{source} has no {FILE_NAME}; say the prefix with --prefix")
    position, root = make(folder.absolute(), source, pinned, prefix)
    tell(
        {"node": str(folder), "position": position, "root": root.hex()},
        f"{folder}: made from escrow at change {position}, root {root.hex()}",
        f"It takes no writes until: biaoshi epoch confirm {folder}",
        as_json=as_json,
    )


def _given(url: str, key: Path | None) -> Pinned:
    """The parent as the options name it."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from resolver.keyfiles import read_public_keys
    from resolver.parent import Pinned as Made

    if key is None:
        raise SettingsError("--parent needs --parent-key FILE, its site key")
    (first, *_) = read_public_keys(key)
    if not isinstance(first, RSAPublicKey):
        raise SettingsError(f"{key} holds no RSA key")
    return Made(url.rstrip("/"), b"", first)
