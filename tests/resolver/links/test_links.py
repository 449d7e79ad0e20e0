"""Links of any identifier: other spellings, tombstones, other nodes, hostile requests."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.change import Change, Kind
from protocol.errors import BadIdentifier, ResponseCode
from protocol.linkset import DEFAULT_LINK
from protocol.record import HandleValue, encode_values
from protocol.schemes.gs1_compress import compress
from protocol.schemes.gs1_elements import Element
from protocol.schemes.gs1_link import DigitalLink, parse_uri
from resolver.http.link_path import is_link_path, read_compressed, read_link
from resolver.links import level_of, levels_of, links_of
from resolver.lookup import Answer
from tests.resolver.http.node_in_process import serving, value
from tests.resolver.links.shop import (
    GTIN,
    KEY,
    ROOT,
    SETTINGS,
    VECTORS,
    VOC,
    checked,
    home,
    link,
    register,
    relations,
    stock,
)

LINKSET = "application/linkset+json"


def named(shop):
    """One record under a handle, a Digital Link and an OID."""
    serial = f"{KEY}/22/V1/10/L7/21/S7"
    content = [
        value(1, "URL", "https://example.org/s7"),
        link(2, "gs1:dpp", "https://example.org/dpp/S7"),
        value(3, "0.ALIAS", f"https://id.gs1.org{serial}"),
        value(4, "0.ALIAS", "2.999.7"),
    ]
    shop.register("86.999/s7", *content)
    register(shop, serial, value(1, "0.ALIAS", "86.999/s7"))
    shop.register("2.999.7", value(1, "0.ALIAS", "86.999/s7"))
    return serial


async def test_every_spelling(shop):
    """A record gives the same targets under its Handle, its Digital Link, its OID and its URN."""
    serial = named(shop)
    spellings = ["/86.999/s7", serial, "/2.999.7", "/urn:oid:2.999.7", "/hdl:86.999/s7"]
    spellings.append(f"/(01){GTIN}(22)V1(10)L7(21)S7")
    anchors = set()
    for path in spellings:
        for query, status, target in (
            ("", 307, "https://example.org/s7"),
            ("?linkType=gs1:dpp", 307, "https://example.org/dpp/S7"),
            ("?linkType=gs1:masterData", 307, f"https://example.org/m?g={GTIN}"),
            ("?linkType=gs1:recipeInfo", 404, None),
        ):
            answer = await shop.ask("GET", path + query)
            assert (answer.status, answer.headers.get("Location")) == (status, target), path
        for asked in (
            await shop.ask("GET", f"{path}?linkType=linkset"),
            await shop.ask("GET", path, headers={"Accept": LINKSET}),
            await shop.ask("GET", f"/api/linkset{path}"),
        ):
            assert (asked.status, asked.headers["Content-Type"]) == (200, LINKSET), path
            anchors.add(tuple(one["anchor"] for one in asked.json["linkset"]))
    assert len(anchors) == 1


async def test_alias_of_one_side(shop):
    """A record that calls itself a GTIN gets nothing of it unless the GTIN says so too."""
    shop.register(
        "86.999/thief",
        link(1, "gs1:dpp", "https://example.org/thief"),
        value(2, "0.ALIAS", f"https://id.gs1.org{KEY}"),
    )
    answer = await shop.ask("GET", "/86.999/thief?linkType=linkset")
    assert [one["anchor"] for one in answer.json["linkset"]] == [f"{ROOT}/86.999/thief"]
    answer = await shop.ask("GET", "/86.999/thief")
    assert answer.headers["Location"] == "https://example.org/thief"


async def test_links_of_a_handle(shop):
    """A handle has links as well: from URL values alone, and by type."""
    shop.register("86.999/p", value(1, "URL", "https://example.org/p"), value(2, "DESC", "P"))
    answer = await shop.ask("GET", "/86.999/p")
    assert (answer.status, answer.headers["Location"]) == (302, "https://example.org/p")
    answer = await shop.ask("GET", "/86.999/p", headers={"Accept": LINKSET})
    default = {"href": "https://example.org/p", "title": "P"}
    assert answer.json["linkset"] == [
        {
            "anchor": f"{ROOT}/86.999/p",
            "itemDescription": "P",
            DEFAULT_LINK: [default],
            VOC + "pip": [default],
        }
    ]
    assert (await shop.ask("GET", "/86.999/p?linkType=gs1:pip")).status == 307
    assert (await shop.ask("GET", "/86.999/p?linkType=gs1:dpp")).status == 404
    shop.register("86.999/t", link(1, "gs1:pip", "https://example.org/{suffix}", default=True))
    answer = await shop.ask("GET", "/86.999/t")
    assert answer.headers["Location"] == "https://example.org/t"
    for path, status in (("none", 404), ("x/y", 404)):
        assert (await shop.ask("GET", f"/api/linkset/86.999/{path}")).status == status
    assert (await shop.ask("GET", "/api/linkset/88.1/x")).status == 404
    assert (await shop.ask("GET", "/api/linkset/01/1")).status == 400


async def test_locations_are_links(shop):
    """10320/loc decides the default link where no link is written."""
    loc = '<locations><location href="https://example.org/loc"/></locations>'
    register(shop, "/414/9521234543213", value(1, "10320/loc", loc))
    answer = await shop.ask("GET", "/414/9521234543213/254/3")
    assert (answer.status, answer.headers["Location"]) == (307, "https://example.org/loc")


async def test_linkset_value(shop):
    """A whole linkset in one value counts under the anchors it names."""
    data = {
        "linkset": [
            {
                "anchor": f"https://brand.example/01/{GTIN[:-4]}3206",
                "itemDescription": "Shirt",
                "gs1:defaultLink": [{"href": "https://example.org/menu", "title": "Menu"}],
            },
            {
                "anchor": "https://brand.example/01/09521234543206/21/1234",
                "itemDescription": "Shirt 1234",
                "gs1:dpp": [{"href": "https://example.org/dpp", "title": "DPP"}],
            },
        ]
    }
    register(shop, "/01/09521234543206", value(1, "0.LINKSET", json.dumps(data)))
    path = "/01/09521234543206"
    assert (await shop.ask("GET", f"{path}?linkType=gs1:dpp")).status == 404
    answer = await shop.ask("GET", f"{path}/21/1234?linkType=gs1:dpp")
    assert answer.headers["Location"] == "https://example.org/dpp"
    answer = await shop.ask("GET", f"{path}/21/1234")
    assert answer.headers["Location"] == "https://example.org/menu"
    answer = await shop.ask("GET", f"{path}/21/1234?linkType=linkset")
    assert [one["itemDescription"] for one in answer.json["linkset"]] == ["Shirt 1234", "Shirt"]


@pytest.mark.skipif(not (VECTORS / "linkset").is_dir(), reason=f"no vectors in {VECTORS}")
async def test_model_linkset(founded, tmp_path):
    """A large published linkset is stored as it is, chosen from, and written out as valid."""
    data = (VECTORS / "linkset" / "modelLinkset.json").read_bytes()
    path = "/01/09506000164908"
    async with serving(founded, tmp_path / "node", digital_link=SETTINGS) as served:
        home(served, b"GS1.9.5.0.6")
        register(served, path, value(1, "0.LINKSET", data))
        for query, headers, target in (
            ("", {}, "https://ref.gs1.org/tools/demo/2024retail/"),
            ("linkType=gs1:pip", {}, "https://ref.gs1.org/tools/demo/2024retail/pip"),
            (
                "linkType=gs1:sustainabilityInfo",
                {"Accept-Language": "fr"},
                "https://ref.gs1.org/tools/demo/2024retail/fr/sustainability",
            ),
            (
                "linkType=gs1:certificationInfo&context=LK",
                {"Accept": "application/pdf", "Accept-Language": "en"},
                "https://certificate.example/003",
            ),
            (
                "linkType=gs1:certificationInfo",
                {"Accept": "application/pdf"},
                "https://certificate.example/001",
            ),
        ):
            answer = await served.ask("GET", f"{path}?{query}", headers=headers)
            assert (answer.status, answer.headers["Location"]) == (307, target), query
        answer = await served.ask("GET", f"{path}?linkType=gs1:traceability")
        assert answer.status == 300
        answer = await served.ask("GET", f"{path}/21/1234?linkType=linkset")
        checked(answer.json)
        ours, theirs = answer.json["linkset"][1], json.loads(data)["linkset"][0]
        assert {name: ours[name] for name in theirs if name.startswith("http")} == {
            name: theirs[name] for name in theirs if name.startswith("http")
        }


async def test_handled_by_a_delegation(shop):
    """The record of a delegated prefix says which resolver its links are at."""
    change = Change(
        Kind.DELEGATE,
        b"0.NA/GS1.9.5.2.1.7",
        (link(1, "gs1:handledBy", "https://child.example/"),),
    )
    (outcome,) = shop.node.writer.writer.commit([change])
    assert outcome.error is None
    answer = await shop.ask("GET", "/01/09521700000004?linkType=gs1:pip")
    assert (answer.status, answer.headers["Location"]) == (
        307,
        "https://child.example/01/09521700000004?linkType=gs1:pip",
    )


async def test_retired(shop):
    """What is retired is 410 with what is left; a link type asked by name still leads there."""
    path = f"{KEY}/21/OLD"
    for query in ("", "?linkType=linkset", "?linkType=gs1:recipeInfo"):
        answer = await shop.ask("GET", path + query)
        assert (answer.status, answer.headers["Content-Type"]) == (410, LINKSET), query
        finest = answer.json["linkset"][0]
        assert finest["archives"][0]["href"] == "https://example.org/archive"
    answer = await shop.ask("GET", f"{path}?linkType=gs1:dpp")
    assert (answer.status, answer.headers["Location"]) == (307, "https://example.org/dpp/OLD")
    page = await shop.ask("GET", path, headers={"Accept": "text/html"})
    assert page.status == 410
    assert b"2026-01-31" in page.body
    assert b'href="https://example.org/archive"' in page.body
    shop.register("86.999/old", value(1, "URL", "https://a.example/"), value(2, "0.RETIRED", ""))
    assert (await shop.ask("GET", "/86.999/old")).status == 410


async def test_pages(shop):
    """noredirect and /page/ show the record; one without any link is a page as well."""
    for path in (f"{KEY}/22/V1/10/L7?noredirect", f"/page{KEY}/22/V1/10/L7"):
        answer = await shop.ask("GET", path)
        assert answer.status == 200, path
        assert b"Pump P7, lot 7" in answer.body
    register(shop, "/01/09521234543206", value(1, "DESC", "Nothing but words"))
    answer = await shop.ask("GET", "/01/09521234543206")
    assert (answer.status, b"Nothing but words" in answer.body) == (200, True)


async def test_handles_stay_handles(shop):
    """A handle whose suffix looks like a Digital Link is a handle."""
    shop.register(f"86.999{KEY}", value(1, "URL", "https://example.org/handle"))
    answer = await shop.ask("GET", f"/86.999{KEY}")
    assert answer.headers["Location"] == "https://example.org/handle"
    assert not is_link_path(f"/88.118.8{KEY}", prefix=False)
    assert not is_link_path("/401/abc", prefix=True)


async def test_root_from_the_request(founded, tmp_path):
    """Without a setting, anchors begin as the client called the node; odd hosts are not echoed."""
    async with serving(founded, tmp_path / "node") as served:
        home(served, b"GS1.9.5.2.1")
        stock(served)
        answer = await served.ask("GET", f"/shop{KEY}", headers={"Host": "id.example.net:8080"})
        assert relations(answer.headers["Link"])["linkset"].startswith(
            f"http://id.example.net:8080/shop{KEY}"
        )
        answer = await served.ask("GET", KEY, tls=True)
        assert relations(answer.headers["Link"])["linkset"].startswith("https://127.0.0.1:")
        answer = await served.ask("GET", KEY, headers={"Host": 'a"b>'})
        assert relations(answer.headers["Link"])["linkset"].startswith("https://id.gs1.org/01/")


class Elsewhere:
    """Another node's records, as recursion gives them."""

    def __init__(self, records, code=ResponseCode.HANDLE_NOT_FOUND):
        self.records, self.code, self.asked = records, code, []

    def cached(self, query):
        return None

    async def resolve(self, query):
        self.asked.append(query.handle)
        values = self.records.get(query.handle)
        if values is None:
            return Answer(self.code, query.handle, source="referral", message="silent")
        return Answer(ResponseCode.SUCCESS, query.handle, encode_values(values), source="referral")


async def test_recursion(founded, tmp_path):
    """A recursive node answers Digital Links of company prefixes that other nodes keep."""
    name = f"https://id.gs1.org{KEY}".encode()
    lot = name + b"/10/L1"
    records = {
        name: [HandleValue(1, b"URL", b"https://far.example/p7")],
        lot: [HandleValue(1, b"0.LINK", b'{"relation":"gs1:dpp","href":"https://far.example/d"}')],
    }
    async with serving(founded, tmp_path / "node") as served:
        served.node.lookup.recursion = Elsewhere(records)
        answer = await served.ask("GET", f"{KEY}/10/L1/21/S1")
        assert (answer.status, answer.headers["Location"]) == (307, "https://far.example/p7")
        answer = await served.ask("GET", f"{KEY}/10/L1/21/S1?linkType=gs1:dpp")
        assert answer.headers["Location"] == "https://far.example/d"
        assert (await served.ask("GET", "/01/09521234543206")).status == 404
        served.node.lookup.recursion = Elsewhere({}, ResponseCode.ERROR)
        assert (await served.ask("GET", KEY)).status == 502
        served.node.lookup.recursion = Elsewhere({}, ResponseCode.SERVER_BUSY)
        assert (await served.ask("GET", KEY)).status == 503


@pytest.mark.parametrize(
    "target",
    [
        "https://example.org/{serial}",
        "https://example.org/a?x={21}#f",
        "https://example.org/?next={serial}&lot={lot}",
    ],
)
async def test_places_cannot_break_out(shop, target):
    """A value in a target is always encoded, and never part of its host."""
    register(shop, "/01/09521234543206", link(1, "gs1:pip", target, default=True))
    serial = "%2F..%2F..%22%3Cx%26y%3Dz"
    answer = await shop.ask("GET", f"/01/09521234543206/21/{serial}")
    assert answer.status == 307
    location = answer.headers["Location"]
    assert location.startswith("https://example.org/")
    assert "%2F..%2F..%22%3Cx%26y%3Dz" in location


@pytest.mark.parametrize("query", ["a=%ff", "a=\\\\evil", "=", "&&&", "a=%zz", "linkType", "a=é"])
async def test_odd_queries(shop, query):
    """An odd query is passed on encoded, or refused; it never breaks a header or an answer."""
    answer = await shop.ask("GET", f"{KEY}?{query}")
    assert answer.status in (307, 400)
    if answer.status == 307:
        assert answer.headers["Location"].startswith("https://example.org/p7")
        assert "\\" not in answer.headers["Location"]


def test_links_of_values():
    """Values of other nodes that are no links are passed over; secrets are left out."""
    found = links_of(
        [
            HandleValue(1, b"0.LINK", b"not json"),
            HandleValue(2, b"0.LINK", b'{"relation":"gs1:pip","href":"javascript:alert(1)"}'),
            HandleValue(3, b"0.LINK", b'{"rel":"item","href":"https://a.example/","public":false}'),
            HandleValue(4, b"URL", b"javascript:alert(1)"),
            HandleValue(5, b"0.LINKSET", b"[]"),
        ]
    )
    assert (found.links, found.address) == ((), None)
    assert level_of("/x", found).links == ()


aliases = st.from_regex(r"[A-Za-z0-9%&'()*+,./:;<=>?_!\"-]{1,20}", fullmatch=True)
digital_links = st.builds(
    lambda cpv, lot, serial: DigitalLink(
        Element("01", GTIN),
        tuple(
            Element(ai, text)
            for ai, text in (("22", cpv), ("10", lot), ("21", serial))
            if text is not None
        ),
    ),
    *(st.none() | aliases for _ in range(3)),
)


@settings(max_examples=200)
@given(digital_links, st.booleans())
def test_paths_round_trip(asked, sequences):
    """A link's path is read back as that link, plain, below a stem, and compressed."""
    assert read_link(asked.path, "").link == asked
    assert is_link_path(asked.path, prefix=False)
    assert read_link("/shop" + asked.path + "/", "x=1").link.path == asked.path
    short = compress(parse_uri(ROOT + asked.path), sequences=sequences).removeprefix(ROOT)
    found = read_compressed(short, "")
    assert found is not None
    assert (found.link.path, found.compressed) == (asked.path, True)
    if asked.qualifiers:
        partly = compress(parse_uri(ROOT + asked.path), partly=True).removeprefix(ROOT)
        for one in (partly, f"/shop{partly}/"):
            assert is_link_path(one, prefix=False)
            read = read_link(one, "x=1")
            assert (read.link.path, read.compressed) == (asked.path, True)


@settings(max_examples=200)
@given(st.text(max_size=60), st.text(max_size=20))
def test_any_path(text, query):
    """Any path is a Digital Link, another identifier, or refused; nothing else happens."""
    path = "/" + text
    for one in (path, f"/01/{text}", f"/s/8004/{text}"):
        is_link_path(one, prefix=False)
        with contextlib.suppress(BadIdentifier):
            read_link(one, query)
        read_compressed(one, query)


@settings(max_examples=200)
@given(digital_links, st.lists(digital_links, max_size=6))
def test_levels_answer_what_they_carry(asked, kept):
    """A level stands for a record whose qualifiers the request carries, the finest first."""
    from protocol.schemes.gs1_link import levels

    stored = {one.path for one in kept}
    records = [
        (level, links_of([HandleValue(1, b"URL", b"https://example.org" + level.path.encode())]))
        for level in levels(asked)
        if level.path in stored
    ]
    found = levels_of(asked, records)
    assert [level.path for level in found] == [level.path for level, _ in records]
    for level in found:
        assert [one.relation for one in level.links].count(DEFAULT_LINK) == 1
    carried = {
        tuple(one.qualifiers) for one in kept if set(one.qualifiers) <= set(asked.qualifiers)
    }
    assert len(found) == len(carried)
