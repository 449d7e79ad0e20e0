"""Vector forms: one table from a kind of wire vector to how it is read, written and checked.

A new kind is one row here and one function trio in a file of its family. `wire decode`,
`wire encode`, `wire check` and the tests go through this table only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import ParseError
from protocol.vectorform import (
    crypto_challenges,
    crypto_keys,
    crypto_messages,
    crypto_sessions,
    crypto_streams,
    crypto_trust,
    messages,
    names,
    transports,
    values,
)
from protocol.vectorform.form import Form, Shape, VectorMismatch, compare
from protocol.vectorform.malformed import malformed_form

__all__ = ["FORMS", "Form", "Shape", "VectorMismatch", "check", "compare", "form_of"]


def _collect(*families: Mapping[str, Form]) -> dict[str, Form]:
    table: dict[str, Form] = {}
    for family in families:
        if repeated := table.keys() & family.keys():
            raise ValueError(f"kinds in two families: {sorted(repeated)}")
        table.update(family)
    return table


_KINDS = _collect(
    values.FORMS,
    messages.FORMS,
    names.FORMS,
    transports.FORMS,
    crypto_keys.FORMS,
    crypto_challenges.FORMS,
    crypto_messages.FORMS,
    crypto_sessions.FORMS,
    crypto_trust.FORMS,
    crypto_streams.FORMS,
)

FORMS: dict[str, Form] = _KINDS | {"malformed": malformed_form(_KINDS)}
"""Every kind; each family hands in its own table."""


def form_of(kind: str) -> Form:
    """The form of a kind. Raises ParseError naming the known kinds."""
    try:
        return FORMS[kind]
    except KeyError:
        raise ParseError(f"unknown kind {kind!r}; known: {', '.join(sorted(FORMS))}") from None


def check(vector: Mapping[str, Any], kind: str) -> None:
    """Raise VectorMismatch (or ParseError) unless every claim of the vector holds."""
    form_of(kind).check(vector)
