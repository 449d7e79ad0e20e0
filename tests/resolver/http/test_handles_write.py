from __future__ import annotations

import asyncio
import json

import pytest

from protocol.errors import ReadOnly, ServerBusy, StoreFull
from tests.resolver.http.node_in_process import ADMIN, SECRET, value

P2 = "/api/handles/86.999/p2"
ADMIN_VALUE = {
    "index": 100,
    "type": "HS_ADMIN",
    "data": {
        "format": "admin",
        "value": {"handle": "0.NA/86.999", "index": "200", "permissions": "011111110011"},
    },
}


def url(index, text="http://example.org/"):
    return {"index": index, "type": "URL", "data": {"format": "string", "value": text}}


async def values_of(served, path=P2):
    answer = await served.ask("GET", path)
    return {one["index"]: one["data"]["value"] for one in answer.json.get("values", [])}


@pytest.fixture
async def p2(served):
    answer = await served.as_admin("PUT", P2, [url(1), ADMIN_VALUE])
    assert answer.status == 201
    return served


async def test_create_and_replace(served):
    """PUT creates with 201, replaces the whole record with 200, and a read sees it at once."""
    answer = await served.as_admin("PUT", P2, [url(1), ADMIN_VALUE])
    assert (answer.status, answer.body) == (201, b'{"responseCode":1,"handle":"86.999/p2"}')
    assert answer.headers["ETag"] == (await served.ask("GET", P2)).headers["ETag"]
    answer = await served.as_admin("PUT", P2, {"values": [url(2, "http://b.example/")]})
    assert (answer.status, answer.json["responseCode"]) == (200, 1)
    assert await values_of(served) == {2: "http://b.example/"}
    stored = (await served.ask("GET", P2)).json["values"][0]
    assert stored["timestamp"] > "2020"


@pytest.mark.parametrize(
    "body",
    [
        [url(1)],
        url(1),
        {"values": [url(1)]},
        {"values": [url(1)], "handle": "86.999/NEW", "other": 1},
        [],
    ],
)
async def test_body_forms(served, body):
    """A list, one value, an object with values; an empty list and no HS_ADMIN are allowed."""
    answer = await served.as_admin("PUT", "/api/handles/86.999/new", body)
    assert answer.status == 201


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{", 4, None),
        (b"", 4, None),
        (b'[{"index":1,"type":"X","data":"x","data":"y"}]', 4, None),
        ([{"type": "X", "data": "x"}], 4, None),
        ([{"index": 1, "data": "x"}], 4, None),
        ([{"index": 1, "type": "X"}], 4, None),
        ([{"index": 1, "type": "X", "data": {"format": "odd", "value": ""}}], 4, None),
        ([{"index": 1, "type": "X", "data": {"format": "base64", "value": "%%"}}], 4, None),
        ({"values": [], "handle": "86.999/other"}, 4, None),
        ([url(0)], 202, "Value indexes must be positive"),
        ([url(-1)], 202, "Value indexes must be positive"),
        ([url(2**31)], 202, "Value indexes must be positive"),
    ],
)
async def test_refused_bodies(served, body, code, message):
    """What cannot be read is 400, before anything else is looked at, and changes nothing."""
    answer = await served.as_admin("PUT", P2, body)
    assert (answer.status, answer.json["responseCode"]) == (400, code)
    if message:
        assert answer.json["message"] == message
    if code == 4:
        assert "handle" not in answer.json
    assert served.row("86.999/p2") is None


async def test_media_type(served):
    """A body of another media type is refused."""
    answer = await served.as_admin("PUT", P2, b"[]", headers={"Content-Type": "text/plain"})
    assert answer.status == 400
    assert answer.json == {"responseCode": 4, "message": "Unsupported media type"}


async def test_same_index_twice(served):
    """The same index twice in the body is 409 with code 201."""
    answer = await served.as_admin("PUT", P2, [url(2), url(2)])
    assert (answer.status, answer.json["responseCode"]) == (409, 201)
    assert answer.json["message"] == "Index conflict for 2"


async def test_overwrite_false(p2):
    """overwrite=false refuses a handle that exists, with the same values too."""
    for body in ([url(1), ADMIN_VALUE], [url(7)]):
        answer = await p2.as_admin("PUT", f"{P2}?overwrite=false", body)
        assert (answer.status, answer.json["responseCode"]) == (409, 101)
        assert answer.json["handle"] == "86.999/p2"
    answer = await p2.as_admin("PUT", f"{P2}?overwrite=true", [url(1), ADMIN_VALUE])
    assert answer.status == 200


async def test_eight_at_once(served):
    """Of eight simultaneous creations of one name exactly one succeeds."""
    answers = await asyncio.gather(
        *(
            served.as_admin("PUT", f"{P2}?overwrite=false", [url(n), ADMIN_VALUE])
            for n in range(1, 9)
        )
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    winner = next(n for n, answer in enumerate(answers, 1) if answer.status == 201)
    assert set(await values_of(served)) == {winner, 100}


async def test_index_add_and_replace(p2):
    """index=N adds with 201 and replaces with 200."""
    answer = await p2.as_admin("PUT", f"{P2}?index=2", [url(2)])
    assert (answer.status, answer.json) == (201, {"responseCode": 1, "handle": "86.999/p2"})
    answer = await p2.as_admin("PUT", f"{P2}?index=2", url(2, "http://c.example/"))
    assert answer.status == 200
    assert (await values_of(p2))[2] == "http://c.example/"
    answer = await p2.as_admin("PUT", f"{P2}?index=2&index=3", [url(2), url(3)])
    assert answer.status == 200


async def test_index_mismatch(p2):
    """An index list and a body that disagree are refused."""
    for query, body in (("index=2", [url(3)]), ("index=2&index=3", [url(2)]), ("index=2", [])):
        answer = await p2.as_admin("PUT", f"{P2}?{query}", body)
        assert answer.status == 400
        assert answer.json["responseCode"] == 4
        assert answer.json["message"] == "Mismatched indexes in PUT request"


async def test_index_out_of_range(p2):
    """An index parameter that no value can have is 400: code 202, or 4 beyond 32 bits."""
    for index in (0, -1):
        answer = await p2.as_admin("PUT", f"{P2}?index={index}", [url(1)])
        assert (answer.status, answer.json["responseCode"]) == (400, 202)
    for index in ("x", 2**31, -(2**31) - 1):
        answer = await p2.as_admin("PUT", f"{P2}?index={index}", [url(1)])
        assert (answer.status, answer.json["responseCode"]) == (400, 4)


async def test_various(p2):
    """index=various: 200 when any value existed, 201 when none did."""
    answer = await p2.as_admin("PUT", f"{P2}?index=various", [url(1), url(5)])
    assert answer.status == 200
    answer = await p2.as_admin("PUT", f"{P2}?index=various", [url(6), url(7)])
    assert answer.status == 201
    answer = await p2.as_admin("PUT", f"{P2}?index=various&overwrite=false", [url(1), url(8)])
    assert (answer.status, answer.json) == (
        409,
        {"responseCode": 201, "message": "Index conflict for 1", "handle": "86.999/p2"},
    )
    assert 8 not in await values_of(p2)


async def test_post_adds_or_replaces_values(p2):
    """POST of values is PUT with index=various; a body that is no JSON object is code 4."""
    answer = await p2.as_admin("POST", P2, {"values": [url(9)]})
    assert answer.status == 201
    assert set(await values_of(p2)) == {1, 9, 100}
    answer = await p2.as_admin("POST", P2, b"x=1")
    assert (answer.status, answer.json["responseCode"]) == (400, 4)


async def test_missing_handle(served):
    """Values of a missing handle cannot be written, and it cannot be deleted."""
    for method, query, body in (
        ("PUT", "?index=2", [url(2)]),
        ("PUT", "?index=various", [url(2)]),
        ("POST", "", [url(2)]),
        ("DELETE", "", None),
        ("DELETE", "?index=2", None),
    ):
        answer = await served.as_admin(method, P2 + query, body)
        assert (answer.status, answer.json) == (404, {"responseCode": 100, "handle": "86.999/p2"})
    assert served.row("86.999/p2") is None


async def test_delete(p2):
    """DELETE removes the record, once."""
    answer = await p2.as_admin("DELETE", P2)
    assert (answer.status, answer.json) == (200, {"responseCode": 1, "handle": "86.999/p2"})
    assert (await p2.ask("GET", P2)).status == 404
    assert (await p2.as_admin("DELETE", P2)).status == 404


async def test_delete_values(p2):
    """DELETE with index removes those values; one missing is enough to remove none."""
    await p2.as_admin("PUT", f"{P2}?index=various", [url(2), url(3)])
    answer = await p2.as_admin("DELETE", f"{P2}?index=2&index=77")
    assert (answer.status, answer.json["responseCode"]) == (400, 200)
    assert set(await values_of(p2)) == {1, 2, 3, 100}
    answer = await p2.as_admin("DELETE", f"{P2}?index=2&index=3")
    assert (answer.status, answer.json["responseCode"]) == (200, 1)
    assert set(await values_of(p2)) == {1, 100}
    answer = await p2.as_admin("DELETE", f"{P2}?index=various")
    assert (answer.status, answer.json["responseCode"]) == (400, 4)


async def test_not_served(served):
    """Writing under a prefix that does not live here is 400 with code 301."""
    for method, body in (("PUT", [url(1)]), ("DELETE", None)):
        answer = await served.as_admin(method, "/api/handles/10.5/x", body)
        assert (answer.status, answer.json) == (
            400,
            {
                "responseCode": 301,
                "message": "That prefix doesn't live here",
                "handle": "10.5/x",
            },
        )


async def test_without_credentials(p2):
    """Over TLS a write needs an identity (401 and challenges), over plain HTTP it is 403."""
    for method, body in (("PUT", [url(5)]), ("DELETE", None)):
        answer = await p2.ask(method, P2, tls=True, body=body)
        assert (answer.status, answer.json) == (401, {"responseCode": 402, "handle": "86.999/p2"})
        lines = answer.headers.getall("WWW-Authenticate")
        assert lines[0] == 'Basic realm="handle"'
        assert lines[1].startswith('Handle sessionId="')
        answer = await p2.ask(method, P2, body=body, user=(ADMIN, SECRET))
        assert (answer.status, answer.json) == (403, {"responseCode": 402, "handle": "86.999/p2"})
        assert "WWW-Authenticate" not in answer.headers
    assert set(await values_of(p2)) == {1, 100}


async def test_a_write_tells_nothing_before_the_challenge(p2):
    """Whether there is a record is told to who proved an identity; anybody may read it anyway."""
    for method, path, body, told in (
        ("PUT", f"{P2}?overwrite=false", [url(1)], (409, 101)),
        ("DELETE", "/api/handles/86.999/none", None, (404, 100)),
        ("POST", "/api/handles/86.999/none", [url(1)], (404, 100)),
    ):
        answer = await p2.ask(method, path, tls=True, body=body)
        assert (answer.status, answer.json["responseCode"]) == (401, 402)
        answer = await p2.as_admin(method, path, body)
        assert (answer.status, answer.json["responseCode"]) == told


async def test_if_match_any(p2):
    """If-Match: * replaces and never creates; what is no condition of a write is refused."""
    there, gone = {"If-Match": "*"}, "/api/handles/86.999/gone"
    assert (await p2.as_admin("PUT", P2, [url(1)], headers=there)).status == 200
    assert (await p2.as_admin("PUT", gone, [url(1)], headers=there)).status == 412
    assert (await p2.as_admin("DELETE", gone, headers=there)).status == 404
    assert (await p2.ask("GET", gone)).status == 404
    answer = await p2.as_admin("PUT", P2, [url(1)], headers={"If-None-Match": '"1"'})
    assert (answer.status, answer.json["responseCode"]) == (400, 4)
    assert "If-Match" in answer.json["message"]


@pytest.mark.parametrize(
    "user",
    [
        (ADMIN, b"wrong"),
        (ADMIN, b""),
        ("301:0.NA/86.999x", SECRET),
        ("0.NA/86.999", SECRET),
        ("300:0.NA/86.999", SECRET),
        ("77:0.NA/86.999", SECRET),
        ("301:86.999/none", SECRET),
        (":", SECRET),
    ],
)
async def test_wrong_credentials(p2, user):
    """Wrong credentials are 401 with an empty body and a challenge, and change nothing."""
    before = p2.row("86.999/p2")
    for method, body in (("PUT", [url(5)]), ("DELETE", None), ("GET", None)):
        answer = await p2.ask(method, P2, tls=True, user=user, body=body)
        assert (answer.status, answer.body) == (401, b"")
        assert any(
            'error="Identity not verified"' in line
            for line in answer.headers.getall("WWW-Authenticate")
        )
    assert p2.row("86.999/p2") == before


async def test_user_name_spellings(p2):
    """The colon, and the slash as well, may be percent-encoded; index 0 proves but cannot write."""
    for name in ("301%3A0.NA/86.999", "301%3A0.NA%2F86.999", "301%3a0.na/86.999"):
        answer = await p2.ask("GET", P2, tls=True, user=(name, SECRET))
        assert answer.status == 200, name
    answer = await p2.ask("PUT", P2, tls=True, user=("0:0.NA/86.999", SECRET), body=[url(1)])
    assert (answer.status, answer.json["responseCode"]) == (403, 400)


async def test_rights(p2):
    """An identity without the right is 403 with code 400, and nothing changes."""
    p2.register("86.999/user", value(1, "HS_SECKEY", "other", permissions=0b1100))
    before = p2.row("86.999/p2")
    user = ("1:86.999/user", b"other")
    for method, path, body in (
        ("PUT", P2, [url(1)]),
        ("PUT", f"{P2}?index=1", [url(1)]),
        ("PUT", "/api/handles/86.999/new", [url(1)]),
        ("DELETE", P2, None),
        ("DELETE", f"{P2}?index=1", None),
    ):
        answer = await p2.ask(method, path, tls=True, user=user, body=body)
        assert (answer.status, answer.json["responseCode"]) == (403, 400), (method, path)
    assert p2.row("86.999/p2") == before


async def test_versions(p2):
    """If-Match binds a write to the version read; If-None-Match: * only creates."""
    tag = (await p2.ask("GET", P2)).headers["ETag"]
    answer = await p2.as_admin("PUT", P2, [url(2)], headers={"If-Match": tag})
    assert answer.status == 200
    answer = await p2.as_admin("PUT", P2, [url(3)], headers={"If-Match": tag})
    assert answer.status == 412
    answer = await p2.as_admin("PUT", P2, [url(3)], headers={"If-None-Match": "*"})
    assert answer.status == 412
    answer = await p2.as_admin("PUT", P2, [url(3)], headers={"If-Match": "abc"})
    assert answer.status == 400
    assert set(await values_of(p2)) == {2}


async def test_idempotency_key(served):
    """The same key with the same request gives the first result; with another one it is 422."""
    headers = {"Idempotency-Key": "k1"}
    first = await served.as_admin("PUT", f"{P2}?overwrite=false", [url(1)], headers=headers)
    again = await served.as_admin("PUT", f"{P2}?overwrite=false", [url(1)], headers=headers)
    assert (first.status, again.status) == (201, 201)
    assert first.headers["ETag"] == again.headers["ETag"]
    other = await served.as_admin("PUT", f"{P2}?overwrite=false", [url(2)], headers=headers)
    assert other.status == 422


async def test_mint(served):
    """mintNewSuffix appends a random suffix and the answer names the new handle."""
    path = "/api/handles/86.999/?mintNewSuffix=true"
    one = await served.as_admin("PUT", path, [url(1)])
    two = await served.as_admin("PUT", path, [url(1)])
    assert (one.status, two.status) == (201, 201)
    assert one.json["handle"] != two.json["handle"]
    assert (await served.ask("GET", f"/api/handles/{one.json['handle']}")).status == 200


async def test_modify_round_trip(p2):
    """What is read can be written back as it is."""
    read = (await p2.as_admin("GET", P2)).json["values"]
    answer = await p2.as_admin("PUT", f"{P2}?index=1&index=100&overwrite=true", {"values": read})
    assert answer.status == 200
    again = (await p2.as_admin("GET", P2)).json["values"]
    assert again == read


async def test_every_format_comes_back(served):
    """Keys, sites, lists and administrators survive a write and a read."""
    key = (await served.as_admin("GET", "/api/handles/0.NA/86.999?type=HS_PUBKEY")).json["values"]
    site = (await served.ask("GET", "/api/handles/0.NA/86.999?type=HS_SITE")).json["values"]
    assert [one["data"]["format"] for one in key + site] == ["key", "key", "site"]
    vlist = {"format": "vlist", "value": [{"handle": "86.999/a", "index": 1}]}
    body = [
        {"index": 1, "type": "HS_PUBKEY", "data": key[0]["data"]},
        {"index": 2, "type": "HS_PUBKEY", "data": key[1]["data"]},
        {"index": 3, "type": "HS_SITE", "data": site[0]["data"]},
        {"index": 4, "type": "HS_VLIST", "data": vlist},
        {"index": 5, "type": "X", "data": {"format": "hex", "value": "00ff"}},
        {"index": 6, "type": "X", "data": 7.50},
        ADMIN_VALUE,
    ]
    assert (await served.as_admin("PUT", P2, body)).status == 201
    read = {one["index"]: one["data"] for one in (await served.ask("GET", P2)).json["values"]}
    assert read[1] == key[0]["data"]
    assert read[2] == key[1]["data"]
    assert read[3] == site[0]["data"]
    assert read[4] == vlist
    assert read[5] == {"format": "base64", "value": "AP8="}
    assert read[6] == {"format": "string", "value": "7.5"}


async def test_writer_busy_or_read_only(served):
    """A busy writer is 503 with a time to wait, a read-only store 503, a full one 507."""
    served.node.writer.error = ServerBusy("the queue is full", 3.0)
    answer = await served.as_admin("PUT", P2, [url(1)])
    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert answer.json["responseCode"] == 3
    for error, status in ((ReadOnly("a disk failed"), 503), (StoreFull("it is full"), 507)):
        served.node.writer.error = error
        answer = await served.as_admin("PUT", P2, [url(1)])
        assert (answer.status, answer.json["responseCode"]) == (status, 7)


async def test_body_limit(served):
    """A body above the limit is 413 and is not read to its end."""
    limit = served.node.settings.limits.http_body_bytes
    answer = await served.as_admin("PUT", P2, b"[]", headers={"Content-Encoding": "gzip"})
    assert answer.status == 400
    reader, writer = await asyncio.open_connection("127.0.0.1", served.http)
    writer.write(
        b"PUT /api/handles/86.999/p2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n[" % (limit + 1)
    )
    head = await reader.readuntil(b"\r\n")
    assert b" 413 " in head
    writer.close()


async def test_listing(served):
    """Handles are listed in upper case and in order, page by page, for those who may."""
    for name in ("b", "a", "C", "d"):
        served.register(f"86.999/{name}", value(1, "X", "x"))
    path = "/api/handles?prefix=86.999"
    answer = await served.as_admin("GET", path)
    assert answer.body == (
        b'{"responseCode":1,"prefix":"86.999","totalCount":"4",'
        b'"handles":["86.999/A","86.999/B","86.999/C","86.999/D"]}'
    )
    answer = await served.as_admin("GET", f"{path}&page=1&pageSize=3")
    assert answer.json == {
        "responseCode": 1,
        "prefix": "86.999",
        "totalCount": "4",
        "page": 1,
        "pageSize": 3,
        "handles": ["86.999/D"],
    }
    assert (await served.as_admin("GET", f"{path}&page=9&pageSize=3")).json["handles"] == []
    counted = await served.as_admin("GET", "/api/handles?prefix=0.NA/86.999&pageSize=0")
    assert (counted.json["prefix"], counted.json["totalCount"]) == ("0.NA/86.999", "4")
    assert counted.json["handles"] == []


async def test_listing_is_guarded(served):
    """Listing needs a prefix that lives here, an identity over TLS, and the right."""
    answer = await served.as_admin("GET", "/api/handles")
    assert (answer.status, answer.json) == (
        400,
        {"responseCode": 102, "message": "Empty handle invalid"},
    )
    answer = await served.as_admin("GET", "/api/handles?prefix=10.5")
    assert (answer.status, answer.json["responseCode"]) == (400, 301)
    assert answer.json["handle"] == "10.5"
    assert (await served.ask("GET", "/api/handles?prefix=86.999")).status == 403
    assert (await served.ask("GET", "/api/handles?prefix=86.999", tls=True)).status == 401
    served.register("86.999/user", value(1, "HS_SECKEY", "other", permissions=0b1100))
    user = ("1:86.999/user", b"other")
    answer = await served.ask("GET", "/api/handles?prefix=86.999", tls=True, user=user)
    assert (answer.status, answer.json["responseCode"]) == (403, 400)
    answer = await served.as_admin("GET", "/api/handles?prefix=86.999&page=-1")
    assert answer.status == 400


async def test_listing_in_portions(served, monkeypatch):
    """Names beyond one portion, and names too long for a key, are listed as well."""
    from resolver.http import listing

    monkeypatch.setattr(listing, "PORTION", 3)
    names = [f"86.999/{n:02}" for n in range(7)] + ["86.999/" + "L" * 600]
    for name in names:
        served.register(name, value(1, "X", "x"))
    answer = await served.as_admin("GET", "/api/handles?prefix=86.999")
    assert answer.json["handles"] == names
    paged = await served.as_admin("GET", "/api/handles?prefix=86.999&page=1&pageSize=4")
    assert paged.json["handles"] == names[4:8]


async def test_prefixes(served):
    """The homed prefixes are told to administrators of the server."""
    answer = await served.as_admin("GET", "/api/prefixes")
    assert answer.json == {"responseCode": 1, "totalCount": "1", "prefixes": ["0.NA/86.999"]}
    assert (await served.ask("GET", "/api/prefixes", tls=True)).status == 401
    served.register("86.999/user", value(1, "HS_SECKEY", "other", permissions=0b1100))
    answer = await served.ask("GET", "/api/prefixes", tls=True, user=("1:86.999/user", b"other"))
    assert (answer.status, json.loads(answer.body)["responseCode"]) == (403, 400)
