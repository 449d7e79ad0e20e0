"""Fields: takes typed values out of a JSON object and says which field is wrong.

Every method raises ParseError with the path of the field, what it holds and what it should.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import ParseError

_U4 = 0xFFFFFFFF


def signed32(value: int) -> int:
    """A 32-bit field as the deployed software reads it: two's complement."""
    value &= _U4
    return value - (1 << 32) if value & 0x80000000 else value


def signed64(value: int) -> int:
    """A 64-bit field, two's complement."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def text_of(octets: bytes, what: str) -> str:
    """UTF-8 octets as text. Raises ParseError when they are not UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise ParseError(f"{what} is not UTF-8: {octets[:40].hex()}") from None


class Fields:
    """One JSON object and the path to it."""

    __slots__ = ("_object", "_path")

    def __init__(self, value: Any, path: str = "decoded") -> None:
        if not isinstance(value, Mapping):
            raise ParseError(f"{path or 'the row'} is {value!r:.60}; an object is wanted")
        self._object = value
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._object

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def any(self, name: str) -> Any:
        """The raw JSON value; the field must be there."""
        try:
            return self._object[name]
        except KeyError:
            raise ParseError(f"{self.path(name)} is missing") from None

    def number(self, name: str, low: int, high: int) -> int:
        value = self.any(name)
        if type(value) is not int or not low <= value <= high:
            raise ParseError(f"{self.path(name)} is {value!r:.60}; wanted {low} … {high}")
        return value

    def u1(self, name: str) -> int:
        return self.number(name, 0, 0xFF)

    def u2(self, name: str) -> int:
        return self.number(name, 0, 0xFFFF)

    def u4(self, name: str) -> int:
        """A 32-bit field, shown signed (or unsigned); as unsigned."""
        return self.number(name, -(1 << 31), _U4) & _U4

    def u8(self, name: str) -> int:
        """A 64-bit field, shown signed (or unsigned); as unsigned."""
        return self.number(name, -(1 << 63), (1 << 64) - 1) & ((1 << 64) - 1)

    def flag(self, name: str) -> bool:
        value = self.any(name)
        if type(value) is not bool:
            raise ParseError(f"{self.path(name)} is {value!r:.60}; wanted true or false")
        return value

    def text(self, name: str) -> bytes:
        """A text field as UTF-8 octets."""
        return self._octets(self.any(name), self.path(name))

    def text_or_none(self, name: str) -> bytes | None:
        return None if self.any(name) is None else self.text(name)

    def hex(self, name: str) -> bytes:
        """A field of lower-case hexadecimal octets."""
        value = self.any(name)
        try:
            octets = bytes.fromhex(value)
        except (TypeError, ValueError):
            raise ParseError(f"{self.path(name)} is {value!r:.60}; wanted hexadecimal") from None
        if octets.hex() != value:
            raise ParseError(f"{self.path(name)} is not plain lower-case hexadecimal")
        return octets

    def items(self, name: str) -> list[Any]:
        value = self.any(name)
        if not isinstance(value, list):
            raise ParseError(f"{self.path(name)} is {value!r:.60}; wanted a list")
        return value

    def texts(self, name: str) -> tuple[bytes, ...]:
        """A list of texts as UTF-8 octets."""
        return tuple(
            self._octets(item, f"{self.path(name)}[{at}]")
            for at, item in enumerate(self.items(name))
        )

    def u4s(self, name: str) -> tuple[int, ...]:
        """A list of 32-bit numbers, as unsigned."""
        path = self.path(name)
        return tuple(
            Fields({f"[{at}]": item}, path).u4(f"[{at}]")
            for at, item in enumerate(self.items(name))
        )

    def object(self, name: str) -> Fields:
        return Fields(self.any(name), self.path(name))

    def objects(self, name: str) -> tuple[Fields, ...]:
        """A list of objects."""
        path = self.path(name)
        return tuple(Fields(item, f"{path}[{at}]") for at, item in enumerate(self.items(name)))

    @staticmethod
    def _octets(value: Any, path: str) -> bytes:
        if not isinstance(value, str):
            raise ParseError(f"{path} is {value!r:.60}; wanted a text")
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise ParseError(f"{path} holds half a surrogate pair") from None
