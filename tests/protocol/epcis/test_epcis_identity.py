"""protocol.epcis.identity: one spelling for one object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis.identity import canonical_id, gs1_id, level_of, parents_of
from protocol.errors import BadIdentifier
from protocol.schemes.epc import parse as parse_urn
from protocol.schemes.gs1_link import CANONICAL, parse_uri

ROWS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "digital-link.json").read_text(encoding="utf-8")
)

SPELLINGS = [
    ("urn:epc:id:sgtin:4012345.011122.25", "/01/04012345111224/21/25", "item"),
    ("urn:epc:id:sgtin:4012345.011122.a%2Fb", "/01/04012345111224/21/a%2Fb", "item"),
    ("urn:epc:class:lgtin:4012345.011122.L1", "/01/04012345111224/10/L1", "lot"),
    ("urn:epc:idpat:sgtin:4012345.011122.*", "/01/04012345111224", "class"),
    ("urn:epc:id:sscc:4012345.1111111112", "/00/140123451111111124", "item"),
    ("urn:epc:id:sgln:4012345.00005.0", "/414/4012345000054", "other"),
    ("urn:epc:id:sgln:4012345.00005.X", "/414/4012345000054/254/X", "item"),
    ("urn:epc:id:pgln:999999999999.", "/417/9999999999994", "other"),
    ("urn:epc:id:grai:4012345.55555.987", "/8003/04012345555554987", "item"),
    ("urn:epc:idpat:grai:4012345.55555.*", "/8003/04012345555554", "class"),
    ("urn:epc:id:giai:4000001.111", "/8004/4000001111", "item"),
    ("urn:epc:id:gdti:0614141.00002.18034", "/253/061414100002918034", "item"),
    ("urn:epc:id:cpi:0614141.5PQ7%2FZ43.12345", "/8010/06141415PQ7%2FZ43/8011/12345", "item"),
    ("urn:epc:id:itip:4012345.012345.01.02.987", "/8006/040123451234560102/21/987", "item"),
    ("urn:epc:id:upui:1234567.089456.51qIgY", "/01/01234567894560/235/51qIgY", "item"),
    ("https://shop.example/a/01/9521234543213?x=1#f", "/01/09521234543213", "class"),
    ("http://x/01/09521234543213/22/V/10/L/21/S%2f1", "/01/09521234543213/21/S%2F1", "item"),
    ("https://x.example/01/09521234543213/10/L(1)", "/01/09521234543213/10/L%281%29", "lot"),
    ("https://x.example/gtin/09521234543213/lot/L", "/01/09521234543213/10/L", "lot"),
    ("https://x.example/414/9521321000018/254/1", "/414/9521321000018/254/1", "item"),
]


@pytest.mark.parametrize(("text", "path", "level"), SPELLINGS)
def test_every_spelling_has_one_canonical_form(text: str, path: str, level: str) -> None:
    """URNs and links of any host become the constrained canonical link of a known level."""
    assert canonical_id(text) == CANONICAL + path
    assert level_of(text) == level
    assert canonical_id(CANONICAL + path) == CANONICAL + path


@pytest.mark.parametrize(
    "text",
    [
        "88.118.8/JXDY2106023",
        "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8",
        "https://example.com/products/1234",
        "https://x.example/01/0952123454321",
        "https://x.example/01/09521234543213/21/",
        "https://x.example/01/09521234543213/21/%ff",
        "https://x.example/01/09521234543213/254/1",
        "urn:epc:id:sgtin:4012345.11122.25",
        "urn:epc:id:unknown:4012345.11122.25",
        "urn:epc:idpat:sgtin:4012345.*.*",
        "did:web:example.com",
        "",
    ],
)
def test_other_texts_stand_for_themselves(text: str) -> None:
    """A text that is no GS1 identifier in events comes back as it is."""
    if text != "https://x.example/01/0952123454321":
        assert canonical_id(text) == text
        assert level_of(text) == "other"
        assert parents_of(text) == ()


@pytest.mark.parametrize(
    ("text", "parents"),
    [
        ("https://a/01/09521234543213/22/V/10/L/21/S", ["/10/L", "/22/V", ""]),
        ("https://a/01/09521234543213/21/S", [""]),
        ("https://a/01/09521234543213/10/L", [""]),
        ("https://a/01/09521234543213", []),
    ],
)
def test_parents_are_finest_first(text: str, parents: list[str]) -> None:
    """A link names the lot, the variant and the class above it."""
    stem = CANONICAL + "/01/09521234543213"
    assert parents_of(text) == tuple(stem + parent for parent in parents)


@pytest.mark.parametrize(
    ("text", "handle"),
    [
        ("hdl:88.118.8/JXDY1", "88.118.8/JXDY1"),
        ("HDL:88.118.8/a%2Fb%20c", "88.118.8/a/b c"),
        ("info:hdl/20.500.12345/x", "20.500.12345/x"),
        ("https://hdl.handle.net/10.1000/182", "10.1000/182"),
        ("hdl:hdl:88.1/x", "hdl:hdl:88.1/x"),
        ("hdl:88.118.8/%ff", "hdl:88.118.8/%ff"),
        ("hdl:88.118.8", "hdl:88.118.8"),
    ],
)
def test_a_handle_in_an_event_is_the_handle(text: str, handle: str) -> None:
    """As an object it is the handle, however it is written; in a hash it stays as written."""
    assert canonical_id(text) == handle
    assert canonical_id(handle) == handle
    assert gs1_id(text) == text


def test_the_class_of_a_serial_within_a_key() -> None:
    """A GRAI with a serial stands below the GRAI without, a location's part below the location."""
    assert parents_of("urn:epc:id:grai:4012345.55555.987") == (CANONICAL + "/8003/04012345555554",)
    assert parents_of("https://x/414/9521321000018/254/7") == (CANONICAL + "/414/9521321000018",)


def _urns() -> list[tuple[str, str]]:
    found = []
    for row in (
        ROWS
        if isinstance(ROWS, list)
        else [r for part in ROWS.values() if isinstance(part, list) for r in part]
    ):
        for value in row.values() if isinstance(row, dict) else ():
            if isinstance(value, str) and value.startswith("urn:epc:"):
                try:
                    link = parse_urn(value).extra.get("digital_link")
                except BadIdentifier:
                    continue
                if isinstance(link, str):
                    found.append((value, link))
    return found


def test_agrees_with_the_strict_parser_on_every_urn_of_the_vectors() -> None:
    """Every EPC URN that the strict parser reads has the same link here."""
    rows = _urns()
    assert len(rows) > 10
    for urn, link in rows:
        assert canonical_id(urn) == link


SERIALS = st.text(alphabet="!\"%&'()*+,-./0123456789:;<=>?ABCXYZ_abcxyz", min_size=1, max_size=20)


@settings(max_examples=200)
@given(SERIALS, st.sampled_from(["https://id.gs1.org", "http://a.example/s", "https://b:8/x/y"]))
def test_links_of_any_host_agree_with_the_strict_parser(serial: str, base: str) -> None:
    """The strict parser and this one give the same link for a GTIN with any serial."""
    from urllib.parse import quote

    uri = f"{base}/01/09521234543213/21/{quote(serial, safe='')}"
    assert canonical_id(uri) == parse_uri(uri).identity


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.text(max_size=40).map("urn:epc:id:sgtin:4012345.".__add__)
    | st.text(max_size=40).map("https://x/01/09521234543213/".__add__)
)
def test_never_raises_and_is_idempotent(text: str) -> None:
    """Any text has a canonical form, whose canonical form is itself."""
    once = canonical_id(text)
    assert canonical_id(once) == once
    assert level_of(text) in ("item", "lot", "class", "other")
    assert all(canonical_id(parent) == parent or "/22/" in parent for parent in parents_of(text))
