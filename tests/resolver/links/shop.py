"""A node with products: a GTIN with variants, lots and serials, and what they link to."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest

from protocol.change import Change, Kind
from protocol.linkset import parse_link_header
from resolver.config import DigitalLinkSettings
from tests.resolver.http.node_in_process import serving, value

VECTORS = Path(
    os.environ.get("BIAOSHI_VECTORS", Path(__file__).resolve().parents[4] / "shared" / "vectors")
)
ROOT = "https://id.example.org"
GTIN = "09521234543213"
KEY = f"/01/{GTIN}"
VOC = "https://ref.gs1.org/voc/"
SETTINGS = DigitalLinkSettings(
    root=ROOT,
    name="Pumps",
    contact="Pump Works",
    contexts=("SE", "CN"),
    forward=(("9524", "https://other.example"), ("95241", "https://finer.example/dl")),
)


def checked(document):
    """A linkset that the published schema takes, where that is at hand."""
    file = VECTORS / "linkset" / "gs1-linkset-schema.json"
    if file.exists():
        jsonschema_rs.validator_for(json.loads(file.read_text())).validate(document)
    return document


def link(index, relation, href, **more):
    """A 0.LINK value."""
    permissions = more.pop("permissions", 0b1110)
    data = json.dumps({"relation": relation, "href": href} | more)
    return value(index, "0.LINK", data, permissions=permissions)


def relations(header):
    """Targets by relation of a Link header."""
    return {one.relation: one.href for one in parse_link_header(header)}


def register(served, path, *values):
    served.register("https://id.gs1.org" + path, *values)


@pytest.fixture
async def shop(founded, tmp_path):
    """The node, home to company prefix 9521 and to OIDs below 2.999."""
    async with serving(founded, tmp_path / "node", digital_link=SETTINGS) as served:
        home(served, b"GS1.9.5.2.1", b"2.999")
        stock(served)
        yield served


def home(served, *prefixes):
    for prefix in prefixes:
        (outcome,) = served.node.writer.writer.commit([Change(Kind.HOME, prefix)])
        assert outcome.error is None, outcome


def stock(served):
    register(
        served,
        KEY,
        value(1, "DESC", "Pump P7"),
        value(2, "URL", "https://example.org/p7"),
        link(3, "gs1:instructions", "https://example.org/en", title="Manual", hreflang=["en"]),
        link(4, "gs1:instructions", "https://example.org/sv", title="Handbok", hreflang=["sv"]),
        link(5, "gs1:safetyInfo", "https://example.org/safe.pdf", type="application/pdf"),
        link(6, "gs1:safetyInfo", "https://example.org/safe", type="text/html"),
        link(7, "gs1:support", "https://example.org/se", context=["SE"]),
        link(8, "gs1:support", "https://example.org/cn", context=["CN"]),
        link(9, "gs1:certificationInfo", "https://example.org/c1", title="C1"),
        link(10, "gs1:certificationInfo", "https://example.org/c2", title="C2"),
        link(11, "gs1:masterData", "https://example.org/m?g={gtin}", fwqs=False),
        link(12, "gs1:traceability", "https://example.org/t/{serial}", qualifiers=["21"]),
        link(13, "gs1:jws", "https://example.org/secret", public=False),
    )
    register(served, f"{KEY}/10/L1", link(1, "gs1:recallStatus", "https://example.org/recall/L1"))
    register(
        served,
        f"{KEY}/22/V1/10/L7",
        value(1, "DESC", "Pump P7, lot 7"),
        link(2, "gs1:pip", "https://example.org/l7", title="Lot 7", default=True),
    )
    register(
        served,
        f"{KEY}/22/V1/10/L7/21/S1",
        link(1, "gs1:dpp", "https://example.org/dpp/S1", type="application/vc", title="Passport"),
    )
    register(
        served,
        f"{KEY}/21/OLD",
        value(1, "0.RETIRED", '{"since":"2026-01-31","archive":"https://example.org/archive"}'),
        link(2, "gs1:dpp", "https://example.org/dpp/OLD", title="Passport"),
    )


def with_settings(**changed):
    return replace(SETTINGS, **changed)
