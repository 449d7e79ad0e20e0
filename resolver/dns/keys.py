"""The DNSSEC keys of a node: one in use, and at a roll-over the next and the old one beside it.

DIR/keys/dnssec.json       tag, state and times of each key, in the order they were made
DIR/keys/dnssec-TAG.pem    the private key, readable by the owner alone

A roll-over of a key that signs everything (RFC 6781 §4.1.3, RFC 7583): the next key is published
and signs the key records; the parent zone's DS is changed; the next key comes into use; the old
one stays published until the last signature it made is out of every cache; then it is removed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocol.errors import SettingsError
from registry.keys import load_private_pem, write_private
from registry.store.place import sync_folder
from resolver.dns.signing import ZoneKey, zone_key

RING: Final = Path("keys/dnssec.json")
NEXT: Final = "next"  # published, signs the key records, waits for the parent's DS
ACTIVE: Final = "active"  # signs everything
OLD: Final = "old"  # published until its signatures are forgotten everywhere
STATES: Final = (NEXT, ACTIVE, OLD)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key. since: when it came into this state, seconds since 1970."""

    key: ZoneKey
    state: str
    since: int


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys of a node; exactly one is active, at most one is next, at most one is old."""

    entries: tuple[Entry, ...]

    @property
    def active(self) -> Entry:
        return next(entry for entry in self.entries if entry.state == ACTIVE)

    @property
    def published(self) -> tuple[Entry, ...]:
        return self.entries

    @property
    def signing_keys(self) -> tuple[Entry, ...]:
        """Those that sign the key records: the one the parent names, and the one it will name."""
        return tuple(entry for entry in self.entries if entry.state in {ACTIVE, NEXT})

    @property
    def wanted(self) -> Entry:
        """The key that the parent's DS should name."""
        return self.of(NEXT) or self.active

    def of(self, state: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.state == state), None)


def key_path(folder: Path, tag: int) -> Path:
    """The private key's file."""
    return folder / "keys" / f"dnssec-{tag:05d}.pem"


def ring_stamp(folder: Path) -> object:
    """Something that changes when the list of keys does; None where there is none."""
    try:
        stat = (folder / RING).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def load_ring(folder: Path) -> KeyRing | None:
    """The keys of a node; None where the zones are not signed. Raises SettingsError."""
    path = folder / RING
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        listed = [(int(r["tag"]), str(r["state"]), int(r["since"])) for r in rows]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; restore it from a backup") from None
    entries = tuple(
        Entry(_load(key_path(folder, tag), tag), state, since) for tag, state, since in listed
    )
    states = [entry.state for entry in entries]
    if states.count(ACTIVE) != 1 or len(set(states)) != len(states) or not set(states) <= {*STATES}:
        raise SettingsError(f"{path} lists keys as {states}; exactly one must be active")
    return KeyRing(entries)


def _load(path: Path, tag: int) -> ZoneKey:
    private = load_private_pem(path)
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise SettingsError(f"{path} holds no P-256 key; restore it from a backup")
    key = zone_key(private)
    if key.tag != tag:
        raise SettingsError(f"{path} holds the key {key.tag}, not {tag}; restore it from a backup")
    return key


def make_key(folder: Path, ring: KeyRing | None) -> ZoneKey:
    """Draw a key whose tag no other has, and write its file."""
    taken = {entry.key.tag for entry in ring.entries} if ring is not None else set[int]()
    while True:
        key = zone_key(generate_private_key(SECP256R1()))
        if key.tag not in taken and not key_path(folder, key.tag).exists():
            break
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "keys").mkdir(mode=0o700, exist_ok=True)
    write_private(key_path(folder, key.tag), pem)
    return key


def save_ring(folder: Path, ring: KeyRing) -> None:
    """Put the list of keys in place as a whole; a running node takes it up within seconds."""
    path = folder / RING
    rows: list[dict[str, Any]] = [
        {"tag": entry.key.tag, "state": entry.state, "since": entry.since} for entry in ring.entries
    ]
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    write_private(aside, (json.dumps(rows, indent=1) + "\n").encode())
    os.replace(aside, path)  # noqa: PTH105 - the word for what is meant
    sync_folder(path.parent)


def first_ring(key: ZoneKey, now_s: int) -> KeyRing:
    """The ring of a node that begins to sign."""
    return KeyRing((Entry(key, ACTIVE, now_s),))


def with_next(ring: KeyRing, key: ZoneKey, now_s: int) -> KeyRing:
    """The ring with a key that will come into use."""
    return KeyRing((*ring.entries, Entry(key, NEXT, now_s)))


def switched(ring: KeyRing, now_s: int) -> KeyRing:
    """The next key in use, the one in use before old."""
    after = {NEXT: ACTIVE, ACTIVE: OLD}
    return KeyRing(
        tuple(replace(entry, state=after[entry.state], since=now_s) for entry in ring.entries)
    )


def without_old(ring: KeyRing) -> KeyRing:
    """The ring without its old key."""
    return KeyRing(tuple(entry for entry in ring.entries if entry.state != OLD))
