"""What an auditor, a witness or a mirror keeps of a log: its key and the checkpoints it verified.

A text file: the verifier key on the first line, then an empty line and the newest note. It is
replaced as a whole, durably, before anything is told to others.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import note
from protocol.errors import ParseError, SettingsError
from protocol.handover import successors
from protocol.keys import decode_public_key, encode_public_key
from protocol.keys.sm2 import POINT_BYTES
from registry.replay import read_checkpoint
from registry.store.place import sync_folder


@dataclass(frozen=True, slots=True)
class Kept:
    """log_key: 32 octets, or the 65 of an SM2 key. raw: the signed note; None before the first."""

    log_key: bytes
    raw: bytes | None = None

    @property
    def checkpoint(self) -> note.Checkpoint | None:
        """The note, verified. Raises SignatureInvalid or ParseError."""
        return None if self.raw is None else read_checkpoint(self.raw, self.log_key)


def follow_key(
    kept: bytes, raw: bytes, handovers: Callable[[], Sequence[bytes]], now_s: int
) -> bytes:
    """The log key to trust from now on, where a node may have replaced it.

    kept: the key trusted until now. raw: the newest note. handovers: asks the node for them, which
    is done where another key signed beside the kept one, or in its place. The kept key goes on being
    the one while nothing it signed says otherwise. An SM2 key is never handed over.
    """
    signed = note.decode(raw)
    origin = note.parse_checkpoint(signed.text).origin
    ids = {one.key_id for one in signed.signatures if one.name == origin}
    if ids == {note.Key.of_log(origin, kept).id}:
        return kept
    if len(kept) == POINT_BYTES:
        return kept
    pinned = Ed25519PublicKey.from_public_bytes(kept)
    for octets in successors([pinned], handovers(), None, now_s):
        key = decode_public_key(octets)
        if isinstance(key, Ed25519PublicKey) and octets != encode_public_key(pinned):
            found = key.public_bytes_raw()
            if note.Key(origin, found).id in ids:
                return found
    return kept


def read_kept(path: Path) -> Kept | None:
    """The file's content; None where there is no file. Raises SettingsError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    line, _, rest = data.partition(b"\n\n")
    try:
        return Kept(note.Key.parse(line.decode()).public, rest or None)
    except (ParseError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} holds no kept checkpoint: {error}") from None


def log_of(origin: str) -> str:
    """The log that an origin line is of, whatever its epoch (registry.tree.origin_of)."""
    head, mark, digits = origin.rpartition("/epoch/")
    return head if mark and digits.isascii() and digits.isdigit() else origin


def state_file(place: Path, name: str) -> Path:
    """Where a witness keeps a log: the file itself, or one in a folder by the log's name.

    name: as log_of() gives it. An epoch goes on in the same tree, so all of them lie in one file.
    """
    if not place.is_dir():
        return place
    return place / (sha256(name.encode()).hexdigest()[:32] + ".kept")


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a state file for a check and what it writes, against other threads and processes."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"{lock} cannot be made: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_kept(path: Path, kept: Kept) -> None:
    """Replace the file. Raises SettingsError."""
    origin = kept.checkpoint.origin if kept.checkpoint is not None else "log"
    data = note.Key.of_log(origin, kept.log_key).text().encode() + b"\n\n" + (kept.raw or b"")
    aside = path.with_name(f".{path.name}.new")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.resolve().parent)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
