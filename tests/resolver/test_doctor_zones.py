"""`biaoshi doctor` on DNS zones, mirrors and nodes below: each ill is named with what to mend."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from resolver.config import FaceSettings, MirrorSettings, NodeSettings, Settings
from resolver.dns.keys import first_ring, load_ring, make_key
from resolver.doctor.findings import Report, State
from resolver.doctor.others import check_following
from resolver.doctor.patient import Patient
from resolver.doctor.zones import check_child, check_zone
from resolver.trust.following import STATUS
from tests.resolver.dns.dns_world import ZONE, DnsWorld, Running
from tests.resolver.nodes import Serving, biaoshi, make

MONTH_S = 30 * 86_400.0


def _zone(running, ring, zone=ZONE):
    """The findings about a zone over UDP."""
    report = Report()
    at = ("127.0.0.1", running.port, False)
    asyncio.run(check_zone(report, zone, at, "here", ring))
    return {finding.check: finding for finding in report.findings}


@pytest.fixture
def world(tmp_path):
    made = DnsWorld(tmp_path / "node", signed=True)
    made.time = time.time()
    return made


def test_a_signed_zone_is_well(world):
    """Authority, and a signature by the folder's key with days left."""
    running = Running(world)
    try:
        found = _zone(running, load_ring(world.folder))
        assert {each.state for each in found.values()} == {State.OK}
        assert "14 days left" in found["dnssec"].text
        other = first_ring(make_key(world.folder, load_ring(world.folder)), 0)
        assert "keys/dnssec" in _zone(running, other)["dnssec"].mend
        assert "--make" in _zone(running, None)["dnssec"].mend
        strange = _zone(running, None, "example.org")["dns"]
        assert (strange.state, "REFUSED" in strange.text) == (State.FAULT, True)
    finally:
        running.close()


@pytest.mark.parametrize("off_s", [-MONTH_S, MONTH_S])
def test_a_signature_of_another_time(world, off_s):
    """Where the node's clock is off, its signatures do not hold, and the clock is to be set."""
    world.time += off_s
    running = Running(world)
    try:
        found = _zone(running, load_ring(world.folder))["dnssec"]
    finally:
        running.close()
    assert found.state is State.FAULT
    assert "set the clock" in found.mend


def test_an_unsigned_zone_with_keys(tmp_path):
    """Keys that the node did not take up are a fault."""
    world = DnsWorld(tmp_path / "node")
    running = Running(world)
    (tmp_path / "keys").mkdir()
    try:
        found = _zone(running, first_ring(make_key(tmp_path, None), 0))["dnssec"]
    finally:
        running.close()
    assert (found.state, "restart" in found.mend) == (State.FAULT, True)


def test_lame_name_servers(tmp_path):
    """A server that refers away, and one that is silent, are lame."""
    running = Running(DnsWorld(tmp_path / "node"))
    report = Report()
    try:
        for zone in (ZONE, f"5.999.2.{ZONE}"):
            asyncio.run(check_child(report, "2.999.5", zone, "127.0.0.1", running.port))
    finally:
        running.close()
    asyncio.run(check_child(report, "2.999.5", ZONE, "127.0.0.1", running.port))
    assert [each.state for each in report.findings] == [State.OK, State.WARNING, State.WARNING]
    assert all("lame" in each.text for each in report.findings[1:])


@pytest.mark.parametrize(
    ("status", "state", "word"),
    [
        ({"state": "following", "behind": 0}, State.OK, "nothing"),
        ({"state": "following", "behind": 7}, State.WARNING, "7 changes"),
        ({"state": "waiting", "why": "refused"}, State.FAULT, "refused"),
        ({"state": "diverged", "why": "rewritten"}, State.FAULT, "rewritten"),
        ({}, State.FAULT, "not begun"),
    ],
)
def test_mirrors(tmp_path, status, state, word):
    """How a mirror stands is what it said last."""
    (tmp_path / STATUS).parent.mkdir()
    (tmp_path / STATUS).write_text(json.dumps(status))
    settings = replace(
        Settings(), node=NodeSettings(role="mirror"), mirror=MirrorSettings(of="https://a.example")
    )
    report = Report()
    check_following(report, Patient("it", folder=Path(tmp_path), settings=settings))
    (finding,) = report.findings
    assert finding.state is state
    assert word in finding.text


@pytest.mark.timeout(120)
def test_a_parent_names_the_lame_ones_below(tmp_path):
    """A node that stands alone below arcs of others is well; a child that is away is named."""
    faces = FaceSettings(irp=0, http=0, https=0, dns=0)
    top = Serving(make(tmp_path / "top", "2.999", role="top", faces=faces))
    child = None
    try:
        well = biaoshi("doctor", top.folder)
        assert well.returncode == 0, well.stdout
        assert "onsepc.com is not signed" in well.stdout
        child = Serving(make(tmp_path / "child", "2.999.5", parent=top.url))
        for step in (
            ("prefix", "request", "--node", child.folder),
            ("prefix", "approve", "2.999.5", "--node", top.folder),
        ):
            assert biaoshi(*step).returncode == 0
        assert "2.999.5 is answered" in biaoshi("doctor", top.folder).stdout
        child.stop()
        assert "lame: no site of 2.999.5" in biaoshi("doctor", top.folder, "--quiet").stdout
    finally:
        for node in (top, child):
            if node is not None:
                node.end()
