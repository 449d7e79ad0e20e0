"""Any segment expands to a valid link or BadIdentifier; what was compressed expands to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import BadIdentifier
from protocol.schemes.bits import ALPHABET
from protocol.schemes.gs1_ai import AIS
from protocol.schemes.gs1_checks import SET_82, check_digit
from protocol.schemes.gs1_compress import (
    SEQUENCES,
    compress,
    compress_elements,
    expand,
    expand_segment,
    is_partly_compressed,
)
from protocol.schemes.gs1_elements import Element, check_value
from protocol.schemes.gs1_link import CANONICAL, DigitalLink, parse_uri

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


@pytest.mark.parametrize(
    ("segment", "path"),
    [
        # EPCB 1.0.0 §4.2.1 and §4.2.2: one tag in both alphabets.
        ("eh30164596f40c0e5cbe991a83", "/01/09528765123457/21/123456789123"),
        ("exMBZFlvQMDly-mRqD", "/01/09528765123457/21/123456789123"),
        # TDS 2.3 annex E.3: one of each way to write a field.
        ("eh3666c4409047e159b2c2bf" + "1" + "0" * 28, "/01/09506000134352/21/32a%2Fb"),
        ("eh311ba1b300ce0a6a83000000", "/00/095201234567891235"),
        ("eh3276451fd46072000000162e", "/414/9521141123454/254/5678"),
        ("eh3376451fd40c0e400000162e", "/8003/095211411234545678"),
        ("eh3476451fd40000000000162e", "/8004/95211415678"),
        ("eh2d76451fd4499602d2000000", "/8018/952114112345678906"),
        ("eh3e76451fd7039b061438997367d0c18b266d1ab66ee0", "/253/9521141987650ABCDefgh012345678"),
        ("eh3c76451fd400c0e680003039", "/8010/952114198765/8011/12345"),
        ("eh3d76451fd75411def6b4cc00000003039000", "/8010/95211415PQ7%2FZ43/8011/12345"),
        ("eh3f76451fd612640000019907", "/255/952114167890904711"),
        ("eh4076451fd40c0e40820000000f54", "/8006/095211411234540102/21/981"),
        ("ehf73795211411234538566cb0afc4", "/01/79521141123453/21/32a%2Fb"),
        ("ehfb342cde795211411234538566cb0afc4", "/01/79521141123453/21/32a%2Fb?17=220630"),
        ("ehf0395211415e87a145bafb4d19a8c0e4", "/8010/95211415PQ7%2FZ43/8011/12345"),
        ("ehf839521141678909509338", "/255/952114167890904711"),
        ("ehfa3952114132e83c2bf10", "/8004/952114132a%2Fb"),
        ("ehea395211411234540458ba4a0cbe30ede1b32db0", "/253/95211411234545678"),
        # An extension of 0 is none.
        ("eh3276451fd460720000000000", "/414/9521141123454"),
    ],
)
def test_epc_binary_strings(segment, path):
    """What an RFID tag sends in an address is the Digital Link of its EPC."""
    link = expand(f"https://example.org/shop/{segment}?x=1")
    assert link.canonical == CANONICAL + path
    assert (link.base, link.parameters) == ("https://example.org/shop", ("x=1",))


def test_more_behind_an_epc():
    """AIs behind the EPC count: a lot qualifies, a date is an attribute; zeros fill up."""
    gtin, serial = f"{0x09506000134352:056b}", f"{3:03b}{2:05b}{18:06b}{53:06b}"
    lot = "00010000" + f"{0:03b}{5:05b}{123:017b}"
    date = "00010111" + f"{26:07b}{12:04b}{31:05b}"
    bits = "11110111" + "1011" + gtin + serial + lot + date
    bits += "0" * (-len(bits) % 16)
    segment = f"eh{int(bits, 2):0{len(bits) // 4}x}"
    wanted = "/01/09506000134352/10/00123/21/S1?17=261231"
    assert expand(f"https://example.org/{segment}").canonical == CANONICAL + wanted


@pytest.mark.parametrize(
    "segment",
    [
        "eh30164596f40c0e5cbe991a",  # cut short
        "eh30164596f40c0e5cbe991a830001",  # more behind it
        "eh301e4596f40c0e5cbe991a83",  # partition 7
        "eh3500e86f8000a9e000000586",  # a GID has no Digital Link
        "ehe2" + "0" * 22,  # no EPC header
        "EH30164596f40c0e5cbe991a83",
        "ehf7379521141123453cffffff",  # an encoding that is none
    ],
)
def test_no_epc_binary_string(segment):
    """What holds no EPC of a GS1 key is refused."""
    with pytest.raises(BadIdentifier):
        expand(f"https://example.org/{segment}")


@given(st.from_regex(r"\A(?:eh[0-9a-f]{4,60}|ex[A-Za-z0-9_-]{4,40})\Z"))
def test_any_epc_segment(segment):
    """Any segment of that shape is a link that can be written and read, or is refused."""
    try:
        link = expand(f"https://example.org/{segment}")
    except BadIdentifier:
        return
    assert parse_uri(link.canonical) == link
