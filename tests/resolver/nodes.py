"""Real nodes for tests: `biaoshi serve` processes on free ports, always stopped at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import OpCode
from protocol.doirp.message import decode_message, encode_message, request, split_request_digest
from protocol.doirp.resolution import (
    ResolutionRequest,
    decode_resolution_reply,
    encode_resolution_request,
)
from protocol.errors import ResponseCode
from resolver.config import (
    CacheSettings,
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    RecursionSettings,
    Settings,
)
from resolver.founding import found

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COMMAND = (sys.executable, "-m", "resolver.cli")
PATIENCE_S = 30


def make(
    folder,
    prefix="86.999",
    *,
    parent="",
    role="enterprise",
    faces=None,
    recursion=None,
    secret=None,
    **more,
):
    """A founded folder whose ports are any free ones."""
    settings = Settings(
        node=NodeSettings(role=role, prefix=prefix, parent=parent, **more),
        faces=faces or FaceSettings(irp=0, http=0, https=0),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
        recursion=recursion or RecursionSettings(),
    )
    found(folder, settings, secret=secret)
    return folder


def make_door(folder, top, *, cache=None, **recursion):
    """A founded recursive node that trusts the key of a running root, and asks there first."""
    settings = Settings(
        node=NodeSettings(role="recursive"),
        faces=FaceSettings(irp=0, http=0, https=0),
        recursion=RecursionSettings(
            enabled=True,
            root_keys=("trust/root.pem",),
            **{"roots": (top.url,), **recursion},
        ),
        cache=cache or CacheSettings(),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
    )
    found(folder, settings, root_key=top.folder / "keys/root_pub.pem")
    return folder


def biaoshi(*arguments):
    """One command of the command line, to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=PATIENCE_S,
        check=False,
    )


def ok(*arguments):
    """What a command prints that must succeed."""
    done = biaoshi(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def until(holds, seconds=PATIENCE_S):
    """Look again and again until something outside of this process is so; gives what it gave."""
    end = time.monotonic() + seconds
    while True:
        found_ = holds()
        if found_:
            return found_
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def children_of(pid):
    """The children of a process, the oldest first; none of one that is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


class Serving:
    """A running node."""

    def __init__(self, folder, readers=1, *, env=None, within=()):
        """env: instead of the usual environment. within: a command that runs it, as `ip netns …`."""
        self.folder = folder
        self.log = (folder / "test.log").open("a+")
        self.process = subprocess.Popen(
            [*within, *COMMAND, "serve", str(folder), "--readers", str(readers)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=env or ENVIRONMENT,
            start_new_session=True,
        )
        line = self.process.stdout.readline()
        self.ready = json.loads(line) if line else {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.ready['http']}"

    def logged(self):
        self.log.seek(0)
        return [json.loads(line) for line in self.log if line.startswith("{")]

    def events(self):
        return [line["event"] for line in self.logged()]

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def stop(self):
        self.signal()
        return self.wait()

    def get(self, path):
        """Status and JSON of a GET."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def pids(self):
        """The processes by name, from the metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        names = [
            line.split('"')[1]
            for line in text.splitlines()
            if line.startswith("biaoshi_process_open_fds{")
        ]
        return sorted(names), children_of(self.supervisor)

    @property
    def supervisor(self):
        """Its pid: the one child of the process that was started."""
        (child,) = until(lambda: children_of(self.process.pid))
        return child

    def ask(self, handle, *, tcp=False, tries=10):
        """The response code and the values of a resolution over DO-IRP; datagrams are repeated."""
        body = encode_resolution_request(ResolutionRequest(handle))
        message = request(OpCode.RESOLUTION, body, request_id=7, expiration=int(time.time()) + 60)
        data = encode_message(message)
        reply = self._tcp(data) if tcp else self._udp(data, tries)
        answer = decode_message(reply)
        _, content = split_request_digest(answer)
        code = answer.header.response_code
        values = decode_resolution_reply(content).values if code == ResponseCode.SUCCESS else ()
        return code, values

    def _udp(self, data, tries):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self.ready["irp"]))
            for _ in range(tries):
                sock.settimeout(0.5)
                sock.send(data)
                try:
                    return self._packets(sock)
                except TimeoutError:
                    continue
        raise AssertionError("no answer over UDP")

    @staticmethod
    def _packets(sock):
        """A whole message out of its datagrams."""
        parts = {}
        while True:
            packet = sock.recv(65536)
            envelope = decode_envelope(packet[:ENVELOPE_SIZE])
            parts[envelope.sequence] = packet[ENVELOPE_SIZE:]
            body = b"".join(parts[number] for number in sorted(parts))
            if len(body) >= envelope.length:
                return packet[:12] + b"\0\0\0\0" + packet[16:ENVELOPE_SIZE] + body

    def _tcp(self, data):
        with socket.create_connection(("127.0.0.1", self.ready["irp"]), 10) as sock:
            sock.sendall(data)
            stream = sock.makefile("rb")
            head = stream.read(ENVELOPE_SIZE)
            return head + stream.read(decode_envelope(head).length)

    def end(self):
        """Whatever happened: nothing is left running."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.log.close()


@contextmanager
def serving():
    """`serve(folder)` starts a node; all that were started end with the block."""
    running = []

    def serve(folder, readers=1):
        running.append(node := Serving(folder, readers))
        assert node.ready, node.logged()
        return node

    try:
        yield serve
    finally:
        for node in running:
            node.end()


def enrol(child, parent, prefix):
    """A running child gets its prefix from its running parent."""
    for step in (
        ("request", "--node", child.folder),
        ("approve", prefix, "--node", parent.folder),
        ("request", "--node", child.folder, "--wait"),
    ):
        ok("prefix", *step)
