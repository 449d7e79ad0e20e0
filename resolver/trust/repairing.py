"""`biaoshi check --scrub` and `--repair`: the commands' way to the store, running or not."""

from __future__ import annotations

import time
from pathlib import Path

from protocol.errors import BiaoshiError, SettingsError
from registry.fence import Known
from registry.keys import load_keys
from registry.repair import Repaired, repair
from registry.scrub import Done, Scrub, quarantine
from resolver.config import Settings
from resolver.registering.auth import Credentials
from resolver.registering.connection import Connection
from resolver.running import is_served
from resolver.trust.following import PRIMARY
from resolver.trust.kept import read_kept
from resolver.trust.source import UrlSource
from resolver.writer_link import ask_running
from resolver.writer_process import open_store


def scrub(folder: Path, settings: Settings) -> list[tuple[bytes, str]]:
    """Compare every record and event with its digests now; what did not hold, by name, and why."""
    if is_served(folder):
        return [(bytes(key), str(why)) for key, why in ask_running(folder, "scrub", None)]
    store = open_store(folder, settings)
    try:
        told = []
        for finding in Scrub(store).whole():
            done = quarantine(store, finding, int(time.time()))
            one = finding.mended() if done is Done.MENDED else finding
            told.append((one.name(), one.why))
        return told
    finally:
        store.close()


def repair_folder(
    folder: Path, settings: Settings, mirror: str, auth: str, certificate: Path | None
) -> Repaired:
    """Make the store again from its log and a mirror's. mirror: URL, or nothing."""
    if is_served(folder):
        raise SettingsError(f"{folder} is being served; stop the node, then repair it")
    key = load_keys(folder).log_public.public_bytes_raw()
    if settings.node.role == "mirror":
        pinned = read_kept(folder / PRIMARY)
        if pinned is None:
            raise SettingsError(f"{folder} never reached its primary; there is nothing to repair")
        key = pinned.log_key
    known = [note for note in (Known(folder).read(),) if note is not None]
    source = None
    if mirror:
        credentials = Credentials.parse(auth) if auth else None
        connection = Connection(mirror, credentials, certificate=certificate)
        source = UrlSource(connection)
        try:
            known.append(source.checkpoint())
        except BiaoshiError:
            source.close()
            raise
    try:
        return repair(
            folder,
            log_key=key,
            fetch=None if source is None else source.rows,
            known=known,
            map_bytes=settings.store.map_size_gib << 30,
        )
    finally:
        if source is not None:
            source.close()
