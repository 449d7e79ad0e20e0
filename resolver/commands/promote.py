"""biaoshi promote: make a mirror the primary."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import SettingsError
from resolver.commands.telling import JsonOption, tell

if TYPE_CHECKING:
    from registry.keys import NodeKeys

app = typer.Typer()

_EPILOG = """\b
Examples:
  biaoshi promote ./copy --keys ./steel-keys
  biaoshi promote ./copy --role second
\b
The mirror must be stopped. A new epoch of the log begins; the former primary, when it comes back
and has this node among `mirror.copies`, takes no writes any more. Be sure that it is stopped: two
machines that cannot see each other cannot stop each other.
\b
--keys takes over the primary's keys (the folder `keys` of a backup), so that its certificates and
its log key go on. Without them the node has keys of its own, which its parent must publish anew.
\b
Exit codes: 0 it is the primary; 2 it is no mirror, or an option cannot be used; 3 it is running."""


class Role(StrEnum):
    """What the node becomes."""

    TOP = "top"
    SECOND = "second"
    ENTERPRISE = "enterprise"


@app.command(epilog=_EPILOG)
def promote(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The mirror's folder, stopped.")],
    role: Annotated[Role, typer.Option(help="What the node becomes.")] = Role.ENTERPRISE,
    keys: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The primary's keys: a folder with `keys`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a mirror the primary, in a new epoch."""
    from registry.fence import Known, new_epoch
    from registry.keys import load_keys
    from registry.store import Table
    from registry.tree import latest_checkpoint
    from resolver.config import FILE_NAME
    from resolver.config_file import format_settings, load_settings
    from resolver.copy_settings import MirrorSettings
    from resolver.epcis.named import all_queries, all_subscriptions
    from resolver.trust.following import DIVERGED_KEY
    from resolver.trust.signers import log_signer
    from resolver.writer_process import open_store

    node = folder.resolve()
    settings = load_settings(node)
    if settings.node.role != "mirror":
        raise SettingsError(f"{node} is no mirror; it is a {settings.node.role} node already")
    store = open_store(node, settings)
    try:
        if store.get(Table.META, DIVERGED_KEY) is not None:
            raise SettingsError(
                f"{node} stopped following: its log and the primary's parted; audit both first"
            )
        if keys is not None:
            _take_keys(keys, node)
        changed = replace(
            settings, node=replace(settings.node, role=role.value), mirror=MirrorSettings()
        )
        signer = log_signer(changed, load_keys(node))
        if signer is None:
            raise SettingsError(f"{node} has no prefix and so no log")
        epoch = new_epoch(store, signer)
        with store.snapshot() as state:
            Known(node).keep(latest_checkpoint(state), at_once=True)
            carried = sum(1 for _ in all_queries(state)), len(all_subscriptions(state))
    finally:
        store.close()
    # The role last: broken off before, the command can be repeated.
    _replace(node / FILE_NAME, format_settings(changed).encode())
    queries, subscriptions = carried
    tell(
        {
            "folder": str(node),
            "prefix": settings.node.prefix,
            "epoch": epoch,
            "queries": queries,
            "subscriptions": subscriptions,
        },
        f"{node}: the primary of {settings.node.prefix} from epoch {epoch} on",
        f"Named queries and subscriptions that go on here: {queries} and {subscriptions}",
        "Send captures again whose jobs had not ended; what is captured already stays as it is.",
        f"Next: biaoshi serve {folder}",
        as_json=as_json,
    )


def _take_keys(source: Path, node: Path) -> NodeKeys:
    """The primary's key files instead of the mirror's own, which are kept aside.

    With them goes what was told of earlier keys, and whom the prefixes were asked of.
    """
    from registry.keys import KEY_FILES, load_keys
    from resolver.parent import FILE, FURTHER

    taken = load_keys(source)
    asked = [path.relative_to(source) for path in (source / FURTHER).glob("*.json")]
    for name in (*KEY_FILES, Path(FILE), *asked):
        if not (source / name).exists():
            continue
        aside = node / name.with_name(f"mirror_{name.name}")
        if (node / name).exists() and not aside.exists():
            shutil.copyfile(node / name, aside)
            aside.chmod(0o600)
        (node / name).parent.mkdir(mode=0o700, exist_ok=True)
        _replace(node / name, (source / name).read_bytes())
    return taken


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    aside.replace(path)
