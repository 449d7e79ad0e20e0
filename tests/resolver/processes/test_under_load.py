"""A node whose processes change while all its faces are asked, by the C load generator."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager

import pytest

from bench import generator, hotpath
from bench.generator import Load
from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.store import Table
from resolver.doirp.handler import Handler
from resolver.http.fastpath import Tally, fast_answers
from resolver.writer_link import open_writer
from tests.resolver.nodes import ROOT, Serving, make, until

NAMES = [b"86.999/pump-%d" % number for number in range(50)]
FACES = {"irp-udp": "irp", "irp-tcp": "irp", "irp-tcp-once": "irp", "http": "http"}
OPEN, RATE = 16, 300

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)


def register(folder, data, names=NAMES):
    """The same data in every record."""
    with open_writer(folder) as writer:
        changes = [
            Change(Kind.CREATE, name, (HandleValue(1, b"URL", data),), overwrite=True)
            for name in names
        ]
        assert not [o.error for o in writer.submit(changes) if o.error]


@pytest.fixture
def node(tmp_path):
    """A node of two readers with some records; its log is in the test's folder."""
    folder = make(tmp_path / "n")
    register(folder, b"https://example.org/1")
    running = Serving(folder, 2)
    keys = tmp_path / "keys"
    keys.write_bytes(b"\n".join(NAMES))
    running.keys = keys
    yield running
    running.end()


class Asking(threading.Thread):
    """Open-loop load on one face; `figures` when it is over."""

    def __init__(self, node, mode, seconds):
        super().__init__()
        more = {"rate": RATE, "open": OPEN, "seconds": seconds, "warmup_s": 0}
        self.load = Load(mode, "127.0.0.1", node.ready[FACES[mode]], node.keys, **more)
        self.figures = {}

    def run(self):
        self.figures = generator.run(self.load).figures


@contextmanager
def asked(node, seconds):
    """Every face under load while the block runs; gives the figures by mode at its end."""
    generator.prove("127.0.0.1", node.ready["irp"], node.keys)
    threads = {mode: Asking(node, mode, seconds) for mode in FACES}
    for thread in threads.values():
        thread.start()
    figures = {}
    yield figures
    for mode, thread in threads.items():
        thread.join()
        figures[mode] = thread.figures


def spoiled(figures):
    """Requests by mode that were not answered rightly."""
    return {mode: f["lost"] + f["wrong"] + f["failed"] for mode, f in figures.items()}


def test_a_reload_under_load_fails_no_request(node):
    """SIGHUP replaces every process; no request on any face is refused, lost or cut off."""
    with asked(node, 10) as figures:
        node.signal(signal.SIGHUP)
        until(lambda: "reload_done" in node.events())
    assert spoiled(figures) == dict.fromkeys(FACES, 0)
    assert all(f["answered"] == f["sent"] > 0 for f in figures.values())


def test_a_killed_sibling_costs_only_what_it_had_in_hand(node):
    """With a reader shot, at most the requests under way there fail; the next run is whole."""
    before = node.pids()[1]
    readers = [pid for pid in before if pid != min(before)]  # the writer is started first
    with asked(node, 4) as figures:
        os.kill(readers[0], signal.SIGKILL)
        until(lambda: "process_restarted" in node.events())
    for mode, failures in spoiled(figures).items():
        assert failures <= 2 * OPEN, mode  # its connections, and what waited at its sockets
        assert figures[mode]["wrong"] == 0
    with asked(node, 1) as figures:
        pass
    assert spoiled(figures) == dict.fromkeys(FACES, 0)


def test_every_reader_shows_a_commit_at_once_on_every_face(node):
    """Whoever asks after a change was acknowledged gets it, whichever process answers."""
    for number in range(10):
        data = b"https://example.org/v%d" % number
        register(node.folder, data, NAMES[:1])
        for _ in range(4):  # another connection each time, so both readers are asked
            assert node.ask(NAMES[0])[1][0].data == data
            assert node.ask(NAMES[0], tcp=True)[1][0].data == data
            _, shown = node.get(f"/api/handles/{NAMES[0].decode()}")
            assert shown["values"][0]["data"]["value"].encode() == data


def test_each_process_shows_its_cpu_and_memory(node):
    """/metrics has CPU seconds and resident memory by process, and a reader's CPU grows with work."""
    names = {"supervisor", "writer", "reader-0", "reader-1"}
    before = gauges(node)
    assert {name for metric, name in before if metric == "cpu_seconds_total"} == names
    assert all(before["resident_memory_bytes", name] > 1 << 20 for name in names)
    with asked(node, 1):
        pass
    after = gauges(node)
    work = {n: after["cpu_seconds_total", n] - before["cpu_seconds_total", n] for n in names}
    assert work["reader-0"] + work["reader-1"] > work["supervisor"]


def gauges(node):
    """Figures of the processes by (metric, process)."""
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    line = r'^biaoshi_process_(\w+){process="([\w-]+)"} (\S+)$'
    return {(m[1], m[2]): float(m[3]) for m in re.finditer(line, text, re.MULTILINE)}


GROW = """
import sys
from pathlib import Path
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore
store = LmdbStore.open(Path(sys.argv[1]), map_bytes=int(sys.argv[2]), reserve_bytes=0)
for number in range(20):
    store.apply([Write(Table.META, b"grown-%d" % number, bytes(1 << 20))])
    print(store.usage()["map_bytes"], flush=True)
    sys.stdin.readline()
store.close()
"""


def test_the_hot_paths_go_on_while_the_map_grows(tmp_path):
    """A reader with a small map answers every question while another process grows the file."""
    small = 4 << 20
    folder = hotpath.make_folder(tmp_path / "n", 500)
    node = hotpath.make_node(folder, small)
    doirp, http = Handler(node).plain.answer, fast_answers(node, Tally())
    questions = hotpath.questions(folder / "keys.txt")[:100]
    gets = [b"GET /api/handles/%b HTTP/1.1\r\nHost: a\r\n\r\n" % q[48:-12] for q in questions]
    answers = [doirp(q) for q in questions]
    writer = subprocess.Popen(
        [sys.executable, "-c", GROW, str(folder / "store"), str(small)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    sizes = set()
    for line in writer.stdout:
        sizes.add(int(line))
        assert [doirp(q) for q in questions] == answers
        assert all(reply.startswith(b"HTTP/1.1 200") for reply in map(http, gets))
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert writer.wait(30) == 0
    assert max(sizes) > small
    assert node.store.get(Table.META, b"grown-19") is not None
    node.store.close()
