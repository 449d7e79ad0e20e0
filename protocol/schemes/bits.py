"""A string of bits, read from its front: compressed Digital Links and EPC binary strings."""

from __future__ import annotations

from protocol.errors import BadIdentifier

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""The characters of six bits, in the order of their values."""


class Bits:
    """Bits taken off the front. Any number too few raises BadIdentifier `compressed`."""

    def __init__(self, bits: str) -> None:
        """bits: of `0` and `1`."""
        self._bits = bits
        self._at = 0

    @property
    def left(self) -> int:
        """How many are left."""
        return len(self._bits) - self._at

    def take(self, size: int) -> int:
        """The next ones as an unsigned integer; of none, 0."""
        if size > self.left:
            raise BadIdentifier("compressed", "the compressed segment ends inside a value")
        self._at += size
        return int(self._bits[self._at - size : self._at] or "0", 2)


def sextets(text: str) -> str:
    """The bits of characters of the alphabet."""
    return "".join(f"{ALPHABET.index(char):06b}" for char in text)
