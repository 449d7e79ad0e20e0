"""Every row of the reference set, with the scheme named and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.errors import BadIdentifier
from protocol.identifier import parse

ROWS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "identifiers.json").read_text(encoding="utf-8")
)["vectors"]
VALID = [row for row in ROWS if row["valid"]]
INVALID = [row for row in ROWS if not row["valid"]]
# An Ecode is digits like any other; it is read only where the scheme is named.
FOUND = [row for row in VALID if row["scheme"] != "ecode"]


@pytest.mark.parametrize("row", VALID, ids=lambda row: row["id"])
def test_valid_row(row):
    """An acceptable identifier gives the normalized form, prefix and suffix of its row."""
    found = parse(row["input"], row["scheme"])
    assert (found.normalized, found.prefix, found.suffix) == (
        row["normalized"],
        row["prefix"],
        row["suffix"],
    )


@pytest.mark.parametrize("row", INVALID, ids=lambda row: row["id"])
def test_invalid_row(row):
    """What is no identifier of the scheme is refused with the row's reason."""
    with pytest.raises(BadIdentifier) as refused:
        parse(row["input"], row["scheme"])
    assert refused.value.reason == row["error"]


@pytest.mark.parametrize("row", FOUND, ids=lambda row: row["id"])
def test_scheme_is_recognised(row):
    """Without a named scheme the same identifier is found."""
    assert parse(row["input"]) == parse(row["input"], row["scheme"])
