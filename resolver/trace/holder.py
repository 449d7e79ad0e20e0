"""What a local trace needs of a node: a reader has it, and so does a folder that is only read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from protocol.name import prefix_record
from registry.access import Access
from registry.keys import NodeKeys, load_keys
from registry.prefixes import Prefixes
from registry.store import Store
from registry.store.lmdb_store import LmdbStore
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.writer_link import access_settings


class Holder(Protocol):
    """A store of events and the keys beside it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def keys(self) -> NodeKeys: ...
    @property
    def access(self) -> Access: ...
    @property
    def prefixes(self) -> Prefixes: ...
    @property
    def prefix(self) -> bytes: ...
    @property
    def record_name(self) -> bytes: ...
    def now(self) -> float:
        """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A node's folder, read."""

    settings: Settings
    store: Store
    keys: NodeKeys
    access: Access
    prefixes: Prefixes

    @property
    def prefix(self) -> bytes:
        return self.settings.node.prefix.encode().upper()

    @property
    def record_name(self) -> bytes:
        return prefix_record(self.prefix)

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Read a node's folder. Raises SettingsError or StoreError."""
    settings = load_settings(path)
    store = LmdbStore.open(
        path / "store", readonly=True, map_bytes=settings.store.map_size_gib << 30
    )
    try:
        access = Access(store, access_settings(settings))
        yield Folder(settings, store, load_keys(path), access, Prefixes(store))
    finally:
        store.close()
