"""Tiles: a log's hashes in files that never change once full (C2SP tlog-tiles).

A tile holds up to 256 hashes of one level: tile level L, index N covers the tree's level 8·L,
nodes 256·N …. Paths are those of the specification, `tile/L/N[.p/W]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from protocol.errors import ParseError
from protocol.merkle import HASH_SIZE, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT

_PATH = re.compile(
    r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/"
    r"((?!x000/)(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


def path(level: int | None, index: int, width: int = WIDTH) -> str:
    """The path of a tile; level None = the bundle of entries."""
    text = f"{index % 1000:03d}"
    rest = index // 1000
    while rest:
        text = f"x{rest % 1000:03d}/{text}"
        rest //= 1000
    name = "entries" if level is None else str(level)
    return f"tile/{name}/{text}" + ("" if width == WIDTH else f".p/{width}")


def parse_path(text: str) -> tuple[int | None, int, int]:
    """(level, index, width) of a tile's path; level None = entries. Raises ParseError."""
    match = _PATH.fullmatch(text)
    if match is None or len(text) > 80:
        raise ParseError(f"not a tile path: {text[:80]!r}; it looks like tile/0/x001/234.p/7")
    level = None if match[1] == "entries" else int(match[1])
    index = 0
    for part in match[2].split("/"):
        index = index * 1000 + int(part.lstrip("x"))
    width = int(match[3]) if match[3] else WIDTH
    if width > WIDTH or (match[3] and width == WIDTH):
        raise ParseError(f"no such tile: {text!r}")
    return level, index, width


def node(level: int, index: int, tile: Callable[[int, int], bytes]) -> bytes:
    """The hash of a full subtree out of the tile that holds its parts.

    tile: (tile level, tile index) -> its hashes joined, at least as many as are needed.
    """
    tile_level, within = divmod(level, HEIGHT)
    first = index << within
    tile_index, offset = divmod(first, WIDTH)
    hashes = tile(tile_level, tile_index)
    count = 1 << within
    part = hashes[offset * HASH_SIZE : (offset + count) * HASH_SIZE]
    if len(part) != count * HASH_SIZE:
        raise ParseError(f"{path(tile_level, tile_index)} is shorter than it must be")
    return joined(part)


def joined(hashes: bytes) -> bytes:
    """The root over a power of two of hashes."""
    row = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def grow(
    size: int, leaves: Iterable[bytes], tile: Callable[[int, int], bytes]
) -> Iterator[tuple[int, int, bytes]]:
    """Tiles (level, index, hashes) that change when leaf hashes follow the first `size`.

    Each changed tile comes once, in its final state; full tiles feed the level above.
    """
    level, start, fresh = 0, size, list(leaves)
    while fresh:
        index, offset = divmod(start, WIDTH)
        held = tile(level, index)[: offset * HASH_SIZE] if offset else b""
        row = held + b"".join(fresh)
        above: list[bytes] = []
        for at in range(0, len(row), WIDTH * HASH_SIZE):
            hashes = row[at : at + WIDTH * HASH_SIZE]
            yield level, index, hashes
            if len(hashes) == WIDTH * HASH_SIZE:
                above.append(joined(hashes))
            index += 1
        level, start, fresh = level + 1, start // WIDTH, above
