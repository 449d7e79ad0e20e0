"""Digital Links, element strings and EPC URNs of the reference set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.errors import BadIdentifier
from protocol.schemes import epc
from protocol.schemes.gs1_elements import parse_bracketed
from protocol.schemes.gs1_link import from_elements, parse_uri

SET = json.loads(
    (Path(__file__).parents[1] / "vectors" / "digital-link.json").read_text(encoding="utf-8")
)
VALID_URIS = [row for row in SET["uris"] if row["valid"]]
INVALID_URIS = [row for row in SET["uris"] if row["valid"] is False]
# The rows with a short GTIN were cut from longer ones; their check digits are wrong as well.
TOLERATED = [
    row
    for row in INVALID_URIS
    if row.get("resolver_may_accept") and row["category"] != "invalid/length"
]
VALID_STRINGS = [row for row in SET["element_strings"] if row["valid"]]
INVALID_STRINGS = [row for row in SET["element_strings"] if not row["valid"]]


@pytest.mark.parametrize("row", VALID_URIS, ids=lambda row: row["uri"])
def test_valid_uri(row):
    """A valid URI gives its element string, its canonical form and its foreign parameters."""
    link = parse_uri(row["uri"])
    assert link.element_string == row["element_string"]
    assert link.canonical == row["canonical"]
    assert list(link.parameters) == row.get("other_parameters", [])


@pytest.mark.parametrize("row", INVALID_URIS, ids=lambda row: row["uri"])
def test_invalid_uri(row):
    """An invalid URI is refused."""
    with pytest.raises(BadIdentifier):
        parse_uri(row["uri"])


@pytest.mark.parametrize("row", TOLERATED, ids=lambda row: row["uri"])
def test_tolerated_uri(row):
    """A lenient reader takes a trailing slash or a word form."""
    link = parse_uri(row["uri"], lenient=True)
    assert parse_uri(link.canonical) == link


@pytest.mark.parametrize("digits", ["69012341", "614141123452", "6901234567892"])
def test_tolerated_gtin(digits):
    """A lenient reader pads a short GTIN; a strict one refuses it."""
    uri = f"https://example.org/01/{digits}"
    assert parse_uri(uri, lenient=True).key.value == digits.zfill(14)
    with pytest.raises(BadIdentifier):
        parse_uri(uri)


@pytest.mark.parametrize("row", VALID_STRINGS, ids=lambda row: row["element_string"])
def test_valid_element_string(row):
    """An element string with a key gives its canonical URI."""
    assert from_elements(parse_bracketed(row["element_string"])).canonical == row["canonical"]


@pytest.mark.parametrize("row", INVALID_STRINGS, ids=lambda row: row["element_string"])
def test_invalid_element_string(row):
    """An element string that identifies nothing is refused."""
    with pytest.raises(BadIdentifier):
        from_elements(parse_bracketed(row["element_string"]))


@pytest.mark.parametrize("row", SET["epc_urn"], ids=lambda row: row["urn"])
def test_epc_urn(row):
    """A URN gives its Digital Link, and with the prefix's length the Digital Link gives the URN."""
    found = epc.parse(row["urn"])
    assert found.extra["digital_link"] == row["digital_link"]
    assert epc.from_link(parse_uri(row["digital_link"]), len(found.prefix)) == row["urn"]
