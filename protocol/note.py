"""Signed notes and checkpoints of a log (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

A note is text that ends in a newline, an empty line, and one line a signature:
`— name base64(key id ‖ signature)`. Ed25519, and SM2 by a type of ours: 0xff, then the text
`biaoshi-sm2sm3`, as signed-note leaves to private types. Signatures by unknown keys are passed over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import NotSupported, ParseError, SignatureInvalid
from protocol.keys.sm2 import POINT_BYTES, Sm2PrivateKey, Sm2PublicKey
from protocol.merkle import HASH_SIZE

ED25519 = 0x01
COSIGNATURE = 0x04
SM2 = 0xFF
_SM2_NAME = b"biaoshi-sm2sm3\n"
MOST_BYTES = 64 * 1024
MOST_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class Key:
    """Who may sign a note. name: without blanks or plus signs. kind: ED25519, COSIGNATURE, SM2.

    public: 32 octets, for SM2 the point of 65.
    """

    name: str
    public: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        if not self.name or any(c.isspace() or c == "+" for c in self.name):
            raise ParseError(f"a key name has neither blanks nor plus signs: {self.name!r}")
        if len(self.public) != (POINT_BYTES if self.kind == SM2 else 32):
            raise ParseError(f"an Ed25519 key has 32 octets, not {len(self.public)}")

    @classmethod
    def of_log(cls, name: str, public: bytes) -> Key:
        """A log's key by its octets: 65 of an SM2 point, else Ed25519. Raises ParseError."""
        return cls(name, public, SM2 if len(public) == POINT_BYTES else ED25519)

    @property
    def id(self) -> bytes:
        """Four octets that find the key again."""
        named = self.name.encode() + b"\n" + self._typed()
        return hashlib.sha256(named).digest()[:4]

    def _typed(self) -> bytes:
        return bytes((self.kind,)) + (_SM2_NAME if self.kind == SM2 else b"") + self.public

    def text(self) -> str:
        """`name+hex id+base64(kind ‖ key)`: how a verifier is configured."""
        encoded = base64.b64encode(self._typed()).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """The inverse of text(). Raises ParseError."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise ParseError(f"not a verifier key: {text[:80]!r}; it has the form name+id+base64")
        raw = _unbase64(parts[2])
        kind, public = raw[:1], raw[1:].removeprefix(_SM2_NAME)
        if kind not in (b"\x01", b"\x04", b"\xff") or len(raw) > 128:
            raise ParseError(f"not a verifier key of a kind known here: {text[:80]!r}")
        key = cls(parts[0], public, kind[0])
        if key.id.hex() != parts[1].lower():
            raise ParseError(f"the id of verifier key {parts[0]} does not fit its key")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the signer's name, the key's id and the octets after it."""

    name: str
    key_id: bytes
    octets: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures, none of them checked yet."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        return (self.text + "\n" + "".join(map(format_signature, self.signatures))).encode()


def format_signature(one: Signature) -> str:
    """A signature as a line of a note, its newline included."""
    return f"— {one.name} {base64.b64encode(one.key_id + one.octets).decode()}\n"


def sign(text: str, name: str, private: Ed25519PrivateKey | Sm2PrivateKey) -> Signature:
    """Sign a note's text."""
    if isinstance(private, Sm2PrivateKey):
        key = Key(name, private.public_key().point, SM2)
    else:
        key = Key(name, private.public_key().public_bytes_raw())
    return Signature(name, key.id, private.sign(text.encode()))


def cosign(text: str, name: str, private: Ed25519PrivateKey, time_s: int) -> Signature:
    """A witness's cosignature: the time, and a signature over time and text."""
    key = Key(name, private.public_key().public_bytes_raw(), COSIGNATURE)
    signed = f"cosignature/v1\ntime {time_s}\n{text}".encode()
    return Signature(name, key.id, time_s.to_bytes(8, "big") + private.sign(signed))


def decode(data: bytes) -> Note:
    """A note's text and signature lines. Raises ParseError."""
    if len(data) > MOST_BYTES:
        raise ParseError(f"a note of {len(data)} octets is above {MOST_BYTES}")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise ParseError(f"a note is UTF-8: {error}") from None
    text, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n") or any(c < " " and c != "\n" for c in whole):
        raise ParseError("a note is text, an empty line and signature lines")
    lines = tail.split("\n")[:-1]
    if not 0 < len(lines) <= MOST_SIGNATURES:
        raise ParseError(f"a note has 1 to {MOST_SIGNATURES} signatures, not {len(lines)}")
    return Note(text + "\n", tuple(map(_signature, lines)))


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not parts[1]:
        raise ParseError(f"not a signature line: {line[:80]!r}")
    raw = _unbase64(parts[2])
    if len(raw) < 5:
        raise ParseError(f"the signature by {parts[1]} is too short")
    return Signature(parts[1], raw[:4], raw[4:])


def verify(note: Note, keys: Iterable[Key]) -> list[Key]:
    """The keys that signed. Raises SignatureInvalid when a known key's signature is false, or
    when no known key signed.
    """
    found = []
    known = {(key.name, key.id): key for key in keys}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            _check(note.text, signature, key)
            found.append(key)
    if not found:
        raise SignatureInvalid("no known key signed this note")
    return found


def _check(text: str, signature: Signature, key: Key) -> None:
    signed, octets = text.encode(), signature.octets
    if key.kind == COSIGNATURE:
        time_s, octets = int.from_bytes(octets[:8], "big"), octets[8:]
        signed = f"cosignature/v1\ntime {time_s}\n".encode() + signed
    try:
        if key.kind == SM2:
            Sm2PublicKey(key.public).verify(octets, signed)
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(octets, signed)
    except NotSupported as error:
        raise SignatureInvalid(str(error)) from None
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(f"the signature by {key.name} on this note is false") from None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself. origin: its name; size: leaves; root: 32 octets."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        return "".join(f"{x}\n" for x in (self.origin, self.size, root, *self.extensions))


def parse_checkpoint(text: str) -> Checkpoint:
    """The text of a checkpoint note. Raises ParseError."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not lines[0]:
        raise ParseError("a checkpoint has an origin, a size and a root, a line each")
    number = lines[1]
    if (
        not (number.isascii() and number.isdigit())
        or len(number) > 19
        or number != str(int(number))
    ):
        raise ParseError(f"not a tree size: {number[:40]!r}")
    root = _unbase64(lines[2])
    if len(root) != HASH_SIZE:
        raise ParseError(f"a root has {HASH_SIZE} octets, not {len(root)}")
    return Checkpoint(lines[0], int(number), root, tuple(lines[3:-1]))


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ParseError(f"not base64: {text[:40]!r}") from None
