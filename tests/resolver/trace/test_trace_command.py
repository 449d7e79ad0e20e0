"""`biaoshi trace`, and the HTTP face of one node: the same trace, shown and streamed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest

from tests.resolver.nodes import Serving, biaoshi, make
from tests.resolver.trace.test_companies import HIDDEN, at, capture, gtin

ZONE = "GS1.9.5.2.1.1.1.1"
LOT, COIL = gtin("steel", 1) + "/10/A1", gtin("steel", 2) + "/21/C1"
PART, DISC = gtin("steel", 3) + "/21/P1", gtin("steel", 3) + "/21/P2"
BOX = "https://id.gs1.org/8003/09521111000014B1"
SHOP = {"id": "https://id.gs1.org/414/9521111000013"}
EVENTS = [
    at(
        1,
        "TransformationEvent",
        inputQuantityList=[{"epcClass": LOT, "quantity": 2.5}],
        outputEPCList=[COIL],
    ),
    at(2, "TransformationEvent", inputEPCList=[COIL], outputEPCList=[PART, DISC]),
    at(3, "TransformationEvent", inputEPCList=[DISC], outputEPCList=[DISC], bizStep="repairing"),
    at(4, "AggregationEvent", action="ADD", parentID=BOX, childEPCs=[PART]),
    at(
        5,
        "ObjectEvent",
        action="OBSERVE",
        epcList=[BOX],
        bizLocation=SHOP,
        disposition="in_transit",
    ),
    at(6, "ObjectEvent", action="DELETE", epcList=[DISC], bizStep="destroying"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("one") / "node", ZONE)
    capture(made, ZONE, *EVENTS)
    capture(made, ZONE, at(7, "ObjectEvent", action="OBSERVE", epcList=[PART]), label=HIDDEN)
    return made


@pytest.fixture(scope="module")
def node(folder):
    serving = Serving(folder)
    assert serving.ready, serving.logged()
    yield serving
    serving.end()


def fetch(node, id_, more="", **headers):
    url = f"{node.url}/api/trace/{quote(id_, safe='')}?{more}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as r:
            return r.status, dict(r.headers), r.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_the_chain_as_a_tree(folder):
    """A folder's trace shows the chain with its times, and that every signature holds."""
    done = biaoshi("trace", PART, "--node", folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("/01/09521111000037/21/P1 came from")
    assert any("C1  [transformation 2026-03-01 00:02] ✓" in line for line in lines)
    assert any(
        "A1  [transformation 2026-03-01 00:01, 2.5, may contain] ✓" in line for line in lines
    )
    assert "✗" not in done.stdout
    assert "3 things" not in lines[-1]


def test_a_recall_by_holder(folder):
    """A recall groups what a lot went into by who has it now."""
    done = biaoshi("trace", LOT, "--recall", "--json", "--node", folder)
    groups = json.loads(done.stdout)["recall"]
    found = {group["holder"] + "|" + group["disposition"]: group["things"] for group in groups}
    assert found[SHOP["id"] + "|in_transit"] == [PART]
    assert found["|destroyed"] == [DISC]
    shown = biaoshi("trace", LOT, "--recall", "--node", folder).stdout
    assert "/414/9521111000013, in_transit: 1" in shown


def test_unknown_and_wrong(folder):
    """What is not known is said with code 1, a wrong option with code 2."""
    assert biaoshi("trace", COIL + "X", "--node", folder).returncode == 1
    assert biaoshi("trace", COIL, "--at", "noon", "--node", folder).returncode == 2
    assert biaoshi("trace", COIL, "--hops", "iterative", "--node", folder).returncode == 2


def test_the_same_octets(node):
    """Asked twice in any spelling a trace is the same octets, and not sent again with its ETag."""
    one = fetch(node, PART)
    urn = fetch(node, "urn:epc:id:sgtin:9521111.000003.P1")
    assert one[0] == 200
    assert one[2] == urn[2]
    assert fetch(node, PART, **{"If-None-Match": one[1]["ETag"]})[0] == 304


def test_cycles_are_marked(node):
    """An item that was reworked has an edge that closes a circle, and only that one is marked."""
    _, _, body = fetch(node, COIL, "direction=forward")
    marked = [edge for edge in json.loads(body)["edges"] if edge.get("cycle")]
    assert [(edge["from"], edge["to"]) for edge in marked] == [(DISC, DISC)]


def test_json_lines(node):
    """As JSON lines, counts come first, then each part in order; together the same trace."""
    _, headers, body = fetch(node, COIL, "direction=forward", Accept="application/x-ndjson")
    assert headers["Content-Type"] == "application/x-ndjson"
    head, *rows = map(json.loads, body.splitlines())
    whole = json.loads(fetch(node, COIL, "direction=forward")[2])
    assert head["counts"] == {
        name: len(whole[name]) for name in ("nodes", "edges", "events", "gaps", "evidence")
    }
    assert [row["node"] for row in rows if row["part"] == "node"] == whole["nodes"]


def test_limits_become_gaps(node):
    """A bound of depth leaves a gap, and a trace that is not complete."""
    result = json.loads(fetch(node, PART, "depth=1")[2])
    assert not result["complete"]
    assert {(gap["id"], gap["reason"]) for gap in result["gaps"]} >= {(LOT, "limit")}


def test_hidden_events_and_the_administrator(node, folder):
    """An event that is not public is told to the administrator alone."""
    assert json.loads(fetch(node, PART)[2])["stats"]["events"] == 4
    key = folder / "keys" / "admin_300.pem"
    done = biaoshi(
        "trace", PART, "--node", f"https://127.0.0.1:{node.ready['https']}", "--auth", key, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stats"]["events"] == 5


@pytest.mark.parametrize(
    "query",
    [
        "direction=up",
        "depth=-1",
        "depth=x",
        "at=noon",
        "hops=some",
        "more=1",
        "depth=1&depth=2",
    ],
)
def test_refused_questions(node, query):
    """A parameter that is none, or out of its bounds, is refused as a problem."""
    status, headers, _ = fetch(node, PART, query)
    assert status in {400, 422}
    assert headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", 404),
        ("at=2026-03-01T00:00:00Z&to=2026-02-01T00:00:00Z", 404),
        ("at=2026-03-01T00:00:00Z&from=2026-04-01T00:00:00Z", 404),
        ("at=2036-01-01T00:00:00Z&to=2036-02-01T00:00:00Z", 200),
    ],
)
def test_moments_within_spans(node, query, expected):
    """A moment may stand with a span that holds it; in an empty span there is nothing."""
    assert fetch(node, PART, query)[0] == expected
