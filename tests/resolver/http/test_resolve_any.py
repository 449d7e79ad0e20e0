from __future__ import annotations

from tests.resolver.http.node_in_process import value


async def test_resolve(served):
    """An identifier in any spelling is answered with its values, steps and verification."""
    served.register("86.999/p1", value(1, "URL", "http://example.org/"), value(2, "DESC", "pump"))
    for spelling in ("86.999/p1", "hdl:86.999/P1", "https://hdl.handle.net/86.999/p1"):
        answer = await served.ask("GET", f"/api/resolve?id={spelling}&type=DESC")
        assert answer.status == 200, spelling
        assert [one["index"] for one in answer.json["values"]] == [2]
        assert answer.json["source"] == "store"
        assert answer.json["version"] > 0
    answer = await served.ask("GET", "/api/resolve?id=86.999/p1&steps=1&verify=1")
    assert answer.json["verification"] == {"status": "unsigned"}
    assert answer.json["steps"][0]["outcome"] == "SUCCESS"


async def test_own_prefix_record_verifies(served):
    """The record of a standing-alone node's prefix verifies up to its own root key."""
    answer = await served.ask("GET", "/api/resolve?id=0.NA/86.999&verify=1&scheme=handle")
    assert answer.status == 200
    assert answer.json["verification"]["status"] in {"verified", "unsigned"}


async def test_problems(served):
    """Errors are problem documents with a reason."""
    for query, status in (
        ("", 400),
        ("id=", 400),
        ("id=86.999/none", 404),
        ("id=10.5/x", 404),
        ("id=86.999/p1&scheme=odd", 400),
        ("id=86.999/0.NA&index=x", 404),
    ):
        answer = await served.ask("GET", f"/api/resolve?{query}")
        assert (answer.status, answer.headers["Content-Type"]) == (
            status,
            "application/problem+json",
        ), query
    answer = await served.ask("GET", "/api/resolve?id=urn:oid:1.2.x")
    assert answer.json["reason"]


async def test_openapi(served):
    """The interface describes itself; every mounted resource is in it."""
    answer = await served.ask("GET", "/openapi.json")
    document = answer.json
    assert document["openapi"] == "3.1.0"
    for path in ("/api/handles/{handle}", "/api/registrations", "/{identifier}", "/health/ready"):
        assert path in document["paths"]
    names = {name for kind in document["components"].values() for name in kind}

    def references(node):
        if isinstance(node, dict):
            for key, inner in node.items():
                if key == "$ref":
                    yield inner
                yield from references(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from references(inner)

    assert {one.rpartition("/")[2] for one in references(document["paths"])} <= names


async def test_tunnel(served):
    """A DO-IRP message in a POST is answered with one, on any path and over TLS too."""
    from protocol.doirp.header import OpCode
    from protocol.doirp.message import decode_message, encode_message, request
    from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request

    served.register("86.999/p1", value(1, "URL", "http://example.org/"))
    body = encode_resolution_request(ResolutionRequest(b"86.999/p1", (), ()))
    message = encode_message(request(OpCode.RESOLUTION, body, request_id=7, expiration=2**31))
    headers = {"Content-Type": "application/x-hdl-message"}
    for path, tls, sent in (
        ("/", False, message),
        ("/86.999%2Fp1", True, message),
        ("/api/handles/86.999/p1", False, b"\n" + message),
    ):
        answer = await served.ask("POST", path, tls=tls, body=sent, headers=headers)
        assert (answer.status, answer.headers["Content-Type"]) == (200, headers["Content-Type"])
        reply = decode_message(answer.body)
        assert reply.header.response_code == 1
        assert b"http://example.org/" in reply.body
    answer = await served.ask("POST", "/", body=b"nonsense", headers=headers)
    assert answer.status in (200, 400)
    answer = await served.ask("POST", "/", body=b"x" * 300_000, headers=headers)
    assert answer.status == 413


async def test_one_record_under_several_identifiers(served):
    """A name that the record's owner declares, and that declares it back, gives that record."""
    served.register(
        "86.999/p1", value(1, "URL", "http://example.org/"), value(2, "0.ALIAS", "86.999/other")
    )
    served.register("86.999/other", value(1, "0.ALIAS", "hdl:86.999/P1"))
    served.register("86.999/claims", value(1, "0.ALIAS", "86.999/p1"))
    served.register("86.999/old", value(1, "HS_ALIAS", "86.999/other"))
    answer = await served.ask("GET", "/api/resolve?id=86.999/other&steps=1")
    assert (answer.json["aliases"], answer.json["record"]) == (["86.999/other"], "86.999/P1")
    assert answer.json["values"][0]["type"] == "URL"
    assert [step["asked"] for step in answer.json["steps"]] == ["86.999/other", "86.999/P1"]
    answer = await served.ask("GET", "/api/resolve?id=86.999/old")
    assert answer.json["aliases"] == ["86.999/old", "86.999/other"]
    answer = await served.ask("GET", "/api/resolve?id=86.999/claims")
    assert "does not declare it back" in answer.json["note"]
    assert answer.json["values"][0]["type"] == "0.ALIAS"
    answer = await served.ask("GET", "/api/resolve?id=86.999/other&alias=0")
    assert answer.json["values"][0]["type"] == "0.ALIAS"
    answer = await served.ask("GET", "/86.999/other")
    assert (answer.status, answer.headers["Location"]) == (302, "http://example.org/")
    answer = await served.ask("GET", "/86.999/claims")
    assert answer.status == 200
    served.register("86.999/a", value(1, "HS_ALIAS", "86.999/b"))
    served.register("86.999/b", value(1, "HS_ALIAS", "86.999/a"))
    answer = await served.ask("GET", "/api/resolve?id=86.999/a")
    assert (answer.status, answer.json["responseCode"]) == (508, 6)
