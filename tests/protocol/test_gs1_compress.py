"""Any segment expands to a valid link or BadIdentifier; what was compressed expands to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import BadIdentifier
from protocol.schemes.gs1_ai import AIS
from protocol.schemes.gs1_checks import SET_82, check_digit
from protocol.schemes.gs1_compress import (
    ALPHABET,
    SEQUENCES,
    compress,
    compress_elements,
    expand,
    expand_segment,
    is_partly_compressed,
)
from protocol.schemes.gs1_elements import Element, check_value
from protocol.schemes.gs1_link import DigitalLink, parse_uri

ROWS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "digital-link.json").read_text(encoding="utf-8")
)["compression"]


def same(one, other):
    """Whether two links say the same, the order of attributes aside."""
    return (one.key, one.qualifiers, sorted(one.attributes), one.parameters) == (
        other.key,
        other.qualifiers,
        sorted(other.attributes),
        other.parameters,
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["uri"])
def test_row(row):
    """Both compressed forms are those of the reference set, and both give the link back."""
    link = parse_uri(row["uri"])
    assert compress(link, sequences=False) == row["compressed"]
    assert compress(link) == row["compressed_optimised"]
    assert same(expand(row["compressed"]), link)
    assert same(expand(row["compressed_optimised"]), link)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["uri"])
def test_row_partly(row):
    """With the key in clear each link comes back too, below a stem, and with a slash behind it."""
    link = parse_uri(row["uri"])
    short = compress(link, "https://example.org/a/b", partly=True)
    assert short.startswith("https://example.org/a/b" + DigitalLink(link.key).path)
    if link.qualifiers or link.attributes or link.parameters:
        assert same(expand(short), link)
        assert same(expand(short + "/"), link)
    else:
        assert parse_uri(short) == link


def value_of(ai):
    """Values of an AI, most of them acceptable: the checks of dates and lists decide."""
    characters = {"N": "0123456789", "X": SET_82, "Y": "ABC012#-/", "Z": "AZaz09-_"}
    parts = []
    for part in AIS[ai].parts:
        text = st.text(characters[part.kind], min_size=part.least, max_size=part.most)
        if "check" in part.checks:
            text = text.map(lambda digits: digits[:-1] + check_digit(digits[:-1]))
        parts.append(text)
        if part.optional:
            break
    return st.tuples(*parts).map("".join)


@settings(max_examples=200)
@given(st.data())
def test_each_ai(data):
    """The value of any AI comes back, its leading zeros too."""
    ai = data.draw(st.sampled_from(sorted(AIS)))
    element = Element(ai, data.draw(value_of(ai)))
    try:
        check_value(*element)
    except BadIdentifier:
        return
    assert expand_segment(compress_elements([element])) == ((element,), ())


values = st.text(SET_82, min_size=1, max_size=20)
parameters = st.tuples(
    st.text(ALPHABET, min_size=1, max_size=20).filter(lambda name: not name.isdigit()),
    st.text("abcXYZ019-._~:/?@!$'()*+,;=%", max_size=30),
).map("=".join)


@settings(max_examples=200)
@given(
    st.text("0123456789", min_size=13, max_size=13),
    st.sets(st.sampled_from(["22", "10", "21", "17", "3103", "240", "99"])),
    st.lists(parameters, max_size=3),
    st.data(),
)
def test_round_trip(body, ais, foreign, data):
    """A link with any qualifiers, attributes and foreign members survives both forms."""
    fixed = {"17": "261231", "3103": "000750"}
    chosen = {ai: fixed.get(ai) or data.draw(values) for ai in sorted(ais)}
    link = DigitalLink(
        Element("01", body + check_digit(body)),
        tuple(Element(ai, chosen[ai]) for ai in ("22", "10", "21") if ai in chosen),
        tuple(Element(ai, chosen[ai]) for ai in ("17", "3103", "240", "99") if ai in chosen),
        tuple(foreign),
    )
    for sequences in (False, True):
        assert same(expand(compress(link, sequences=sequences)), link)
        partly = compress(link, "https://example.org/01/shop", sequences=sequences, partly=True)
        assert partly.startswith(f"https://example.org/01/shop/01/{link.key.value}")
        if partly != link.uri("https://example.org/01/shop"):
            assert same(expand(partly), link)
            assert expand(partly).base == "https://example.org/01/shop"
    assert len(compress(link)) <= len(compress(link, sequences=False))


@settings(max_examples=200)
@given(st.text(ALPHABET, max_size=60))
def test_any_segment(segment):
    """Any segment gives BadIdentifier or a link that compresses again to the same link."""
    try:
        link = expand("https://example.org/" + segment)
    except BadIdentifier:
        return
    assert same(parse_uri(link.canonical), DigitalLink(link.key, link.qualifiers, link.attributes))


@pytest.mark.parametrize(
    "segment",
    ["", "A", "AR", "ARFKk4XB0", "_____", "sAAA", "a.b", "é", "ARFKk4XB0CDKWcnpq_", "9_AA"],
)
def test_no_segment(segment):
    """What ends inside a value, has other characters or names no AI is refused."""
    with pytest.raises(BadIdentifier):
        expand("https://example.org/" + segment)


@pytest.mark.parametrize("member", ["a=b\r\nX: y", "a=b&01=2", "a=b#c", "17=261231", "a=b c"])
def test_member_that_is_none(member):
    """A foreign member that could not stand in a URI as it is gets refused when expanded."""
    segment = compress_elements([Element("01", "09506000134352")], [member])
    with pytest.raises(BadIdentifier):
        expand_segment(segment)


def test_second_key():
    """A link with a second key is refused, for its order would not come back."""
    link = parse_uri("https://example.org/8004/9521234V9cFnd?01=09510220137376")
    with pytest.raises(BadIdentifier):
        compress(link)


def test_sequences_name_known_ais():
    """Each predefined sequence holds AIs of the table."""
    assert all(ai in AIS for sequence in SEQUENCES.values() for ai in sequence)


CLEAR = "https://example.org/shop/01/09506000134352"


@pytest.mark.parametrize(
    ("segment", "element_string"),
    [
        # 10, six upper-case hexadecimal digits: 0001 0000 010 00110 and 24 bits.
        ("EEarwSM", "(01)09506000134352(10)ABC123"),
        # 21, a decimal of eleven digits: 0010 0001 000 01011 and 37 bits.
        ("IQuGp9FdO", "(01)09506000134352(21)72292641703"),
        ("EEarwSM?17=261231", "(01)09506000134352(10)ABC123(17)261231"),
        ("EEarwSM/?x=y#part", "(01)09506000134352(10)ABC123"),
    ],
)
def test_key_in_clear(segment, element_string):
    """Key and value stand in the path as ever; the segment holds the rest; the query counts."""
    link = expand(f"{CLEAR}/{segment}")
    assert link.element_string == element_string
    assert link.base == "https://example.org/shop"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://example.org/01/09506000134353/EEarwSM", "check-digit"),
        ("https://example.org/01/9506000134352/EEarwSM", "length"),
        ("https://example.org/gtin/09506000134352/EEarwSM", "key-missing"),
        ("https://example.org/10/A1/EEarwSM", "key-missing"),
        (CLEAR + "/A", "compressed"),  # nothing in it
        (CLEAR + "/10", "compressed"),  # a qualifier without a value
        (CLEAR + "/EEarwSN", "compressed"),  # padding
        (CLEAR + "/10/B2/EEarwSM", "key-missing"),
        (CLEAR + "/EEarwSM?10=ABC123", "attribute"),
        (CLEAR + "/EEarwSM?17=261331", "date"),
        (CLEAR + "/EEarwSM?999=1", "unknown-ai"),
        (CLEAR + "/DBFKk4XBoALg", "duplicate-ai"),  # the key again
        (CLEAR, "compressed"),
        (CLEAR + "/21/DBFKk4XBoALg", "compressed"),  # a serial that looks compressed
        ("https://example.org/DBFKk4XBoALg?17=999999", "date"),
        ("https://example.org/DBFKk4XBoALg?21=8", "attribute"),
        ("https://example.org/DBFKk4XBoALg?01=09506000134352", "duplicate-ai"),
        ("https://user@example.org/DBFKk4XBoALg", "structure"),
    ],
)
def test_refused(uri, reason):
    """What a segment and its surroundings say together must be one link, and a compressed one."""
    with pytest.raises(BadIdentifier) as refused:
        expand(uri)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "path", ["/01/09506000134352/10/00/21/EEarwSM", "/01/09506000134352/10/01/21/0"]
)
def test_values_that_look_like_keys(path):
    """A lot called 00 or 01 is no key in clear."""
    assert not is_partly_compressed(path)
    assert parse_uri("https://example.org" + path).path == path


def test_lenient_key_in_clear():
    """A lenient reader takes word forms and short GTINs for the key in clear."""
    link = expand("https://example.org/gtin/9506000134352/EEarwSM", lenient=True)
    assert link.element_string == "(01)09506000134352(10)ABC123"


def test_second_key_beside_a_key_in_clear():
    """Where the key stands in clear, a second one among the attributes is no matter."""
    link = parse_uri("https://example.org/8004/9521234V9cFnd?01=09510220137376")
    assert same(expand(compress(link, partly=True)), link)


@pytest.mark.parametrize("stem", ["/01", "/gtin", "/01/09506000134352", "/00/x/y"])
def test_base_like_a_key(stem):
    """A base that holds what looks like a key is refused: it would be read as one."""
    with pytest.raises(BadIdentifier):
        compress(parse_uri("https://example.org/01/09506000134352/21/7"), "https://a.b" + stem)


def test_base_is_kept():
    """Host and stem of a link stay before the compressed segment and after expanding it."""
    uri = "https://example.org/shop/01/09506000134376/10/LOT01?17=261231&x=y"
    short = compress(parse_uri(uri))
    assert short.startswith("https://example.org/shop/")
    found = expand(short)
    assert found.uri(found.base, parameters=True) == uri
