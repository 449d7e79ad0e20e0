"""The values of query parameters: split, bounded, read as what they must be (traceability §3.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeVar

from protocol.epcis.errors import (
    QueryParameterException,
    QueryTooComplexException,
)
from protocol.epcis.eventhash import plain_number
from protocol.epcis.moment import parse_time_us
from protocol.errors import ParseError

MAX_PARAMETERS: Final = 100
MAX_VALUES: Final = 1_000
"""Alternatives of one parameter."""
MAX_TEXT: Final = 4_096
MAX_COUNT: Final = 1_000_000_000

Params = Mapping[str, Sequence[str]]
_T = TypeVar("_T")
_YES: Final = frozenset(("", "true", "1", "null"))


def shown(text: str) -> str:
    """A value for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def split(name: str, values: Sequence[str]) -> list[str]:
    """The alternatives of a parameter: given several times, or separated by `|`.

    Raises QueryParameterException for none or an empty one, QueryTooComplexException for too many.
    """
    found = [text.strip() for value in values for text in value.split("|")]
    if len(found) > MAX_VALUES:
        raise QueryTooComplexException(
            f"{name} has {len(found)} values; ask for at most {MAX_VALUES} at a time"
        )
    for text in found:
        if not text:
            raise QueryParameterException(f"{name} has an empty value; write one, or leave it out")
        if len(text) > MAX_TEXT:
            raise QueryParameterException(f"{name}: a value of {len(text)} characters is too long")
    if not found:
        raise QueryParameterException(f"{name} has no value")
    return found


def one(name: str, values: Sequence[str]) -> str:
    """The only value. Raises QueryParameterException for several."""
    found = split(name, values)
    if len(found) != 1:
        raise QueryParameterException(f"{name} takes one value, not {len(found)}")
    return found[0]


def read(name: str, text: str, reader: Callable[[str], _T | None], what: str) -> _T:
    """A value as a reader gives it; None means that it is none of its kind."""
    found = reader(text)
    if found is None:
        raise QueryParameterException(f"{name} is {shown(text)}; write {what}")
    return found


def as_time(text: str) -> int | None:
    """Microseconds since 1970; None for text that is no moment."""
    try:
        return parse_time_us(text)
    except ParseError:
        return None


def as_number(text: str) -> Decimal | None:
    plain = plain_number(text)
    return None if plain is None else Decimal(plain)


def time_value(name: str, values: Sequence[str]) -> int:
    return read(name, one(name, values), as_time, "a time with zone, 2026-03-01T10:00:00Z")


def number_values(name: str, values: Sequence[str]) -> list[Decimal]:
    return [read(name, text, as_number, "a number") for text in split(name, values)]


def count_value(name: str, values: Sequence[str]) -> int:
    """A whole number of at least 1."""
    text = one(name, values)
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
    if not 0 < number <= MAX_COUNT:
        raise QueryParameterException(f"{name} is {shown(text)}; write a whole number above 0")
    return number


def truth_value(name: str, values: Sequence[str]) -> bool:
    text = one(name, values).lower()
    if text not in ("true", "false"):
        raise QueryParameterException(f"{name} is {shown(text)}; write true or false")
    return text == "true"


def exists_value(name: str, values: Sequence[str]) -> None:
    """EXISTS_ takes no value; what a client must write to write something is taken too."""
    if len(values) > 1 or (values and values[0].strip().lower() not in _YES):
        raise QueryParameterException(f"{name} takes no value; leave it empty, or write true")
