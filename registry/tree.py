"""The tree over the log, as the store holds it: tiles, checkpoints, proofs (plan §7; RFC 9162 §2.1).

Leaf n of the tree is change n + 1. A tile row is written anew until it is full, so that a tile of
fewer hashes is the beginning of its row (C2SP tlog-tiles). Everything here is written in the
transaction of the changes it covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import merkle, note, tiles
from protocol.errors import ParseError, StoreError
from protocol.keys.sm2 import Sm2PrivateKey
from registry.log import SEQUENCE_KEY, last_sequence, read_sequence, sequence_key
from registry.store import Snapshot, Store, Table, Write

TREE_KEY: Final = b"tree"
"""Row of the meta table: leaves in the tree, u8."""
EPOCH_KEY: Final = b"epoch"
"""Row of the meta table: u8; no row is epoch 0."""
PORTION: Final = 1 << 16
"""Leaves hashed in one transaction where a store has none of them yet."""

_TILE = Struct(">BQ")

Tile = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class LogSigner:
    """Signs checkpoints. name: of the log without its epoch; key: the node's log key.

    former: the log key before, while both count. national: an SM2 key that signs as well.
    """

    name: str
    key: Ed25519PrivateKey
    former: Ed25519PrivateKey | None = None
    national: Sm2PrivateKey | None = None
    past: tuple[Ed25519PublicKey, ...] = ()
    """Keys that signed checkpoints of this log and do no longer."""

    def checkpoint(self, size: int, root: bytes, epoch: int) -> bytes:
        """A signed note over `size` leaves."""
        origin = origin_of(self.name, epoch)
        text = note.Checkpoint(origin, size, root).text()
        keys = (self.key, self.former, self.national)
        signed = tuple(note.sign(text, origin, key) for key in keys if key is not None)
        return note.Note(text, signed).encode()

    def verifier(self, epoch: int) -> note.Key:
        """The key that checks what checkpoint() makes."""
        return note.Key(origin_of(self.name, epoch), self.key.public_key().public_bytes_raw())

    def verifiers(self, epoch: int) -> list[note.Key]:
        """The keys that may have signed checkpoints of this log, whenever."""
        origin = origin_of(self.name, epoch)
        former = [] if self.former is None else [self.former.public_key()]
        keys = (self.key.public_key(), *former, *self.past)
        return [note.Key(origin, key.public_bytes_raw()) for key in keys]


def log_name(prefix: str) -> str:
    """What the log of a prefix's node is called: `biaoshi/88.118.8`."""
    return "biaoshi/" + quote(prefix.upper(), safe=".")


def origin_of(name: str, epoch: int) -> str:
    """The origin line: another one for each epoch, since histories part where an epoch begins."""
    return name if epoch == 0 else f"{name}/epoch/{epoch}"


class Growth(NamedTuple):
    """What appending did. writes: tiles and the tree's size."""

    size: int
    root: bytes
    writes: list[Write]


def tree_size(state: Snapshot) -> int:
    """Leaves in the tree: behind the log only in a store that was made before it had a tree."""
    raw = state.get(Table.META, TREE_KEY)
    return 0 if raw is None else read_sequence(raw)


def epoch_of(state: Snapshot) -> int:
    """How often the log was begun anew after a loss."""
    raw = state.get(Table.META, EPOCH_KEY)
    return 0 if raw is None else read_sequence(raw)


def tile_key(level: int, index: int) -> bytes:
    """The key of a tile: level u1, index u8."""
    return _TILE.pack(level, index)


def tile_reader(state: Snapshot) -> Tile:
    """(level, index) -> the tile's hashes, nothing where there is none."""
    return lambda level, index: state.get(Table.TILES, tile_key(level, index)) or b""


def grow(state: Snapshot, leaves: Sequence[bytes]) -> Growth:
    """Append leaf hashes to the tree of a snapshot."""
    size, stored = tree_size(state), tile_reader(state)
    fresh = {(level, index): hashes for level, index, hashes in tiles.grow(size, leaves, stored)}

    def tile(level: int, index: int) -> bytes:
        return fresh.get((level, index)) or stored(level, index)

    size += len(leaves)
    writes = [Write(Table.TILES, tile_key(*at), hashes) for at, hashes in fresh.items()]
    writes.append(Write(Table.META, TREE_KEY, sequence_key(size)))
    return Growth(size, merkle.root_of(size, nodes(tile)), writes)


def checkpoint_write(signer: LogSigner, size: int, root: bytes, epoch: int) -> Write:
    """The row of a signed checkpoint."""
    return Write(Table.CHECKPOINTS, sequence_key(size), signer.checkpoint(size, root, epoch))


def renew_checkpoint(store: Store, signer: LogSigner) -> bool:
    """Sign the newest checkpoint anew where other keys signed it than sign now; whether it was.

    The same tree under another key: size and root stay as they were.
    """
    with store.snapshot() as state:
        raw = latest_checkpoint(state)
        if raw is None:
            return False
        epoch = epoch_of(state)
        signed = note.decode(raw)
        said = note.parse_checkpoint(signed.text)
        if said.origin != origin_of(signer.name, epoch):
            return False
        made = note.decode(signer.checkpoint(said.size, said.root, epoch))
        if {one.key_id for one in made.signatures} == {one.key_id for one in signed.signatures}:
            return False
        root = root_at(state, said.size)
        write = checkpoint_write(signer, said.size, root, epoch)
    store.apply([write])
    return True


def root_at(state: Snapshot, size: int) -> bytes:
    """The root over the first leaves. Raises StoreError where tiles are missing."""
    return merkle.root_of(size, nodes(tile_reader(state)))


def inclusion(state: Snapshot, index: int, size: int) -> list[bytes]:
    """The proof that leaf `index` is under the root of `size`. Raises ValueError, StoreError."""
    return merkle.inclusion_proof(index, size, nodes(tile_reader(state)))


def consistency(state: Snapshot, old: int, new: int) -> list[bytes]:
    """The proof that `old` leaves begin the tree of `new`. Raises ValueError, StoreError."""
    return merkle.consistency_proof(old, new, nodes(tile_reader(state)))


def latest_checkpoint(state: Snapshot) -> bytes | None:
    """The newest signed note."""
    found = state.last(Table.CHECKPOINTS)
    return None if found is None else found[1]


def checkpoint_at(state: Snapshot, size: int) -> bytes | None:
    """The oldest signed note over at least `size` leaves."""
    return next(
        (raw for _, raw in state.scan(Table.CHECKPOINTS, sequence_key(size), limit=1)), None
    )


def leaves(state: Snapshot, first: int, count: int) -> list[bytes]:
    """Leaves `first` … of the tree, as logged. Raises StoreError where one is missing."""
    found = list(state.scan(Table.CHANGES, sequence_key(first + 1), limit=count))
    for at, (key, _) in enumerate(found):
        if read_sequence(key) != first + 1 + at:
            raise StoreError(
                f"change {first + 1 + at} is missing from the log; run `biaoshi check`"
            )
    return [raw for _, raw in found]


def complete(store: Store, signer: LogSigner | None) -> int:
    """Bring the tree up to the log, in portions that survive an interruption; leaves added."""
    added = 0
    while True:
        with store.snapshot() as state:
            last = last_sequence(state.get(Table.META, SEQUENCE_KEY))
            size = tree_size(state)
            if size >= last:
                return added
            logged = leaves(state, size, min(PORTION, last - size))
            growth = grow(state, [merkle.leaf_hash(leaf) for leaf in logged])
            writes = growth.writes
            if not logged:
                raise StoreError(f"change {size + 1} is missing from the log; run `biaoshi check`")
            if signer is not None and growth.size == last:
                epoch = epoch_of(state)
                writes.append(checkpoint_write(signer, growth.size, growth.root, epoch))
        store.apply(writes)
        added += len(logged)


def nodes(tile: Tile) -> merkle.Nodes:
    """Hashes of full subtrees out of tiles. Raises StoreError where tiles are missing."""

    def node(level: int, index: int) -> bytes:
        try:
            return tiles.node(level, index, tile)
        except ParseError as error:
            raise StoreError(
                f"the tree of the log is damaged: {error}; run `biaoshi check`"
            ) from error

    return node


def has_leaf(state: Snapshot, sequence: int, leaf: bytes) -> bool:
    """Whether a leaf is the one that the tree has at its place."""
    index, offset = divmod(sequence - 1, tiles.WIDTH)
    hashes = tile_reader(state)(0, index)
    start = offset * merkle.HASH_SIZE
    return hashes[start : start + merkle.HASH_SIZE] == merkle.leaf_hash(leaf)
