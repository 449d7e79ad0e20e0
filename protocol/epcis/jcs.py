"""JSON as events are kept: exact numbers when read, one spelling when written (RFC 8785).

`loads` keeps every number exact, which the event hash needs: an integer is an int, a number with
a fraction or an exponent is a Decimal. `canonical` writes the one octet string of a value that a
signature can cover.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import orjson

from protocol.errors import InvalidValue
from protocol.strict_json import parse_json, unique_members

MAX_ITEMS = 3_000_000
"""Members and elements of one document: some 50,000 events."""
MAX_DIGITS = 60
"""Characters of one number: more than any reading or quantity has."""
MAX_EXPONENT = 400
"""A number is written without exponent for the hash, so 1e999999 would be a million digits."""
MAX_DEPTH = 64
_SAFE = 2**53
_INTEGRAL_DIGITS = 21
_FRACTION_ZEROS = 6

_MARKS = (b".0,", b".0]", b".0}", b"null")
_EXPONENT = re.compile(rb"e[+-]?[0-9]{1,3}[,\]}]")
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
_QUICK = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def _exact(text: str) -> Decimal:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters; at most {MAX_DIGITS} are read")
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"the number {text} is out of range")
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits; at most {MAX_DIGITS} are read")
    return int(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_members,
    parse_int=_integer,
    parse_float=_exact,
    parse_constant=_constant,
)


def loads(data: bytes, what: str = "the document") -> Any:
    """The value of JSON text in UTF-8; numbers are int or Decimal, never float.

    Refused: duplicate names, numbers out of bounds, deep nesting, more than MAX_ITEMS items.
    Raises ParseError; `what` names the text in its message.
    """
    return parse_json(data, what, decoder=_DECODER, max_items=MAX_ITEMS)


def canonical(value: Any) -> bytes:
    """The RFC 8785 octets of a value of dict, list, str, int, float, Decimal, bool and None.

    Raises InvalidValue for what has no such form: a number that a binary double does not hold
    exactly enough to give the same digits back, half a surrogate pair, a name that is no text.
    """
    try:
        quick = orjson.dumps(value, default=_double, option=_QUICK)
    except TypeError:
        return _slow(value)
    return quick if type(value) in (dict, list) and not _differs(quick) else _slow(value)


def _differs(quick: bytes) -> bool:
    """Whether the quick writer's text may not be the canonical one.

    It writes whole doubles with .0, other exponents than ECMAScript, null for NaN, and sorts by
    code point, which parts from UTF-16 with letters beyond U+FFFF; integers beyond 2**53 it
    refuses. Other doubles have the one shortest spelling in both. Such text inside strings is
    found too; that costs time only. Plain searches: one pattern of all this takes 40 times longer.
    """
    return (
        any(mark in quick for mark in _MARKS)
        or _EXPONENT.search(quick) is not None
        or (not quick.isascii() and _ASTRAL.search(quick) is not None)
    )


def _double(value: Any) -> float:
    """A Decimal as the int or double that gives the same digits back; TypeError for others."""
    if isinstance(value, Decimal):
        number = float(value)
        if math.isfinite(number) and Decimal(repr(number)) == value:
            return int(number) if number.is_integer() and abs(number) < _SAFE else number
    raise TypeError


def _slow(value: Any) -> bytes:
    try:
        return _text(value, MAX_DEPTH).encode()
    except UnicodeEncodeError:
        raise InvalidValue("a text holds half a surrogate pair; it has no UTF-8 form") from None


def _text(value: Any, depth: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if depth == 0:
        raise InvalidValue(f"JSON nested deeper than {MAX_DEPTH}")
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item, depth - 1) for item in value) + "]"
    if isinstance(value, dict):
        names = sorted(value, key=_order)
        return (
            "{"
            + ",".join(f"{_text(name, 0)}:{_text(value[name], depth - 1)}" for name in names)
            + "}"
        )
    raise InvalidValue(f"a {type(value).__name__} is no JSON value")


def _order(name: Any) -> bytes:
    """Names are sorted by their UTF-16 code units (RFC 8785 §3.2.3)."""
    if not isinstance(name, str):
        raise InvalidValue(f"{name!r} is no name of a JSON member; names are texts")
    return name.encode("utf-16-be", "surrogatepass")


def _number(value: float | Decimal) -> str:
    """As ECMAScript writes the double (RFC 8785 §3.2.2.3)."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidValue(f"the number {value} has no JSON form")
    shortest = Decimal(repr(number))
    if not isinstance(value, float) and shortest != value:
        raise InvalidValue(
            f"the number {value} has more digits than a double holds; write it as a text, "
            "or with 15 digits"
        )
    return _ecmascript(shortest)


def _ecmascript(number: Decimal) -> str:
    if not number:
        return "0"
    sign, digit_tuple, _ = number.normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    point = number.adjusted() + 1  # digits before the decimal point
    if len(digits) <= point <= _INTEGRAL_DIGITS:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= _INTEGRAL_DIGITS:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -_FRACTION_ZEROS < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        text = f"{digits[0]}{fraction}e{point - 1:+d}"
    return "-" + text if sign else text
