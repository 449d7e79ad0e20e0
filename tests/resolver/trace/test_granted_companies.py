"""A node asks another as itself: over TLS, with its site key, and gets what was granted to it."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from urllib.parse import quote

import pytest

from resolver.config import RecursionSettings
from tests.resolver.nodes import biaoshi, enrol, make, ok, serving, until
from tests.resolver.trace.test_companies import PREFIX, ZONE, at, capture, gtin, ids, shipped

SECRET = b"the word of an administrator"
ORE = gtin("steel", 1) + "/10/ORE1"
COIL = gtin("steel", 2) + "/21/C1"
PART = gtin("equipment", 2) + "/21/P1"
GRANTED = {"class": "production", "level": 2}
PRIVATE = {"class": "production", "level": 3}
PUBLIC = {"class": "operation", "level": 1}
MADE = at(
    1,
    "TransformationEvent",
    inputQuantityList=[{"epcClass": ORE, "quantity": 100, "uom": "KGM"}],
    outputEPCList=[COIL],
)
INSPECTED = at(2, "ObjectEvent", action="OBSERVE", bizStep="inspecting", epcList=[COIL])
BUILT = at(30, "TransformationEvent", inputEPCList=[COIL], outputEPCList=[PART])


class World:
    """Steel grants; equipment asks. Both under one parent; neither resolves for others."""

    def __init__(self, base, serve):
        self.serve, self.nodes = serve, {}
        self.top = serve(make(base / "top", "GS1", role="top"))
        for name in ("steel", "equipment"):
            zone = ZONE[name]
            folder = make(
                base / name,
                zone,
                parent=self.top.url,
                recursion=RecursionSettings(roots=(self.top.url,)),
                secret=SECRET,
            )
            self.nodes[name] = serve(folder)
            enrol(self.nodes[name], self.top, zone)
        steel, equipment = self.nodes["steel"].folder, self.nodes["equipment"].folder
        capture(steel, ZONE["steel"], MADE, label=GRANTED)
        capture(steel, ZONE["steel"], INSPECTED, label=PRIVATE)
        capture(steel, ZONE["steel"], shipped(5, COIL, "steel", "equipment"), label=PUBLIC)
        capture(equipment, ZONE["equipment"], BUILT, label=PUBLIC)

    def restart(self, name):
        node = self.nodes[name]
        node.stop()
        self.nodes[name] = self.serve(node.folder)

    def ask(self, name, path, *, shape=None, administrator=True):
        """Status and JSON, as the administrator of a node or as anybody, over TLS."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        headers = {"Content-Type": "application/json"}
        if administrator:
            who = f"301%3A0.NA/{ZONE[name]}:".encode() + SECRET
            headers["Authorization"] = "Basic " + b64encode(who).decode()
        url = f"https://127.0.0.1:{self.nodes[name].ready['https']}{path}"
        data = None if shape is None else json.dumps(shape).encode()
        request = urllib.request.Request(url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def trace(self, id_, more="hops=iterative", **how):
        return self.ask("equipment", f"/api/trace/{quote(id_, safe='')}?{more}", **how)

    def grant(self, *arguments):
        """Its number."""
        shown = ok("grant", "add", self.nodes["steel"].folder, *arguments)
        return shown.split()[1].rstrip(",")

    def revoke(self, number):
        ok("grant", "remove", self.nodes["steel"].folder, number)

    def reads(self):
        """What the log of steel says of reads."""
        shown = ok("audit-reads", self.nodes["steel"].folder, "--json")
        return [json.loads(line) for line in shown.splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving() as serve:
        yield World(tmp_path_factory.mktemp("granted"), serve)


def test_what_was_granted_to_a_node_reaches_its_administrator_alone(world):
    """The node proves itself with its site key; nobody's credentials travel; revoked, it is gone."""
    equipment = f"300:0.NA/{ZONE['equipment']}"
    assert ids(world.trace(PART, administrator=False)[1]) == {PART, COIL}
    number = world.grant(equipment, "--class", "production", "--purpose", "quality")
    status, result = world.trace(PART)
    assert status == 200, result
    assert ids(result) == {PART, COIL, ORE}
    evidence = {row["event"]: row for row in result["evidence"]}
    made = evidence[MADE["eventID"]]
    assert (made["trust"], made["signature"]) == ("verified", "ok")
    assert made["receipt"]["verified"]
    assert INSPECTED["eventID"] not in json.dumps(result)
    # Anybody at the same node, after it: only what is public.
    assert ids(world.trace(PART, administrator=False)[1]) == {PART, COIL}
    (read,) = until(world.reads)
    assert (read["who"], read["what"]) == (equipment, MADE["eventID"])
    assert read["purposes"] == ["quality"]
    world.revoke(number)
    gone = world.trace(PART)[1]
    assert ids(gone) == {PART, COIL}
    assert ORE not in json.dumps(gone)
    assert MADE["eventID"] not in json.dumps(gone)


def test_keys_of_others_are_known_without_resolving_for_anybody(world):
    """Nobody gets an answer about another node's names from a node that resolves for nobody."""
    handle = quote(f"0.NA/{ZONE['equipment']}")
    status, told = world.ask("steel", f"/api/handles/{handle}", administrator=False)
    assert (status, told["responseCode"]) != (200, 1)
    assert "values" not in told


def test_a_recall_and_an_order_go_by_the_grant_too(world):
    """Forward, and handed on as a signed order: counts with the grant, less without."""
    equipment = f"300:0.NA/{ZONE['equipment']}"
    number = world.grant(equipment, "--event", "TransformationEvent")
    forward = world.trace(ORE, "direction=forward&hops=iterative")
    assert forward[0] == 200, forward
    assert {ORE, COIL, PART} <= ids(forward[1])
    handed = world.trace(COIL, "direction=back&hops=delegated")[1]
    assert handed["beyond"]["events"] == 2, handed
    assert ORE not in json.dumps(handed)
    world.revoke(number)
    handed = world.trace(COIL, "direction=back&hops=delegated")[1]
    assert handed["beyond"]["events"] == 1, handed
    assert world.trace(ORE, "direction=forward&hops=iterative")[0] == 404


def test_a_grant_to_a_list_at_another_node_holds_there(world):
    """Who is on the list is decided where the list lies: a group across companies."""
    folder = world.nodes["equipment"].folder
    file = folder / "list.jsonl"
    members = [{"index": 300, "handle": f"0.NA/{ZONE['equipment']}"}]
    value = {"format": "vlist", "value": members}
    record = {
        "handle": f"{ZONE['equipment']}/auditors",
        "values": [{"index": 200, "type": "HS_VLIST", "data": value}],
    }
    file.write_text(json.dumps(record) + "\n")
    done = biaoshi("register", file, "--node", folder)
    assert done.returncode == 0, done.stderr
    number = world.grant(f"200:{ZONE['equipment']}/auditors", "--identifier", COIL)
    until(lambda: ORE in ids(world.trace(PART)[1]))
    world.revoke(number)
    assert ids(world.trace(PART)[1]) == {PART, COIL}


def test_a_session_that_ended_there_is_opened_anew(world):
    """The node that was asked starts again: its neighbour proves itself once more."""
    number = world.grant(f"300:0.NA/{ZONE['equipment']}")
    assert ORE in ids(world.trace(PART)[1])
    world.restart("steel")
    until(lambda: ORE in ids(world.trace(PART)[1]))
    world.revoke(number)


def test_a_node_that_was_granted_nothing_learns_nothing(world):
    """Also asked as itself, absent and denied are one: the same words about both."""
    absent = world.trace(gtin("steel", 2) + "/21/C9", "direction=back&hops=iterative")
    denied = world.trace(ORE, "direction=forward&hops=iterative")
    assert absent == denied
    assert PREFIX["steel"] not in json.dumps(denied)
