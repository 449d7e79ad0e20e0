"""biaoshi epoch: begin the log anew after a loss, openly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import SettingsError
from resolver.commands.telling import JsonOption, tell

app = typer.Typer(
    help="Begin a new epoch of the log, after a loss.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="""\b
A node that was restored, or that finds a later checkpoint of its own log than it holds, takes no
writes. Its operator looks for a newer copy first; `confirm` then says openly that what came after
is lost. The new epoch is a change of the log, and its checkpoints carry another name.""",
)

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder, stopped.")]


@app.command(
    epilog="""\b
Examples:
  biaoshi epoch confirm ./steel
\b
Exit codes: 0 the node takes writes again; 2 the folder cannot be used; 3 the node is running."""
)
def confirm(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Lift the fence: changes after this point are lost."""
    from registry.fence import Known, compare_known, fence_of, new_epoch
    from registry.keys import load_keys
    from registry.tree import epoch_of, latest_checkpoint
    from resolver.config_file import load_settings
    from resolver.trust.signers import log_signer
    from resolver.writer_process import open_store

    node = folder.resolve()
    settings = load_settings(node)
    signer = log_signer(settings, load_keys(node))
    if signer is None:
        raise SettingsError(f"{node} has no prefix and so no log")
    if settings.node.role == "mirror":
        raise SettingsError(f"{node} is a mirror; `biaoshi promote` makes it the primary")
    store = open_store(node, settings)
    try:
        compare_known(store, Known(node).read(), signer)
        with store.snapshot() as state:
            fenced, epoch = fence_of(state) is not None, epoch_of(state)
        if fenced:
            epoch = new_epoch(store, signer)
            with store.snapshot() as state:
                Known(node).keep(latest_checkpoint(state), at_once=True)
    finally:
        store.close()
    said = f"epoch {epoch} began" if fenced else f"nothing to confirm, epoch {epoch} goes on"
    shape = {"folder": str(node), "epoch": epoch, "began": fenced, "writes": True}
    tell(shape, f"{node}: {said}; the node takes writes", as_json=as_json)


@app.command(
    epilog="""\b
Examples:
  biaoshi epoch show ./steel
\b
Exit codes: 0 shown; 2 the folder cannot be used; 3 the store cannot be opened."""
)
def show(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Say which epoch the log is in, and why it takes no writes, if so."""
    from registry.fence import fence_of
    from registry.store.lmdb_store import LmdbStore
    from registry.tree import epoch_of, tree_size
    from resolver.config_file import load_settings

    node = folder.resolve()
    map_bytes = load_settings(node).store.map_size_gib << 30
    store = LmdbStore.open(node / "store", readonly=True, map_bytes=map_bytes)
    try:
        with store.snapshot() as state:
            fence, epoch, size = fence_of(state), epoch_of(state), tree_size(state)
    finally:
        store.close()
    tell(
        {"epoch": epoch, "changes": size, "writes": fence is None, "fence": fence},
        f"epoch {epoch}, {size} changes",
        f"takes no writes: {fence}" if fence else "takes writes",
        as_json=as_json,
    )
