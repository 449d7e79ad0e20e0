"""GET /openapi.json describes what is mounted, all of it and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

from resolver.http.openapi import document
from resolver.http.openapi_parts import Facts, documented, either_case
from tests.resolver.http.node_in_process import ADMIN, SECRET

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE")
WITHIN = {
    "/epcis/{tail}": "/epcis/",
    "/{tail}": "/",
}
"""Mounted once for all that lies below: what is served there is asked below."""
ALIASES = {"/api/sessions/": "/api/sessions"}


def bare(path):
    """A path without the patterns of its places."""
    return re.sub(r"{(\w+):(?:[^{}]|{[^{}]*})*}", r"{\1}", path)


def mounted(app):
    """The paths of the router, without patterns."""
    return {
        bare(route.resource.canonical if hasattr(route.resource, "canonical") else "")
        for route in app.router.routes()
    }


def filled(path):
    """A request's path of a described one: nothing of it is there."""
    example = {"key": "8004", "value": "9506000AB", "number": "1", "path": "0/000"}
    example |= {"handle": "86.999/n", "identifier": "86.999/n", "prefix": "86.999.5", "id": "x"}
    if path.startswith("/epcis"):
        example["value"] = "ADD"
    return re.sub(r"{(\w+)}", lambda found: example.get(found[1], "none"), path)


async def test_every_route_is_described(served):
    """What the router has is in the description, under the same path."""
    described = {path for path, _ in documented(document(Facts(("86.999",)))["paths"])}
    routes = mounted(served.face._runner.app)
    assert len(routes) > 30
    for path in routes:
        if path in WITHIN:
            assert any(one.startswith(WITHIN[path]) for one in described)
        else:
            assert ALIASES.get(path, path) in described, path


async def test_every_method_is_described_and_served(served):
    """A resource takes the methods that are described, and answers 405 to the others."""
    described = (await served.ask("GET", "/openapi.json")).json["paths"]
    wrong = []
    for path, item in described.items():
        known = {method.upper() for method in item}
        for method in METHODS:
            answer = await served.ask(method, filled(path), tls=True, user=(ADMIN, SECRET))
            refused = answer.status == 405
            if path == "/api/handles/{handle}" and method not in known:
                # There is no such record; 501 for one that is there.
                assert answer.status == (405 if method == "TRACE" else 404)
                continue
            if refused is (method in known) or (refused and "Allow" not in answer.headers):
                wrong.append((method, path, answer.status))
    assert not wrong


async def test_all_that_lies_below_is_described(served):
    """What /epcis and the pages answer is a described path: other ones are not there."""
    described = (await served.ask("GET", "/openapi.json")).json["paths"]
    top = (await served.ask("GET", "/epcis")).json
    names = [one if isinstance(one, str) else one["id"] for one in top["member"]]
    assert names
    for name in names:
        last = name.rstrip("/").rpartition("/")[2]
        assert f"/epcis/{last}" in described or last == "nextPageToken", name
    assert (await served.ask("GET", "/epcis/other")).status == 404
    assert (await served.ask("GET", "/api/other")).status == 404


async def test_witnesses_are_heard_where_it_is_said(served):
    """A node without witnesses neither describes nor takes their checkpoints."""
    described = (await served.ask("GET", "/openapi.json")).json["paths"]["/log/cosigned"]
    assert set(described) == {"get"}
    answer = await served.ask("POST", "/log/cosigned", body=b"x")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_what_depends_on_the_node():
    """Patterns take a name in either case, and no name of another prefix."""
    facts = Facts(("20.500.AB-c", "86.999"), witnesses=True)
    pattern = re.compile(facts.name()["pattern"])
    assert pattern.search("20.500.ab-C/x y")
    assert pattern.search("86.999/ü/泵")
    assert not pattern.search("86.9990/x")
    assert not pattern.search("86.999/a\nb")
    assert not pattern.search("20x500.AB-C/x")
    assert either_case("a.B-1") == r"[Aa]\.[Bb]-1"
    assert set(document(facts)["paths"]["/log/cosigned"]) == {"get", "post"}
    without = document(replace(facts, epcis=False))
    assert not any(path.startswith("/epcis") for path in without["paths"])
    assert document(Facts(()))["paths"]["/api/resolve"]
