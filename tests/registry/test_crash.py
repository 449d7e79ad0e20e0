"""Killing the writer at any instant loses nothing acknowledged and leaves no part of a batch."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from protocol.change import Change, Kind
from registry.check import check_node
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Writer
from tests.faults.figures import report
from tests.registry.crash_child import BATCH

KILLS = int(os.environ.get("BIAOSHI_KILLS", "8"))
"""How often the writer is killed; a release check sets 1000."""


def run_and_kill(path: Path, first: int, wait_for: int, delay_s: float) -> int:
    """Run a writer, kill it some time after a number of acknowledgements; the last one heard."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.registry.crash_child", str(path), str(first)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    last = first - 1
    for _ in range(wait_for):
        line = child.stdout.readline()
        assert line, child.stderr.read()
        last = int(line)
    timer = threading.Timer(delay_s, child.kill)  # the instant is random, the outcome is not
    timer.start()
    while line := child.stdout.readline():
        if not line.endswith(b"\n"):
            break
        last = int(line)
    timer.join()
    assert child.wait(30) == -9
    return last


@pytest.mark.timeout(120 + 5 * KILLS)
def test_kills_lose_nothing_acknowledged(tmp_path):
    """After each SIGKILL every acknowledged batch is there whole, no batch in part."""
    path = tmp_path / "store"
    create(path)
    store = LmdbStore.open(path)
    Writer(store).commit([Change(Kind.HOME, b"0.NA/88.118.8")])
    store.close()
    chance = random.Random(20)
    next_batch = 0
    for _ in range(KILLS):
        acknowledged = run_and_kill(
            path, next_batch, chance.randrange(1, 6), chance.uniform(0, 0.03)
        )
        store = LmdbStore.open(path)
        with store.snapshot() as state:
            found: dict[int, int] = {}
            for key, _ in state.scan(Table.RECORDS, b"88.118.8/", b"88.118.8/:"):
                number = int(key.split(b"/")[1].split(b"-")[0])
                found[number] = found.get(number, 0) + 1
        assert set(found.values()) == {BATCH}
        assert set(found) >= set(range(acknowledged + 1))
        assert max(found) <= acknowledged + 1
        next_batch = max(found) + 1
        store.close()
    store = LmdbStore.open(path)
    findings = check_node(store)
    store.close()
    assert findings == []
    report("kills of the writer alone", kills=KILLS, batches=next_batch, lost=0, in_part=0)
