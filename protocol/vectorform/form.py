"""Form: how one kind of test vector is read, written and checked.

A vector is a JSON object {"name", "kind", "hex", "decoded"}. Each kind has one Form. Comparing is
strict: same keys, same types (True is not 1), same order; the first difference is named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.errors import ParseError
from protocol.jsonfields import Fields

Shape = dict[str, Any]
"""What `decoded` holds: JSON values by field name."""

REMARKS = frozenset({"note", "reason", "rule"})
"""Fields of a vector that speak to people; nothing is claimed by them."""

TEXT_OF_DATA = "data_text"


class VectorMismatch(Exception):
    """A vector claims what is not so. why: the field and both sides of it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of vector.

    decode: bytes -> decoded, as far as it follows from the bytes. Raises ParseError only.
    encode: decoded -> bytes, or None where the bytes do not follow from it. Raises ParseError.
    check: a whole vector -> nothing. Raises VectorMismatch, or ParseError on unreadable bytes.
    """

    decode: Callable[[bytes], Shape]
    encode: Callable[[Shape], bytes | None]
    check: Callable[[Mapping[str, Any]], None]


def compare(expected: Any, actual: Any, path: str = "decoded") -> None:
    """Raise VectorMismatch naming the first field where `expected` (the row) differs."""
    if type(expected) is not type(actual):
        raise VectorMismatch(f"{path} is {_short(actual)}, the row says {_short(expected)}")
    if isinstance(expected, dict):
        for name in expected:
            if name not in actual:
                raise VectorMismatch(f"{path}.{name} is not there, the row has it")
            compare(expected[name], actual[name], f"{path}.{name}")
        for name in actual:
            if name not in expected:
                raise VectorMismatch(f"{path}.{name} is missing in the row")
    elif isinstance(expected, list):
        for at, (left, right) in enumerate(zip(expected, actual, strict=False)):
            compare(left, right, f"{path}[{at}]")
        if len(expected) != len(actual):
            raise VectorMismatch(f"{path} has {len(actual)} items, the row says {len(expected)}")
    elif expected != actual:
        raise VectorMismatch(f"{path} is {_short(actual)}, the row says {_short(expected)}")


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def hex_of(vector: Mapping[str, Any]) -> bytes:
    """The bytes of a vector. Raises ParseError unless `hex` is lower-case hexadecimal."""
    return Fields(vector, "").hex("hex")


def claims_of(vector: Mapping[str, Any], *, without: Collection[str] = ()) -> Shape:
    """`decoded` without remarks and the named fields. Raises ParseError when it is no object."""
    decoded = vector.get("decoded")
    if not isinstance(decoded, dict):
        raise ParseError("the row has no object `decoded`; give one, as the vectors do")
    return {
        name: value
        for name, value in decoded.items()
        if name not in REMARKS and name not in without
    }


def expect(actual: Any, expected: Any, name: str) -> None:
    """compare() for one field of `decoded`: actual is ours, expected the row's."""
    compare(expected, actual, f"decoded.{name}")


def same_text_fields(expected: Any, actual: Any) -> Any:
    """`actual`, with or without `data_text` as `expected` has it, where both readings are fair.

    Whether data is shown as text too is taste when it holds control characters; what such a
    text says is not, and is compared.
    """
    if isinstance(expected, list) and isinstance(actual, list):
        pairs = zip(expected, actual, strict=False)
        return [same_text_fields(left, right) for left, right in pairs] + actual[len(expected) :]
    if not isinstance(expected, dict) or not isinstance(actual, dict):
        return actual
    shaped = {name: same_text_fields(expected.get(name), part) for name, part in actual.items()}
    if isinstance(actual.get("data_hex"), str) and "type" in actual:
        _fit_text(expected, shaped)
    return shaped


def _fit_text(expected: Shape, shaped: Shape) -> None:
    try:
        text = bytes.fromhex(shaped["data_hex"]).decode()
    except ValueError:
        return
    if not plain_text(text):
        shaped.pop(TEXT_OF_DATA, None)
        if TEXT_OF_DATA in expected:
            shaped[TEXT_OF_DATA] = text


def plain_text(text: str) -> bool:
    """Whether a text has no control characters but tab and line ends."""
    return not any((char < " " and char not in "\t\n\r") or char == "\x7f" for char in text)


def two_way(
    decode: Callable[[bytes], Shape],
    encode: Callable[[Shape], bytes],
    *,
    also: Mapping[str, Callable[[bytes, Shape], Any]] | None = None,
    like: Callable[[Shape, bytes], bytes] | None = None,
) -> Form:
    """A kind whose bytes and `decoded` follow from each other.

    also: fields of a row that need more than the bytes; each gets (bytes, decoded) and raises
    VectorMismatch when the row's claim does not hold. They are checked when the row has them.
    like: encoding for check(), where several encodings show the same `decoded`.
    """
    extra = dict(also or {})

    def encode_guarded(decoded: Shape) -> bytes:
        data = encode(decoded)
        made = {name: value for name, value in decode(data).items() if name not in extra}
        try:
            _agree(decoded, made)
            for name, verify in extra.items():
                if name in decoded:
                    verify(data, decoded)
        except VectorMismatch as error:
            raise ParseError(f"fields contradict each other: {error.why}") from None
        return data

    def check(vector: Mapping[str, Any]) -> None:
        data = hex_of(vector)
        claims = claims_of(vector)
        made = decode(data)
        compare(
            {name: value for name, value in claims.items() if name not in extra},
            same_text_fields(
                claims, {name: value for name, value in made.items() if name not in extra}
            ),
        )
        for name, verify in extra.items():
            if name in claims:
                verify(data, claims)
            elif name in made:
                raise VectorMismatch(f"decoded.{name} is missing in the row")
        again = like(claims, data) if like else encode(claims)
        if again != data:
            raise VectorMismatch(f"encoding `decoded` gives {_short(again.hex())}, not `hex`")

    return Form(decode, encode_guarded, check)


def _agree(given: Shape, made: Shape) -> None:
    """Raise VectorMismatch when a given field contradicts what encoding made of the others."""
    shaped = _as_far_as(given, same_text_fields(given, made))
    compare({name: value for name, value in given.items() if name in made}, shaped)


def _as_far_as(given: Any, made: Any) -> Any:
    """`made` without the fields that were not given, at every depth."""
    if isinstance(given, dict) and isinstance(made, dict):
        return {
            name: _as_far_as(given[name], value) for name, value in made.items() if name in given
        }
    if isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        return [_as_far_as(left, right) for left, right in zip(given, made, strict=True)]
    return made
