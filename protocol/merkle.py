"""Merkle tree of a log: hashes, roots, inclusion and consistency proofs (RFC 9162 §2.1).

Sans-I/O: what is stored is asked for through `nodes(level, index)`, the hash of the full
subtree that covers leaves index·2^level … (index+1)·2^level − 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from protocol.errors import SignatureInvalid

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
MOST_PROOF = 64
"""A proof of a tree below 2^63 leaves has no more hashes."""

Nodes = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256 of 0x00 and the entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and both children."""
    return sha256(b"\x01" + left + right).digest()


def subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Full subtrees (level, index) that cover leaves start … end−1, from left to right."""
    found = []
    while start < end:
        level = min(_low_bit(start) if start else 63, (end - start).bit_length() - 1)
        found.append((level, start >> level))
        start += 1 << level
    return found


def _low_bit(value: int) -> int:
    return (value & -value).bit_length() - 1


def fold_right(hashes: Sequence[bytes]) -> bytes:
    """Join subtree hashes from right to left: the root of what they cover together."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(size: int, nodes: Nodes) -> bytes:
    """The root of the first `size` leaves."""
    return fold_right([nodes(level, index) for level, index in subtrees(0, size)])


class Frontier:
    """The right edge of a growing tree: all that appending needs.

    hashes: the full subtrees of `size` leaves, from left to right.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, size = leaf, self.size
        while size & 1:
            carry = node_hash(self.hashes.pop(), carry)
            size >>= 1
        self.hashes.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """The root over everything appended."""
        return fold_right(self.hashes)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Hashes that join leaf `index` to the root of `size` leaves (RFC 9162 §2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not among {size}")
    return [_cover(low, high, nodes) for low, high in _siblings(index, 0, size)]


def _siblings(index: int, low: int, high: int) -> list[tuple[int, int]]:
    """Sibling ranges on the way from the leaf up to the root of low … high−1."""
    path: list[tuple[int, int]] = []
    while high - low > 1:
        split = low + _split(high - low)
        if index < split:
            path.append((split, high))
            high = split
        else:
            path.append((low, split))
            low = split
    return path[::-1]


def _split(count: int) -> int:
    """The greatest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _cover(low: int, high: int, nodes: Nodes) -> bytes:
    return fold_right([nodes(level, index) for level, index in subtrees(low, high)])


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Hashes that show the tree of `old` leaves to be a beginning of that of `new` (§2.1.4.1)."""
    if not 0 < old <= new:
        raise ValueError(f"no proof from {old} to {new} leaves")
    if old == new:
        return []
    proof: list[bytes] = []
    low, high = 0, new
    path: list[tuple[int, int]] = []
    while (low, high) != (low, old) and old < high:
        split = low + _split(high - low)
        if old <= split:
            path.append((split, high))
            high = split
        else:
            path.append((low, split))
            low = split
    if low:
        proof.append(_cover(low, high, nodes))
    proof.extend(_cover(start, end, nodes) for start, end in path[::-1])
    return proof


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise SignatureInvalid unless the leaf hash is at `index` under `root` (§2.1.3.2)."""
    if inclusion_root(leaf, index, size, proof) != root:
        raise SignatureInvalid(f"leaf {index} is not under this root of {size} leaves")


def inclusion_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that a proof joins a leaf hash to. Raises SignatureInvalid: a proof of no leaf."""
    if not 0 <= index < size or len(proof) > MOST_PROOF:
        raise SignatureInvalid(f"no inclusion proof of leaf {index} among {size}")
    number, last, have = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise SignatureInvalid("the inclusion proof is longer than the path")
        if number & 1 or number == last:
            have = node_hash(sibling, have)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            have = node_hash(have, sibling)
        number >>= 1
        last >>= 1
    if last:
        raise SignatureInvalid(f"the inclusion proof of leaf {index} is too short")
    return have


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise SignatureInvalid unless the old tree is a beginning of the new one (§2.1.4.2)."""
    if not 0 <= old <= new or len(proof) > MOST_PROOF:
        raise SignatureInvalid(f"no consistency proof from {old} to {new} leaves")
    if old == new:
        if proof or old_root != new_root:
            raise SignatureInvalid(f"two different roots of {old} leaves: the log was rewritten")
        return
    if old == 0:
        if proof or old_root != EMPTY_ROOT:
            raise SignatureInvalid("an empty log has the empty root and needs no proof")
        return
    _walk_consistency(old, old_root, new, new_root, list(proof))


def _walk_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]
) -> None:
    if old & (old - 1) == 0:
        proof.insert(0, old_root)
    if not proof:
        raise SignatureInvalid("the consistency proof is empty")
    number, last = old - 1, new - 1
    while number & 1:
        number >>= 1
        last >>= 1
    first = second = proof[0]
    for hash_ in proof[1:]:
        if last == 0:
            raise SignatureInvalid("the consistency proof is longer than the path")
        if number & 1 or number == last:
            first, second = node_hash(hash_, first), node_hash(hash_, second)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            second = node_hash(second, hash_)
        number >>= 1
        last >>= 1
    if last or first != old_root or second != new_root:
        raise SignatureInvalid(f"{new} leaves do not begin with those {old}: the log was rewritten")
