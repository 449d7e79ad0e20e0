"""What grants open of events, on every resource: whole to grantees, and nothing to others."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode, urlsafe_b64decode

import aiohttp
import pytest
from aiohttp import web

from protocol.change import Change, Kind
from protocol.errors import InvalidValue
from protocol.labels import LABEL
from protocol.record import HandleValue, Reference
from protocol.values.hs_vlist import encode_vlist
from registry.events.granted import EventGrants, seen
from registry.events.index import EventIndex
from registry.events.row import EventRow
from registry.grants import GRANT, make_grant
from registry.labels import Viewer
from registry.reads import (
    CLOSED,
    MOST_EVENTS_WAITING,
    PER_READ,
    OpenedEvent,
    ReadLog,
    changes_of,
    ranges,
)
from resolver.config import OutboundSettings
from resolver.epcis import delivery
from tests.resolver.epcis.asking import ITEM, Epcis, document, event, list_of, quoted
from tests.resolver.http.node_in_process import serving, value

ALICE, EVE = ("300:86.999/alice", b"alice secret"), ("300:86.999/eve", b"eve secret")
ID, OTHER, NONE = (event(number)["eventID"] for number in (1, 2, 9))
WAIT_S = 20


class World:
    """A node with two identities. Its events: 1, of level 2; 2, of level 2; 3, private; 4, public."""

    def __init__(self, epcis):
        self.epcis = epcis
        self.node = epcis.node.node

    def commit(self, change):
        (outcome,) = self.node.writer.writer.commit([change])
        assert outcome.error is None, outcome

    def grant(self, *shapes):
        """The grants from now on."""
        values = [
            HandleValue(1000 + at, GRANT, json.dumps({"to": ALICE[0], **shape}).encode())
            for at, shape in enumerate(shapes)
        ]
        values.append(HandleValue(2, LABEL, CLOSED))
        self.commit(Change(Kind.CREATE, b"86.999/0.GRANTS", tuple(values), overwrite=True))

    async def get(self, path, user=ALICE):
        return await self.epcis.node.ask("GET", path, tls=True, user=user)

    async def ids(self, query="", user=ALICE):
        """The numbers of the events of a whole answer."""
        answer = await self.get(f"/epcis/events{query}", user)
        assert answer.status == 200, answer.body
        return sorted(int(one["eventID"][-4:]) for one in list_of(answer))

    def reads(self):
        return self.node.lookup.reads.take()


@pytest.fixture
async def epcis(founded, tmp_path):
    """A face that may call this machine."""
    outbound = OutboundSettings(allow=("127.0.0.0/8",))
    async with serving(founded, tmp_path / "node", outbound=outbound) as running:
        yield Epcis(running)


@pytest.fixture
async def world(epcis):
    made = World(epcis)
    for name, secret in (ALICE, EVE):
        key = value(300, "HS_SECKEY", secret, permissions=0b1100)
        made.commit(Change(Kind.CREATE, name.partition(":")[2].encode(), (key,)))
    await epcis.capture(event(1), Biaoshi_Label='{"class": "production", "level": 2}')
    await epcis.capture(event(2, bizStep="receiving"))
    await epcis.capture(event(3), Biaoshi_Label="3")
    await epcis.capture(event(4), Biaoshi_Label="public")
    return made


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ({}, {1, 2}),
        ({"class": "production"}, {1}),
        ({"class": "product"}, set()),
        ({"identifier": ITEM % 1}, {1}),
        ({"identifier": ID}, {1}),
        ({"identifier": ITEM % 3}, set()),
        ({"under": "/01/09506000134352/21/"}, {1, 2}),
        ({"under": "/01/09506000134352/21/2"}, {2}),
        ({"event": "ObjectEvent"}, {1, 2}),
        ({"event": "https://ref.gs1.org/epcis/ObjectEvent"}, {1, 2}),
        ({"event": "TransformationEvent"}, set()),
        ({"step": "shipping"}, {1}),
        ({"step": "https://ref.gs1.org/cbv/BizStep-receiving"}, {2}),
        ({"step": "urn:epcglobal:cbv:bizstep:receiving"}, {2}),
        ({"step": "shipping", "identifier": ITEM % 2}, set()),
        ({"type": "bizStep"}, set()),
        ({"until": 1}, set()),
        ({"to": EVE[0]}, set()),
        ({"purpose": "quality"}, {1, 2}),
    ],
)
async def test_a_grant_opens_whole_events_on_every_resource(world, shape, found):
    """Lists, one event, proof and collections show the same; the rest is as if it were not."""
    world.grant(shape)
    assert set(await world.ids()) == found | {4}
    assert await world.ids(user=EVE) == ([1, 2, 4] if shape.get("to") == EVE[0] else [4])
    assert await world.ids(user=None) == [4]
    assert set(await world.ids("?orderBy=recordTime")) == found | {4}
    steps = {1: "shipping", 2: "receiving"}
    for number in (1, 2, 3):
        own, none = event(number)["eventID"], ITEM % number
        for path, absent in (
            (f"/epcis/events/{quoted(own)}", f"/epcis/events/{quoted(NONE)}"),
            (f"/epcis/events/{quoted(own)}/proof", f"/epcis/events/{quoted(NONE)}/proof"),
            (f"/epcis/epcs/{quoted(none)}", f"/epcis/epcs/{quoted(ITEM % 9)}"),
            (f"/api/trace/{quoted(none)}", f"/api/trace/{quoted(ITEM % 9)}"),
        ):
            answer = await world.get(path)
            if number in found:
                assert answer.status == 200, (path, answer.body)
            else:
                other = await world.get(absent)
                assert (answer.status, answer.body) == (other.status, other.body), path
                assert answer.status == 404
        rows = list_of(await world.get(f"/epcis/epcs/{quoted(none)}/events"))
        assert [row["eventID"] for row in rows] == ([own] if number in found else [])
    members = (await world.get("/epcis/bizSteps")).json["member"]
    assert set(members) == {steps[one] for one in found} | {"shipping"}
    members = (await world.get("/epcis/epcs")).json["member"]
    assert set(members) == {ITEM % one for one in found | {4}}


async def test_a_purpose_of_the_label_is_asked_for(world):
    """A label with a purpose is opened by a grant of that purpose alone, and the log says it."""
    label = {"class": "operation", "level": 2, "purpose": "quality"}
    await world.epcis.capture(event(5), Biaoshi_Label=json.dumps(label))
    world.grant({})
    assert await world.ids() == [1, 2, 4]
    world.grant({"purpose": "recall"})
    assert await world.ids() == [1, 2, 4]
    world.reads()
    world.grant({"purpose": "quality", "identifier": ITEM % 5})
    assert await world.ids() == [4, 5]
    (read,) = world.reads()
    assert read.purposes == ("quality",)


async def test_a_grant_to_a_list_holds_for_its_members(world):
    """Who is put on the list sees the events at the next request; who is taken off does not."""
    world.grant({"to": "200:86.999/auditors"})

    def members(*names):
        data = encode_vlist([Reference.parse(name) for name in names])
        values = (HandleValue(200, b"HS_VLIST", data),)
        world.commit(Change(Kind.CREATE, b"86.999/auditors", values, overwrite=True))

    assert await world.ids() == [4]
    members(EVE[0], ALICE[0])
    assert await world.ids() == [1, 2, 4]
    members(EVE[0])
    assert await world.ids() == [4]


async def test_each_read_by_grant_is_logged(world):
    """A page is one read with its changes, an event one with its id; what is public is none."""
    world.grant({})
    assert await world.ids(user=None) == [4]
    assert await world.ids(user=EVE) == [4]
    assert (await world.epcis.events()) == ["0004", "0003", "0002", "0001"]
    assert world.reads() == []
    assert await world.ids() == [1, 2, 4]
    with world.node.store.snapshot() as state:
        index = EventIndex(state)
        one, two = (index.by_event_id(each)[0] for each in (ID, OTHER))
    (read,) = world.reads()
    assert (read.who.text(), read.what, read.changes) == (ALICE[0], b"2 events", (one, two))
    assert read.shape()["changes"] == f"{one}-{two}"
    for path in (f"/epcis/events/{quoted(ID)}", f"/epcis/events/{quoted(ID)}/proof"):
        await world.get(path)
        (read,) = world.reads()
        assert (read.what, read.changes, read.prefix) == (ID.encode(), (one,), b"86.999")
    for path in (
        "/epcis/epcs",
        f"/epcis/epcs/{quoted(ITEM % 1)}",
        f"/api/trace/{quoted(ITEM % 1)}",
    ):
        assert (await world.get(path)).status == 200
        assert one in {change for read in world.reads() for change in read.changes}, path
    await world.get("/epcis/events")
    for change in changes_of(world.reads(), "place"):
        world.commit(change)
    (shape,) = (await world.epcis.node.as_admin("GET", "/api/audit")).json["reads"]
    assert (shape["what"], shape["who"]) == ("2 events", ALICE[0])


async def test_what_cannot_be_noted_is_not_shown(world):
    """While the log of reads is full, or closed as at a mirror, grants open no event."""
    world.grant({})
    world.node.lookup.reads.closed = True
    assert await world.ids() == [4]
    assert (await world.get(f"/epcis/events/{quoted(ID)}")).status == 404
    world.node.lookup.reads.closed = False
    assert await world.ids() == [1, 2, 4]


async def test_a_trace_shows_a_grantee_what_it_was_granted(world):
    """Alike as JSON and as lines; nobody keeps such an answer by an ETag."""
    made = event(
        7,
        type="TransformationEvent",
        epcList=None,
        action=None,
        inputEPCList=[ITEM % 1],
        outputEPCList=[ITEM % 7],
    )
    await world.epcis.capture(made)
    path = f"/api/trace/{quoted(ITEM % 7)}?direction=back"
    assert (await world.get(path)).status == 404
    world.grant({"event": "TransformationEvent"})
    answer = await world.get(path)
    assert {one["id"] for one in answer.json["nodes"]} == {ITEM % 7, ITEM % 1}
    assert [one["eventID"] for one in answer.json["events"]] == [made["eventID"]]
    assert {one["signature"] for one in answer.json["evidence"]} == {"ok"}
    assert "ETag" not in answer.headers
    lines = await world.epcis.node.ask(
        "GET", path, tls=True, user=ALICE, headers={"Accept": "application/x-ndjson"}
    )
    parts = [json.loads(line) for line in lines.body.splitlines()]
    assert {one["node"]["id"] for one in parts if one["part"] == "node"} == {ITEM % 7, ITEM % 1}
    assert (await world.get(path, None)).status == 404
    anybody = await world.get(f"/api/trace/{quoted(ITEM % 4)}", None)
    assert "ETag" in anybody.headers
    forward = await world.get(f"/api/trace/{quoted(ITEM % 1)}?direction=forward")
    assert {one["id"] for one in forward.json["nodes"]} == {ITEM % 7, ITEM % 1}
    world.grant()
    assert (await world.get(path)).status == 404


async def test_an_order_is_answered_with_what_its_sender_may_see(world):
    """POST /trace as well: a grantee gets its part signed and noted, anybody nothing."""
    world.grant({"identifier": ITEM % 1})

    async def order(user, mark):
        shape = {"start": ITEM % 1, "nonce": mark * 32, "traceId": mark * 32}
        return await world.epcis.node.ask("POST", "/trace", tls=True, user=user, body=shape)

    assert [one["eventID"] for one in (await order(ALICE, "a")).json["answer"]["events"]] == [ID]
    (read,) = world.reads()
    assert read.what == ID.encode()
    assert (await order(EVE, "b")).json["answer"]["events"] == []
    assert (await order(None, "c")).json["answer"]["events"] == []


async def test_a_label_within_an_event_is_content_and_decides_nothing(world):
    """Neither loosens it what is captured as private, nor hides it a part of what is public."""
    inner = {"class": "product", "level": 1}
    for number, outer, nested in ((10, "3", inner), (11, "public", {**inner, "level": 3})):
        made = event(number, **{"ex:label": nested, "ex:part": {"ex:label": nested}})
        body = document(made, context=[document()["@context"], {"ex": "https://example.org/"}])
        answer = await world.epcis.post("/capture", body, Biaoshi_Label=outer)
        job = await world.epcis.finished(answer.headers["Location"])
        assert job["success"], job
    world.grant({}, {"type": "ex:label"})
    assert await world.ids() == [1, 2, 4, 11]
    path = f"/epcis/events/{quoted(event(10)['eventID'])}"
    for more in ("", "/proof", "?disclose=*", "?disclose=ex:label"):
        assert (await world.get(path + more)).status == 404
    (public,) = list_of(await world.get(f"/epcis/events/{quoted(event(11)['eventID'])}", None))
    assert public["ex:part"] == {"ex:label": {**inner, "level": 3}}


async def test_a_copy_does_not_reach_others_by_another_class(world):
    """A copy that withdraws keeps class and purpose, or is stricter."""
    declared = event(1, errorDeclaration={"declarationTime": "2026-03-02T00:00:00Z"})
    for label in ('{"class": "product", "level": 2}', '{"level": 2, "purpose": "x"}', "2", "1"):
        job = await world.epcis.capture(declared, Biaoshi_Label=label)
        assert not job["success"], label
    world.grant({"class": "product"}, {"class": "operation", "identifier": ITEM % 1})
    assert await world.ids() == [4]
    assert (await world.epcis.capture(declared))["success"]
    assert await world.ids() == [4]
    world.grant({"class": "production"})
    assert await world.ids() == [1, 1, 4]


async def test_the_place_of_a_page_is_not_readable(world):
    """A token may stand at an event that the asker may not see; it is sealed and its own each time."""
    await world.epcis.capture(*map(event, range(20, 30)), Biaoshi_Label="public")
    one, two = [(await world.get("/epcis/events?perPage=2", None)).headers["Link"] for _ in "ab"]
    assert one != two
    token = one.partition("nextPageToken=")[2].partition(">")[0]
    octets = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    with world.node.store.snapshot() as state:
        row = EventIndex(state).row(EventIndex(state).last())
    assert row.time_us.to_bytes(8, "big") not in octets
    target = one.partition("<")[2].partition(">")[0]
    assert (await world.get(target, None)).status == 200
    assert (await world.get(target, ALICE)).status == 404
    assert (await world.get(target.replace(token, token[:-2] + "AA"), None)).status == 404


# --- subscribing


@pytest.fixture
async def posts():
    """The eventIDs of what is posted to `posts.url`."""
    queue = asyncio.Queue()

    async def take(request):
        results = (await request.json())["epcisBody"]["queryResults"]["resultsBody"]
        for one in results["eventList"]:
            queue.put_nowait(int(one["eventID"][-4:]))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    queue.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield queue
    await runner.cleanup()


async def next_of(queue):
    async with asyncio.timeout(WAIT_S):
        return await queue.get()


async def name_query(world, user, name="mine", **query):
    body = {"name": name, "query": query or {"eventType": ["ObjectEvent"]}}
    return await world.epcis.post("/queries", body, user=user)


async def test_a_partner_has_queries_of_its_own(world):
    """Names of administrators and of other partners show in no answer to it, nor its own to them."""
    assert (await name_query(world, ALICE)).status == 403
    assert (await name_query(world, None)).status == 401
    world.grant({}, {"to": EVE[0]})
    admin = await world.epcis.post("/queries", {"name": "mine", "query": {}})
    assert admin.status == 201
    assert (await name_query(world, ALICE, EQ_bizStep=["shipping"])).status == 201
    assert (await name_query(world, ALICE)).status == 409
    assert (await name_query(world, EVE)).status == 201
    found = (await world.get("/epcis/queries/mine")).json
    assert found["query"] == {"EQ_bizStep": ["shipping"]}
    assert len((await world.get("/epcis/queries")).json) == 1
    assert len((await world.epcis.get("/queries")).json) == 1
    rows = list_of(await world.get("/epcis/queries/mine/events"))
    assert sorted(int(one["eventID"][-4:]) for one in rows) == [1, 4]
    (read,) = world.reads()
    assert read.what == ID.encode()
    world.grant()
    rows = list_of(await world.get("/epcis/queries/mine/events"))
    assert [int(one["eventID"][-4:]) for one in rows] == [4]
    ask = world.epcis.node.ask
    assert (await ask("DELETE", "/epcis/queries/mine", tls=True, user=ALICE)).status == 204
    assert (await ask("DELETE", "/epcis/queries/mine", tls=True, user=ALICE)).status == 404
    assert (await world.epcis.get("/queries/mine")).json["query"] == {}


async def test_a_webhook_of_a_partner_ends_with_its_grant(world, posts, monkeypatch):
    """It gets what is granted when it is delivered, noted; nothing after the grant was taken back."""
    world.grant({"step": "shipping"})
    await name_query(world, ALICE)
    body = {"dest": posts.url, "stream": True}
    answer = await world.epcis.post("/queries/mine/subscriptions", body, user=ALICE)
    assert answer.status == 201, answer.body
    await world.epcis.capture(event(30, bizStep="receiving"), event(31))
    assert await next_of(posts) == 31
    assert [read.what for read in world.reads()] == [event(31)["eventID"].encode()]
    await world.epcis.post("/queries", {"name": "all", "query": {}})
    monkeypatch.setattr(delivery, "REVOKED_S", 0)
    world.grant()
    await world.epcis.capture(event(32))
    await world.epcis.capture(event(33), Biaoshi_Label="public")
    admin = await world.epcis.post("/queries/all/subscriptions", body)
    assert admin.status == 201
    await world.epcis.capture(event(34), Biaoshi_Label="3")
    assert await next_of(posts) == 34
    assert posts.empty()
    assert world.reads() == []
    assert (await world.epcis.delete("/queries/all")).status == 204
    world.grant({"step": "shipping"})  # granted again: nothing was passed over meanwhile
    assert [await next_of(posts), await next_of(posts)] == [32, 33]
    world.grant()
    path = answer.headers["Location"]
    gone = await world.epcis.node.ask("DELETE", path, tls=True, user=ALICE)
    assert gone.status == 204


async def test_a_stream_of_a_partner_ends_with_its_grant(world):
    """A WebSocket gets what is granted, and is closed when nothing is any more."""
    world.grant({"identifier": ITEM % 41})
    await name_query(world, ALICE)
    credentials = b64encode(ALICE[0].replace(":", "%3A").encode() + b":" + ALICE[1]).decode()
    url = f"https://127.0.0.1:{world.epcis.node.https}/epcis/queries/mine/events?stream=true"
    async with world.epcis.node.session.ws_connect(
        url, ssl=False, headers={"Authorization": f"Basic {credentials}"}
    ) as socket:
        await world.epcis.capture(event(40), event(41))
        async with asyncio.timeout(WAIT_S):
            message = await socket.receive_json()
        rows = message["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
        assert [one["eventID"] for one in rows] == [event(41)["eventID"]]
        assert [read.what for read in world.reads()] == [event(41)["eventID"].encode()]
        world.grant()
        await world.epcis.capture(event(41, eventID=event(42)["eventID"]))
        async with asyncio.timeout(WAIT_S):
            message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == aiohttp.WSCloseCode.POLICY_VIOLATION


# --- parts


def test_grants_of_events_open_no_values():
    """A grant narrowed to a type of event or to a step says nothing about records."""
    label = {"class": "operation", "level": 2}
    assert make_grant({"to": ALICE[0]}).covers(b"URL", label)
    assert not make_grant({"to": ALICE[0], "event": "ObjectEvent"}).covers(b"URL", label)
    assert not make_grant({"to": ALICE[0], "step": "shipping"}).covers(b"URL", label)
    with pytest.raises(InvalidValue):
        make_grant({"to": ALICE[0], "step": 7})


def test_grants_of_an_issuer_are_asked_for_once():
    """However many events are looked at; an event is read only where a grant is narrowed to it."""
    asked, read = [], []
    label = {"class": "operation", "level": 2}
    row = EventRow(ID, 0, 0, "300:0.NA/86.999", label, 0, b"", json.dumps(event(1)).encode())

    def viewer(*shapes):
        grants = tuple(make_grant({"to": ALICE[0], **shape}) for shape in shapes)

        def of(issuer):
            asked.append(issuer)
            return b"86.999", grants

        return Viewer(Reference.parse(ALICE[0]), events=EventGrants(of, 0.0))

    def parsed():
        read.append(1)
        return event(1)

    one = viewer({}, {"identifier": ITEM % 2})
    assert all(seen(row, one, parsed) for _ in range(100))
    assert (len(asked), len(read)) == (1, 0)
    other = viewer({"class": "product", "identifier": ITEM % 1})
    assert not any(seen(row, other, parsed) for _ in range(100))
    assert (len(asked), len(read)) == (2, 0)
    assert not seen(row._replace(label={**label, "level": 3}), one, parsed)
    assert not seen(row._replace(label={**label, "level": "2"}), one, parsed)


def test_reads_of_many_events_stay_small():
    """An answer of many events is few reads, each with its changes in short; too many wait no more."""
    log, who = ReadLog(), Reference.parse(ALICE[0])
    opened = [OpenedEvent(n, f"urn:{n}", b"x", b"86.999", frozenset()) for n in range(5 * PER_READ)]
    log.note_events(who, opened[::-1], 1)
    assert not log.full
    reads = log.take()
    assert [read.shape()["changes"] for read in reads[:2]] == ["0-1999", "2000-3999"]
    assert sum(len(change.values[0].data) for change in changes_of(reads, "x")) < 5_000
    assert ranges((1, 3, 4, 5, 9)) == "1,3-5,9"
    log.give_back(reads * (MOST_EVENTS_WAITING // len(opened)))
    assert log.full
    spread = [one.__class__(one.change * 3, *_rest(one)) for one in opened]
    log.take()
    log.note_events(who, spread * 5, 1)
    changes = changes_of(log.take(), "x")
    assert len(changes) > 1
    assert all(len(change.values[0].data) < 200_000 for change in changes)


def _rest(one):
    return one.event_id, one.octets, one.prefix, one.purposes
