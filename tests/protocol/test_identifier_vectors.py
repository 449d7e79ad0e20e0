"""Every row of the reference set, with the scheme named and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.errors import BadIdentifier
from protocol.identifier import key_of, parse

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


@pytest.mark.parametrize("row", FOUND, ids=lambda row: row["id"])
def test_carried_name(row):
    """The name under which an identifier travels leads to its store key."""
    found = parse(row["input"])
    assert key_of(found.handle) == found.key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (b"20.1000/a", b"20.1000/A"),
        (b"0.NA/88.118", b"0.NA/88.118"),
        (b"10.1000/\xff", b"10.1000/\xff"),
        (b"88.118", b"88.118"),
        (b"https://id.gs1.org/01/06901234567892/21/a", b"/01/06901234567892/21/a"),
        (b"urn:epc:id:sgtin:6901234.056789.a", b"/01/06901234567892/21/a"),
        (b"vaa/x", b"VAA/X"),
        (b"/Example/x", b"/2/999/x"),
        (b"/Joint-ISO-ITU-T/Example/x", b"/2/999/x"),
        (b"/2/999/x", b"/2/999/x"),
        (b"urn:example:a/B", b"urn:example:a/B"),
        (b"did:cn:88.118.8", b"did:cn:88.118.8"),
        (b"ecode:100646901234567892", b"ecode:100646901234567892"),
        (b"", b""),
        (b"a:b/c", b"A:B/C"),
    ],
)
def test_key_of_a_name(name, key):
    """A handle folds, whatever octets it has; a name of another scheme has that scheme's key."""
    assert key_of(name) == key
