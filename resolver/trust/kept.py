"""What an auditor, a witness or a mirror keeps of a log: its key and the checkpoints it verified.

A text file: the verifier key on the first line, then an empty line and the newest note. It is
replaced as a whole, durably, before anything is told to others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from protocol import note
from protocol.errors import ParseError, SettingsError
from registry.replay import read_checkpoint
from registry.store.place import sync_folder


@dataclass(frozen=True, slots=True)
class Kept:
    """log_key: 32 octets. raw: the signed note; None before the first."""

    log_key: bytes
    raw: bytes | None = None

    @property
    def checkpoint(self) -> note.Checkpoint | None:
        """The note, verified. Raises SignatureInvalid or ParseError."""
        return None if self.raw is None else read_checkpoint(self.raw, self.log_key)


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


def write_kept(path: Path, kept: Kept) -> None:
    """Replace the file. Raises SettingsError."""
    origin = kept.checkpoint.origin if kept.checkpoint is not None else "log"
    data = note.Key(origin, kept.log_key).text().encode() + b"\n\n" + (kept.raw or b"")
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
