"""Labels over HTTP: what is labelled is not there for whoever may not see it."""

from __future__ import annotations

import json
import re

import pytest

from protocol.change import Change, Kind
from protocol.errors import ServerBusy
from protocol.labels import LABEL
from protocol.record import HandleValue, Reference
from protocol.values.hs_admin import Admin, encode_admin
from protocol.values.hs_vlist import encode_vlist
from registry.grants import GRANT
from registry.reads import CLOSED, changes_of, logged_reads
from registry.rules import SIGN
from registry.signing import NodeSigners, RecordGuard
from resolver.reads_keeper import ReadsKeeper
from tests.resolver.http.node_in_process import value

SECRET_TEXT = "recipe 7 of steel"
ALICE, EVE = ("300:86.999/alice", b"alice secret"), ("300:86.999/eve", b"eve secret")
NONE = None
LABELS = {
    "value 2": {"2": {"class": "production", "level": 2, "purpose": "quality"}},
    "value 3": {"3": {"class": "management", "level": 3}},
    "both": {
        "2": {"class": "production", "level": 2, "purpose": "quality"},
        "3": {"class": "management", "level": 3},
    },
    "everything": {"*": {"class": "production", "level": 2}},
}
ADMIN = HandleValue(100, b"HS_ADMIN", encode_admin(Admin(0xFFF, b"0.NA/86.999", 200)))


QR = re.compile(rb' d="M[^"]*"')
"""The drawing of a QR code: of the name and nothing else."""


def labelled(labels, *more):
    return (
        value(1, "URL", "https://example.org/x"),
        value(2, "BOM", SECRET_TEXT),
        value(3, "COST", SECRET_TEXT + " 99"),
        ADMIN,
        HandleValue(50, LABEL, json.dumps(labels).encode()),
        *more,
    )


def commit(served, change):
    (outcome,) = served.node.writer.writer.commit([change])
    return outcome


def register(served, handle, values, **more):
    outcome = commit(
        served,
        Change(Kind.CREATE, handle, values=values, overwrite=True, attributes={SIGN: True}, **more),
    )
    assert outcome.error is None, outcome
    return outcome


def people(served):
    """Two identities with secrets; and the writer signs, as that of a node does."""
    signer = NodeSigners(served.node.keys, b"86.999")
    served.node.writer.writer._guard = RecordGuard(signer)
    for name, secret in (ALICE, EVE):
        key = value(300, "HS_SECKEY", secret, permissions=0b1100)
        register(served, name.partition(":")[2].encode(), (ADMIN, key))


def grant(served, **shape):
    values = (
        ADMIN,
        HandleValue(1, GRANT, json.dumps({"to": ALICE[0], **shape}).encode()),
        HandleValue(2, LABEL, CLOSED),
    )
    return register(served, b"86.999/0.GRANTS", values)


async def get(served, path, user):
    if user == "admin":
        return await served.as_admin("GET", path)
    return await served.ask("GET", path, tls=True, user=user)


PATHS = (
    "/api/handles/{}",
    "/api/handles/{}?publicOnly=false",
    "/api/handles/{}?index=2",
    "/api/handles/{}?index=2&index=50&index=401&index=402",
    "/api/handles/{}?type=BOM&type=0.LABEL",
    "/api/handles/{}?auth=true",
    "/api/resolve?id={}",
    "/api/resolve?id={}&index=2",
    "/{}",
    "/{}?noredirect",
    "/{}?type=BOM",
    "/{}?linkType=linkset",
    "/log/receipt?handle={}",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", [NONE, EVE], ids=["anybody", "another identity"])
@pytest.mark.parametrize("label", ["everything"])
async def test_a_hidden_record_answers_as_one_that_is_not_there(served, path, who, label):
    """Status, body and headers differ by nothing but the name."""
    people(served)
    register(served, b"86.999/xx-here", labelled(LABELS[label]))
    there = await get(served, path.format("86.999/xx-here"), who)
    absent = await get(served, path.format("86.999/xx-none"), who)
    assert there.status == absent.status
    assert there.body.replace(b"xx-here", b"xx-none") == absent.body
    assert there.headers.keys() == absent.headers.keys()
    assert SECRET_TEXT.encode() not in there.body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", [NONE, EVE], ids=["anybody", "another identity"])
@pytest.mark.parametrize("label", ["value 2", "value 3", "both"])
async def test_a_record_with_hidden_values_answers_as_one_without_them(served, path, who, label):
    """A hidden value, its labels and its signatures leave no trace in the answer."""
    people(served)
    hidden = set(LABELS[label])
    register(served, b"86.999/xx-here", labelled(LABELS[label]))
    plain = [v for v in labelled({}) if str(v.index) not in hidden and v.type != LABEL]
    register(served, b"86.999/xx-bare", tuple(plain))
    there = await get(served, path.format("86.999/xx-here"), who)
    bare = await get(served, path.format("86.999/xx-bare"), who)
    assert there.status == bare.status
    if "receipt" not in path:
        assert len(QR.sub(b"", there.body)) == len(QR.sub(b"", bare.body))
    if hidden >= {"2"}:
        assert SECRET_TEXT.encode() not in there.body.replace(b" 99", b"") or "3" not in hidden
        assert b'"index":2,' not in there.body
    assert b"0.LABEL" not in there.body


async def test_administrators_see_everything(served):
    """The administrator of the prefix reads hidden values, labels and sealed signatures."""
    people(served)
    register(served, b"86.999/x", labelled(LABELS["both"]))
    shown = (await served.as_admin("GET", "/api/handles/86.999/x")).json["values"]
    assert {1, 2, 3, 50, 100} <= {one["index"] for one in shown}
    assert sum(one["type"] == "HS_SIGNATURE" for one in shown) == 4


async def test_a_grantee_sees_what_the_grant_covers_and_the_read_is_logged(served):
    """Level 2 of the granted class, its signature, nothing of level 3; one read is noted."""
    people(served)
    register(served, b"86.999/x", labelled(LABELS["both"]))
    grant(served, **{"class": "production", "purpose": "quality"})
    shown = (await get(served, "/api/handles/86.999/x", ALICE)).json["values"]
    assert {one["index"] for one in shown} - {400} > {1, 2, 100}
    assert not {3, 50} & {one["index"] for one in shown}
    assert sum(one["type"] == "HS_SIGNATURE" for one in shown) == 2
    others = (await get(served, "/api/handles/86.999/x", EVE)).json["values"]
    assert {one["index"] for one in others} == {1, 100, 400}
    reads = served.node.lookup.reads.take()
    assert len(reads) == 1
    assert reads[0].who == Reference.parse(ALICE[0])
    assert reads[0].purposes == ("quality",)
    for change in changes_of(reads, "0001"):
        assert commit(served, change).error is None
    with served.node.store.snapshot() as state:
        (logged,) = logged_reads(state, b"86.999")
    assert logged["what"] == "86.999/x"
    assert SECRET_TEXT not in json.dumps(logged)
    names = await served.ask("GET", "/86.999/0.READS/0001-000000")
    assert names.status == 404
    assert ALICE[0].encode() not in names.body


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ({"purpose": "quality"}, True),
        ({"class": "production", "purpose": "quality"}, True),
        ({"identifier": "86.999/X", "purpose": "quality"}, True),
        ({"under": "86.999/x", "purpose": "quality", "type": "BOM"}, True),
        ({}, False),
        ({"class": "external", "purpose": "quality"}, False),
        ({"identifier": "86.999/y", "purpose": "quality"}, False),
        ({"under": "86.999/y", "purpose": "quality"}, False),
        ({"type": "COST", "purpose": "quality"}, False),
        ({"until": 1, "purpose": "quality"}, False),
        ({"to": "300:86.999/eve", "purpose": "quality"}, False),
        ({"to": "200:86.999/partners", "purpose": "quality"}, True),
    ],
)
async def test_a_grant_opens_its_scope_only(served, shape, seen):
    """Identifier, beginning, class, type, purpose, end and grantee each narrow a grant."""
    people(served)
    partners = encode_vlist((Reference.parse(ALICE[0]),))
    register(served, b"86.999/partners", (ADMIN, HandleValue(200, b"HS_VLIST", partners)))
    register(served, b"86.999/x", labelled(LABELS["both"]))
    grant(served, **shape)
    shown = (await get(served, "/api/handles/86.999/x", ALICE)).json["values"]
    assert (2 in {one["index"] for one in shown}) is seen


async def test_what_cannot_be_logged_is_not_shown(served, monkeypatch):
    """While the reads that wait are too many, grants open nothing."""
    people(served)
    register(served, b"86.999/x", labelled(LABELS["value 2"]))
    grant(served, purpose="quality")
    monkeypatch.setattr("registry.reads.MOST_WAITING", 0)
    shown = (await get(served, "/api/handles/86.999/x", ALICE)).json["values"]
    assert 2 not in {one["index"] for one in shown}


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("query", ["", "?overwrite=false", "?index=2"])
async def test_writes_of_others_do_not_tell_what_is_hidden(served, method, query):
    """Who may not write learns the same of a hidden record as of none."""
    people(served)
    register(served, b"86.999/xx-here", labelled(LABELS["everything"]))
    body = {"values": [{"index": 2, "type": "URL", "data": "https://example.org"}]}
    for user in (None, EVE):
        here, none = [
            await served.ask(
                method, f"/api/handles/86.999/{n}{query}", tls=True, user=user, body=body
            )
            for n in ("xx-here", "xx-none")
        ]
        assert here.status == none.status
        assert len(here.body.replace(b"xx-here", b"xx-none")) == len(none.body)


async def test_lists_leave_hidden_records_out_for_who_may_only_list(served):
    """Who may list handles, but not read values, is not told of hidden records."""
    people(served)
    register(served, b"86.999/hidden", labelled(LABELS["everything"]))
    admin = await served.as_admin("GET", "/api/handles?prefix=86.999")
    assert "86.999/HIDDEN" in admin.json["handles"]
    lister = HandleValue(150, b"HS_ADMIN", encode_admin(Admin(0x800, b"86.999/eve", 300)))
    outcome = commit(served, Change(Kind.ADD, b"0.NA/86.999", values=(lister,)))
    assert outcome.error is None
    eve = await get(served, "/api/handles?prefix=86.999", EVE)
    assert eve.status == 200
    assert "86.999/EVE" in eve.json["handles"]
    assert "86.999/HIDDEN" not in eve.json["handles"]


async def test_grants_are_given_listed_and_taken_back_over_http(served):
    """POST, GET and DELETE /api/grants work for administrators, and for nobody else."""
    people(served)
    register(served, b"86.999/x", labelled(LABELS["value 2"]))
    path = "/api/grants?prefix=86.999"
    made = await served.as_admin("POST", path, {"to": ALICE[0], "purpose": "quality"})
    assert made.status == 201, made.body
    shown = (await get(served, "/api/handles/86.999/x", ALICE)).json["values"]
    assert 2 in {one["index"] for one in shown}
    second = await served.as_admin("POST", path, {"to": EVE[0], "until": "2099-01-01T00:00:00Z"})
    assert second.json["number"] == made.json["number"] + 1
    listed = (await served.as_admin("GET", path)).json["grants"]
    assert [one["to"] for one in listed] == [ALICE[0], EVE[0]]
    gone = await served.as_admin("DELETE", f"{path}&number={made.json['number']}")
    assert gone.status == 200, gone.body
    shown = (await get(served, "/api/handles/86.999/x", ALICE)).json["values"]
    assert 2 not in {one["index"] for one in shown}
    for method in ("GET", "POST", "DELETE"):
        assert (await served.ask(method, path, tls=True, user=EVE, body={})).status == 403
        assert (await served.ask(method, path, tls=True, body={})).status == 401


async def test_reads_by_grant_are_written_and_shown_to_administrators(served):
    """What a reader gathered is in the log after one turn of its keeper."""
    people(served)
    register(served, b"86.999/x", labelled(LABELS["value 2"]))
    grant(served, purpose="quality")
    for _ in range(3):
        await get(served, "/api/handles/86.999/x", ALICE)
    await ReadsKeeper(served.node).write()
    reads = (await served.as_admin("GET", "/api/audit?prefix=86.999")).json["reads"]
    assert [(one["who"], one["what"]) for one in reads] == [(ALICE[0], "86.999/x")] * 3
    assert (await served.ask("GET", "/api/audit", tls=True, user=EVE)).status == 403


async def test_reads_wait_while_the_writer_does_not_answer(served):
    """A batch that could not be written is written with the next."""
    people(served)
    register(served, b"86.999/x", labelled(LABELS["value 2"]))
    grant(served, purpose="quality")
    await get(served, "/api/handles/86.999/x", ALICE)
    served.node.writer.error = ServerBusy("busy")
    await ReadsKeeper(served.node).write()
    served.node.writer.error = None
    await ReadsKeeper(served.node).write()
    with served.node.store.snapshot() as state:
        assert len(list(logged_reads(state, b"86.999"))) == 1


async def test_a_labels_member_labels_a_registration(served):
    """PUT and POST /api/registrations take `labels` beside `values`."""
    people(served)
    values = [{"index": 1, "type": "URL", "data": "https://example.org"}]
    values += [{"index": 2, "type": "BOM", "data": SECRET_TEXT}]
    body = {"values": values, "labels": {"BOM": "production:2"}}
    assert (await served.as_admin("PUT", "/api/handles/86.999/p", body)).status == 201
    row = {"handle": "86.999/q", **body}
    sent = await served.as_admin("POST", "/api/registrations", json.dumps(row).encode())
    assert json.loads(sent.body.splitlines()[0])["status"] == "created", sent.body
    for name in ("p", "q"):
        shown = await served.ask("GET", f"/api/handles/86.999/{name}")
        assert shown.status == 200
        assert SECRET_TEXT.encode() not in shown.body
        assert b"0.LABEL" not in shown.body
