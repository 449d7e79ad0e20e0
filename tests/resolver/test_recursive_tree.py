"""A tree of real processes seen through a recursive node: top, second, enterprise, any of them killed.

Every record here has a TTL of one second, so that staleness need not be waited for long.
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.errors import ResponseCode
from resolver.config import CacheSettings
from resolver.config_file import format_settings, load_settings
from tests.resolver.nodes import Serving, biaoshi, enrol, make, make_door, ok, serving, until

NAMES = [f"88.118.8/p{n}" for n in range(3)]
READERS = 2


@dataclass
class Tree:
    """The running nodes, and how they are asked."""

    top: Serving
    second: Serving
    steel: Serving
    recursive: Serving
    serve: Callable[..., Serving]

    @property
    def root_key(self) -> Path:
        return self.top.folder / "keys" / "root_pub.pem"

    def api(self, name, more=""):
        return self.recursive.get(f"/api/resolve?id={urllib.parse.quote(name)}&steps=1{more}")

    def cache(self, *arguments):
        done = biaoshi("cache", *arguments, "--node", self.recursive.folder, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def warm(self, name=NAMES[0]):
        """Until each reader has it: which one answers is the kernel's choice."""
        until(lambda: self.api(name)[0] == 200 and self._everywhere(name))

    def _everywhere(self, name):
        return all("state" in shown for shown in self.cache("show", name))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """top 88, second 88.118, enterprise 88.118.8 with three products, and a recursive node."""
    base = tmp_path_factory.mktemp("tree")
    with serving() as serve:
        top = serve(make(base / "top", "88", role="top"))
        second = serve(make(base / "second", "88.118", parent=top.url, role="second"))
        steel = serve(make(base / "steel", "88.118.8", parent=second.url))
        enrol(second, top, "88.118")
        enrol(steel, second, "88.118.8")
        file = base / "products.jsonl"
        lines = [
            {"handle": name, "values": [{"index": 1, "type": "URL", "ttl": 1, "data": _url(name)}]}
            for name in NAMES
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        ok("register", file, "--node", steel.folder)
        door = make_door(
            base / "recursive",
            top,
            verify_prefixes=(("88.118.8", "required"),),
            cache=CacheSettings(persist=True, follow_s=0.2),
        )
        tree = Tree(top, second, steel, serve(door, READERS), serve)
        yield tree


def _url(name):
    return {"format": "string", "value": f"https://example.org/{name}"}


@pytest.mark.timeout(180)
def test_the_tree(tree):
    """Cold, warm, purged, outlived: every state of an answer is right and says what it is."""
    _cold_then_warm(tree)
    _purge_reaches_every_reader(tree)
    _steps_of_the_command(tree)
    _restart_keeps_the_cache(tree)
    _killed_one_by_one(tree)


def _cold_then_warm(tree):
    status, cold = tree.api(NAMES[0], "&verify=1")
    assert (status, cold["source"]) == (200, "referral")
    assert cold["verification"]["status"] == "verified"
    asked = [step["asked"] for step in cold["steps"] if step.get("transport")]
    assert {"0.NA/88.118", "0.NA/88.118.8", NAMES[0]} <= set(asked)
    assert all(
        step["signature"] == "signed"
        for step in cold["steps"]
        if step["asked"] == NAMES[0] and step.get("address")
    )
    tree.warm()


def _purge_reaches_every_reader(tree):
    tree.warm()
    answers = tree.cache("purge", NAMES[0])
    assert sorted(answer["reader"] for answer in answers) == list(range(READERS))
    assert all("state" not in shown for shown in tree.cache("show", NAMES[0]))
    tree.warm()
    tree.cache("purge", "--prefix", "88.118.8")
    assert all("state" not in shown for shown in tree.cache("show", NAMES[0]))


def _steps_of_the_command(tree):
    """`--steps --verify --server` says which record each message asked for."""
    done = biaoshi(
        "resolve", NAMES[1], "--server", f"127.0.0.1:{tree.recursive.ready['irp']}",
        "--steps", "--verify", "--root-key", tree.root_key, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shape = json.loads(done.stdout)
    asked = [step["asked"].upper() for step in shape["steps"]]
    assert asked[0] == NAMES[1].upper()
    assert "0.NA/88.118.8" in asked
    assert asked.count(NAMES[1].upper()) == 1
    assert "time window holds until 20" in shape["verification"]


def _restart_keeps_the_cache(tree):
    for name in NAMES:
        tree.warm(name)
    assert tree.recursive.stop() == 0
    tree.recursive = tree.serve(tree.recursive.folder, READERS)
    shown = tree.cache("show")
    assert all(each["entries"] >= len(NAMES) for each in shown), shown


def _killed_one_by_one(tree):
    """Owner, then second level, then top: what was cached is answered, marked as stale."""
    for victim in (tree.steel, tree.second, tree.top):
        victim.signal(9)
        victim.wait()
        for name in NAMES:
            until(lambda name=name: tree.api(name)[1].get("stale"))
            status, answer = tree.api(name)
            assert (status, answer["cache"], answer["ttl_s"]) == (200, "stale", 30), answer
            assert answer["values"][0]["data"]["value"] == f"https://example.org/{name}"
            began = time.monotonic()
            code, values = tree.recursive.ask(name.encode())
            assert code == ResponseCode.SUCCESS
            assert values[0].data == f"https://example.org/{name}".encode()
            assert time.monotonic() - began < 5
    with urllib.request.urlopen(f"{tree.recursive.url}/api/handles/{NAMES[1]}") as reply:
        assert reply.headers["Warning"].startswith("110")
    status, _ = tree.api("88.118.8/never-asked")
    assert status in {404, 502, 503}
    done = biaoshi("resolve", NAMES[2], "--server", f"127.0.0.1:{tree.recursive.ready['irp']}")
    assert done.returncode == 0, done.stdout
    assert "stale" in done.stdout
    settings = load_settings(tree.recursive.folder)
    assert settings.recursion.verify_prefixes == (("88.118.8", "required"),)
    assert "verify_prefixes" in format_settings(settings)
