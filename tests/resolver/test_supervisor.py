"""The supervisor with real processes: what is killed comes back, what is asked is answered."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("echo_node.py")
ROOT = PROGRAM.parents[2]


class EchoNode:
    def __init__(self, readers):
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(readers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.facts = json.loads(self.process.stdout.readline())
        self.port = self.facts["port"]

    def look(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.facts = json.loads(self.process.stdout.readline())
        return self.facts

    def until(self, holds, seconds=20):
        """Ask until a fact holds; the processes themselves give no event to outsiders."""
        end = time.monotonic() + seconds
        while not holds(self.look()):
            assert time.monotonic() < end, self.facts
            time.sleep(0.02)
        return self.facts

    def ask_udp(self, data=b"x"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(data, ("127.0.0.1", self.port))
            return int(sock.recv(100))

    def ask_tcp(self, data=b"x"):
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(data)
            return sock.makefile("rb").read()

    def events(self):
        return [json.loads(line)["event"] for line in self.process.stderr]


@pytest.fixture
def echo_node():
    nodes = []

    def start(readers=2):
        nodes.append(EchoNode(readers))
        return nodes[-1]

    yield start
    for node in nodes:
        node.process.kill()
        node.process.communicate()


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _gone(pids, seconds=10):
    end = time.monotonic() + seconds
    while any(map(_alive, pids)):
        assert time.monotonic() < end, [pid for pid in pids if _alive(pid)]
        time.sleep(0.02)


def test_readers_and_writer_are_processes_of_their_own(echo_node):
    """One supervisor, one writer, the readers asked for."""
    pids = echo_node(2).facts["pids"]
    assert set(pids) == {"supervisor", "writer", "reader-0", "reader-1"}
    assert len(set(pids.values())) == 4


@pytest.mark.parametrize("name", ["reader-0", "writer"])
def test_a_killed_process_is_replaced(echo_node, name):
    """After SIGKILL another process has its place."""
    node = echo_node(2)
    before = node.facts["pids"][name]
    os.kill(before, signal.SIGKILL)
    node.until(lambda facts: facts["pids"].get(name) not in {None, before})


def test_answers_go_on_while_readers_are_killed(echo_node):
    """Every question is answered, by whoever has the socket, while readers are shot."""
    node = echo_node(2)
    answered = set()
    for number in range(200):
        if number % 40 == 10:
            os.kill(node.look()["pids"][f"reader-{number // 40 % 2}"], signal.SIGKILL)
        answered.add(node.ask_udp())
        answered.add(int(node.ask_tcp()))
    assert len(answered) > 2


def test_a_hanging_reader_is_killed(echo_node):
    """A reader whose loop stands still is replaced after the watchdog's time."""
    node = echo_node(1)
    before = node.facts["pids"]["reader-0"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hang", ("127.0.0.1", node.port))
    node.until(lambda facts: facts["pids"].get("reader-0") not in {None, before})
    assert node.ask_udp() != before


def test_a_stop_finishes_what_is_in_flight(echo_node):
    """SIGTERM answers the open request, ends every process and exits 0."""
    node = echo_node(2)
    with socket.create_connection(("127.0.0.1", node.port), 10) as sock:
        sock.sendall(b"hold")
        stream = sock.makefile("rb")
        assert stream.read(5) == b"held "
        node.process.send_signal(signal.SIGTERM)
        assert int(stream.read()) in node.facts["pids"].values()
    assert node.process.wait(20) == 0
    _gone(node.facts["pids"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_is_one_orderly_stop(echo_node, number):
    """A terminal's interrupt or a service manager's stop cuts off nothing in flight."""
    node = echo_node(1)
    with socket.create_connection(("127.0.0.1", node.port), 10) as sock:
        sock.sendall(b"hold")
        assert sock.recv(5) == b"held "
        for name in ("writer", "reader-0", "supervisor"):
            os.kill(node.facts["pids"][name], number)
        assert int(sock.makefile("rb").read()) == node.facts["pids"]["reader-0"]
    assert node.process.wait(20) == 0
    assert "Traceback" not in node.process.stderr.read()


def test_children_end_with_a_killed_supervisor(echo_node):
    """Nobody is left holding the ports when the supervisor is shot."""
    node = echo_node(2)
    node.process.kill()
    node.process.wait(10)
    _gone(node.facts["pids"].values())
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", node.port))


def test_a_reload_replaces_every_process_and_refuses_nobody(echo_node):
    """SIGHUP: new pids everywhere, and each question in the meantime is answered."""
    node = echo_node(2)
    before = set(node.facts["pids"].values()) - {node.facts["pids"]["supervisor"]}
    node.process.send_signal(signal.SIGHUP)
    asked = 0
    while node.look()["reloads"] == 0:
        node.ask_udp()
        node.ask_tcp()
        asked += 1
    assert asked
    node.until(lambda facts: len(facts["pids"]) == 4 and not before & set(facts["pids"].values()))


def test_a_reader_that_keeps_dying_is_given_pauses(echo_node):
    """The restarts of a process that dies at once are not a busy loop."""
    node = echo_node(1)
    for _ in range(4):
        pid = node.until(lambda facts: "reader-0" in facts["pids"])["pids"]["reader-0"]
        os.kill(pid, signal.SIGKILL)
        node.until(lambda facts, pid=pid: facts["pids"].get("reader-0") != pid)
    node.until(lambda facts: "reader-0" in facts["pids"])
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(20) == 0
    assert node.events().count("process_restarted") == 4
