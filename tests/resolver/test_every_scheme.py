"""Every scheme through one recursive node, and changes that reach it by the owner's log.

Real processes: a top node that also answers for the schemes without a tree of their own, an
enterprise of prefix 88.118.8, another of the OID arc 2.999.5, a third of a GS1 company prefix, and
a recursive node that everybody asks.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from dataclasses import dataclass

import pytest

from protocol.change import Change, Kind
from protocol.errors import ResponseCode
from protocol.identifier import parse
from protocol.record import HandleValue
from resolver.config import (
    CacheSettings,
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    RecursionSettings,
    Settings,
)
from resolver.founding import found
from resolver.writer_link import open_writer
from tests.resolver.nodes import Serving, biaoshi, enrol, make, serving, until

TOP_TOO = ("2.999", "GS1", "MA", "DID", "URN", "ECODE", "10.1000")
COMPANY = "GS1.9.5.0.6.0.0.0"
READERS = 2
FOLLOW_S = 0.3
WITHIN_S = 10

# One record: its identifier as registered, where it lies, and spellings that mean it.
NAMES = {
    "88.118.8/泵#7": ("steel", "idis", ["hdl:88.118.8/泵#7"]),
    "VAA08811800000008JXDY2106023": ("steel", "vaa", ["15NVAA08811800000008JXDY2106023"]),
    "VAA08811800000008a/B": ("steel", "vaa", ["15NVAA08811800000008a/B"]),
    "did:cn:88.118.8": ("steel", "did", []),
    "2.999.5.7": ("arcs", "oid", ["urn:oid:2.999.5.7", "{2 999 5 7}", "/Example/5/7"]),
    "/Example/5/泵": ("arcs", "oid", ["/Joint-ISO-ITU-T/Example/5/泵"]),
    "https://id.gs1.org/01/09506000134352/21/a": (
        "gs1", "gs1", ["(01)09506000134352(21)a", "https://example.com/01/09506000134352/21/a"],
    ),
    "https://id.gs1.org/01/09506000134352/21/x": (
        "gs1", "gs1", ["urn:epc:id:sgtin:9506000.013435.x"],
    ),
    "10.1000/182": ("top", "doi", ["doi:10.1000/182", "https://doi.org/10.1000/182"]),
    "MA.156.M0.100204.13351764.Sx1": ("top", "ma", []),
    "MA.156.M0.100204.13351764.SX1": ("top", "ma", []),
    "urn:example:a%2Fb": ("top", "urn", ["URN:Example:a%2fb", "urn:example:a%2Fb?=q#f"]),
    "urn:example:A%2Fb/c": ("top", "urn", []),
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6": (
        "top", "urn", ["urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"],
    ),
    "did:bid:ef214PmkhKndUcArDQPgD5J4fFVwqJFPt": ("top", "did", []),
    "ecode:100646901234567892": ("top", "ecode", []),
}  # fmt: skip


@dataclass
class World:
    """The running nodes."""

    top: Serving
    steel: Serving
    arcs: Serving
    gs1: Serving
    recursive: Serving

    def put(self, where, name, data, *more):
        with open_writer(getattr(self, where).folder) as writer:
            values = (HandleValue(1, b"URL", data.encode()), *more)
            change = Change(Kind.CREATE, parse(name).handle, values, overwrite=True)
            (outcome,) = writer.submit([change])
            assert outcome.error is None, (name, outcome.error)

    def api(self, text, more=""):
        return self.recursive.get(f"/api/resolve?id={urllib.parse.quote(text, safe='')}{more}")

    def resolve(self, *arguments):
        done = biaoshi("resolve", *arguments, "--json")
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def _home(node, prefix):
    done = biaoshi("prefix", "home", prefix, "--node", node.folder)
    assert done.returncode == 0, done.stderr


def _recursive(folder, top, followed):
    settings = Settings(
        node=NodeSettings(role="recursive"),
        faces=FaceSettings(irp=0, http=0, https=0),
        recursion=RecursionSettings(enabled=True, roots=(top.url,)),
        cache=CacheSettings(follow=followed, follow_s=FOLLOW_S),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
    )
    found(folder, settings)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The four nodes, every name of NAMES registered where it lies."""
    base = tmp_path_factory.mktemp("schemes")
    with serving() as serve:
        top = serve(make(base / "top", "88", role="top"))
        steel = serve(make(base / "steel", "88.118.8", parent=top.url))
        arcs = serve(make(base / "arcs", "2.999.5", parent=top.url))
        gs1 = serve(make(base / "gs1", COMPANY, parent=top.url))
        for prefix in TOP_TOO:
            _home(top, prefix)
        enrol(steel, top, "88.118.8")
        enrol(arcs, top, "2.999.5")
        enrol(gs1, top, COMPANY)
        followed = (("88.118.8", steel.url), ("2.999.5", arcs.url), (COMPANY, gs1.url))
        recursive = serve(_recursive(base / "recursive", top, followed), READERS)
        made = World(top, steel, arcs, gs1, recursive)
        for node in (top, steel, arcs, gs1):
            _register(node, [n for n, row in NAMES.items() if getattr(made, row[0]) is node])
        yield made


def _register(node, names):
    """Signed by the node on the way in, as `biaoshi register` does."""
    file = node.folder / "names.jsonl"
    lines = [
        {
            "handle": parse(name).handle.decode(),
            "values": [{"index": 1, "type": "URL", "data": {"format": "string", "value": url}}],
        }
        for name in names
        for url in [f"https://example.org/{urllib.parse.quote(name)}"]
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = biaoshi("register", file, "--node", node.folder)
    assert done.returncode == 0, done.stdout + done.stderr


def _data(values):
    (url,) = [value for value in values if value["type"] == "URL"]
    return url["data"]["value"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_on_every_face(world, name):
    """HTTP, DO-IRP and the command line give one record for each spelling of an identifier."""
    where, scheme, spellings = NAMES[name]
    wanted = f"https://example.org/{urllib.parse.quote(name)}"
    for text in (name, *spellings):
        status, answer = world.api(text, "&steps=1&verify=1")
        assert status == 200, answer
        assert _data(answer["values"]) == wanted
        assert answer["scheme"] == scheme or text != name
        assert answer["steps"]
        assert answer["verification"]["status"] == "verified", answer["verification"]
    handle = parse(name).handle
    code, values = world.recursive.ask(handle)
    assert (code, values[0].data.decode()) == (ResponseCode.SUCCESS, wanted)
    code, values = world.recursive.ask(handle, tcp=True)
    assert (code, values[0].data.decode()) == (ResponseCode.SUCCESS, wanted)
    path = urllib.parse.quote(handle.decode(), safe="/:")
    for node in (world.recursive, getattr(world, where)):
        status, answer = node.get(f"/api/handles/{path}")
        assert (status, _data(answer["values"])) == (200, wanted)


def test_the_command_walks_the_tree(world):
    """`biaoshi resolve` finds each scheme through the recursive node and from the root."""
    server = f"127.0.0.1:{world.recursive.ready['irp']}"
    for name in ("VAA08811800000008JXDY2106023", "did:cn:88.118.8", "urn:oid:2.999.5.7",
                 "MA.156.M0.100204.13351764.Sx1", "URN:Example:a%2fb",
                 "ecode:100646901234567892"):  # fmt: skip
        for way in (("--server", server), ("--root", world.top.url, "--steps")):
            code, answer, errors = world.resolve(name, *way)
            assert code == 0, (name, way, answer, errors)
            assert _data(answer["values"]).startswith("https://example.org/")


def test_the_top_leads_dns_to_the_arcs(world):
    """`biaoshi dnssec delegate` publishes the servers of an arc that was given away."""
    top = ("--node", world.top.folder)
    digest = "ab" * 32
    done = biaoshi("dnssec", "delegate", "2.999.5", "--ns", "ns.5.999.2.oid-res.org 192.0.2.7",
                   "--ns", "ns.example.net", "--ds", f"4711 13 2 {digest}", *top)  # fmt: skip
    assert done.returncode == 0, done.stderr
    zone = biaoshi("dnssec", "export", "oid-res.org", *top).stdout.splitlines()
    assert "5.999.2.oid-res.org. 3600 IN NS ns.example.net." in zone
    assert "ns.5.999.2.oid-res.org. 3600 IN A 192.0.2.7" in zone
    assert f"5.999.2.oid-res.org. 3600 IN DS 4711 13 2 {digest.upper()}" in zone
    for wrong in (
        ("--ns", "ns.example.net x"),
        ("--ns", "a", "--ds", "1 2 3"),
        ("--remove", "--ns", "a"),
    ):
        assert biaoshi("dnssec", "delegate", "2.999.5", *wrong, *top).returncode != 0
    assert biaoshi("dnssec", "delegate", "2.999.6", "--ns", "ns.example.net", *top).returncode != 0
    assert biaoshi("dnssec", "delegate", "2.999.5", "--remove", *top).returncode == 0
    assert "NS ns.example.net." not in biaoshi("dnssec", "export", "oid-res.org", *top).stdout


def test_case_counts_where_it_does(world):
    """Names that differ in case are told apart, at the owner and in the cache."""
    for name in ("MA.156.M0.100204.13351764.Sx1Y", "urn:example:A%2Fb", "VAA08811800000008A/B"):
        assert world.api(name)[0] == 404, name


def test_one_record_by_several_names(world):
    """Aliases that their owners declare to each other lead to one record, whichever is asked."""
    idis, carrier, gtin = "88.118.8/one", "VAA08811800000008ONE", "(01)09506000134369"
    names = [idis.encode(), carrier.encode(), parse(gtin).handle]
    aliases = [HandleValue(n, b"0.ALIAS", name) for n, name in enumerate(names[1:], start=10)]
    world.put("steel", idis, "https://example.org/one", *aliases)
    back = HandleValue(10, b"0.ALIAS", names[0])
    for where, name in (("steel", names[1]), ("gs1", names[2])):
        with open_writer(getattr(world, where).folder) as writer:
            (outcome,) = writer.submit([Change(Kind.CREATE, name, (back,), overwrite=True)])
            assert outcome.error is None
    answers = [world.api(text) for text in (idis, carrier, gtin)]
    assert [status for status, _ in answers] == [200] * 3, answers
    assert len({json.dumps(answer["values"]) for _, answer in answers}) == 1
    assert {answer.get("record", idis) for _, answer in answers} == {idis}


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("steel", "88.118.8/泵#7"),
        ("steel", "VAA08811800000008JXDY2106023"),
        ("arcs", "2.999.5.7"),
        ("gs1", "(01)09506000134352(21)a"),
    ],
)
def test_a_change_reaches_the_cache_by_the_log(world, where, name):
    """A record with a day to live is fetched anew seconds after its owner changed it."""
    handle = parse(name).handle
    for number in range(2):
        for _ in range(2 * READERS):
            world.recursive.ask(handle)
        data = f"https://example.org/changed/{number}"
        world.put(where, name, data)
        began = time.monotonic()
        until(lambda data=data: _all(world, handle, data.encode()), WITHIN_S)
        print(f"{name}: a change was seen everywhere after {time.monotonic() - began:.2f} s")
    assert not [line for line in world.recursive.logged() if line["event"] == "follow_failed"]


def _all(world, handle, data):
    """Whether several connections, so both readers, get the new value."""
    return all(world.recursive.ask(handle, tcp=True)[1][0].data == data for _ in range(6))
