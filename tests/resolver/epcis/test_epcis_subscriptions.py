"""Named queries, webhooks and WebSockets of the EPCIS face."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import b64encode

import aiohttp
import pytest
from aiohttp import web

from protocol.epcis.errors import SubscriptionControlsException
from resolver.config import OutboundSettings
from resolver.epcis.schedule import parse_schedule
from tests.resolver.epcis.asking import Epcis, event, quoted
from tests.resolver.http.node_in_process import ADMIN, SECRET, serving

WAIT_S = 20
TOKEN = "a shared secret"


class Target:
    """An address that notes what is posted to it. status: what it answers."""

    def __init__(self):
        self.posts = asyncio.Queue()
        self.status = 204

    async def take(self, request):
        body = await request.read()
        if self.status == 204:
            self.posts.put_nowait((dict(request.headers), body))
        else:
            self.posts.put_nowait(self.status)
        return web.Response(status=self.status)

    async def ids(self):
        """The eventIDs of the next post."""
        async with asyncio.timeout(WAIT_S):
            headers, body = await self.posts.get()
        results = json.loads(body)["epcisBody"]["queryResults"]
        return headers, body, [one["eventID"][-4:] for one in results["resultsBody"]["eventList"]]


@pytest.fixture
async def target():
    made = Target()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@pytest.fixture
async def epcis(founded, tmp_path):
    """A face that may call this machine."""
    outbound = OutboundSettings(allow=("127.0.0.0/8",))
    async with serving(founded, tmp_path / "node", outbound=outbound) as running:
        yield Epcis(running)


async def name_query(epcis, name="shipped", **query):
    query = query or {"EQ_bizStep": ["shipping"]}
    answer = await epcis.post("/queries", {"name": name, "query": query})
    assert answer.status == 201, answer.body
    return answer.headers["Location"].removeprefix("/epcis")


async def test_what_is_made_is_told(epcis, target):
    """201 has the query as it was sent, and the subscription without its secret; 415 else."""
    query = {"name": "q", "query": {"GE_quantity": 2**66, "EXISTS_errorDeclaration": True}}
    made = await epcis.post("/queries", query)
    assert made.status == 201, made.body
    assert made.json["query"] == query["query"] == (await epcis.get("/queries/q")).json["query"]
    body = {"dest": target.url, "schedule": {"hour": "1"}, "signatureToken": TOKEN}
    made = await epcis.post("/queries/q/subscriptions", body)
    (listed,) = (await epcis.get("/queries/q/subscriptions")).json
    assert made.json == listed
    assert listed["subscriptionID"] == made.headers["Location"].rpartition("/")[2]
    assert TOKEN.encode() not in made.body
    for path in ("/queries", "/queries/q/subscriptions"):
        assert (await epcis.post(path, body, Content_Type="text/plain")).status == 415


async def subscribe(epcis, target, name="shipped", **more):
    body = {"dest": target.url, "stream": True, "signatureToken": TOKEN, **more}
    answer = await epcis.post(f"/queries/{name}/subscriptions", body)
    assert answer.status == 201, answer.body
    return answer.headers["Location"].removeprefix("/epcis")


async def test_a_query_is_named_run_and_deleted(epcis):
    """A named query answers as its parameters do; more parameters narrow it."""
    await epcis.capture(event(1), event(2, bizStep="receiving"), event(3))
    path = await name_query(epcis)
    assert (await epcis.get(path)).json["query"] == {"EQ_bizStep": ["shipping"]}
    found = await epcis.all(path=f"{path}/events")
    assert [one["eventID"][-4:] for one in found] == ["0003", "0001"]
    found = await epcis.all("LT_eventTime=2026-03-01T00:00:02Z", path=f"{path}/events")
    assert [one["eventID"][-4:] for one in found] == ["0001"]
    taken = await epcis.post("/queries", {"name": "shipped", "query": {}})
    assert (taken.status, taken.json["type"]) == (
        409,
        "epcisException:ResourceAlreadyExistsException",
    )
    assert [one["name"] for one in (await epcis.get("/queries")).json] == ["shipped"]
    assert (await epcis.get("/queries", anybody=True)).json == []
    assert (await epcis.get(path, anybody=True)).status == 404
    assert (await epcis.delete(path)).status == 204
    gone = await epcis.get(path)
    assert (gone.status, gone.json["type"]) == (404, "epcisException:NoSuchNameException")
    assert (await epcis.delete(path)).status == 404


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"query": {}}, "QueryValidationException"),
        ({"name": "a/b", "query": {}}, "QueryValidationException"),
        ({"name": "a", "query": 7}, "QueryValidationException"),
        ({"name": "a", "query": {"EQ_nothing": ["1"]}}, "QueryParameterException"),
        ({"name": "a", "query": {"perPage": 3}}, "QueryValidationException"),
        ({"name": "a", "query": {}, "more": 1}, "QueryValidationException"),
    ],
)
async def test_queries_that_cannot_be_named(epcis, body, name):
    """A query is read before it is kept."""
    answer = await epcis.post("/queries", body)
    assert (answer.status, answer.json["type"]) == (400, f"epcisException:{name}")


async def test_managing_queries_is_for_administrators(epcis):
    """Nobody gets 401."""
    assert (await epcis.post("/queries", {"name": "a", "query": {}}, user=None)).status == 401


async def test_a_webhook_gets_each_event_once_in_order(epcis, target):
    """Events that fit are posted, signed, in the order of their capture, none twice."""
    await epcis.capture(event(1))
    await name_query(epcis)
    path = await subscribe(epcis, target)
    await epcis.capture(event(3), event(2, bizStep="receiving"), event(4))
    headers, body, ids = await target.ids()
    assert ids == ["0003", "0004"]
    stamp, _, mac = headers["GS1-Signature"].partition(",hmac-sha256=")
    expected = hmac.digest(TOKEN.encode(), stamp[2:].encode() + b"." + body, "sha256").hex()
    assert mac == expected
    results = json.loads(body)["epcisBody"]["queryResults"]
    assert results["queryName"] == "shipped"
    assert results["subscriptionID"] == path.rpartition("/")[2]
    await epcis.capture(event(5))
    assert (await target.ids())[2] == ["0005"]
    shape = (await epcis.get(path)).json
    assert TOKEN not in json.dumps(shape)
    assert (shape["failures"], shape["state"]) == (0, "active")
    listed = await epcis.get("/queries/shipped/subscriptions")
    assert [one["subscriptionID"] for one in listed.json] == [shape["subscriptionID"]]
    assert (await epcis.delete(path)).status == 204
    assert (await epcis.get(path)).status == 404
    await epcis.capture(event(6))
    assert target.posts.empty()


async def test_a_target_that_fails_is_tried_again(epcis, target):
    """Nothing is skipped while a target is down; it gets what it missed."""
    await name_query(epcis)
    path = await subscribe(epcis, target)
    target.status = 500
    await epcis.capture(event(1))
    async with asyncio.timeout(WAIT_S):
        assert await target.posts.get() == 500
    await epcis.capture(event(2))
    target.status = 204
    missed = []
    while len(missed) < 2:
        missed += (await target.ids())[2]
    assert missed == ["0001", "0002"]
    async with asyncio.timeout(WAIT_S):
        while (await epcis.get(path)).json["failures"]:
            await asyncio.sleep(0.01)


async def test_a_subscription_may_begin_earlier(epcis, target):
    """initialRecordTime: what was recorded from then on comes as well."""
    await epcis.capture(event(1), event(2))
    await name_query(epcis)
    await subscribe(epcis, target, initialRecordTime="2020-01-01T00:00:00Z")
    assert (await target.ids())[2] == ["0001", "0002"]


async def test_a_schedule_reports_at_its_moments(epcis, target):
    """A scheduled subscription reports what there is since the last one; empty ones if wanted."""
    await name_query(epcis)
    timed = {"stream": False, "schedule": {"second": "[0-59]"}, "reportIfEmpty": True}
    await subscribe(epcis, target, **timed)
    assert (await target.ids())[2] == []
    await epcis.capture(event(1))
    ids = []
    while not ids:
        ids = (await target.ids())[2]
    assert ids == ["0001"]


async def test_labels_are_asked_at_delivery(epcis, target):
    """An owner who is no administrator any more gets public events only."""
    node = epcis.node
    alice = "301:86.999/alice"
    from protocol.values.hs_admin import Admin, encode_admin
    from registry.records import read_record
    from tests.resolver.http.node_in_process import value

    node.register("86.999/alice", value(301, "HS_SECKEY", b"secret", permissions=0b1100))
    record = read_record(node.node.store, b"0.NA/86.999")
    right = value(110, "HS_ADMIN", encode_admin(Admin(0x0FFF, b"86.999/alice", 301)))
    node.register("0.NA/86.999", *record.values, right)
    await name_query(epcis)
    body = {"dest": target.url, "stream": True}
    user = (alice, b"secret")
    assert (await epcis.post("/queries/shipped/subscriptions", body, user=user)).status == 201
    await epcis.capture(event(1))
    headers, _, ids = await target.ids()
    assert ids == ["0001"]
    assert "GS1-Signature" not in headers
    node.register("0.NA/86.999", *record.values)
    await epcis.capture(event(2))
    await epcis.capture(event(3), Biaoshi_Label="public")
    assert (await target.ids())[2] == ["0003"]


@pytest.mark.parametrize(
    "more",
    [
        {"stream": False},
        {"stream": True, "schedule": {"second": "0"}},
        {"stream": False, "schedule": {}},
        {"stream": False, "schedule": {"dayOfMonth": "31", "month": "2"}},
        {"stream": False, "schedule": {"second": "60"}},
        {"stream": False, "schedule": {"week": "1"}},
        {"dest": "ftp://example.org/"},
        {"dest": "http://user:word@example.org/"},
        {"dest": 7},
        {"initialRecordTime": "yesterday"},
        {"reportIfEmpty": "no"},
        {"signatureToken": 1},
        {"more": 1},
    ],
)
async def test_controls_that_are_refused(epcis, target, more):
    """A subscription that says when and where in no way it can be done is 400."""
    await name_query(epcis)
    body = {"dest": target.url, "stream": True, **more}
    answer = await epcis.post("/queries/shipped/subscriptions", body)
    assert answer.status == 400
    assert answer.json["type"] == "epcisException:SubscriptionControlsException"


async def test_forbidden_addresses_are_never_called(founded, tmp_path, target):
    """A webhook on this machine is not called where the rules of outbound do not allow it."""
    async with serving(founded, tmp_path / "closed") as running:
        epcis = Epcis(running)
        await name_query(epcis)
        path = await subscribe(epcis, target)
        await epcis.capture(event(1))
        async with asyncio.timeout(WAIT_S):
            while not (await epcis.get(path)).json["failures"]:
                await asyncio.sleep(0.01)
        assert "loopback" in (await epcis.get(path)).json["lastError"]
        assert target.posts.empty()


async def test_an_end_of_the_query_ends_its_subscriptions(epcis, target):
    """Deleting a query deletes its subscriptions, and one of the same name has none."""
    path = await name_query(epcis)
    sub = await subscribe(epcis, target)
    assert (await epcis.delete(path)).status == 204
    await name_query(epcis)
    assert (await epcis.get(sub)).status == 404
    assert (await epcis.get(f"{path}/subscriptions")).json == []


# --- WebSocket


def connect(epcis, query="stream=true", user=(ADMIN, SECRET), name="shipped"):
    headers = {}
    if user is not None:
        raw = quoted(user[0]).encode() + b":" + user[1]
        headers["Authorization"] = "Basic " + b64encode(raw).decode()
    return epcis.node.session.ws_connect(
        f"https://127.0.0.1:{epcis.node.https}/epcis/queries/{name}/events?{query}",
        ssl=False,
        headers=headers,
    )


async def ids_of(socket):
    async with asyncio.timeout(WAIT_S):
        shape = json.loads((await socket.receive()).data)
    results = shape["epcisBody"]["queryResults"]
    return [one["eventID"][-4:] for one in results["resultsBody"]["eventList"]]


async def test_a_websocket_streams_what_comes(epcis):
    """Each event that fits is sent once, after it was captured."""
    await name_query(epcis)
    await epcis.capture(event(1))
    async with connect(epcis) as socket:
        await epcis.capture(event(2), event(3, bizStep="receiving"))
        assert await ids_of(socket) == ["0002"]
        await epcis.capture(event(4))
        assert await ids_of(socket) == ["0004"]
    async with connect(epcis, "stream=true&initialRecordTime=2020-01-01T00:00:00Z") as socket:
        assert await ids_of(socket) == ["0001", "0002", "0004"]
    async with connect(epcis, "second=[0-59]&reportIfEmpty=true") as socket:
        assert await ids_of(socket) == []


async def test_a_websocket_without_controls_is_refused(epcis):
    """Neither stream nor schedule is 400, a caller without rights 404: no upgrade."""
    await name_query(epcis)
    for query, user, status in (
        ("", (ADMIN, SECRET), 400),
        ("stream=true&second=0", (ADMIN, SECRET), 400),
        ("stream=true", None, 404),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await connect(epcis, query, user)
        assert raised.value.status == status


# --- schedules


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ({"second": "0"}, 0, 60),
        ({"minute": "30"}, 0, 1800),
        ({"second": "5,7"}, 5, 7),
        ({"hour": "[2-3]", "minute": "0"}, 7200, 10800),
        ({"second": "0/30"}, 29, 30),
        ({"second": "0/30"}, 30, 60),
        ({"minute": "*/20", "hour": "[8-18]/2"}, 0, 8 * 3600),
        ({"minute": "*/20", "hour": "[8-18]/2"}, 8 * 3600 + 2400, 10 * 3600),
        ({"dayOfWeek": "1", "hour": "0", "minute": "0"}, 0, 4 * 86_400),  # 1970 began on Thursday
        ({"dayOfMonth": "29", "month": "2", "hour": "0", "minute": "0"}, 0, 68_169_600),
    ],
)
def test_schedules_name_moments(fields, after, expected):
    """The next moment after a time, in UTC."""
    assert parse_schedule(fields).next_after(after) == expected


@pytest.mark.parametrize(
    "fields",
    [None, [], {"second": "a"}, {"hour": "[5-2]"}, {"month": "0"}, {"hour": "0/0"}, {"hour": "/3"}],
)
def test_no_schedules(fields):
    """What names no moment is refused."""
    with pytest.raises(SubscriptionControlsException):
        parse_schedule(fields)
