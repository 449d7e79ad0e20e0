"""One Ed25519 signature over many JWS texts: JWS algorithm `Ed25519-tree` (plan §7).

The JWS signing inputs of a batch are the leaves of a Merkle tree (RFC 9162 §2.1); the key signs
the root, and each JWS carries where its leaf stands and the hashes that join it to the root. So
a record still brings all that verifying it needs, but one signature is made for the whole batch.

The octets in the place of the signature are: the Ed25519 signature (64), the leaf's index (u4),
the batch's size (u4), and the proof (32 each, from the leaf up).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from hashlib import sha256
from struct import Struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import SignatureInvalid
from protocol.merkle import HASH_SIZE, inclusion_root, leaf_hash

ALGORITHM = "Ed25519-tree"
MOST_BATCH = 65_536
"""JWS texts under one signature: a proof then has 16 hashes."""
_MOST_PROOF = 16
_SIGNED = b"JWS batch, Ed25519, SHA-256 tree\0"
"""What the signed octets begin with: no JWS signing input holds a zero octet, no note begins so."""
_PLACE = Struct(">II")
_AT = 64
_PROOF_AT = _AT + _PLACE.size
HEADER = urlsafe_b64encode(b'{"alg":"%b"}' % ALGORITHM.encode()).rstrip(b"=")
"""What a compact JWS of this algorithm begins with, before its first dot."""
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def sign_batch(payloads: Sequence[bytes], key: Ed25519PrivateKey) -> list[bytes]:
    """A compact JWS for each payload, in order, all under one signature.

    Raises ValueError for no payload at all, or more than MOST_BATCH.
    """
    if not 0 < len(payloads) <= MOST_BATCH:
        raise ValueError(f"a batch has 1 to {MOST_BATCH} texts, not {len(payloads)}")
    texts = [b"%b.%b" % (HEADER, _base64url(payload)) for payload in payloads]
    levels = _levels([sha256(b"\0" + text).digest() for text in texts])
    size = len(texts)
    signature = key.sign(_statement(size, levels[-1][0]))
    return [
        b"%b.%b"
        % (text, _base64url(signature + _PLACE.pack(at, size) + b"".join(_proof(levels, at))))
        for at, text in enumerate(texts)
    ]


def verify_in_batch(signature: bytes, signed: bytes, key: Ed25519PublicKey) -> None:
    """Raise SignatureInvalid or InvalidSignature unless the key signed a batch with this text.

    signature: the octets in the place of the signature. signed: the JWS signing input.
    """
    proof, odd = divmod(len(signature) - _PROOF_AT, HASH_SIZE)
    if odd or not 0 <= proof <= _MOST_PROOF:
        raise SignatureInvalid(f"{len(signature)} octets are no place in a signed batch")
    index, size = _PLACE.unpack_from(signature, _AT)
    hashes = [signature[at : at + HASH_SIZE] for at in range(_PROOF_AT, len(signature), HASH_SIZE)]
    root = inclusion_root(leaf_hash(signed), index, size, hashes)
    key.verify(signature[:_AT], _statement(size, root))


def _statement(size: int, root: bytes) -> bytes:
    return _SIGNED + size.to_bytes(4, "big") + root


def _levels(hashes: list[bytes]) -> list[list[bytes]]:
    """The tree from the leaves up; an odd last node is its own parent, as RFC 9162 has it."""
    levels = [hashes]
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        if len(hashes) & 1:
            above.append(hashes[-1])
        levels.append(above)
        hashes = above
    return levels


def _proof(levels: list[list[bytes]], index: int) -> Iterator[bytes]:
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            yield level[sibling]
        index >>= 1


def _base64url(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")
