"""What a record may say about links is decided when it is written."""

from __future__ import annotations

import json

import pytest

from protocol.errors import InvalidValue
from protocol.record import HandleValue
from registry.rules import WriterSettings, check_value

GOOD = {"relation": "gs1:pip", "href": "https://example.org/p"}


def check(type_, data, **settings):
    data = json.dumps(data) if isinstance(data, dict) else data
    data = data.encode() if isinstance(data, str) else data
    check_value(HandleValue(1, type_, data), WriterSettings(**settings))


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        {"rel": "describedby", "href": "http://example.org/", "title*": [{"value": "x"}]},
        GOOD | {"title": "T", "hreflang": ["en"], "type": "text/html", "context": ["SE"]},
        GOOD | {"fwqs": False, "public": False, "default": True, "qualifiers": ["21"]},
        GOOD | {"qualifiers": {"10": "LOT7", "21": None}, "itemDescription": "Pump"},
        GOOD | {"href": "https://example.org/{serial}?lot={lot}"},
    ],
)
def test_links_accepted(data):
    """A link with any of its members is stored."""
    check(b"0.LINK", data)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "https://example.org/",
        {"href": "https://example.org/"},
        {"relation": "gs1:pip"},
        GOOD | {"rel": "gs1:dpp"},
        GOOD | {"href": "javascript:alert(1)"},
        GOOD | {"href": "data:text/html,x"},
        GOOD | {"href": "ftp://example.org/"},
        GOOD | {"href": "https://{serial}.example.org/"},
        GOOD | {"href": "https:///x"},
        GOOD | {"href": "/relative"},
        GOOD | {"hreflang": ["en;q=1"]},
        GOOD | {"type": "html"},
        GOOD | {"default": 1},
        GOOD | {"qualifiers": ["9999"]},
        GOOD | {"qualifiers": {"10": "x y"}},
        GOOD | {"qualifiers": "21"},
        GOOD | {"itemDescription": 1},
        GOOD | {"tittle": "x"},
        b"\xff",
    ],
)
def test_links_refused(data):
    """What is no link, or leads where no browser should go, is refused."""
    with pytest.raises(InvalidValue):
        check(b"0.LINK", data)


def test_other_schemes_by_settings():
    """Schemes of targets are the node's to allow."""
    check(b"0.link", GOOD | {"href": "ftp://example.org/"}, link_schemes=("ftp",))


@pytest.mark.parametrize("data", ["{}", '{"linkset": [{"anchor": "x"}]}', b"\xff"])
def test_linksets_refused(data):
    """What is no linkset is refused."""
    with pytest.raises(InvalidValue):
        check(b"0.LINKSET", data)


def test_linkset_accepted():
    """A whole linkset is stored."""
    link = {"href": "https://example.org/"}
    check(b"0.LINKSET", {"linkset": [{"anchor": "https://example.org/x", "item": [link]}]})


@pytest.mark.parametrize(
    "data", ["", "no longer made", '{"since": "2026-07-01", "archive": "https://a.example/"}']
)
def test_retired_accepted(data):
    """A tombstone says nothing, a note, or when and where the documents are."""
    check(b"0.RETIRED", data)


@pytest.mark.parametrize("data", ['{"when": "x"}', '{"archive": "javascript:x"}', b"\xff", "{"])
def test_retired_refused(data):
    """A tombstone of another shape is refused."""
    with pytest.raises(InvalidValue):
        check(b"0.RETIRED", data)


@pytest.mark.parametrize(
    "address", ["jabber:x", "dns:x", "https://javascript:1/", "", "data", "javascript:alert(1)"]
)
def test_other_addresses(address):
    """A URL value is stored as it comes, as it ever was; browsers are sent to few of them."""
    check(b"URL", address)
    if address.isprintable():
        check(b"10320/loc", f'<locations><location href="{address}"/></locations>')
