"""Any text gives an Identifier or BadIdentifier; what is normalized stays so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocol.errors import BadIdentifier
from protocol.identifier import SCHEMES, key_of, parse
from protocol.naptr import domain_names
from protocol.schemes import epc
from protocol.schemes.base import MAX_TEXT
from protocol.schemes.gs1_ai import AIS, KEYS
from protocol.schemes.gs1_checks import SET_82, check_digit, check_pair
from protocol.schemes.gs1_elements import (
    Element,
    check_value,
    format_bracketed,
    format_raw,
    parse_bracketed,
    parse_raw,
)
from protocol.schemes.gs1_link import DigitalLink, from_elements, parse_uri

ROWS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "identifiers.json").read_text(encoding="utf-8")
)["vectors"]
INPUTS = [row["input"] for row in ROWS]

schemes = st.sampled_from([None, *SCHEMES])
PIECES = [
    "88.", "86.118", "/", "//", ":", "300:", "hdl:", "doi:", "10.", "https://",
    "hdl.handle.net/", "id.gs1.org", "/01/", "06901234567892", "(01)", "(21)", "?17=261231",
    "#", "%2F", "%", "%ZZ", "urn:oid:", "1.2.156", "{", "}", "iso(1)", " ", "\n", "\x1d",
    "]d2", "^", "MA.156.M0.100204.", "15NVAA", "0881180000000", "did:cn:", "urn:epc:id:sgtin:",
    "6901234.056789.", "*", "８", "²", "\u202e", "\u200b", "\ud800", "é", "e\u0301", "锂", ".",
    "..", "0", "99999", "urn:uuid:",
]  # fmt: skip
pieces = st.sampled_from(PIECES)
texts = st.one_of(
    st.text(),
    st.lists(pieces, max_size=9).map("".join),
    st.builds(
        lambda text, at, new: text[: at % (len(text) + 1)] + new + text[at % (len(text) + 1) :],
        st.sampled_from(INPUTS),
        st.integers(0, 300),
        st.one_of(pieces, st.text(max_size=2)),
    ),
    st.builds(
        lambda text, at: text[: at % (len(text) + 1)] + text[at % (len(text) + 1) + 1 :],
        st.sampled_from(INPUTS),
        st.integers(0, 300),
    ),
)


@settings(max_examples=200)
@given(texts, schemes)
def test_any_text(text, scheme):
    """Any text gives BadIdentifier, or an Identifier whose normalized form parses to itself."""
    try:
        found = parse(text, scheme)
    except BadIdentifier as error:
        assert error.reason
        assert str(error)
        return
    again = parse(found.normalized, found.scheme)
    assert again.normalized == found.normalized
    assert (again.prefix, again.suffix, again.key) == (found.prefix, found.suffix, found.key)
    assert found.handle.decode() == found.normalized
    domain_names(found)
    if scheme is None:
        assert parse(found.normalized).scheme == found.scheme
        assert key_of(found.handle) == found.key


@pytest.mark.parametrize("scheme", [None, *SCHEMES])
@pytest.mark.parametrize(
    "unit", ["/", "1.", "%", "(01)", "a", "{", "\x1d", "é", "e\u0301", "/01", "?", "-", "01", "\\("]
)
def test_bounded_work(scheme, unit):
    """A text at the greatest length is answered; one above it is refused unread."""
    whole = (unit * MAX_TEXT)[:MAX_TEXT]
    with pytest.raises(BadIdentifier):
        parse(whole, scheme)
    with pytest.raises(BadIdentifier):
        parse(unit * (MAX_TEXT + 1), scheme)


digits = st.text("0123456789", min_size=1)
serials = st.text(SET_82, min_size=1, max_size=20)


def company_and_reference(total):
    """A company prefix and a reference with so many digits together."""
    return st.builds(
        lambda body, size: (body[:size], body[size:]),
        st.text("0123456789", min_size=total, max_size=total),
        st.integers(6, min(12, total)),
    )


@st.composite
def urns(draw):
    """EPC URNs of every kind that has a Digital Link, as their parts."""
    name = draw(st.sampled_from(sorted(epc.KINDS)))
    kind = epc.KINDS[name]
    if kind.digits is None:
        body = draw(st.text("0123456789", min_size=6, max_size=12))
        tail = "#-/0123456789ABCXYZ" if name == "cpi" else SET_82
        company, reference = body, draw(st.text(tail, min_size=1, max_size=30 - len(body)))
    else:
        company, reference = draw(company_and_reference(kind.digits))
        assume(len(reference) >= kind.leading)
    fields = []
    for field in kind.fields:
        if field == "piece":
            fields.append("02")
        elif field == "total":
            fields.append("11")
        elif name in ("sgcn", "cpi"):
            fields.append(draw(st.integers(1, 10**12 - 1).map(str)))
        else:
            fields.append(draw(st.text(SET_82, min_size=1, max_size=16)))
    assume(not (name == "sgln" and fields == ["0"]))
    return name, kind, company, reference, fields


@settings(max_examples=200)
@given(urns())
def test_epc_round_trip(parts):
    """A URN, its Digital Link and the URN made from that are one identifier."""
    name, kind, company, reference, fields = parts
    spelled = [epc._encode(field) for field in (reference, *fields)]
    urn = f"urn:epc:{kind.form}:{name}:{company}.{'.'.join(spelled)}"
    found = parse(urn)
    assert found.normalized == urn
    link = parse_uri(found.extra["digital_link"])
    assert epc.from_link(link, len(company)) == urn
    assert parse(found.extra["digital_link"]).key == found.key


@pytest.mark.parametrize(
    ("uri", "urn"),
    [
        ("/01/09506000134352", "urn:epc:idpat:sgtin:9506000.013435.*"),
        ("/01/09506000134352/22/V", None),
        ("/01/09506000134352/10/L/21/S", "urn:epc:id:sgtin:9506000.013435.S"),
        ("/414/9506000134352", "urn:epc:id:sgln:9506000.13435.0"),
        ("/414/9506000134352/254/0", None),
        ("/253/9506000134352*", "urn:epc:id:gdti:9506000.13435.*"),
        ("/253/9506000134352", "urn:epc:idpat:gdti:9506000.13435.*"),
        ("/8013/1987654Ad4X4bL5ttr2310c2K", None),
    ],
)
def test_urn_of_a_link(uri, urn):
    """A Digital Link tells its finest level as a URN, or that it has none."""
    link = parse_uri("https://example.org" + uri)
    if urn is None:
        with pytest.raises(BadIdentifier) as refused:
            epc.from_link(link, 7)
        assert refused.value.reason == "no-urn"
    else:
        assert epc.from_link(link, 7) == urn


@settings(max_examples=200)
@given(st.text("0123456789", min_size=13, max_size=13), serials, serials, st.randoms())
def test_spellings_of_one_item(body, lot, serial, random):
    """Bracketed, raw and URI spellings in any order of elements name the same thing."""
    gtin = body + check_digit(body)
    elements = [Element("01", gtin), Element("10", lot), Element("21", serial)]
    link = DigitalLink(elements[0], tuple(elements[1:]))
    random.shuffle(elements)
    assert from_elements(parse_bracketed(format_bracketed(elements))) == link
    assert from_elements(parse_raw("]d2" + format_raw(elements))) == link
    assert parse_uri(link.canonical) == link
    assert parse(format_bracketed(elements)).normalized == link.identity


@given(st.text("0123456789", min_size=7, max_size=13))
def test_check_digit_finds_each_error(body):
    """A GTIN with one digit changed is no GTIN."""
    whole = body + check_digit(body)
    assume(len(whole) in (8, 12, 13, 14))
    at = len(body) // 2
    wrong = whole[:at] + str((int(whole[at]) + 1) % 10) + whole[at + 1 :]
    parse(whole, "gs1")
    with pytest.raises(BadIdentifier) as refused:
        parse(wrong, "gs1")
    assert refused.value.reason == "check-digit"


@given(st.text("0123456789", min_size=4, max_size=4), st.text(SET_82, max_size=19))
def test_check_pair(company, model):
    """A GMN with its check characters is accepted and with others refused."""
    body = company + model
    pair = check_pair(body)
    check_value("8013", body + pair)
    with pytest.raises(BadIdentifier):
        check_value("8013", body + ("3" if pair[0] != "3" else "4") + pair[1])


def test_gmn_of_the_general_specifications():
    """The published example 1987654Ad4X4bL5ttr2310c has the check characters 2K."""
    assert check_pair("1987654Ad4X4bL5ttr2310c") == "2K"


@pytest.mark.parametrize("ai", sorted(AIS))
def test_ai_table(ai):
    """Each AI names AIs and checks that exist, and none begins another."""
    row = AIS[ai]
    for key in row.key or ():
        assert all(qualifier in AIS for qualifier in key)
    for pattern in (*row.bars, *(part for group in row.needs for part in group)):
        assert any(len(pattern) == len(other) for other in AIS)
    assert not [other for other in AIS if other != ai and other.startswith(ai)]
    optional = [part.optional for part in row.parts]
    assert optional == sorted(optional)


def test_keys():
    """The keys are those of the Digital Link standard."""
    expected = "00 01 253 255 401 402 414 415 417 8003 8004 8006 8010 8013 8017 8018"
    assert sorted(KEYS) == expected.split()
