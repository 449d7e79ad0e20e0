"""A query as a JSON object, which is how a named query holds it (traceability §3.5).

It becomes the texts of a URL, that protocol.epcis.query reads. A text is written as a text: a
number in its place is more likely a mistake than a word of ten digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from protocol.epcis.errors import QueryValidationException
from protocol.epcis.query_tests import TESTS
from protocol.epcis.query_values import shown


def params_of(query: Any) -> dict[str, list[str]]:
    """The parameters of a query in JSON.

    Raises QueryValidationException where it is no object of texts and lists of them. What compares
    numbers or counts takes numbers too; what asks whether something is so takes true and false.
    """
    if not isinstance(query, Mapping):
        raise QueryValidationException("the query is no JSON object of parameters")
    return {
        name: [_text(name, item) for item in (value if isinstance(value, list) else [value])]
        for name, value in query.items()
        if name not in ("@context", "type")
    }


def takes_numbers(name: str) -> bool:
    """Whether a parameter may hold numbers; those of units and extensions may."""
    return name not in TESTS or name.endswith(("_quantity", "_percRank"))


def asks(name: str) -> bool:
    """Whether a parameter asks whether something is there, or is so."""
    return name.startswith("EXISTS_") or name == "EQ_booleanValue"


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None and name.startswith("EXISTS_"):
        return ""
    if isinstance(value, bool) and (asks(name) or name not in TESTS):
        return str(value).lower()
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if is_number and takes_numbers(name):
        return str(value)
    raise QueryValidationException(f"{shown(name)} is {value!r:.60}; write it as a text")
