"""Receipts as COSE_Sign1, for software of the SCITT world (RFC 9942, RFC 9943).

The signed payload, left out of the message, is the root that the inclusion proof leads to; the proof
lies in the unprotected header, and so does the leaf, under a label of ours, so that a receipt stands
alone. Ed25519 under its COSE name EdDSA (-8), which software knows; -19 is read too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import merkle, note
from protocol.errors import ParseError, SignatureInvalid
from registry.receipt import MAX_LEAF_BYTES, Receipt

MEDIA_TYPE: Final = "application/scitt-receipt+cose"
MAX_BYTES: Final = 16_384
SIGN1: Final = 18
"""CBOR tag of COSE_Sign1."""
ALG, KID, CWT_CLAIMS = 1, 4, 15
VDS, VDP = 395, 396
"""Kind of verifiable data structure, and its proofs."""
RFC9162_SHA256: Final = 1
INCLUSION: Final = -1
EDDSA: Final = -8
ED25519: Final = -19
ISSUER, SUBJECT = 1, 2
LEAF: Final = "biaoshi-leaf"


@dataclass(frozen=True, slots=True)
class CoseReceipt:
    """What one says. origin: of the log. leaf: b"" where it has none."""

    origin: str
    subject: str
    size: int
    index: int
    path: tuple[bytes, ...]
    leaf: bytes
    protected: bytes
    signature: bytes

    def verify(self, log_keys: Sequence[bytes], leaf: bytes | None = None) -> bytes:
        """The root that one of these Ed25519 keys signed over the leaf.

        leaf: as logged, where the receipt has none. Raises SignatureInvalid.
        """
        entry = self.leaf if leaf is None else leaf
        if not entry:
            raise SignatureInvalid("this receipt has no leaf; give the log's entry with it")
        root = merkle.inclusion_root(merkle.leaf_hash(entry), self.index, self.size, self.path)
        signed = _signed(self.protected, root)
        for key in log_keys:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(self.signature, signed)
            except InvalidSignature:
                continue
            return root
        raise SignatureInvalid(
            f"no log key given signed this receipt of {self.origin}; the entry or the proof was "
            "changed, or it is another log's"
        )


def cose_receipt(receipt: Receipt, key: Ed25519PrivateKey) -> bytes:
    """A receipt in COSE, under the checkpoint that it has. key: the log key in use.

    Raises SignatureInvalid where proof and checkpoint do not agree.
    """
    said = note.parse_checkpoint(note.decode(receipt.checkpoint).text)
    merkle.verify_inclusion(
        merkle.leaf_hash(receipt.leaf), receipt.index, said.size, receipt.proof, said.root
    )
    protected = cbor2.dumps(
        {
            ALG: EDDSA,
            KID: sha256(key.public_key().public_bytes_raw()).digest(),
            CWT_CLAIMS: {
                ISSUER: said.origin,
                SUBJECT: f"{said.origin}/entries/{receipt.index + 1}",
            },
            VDS: RFC9162_SHA256,
        },
        canonical=True,
    )
    proof = cbor2.dumps([said.size, receipt.index, list(receipt.proof)], canonical=True)
    signature = key.sign(_signed(protected, said.root))
    unprotected = {VDP: {INCLUSION: [proof]}, LEAF: receipt.leaf}
    message = cbor2.CBORTag(SIGN1, [protected, unprotected, None, signature])
    return cbor2.dumps(message, canonical=True)


def parse_cose_receipt(data: bytes) -> CoseReceipt:
    """A receipt, not verified. Raises ParseError."""
    message = _load(data)
    if not isinstance(message, cbor2.CBORTag) or message.tag != SIGN1:
        raise ParseError("not a COSE_Sign1 message")
    parts = message.value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise ParseError("a COSE_Sign1 message has four parts")
    protected, unprotected, payload, signature = parts
    if not isinstance(protected, bytes) or not isinstance(signature, bytes) or payload is not None:
        raise ParseError("a receipt is signed over a payload that is left out")
    head = _load(protected)
    if not isinstance(head, Mapping) or not isinstance(unprotected, Mapping):
        raise ParseError("a receipt without headers")
    if head.get(ALG) not in (EDDSA, ED25519) or head.get(VDS) != RFC9162_SHA256:
        raise ParseError("only Ed25519 over RFC9162_SHA256 is read here")
    claims = head.get(CWT_CLAIMS)
    issuer, subject = (
        (claims.get(ISSUER), claims.get(SUBJECT)) if isinstance(claims, Mapping) else (None, None)
    )
    size, index, path = _proof(unprotected)
    leaf = unprotected.get(LEAF, b"")
    if not isinstance(leaf, bytes) or len(leaf) > MAX_LEAF_BYTES:
        raise ParseError("the leaf of a receipt is octets")
    return CoseReceipt(
        str(issuer)[:500], str(subject)[:500], size, index, path, leaf, protected, signature
    )


def _proof(unprotected: Mapping[Any, Any]) -> tuple[int, int, tuple[bytes, ...]]:
    proofs = unprotected.get(VDP)
    listed = proofs.get(INCLUSION) if isinstance(proofs, Mapping) else None
    first = listed[0] if isinstance(listed, list | tuple) and listed else None
    found = _load(first) if isinstance(first, bytes) else None
    if not isinstance(found, list | tuple) or len(found) != 3:
        raise ParseError("a receipt without an inclusion proof")
    size, index, path = found
    numbers = all(type(n) is int and 0 <= n < 1 << 63 for n in (size, index))
    if not numbers or not isinstance(path, list | tuple) or len(path) > merkle.MOST_PROOF:
        raise ParseError("an inclusion proof is a size, an index and at most 64 hashes")
    if any(not isinstance(h, bytes) or len(h) != merkle.HASH_SIZE for h in path):
        raise ParseError("the hashes of a proof have 32 octets")
    return size, index, tuple(path)


def _load(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise ParseError(f"a receipt of {len(data)} octets is above {MAX_BYTES}")
    stream = io.BytesIO(data)
    try:
        value = cbor2.load(stream)
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ParseError(f"not CBOR: {str(error)[:100]}") from None
    if stream.tell() != len(data):
        raise ParseError("octets follow the CBOR of a receipt")
    return value


def _signed(protected: bytes, root: bytes) -> bytes:
    """Sig_structure of COSE_Sign1 (RFC 9052 §4.4)."""
    return cbor2.dumps(["Signature1", protected, b"", root], canonical=True)
