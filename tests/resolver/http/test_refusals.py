"""A refusal's status and detail say what to do next (ADR 0092); OPTIONS and CORS for programs."""

from __future__ import annotations

import pytest

from protocol.errors import AtOdds, InvalidValue, TakesNoChanges
from resolver.http.openapi import document
from resolver.http.openapi_parts import Facts
from resolver.writer_link import WriterLink
from tests.resolver.http.node_in_process import value

ORIGIN = {"Origin": "https://example.org"}


async def test_a_record_that_does_not_take_it(served):
    """Values in order that only this record refuses are 409, with the Handle code they had."""
    answer = await served.as_admin(
        "PUT", "/api/handles/86.999/0.GRANTS", [{"index": 1, "type": "DESC", "data": "x"}]
    )
    assert (answer.status, answer.json["responseCode"]) == (409, 202)
    assert "0.LABEL" in answer.json["message"]
    assert issubclass(AtOdds, InvalidValue)


async def test_changes_at_a_mirror(served, tmp_path):
    """A mirror refuses changes for good: 403, and the primary is named."""
    served.node.writer = WriterLink(tmp_path, primary="https://id.example.org")
    body = [{"index": 1, "type": "DESC", "data": "x"}]
    answer = await served.as_admin("PUT", "/api/handles/86.999/m", body)
    assert answer.status == 403
    assert "https://id.example.org" in answer.json["message"]
    answer = await served.as_admin("POST", "/api/grants", {"to": "300:86.999/x"})
    assert answer.status == 403
    assert "https://id.example.org" in answer.json["detail"]
    with pytest.raises(TakesNoChanges):
        await served.node.writer.keep([])


async def test_options_tell_the_methods(served):
    """Every described resource answers OPTIONS; what it allows is what is described."""
    for path, item in document(Facts(("86.999",), witnesses=False))["paths"].items():
        if "{" in path:
            continue
        answer = await served.ask("OPTIONS", path, headers=ORIGIN)
        assert answer.status in {200, 204}, path
        if "Allow" in answer.headers and path != "/":
            told = set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"}
            assert told == {method.upper() for method in item}, path


async def test_scripts_of_other_origins(served):
    """They read the log and errors too, but nothing that is for the operator's machines alone."""
    for path in ("/log/checkpoint", "/api/resolve", "/openapi.json", "/epcis"):
        answer = await served.ask("GET", path, headers=ORIGIN)
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", ORIGIN["Origin"]}, path
    for path in ("/metrics", "/health/ready"):
        answer = await served.ask("GET", path, headers=ORIGIN)
        assert "Access-Control-Allow-Origin" not in answer.headers
    wanted = {**ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = await served.ask("OPTIONS", "/api/registrations", headers=wanted)
    assert answer.status == 204
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


async def test_the_next_step_stands_in_the_detail(served):
    """Problems of the interface itself have a detail as well."""
    for method, path in (
        ("GET", "/api/none"),
        ("GET", "/log/none"),
        ("PATCH", "/api/node"),
        ("PATCH", "/x/y"),
        ("POST", "/api/registrations"),
    ):
        answer = await served.ask(method, path)
        assert answer.status >= 400
        assert answer.json["detail"], path


async def test_a_top_prefix_is_read_as_a_handle(served):
    """Where 86 itself is at home, 86/7 is a handle and no VAA code without its segments."""
    served.node.prefixes.responsible = lambda name: name.startswith(b"86/")
    served.node.lookup.prefixes = served.node.prefixes
    served.register("86.999/seven", value(1, "DESC", "a pump"))
    answer = await served.ask("GET", "/api/resolve?id=86/seven")
    assert answer.status == 404
    assert answer.json["scheme"] == "handle"
    named = await served.ask("GET", "/api/resolve?id=86/seven&scheme=vaa")
    assert named.status == 400


def test_conditions_stand_in_the_description():
    """What OpenAPI cannot say of parameters stands apart, where each operation names it."""
    made = document(Facts(("86.999",)))
    kept = made["components"]["parameters"]
    put = made["paths"]["/api/handles/{handle}"]["put"]
    named = {one["$ref"].rpartition("/")[2] for one in put["x-conditional-parameters"]}
    assert named == {"WrittenIndexes", "IfNoneMatch", "IfMatch", "IdempotencyKey"}
    assert kept.keys() > named
    assert {"400", "412", "422"} <= put["responses"].keys()
    assert {} not in put["security"]
