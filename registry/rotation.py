"""What a node remembers of keys that it replaced or revoked: DIR/keys/rotation.json.

A former key stays valid beside the new one until the end of the overlap; a revoked one counts
only for what the log had before. Private parts of former keys lie in files of their own.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protocol.errors import ParseError, SettingsError
from protocol.keys import PublicKey, decode_public_key, encode_public_key
from protocol.signature import Revocation
from registry.store.place import sync_folder

ROTATION: Final = Path("keys/rotation.json")
MOST_REVOKED: Final = 16
"""Revoked keys that a prefix record tells of; the oldest go first."""
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FormerKey:
    """A key that was replaced. index: whose place it had. until: the end of the overlap."""

    index: int
    key: PublicKey
    until: int

    def shape(self) -> list[Any]:
        """As lists of a message; msgpack-able."""
        return [self.index, encode_public_key(self.key), self.until]


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key that counts no more. index: whose place it had."""

    index: int
    key: PublicKey
    revocation: Revocation

    def shape(self) -> list[Any]:
        """As lists of a message; msgpack-able."""
        said = self.revocation
        key = encode_public_key(self.key)
        return [self.index, key, said.log, said.position, said.time, said.reason]


@dataclass(frozen=True, slots=True)
class Rotation:
    """The keys before. handovers: texts of protocol.handover that may still be given out."""

    former: tuple[FormerKey, ...] = ()
    revoked: tuple[RevokedKey, ...] = ()
    handovers: tuple[bytes, ...] = ()

    def is_revoked(self, key: PublicKey) -> bool:
        """Whether a key was revoked."""
        octets = encode_public_key(key)
        return any(encode_public_key(one.key) == octets for one in self.revoked)

    def with_revoked(self, one: RevokedKey) -> Rotation:
        """The same with one more key revoked; it is a former one no longer."""
        octets = encode_public_key(one.key)
        kept = tuple(f for f in self.former if encode_public_key(f.key) != octets)
        others = tuple(r for r in self.revoked if encode_public_key(r.key) != octets)
        return Rotation(kept, (*others, one)[-MOST_REVOKED:], self.handovers)


NO_ROTATION: Final = Rotation()


def former_of(shapes: Sequence[Sequence[Any]]) -> tuple[FormerKey, ...]:
    """The inverse of FormerKey.shape() for several. Raises ParseError."""
    try:
        return tuple(FormerKey(int(i), decode_public_key(k), int(u)) for i, k, u in shapes)
    except (TypeError, ValueError) as error:
        raise ParseError(f"these are no former keys: {error}") from None


def revoked_of(shapes: Sequence[Sequence[Any]]) -> tuple[RevokedKey, ...]:
    """The inverse of RevokedKey.shape() for several. Raises ParseError."""
    if len(shapes) > MOST_REVOKED:
        raise ParseError(f"{len(shapes)} revoked keys are above {MOST_REVOKED}")
    try:
        return tuple(
            RevokedKey(
                int(index),
                decode_public_key(key),
                Revocation(str(log)[:500], int(position), int(time), str(reason)[:500]),
            )
            for index, key, log, position, time, reason in shapes
        )
    except (TypeError, ValueError) as error:
        raise ParseError(f"these are no revoked keys: {error}") from None


def load_rotation(folder: Path) -> Rotation:
    """What DIR/keys/rotation.json says; nothing where there is none. Raises SettingsError."""
    path = folder / ROTATION
    try:
        data = json.loads(path.read_bytes()[:_MOST_BYTES])
        former = [[i, b64decode(k), u] for i, k, u in data["former"]]
        revoked = [[r[0], b64decode(r[1]), *r[2:]] for r in data["revoked"]]
        handovers = tuple(str(text).encode() for text in data["handovers"])
        return Rotation(former_of(former), revoked_of(revoked), handovers)
    except FileNotFoundError:
        return NO_ROTATION
    except (OSError, ValueError, KeyError, TypeError, IndexError, ParseError) as error:
        raise SettingsError(
            f"{path} cannot be read ({error}); restore it from the backup of the node's folder"
        ) from None


def rotation_text(rotation: Rotation) -> bytes:
    """The content of the file."""
    shape: Mapping[str, Any] = {
        "former": [_base64(one.shape()) for one in rotation.former],
        "revoked": [_base64(one.shape()) for one in rotation.revoked],
        "handovers": [text.decode() for text in rotation.handovers],
    }
    return json.dumps(shape, indent=1).encode() + b"\n"


def save_rotation(folder: Path, rotation: Rotation) -> None:
    """Replace the file as a whole, durably."""
    path = folder / ROTATION
    aside = path.with_suffix(".new")
    with aside.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(rotation_text(rotation))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)


def _base64(shape: list[Any]) -> list[Any]:
    return [shape[0], b64encode(shape[1]).decode(), *shape[2:]]
