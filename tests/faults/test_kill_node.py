"""A whole node killed under load: nothing acknowledged is lost, and it answers again at once.

BIAOSHI_NODE_KILLS: how often; a release check sets 1000.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore
from resolver.writer_link import open_writer
from tests.resolver.nodes import Serving, make

KILLS = int(os.environ.get("BIAOSHI_NODE_KILLS", "2"))
BATCH = 5


def load(folder, number, stop, acknowledged):
    """Register batches until the node is gone; what was acknowledged goes into the list."""
    try:
        with open_writer(folder) as writer:
            while not stop.is_set():
                value = HandleValue(1, b"URL", b"http://example.org/%d" % number)
                names = [b"86.999/%d-%d" % (number, each) for each in range(BATCH)]
                changes = [Change(Kind.CREATE, name, (value,)) for name in names]
                outcomes = writer.submit(changes, atomic=True)
                assert all(one.error is None for one in outcomes)
                acknowledged.append(number)
                number += 1
    except (BiaoshiError, OSError):
        return


def test_a_killed_node_loses_nothing(tmp_path):
    """After SIGKILL of all its processes every acknowledged batch is there whole; none in part."""
    folder = make(tmp_path / "node")
    chance = random.Random(3)
    number, slowest, acknowledged = 0, 0.0, []
    for _ in range(KILLS):
        started = time.monotonic()
        node = Serving(folder)
        code, _ = node.ask(b"0.NA/86.999")
        slowest = max(slowest, time.monotonic() - started)
        assert code == 1
        stop, heard = threading.Event(), []
        worker = threading.Thread(target=load, args=(folder, number, stop, heard))
        worker.start()
        stop.wait(chance.uniform(0.05, 0.4))  # the instant is random, the outcome is not
        os.killpg(node.process.pid, signal.SIGKILL)
        node.end()
        stop.set()
        worker.join(30)
        assert not worker.is_alive()
        acknowledged += heard
        number = (heard[-1] if heard else number) + 2
        store = LmdbStore.open(folder / "store", readonly=True)
        assert check_node(store) == []
        with store.snapshot() as state:
            for batch in range(number):
                held = [
                    state.get("records", b"86.999/%d-%d" % (batch, each)) is not None
                    for each in range(BATCH)
                ]
                assert all(held) or not any(held), f"batch {batch} is there in part"
                assert all(held) or batch not in acknowledged, f"batch {batch} is lost"
        store.close()
    print(
        f"{KILLS} kills, {len(acknowledged)} batches acknowledged, 0 lost, slowest {slowest:.2f} s"
    )
