"""Digital Links, element strings and EPC URNs of the reference set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.errors import BadIdentifier
from protocol.schemes import epc
from protocol.schemes.gs1_elements import parse_bracketed
from protocol.schemes.gs1_link import DigitalLink, from_elements, parse_uri

SET = json.loads(
    (Path(__file__).parents[1] / "vectors" / "digital-link.json").read_text(encoding="utf-8")
)
VALID_URIS = [row for row in SET["uris"] if row["valid"]]
INVALID_URIS = [row for row in SET["uris"] if row["valid"] is False]
DISPUTED = [row for row in SET["uris"] if row["valid"] is None]
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


@pytest.mark.parametrize("row", DISPUTED, ids=lambda row: row["uri"])
def test_disputed_uri(row):
    """8006 with 22 is read as the standard lists it; the page on Digital Links says why."""
    link = parse_uri(row["uri"])
    assert (link.key.ai, link.qualifiers[0].ai) == ("8006", "22")
    assert link.canonical.endswith(link.path)


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


GTIN = "https://id.gs1.org/01/09506000134352"


@pytest.mark.parametrize(
    ("uri", "element_string"),
    [
        ("https://[2001:db8::7]:8443/01/09506000134352", "(01)09506000134352"),
        ("HTTPS://EXAMPLE.ORG/01/09506000134352", "(01)09506000134352"),
        ("https://example.org//01/09506000134352", "(01)09506000134352"),
        ("https://example.org/01/%309506000134352", "(01)09506000134352"),
        (GTIN + "/21/a%2fb", "(01)09506000134352(21)a/b"),
        (GTIN + "/21/a%252Fb", "(01)09506000134352(21)a%2Fb"),
        (GTIN + "/21/a+b", "(01)09506000134352(21)a+b"),
        (GTIN + "/21/..", "(01)09506000134352(21).."),
        (GTIN + "?99=a%2Bb", "(01)09506000134352(99)a+b"),
        (GTIN + "?17=261200&&linkType=x&exp=1#f?17=9", "(01)09506000134352(17)261200"),
        (GTIN + "/10/a#/21/b", "(01)09506000134352(10)a"),
        (GTIN + "/00/106141412345678908", "(00)106141412345678908"),
        (GTIN + "?99&17", "(01)09506000134352"),
        (
            "https://example.org/8018/952114112345678906?7256=a%25E6",
            "(8018)952114112345678906(7256)a%E6",
        ),
    ],
)
def test_odd_but_valid(uri, element_string):
    """Odd spellings that the syntax allows."""
    link = parse_uri(uri)
    assert link.element_string == element_string
    assert parse_uri(link.canonical) == DigitalLink(link.key, link.qualifiers, link.attributes)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://user@example.org/01/09506000134352", "structure"),
        ("https://@example.org/01/09506000134352", "structure"),
        ("https://[1:2]/01/09506000134352", "structure"),
        ("https://[::1/01/09506000134352", "structure"),
        ("https://example.org:x/01/09506000134352", "structure"),
        ("https:///01/09506000134352", "structure"),
        ("Https://example.org/01/09506000134352", "structure"),
        ("//example.org/01/09506000134352", "structure"),
        ("https://b\u00fccher.example/01/09506000134352", "charset"),
        ("https://example.org", "key-missing"),
        ("https://example.org?01=09506000134352", "key-missing"),
        ("https://example.org/%30%31/09506000134352", "key-missing"),
        (GTIN + "\n", "charset"),
        (GTIN + "/21/%", "bad-percent-encoding"),
        (GTIN + "/21/%FF", "bad-percent-encoding"),
        (GTIN + "/21/%0A", "charset"),
        (GTIN + "/21/%C3%A9", "charset"),
        (GTIN + "/21/a~b", "charset"),
        (GTIN + "/10/a/10/a", "qualifier-order"),
        (GTIN + "/21/a/10/b", "qualifier-order"),
        (GTIN + "/lot/a", "key-missing"),
        (GTIN + "?17=261231&17=261231", "duplicate-ai"),
        (GTIN + "?01=09506000134352", "duplicate-ai"),
        (GTIN + "?99=a+b", "charset"),
        (GTIN + "?17=261231;99=a", "length"),
        (GTIN + "?3106=000750", "unknown-ai"),
        (GTIN + "?1=x", "unknown-ai"),
        (GTIN + "?37=5", "pairing"),
        (GTIN + "?=x", "unknown-ai"),
        ("https://example.org/253/9506000134352?8030=ab", "pairing"),
        ("https://my_host/01/09506000134352", "charset"),
        ("https://example.org/415/9521234543213", "pairing"),
        ("https://example.org/8010/9521%23A/8011/01", "content"),
    ],
)
def test_odd_and_invalid(uri, reason):
    """Odd spellings that the syntax refuses, and the reason that is given."""
    with pytest.raises(BadIdentifier) as refused:
        parse_uri(uri)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "(01)09506000134352(21)a(21)b",
        "(21)a(01)09506000134352(21)b",
        "(01)09506000134352(01)09506000134369",
        "(01)09506000134352(17)261231(17)261230",
    ],
)
def test_element_twice(text):
    """No value is dropped silently where an AI stands twice with different ones."""
    with pytest.raises(BadIdentifier) as refused:
        from_elements(parse_bracketed(text))
    assert refused.value.reason == "duplicate-ai"
