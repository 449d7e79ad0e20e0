from __future__ import annotations

import gzip
import json

import pytest

from protocol.record import Reference
from tests.resolver.http.node_in_process import ADMIN, SECRET, value


@pytest.fixture
def record(served):
    served.register(
        "86.999/p1",
        value(1, "URL", "http://example.org/a"),
        value(2, "EMAIL", "x@example.org", ttl=60),
        value(3, "DESC", "hidden", permissions=0b1100),
        value(4, "DESC.en", "pump", references=(Reference(b"a/b", 1),)),
        value(100, "HS_ADMIN", b"\x0f\xff\x00\x00\x00\x0b0.NA/86.999\x00\x00\x00\xc8"),
    )
    return served


def indexes(answer):
    return [one["index"] for one in answer.json["values"]]


async def test_whole_record(record):
    """A plain read gives the public values in the documented shape."""
    answer = await record.ask("GET", "/api/handles/86.999/p1")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server"] == "Biaoshi"
    assert answer.body.startswith(b'{"responseCode":1,"handle":"86.999/p1","values":[{"index":1,')
    assert indexes(answer) == [1, 2, 4, 100]
    assert list(answer.json["values"][2]) == [
        "index",
        "type",
        "data",
        "ttl",
        "timestamp",
        "references",
    ]
    assert answer.json["values"][3]["data"]["value"]["permissions"] == "111111111111"


async def test_spelling_asked_for_is_echoed(record):
    """Look-up ignores ASCII case and the answer repeats the spelling asked for."""
    answer = await record.ask("GET", "/api/handles/86.999/P1")
    assert answer.json["handle"] == "86.999/P1"
    answer = await record.ask("GET", "/api/handles/86.999%2Fp1")
    assert answer.json["handle"] == "86.999/p1"


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("index=1", [1]),
        ("index=1&index=2", [1, 2]),
        ("index=-1", None),
        ("index=77", None),
        ("index=3", None),
        ("type=email", [2]),
        ("type=DESC.", [4]),
        ("type=DESC", None),
        ("type=desc.EN", [4]),
        ("index=1&type=EMAIL", [1, 2]),
        ("auth=true&unknown=x", [1, 2, 4, 100]),
        ("publicOnly=true", [1, 2, 4, 100]),
    ],
)
async def test_selection(record, query, chosen):
    """index and type choose their union; nothing found is 200 with code 200 and no values."""
    answer = await record.ask("GET", f"/api/handles/86.999/p1?{query}")
    assert answer.status == 200
    if chosen is None:
        assert answer.body == b'{"responseCode":200,"values":[],"handle":"86.999/p1"}'
    else:
        assert answer.json["responseCode"] == 1
        assert indexes(answer) == chosen


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("86.999/none", 404, {"responseCode": 100, "handle": "86.999/none"}),
        ("nowhere", 404, {"responseCode": 100, "handle": "nowhere"}),
        (
            "10.5/x",
            400,
            {
                "responseCode": 301,
                "message": "That prefix doesn't live here",
                "handle": "10.5/x",
            },
        ),
        ("", 400, {"responseCode": 102, "message": "Empty handle invalid"}),
    ],
)
async def test_errors(record, path, status, body):
    """Absent handles, foreign prefixes and the empty name have their codes and statuses."""
    answer = await record.ask("GET", f"/api/handles/{path}")
    assert (answer.status, answer.json) == (status, body)
    assert list(answer.json) == list(body)


async def test_malformed_parameters(record):
    """A wrong index or half an escape is 400 with code 4."""
    for path in ("86.999/p1?index=abc", "86.999/p1?index=", "86.999/%zz", "86.999/p1?type=%4"):
        answer = await record.ask("GET", f"/api/handles/{path}")
        assert (answer.status, answer.json["responseCode"]) == (400, 4)
        assert "handle" not in answer.json
    answer = await record.ask("GET", "/api/handles/86.999/%ff")
    assert (answer.status, answer.json["responseCode"]) == (400, 102)


async def test_paths_are_decoded_once(served):
    """Slashes are kept, doubled ones too, and an escape is decoded exactly once."""
    for name in ("86.999/a//b/c", "86.999/a%2Fb", "86.999/x?y#z", "86.999/泵 1", "86.999/../p"):
        served.register(name, value(1, "DESC", name))
    for path, name in (
        ("86.999/a//b/c", "86.999/a//b/c"),
        ("86.999%2Fa%2F%2Fb%2fc", "86.999/a//b/c"),
        ("86.999/a%252Fb", "86.999/a%2Fb"),
        ("86.999/x%3Fy%23z", "86.999/x?y#z"),
        ("86.999/%E6%B3%B5%201", "86.999/泵 1"),
        ("86.999/../p", "86.999/../p"),
    ):
        answer = await served.ask("GET", f"/api/handles/{path}")
        assert answer.status == 200, path
        assert answer.json["handle"] == name
        assert answer.json["values"][0]["data"]["value"] == name


async def test_hidden_values(record):
    """Values without public read are seen by administrators only."""
    hidden = await record.ask("GET", "/api/handles/86.999/p1?publicOnly=false")
    assert (hidden.status, hidden.json) == (403, {"responseCode": 402, "handle": "86.999/p1"})
    hidden = await record.ask("GET", "/api/handles/86.999/p1?publicOnly=false", tls=True)
    assert (hidden.status, hidden.json) == (401, {"responseCode": 402, "handle": "86.999/p1"})
    assert len(hidden.headers.getall("WWW-Authenticate")) == 2
    seen = await record.as_admin("GET", "/api/handles/86.999/p1")
    assert indexes(seen) == [1, 2, 3, 4, 100]
    assert seen.json["values"][2]["permissions"] == "1100"
    assert seen.headers["Cache-Control"] == "private, no-store"
    assert "ETag" not in seen.headers
    only = await record.as_admin("GET", "/api/handles/86.999/p1?publicOnly=true")
    assert indexes(only) == [1, 2, 4, 100]


async def test_credentials_over_plain_http_are_ignored(record):
    """A right password over plain HTTP opens nothing, a wrong one changes nothing."""
    for secret in (SECRET, b"wrong"):
        answer = await record.ask("GET", "/api/handles/86.999/p1", user=(ADMIN, secret))
        assert answer.status == 200
        assert indexes(answer) == [1, 2, 4, 100]


async def test_head(record):
    """HEAD answers what GET would, without a body."""
    whole = await record.ask("GET", "/api/handles/86.999/p1")
    head = await record.ask("HEAD", "/api/handles/86.999/p1")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert head.headers["ETag"] == whole.headers["ETag"]
    assert (await record.ask("HEAD", "/api/handles/86.999/none")).status == 404


async def test_pretty(record):
    """pretty indents by two spaces, with and without a value."""
    plain = await record.ask("GET", "/api/handles/86.999/p1")
    for query in ("pretty", "pretty=true"):
        answer = await record.ask("GET", f"/api/handles/86.999/p1?{query}")
        assert answer.json == plain.json
        assert answer.body.startswith(b'{\n  "responseCode": 1,\n  "handle"')
    answer = await record.ask("GET", "/api/handles/86.999/p1?pretty=false")
    assert answer.body == plain.body


async def test_gzip(record):
    """A client that accepts gzip gets it, another one does not."""
    plain = await record.ask("GET", "/api/handles/86.999/p1")
    assert "Content-Encoding" not in plain.headers
    for accepted in ("gzip", "gzip, deflate", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "x-gzip"):
        headers = {"Accept-Encoding": accepted}
        answer = await record.ask("GET", "/api/handles/86.999/p1", headers=headers)
        assert answer.headers["Content-Encoding"] == "gzip", accepted
        assert gzip.decompress(answer.body) == plain.body
    for refused in ("identity", "gzip;q=0", "gzip;q=0.0, deflate", ""):
        headers = {"Accept-Encoding": refused}
        answer = await record.ask("GET", "/api/handles/86.999/p1", headers=headers)
        assert answer.body == plain.body, refused


async def test_jsonp(record):
    """callback wraps the answer, errors too; what is no identifier in its name becomes _."""
    answer = await record.ask("GET", "/api/handles/86.999/p1?callback=f&index=1")
    assert answer.headers["Content-Type"] == "application/javascript;charset=UTF-8"
    assert answer.body.startswith(b"f({")
    assert answer.body.endswith(b"});")
    answer = await record.ask("GET", "/api/handles/86.999/none?callback=a(b")
    assert (answer.status, answer.body) == (
        404,
        b'a_b({"responseCode":100,"handle":"86.999/none"});',
    )


async def test_jsonp_never_carries_private_values(record):
    """A script gets public values only, whatever credentials the browser sends along."""
    answer = await record.as_admin("GET", "/api/handles/86.999/p1?callback=f")
    assert b"hidden" not in answer.body
    answer = await record.as_admin("GET", "/api/handles/86.999/p1?callback=f&publicOnly=false")
    assert answer.status == 401


async def test_cors(record):
    """An origin is echoed, a malformed one is not; the preflight allows the methods."""
    answer = await record.ask(
        "GET", "/api/handles/86.999/p1", headers={"Origin": "http://a.example"}
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "http://a.example"
    assert answer.headers["Access-Control-Expose-Headers"] == "Content-Length"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    for odd in ("x", "http://a b", 'http://a"', "javascript:alert(1)"):
        answer = await record.ask("GET", "/api/handles/86.999/p1", headers={"Origin": odd})
        assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await record.ask(
        "OPTIONS", "/api/handles/86.999/p1", headers={"Origin": "http://a.example"}
    )
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Access-Control-Max-Age"] == "86400"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,POST,HEAD,PUT,DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == (
        "X-Requested-With,Authorization,Origin,Accept,Content-Type"
    )


async def test_conditional(record):
    """If-None-Match with the entity tag gives 304 until the record changes."""
    first = await record.ask("GET", "/api/handles/86.999/p1")
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*", tag[:-1] + '-gzip"'):
        headers = {"If-None-Match": known}
        again = await record.ask("GET", "/api/handles/86.999/p1", headers=headers)
        assert (again.status, again.body) == (304, b""), known
        assert again.headers["ETag"] == tag
    record.register("86.999/p1", value(1, "URL", "http://example.org/b"))
    changed = await record.ask("GET", "/api/handles/86.999/p1", headers={"If-None-Match": tag})
    assert changed.status == 200
    assert changed.headers["ETag"] != tag


async def test_record_without_public_values(served):
    """A record of hidden values only is there, and has none of the values asked for."""
    served.register("86.999/h", value(1, "X", "y", permissions=0b1100))
    answer = await served.ask("GET", "/api/handles/86.999/h")
    assert (answer.status, answer.json["responseCode"]) == (200, 200)


async def test_binary_and_absolute(served):
    """Octets that are no text come as base64, an absolute TTL as a time."""
    served.register("86.999/b", value(1, "X", b"a\x01b", ttl=1795517628, ttl_type=1))
    (one,) = (await served.ask("GET", "/api/handles/86.999/b")).json["values"]
    assert one["data"] == {"format": "base64", "value": "YQFi"}
    assert one["ttl"] == "2026-11-24T10:53:48Z"


async def test_long_name(served):
    """A name too long for a store key is found; another with the same beginning is not."""
    name = "86.999/" + "n" * 600
    served.register(name, value(1, "DESC", "long"))
    assert (await served.ask("GET", f"/api/handles/{name}")).status == 200
    assert (await served.ask("GET", f"/api/handles/{name[:-1]}x")).status == 404
    assert (await served.ask("GET", f"/api/handles/86.999/{'n' * 2100}")).json[
        "responseCode"
    ] == 102


async def test_site(served):
    """The site record is for anybody, over plain HTTP too."""
    answer = await served.ask("GET", "/api/site")
    assert answer.status == 200
    site = answer.json["site"]
    assert answer.json["responseCode"] == 1
    assert site["servers"][0]["publicKey"]["value"]["kty"] == "RSA"
    assert {one["protocol"] for one in site["servers"][0]["interfaces"]} >= {"TCP", "UDP", "HTTP"}


async def test_other_methods_and_paths(served):
    """An unknown method of a record is 501 with code 4, as is 404 an unknown path below /api."""
    assert (await served.ask("PATCH", "/api/handles/86.999/p1")).status == 404
    served.register("86.999/p1", value(1, "DESC", "a pump"))
    answer = await served.ask("PATCH", "/api/handles/86.999/p1")
    assert (answer.status, answer.json) == (
        501,
        {"responseCode": 4, "message": "Unknown method PATCH"},
    )
    answer = await served.ask("GET", "/api/nope")
    assert answer.status == 404
    assert answer.json["responseCode"] == 4
    assert answer.json["message"] == "Unknown HTTP API endpoint GET /api/nope"
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_no_handle_error_bodies_elsewhere(served):
    """Outside the Handle interface errors are problem documents."""
    answer = await served.ask("POST", "/health/live")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == "urn:biaoshi:problem:method-not-allowed"


async def test_health(served):
    """Live answers always; ready says what is missing; metrics are text for local readers."""
    assert (await served.ask("GET", "/health/live")).json == {"status": "alive"}
    assert (await served.ask("GET", "/health/ready")).json["status"] == "ready"
    served.node.board.ended(1, 0)
    answer = await served.ask("GET", "/health/ready")
    assert answer.status == 503
    assert answer.json["checks"]["writer"] is False
    assert answer.json["reads"] is True
    metrics = await served.ask("GET", "/metrics")
    assert metrics.status == 200
    assert b"biaoshi_records " in metrics.body
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert (await served.ask("GET", "/metrics", headers=forwarded)).status == 403


async def test_damaged_row_is_not_served(served):
    """A row that fails its checksum is an error of ours, never an answer."""
    from registry.store import Table, Write

    served.register("86.999/d", value(1, "URL", "http://example.org/"))
    key = b"86.999/D"
    raw = served.node.store.get(Table.JSON, key)
    served.node.store.apply([Write(Table.JSON, key, raw.replace(b"example", b"exbmple"))])
    answer = await served.ask("GET", "/api/handles/86.999/d")
    assert (answer.status, json.loads(answer.body)["responseCode"]) == (500, 2)
    assert b"exbmple" not in answer.body
