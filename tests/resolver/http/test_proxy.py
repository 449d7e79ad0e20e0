from __future__ import annotations

import itertools
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET

import pytest

from protocol.errors import BadIdentifier
from resolver.http.address import safe_address
from resolver.http.proxy import name_of
from tests.resolver.http.node_in_process import value

LOC = (
    "<locations>"
    '<location id="0" href="http://zero.example/" weight="0" country="gb"/>'
    '<location id="1" href="http://one.example/" weight="1"/>'
    '<location id="2" href="http://two.example/" weight="1"/>'
    "</locations>"
)


@pytest.fixture
def world(served):
    served.register(
        "86.999/r1",
        value(1, "URL", "http://example.org/target?x=1", ttl=60),
        value(2, "EMAIL", "x@example.org"),
        value(3, "URL", "http://example.org/second"),
    )
    served.register(
        "86.999/loc", value(1, "URL", "http://plain.example/"), value(2, "10320/loc", LOC)
    )
    served.register("86.999/alias", value(1, "HS_ALIAS", "86.999/r1"))
    served.register("86.999/text", value(1, "DESC", "<script>alert(1)</script>"))
    served.register("86.999/js", value(1, "URL", "javascript:alert(1)"))
    served.register("86.999/hidden", value(1, "URL", "http://h.example/", permissions=0b1100))
    return served


async def test_redirect(world):
    """A URL value is a 302 to it with Expires after its TTL, whatever the spelling or method."""
    for path in ("/86.999/r1", "/hdl:86.999/r1", "/86.999%2Fr1", "/86.999/R1?auth&other=1"):
        answer = await world.ask("GET", path)
        assert answer.status == 302, path
        assert answer.headers["Location"] == "http://example.org/target?x=1"
    expires = parsedate_to_datetime(answer.headers["Expires"]).timestamp()
    assert 50 < expires - world.node.now() < 70
    assert b'<a href="http://example.org/target?x=1">' in answer.body
    for method, tls in itertools.product(("HEAD", "POST", "GET"), (False, True)):
        assert (await world.ask(method, "/86.999/r1", tls=tls)).status == 302
    answer = await world.ask("DELETE", "/86.999/r1")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize(
    "query", ["noredirect", "noredirect=false", "type=EMAIL", "index=2", "noredirect&type=URL"]
)
async def test_page(world, query):
    """noredirect, or values that are no address, give a page of just these values."""
    answer = await world.ask("GET", f"/86.999/r1?{query}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html;charset=UTF-8"
    shown = b"x@example.org" in answer.body
    assert shown == (query != "noredirect&type=URL")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"


async def test_chosen_values_redirect(world):
    """type=URL and index=1 redirect; index chooses among several addresses."""
    assert (await world.ask("GET", "/86.999/r1?type=URL")).status == 302
    answer = await world.ask("GET", "/86.999/r1?index=3")
    assert answer.headers["Location"] == "http://example.org/second"


async def test_urlappend(world):
    """urlappend is added decoded, and cannot lead to another host."""
    answer = await world.ask("GET", "/86.999/r1?urlappend=%26y%3D2")
    assert answer.headers["Location"] == "http://example.org/target?x=1&y=2"
    answer = await world.ask("GET", "/86.999/r1?urlappend=%0d%0aSet-Cookie:a=b")
    assert answer.headers["Location"] == "http://example.org/target?x=1"
    assert "Set-Cookie" not in answer.headers


async def test_alias(world):
    """HS_ALIAS is a 301 on this host; ignore_aliases shows the record."""
    answer = await world.ask("GET", "/86.999/alias")
    assert (answer.status, answer.headers["Location"]) == (301, "/86.999/r1")
    answer = await world.ask("GET", "/86.999/alias?locatt=a:b")
    assert answer.headers["Location"] == "/86.999/r1?locatt=a%3Ab"
    answer = await world.ask("GET", "/86.999/alias?ignore_aliases")
    assert answer.status == 200
    world.register("86.999/evil", value(1, "HS_ALIAS", "//evil.example/x"))
    answer = await world.ask("GET", "/86.999/evil")
    assert answer.headers["Location"] == "/evil.example/x"


async def test_locations(world):
    """10320/loc is preferred: by attribute, else by weight, never the one of weight 0."""
    answer = await world.ask("GET", "/86.999/loc?locatt=id:0")
    assert answer.headers["Location"] == "http://zero.example/"
    answer = await world.ask("GET", "/86.999/loc?locatt=country:gb")
    assert answer.headers["Location"] == "http://zero.example/"
    seen = {
        (await world.ask("GET", f"/86.999/loc?locatt=id:{9}")).headers["Location"]
        for _ in range(40)
    }
    assert seen == {"http://one.example/", "http://two.example/"}


async def test_show_urls(world):
    """action=showurls gives every address as XML."""
    answer = await world.ask("GET", "/86.999/r1?action=showurls")
    assert answer.headers["Content-Type"].startswith("text/xml")
    found = [one.attrib for one in ET.fromstring(answer.body)]
    assert found == [
        {"mode": "legacy", "weight": "1.0", "href": "http://example.org/target?x=1"},
        {"mode": "legacy", "weight": "1.0", "href": "http://example.org/second"},
    ]


async def test_values_are_escaped(world):
    """Markup in a value is shown, not run."""
    answer = await world.ask("GET", "/86.999/text")
    assert b"<script>" not in answer.body
    assert b"&lt;script&gt;alert(1)&lt;/script&gt;" in answer.body


async def test_markup_in_names_is_escaped(world):
    """Markup in an identifier is shown, not run."""
    for path in ("/86.999/%3Cscript%3E", '/86.999/"%3E%3Cimg', "/10.5/%3Cb%3E"):
        answer = await world.ask("GET", path)
        assert answer.status in (400, 404)
        assert b"<script>" not in answer.body
        assert b"<img" not in answer.body
        assert b"<b>" not in answer.body


async def test_dangerous_schemes(world):
    """A scheme that is not allowed is never redirected to nor made a link."""
    answer = await world.ask("GET", "/86.999/js")
    assert answer.status == 200
    assert "Location" not in answer.headers
    assert b'href="javascript' not in answer.body


async def test_no_such_identifier(world):
    """Unknown names are a 404 page that helps; foreign prefixes a 400 page."""
    answer = await world.ask("GET", "/86.999/none")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "text/html;charset=UTF-8"
    answer = await world.ask("GET", "/86.999/r1/")
    assert answer.status == 404
    assert b'<a href="/86.999/r1">' in answer.body
    foreign = await world.ask("GET", "/10.5/x")
    assert foreign.status == 400
    assert b"Ask the resolver of its organisation" in foreign.body
    assert (await world.ask("GET", "/nowhere")).status == 404
    assert (await world.ask("GET", "/86.999/%zz")).status == 400
    assert (await world.ask("GET", "/86.999/%ff")).status == 400


async def test_hidden_values_stay_hidden(world):
    """A record of hidden values only has an empty page."""
    answer = await world.ask("GET", "/86.999/hidden")
    assert answer.status == 200
    assert b"h.example" not in answer.body


async def test_front_page_and_page_path(world):
    """/ is a form that leads to identifiers; /page/ID is always the page."""
    answer = await world.ask("GET", "/")
    assert answer.status == 200
    assert b"<form" in answer.body
    assert b"<script" not in answer.body
    answer = await world.ask("GET", "/?id=86.999/r1%20x")
    assert answer.headers["Location"] == "/86.999/r1%20x"
    answer = await world.ask("GET", "/?id=//evil.example")
    assert answer.headers["Location"] == "/evil.example"
    answer = await world.ask("GET", "/page/86.999/r1")
    assert answer.status == 200
    assert b"x@example.org" in answer.body


async def test_reserved_paths(world):
    """Mount points are no identifiers."""
    for path in ("/api", "/health", "/health/x", "/log/x", "/epcis/x", "/console/"):
        answer = await world.ask("GET", path)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("target", "append", "result"),
    [
        ("http://example.org/a", "", "http://example.org/a"),
        ("HTTPS://Example.org", "", "HTTPS://Example.org"),
        ("http://example.org/ü x", "", "http://example.org/%C3%BC%20x"),
        ("http://example.org/a%20b", "", "http://example.org/a%20b"),
        ("http://example.org", ".evil.example/", "http://example.org"),
        ("http://example.org", "@evil.example/", "http://example.org"),
        ("http://example.org", "/x", "http://example.org/x"),
        ("http://example.org/a?b", "&c", "http://example.org/a?b&c"),
        ("javascript:alert(1)", "", None),
        ("data:text/html,x", "", None),
        ("ftp://example.org/", "", None),
        ("file:///etc/passwd", "", None),
        ("//example.org/", "", None),
        ("/relative", "", None),
        ("http:", "", None),
        ("http:///x", "", None),
        (" http://example.org/ \n", "", "http://example.org/"),
        ("http://例子.org:81/x", "", "http://xn--fsqu00a.org:81/x"),
        ("http://\u2100.example/x", "", None),
        ("java\tscript:alert(1)", "", None),
        ("http://example.org/\r\nSet-Cookie: a=b", "", None),
        ("http:\\\\example.org\\", "", None),
        ("http://[::1", "", None),
        ("http://example.org:99999999/", "", None),
        ("http://exa mple.org/", "", None),
        ("", "", None),
    ],
)
def test_safe_address(target, append, result):
    """Only plain web addresses are redirected to, in ASCII, and only to their own host."""
    assert safe_address(target, append, frozenset({"http", "https"})) == result


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"86.999/Ab", b"86.999/Ab"),
        (b"hdl:86.999/Ab", b"86.999/Ab"),
        (b"86.999//x", b"86.999//x"),
        (b"nowhere", b"nowhere"),
    ],
)
def test_names(path, name):
    """A handle keeps its spelling; a scheme's mark is taken off."""
    assert name_of(path) == name
    with pytest.raises(BadIdentifier):
        name_of(b"86.999/\xff")
