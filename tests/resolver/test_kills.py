"""SIGKILL to any process at any time: nothing that was acknowledged is lost, nothing is halved."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError
from protocol.record import HandleValue
from registry.records import read_record
from registry.store.lmdb_store import LmdbStore
from resolver.writer_link import open_writer
from tests.resolver.nodes import Serving, children_of, make, until

KILLS = int(os.environ.get("BIAOSHI_NODE_KILLS", "9"))
"""More with the variable: the gate is 1,000."""
BATCH = 5


class Registrar(threading.Thread):
    """Registers batch after batch through the running node; notes what was acknowledged."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.acknowledged = []
        self.sent = 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            self.sent += 1
            batch = [
                Change(
                    Kind.CREATE,
                    b"86.999/%d-%d" % (self.sent, n),
                    (HandleValue(1, b"N", b"%d" % self.sent),),
                )
                for n in range(BATCH)
            ]
            try:
                with open_writer(self.folder) as writer:
                    outcomes = writer.submit(batch, atomic=True)
            except BiaoshiError:
                continue  # not known, or refused: not acknowledged
            if all(outcome.error is None for outcome in outcomes):
                self.acknowledged.append(self.sent)


@pytest.mark.timeout(180 + 10 * KILLS)
def test_nothing_acknowledged_is_lost_whoever_is_killed(tmp_path):
    """Readers, the writer and the supervisor are shot at random while batches are registered."""
    folder = make(tmp_path / "n")
    choose = random.Random(7)
    node = Serving(folder, readers=2)
    registrar = Registrar(folder)
    registrar.start()
    try:
        for number in range(KILLS):
            reached = len(registrar.acknowledged) + choose.randrange(1, 6)
            until(lambda reached=reached: len(registrar.acknowledged) >= reached)
            if number % 3 == 2:
                node.end()
                node = Serving(folder, readers=2)
                assert node.ready
            else:
                os.kill(choose.choice(children_of(node.supervisor)), signal.SIGKILL)
        reached = len(registrar.acknowledged) + 1
        until(lambda: len(registrar.acknowledged) >= reached)
    finally:
        registrar.stopping.set()
        registrar.join()
        node.end()
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        found = {
            number: sum(
                read_record(store, b"86.999/%d-%d" % (number, n)) is not None for n in range(BATCH)
            )
            for number in range(1, registrar.sent + 1)
        }
        assert store.check() == []
    finally:
        store.close()
    assert all(found[number] == BATCH for number in registrar.acknowledged)
    assert set(found.values()) <= {0, BATCH}
