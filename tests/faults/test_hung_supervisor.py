"""A supervisor that hangs without dying: its children serve on, and the keeper replaces it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore
from resolver.writer_link import open_writer
from tests.resolver.nodes import children_of, make, serving, until


def register(folder, name):
    with open_writer(folder) as writer:
        value = HandleValue(1, b"URL", b"http://example.org/")
        (outcome,) = writer.submit([Change(Kind.CREATE, name, (value,))])
        assert outcome.error is None, outcome


@pytest.fixture
def start(tmp_path):
    def run(watchdog_s):
        folder = make(tmp_path / "node")
        settings = folder / "biaoshi.toml"
        text = settings.read_text()
        changed = text.replace(
            "supervisor_watchdog_s = 30.0", f"supervisor_watchdog_s = {watchdog_s}"
        )
        assert changed != text or watchdog_s == 30.0
        settings.write_text(changed)
        return serve(folder)

    with serving() as serve:
        yield run


def test_it_is_replaced(start):
    """Reads and writes go on while it hangs; then the keeper kills it, and all that is new serves."""
    node = start(5.0)
    register(node.folder, b"86.999/before")
    hung, children = node.supervisor, set(children_of(node.supervisor))
    os.kill(hung, signal.SIGSTOP)
    register(node.folder, b"86.999/meanwhile")
    assert node.ask(b"86.999/meanwhile")[0] == 1
    assert set(children_of(hung)) == children
    until(lambda: "supervisor_hung" in node.events())
    until(lambda: node.supervisor != hung)
    until(lambda: len(children_of(node.supervisor)) == len(children))
    until(lambda: node.get("/health/ready")[0] == 200)
    for name in (b"86.999/before", b"86.999/meanwhile"):
        assert node.ask(name)[0] == 1
    register(node.folder, b"86.999/after")
    assert node.events().count("supervisor_hung") == 1
    node.stop()
    store = LmdbStore.open(node.folder / "store", readonly=True)
    assert check_node(store) == []
    store.close()


def test_one_that_wakes_in_time_goes_on(start):
    """A pause below the limit ends nobody, and the supervisor does its work again."""
    node = start(3600.0)
    supervisor, children = node.supervisor, set(children_of(node.supervisor))
    os.kill(supervisor, signal.SIGSTOP)
    register(node.folder, b"86.999/meanwhile")
    os.kill(supervisor, signal.SIGCONT)
    victim = min(children)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(children_of(supervisor)) - {victim}) == len(children))
    until(lambda: node.ask(b"86.999/meanwhile")[0] == 1)
    assert node.supervisor == supervisor
    assert "supervisor_hung" not in node.events()


def test_a_node_with_a_hung_supervisor_can_be_stopped(start):
    """SIGTERM reaches the keeper; it waits for the supervisor no longer than the limit."""
    node = start(5.0)
    hung, children = node.supervisor, children_of(node.supervisor)
    os.kill(hung, signal.SIGSTOP)
    node.stop()
    for pid in (hung, *children):
        until(lambda pid=pid: ended(pid))


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
