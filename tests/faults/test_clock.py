"""The wall clock jumps by years, both ways, under a running node: versions and answers do not."""

from __future__ import annotations

import random

from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.check import check_node
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Writer
from resolver.writer_link import open_writer
from tests.faults import shim
from tests.faults.figures import count, report
from tests.resolver.nodes import ENVIRONMENT, Serving, make

JUMPS = count("BIAOSHI_CLOCK_JUMPS", 6)
YEAR_S = 365 * 86_400


def change(number, **more):
    value = HandleValue(1, b"URL", b"http://example.org/%d" % number)
    return Change(Kind.CREATE, b"86.999/PUMP", (value,), overwrite=True, **more)


def test_a_node_whose_clock_jumps(tmp_path):
    """Each change has the next version whatever the clock says; each answer is the newest record."""
    folder = make(tmp_path / "node")
    clock = shim.Clock(tmp_path / "clock")
    env = {**ENVIRONMENT, **shim.environment(folder, clock=clock.path)}
    node = Serving(folder, env=env)
    chance = random.Random(12)
    versions = []
    try:
        for number in range(JUMPS):
            clock.jump(chance.randrange(-20 * YEAR_S, 10 * YEAR_S))
            with open_writer(folder) as writer:
                expected = versions[-1] if versions else None
                (outcome,) = writer.submit([change(number, expected_version=expected)])
            assert outcome.error is None
            versions.append(outcome.version)
            shown = node.get("/api/handles/86.999/PUMP?type=URL")[1]["values"][0]
            assert shown["data"]["value"] == f"http://example.org/{number}"
            assert shown["ttl"] == 86_400
            assert node.get("/health/ready")[0] == 200
        assert versions == sorted(set(versions))
        assert "process_killed" not in node.events()
        assert "process_ended" not in node.events()
    finally:
        node.end()
    store = LmdbStore.open(folder / "store", readonly=True)
    assert check_node(store) == []
    store.close()
    report("clock jumps of years", jumps=JUMPS, versions_out_of_order=0, wrong_answers=0)


def test_versions_are_places_in_the_log(tmp_path):
    """With a clock that runs backwards the log is whole and its versions count up."""
    create(tmp_path / "store", map_bytes=1 << 28)
    store = LmdbStore.open(tmp_path / "store", map_bytes=1 << 28)
    times = iter(range(2_000_000_000, 0, -1_000_000))
    writer = Writer(store, now=lambda: float(next(times)))
    writer.commit([Change(Kind.HOME, b"0.NA/86.999")])
    found = [writer.commit([change(number)])[0].version for number in range(50)]
    assert found == list(range(2, 52))
    assert check_node(store) == []
    with store.snapshot() as state:
        assert state.count(Table.CHANGES) == 51
    store.close()
