from __future__ import annotations

import base64

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import InvalidValue, ParseError
from protocol.handle_json import (
    format_admin_permissions,
    format_value,
    format_values,
    parse_admin_permissions,
    parse_value,
    parse_values,
)
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Reference
from protocol.values.hs_site import Interface, Server, Site, address_octets, encode_site


def shown(value: HandleValue) -> dict:
    return orjson.loads(format_value(value))


def data_of(data, type_="X") -> bytes:
    return parse_value({"index": 1, "type": type_, "data": data}).data


def test_property_order_and_defaults():
    """A plain value is written as the Handle software writes it, octet for octet."""
    value = HandleValue(2, b"EMAIL", b"x@example.org", ttl=60, timestamp=1795517628)
    assert format_value(value) == (
        b'{"index":2,"type":"EMAIL","data":{"format":"string","value":"x@example.org"},'
        b'"ttl":60,"timestamp":"2026-11-24T10:53:48Z"}'
    )


def test_optional_properties():
    """Permissions other than 1110, an absolute expiry and references are shown."""
    value = HandleValue(
        1, b"X", b"", 1795517628, 1, 0, permissions=0b1100, references=(Reference(b"a/b", 3),)
    )
    assert shown(value) == {
        "index": 1,
        "type": "X",
        "data": {"format": "string", "value": ""},
        "permissions": "1100",
        "ttl": "2026-11-24T10:53:48Z",
        "timestamp": "1970-01-01T00:00:00Z",
        "references": [{"handle": "a/b", "index": 3}],
    }


@pytest.mark.parametrize(
    ("octets", "format_", "text"),
    [
        (b"hello", "string", "hello"),
        (b"", "string", ""),
        (b"tab\tline\r\n", "string", "tab\tline\r\n"),
        ('quote " back \\ ü 泵'.encode(), "string", 'quote " back \\ ü 泵'),
        ("\u0085".encode(), "string", "\u0085"),
        (b"a\x01b", "base64", "YQFi"),
        (b"\x7f", "base64", "fw=="),
        (b"\xff\xfe", "base64", "//4="),
        (b"\x00", "base64", "AA=="),
    ],
)
def test_string_or_base64(octets, format_, text):
    """Text without control characters but tab, LF and CR is `string`; all else is base64."""
    assert shown(HandleValue(1, b"X", octets))["data"] == {"format": format_, "value": text}


def test_admin_both_ways():
    """HS_ADMIN shows its mask as binary digits, and takes an index given as a string."""
    data = {"format": "admin", "value": {"handle": "0.NA/86.999", "index": "200"}}
    data["value"]["permissions"] = "011111110011"
    octets = data_of(data)
    assert octets == b"\x07\xf3\x00\x00\x00\x0b0.NA/86.999\x00\x00\x00\xc8"
    value = shown(HandleValue(100, b"HS_ADMIN", octets))["data"]["value"]
    assert value == {"handle": "0.NA/86.999", "index": 200, "permissions": "011111110011"}
    legacy = shown(HandleValue(100, b"hs_admin", octets + b"\0\0"))["data"]
    assert legacy == {"format": "admin", "value": value}


def test_vlist_both_ways():
    """HS_VLIST is a list of references."""
    data = {
        "format": "vlist",
        "value": [{"handle": "a/b", "index": 1}, {"handle": "c", "index": 0}],
    }
    octets = data_of(data)
    assert shown(HandleValue(200, b"HS_VLIST", octets))["data"] == data


def test_broken_structure_is_shown_as_octets():
    """Data that its type does not fit is shown as plain octets."""
    value = HandleValue(1, b"HS_ADMIN", b"\x00")
    assert shown(value)["data"] == {"format": "base64", "value": "AA=="}
    assert shown(HandleValue(1, b"HS_VLIST", b"text"))["data"]["format"] == "string"


@pytest.mark.parametrize(
    ("data", "octets"),
    [
        ("bare", b"bare"),
        (42, b"42"),
        (1.5, b"1.5"),
        ({"format": "string", "value": "é"}, "é".encode()),
        (True, b"true"),
        (False, b"false"),
        ({"format": "hex", "value": "00fF"}, b"\x00\xff"),
        ({"format": "base64", "value": "aGVsbG8="}, b"hello"),
    ],
)
def test_data_in(data, octets):
    """Every way to write data gives its octets."""
    assert data_of(data) == octets


@pytest.mark.parametrize(
    ("item", "error", "named"),
    [
        ([], ParseError, "must be an object"),
        ({"type": "X", "data": "x"}, ParseError, "`index`"),
        ({"index": 1, "data": "x"}, ParseError, "`type`"),
        ({"index": 1, "type": "X"}, ParseError, "`data`"),
        ({"index": 0, "type": "X", "data": "x"}, InvalidValue, "must be positive"),
        ({"index": -1, "type": "X", "data": "x"}, InvalidValue, "must be positive"),
        ({"index": 2**31, "type": "X", "data": "x"}, InvalidValue, "must be positive"),
        ({"index": True, "type": "X", "data": "x"}, ParseError, "value.index"),
        ({"index": 1, "type": 7, "data": "x"}, ParseError, "value.type"),
        ({"index": 1, "type": "X", "data": None}, ParseError, "value.data"),
        ({"index": 1, "type": "X", "data": {"format": "no", "value": ""}}, ParseError, "'no'"),
        ({"index": 1, "type": "X", "data": {"format": []}}, ParseError, "data.format"),
        ({"index": 1, "type": "X", "data": {"format": "hex"}}, ParseError, "no `value`"),
        ({"index": 1, "type": "X", "data": {"format": "hex", "value": "0"}}, ParseError, "hexa"),
        (
            {"index": 1, "type": "X", "data": {"format": "base64", "value": "a b"}},
            ParseError,
            "base64",
        ),
        ({"index": 1, "type": "X", "data": "\ud800"}, ParseError, "surrogate"),
        ({"index": 1, "type": "X", "data": "x", "ttl": "soon"}, ParseError, "value.ttl"),
        ({"index": 1, "type": "X", "data": "x", "ttl": -1}, ParseError, "value.ttl"),
        ({"index": 1, "type": "X", "data": "x", "permissions": "111"}, ParseError, "four digits"),
        ({"index": 1, "type": "X", "data": "x", "references": 3}, ParseError, "references"),
        ({"index": 1, "type": "X", "data": {"format": "admin", "value": {}}}, ParseError, "handle"),
        ({"index": 1, "type": "X", "data": {"format": "vlist", "value": [1]}}, ParseError, "[0]"),
    ],
)
def test_refused(item, error, named):
    """A wrong value is refused with a message that names the field."""
    with pytest.raises(error) as caught:
        parse_value(item)
    assert named in str(caught.value)


def test_admin_permission_digits():
    """The digits are the mask in binary, most significant first; a higher bit adds digits."""
    assert format_admin_permissions(0x7F3) == "011111110011"
    assert format_admin_permissions(0x1001) == "1000000000001"
    assert parse_admin_permissions("110011111110") == 0xCFE
    for wrong in ("", "111", "1" * 17, "01111111001x", 7, None):
        with pytest.raises(ParseError, match="twelve digits"):
            parse_admin_permissions(wrong)


def test_bodies():
    """A list, one value and an object with `values` all give the values."""
    one = {"index": 1, "type": "X", "data": "x"}
    want = (HandleValue(1, b"X", b"x"),)
    assert parse_values([one]) == parse_values(one) == parse_values({"values": [one]}) == want
    assert parse_values([]) == ()
    for wrong in ("x", 3, None, {"values": {}}):
        with pytest.raises(ParseError):
            parse_values(wrong)


def test_absolute_ttl_comes_back():
    """An ISO time is an absolute expiry and is shown as one again."""
    value = parse_value({"index": 1, "type": "X", "data": "x", "ttl": "2026-11-24T11:53:48+01:00"})
    assert (value.ttl, value.ttl_type) == (1795517628, 1)
    assert shown(value)["ttl"] == "2026-11-24T10:53:48Z"


references = st.builds(Reference, st.text(max_size=8).map(str.encode), st.integers(0, 2**31 - 1))
values = st.builds(
    HandleValue,
    index=st.integers(1, 2**31 - 1),
    type=st.one_of(
        st.text(max_size=8).map(str.encode),
        st.sampled_from([b"HS_ADMIN", b"HS_VLIST", b"HS_SITE", b"HS_PUBKEY"]),
    ),
    data=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)),
    ttl=st.integers(0, 2**32 - 1),
    ttl_type=st.sampled_from([0, 1]),
    permissions=st.integers(0, 15),
    references=st.lists(references, max_size=2).map(tuple),
)


@given(st.lists(values, max_size=4))
@settings(max_examples=150, deadline=None)
def test_round_trip(given_values):
    """Values of any octets survive being written and read again."""
    text = format_values(given_values)
    assert list(parse_values(orjson.loads(text))) == given_values


RSA_KEY = encode_public_key(rsa.generate_private_key(65537, 2048).public_key())
SITE = Site(
    servers=(
        Server(1, address_octets("192.0.2.10"), RSA_KEY, (Interface(3, 1, 2641),)),
        Server(2, address_octets("2001:db8::1"), b"\0\0\0\1?", ()),
    ),
    attributes=((b"desc", "泵".encode()),),
    serial=3,
)


@pytest.mark.parametrize("type_", [b"HS_SITE", b"HS_SITE.6", b"HS_SITE.PREFIX", b"HS_NA_DELEGATE"])
def test_site_both_ways(type_):
    """A site record is shown as `site`, its keys as JSON Web Keys, and reads back the same."""
    data = shown(HandleValue(1, type_, encode_site(SITE)))["data"]
    assert data["format"] == "site"
    first, second = data["value"]["servers"]
    assert first["publicKey"]["value"]["kty"] == "RSA"
    assert second["publicKey"]["format"] == "base64"
    assert data_of(data) == encode_site(SITE)


def test_keys_both_ways():
    """RSA and Ed25519 keys are JSON Web Keys and read back the same."""
    ed25519 = encode_public_key(Ed25519PrivateKey.generate().public_key())
    for octets, kind in ((RSA_KEY, "RSA"), (ed25519, "OKP")):
        data = shown(HandleValue(300, b"HS_PUBKEY", octets))["data"]
        assert (data["format"], data["value"]["kty"]) == ("key", kind)
        assert data_of(data) == octets


@pytest.mark.parametrize(
    "data",
    [
        {"format": "key", "value": {"kty": "RSA", "n": "AQ"}},
        {"format": "key", "value": {"kty": "oct"}},
        {"format": "key", "value": "AQ"},
        {"format": "site", "value": {"servers": 3}},
        {"format": "site", "value": {"servers": [], "serialNumber": 70000}},
        {"format": "site", "value": None},
    ],
)
def test_broken_keys_and_sites(data):
    """A key or a site that cannot be read is refused with the name of the field."""
    with pytest.raises(ParseError, match=r"value\.data\.value"):
        data_of(data)


json_things = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["index", "type", "data", "format", "value", "values", "ttl", "handle"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_things)
@settings(max_examples=200, deadline=None)
def test_any_json_is_values_or_refused(body):
    """Any JSON parses to values or raises ParseError or InvalidValue."""
    try:
        result = parse_values(body)
    except (ParseError, InvalidValue):
        return
    assert all(isinstance(value, HandleValue) for value in result)


def test_base64_of_text_comes_back_as_string():
    """Text sent as base64 is shown as text."""
    octets = data_of({"format": "base64", "value": base64.b64encode(b"hello").decode()})
    assert shown(HandleValue(1, b"X", octets))["data"] == {"format": "string", "value": "hello"}
