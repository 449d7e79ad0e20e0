"""Chosen fields of an event: shown to grantees, proved without the others."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode

import pytest

from protocol.change import Change, Kind
from protocol.errors import ParseError, SignatureInvalid
from protocol.event_disclosure import verify_disclosure
from protocol.labels import LABEL
from protocol.record import HandleValue, Reference
from registry.events.row import EventRow
from registry.grants import GRANT
from registry.labels import Viewer
from registry.reads import CLOSED
from resolver.epcis.disclosing import fields_seen
from resolver.epcis.granted import Granted
from resolver.trust.offline_events import check_event
from tests.resolver.epcis.asking import ITEM, event, quoted
from tests.resolver.http.node_in_process import value

ALICE, EVE = ("300:86.999/alice", b"alice secret"), ("300:86.999/eve", b"eve secret")
ID = event(1)["eventID"]


@pytest.fixture
async def granted(epcis):
    """Two identities; a grant to one; an event of the default level, 2."""

    def grant(**shape):
        values = (
            HandleValue(1, GRANT, json.dumps({"to": ALICE[0], **shape}).encode()),
            HandleValue(2, LABEL, CLOSED),
        )
        commit(Change(Kind.CREATE, b"86.999/0.GRANTS", values, overwrite=True))

    def commit(change):
        (outcome,) = epcis.node.node.writer.writer.commit([change])
        assert outcome.error is None, outcome

    for name, secret in (ALICE, EVE):
        key = value(300, "HS_SECKEY", secret, permissions=0b1100)
        commit(Change(Kind.CREATE, name.partition(":")[2].encode(), (key,)))
    await epcis.capture(event(1, disposition="in_transit"))
    epcis.grant = grant
    return epcis


async def ask(epcis, fields, user, event_id=ID):
    path = f"/epcis/events/{quoted(event_id)}?disclose={fields}"
    return await epcis.node.ask("GET", path, tls=True, user=user)


async def test_a_grantee_gets_the_fields_of_its_grant_proved(granted):
    """The fields verify with the node's key; nothing else of the event is in the answer."""
    granted.grant(type="bizStep")
    answer = await ask(granted, "*", ALICE)
    assert answer.status == 200, answer.body
    key = granted.node.node.keys.log_public
    said = verify_disclosure(answer.json, [key])
    assert dict(said.fields) == {"bizStep": "shipping"}
    assert (said.event_id, said.signer.text()) == (ID, "302:0.NA/86.999")
    everything = answer.body + b"".join(
        urlsafe_b64decode(part + "==")
        for text in (answer.json["jws"], *answer.json["disclosures"])
        for part in text.split(".")
    )
    for hidden in (b"in_transit", (ITEM % 1).encode(), b"ObjectEvent"):
        assert hidden not in everything
    payload = json.loads(urlsafe_b64decode(answer.json["jws"].split(".")[1] + "=="))
    assert len(payload["_sd"]) == 16
    (read,) = granted.node.node.lookup.reads.take()
    assert (read.who.text(), read.what, read.prefix) == (ALICE[0], ID.encode(), b"86.999")


@pytest.mark.parametrize(
    ("shape", "fields", "seen"),
    [
        ({}, "bizStep,action", {"bizStep", "action"}),
        ({"class": "operation"}, "bizStep", {"bizStep"}),
        ({"identifier": ITEM % 1}, "bizStep", {"bizStep"}),
        ({"under": "/01/09506000134352/21/"}, "bizStep", {"bizStep"}),
        ({"identifier": ID}, "bizStep", {"bizStep"}),
        ({"identifier": ITEM % 2}, "bizStep", None),
        ({"class": "product"}, "bizStep", None),
        ({"type": "action"}, "bizStep", None),
        ({"until": 1}, "bizStep", None),
        ({"to": EVE[0]}, "bizStep", None),
        ({}, "nothing", None),
    ],
)
async def test_what_no_grant_opens_is_not_there(granted, shape, fields, seen):
    """The answer to who has no grant is that for an event that is not there."""
    granted.grant(**shape)
    answer = await ask(granted, fields, ALICE)
    if seen is not None:
        said = verify_disclosure(answer.json, [granted.node.node.keys.log_public])
        assert said.fields.keys() == seen
        return
    none = await ask(granted, fields, ALICE, event(9)["eventID"])
    assert (answer.status, answer.body) == (none.status, none.body)
    assert answer.status == 404


async def test_level_3_is_never_disclosed(granted):
    """No grant opens an event of level 3; its administrators may disclose it."""
    granted.grant()
    label = {"class": "operation", "level": 3}
    row = EventRow(ID, 0, 0, "300:0.NA/86.999", label, 0, b"", json.dumps(event(1)).encode())
    actor = Reference.parse(ALICE[0])
    alice = Viewer(actor, events=await Granted(granted.node.node).of(actor))
    assert fields_seen(row, alice, "*")[1] == frozenset()
    assert fields_seen(row._replace(label={**label, "level": 2}), alice, "*")[1]
    owner = Viewer(actor, administrator=True)
    assert "bizStep" in fields_seen(row, owner, "*")[1]


async def test_a_disclosure_that_was_altered_does_not_hold(granted):
    """A changed field, a field of another disclosure and another key are refused."""
    granted.grant()
    key = granted.node.node.keys.log_public
    one, other = [(await ask(granted, "bizStep", ALICE)).json for _ in range(2)]
    assert set(one["disclosures"]).isdisjoint(other["disclosures"])
    for wrong in (
        {**one, "disclosures": other["disclosures"]},
        {**one, "disclosures": one["disclosures"] * 2},
        {**one, "disclosures": ["WzEsImEiLDJd"]},
        {**one, "jws": one["jws"][:-4] + "AAAA"},
    ):
        with pytest.raises((SignatureInvalid, ParseError)):
            verify_disclosure(wrong, [key])
    with pytest.raises(SignatureInvalid):
        verify_disclosure(one, [])


@pytest.mark.parametrize("with_log_key", [True, False])
async def test_verify_checks_a_disclosure_offline(granted, with_log_key):
    """`biaoshi verify` holds for a disclosure with the node's key, and not with another."""
    granted.grant()
    shape = (await ask(granted, "bizStep", ALICE)).json
    key = granted.node.node.keys.log_public

    async def none(_name):
        return ()

    async def held(keys, log_keys):
        return await check_event(
            shape, signers=keys, roots=[], log_keys=log_keys, now_s=0, fetch=none
        )

    found = await (held([], [key.public_bytes_raw()]) if with_log_key else held([key], []))
    assert "bizStep" in found[0]
    with pytest.raises(SignatureInvalid):
        await held([], [bytes(32)])
