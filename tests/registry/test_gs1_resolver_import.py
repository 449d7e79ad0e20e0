"""Entries of the GS1 Resolver Community Edition become records with links."""

from __future__ import annotations

import io
import json

import pytest

from protocol.record_links import parse_link_value
from registry.imports import Format, Options, detect, read_items
from registry.rules import WriterSettings, check_values

PIP = {
    "linktype": "gs1:pip",
    "href": "https://example.org/p",
    "title": "Page",
    "type": "text/html",
    "hreflang": ["en", "und"],
    "context": ["SE", "und"],
}
GTIN = "/01/09521234543213"
ENTRY = {
    "anchor": GTIN,
    "itemDescription": "Pump",
    "defaultLinktype": "gs1:pip",
    "links": [PIP, PIP | {"linktype": "gs1:support", "fwqs": False}],
}


def read(*entries):
    data = json.dumps(list(entries)).encode()
    assert detect("entries.json", data) is Format.GS1_RESOLVER
    return list(read_items(io.BytesIO(data), Format.GS1_RESOLVER, Options()))


def shaped(item):
    return [json.loads(value.data) for value in item.change.values if value.type == b"0.LINK"]


def test_one_entry():
    """An entry's links become 0.LINK values behind its description; that of the default type says so."""
    (item,) = read(ENTRY)
    assert item.handle == b"https://id.gs1.org" + GTIN.encode()
    assert item.change.values[0].data == b"Pump"
    assert shaped(item) == [
        {
            "relation": "gs1:pip",
            "href": "https://example.org/p",
            "title": "Page",
            "type": "text/html",
            "hreflang": ["en"],
            "context": ["SE"],
            "default": True,
        },
        {
            "relation": "gs1:support",
            "href": "https://example.org/p",
            "title": "Page",
            "type": "text/html",
            "hreflang": ["en"],
            "context": ["SE"],
            "fwqs": False,
        },
    ]
    check_values(item.change.values, WriterSettings())


def test_qualifiers():
    """Qualifiers with a value name a record of their own; those in braces are asked of the request."""
    serial = ENTRY | {
        "itemDescription": "Pump, serialised",
        "qualifiers": [{"10": "LOT/7"}, {"21": "{serialnumber}"}],
        "links": [PIP | {"href": "https://example.org/p?s={serialnumber}"}],
    }
    class_, lot = read(ENTRY, serial, ENTRY | {"qualifiers": [{"21": "{s}"}]})
    assert lot.handle.endswith(GTIN.encode() + b"/10/LOT%2F7")
    (link,) = shaped(lot)
    assert link["href"] == "https://example.org/p?s={21}"
    assert (link["qualifiers"], link["itemDescription"]) == (["21"], "Pump, serialised")
    assert [one.get("qualifiers") for one in shaped(class_)] == [None, None, ["21"], ["21"]]
    assert (class_.line, lot.line) == (1, 2)


def test_not_public():
    """A link that is not for everyone is not publicly readable."""
    (item,) = read(ENTRY | {"links": [PIP | {"public": False}]})
    assert item.change.values[1].permissions == 0b1100
    assert not parse_link_value(item.change.values[1].data)[0].link.public


def test_version_2():
    """Entries of version 2 are read as well."""
    old = {
        "identificationKeyType": "01",
        "identificationKey": "09521234543213",
        "itemDescription": "Pump",
        "qualifierPath": "/10/L7",
        "responses": [
            {
                "linkType": "gs1:pip",
                "language": "en",
                "context": "und",
                "mimeType": "text/html",
                "linkTitle": "Page",
                "targetUrl": "https://example.org/p",
                "defaultLinkType": True,
                "public": True,
            },
            {"linkType": "gs1:dpp", "targetUrl": "https://example.org/d", "active": False},
        ],
    }
    (item,) = read(old)
    assert item.handle.endswith(b"/10/L7")
    assert shaped(item) == [
        {
            "relation": "gs1:pip",
            "href": "https://example.org/p",
            "title": "Page",
            "type": "text/html",
            "hreflang": ["en"],
            "default": True,
        }
    ]


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {},
        ENTRY | {"anchor": "/01/09521234543214"},
        ENTRY | {"anchor": "/01"},
        ENTRY | {"extra": 1},
        ENTRY | {"links": [PIP | {"href": "javascript:alert(1)"}]},
        ENTRY | {"links": [PIP | {"href": "https://example.org/{1}"}]},
        ENTRY | {"links": [{"href": "https://example.org/"}]},
        ENTRY | {"links": ["x"]},
        ENTRY | {"links": [PIP | {"hreflang": "en;q=1"}]},
        ENTRY | {"qualifiers": {"10": "x"}},
        ENTRY | {"qualifiers": [{"254": "x"}]},
        ENTRY | {"qualifiers": [{"9999": "{x}"}]},
        {"identificationKeyType": "01", "qualifierPath": "/10"},
        {"identificationKeyType": "01", "responses": [1]},
    ],
)
def test_refused(entry):
    """An entry that cannot be used is refused with its number; the others are read."""
    items = read(entry, ENTRY)
    assert [item.error is None for item in items] == [False, True]
    assert (items[0].line, items[1].line) == (1, 2)


@pytest.mark.parametrize("data", [b"", b"{", b'[{"anchor":', b"\xff", b"[" * 100_000])
def test_no_json(data):
    """What is no JSON is one error and no records."""
    (item,) = read_items(io.BytesIO(data), Format.GS1_RESOLVER, Options())
    assert item.error
