"""JSON from strangers: one parse error, and none of what two readers could read differently.

Refused: duplicate names, NaN and infinities, numbers of more than 20 digits, nesting deeper than
64, more than 300,000 items, octets that are not UTF-8. A number with a fraction keeps the text it was written with.
"""

from __future__ import annotations

import json
import re
from typing import Any, Self

from protocol.errors import ParseError

_EXACT = 2.0**53
"""Integers below it are floats and back without loss."""
MAX_DEPTH = 64
MAX_NUMBER = 20
MAX_LONG = 64
MAX_ITEMS = 300_000
"""Members and elements of one text, far above a record's 2,048 values: an item takes an object of
a hundred octets and more in memory, and the text of it two."""

_strings = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NOT_MARKS = bytes(set(range(256)) - set(b"[]{},"))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Number(float):
    """A JSON number with a fraction or an exponent; str() gives it as it was written."""

    _text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number._text = text
        return number

    def __str__(self) -> str:
        return self._text


def parse_json(
    data: bytes,
    what: str = "the body",
    *,
    decoder: json.JSONDecoder | None = None,
    max_items: int = MAX_ITEMS,
) -> Any:
    """The value of JSON text in UTF-8. Raises ParseError; `what` names the text in its message.

    decoder: one that reads numbers otherwise; it uses `unique_members` too.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(
            f"{what} is not UTF-8: octet {data[error.start]:#04x} at {error.start}"
        ) from None
    _check_size(data, what, max_items)
    _check_depth(data, what)
    try:
        return (decoder or _DECODER).decode(text)
    except json.JSONDecodeError as error:
        raise ParseError(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ParseError(f"{what} is not acceptable JSON: {error}") from None


def _check_size(data: bytes, what: str, most: int) -> None:
    if sum(map(data.count, (b",", b"[", b"{"))) <= most:
        return
    marks = _strings.sub(b"", data).translate(None, _NOT_MARKS)
    if sum(map(marks.count, (b",", b"[", b"{"))) > most:
        raise ParseError(f"{what} has more than {most} items; send it in several")


def _check_depth(data: bytes, what: str) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _strings.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ParseError(f"{what} is nested deeper than {MAX_DEPTH}")


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of its members. Raises ValueError for a name that stands twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:60]!r} stands twice in one object")
            seen.add(name)
    return result


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"a number of {len(text)} digits; at most {MAX_NUMBER} are read")
    return int(text)


def _fraction(text: str) -> Number:
    if len(text) > MAX_NUMBER * 2:
        raise ValueError(f"a number of {len(text)} characters; at most {MAX_NUMBER * 2} are read")
    number = Number(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text} is too large")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_members,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)


def _long_integer(text: str) -> int:
    if len(text) > MAX_LONG:
        raise ValueError(f"a number of {len(text)} digits; at most {MAX_LONG} are read")
    return int(text)


TOLERANT = json.JSONDecoder(
    object_pairs_hook=unique_members,
    parse_int=_long_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)
"""For requests of which members that are not known are passed over: whatever number they hold."""


def whole(value: Any) -> Any:
    """A number without a fraction as an integer: JSON has one kind of number, and 8.0 is 8."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value
