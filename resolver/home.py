"""Being home to a further prefix: `biaoshi prefix home`, and what its records are signed with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError
from protocol.name import prefix_record
from protocol.record import HandleValue
from registry.keys import NodeKeys, load_keys
from registry.records import read_record
from registry.signing import LOG_KEY_INDEX, is_certified
from registry.store import Store
from registry.writer import Outcome
from resolver.apply import apply
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.further import is_further
from resolver.parent import load_pinned
from resolver.site_update import further_record, sites_of
from resolver.trust.source import FolderSource
from resolver.writer_link import open_writer

CERTIFIED: Final = "certified"
ASKED: Final = "asked"
MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class Homed:
    """What came of it. certificate: certified, asked of the parent, or missing; "" where none is
    needed. told: of that, in words, with the next command.
    """

    outcome: Outcome
    certificate: str = ""
    told: str = ""


def be_home(folder: Path, prefix: bytes, unsigned: str | None) -> Homed:
    """Answer for a prefix from now on. unsigned: its policy; None leaves the one it has.

    Raises SettingsError or StoreError; what the writer refuses is in the outcome.
    """
    settings, keys = load_settings(folder), load_keys(folder)
    alone = not settings.node.parent and settings.node.role != "mirror"
    further = bool(settings.node.prefix) and is_further(prefix, _own(settings))
    source = FolderSource(folder)
    try:
        made = _own_record(source.store, keys, settings, prefix) if further and alone else None
    finally:
        source.close()
    policy = None if unsigned is None else {"unsigned": unsigned}
    change = Change(Kind.HOME, prefix_record(prefix), made or (), attributes=policy)
    with open_writer(folder) as writer:
        (outcome,) = writer.submit([change])
    if outcome.status == "refused" or not further:
        return Homed(outcome)
    if _is_certified(folder, keys, prefix):
        return Homed(outcome, CERTIFIED, f"records under it are signed by {_signer(prefix)}")
    return Homed(outcome, *(_other_keys(prefix) if alone else _ask(folder, prefix)))


def _own_record(
    store: Store, keys: NodeKeys, settings: Settings, prefix: bytes
) -> tuple[HandleValue, ...] | None:
    """The record of a further prefix, certified by this node; None where there is no need."""
    own = read_record(store, prefix_record(_own(settings)))
    if own is None:
        return None
    return further_record(store, keys, settings, prefix, sites_of(own.values))


def _own(settings: Settings) -> bytes:
    return settings.node.prefix.encode().upper()


def _signer(prefix: bytes) -> str:
    return f"{LOG_KEY_INDEX}:{prefix_record(prefix).decode()}"


def _is_certified(folder: Path, keys: NodeKeys, prefix: bytes) -> bool:
    source, name = FolderSource(folder), prefix_record(prefix)
    try:
        record = read_record(source.store, name)
    finally:
        source.close()
    values = record.values if record is not None else ()
    return is_certified(name, values, LOG_KEY_INDEX, keys.log_public)


def _other_keys(prefix: bytes) -> tuple[str, str]:
    name = prefix_record(prefix).decode()
    return MISSING, (
        f"{name} names other keys at 300 or 302, so this node does not sign records under it; "
        f"sign them with those, or remove the values and run `biaoshi prefix home {prefix.decode()}`"
    )


def _ask(folder: Path, prefix: bytes) -> tuple[str, str]:
    """Ask the parent for a certificate, where the prefix is under the parent's."""
    pinned, shown = load_pinned(folder), prefix.decode()
    above = b"" if pinned is None else pinned.prefix
    command = f"biaoshi prefix request {shown} --node {folder}"
    if not above or not prefix.startswith(above + b"."):
        return MISSING, (
            f"records under it are not signed: no certificate covers it. Ask the node that holds "
            f"the authority over it: {command} --parent URL"
        )
    try:
        done = asyncio.run(apply(folder, parent=None, parent_key=None, further=prefix))
    except BiaoshiError as error:
        return MISSING, f"records under it are not signed: {error}. Try again: {command}"
    if done.state == "delegated":
        return ASKED, f"{done.parent} has certified it; records are signed once this node saw that"
    return ASKED, (
        f"records under it are signed once {done.parent} has certified it; its operator runs: "
        f"biaoshi prefix approve {shown}"
    )
