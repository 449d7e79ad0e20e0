"""Receipts: the proof that a change is in a log, which anyone checks without asking the log.

A receipt has the leaf, its place, the path to the root and a signed checkpoint. Beyond that it
opens as much of the leaf as its holder may know: nothing; the name and the public values (their
salts: whoever has the answer compares it); or the whole body.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from protocol import merkle, note
from protocol.errors import HandleNotFound, ParseError, SignatureInvalid, StoreError
from protocol.identifier import key_of
from registry import tree
from registry.log import (
    SALT_BYTES,
    commits_to,
    decode_body,
    decode_leaf,
    key_digest,
    public_digest,
    public_salt,
    sequence_key,
)
from registry.store import Snapshot, Table

FORMAT = "biaoshi-receipt/1"
MAX_LEAF_BYTES = 4_096


class Opened(StrEnum):
    """How much of the leaf a receipt opens."""

    NOTHING = "nothing"
    PUBLIC = "public"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Receipt:
    """leaf: as logged. index: of the leaf, from 0. proof: hashes up to the checkpoint's root.

    checkpoint: a signed note. key_salt, values_salt: open the digests of the name and of the
    public values. body: salts and content of the change.
    """

    leaf: bytes
    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    key_salt: bytes | None = None
    values_salt: bytes | None = None
    body: bytes | None = None

    def shape(self) -> dict[str, Any]:
        """The receipt as JSON shows it."""
        shape: dict[str, Any] = {
            "format": FORMAT,
            "sequence": self.index + 1,
            "index": self.index,
            "leaf": _text(self.leaf),
            "proof": [_text(hash_) for hash_ in self.proof],
            "checkpoint": self.checkpoint.decode(),
        }
        for name, octets in (
            ("keySalt", self.key_salt),
            ("valuesSalt", self.values_salt),
            ("body", self.body),
        ):
            if octets is not None:
                shape[name] = _text(octets)
        return shape


def parse_receipt(shape: Any) -> Receipt:
    """The inverse of Receipt.shape(). Raises ParseError."""
    if not isinstance(shape, Mapping) or shape.get("format") != FORMAT:
        raise ParseError(f"not a receipt: its `format` must be {FORMAT!r}")
    proof, index, checkpoint = (shape.get(name) for name in ("proof", "index", "checkpoint"))
    if not isinstance(proof, list) or len(proof) > merkle.MOST_PROOF:
        raise ParseError("the `proof` of a receipt is a list of at most 64 hashes")
    if type(index) is not int or not 0 <= index < 1 << 63 or not isinstance(checkpoint, str):
        raise ParseError("a receipt has an `index` and a `checkpoint`")
    leaf = _octets(shape.get("leaf"), "leaf")
    if len(leaf) > MAX_LEAF_BYTES:
        raise ParseError(f"a leaf of {len(leaf)} octets is above {MAX_LEAF_BYTES}")
    optional = {
        field: _octets(shape[name], name)
        for name, field in (
            ("keySalt", "key_salt"),
            ("valuesSalt", "values_salt"),
            ("body", "body"),
        )
        if shape.get(name) is not None
    }
    hashes = tuple(_octets(hash_, "proof") for hash_ in proof)
    return Receipt(leaf, index, hashes, checkpoint.encode("utf-8", "replace"), **optional)


def make_receipt(
    state: Snapshot,
    sequence: int,
    opened: Opened = Opened.NOTHING,
    checkpoint: bytes | None = None,
) -> Receipt:
    """The receipt of a change, under the newest checkpoint or a given one, such as a cosigned one.

    Raises HandleNotFound: no such change; StoreError: the log is damaged.
    """
    leaf = state.get(Table.CHANGES, sequence_key(sequence)) if 0 < sequence < 1 << 63 else None
    checkpoint = checkpoint or tree.latest_checkpoint(state)
    if leaf is None:
        raise HandleNotFound(f"the log has no change {sequence}")
    size = note.parse_checkpoint(note.decode(checkpoint).text).size if checkpoint else 0
    if checkpoint is None or size < sequence:
        raise HandleNotFound(
            f"that checkpoint is over {size} changes, so it does not cover change {sequence} yet"
        )
    proof = tuple(tree.inclusion(state, sequence - 1, size))
    plain = Receipt(leaf, sequence - 1, proof, checkpoint)
    body = state.get(Table.BODIES, sequence_key(sequence)) if opened != Opened.NOTHING else None
    if body is None:  # not asked for, or erased
        return plain
    if opened is Opened.BODY:
        return Receipt(leaf, sequence - 1, proof, checkpoint, body=body)
    salts = body[:SALT_BYTES], public_salt(body[SALT_BYTES : 2 * SALT_BYTES])
    return Receipt(leaf, sequence - 1, proof, checkpoint, *salts)


def verify_receipt(receipt: Receipt, log_keys: Sequence[bytes]) -> note.Checkpoint:
    """The checkpoint that a receipt leads to, signed by one of these keys: Ed25519 or SM2.

    Raises SignatureInvalid or ParseError: the receipt proves nothing.
    """
    signed = note.decode(receipt.checkpoint)
    said = note.parse_checkpoint(signed.text)
    note.verify(signed, [note.Key.of_log(said.origin, key) for key in log_keys])
    fields = _leaf(receipt)
    if fields["sequence"] != receipt.index + 1:
        raise SignatureInvalid(
            f"the leaf is that of change {fields['sequence']}, not of {receipt.index + 1}"
        )
    leaf_hash = merkle.leaf_hash(receipt.leaf)
    merkle.verify_inclusion(leaf_hash, receipt.index, said.size, receipt.proof, said.root)
    if receipt.body is not None:
        folded, _ = _content(receipt)
        if not commits_to(fields, folded, receipt.body):
            raise SignatureInvalid("the leaf does not commit to the body of the receipt")
    return said


def verify_record(receipt: Receipt, handle: bytes, public: bytes) -> None:
    """Raise SignatureInvalid unless the change is what made this answer.

    public: u4 count and the public values in wire form. Call verify_receipt() as well.
    """
    fields, key_salt, values_salt = _leaf(receipt), receipt.key_salt, receipt.values_salt
    if receipt.body is not None:
        key_salt = receipt.body[:SALT_BYTES]
        values_salt = public_salt(receipt.body[SALT_BYTES : 2 * SALT_BYTES])
    if key_salt is None or values_salt is None or "public" not in fields:
        raise SignatureInvalid("the receipt opens neither name nor values of its change")
    if fields["key"] != key_digest(key_salt, key_of(handle)):
        raise SignatureInvalid("the receipt is that of another identifier")
    if fields["public"] != public_digest(values_salt, public):
        raise SignatureInvalid("the values are not those that the change wrote")


def _leaf(receipt: Receipt) -> Mapping[str, Any]:
    try:
        return decode_leaf(receipt.leaf)
    except StoreError as error:
        raise ParseError(str(error)) from None


def _content(receipt: Receipt) -> tuple[bytes, Any]:
    try:
        return decode_body(receipt.body or b"")
    except StoreError as error:
        raise ParseError(str(error)) from None


def _text(octets: bytes) -> str:
    return b64encode(octets).decode()


def _octets(text: Any, name: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise ParseError(f"`{name}` of a receipt is not base64") from None
