"""Value types: data round-trips, broken data is refused, XML is kept harmless."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError
from protocol.record import Reference
from protocol.values import VALUE_TYPES, value_type
from protocol.values.hs_admin import Admin, Permission, decode_admin, encode_admin, permission_names
from protocol.values.hs_namespace import Namespace, decode_namespace, encode_namespace
from protocol.values.hs_site import (
    Interface,
    Server,
    Site,
    address_octets,
    address_text,
    site_type,
)
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from protocol.values.loc import Caller, Location, Locations, choose, decode_loc, encode_loc
from protocol.values.site_json import site_from_json, site_to_json
from protocol.xmltree import MAX_DEPTH, parse_xml

U4 = st.integers(0, 0xFFFFFFFF)
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><namespace>&b;</namespace>'
EXTERNAL = b'<!DOCTYPE x SYSTEM "http://example.org/x.dtd"><locations/>'


@given(st.integers(0, 0xFFFF), st.binary(max_size=30), U4, st.booleans())
def test_administrators_round_trip(mask: int, handle: bytes, index: int, legacy: bool) -> None:
    """Every mask, unknown bits too, survives."""
    admin = Admin(mask, handle, index, legacy)
    assert decode_admin(encode_admin(admin)) == admin


def test_administrator_rights_by_name() -> None:
    """A right is granted only when all its bits are."""
    admin = Admin(Permission.ADD_VALUE | Permission.READ_VALUE, b"0.NA/1", 300)
    assert admin.allows(Permission.ADD_VALUE)
    assert not admin.allows(Permission.ADD_VALUE | Permission.ADD_ADMIN)
    assert permission_names(admin.permissions) == ["add_value", "read_value"]


@given(st.lists(st.builds(Reference, handle=st.binary(max_size=20), index=U4), max_size=4))
def test_value_lists_round_trip(references: list[Reference]) -> None:
    """A list of references survives."""
    assert decode_vlist(encode_vlist(references)) == tuple(references)


@pytest.mark.parametrize("name", sorted(VALUE_TYPES), ids=lambda name: name.decode())
def test_any_bytes_make_data_or_a_parse_error(name: bytes) -> None:
    """Decoding data of a known type never fails otherwise than with ParseError."""

    @settings(max_examples=80)
    @given(st.binary(max_size=60) | st.text("<>/& locations=\"'a", max_size=40).map(str.encode))
    def check(data: bytes) -> None:
        try:
            VALUE_TYPES[name].decode(data)
        except ParseError:
            return

    check()


def test_types_are_found_whatever_their_case() -> None:
    """`10320/loc` and `HS_site` are known, `URL` keeps its bytes."""
    assert value_type(b"10320/loc") is VALUE_TYPES[b"10320/LOC"]
    assert value_type(b"HS_site") is VALUE_TYPES[b"HS_SITE"]
    assert value_type(b"URL") is None


@pytest.mark.parametrize("data", [BOMB, EXTERNAL, b"<a>" * (MAX_DEPTH + 1), b"<a>" + b" " * 70_000])
def test_dangerous_xml_is_refused(data: bytes) -> None:
    """Document types, entities, depth and size are bounded."""
    with pytest.raises(ParseError):
        parse_xml(data)


def test_a_namespace_round_trips() -> None:
    """What is written is read back; active is the default."""
    namespace = Namespace("ops@example.org", "inactive", "moved & gone", ("1/locs",), False)
    assert decode_namespace(encode_namespace(namespace)) == namespace
    assert decode_namespace(b"<namespace/>").active
    with pytest.raises(ParseError):
        decode_namespace(b"<other/>")


def test_a_namespace_keeps_its_template() -> None:
    """The template stays a tree with its delimiter."""
    text = b'<namespace><template delimiter="@"><value data="${x}"/></template></namespace>'
    templates = decode_namespace(text).templates
    assert [template.attribute("delimiter") for template in templates] == ["@"]
    assert decode_namespace(encode_namespace(decode_namespace(text))).templates == templates


def locations(*rows: dict[str, str], order: tuple[str, ...] | None = None) -> Locations:
    found = tuple(
        Location(tuple({"href": f"u:{at}", **row}.items())) for at, row in enumerate(rows)
    )
    return Locations(found, order) if order else Locations(found)


@pytest.mark.parametrize(
    ("rows", "caller", "href"),
    [
        ([{"id": "0"}, {"id": "1"}], Caller(0.0, locatt=("id", "1")), "u:1"),
        ([{"id": "0"}, {"id": "1"}], Caller(0.9, locatt=("id", "9")), "u:1"),
        ([{}, {"country": "DE"}], Caller(0.0, country="de"), "u:1"),
        ([{}, {"country": "de"}], Caller(0.9, country="fr"), "u:0"),
        ([{"score": "1"}, {"score": "3"}], Caller(0.0), "u:1"),
        ([{"weight": "0"}, {"weight": "1"}], Caller(0.0), "u:1"),
        ([{"weight": "0"}, {"weight": "0"}], Caller(0.6), "u:1"),
        ([{}, {"addresses": "10.0.0.0/8, 2001:db8::/32"}], Caller(0, address="10.1.2.3"), "u:1"),
        ([{"weight": "x"}, {"weight": "nan"}], Caller(0.6), "u:1"),
    ],
)
def test_choosing_a_location(rows: list[dict[str, str]], caller: Caller, href: str) -> None:
    """Each method narrows; one that leaves nothing is undone; weight decides in the end."""
    chosen = choose(locations(*rows), caller)
    assert chosen is not None
    assert chosen.href == href


@given(st.floats(0, 1, exclude_max=True), st.lists(st.floats(0, 9), min_size=1, max_size=5))
def test_chance_never_chooses_weight_zero(draw: float, weights: list[float]) -> None:
    """A location of weight 0 is chosen only when there is no other."""
    chosen = choose(locations(*({"weight": str(weight)} for weight in weights)), Caller(draw))
    assert chosen is not None
    assert chosen.weight > 0 or not any(weights)


def test_locations_round_trip() -> None:
    """Order of methods, attributes and characters that XML escapes survive."""
    there = locations({"x": 'a"<&'}, order=("score", "weighted"))
    assert decode_loc(encode_loc(there)) == there
    assert decode_loc(encode_loc(locations({}))) == locations({})
    assert choose(Locations(()), Caller(0.0)) is None


@pytest.mark.parametrize("text", ["192.0.2.10", "2001:db8::10", "0.0.0.0"])
def test_addresses_have_sixteen_octets(text: str) -> None:
    """IPv4 stands after twelve zeros, and both read back."""
    octets = address_octets(text)
    assert len(octets) == 16
    assert address_text(octets) == text


def test_sites_with_ipv6_have_a_type_of_their_own() -> None:
    """HS_SITE.6 as soon as one server has an IPv6 address."""
    four, six = Server(1, address_octets("192.0.2.1")), Server(2, address_octets("2001:db8::1"))
    assert site_type(Site((four,))) == b"HS_SITE"
    assert site_type(Site((four, six))) == b"HS_SITE.6"
    with pytest.raises(ParseError):
        Server(1, b"\x7f\0\0\1")


def no_jwk(_: object) -> dict[str, str]:
    raise ParseError("no key")


def test_a_site_round_trips_through_json() -> None:
    """The JSON form gives the same site, keys of unknown types as octets."""
    interfaces = (Interface(3, 1, 2641), Interface(2, 0, 2641), Interface(1, 3, 8000))
    server = Server(1, address_octets("192.0.2.1"), b"key", interfaces)
    site = Site((server,), ((b"desc", "Größe".encode()),), hash_filter=b"f", hash_option=0)
    shape = site_to_json(site, no_jwk)
    assert shape["protocolVersion"] == "2.11"
    assert shape["servers"][0]["interfaces"][0] == {
        "query": True,
        "admin": True,
        "protocol": "TCP",
        "port": 2641,
    }
    assert site_from_json(shape, no_jwk) == site


@pytest.mark.parametrize(
    "change",
    [
        {"servers": None},
        {"protocolVersion": "two"},
        {"serialNumber": 70_000},
        {"servers": [{"serverId": 1, "address": "nowhere", "interfaces": []}]},
        {"primarySite": "yes"},
    ],
)
def test_broken_site_json_is_refused(change: dict[str, object]) -> None:
    """A field of the wrong kind is named in a ParseError."""
    shape = site_to_json(Site(), no_jwk) | change
    with pytest.raises(ParseError):
        site_from_json(shape, no_jwk)
