"""The newest checkpoint that witnesses cosigned, as a node serves it: DIR/cosigned.txt.

Witnesses send what they cosigned, or an operator puts it there; each line by a witness that is
configured is checked. Cosignatures of one checkpoint are gathered; a newer one takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol import note
from protocol.errors import ParseError, SettingsError, SignatureInvalid
from registry.store.place import sync_folder

FILE: Final = "cosigned.txt"


def read_cosigned(folder: Path) -> bytes | None:
    """The note; None where there is none yet."""
    try:
        return (folder / FILE).read_bytes()[: note.MOST_BYTES]
    except OSError:
        return None


def gather(
    kept: bytes | None, sent: bytes, own: Sequence[note.Key], witnesses: Sequence[note.Key]
) -> bytes:
    """The note to serve after a witness sent one.

    own: keys of the log, one of which must have signed it. witnesses: those that are heard; lines
    by others are left out. Raises SignatureInvalid or ParseError, and nothing changes.
    """
    signed = note.decode(sent)
    said = note.parse_checkpoint(signed.text)
    note.verify(signed, own)
    heard = note.verify(signed, witnesses)
    ids = {key.id for key in (*own, *heard)}
    lines = [one for one in signed.signatures if one.key_id in ids]
    if kept is not None:
        before = note.decode(kept)
        held = note.parse_checkpoint(before.text)
        if held.origin == said.origin and held.size > said.size:
            raise SignatureInvalid(
                f"a checkpoint over {held.size} changes is cosigned already; this is of {said.size}"
            )
        if before.text == signed.text:
            have = {one.key_id for one in lines}
            lines = [one for one in before.signatures if one.key_id not in have] + lines
    return note.Note(signed.text, tuple(lines[: note.MOST_SIGNATURES])).encode()


def write_cosigned(folder: Path, data: bytes) -> None:
    """Replace the file as a whole. Raises SettingsError."""
    path = folder / FILE
    aside = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None


def require_witnesses(raw: bytes, witnesses: Sequence[note.Key], least: int) -> list[note.Key]:
    """The witnesses that cosigned a note. Raises SignatureInvalid for fewer than `least`."""
    if least > len(witnesses):
        raise ParseError(f"{least} of {len(witnesses)} witnesses cannot be; give more --witness")
    signed = note.decode(raw)
    try:
        found = note.verify(signed, witnesses)
    except SignatureInvalid as error:
        if "is false" in str(error):
            raise
        found = []
    names = {key.name: key for key in found}
    if len(names) < least:
        told = ", ".join(names) or "none"
        raise SignatureInvalid(
            f"{len(names)} of the {least} witnesses asked for cosigned this checkpoint: {told}"
        )
    return list(names.values())
