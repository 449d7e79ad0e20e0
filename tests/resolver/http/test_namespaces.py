"""HS_NAMESPACE over HTTP: templates on every path, locations and status for browsers."""

from __future__ import annotations

import socket
from xml.etree import ElementTree as ET

import pytest

from protocol.change import Change, Kind
from protocol.record import HandleValue
from tests.resolver.http.node_in_process import value
from tests.resolver.http.test_fastpath import DATE, get, same
from tests.resolver.http.test_fastpath import world as fed  # noqa: F401 - a fixture

RECORD = b"0.NA/86.999"
TEMPLATE = (
    '<template delimiter="@"><foreach><if value="type" expression="URL">'
    '<value data="${data}?${extension}"/></if><else><value/></else></foreach></template>'
)


def give(served, inner, index=500):
    """The prefix's namespace, as its administrator writes it."""
    data = f"<namespace>{inner}</namespace>".encode()
    change = Change(
        Kind.ADD, RECORD, values=(HandleValue(index, b"HS_NAMESPACE", data),), overwrite=True
    )
    (outcome,) = served.node.writer.writer.commit([change])
    assert outcome.error is None, outcome


@pytest.fixture
def node(served):
    served.register("86.999/v", value(1, "URL", "http://e.example/v"), value(2, "DESC", "film"))
    return served


async def test_a_made_name_over_each_path(node):
    """The Handle interface, our own, the tunnel's, the page and the redirect give the same name."""
    assert (await node.ask("GET", "/api/handles/86.999/v@1")).status == 404
    give(node, TEMPLATE)
    answer = await node.ask("GET", "/api/handles/86.999/v@1")
    assert (answer.status, answer.json["handle"]) == (200, "86.999/v@1")
    assert [one["data"]["value"] for one in answer.json["values"]] == [
        "http://e.example/v?1",
        "film",
    ]
    assert "ETag" not in answer.headers
    answer = await node.ask("GET", "/api/resolve?id=86.999/v@1")
    assert answer.json["values"][0]["data"]["value"] == "http://e.example/v?1"
    answer = await node.ask("GET", "/86.999/v@1")
    assert (answer.status, answer.headers["Location"]) == (302, "http://e.example/v?1")
    assert b"film" in (await node.ask("GET", "/86.999/v@1?noredirect")).body
    answer = await node.ask("GET", "/api/handles/86.999/none@1")
    assert (answer.status, answer.json["responseCode"]) == (200, 200)
    assert (await node.ask("GET", "/api/handles/86.999/none")).status == 404


async def test_a_refused_template_is_an_error_in_words(node):
    """Code 2 and a message that shows the expression."""
    give(node, '<template delimiter="@"><if test="matches" expression="(a)\\1"/></template>')
    answer = await node.ask("GET", "/api/handles/86.999/v@1")
    assert (answer.status, answer.json["responseCode"]) == (500, 2)
    assert r"(a)\1" in answer.json["message"]


async def test_the_fast_way_leaves_made_names_alone(fed):  # noqa: F811
    """Hits stay fast, and misses that the prefix's template does not divide."""
    hit, miss = get(b"/api/handles/86.999/p1"), get(b"/api/handles/86.999/p1@x")
    page = get(b"/86.999/p1")
    assert [await same(fed, one) for one in (hit, miss, page)] == [1, 1, 1]
    give(fed, TEMPLATE)
    assert [await same(fed, one) for one in (hit, miss, page)] == [1, 0, 1]
    assert await same(fed, get(b"/api/handles/86.999/absent")) == 1
    give(fed, "<locs>86.999/locs</locs>")
    assert [await same(fed, one) for one in (hit, miss, page)] == [1, 1, 0]
    give(fed, "<status>inactive</status>")
    assert [await same(fed, one) for one in (hit, miss, page)] == [1, 1, 0]


async def test_real_sockets(fed):  # noqa: F811
    """A made name between two stored ones on one connection."""
    give(fed, TEMPLATE)
    asked = [get(b"/api/handles/86.999/" + name) for name in (b"p1", b"p1@x", b"p1")]
    with socket.create_connection(("127.0.0.1", fed.http)) as client:
        client.setblocking(False)
        import asyncio

        loop, got = asyncio.get_running_loop(), []
        for one in asked:
            await loop.sock_sendall(client, one)
            data = b""
            while not data.endswith(b"]}"):
                data += await loop.sock_recv(client, 65536)
            got.append(DATE.sub(b"", data))
    assert got[0] == got[2]
    assert b"http://example.org/a?x" in got[1]


async def test_an_inactive_prefix(node):
    """Browsers get its message and 404, whatever the name; programs go on."""
    give(node, "<status>inactive</status><statusmsg>moved to &lt;88&gt;</statusmsg>")
    for path in ("/86.999/v", "/86.999/none", "/page/86.999/v"):
        answer = await node.ask("GET", path)
        assert answer.status == 404
        assert b"moved to &lt;88&gt;" in answer.body
    assert (await node.ask("GET", "/api/handles/86.999/v")).status == 200
    assert (await node.ask("GET", "/page/0.NA/86.999")).status == 200


async def test_locations_of_a_namespace(node):
    """They are chosen among with a record's URL, or its own locations unless it says no."""
    node.register(
        "86.999/locs",
        value(
            1,
            "10320/loc",
            '<locations><location id="m" href_template="http://m.example/{hdl:path}?h={hdl}"/>'
            "</locations>",
        ),
    )
    own = '<locations{}><location id="o" href="http://own.example/"/></locations>'
    node.register("86.999/own", value(1, "10320/loc", own.format("")))
    node.register("86.999/alone", value(1, "10320/loc", own.format(' no_nslocs="true"')))
    node.register("86.999/text", value(1, "DESC", "no address"))
    give(node, "<locs>86.999/locs</locs><locs>86.999/absent</locs>")

    async def leads(path):
        return (await node.ask("GET", path)).headers.get("Location")

    mirror = "http://m.example/86.999/{0}?h=86.999%2F{0}"
    assert await leads("/86.999/v?locatt=id:m") == mirror.format("v")
    assert await leads("/86.999/own?locatt=id:m") == mirror.format("own")
    assert await leads("/86.999/own?locatt=id:o") == "http://own.example/"
    assert await leads("/86.999/alone?locatt=id:m") == "http://own.example/"
    assert await leads("/86.999/text") is None
    found = {await leads("/86.999/v") for _ in range(40)}
    assert found == {"http://e.example/v", mirror.format("v")}
    for name, ids in (("v", [None, "m"]), ("own", ["o", "m"]), ("alone", ["o"])):
        shown = ET.fromstring((await node.ask("GET", f"/86.999/{name}?action=showurls")).body)
        assert [one.get("id") for one in shown] == ids
    give(node, "<status>active</status>")
    assert {await leads("/86.999/v") for _ in range(10)} == {"http://e.example/v"}
