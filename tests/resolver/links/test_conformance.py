"""The public conformance list of GS1 resolvers, a test a requirement (traceability §6.1)."""

from __future__ import annotations

import json

import pytest

from protocol.linkset import CONTEXT_URL
from protocol.schemes.gs1_compress import compress
from protocol.schemes.gs1_link import parse_uri
from tests.resolver.http.node_in_process import value
from tests.resolver.links.shop import GTIN, KEY, ROOT, VOC, checked, link, register, relations

LINKSET = "application/linkset+json"


def compressed(path, **how):
    return compress(parse_uri(ROOT + path), **how).removeprefix(ROOT)


async def linkset(shop, path):
    answer = await shop.ask("GET", f"{path}{'&' if '?' in path else '?'}linkType=linkset")
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == LINKSET
    return {one["anchor"].removeprefix(ROOT): one for one in checked(answer.json)["linkset"]}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_01_methods_and_cors(shop, tls):
    """GET, HEAD and OPTIONS, plain and over TLS; CORS on every answer, redirects and errors too."""
    paths = [
        KEY,
        f"{KEY}?linkType=linkset",
        f"{KEY}?linkType=gs1:none",
        "/01/1",
        "/01/09521234543206",
    ]
    paths += ["/86.999/none", "/", f"{KEY}/21/OLD", f"{KEY}?linkType=gs1:certificationInfo"]
    paths += ["/.well-known/gs1resolver", "/api/linkset" + KEY, "/api/linkset/x", f"/page{KEY}"]
    for path in paths:
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = await shop.ask(method, path, tls=tls, headers={"Origin": "https://a.example"})
            where = (method, path, answer.status)
            assert answer.headers["Access-Control-Allow-Origin"] == "*", where
            assert answer.headers["Access-Control-Expose-Headers"] == "Link, Location", where
            if method == "OPTIONS":
                assert answer.status == 204, where
                others = path in ("/86.999/none", "/")
                allowed = "GET, HEAD, POST, OPTIONS" if others else "GET, HEAD, OPTIONS"
                assert answer.headers["Allow"] == allowed, where
                assert "GET" in answer.headers["Access-Control-Allow-Methods"]
            if method == "HEAD":
                assert answer.body == b"", where
                got = await shop.ask("GET", path, tls=tls)
                assert (answer.status, answer.headers.get("Location")) == (
                    got.status,
                    got.headers.get("Location"),
                )
    for method in ("POST", "PUT", "DELETE"):
        answer = await shop.ask(method, KEY, tls=tls)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (405, "*")


async def test_02_description(shop):
    """/.well-known/gs1resolver says who runs the resolver and what it does."""
    answer = await shop.ask("GET", "/.well-known/gs1resolver")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    said = answer.json
    assert (said["name"], said["resolverRoot"]) == ("Pumps", ROOT)
    assert said["supportedPrimaryKeys"] == ["all"]
    assert said["contact"]["fn"] == "Pump Works"
    assert said["linkTypeDefaultCanBeLinkset"] is False
    assert {"namespace": VOC, "prefix": "gs1:"} in said["supportedLinkType"]
    assert said["supportedContextValuesEnumerated"] == ["SE", "CN"]
    assert said["activeLinkTypes"]["zh"]["gs1:dpp"]["url"] == VOC + "dpp"


@pytest.mark.parametrize(
    "path",
    [
        "/01/09521234543214",
        "/01/0952123454321x",
        "/01/",
        "/01/1",
        f"{KEY}/10",
        f"{KEY}/21/x/10/y",
        f"{KEY}/254/x",
        f"{KEY}/21/a%00b",
        f"{KEY}/21/%C3%A9",
        f"{KEY}/21/%zz",
        f"{KEY}/21/a%20b",
        f"{KEY}/21/{'x' * 21}",
        f"{KEY}?10=x",
        f"{KEY}?17=251345",
        f"{KEY}?999=x",
        f"{KEY}?linkType=a%20b",
        f"{KEY}/21/a/21/b",
        f"/shop{KEY[:-1]}9",
        "/gtin/09521234543214",
        "/8006/095212345432130301",
        "/00/1",
    ],
)
async def test_03_syntax_errors(shop, path):
    """What breaks the syntax is 400, as a problem or as a page, and never 200."""
    answer = await shop.ask("GET", path)
    assert answer.status == 400, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["detail"]
    page = await shop.ask("GET", path, headers={"Accept": "text/html"})
    assert (page.status, page.headers["Content-Type"][:9]) == (400, "text/html")


async def test_04_unknown(shop):
    """A valid identifier that is not known is 404."""
    for path in ("/01/09521234543206", "/00/095212345678901235", "/01/09506000134352"):
        assert (await shop.ask("GET", path)).status == 404, path
        assert (await shop.ask("GET", path + "?linkType=linkset")).status == 404


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/22/V1/10/L7/21/S1", "l7"),
        ("/22/V1/10/L7/21/S2", "l7"),
        ("/22/V1/10/L7", "l7"),
        ("/22/V2/10/L7", "p7"),
        ("/10/L7", "p7"),
        ("/22/V1", "p7"),
        ("/21/S9", "p7"),
        ("/10/L9/21/S1", "p7"),
    ],
)
async def test_05_walk_up(shop, path, target):
    """What is not known by itself is answered from the level above that is."""
    answer = await shop.ask("GET", KEY + path)
    assert (answer.status, answer.headers["Location"]) == (307, f"https://example.org/{target}")


@pytest.mark.parametrize("path", ["/10/L1", "/10/L1/21/S", "/22/V9/10/L1", "/22/V9/10/L1/21/S"])
async def test_05_lot_without_variant(shop, path):
    """A record stored with only a lot answers whatever carries that lot."""
    answer = await shop.ask("GET", f"{KEY}{path}?linkType=gs1:recallStatus")
    assert answer.headers["Location"] == "https://example.org/recall/L1"


async def test_05_every_key(shop):
    """Each key is served, with its qualifiers, and walks up to itself."""
    keys = {
        "/00/095212345678901235": (),
        "/253/9521234543213DOC": (),
        "/255/9521234543213": (),
        "/401/9521234A": (),
        "/402/95212345678901235": (),
        "/414/9521234543213": ("/254/7",),
        "/417/9521234543213": (),
        "/8003/09521234543213A1": (),
        "/8004/9521234ABC": (),
        "/8006/095212345432130102": ("/21/S", "/10/L/21/S"),
        "/8010/9521234AB": ("/8011/7",),
        "/8017/952123456789012345": ("/8019/1",),
        "/8018/952123456789012345": ("/8019/1",),
    }
    for path, below in keys.items():
        register(shop, path, value(1, "URL", f"https://example.org{path}"))
        for qualifiers in ("", *below):
            answer = await shop.ask("GET", path + qualifiers)
            assert answer.headers.get("Location") == f"https://example.org{path}", (path, answer)


async def test_06_one_default(shop):
    """Each linkset has one bare default link a level, the same target also under its own type."""
    register(
        shop,
        "/01/09521234543206",
        link(1, "gs1:defaultLink", "https://example.org/d", title="D", hreflang=["en"]),
        link(2, "gs1:defaultLink", "https://example.org/e", title="E", hreflang=["sv"]),
    )
    register(shop, "/414/9521234543213", link(1, "gs1:locationInfo", "https://example.org/map"))
    for path in (KEY, f"{KEY}/22/V1/10/L7/21/S1", "/01/09521234543206", "/414/9521234543213"):
        found = await linkset(shop, path)
        defaults = [
            one[VOC + "defaultLink"] for one in found.values() if VOC + "defaultLink" in one
        ]
        assert defaults
        for context in found.values():
            for default in context.get(VOC + "defaultLink", []):
                assert set(default) == {"href", "title"}
                assert len(context[VOC + "defaultLink"]) == 1
                others = [k for k in context if k.startswith(VOC) and "default" not in k]
                assert any(o["href"] == default["href"] for k in others for o in context[k])
    answer = await shop.ask("GET", "/01/09521234543206", headers={"Accept-Language": "sv"})
    assert answer.headers["Location"] == "https://example.org/e"
    answer = await shop.ask("GET", "/01/09521234543206")
    assert answer.headers["Location"] == "https://example.org/d"


async def test_07_default_redirect(shop):
    """Without a hint the answer is a 307 to the default link."""
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "text/html,*/*;q=0.8"}):
        answer = await shop.ask("GET", KEY, headers=headers)
        assert (answer.status, answer.headers["Location"]) == (307, "https://example.org/p7")
        assert answer.headers["Vary"] == "Accept, Accept-Language"
        assert answer.headers["Cache-Control"] == "max-age=86400"


@pytest.mark.parametrize("name", ["gs1:dpp", VOC + "dpp", "https://gs1.org/voc/dpp", "gs1%3Adpp"])
async def test_08_link_type(shop, name):
    """A link type leads to its link, wherever it lies; one that is nowhere is 404."""
    path = f"{KEY}/22/V1/10/L7/21/S1"
    answer = await shop.ask("GET", f"{path}?linkType={name}")
    assert (answer.status, answer.headers["Location"]) == (307, "https://example.org/dpp/S1")
    assert (await shop.ask("GET", f"{KEY}?linkType={name}")).status == 404
    answer = await shop.ask("GET", f"{path}?linkType=gs1:masterData")
    assert answer.headers["Location"] == f"https://example.org/m?g={GTIN}"


async def test_08_no_such_link(shop):
    """The 404 of a missing link type names it and still points to the linkset."""
    answer = await shop.ask("GET", f"{KEY}?linkType=gs1:recipeInfo")
    assert answer.status == 404
    assert VOC + "recipeInfo" in answer.json["detail"]
    assert relations(answer.headers["Link"])["linkset"] == f"{ROOT}{KEY}?linkType=linkset"


@pytest.mark.parametrize("how", ["linkset", "all", None])
async def test_09_linkset(shop, how):
    """The linkset has every level up to the key, each anchored at its uncompressed URI."""
    path = f"/shop{KEY}/22/V1/10/L7/21/S1/"
    headers = {} if how else {"Accept": f"{LINKSET}, */*;q=0.1"}
    answer = await shop.ask("GET", path + (f"?linkType={how}" if how else ""), headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, LINKSET)
    found = checked(answer.json)["linkset"]
    assert [one["anchor"] for one in found] == [
        f"{ROOT}{KEY}/22/V1/10/L7/21/S1",
        f"{ROOT}{KEY}/21/S1",
        f"{ROOT}{KEY}/22/V1/10/L7",
        f"{ROOT}{KEY}",
    ]
    assert found[1][VOC + "traceability"][0]["href"] == "https://example.org/t/S1"
    assert found[3]["itemDescription"] == "Pump P7"
    assert VOC + "jws" not in found[3]


async def test_09_linkset_of_the_class(shop):
    """A link that counts below its record is not shown where nothing below was asked for."""
    found = await linkset(shop, KEY)
    assert list(found) == [KEY]
    assert VOC + "traceability" not in found[KEY]


async def test_09_other_forms(shop):
    """application/linkset is the text form; an ETag spares what is known."""
    answer = await shop.ask("GET", KEY, headers={"Accept": "application/linkset"})
    assert answer.headers["Content-Type"] == "application/linkset"
    assert b'rel="https://ref.gs1.org/voc/pip"' in answer.body
    answer = await shop.ask("GET", KEY, headers={"Accept": LINKSET})
    known = {"Accept": LINKSET, "If-None-Match": answer.headers["ETag"]}
    assert (await shop.ask("GET", KEY, headers=known)).status == 304


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/ld+json", "application/ld+json"),
        ("application/json", "application/json"),
        ("text/html;q=0.3, application/linkset+json;q=0.5", LINKSET),
        ("text/csv, */*;q=0.1", LINKSET),
    ],
)
async def test_09_negotiated(shop, accept, media_type):
    """The linkset comes in the form a client names; as JSON-LD it names its context itself."""
    answer = await shop.ask("GET", f"{KEY}?linkType=linkset", headers={"Accept": accept})
    assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)
    context = answer.json.get("@context")
    assert context == (CONTEXT_URL if media_type == "application/ld+json" else None)
    assert answer.json["linkset"][0]["anchor"] == ROOT + KEY


async def test_09_for_readers(shop):
    """A browser gets the linkset as a page, which has the one for programs inside."""
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    register(shop, f"{KEY}/10/L9", link(1, "gs1:faqs", "https://example.org/q", title="</script>"))
    page = await shop.ask("GET", f"{KEY}/10/L9?linkType=linkset", headers=browser)
    assert (page.status, page.headers["Content-Type"][:9]) == (200, "text/html")
    text = page.body.decode()
    assert 'href="https://example.org/sv">Handbok</a>' in text
    inside = text.partition('<script type="application/ld+json">')[2].partition("</script>")[0]
    document = json.loads(inside)
    assert document.pop("@context") == CONTEXT_URL
    assert checked(document)["linkset"][0][VOC + "faqs"][0]["title"] == "</script>"


async def test_10_several_choices(shop):
    """Links that fit equally well are a 300 with just these."""
    answer = await shop.ask("GET", f"{KEY}?linkType=gs1:certificationInfo")
    assert (answer.status, answer.headers["Content-Type"]) == (300, LINKSET)
    (context,) = checked(answer.json)["linkset"]
    assert [one["title"] for one in context[VOC + "certificationInfo"]] == ["C1", "C2"]
    assert set(context) == {"anchor", "itemDescription", VOC + "certificationInfo"}
    page = await shop.ask(
        "GET", f"{KEY}?linkType=gs1:certificationInfo", headers={"Accept": "text/html"}
    )
    assert page.status == 300
    assert b'href="https://example.org/c1"' in page.body


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("x=1&y=%20&17=261231", "https://example.org/p7?x=1&y=%20&17=261231"),
        ("linkType=gs1:pip&x=1", "https://example.org/p7?x=1"),
        ("linkType=gs1:masterData&x=1", f"https://example.org/m?g={GTIN}"),
        ("linkType=gs1:support&context=SE&x=1", "https://example.org/se?x=1"),
        ("x=%0d%0aA:b", "https://example.org/p7?x=%0d%0aA:b"),
    ],
)
async def test_11_query_goes_along(shop, query, target):
    """The query is passed on, the resolver's own members excepted, unless the link says no."""
    answer = await shop.ask("GET", f"{KEY}?{query}")
    assert (answer.status, answer.headers["Location"]) == (307, target)


async def test_12_link_header(shop):
    """Redirects and linksets say where the linkset is."""
    for path in (KEY, f"{KEY}?linkType=linkset", f"{KEY}?linkType=gs1:certificationInfo"):
        for method in ("GET", "OPTIONS"):
            answer = await shop.ask(method, path)
            expected = f'<{ROOT}{KEY}?linkType=linkset>; rel="linkset"; type="{LINKSET}"'
            assert expected in answer.headers["Link"]


async def test_13_context_header(shop):
    """A linkset names the JSON-LD context that makes it linked data."""
    answer = await shop.ask("GET", f"{KEY}?linkType=linkset")
    context = f'<{CONTEXT_URL}>; rel="http://www.w3.org/ns/json-ld#context"; '
    assert context + 'type="application/ld+json"' in answer.headers["Link"]


@pytest.mark.parametrize(
    ("query", "headers", "target"),
    [
        ("linkType=gs1:instructions", {"Accept-Language": "sv"}, "sv"),
        ("linkType=gs1:instructions", {"Accept-Language": "fr, en;q=0.5, sv;q=0.7"}, "sv"),
        ("linkType=gs1:instructions", {"Accept-Language": "en-GB"}, "en"),
        ("linkType=gs1:safetyInfo", {"Accept": "application/pdf"}, "safe.pdf"),
        ("linkType=gs1:safetyInfo", {"Accept": "text/html, application/pdf;q=0.4"}, "safe"),
        ("linkType=gs1:support&context=CN", {}, "cn"),
        ("linkType=gs1:support&context=se", {}, "se"),
    ],
)
async def test_14_negotiation(shop, query, headers, target):
    """Language, media type and context choose among links of one type, with their q values."""
    answer = await shop.ask("GET", f"{KEY}?{query}", headers=headers)
    assert (answer.status, answer.headers["Location"]) == (307, f"https://example.org/{target}")


async def test_14_no_preference(shop):
    """Where nothing tells the links of a type apart for the request, all of them are offered."""
    assert (await shop.ask("GET", f"{KEY}?linkType=gs1:instructions")).status == 300


@pytest.mark.parametrize(
    "path",
    [KEY + "/", f"/gtin/{GTIN}", "/01/9521234543213", f"/shop/a{KEY}", f"/gtin/{GTIN}/lot/L9/"],
)
async def test_15_tolerance(shop, path):
    """A trailing slash, word forms, short GTINs and stems are tolerated."""
    answer = await shop.ask("GET", path)
    assert (answer.status, answer.headers["Location"]) == (307, "https://example.org/p7")
    assert f"<{ROOT}{KEY}" in answer.headers["Link"]


async def test_16_vocabularies(shop):
    """Other vocabularies stand beside that of GS1, in full or by their prefix."""
    register(
        shop,
        "/01/09521234543206",
        link(1, "untp:dte", "https://example.org/dte", type="application/vc+jwt"),
        link(2, "describedby", "https://example.org/by"),
        link(3, "https://example.org/rel", "https://example.org/own"),
    )
    found = (await linkset(shop, "/01/09521234543206"))["/01/09521234543206"]
    assert found["https://vocabulary.uncefact.org/untp/dte"][0]["type"] == "application/vc+jwt"
    assert found["describedby"][0]["href"] == "https://example.org/by"
    for name, target in (("untp:dte", "dte"), ("describedby", "by")):
        answer = await shop.ask("GET", f"/01/09521234543206?linkType={name}")
        assert answer.headers["Location"] == f"https://example.org/{target}"


@pytest.mark.parametrize("stem", ["", "/q"])
@pytest.mark.parametrize("how", [{}, {"sequences": False}, {"partly": True}])
async def test_17_compressed(shop, stem, how):
    """A compressed link is answered as what it stands for, which the Link header says."""
    plain = f"{KEY}/22/V1/10/L7/21/S1"
    short = compressed(plain + "?17=261231&x=1", **how)
    answer = await shop.ask("GET", stem + short)
    assert (answer.status, answer.headers["Location"]) == (
        307,
        "https://example.org/l7?17=261231&x=1",
    )
    assert relations(answer.headers["Link"])["owl:sameAs"] == ROOT + plain
    answer = await shop.ask("GET", f"{stem}{short}?linkType=linkset")
    assert answer.json["linkset"][0]["anchor"] == ROOT + plain
    assert relations(answer.headers["Link"])["owl:sameAs"] == ROOT + plain
    answer = await shop.ask("GET", f"/api/linkset{stem}{short}")
    assert (answer.status, answer.json["linkset"][0]["anchor"]) == (200, ROOT + plain)
    answer = await shop.ask("GET", compressed("/01/09521234543206/21/1"))
    assert answer.status == 404
    assert relations(answer.headers["Link"])["owl:sameAs"].endswith("/01/09521234543206/21/1")
    answer = await shop.ask("GET", f"{KEY}/EEarwSN")
    assert answer.status == 400


async def test_17_epc_binary(shop):
    """So is what an RFID tag sends: an EPC binary string (EPCB 1.0.0)."""
    register(shop, f"{KEY}/21/18", link(1, "gs1:pip", "https://example.org/i18", default=True))
    bits = f"{0x30:08b}{0:03b}{5:03b}{9521234:024b}{54321:020b}{18:038b}"
    answer = await shop.ask("GET", f"/q/eh{int(bits, 2):024x}")
    assert (answer.status, answer.headers["Location"]) == (307, "https://example.org/i18")
    assert relations(answer.headers["Link"])["owl:sameAs"] == f"{ROOT}{KEY}/21/18"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/01/09524000000002?a=b", "https://other.example/01/09524000000002?a=b"),
        ("/00/095241234567890120", "https://finer.example/dl/00/095241234567890120"),
    ],
)
async def test_18_forwarding(shop, path, target):
    """Company prefixes of other resolvers are sent there, with gs1:handledBy for the linkset."""
    answer = await shop.ask("GET", path)
    assert (answer.status, answer.headers["Location"]) == (307, target)
    said = relations(answer.headers["Link"])
    assert "linkset" not in said
    assert target.startswith(said[VOC + "handledBy"])
    assert 'rel="gs1:handledBy"' in answer.headers["Link"]


async def test_18_forwarding_by_record(shop):
    """A record that only says who handles it sends there too."""
    register(shop, "/01/09521234543206", link(1, "gs1:handledBy", "https://brand.example/id"))
    answer = await shop.ask("GET", "/01/09521234543206/21/7?linkType=linkset")
    assert answer.headers["Location"] == (
        "https://brand.example/id/01/09521234543206/21/7?linkType=linkset"
    )


async def test_19_titles(shop):
    """Every link of a linkset has a target and a title."""
    for context in (await linkset(shop, f"{KEY}/22/V1/10/L7/21/S1")).values():
        for name, links in context.items():
            if isinstance(links, list):
                assert all(one["href"] and one["title"] for one in links), name
