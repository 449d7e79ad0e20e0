"""A node made again from what lies in escrow: its log, verified change by change.

What the operator must bring is what never left the node: its keys (a folder with `keys`), and for
encrypted deposits the escrow key among them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

from protocol.errors import ParseError, SettingsError, SignatureInvalid, UpstreamError
from registry.check import check_node
from registry.fence import fence_copy
from registry.follow import append
from registry.keys import load_keys
from registry.replay import read_checkpoint
from registry.store.lmdb_store import LmdbStore, create
from registry.store.place import sync_folder
from resolver.config import FILE_NAME, NodeSettings, Settings
from resolver.config_file import format_settings
from resolver.escrow.depositor import RECEIPTS, Parent, load_secret, opened
from resolver.escrow.notes import Deposit, digest, read_receipt
from resolver.escrow.vault import name_of
from resolver.parent import FILE as PARENT_FILE
from resolver.parent import FURTHER, Pinned
from resolver.trust.source import unpack_rows

_BROUGHT: Final = ("keys", "tls", FILE_NAME, PARENT_FILE, FURTHER, "siteinfo.json", "trust")


def fetch(folder: Path, keys: Path, pinned: Pinned, prefix: str) -> tuple[int, bytes]:
    """Make a node's folder; gives the position and the root. Fenced, as after a restore.

    keys: a folder with the node's `keys`. Raises SettingsError, SignatureInvalid, UpstreamError.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty and nothing in it is overwritten")
    held = load_keys(keys)
    parent = Parent.reached(pinned, prefix, held)
    aside = folder.parent / f".{folder.name}.escrow-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700, parents=True)
    try:
        _bring(keys, aside, pinned, prefix)
        create(aside / "store")
        store = LmdbStore.open(aside / "store")
        try:
            _fill(store, parent, held.log_public.public_bytes_raw(), keys, aside)
            result = _fenced(store)
        finally:
            store.close()
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
        sync_folder(folder.parent)
        return result
    finally:
        parent.connection.close()
        shutil.rmtree(aside, ignore_errors=True)


def _bring(keys: Path, aside: Path, pinned: Pinned, prefix: str) -> None:
    """The operator's files, and settings where none were brought."""
    for name in _BROUGHT:
        source = keys / name
        if source.is_dir():
            shutil.copytree(source, aside / name)
        elif source.is_file():
            shutil.copy2(source, aside / name)
    (aside / "run").mkdir(mode=0o700)
    if not (aside / FILE_NAME).exists():
        settings = Settings(node=NodeSettings(prefix=prefix, parent=pinned.url))
        (aside / FILE_NAME).write_text(format_settings(settings), encoding="utf-8")
        (aside / FILE_NAME).chmod(0o600)


def _fill(store: LmdbStore, parent: Parent, log_key: bytes, keys: Path, aside: Path) -> None:
    shape = parent.listing()
    found = shape.get("deposits")
    if not isinstance(found, list) or not found:
        raise UpstreamError(f"nothing of {parent.prefix} lies in escrow at {parent.pinned.url}")
    secret: bytes | None = None
    for entry in found:
        receipt, deposit = _receipt(entry, parent)
        if deposit.encrypted and secret is None:
            secret = load_secret(keys)
        data = parent.fetch(name_of(deposit.first, deposit.last))
        if digest(data) != deposit.sha256:
            raise SignatureInvalid("the parent gave other octets than its receipt is for")
        raw = deposit.checkpoint.encode()
        said = read_checkpoint(raw, log_key)
        rows = (opened(row, secret if deposit.encrypted else None) for row in unpack_rows(data))
        append(store, rows, raw, said)
        with (aside / RECEIPTS).open("ab") as file:
            file.write(receipt + b"\n")


def _receipt(entry: Any, parent: Parent) -> tuple[bytes, Deposit]:
    try:
        receipt = str(entry["receipt"]).encode()
    except (TypeError, KeyError):
        raise ParseError("the parent's list of deposits is garbled") from None
    deposit, _ = read_receipt(receipt, parent.pinned.key)
    if deposit.prefix != parent.prefix:
        raise SignatureInvalid(f"the parent gave a deposit of {deposit.prefix}")
    return receipt, deposit


def _fenced(store: LmdbStore) -> tuple[int, bytes]:
    findings = check_node(store, most=3)
    if findings:
        raise SignatureInvalid(f"what lay in escrow does not add up: {'; '.join(findings)}")
    return fence_copy(store, "made from escrow")
