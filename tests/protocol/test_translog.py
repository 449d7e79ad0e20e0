"""The log's tree, tiles and notes against their definitions."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import merkle, note, tiles
from protocol.errors import ParseError, SignatureInvalid


def definition_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, word for word."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(definition_root(leaves[:split]), definition_root(leaves[split:]))


def some_leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % n) for n in range(count)]


def nodes_of(leaves: list[bytes]):
    return lambda level, index: definition_root(leaves[index << level : (index + 1) << level])


SIZES = [*range(1, 40), 255, 256, 257, 511, 600]


def test_known_roots() -> None:
    """The empty tree and a single empty leaf hash as published with RFC 6962."""
    assert merkle.EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")
    assert merkle.leaf_hash(b"").hex().startswith("6e340b9cffb37a98")


@pytest.mark.parametrize("size", SIZES)
def test_frontier_gives_the_defined_root(size: int) -> None:
    """Appending one by one gives the root of the definition."""
    frontier = merkle.Frontier()
    for leaf in some_leaves(size):
        frontier.append(leaf)
    assert frontier.root() == definition_root(some_leaves(size))
    assert frontier.root() == merkle.root_of(size, nodes_of(some_leaves(size)))


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_proofs_hold_and_only_they(size: int) -> None:
    """Each leaf's proof verifies, and with one hash changed, another leaf or index it does not."""
    leaves = some_leaves(size)
    root = definition_root(leaves)
    for index in {0, size // 2, size - 1}:
        proof = merkle.inclusion_proof(index, size, nodes_of(leaves))
        merkle.verify_inclusion(leaves[index], index, size, proof, root)
        bad = [(leaves[index][::-1], index, proof), (leaves[index], size, proof)]
        bad += [(leaves[index], index, [*proof[:-1], proof[-1][::-1]])] if proof else []
        bad += [(leaves[index], index, [*proof, root])]
        for leaf, at, hashes in bad:
            with pytest.raises(SignatureInvalid):
                merkle.verify_inclusion(leaf, at, size, hashes, root)


@given(st.integers(1, 80), st.integers(0, 80))
def test_consistency_proofs_hold_and_only_they(old: int, more: int) -> None:
    """An honest growth verifies; a log with one old leaf rewritten does not."""
    leaves = some_leaves(old + more)
    old_root, new_root = definition_root(leaves[:old]), definition_root(leaves)
    proof = merkle.consistency_proof(old, old + more, nodes_of(leaves))
    merkle.verify_consistency(old, old_root, old + more, new_root, proof)
    forged = [merkle.leaf_hash(b"forged"), *leaves[1:]]
    with pytest.raises(SignatureInvalid):
        merkle.verify_consistency(
            old,
            old_root,
            old + more,
            definition_root(forged),
            merkle.consistency_proof(old, old + more, nodes_of(forged)),
        )


@given(st.lists(st.integers(1, 400), max_size=6))
def test_tiles_hold_the_tree(batches: list[int]) -> None:
    """Tiles grown batch by batch give every full subtree and the defined root."""
    stored: dict[tuple[int, int], bytes] = {}
    leaves = some_leaves(sum(batches))
    size = 0
    for count in batches:
        changed = list(
            tiles.grow(size, leaves[size : size + count], lambda lv, ix: stored.get((lv, ix), b""))
        )
        stored.update({(level, index): hashes for level, index, hashes in changed})
        size += count
    root = merkle.root_of(size, lambda lv, ix: tiles.node(lv, ix, lambda a, b: stored[a, b]))
    assert root == definition_root(leaves)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tile/0/000", (0, 0, 256)),
        ("tile/1/x001/234", (1, 1234, 256)),
        ("tile/0/x123/x456/789.p/7", (0, 123456789, 7)),
        ("tile/entries/012.p/255", (None, 12, 255)),
        ("tile/63/000", (63, 0, 256)),
    ],
)
def test_tile_paths(text: str, parsed: tuple[int | None, int, int]) -> None:
    """Paths read and write as C2SP tlog-tiles says."""
    assert tiles.parse_path(text) == parsed
    assert tiles.path(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        *("tile/0/1", "tile/00/000", "tile/0/000.p/256", "tile/64/000", ""),
        *("tile/0/x000/000", "tile/0/000\n"),
    ],
)
def test_false_tile_paths(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ParseError):
        tiles.parse_path(text)


def test_checkpoint_round_trip_with_witness() -> None:
    """A checkpoint signed by the log and cosigned by a witness verifies with both keys."""
    log, witness = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    checkpoint = note.Checkpoint("example.org/log/88.118", 7, bytes(32))
    text = checkpoint.text()
    signed = note.Note(
        text,
        (
            note.sign(text, "example.org/log/88.118", log),
            note.cosign(text, "witness.example.org", witness, 1_800_000_000),
        ),
    )
    keys = [
        note.Key("example.org/log/88.118", log.public_key().public_bytes_raw()),
        note.Key("witness.example.org", witness.public_key().public_bytes_raw(), note.COSIGNATURE),
    ]
    back = note.decode(signed.encode())
    assert note.parse_checkpoint(back.text) == checkpoint
    assert note.verify(back, [note.Key.parse(key.text()) for key in keys]) == keys
    with pytest.raises(SignatureInvalid):
        note.verify(note.Note(text.replace("7", "8"), back.signatures), keys)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_note_or_a_parse_error(data: bytes) -> None:
    """Decoding raises ParseError and nothing else."""
    for candidate in (data, b"o\n1\n" + data, "o\n1\nAA\n\n— x ".encode() + data):
        try:
            note.parse_checkpoint(note.decode(candidate).text)
        except ParseError:
            continue
