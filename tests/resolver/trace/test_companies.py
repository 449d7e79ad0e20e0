"""Traces over real nodes: a steel maker, a carrier and an equipment maker under one parent."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest

from protocol.schemes.gs1_checks import check_digit
from registry.events.capture import make_change, node_event_signer, operator_of
from registry.keys import load_keys
from resolver.writer_link import open_writer
from tests.resolver.nodes import enrol, make, serving

ROOT = "https://id.gs1.org"
PREFIX = {"steel": "9521111", "carrier": "9522222", "equipment": "9523333"}
ZONE = {name: "GS1." + ".".join(digits) for name, digits in PREFIX.items()}
PUBLIC = {"class": "operation", "level": 1}
HIDDEN = {"class": "operation", "level": 2}


def checked(body):
    return body + check_digit(body)


def gtin(name, number):
    return f"{ROOT}/01/" + checked(f"0{PREFIX[name]}{number:05d}")


def party(name):
    return f"{ROOT}/417/" + checked(f"{PREFIX[name]}00001")


ORE = gtin("steel", 1) + "/10/ORE1"
COIL = gtin("steel", 2) + "/21/C1"
COIL_2 = gtin("steel", 2) + "/21/C2"
PALLET = f"{ROOT}/8003/" + "0" + checked(f"{PREFIX['carrier']}00001") + "P1"
BLANKS = gtin("equipment", 1) + "/10/B1"
PART = gtin("equipment", 2) + "/21/P1"
MACHINE = f"{ROOT}/8004/{PREFIX['equipment']}M1"
SECRET = gtin("equipment", 3) + "/21/S1"


def at(minute, type_, **fields):
    return {
        "type": type_,
        "eventID": f"urn:uuid:00000000-0000-4000-8000-{minute:012d}",
        "eventTime": f"2026-03-01T00:{minute:02d}:00.000Z",
        "eventTimeZoneOffset": "+00:00",
        **fields,
    }


def shipped(minute, thing, source, target):
    return at(
        minute,
        "ObjectEvent",
        action="OBSERVE",
        bizStep="shipping",
        epcList=[thing],
        sourceList=[{"type": "possessing_party", "source": party(source)}],
        destinationList=[{"type": "possessing_party", "destination": party(target)}],
    )


EVENTS = {
    "steel": [
        at(
            1,
            "TransformationEvent",
            inputQuantityList=[{"epcClass": ORE, "quantity": 100, "uom": "KGM"}],
            outputEPCList=[COIL, COIL_2],
            bizStep="commissioning",
        ),
        shipped(5, COIL, "steel", "carrier"),
        shipped(6, COIL_2, "steel", "carrier"),
    ],
    "carrier": [
        at(10, "AggregationEvent", action="ADD", parentID=PALLET, childEPCs=[COIL]),
        at(12, "ObjectEvent", action="OBSERVE", bizStep="departing", epcList=[PALLET]),
        at(14, "AggregationEvent", action="DELETE", parentID=PALLET),
        at(15, "AggregationEvent", action="ADD", parentID=PALLET, childEPCs=[COIL_2]),
        shipped(16, COIL, "carrier", "equipment"),
    ],
    "equipment": [
        at(
            20,
            "ObjectEvent",
            action="OBSERVE",
            bizStep="receiving",
            epcList=[COIL],
            sourceList=[{"type": "possessing_party", "source": party("carrier")}],
        ),
        at(
            30,
            "TransformationEvent",
            inputEPCList=[COIL],
            outputQuantityList=[{"epcClass": BLANKS, "quantity": 40}],
        ),
        at(
            31,
            "TransformationEvent",
            inputQuantityList=[{"epcClass": BLANKS, "quantity": 1}],
            outputEPCList=[PART],
        ),
        at(40, "AssociationEvent", action="ADD", parentID=MACHINE, childEPCs=[PART]),
    ],
}


def capture(folder, zone, *events, label=PUBLIC):
    """Capture as the operator."""
    keys, prefix = load_keys(folder), zone.encode()
    changes = [
        make_change(
            event,
            issuer=operator_of(prefix),
            signer=node_event_signer(keys, prefix),
            now_us=int(time.time() * 1e6),
            label=label,
        )
        for event in events
    ]
    with open_writer(folder) as writer:
        done = writer.submit(changes)
    assert {one.status for one in done} == {"created"}, done


class World:
    """The running nodes."""

    def __init__(self, base, serve):
        self.top = serve(make(base / "top", "GS1", role="top"))
        self.nodes = {}
        for name, zone in ZONE.items():
            node = serve(make(base / name, zone, parent=self.top.url))
            self.nodes[name] = node
            enrol(node, self.top, zone)
            capture(node.folder, zone, *EVENTS[name])
        hidden = at(50, "TransformationEvent", inputEPCList=[PART], outputEPCList=[SECRET])
        capture(self.nodes["equipment"].folder, ZONE["equipment"], hidden, label=HIDDEN)

    def trace(self, name, id_, more=""):
        return self.nodes[name].get(f"/api/trace/{quote(id_, safe='')}?{more}")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving() as serve:
        yield World(tmp_path_factory.mktemp("companies"), serve)


def ids(result):
    return {node["id"] for node in result["nodes"]}


def test_one_node_tells_its_part(world):
    """Without hops a node tells what it holds, each event's signature checked."""
    status, result = world.trace("equipment", MACHINE, "direction=back")
    assert status == 200, result
    assert ids(result) == {MACHINE, PART, BLANKS, COIL}
    assert {row["signature"] for row in result["evidence"]} == {"ok"}
    assert {edge["signer"] for edge in result["edges"]} == {f"302:0.NA/{ZONE['equipment']}"}
    assert result["complete"]


def test_back_over_three_companies(world):
    """A machine leads to the ore, over the carrier's pallet; every foreign event is verified."""
    status, result = world.trace("equipment", MACHINE, "hops=iterative")
    assert status == 200, result
    assert ids(result) == {MACHINE, PART, BLANKS, COIL, ORE, PALLET}
    assert result["complete"], result["gaps"]
    trust = {row["issuer"].partition("/")[2]: row["trust"] for row in result["evidence"]}
    assert trust == {
        ZONE["equipment"]: "own",
        ZONE["steel"]: "verified",
        ZONE["carrier"]: "verified",
    }
    assert all(row["signature"] == "ok" for row in result["evidence"])
    foreign = [row for row in result["evidence"] if row["trust"] == "verified"]
    assert all(row["receipt"]["verified"] for row in foreign)


def test_forward_over_three_companies(world):
    """A coil leads to the machine at the equipment maker, by way of the parties that events name."""
    _, result = world.trace("steel", COIL, "direction=forward&hops=iterative")
    assert ids(result) == {COIL, PALLET, BLANKS, PART, MACHINE}
    again = world.trace("steel", COIL, "direction=forward&hops=iterative")[1]
    assert json.dumps(again) == json.dumps(result)


def test_hand_to_hand_names_nobody_behind(world):
    """Delegated, the next company's part comes as signed counts; no name of what lies behind."""
    status, result = world.trace("steel", ORE, "direction=forward&hops=delegated")
    assert status == 200, result
    assert ids(result) == {ORE, COIL, COIL_2}
    assert result["beyond"]["nodes"]["item"] >= 3
    text = json.dumps(result)
    assert PREFIX["equipment"] not in text
    assert "127.0.0.1" not in text


def post(node, shape):
    request = urllib.request.Request(
        f"{node.url}/trace", json.dumps(shape).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_order_comes_once(world):
    """The same order again, and one that passed here before, are refused as a loop."""
    order = {"start": COIL, "direction": "back", "nonce": "n" * 32, "traceId": "t" * 32}
    status, answer = post(world.nodes["steel"], order)
    assert (status, ids(answer["answer"])) == (200, {COIL, ORE})
    assert post(world.nodes["steel"], order)[0] == 409
    from hashlib import sha256

    mark = sha256(f"{'n' * 32}\n{'u' * 32}\n{ZONE['steel']}".encode()).hexdigest()
    order |= {"traceId": "u" * 32, "visited": [mark]}
    assert post(world.nodes["steel"], order)[0] == 409
    assert post(world.nodes["steel"], {"start": COIL})[0] == 422


def test_absent_and_denied_are_one(world):
    """What is hidden from the asker and what is not there give the same answer."""
    absent = world.trace("equipment", gtin("equipment", 3) + "/21/S2", "direction=back")
    denied = world.trace("equipment", SECRET, "direction=back")
    assert absent == denied
    assert denied[0] == 404
    _, forward = world.trace("equipment", PART, "direction=forward")
    assert SECRET not in json.dumps(forward)


def test_a_silent_company_is_a_gap(world):
    """With the carrier down the trace goes on over the rest, and says what it could not ask."""
    world.nodes["carrier"].stop()
    _, result = world.trace("equipment", MACHINE, "hops=iterative")
    assert {COIL, ORE} <= ids(result)
    assert PALLET not in ids(result)
    assert not result["complete"]
    assert {(gap["step"], gap["reason"]) for gap in result["gaps"]} == {("connect", "unreachable")}
