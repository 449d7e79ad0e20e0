"""protocol.epcis.jcs: exact numbers in, one spelling out."""

from __future__ import annotations

import json
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis import jcs
from protocol.epcis.jcs import canonical, loads
from protocol.errors import InvalidValue, ParseError

TEXTS = st.text(max_size=12).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t))
NUMBERS = (
    st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-10_000, max_value=10_000
    )
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(VALUES)
def test_the_quick_way_is_equal_to_the_slow_one(value: object) -> None:
    """Whatever way canonical takes, the octets are those of the slow one."""
    assert canonical(value) == jcs._slow(value)


@settings(max_examples=200)
@given(VALUES)
def test_canonical_is_a_fixed_point(value: object) -> None:
    """Reading canonical JSON and writing it again changes nothing."""
    octets = canonical(value)
    assert canonical(loads(octets)) == octets


@pytest.mark.parametrize(
    ("double", "text"),
    [
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44B52D02C7E14AF5, "9.999999999999997e+22"),
        (0x44B52D02C7E14AF6, "1e+23"),
        (0x444B1AE4D6E2EF4F, "999999999999999900000"),
        (0x444B1AE4D6E2EF50, "1e+21"),
        (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"),
        (0x3EB0C6F7A0B5ED8D, "0.000001"),
        (0x41B3DE4355555553, "333333333.3333332"),
        (0x41B3DE4355555557, "333333333.33333343"),
        (0xBECBF647612F3696, "-0.0000033333333333333333"),
        (0x43143FF3C1CB0959, "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_rfc_8785_shows(double: int, text: str) -> None:
    """The number samples of RFC 8785, appendix B."""
    (number,) = struct.unpack(">d", struct.pack(">Q", double))
    assert canonical([number]) == f"[{text}]".encode()


def test_the_example_of_rfc_8785() -> None:
    """The example of RFC 8785 §3.2.2 and its sorting of names by UTF-16."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        b'{"literals":[null,true,false],'
        b'"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(canonical(names)).values()) == [2, 4, 6, 7, 1, 5, 3]


def test_decimals_keep_their_value_or_are_refused() -> None:
    """A decimal becomes the double with the same digits; one that has none is refused."""
    assert canonical({"q": Decimal("0.3400")}) == b'{"q":0.34}'
    assert canonical({"q": Decimal("5.0")}) == b'{"q":5}'
    with pytest.raises(InvalidValue, match="more digits"):
        canonical({"q": Decimal("0.12345678901234567890")})
    with pytest.raises(InvalidValue, match="more digits"):
        canonical({"q": 2**53 + 1})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [float("inf")],
        {1: 2},
        {"a": object()},
        ["\ud800"],
        {"\ud800": 1},
        {"a": Decimal("NaN")},
    ],
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    """NaN, names that are no text, half surrogate pairs and other types raise InvalidValue."""
    with pytest.raises(InvalidValue):
        canonical(value)


def test_loads_keeps_numbers_exact() -> None:
    """Numbers with a fraction or exponent are Decimal with the digits as written."""
    found = loads(b'{"a":0.3400,"b":12345678901234567890123,"c":1e2}')
    assert str(found["a"]) == "0.3400"
    assert found["b"] == 12345678901234567890123
    assert found["c"] == Decimal(100)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b"1e999999",
        b"1e-999999",
        b"9" * 100,
        b"0." + b"1" * 100,
        b"NaN",
        b"[" * 100 + b"]" * 100,
        b"\xff",
        b"{",
        b"",
    ],
)
def test_loads_refuses(text: bytes) -> None:
    """Duplicate names, numbers out of bounds, deep nesting and other text raise ParseError."""
    with pytest.raises(ParseError):
        loads(text)


@settings(max_examples=200)
@given(
    st.binary(max_size=80)
    | st.text(alphabet='{}[]":,0123456789.eE-truefalsn \\u', max_size=40).map(str.encode)
)
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    """Any octets give a value or ParseError, and a value has a canonical form or is refused."""
    try:
        value = loads(data)
    except ParseError:
        return
    try:
        canonical(value)
    except InvalidValue:
        return
