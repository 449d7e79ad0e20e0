"""A running mirror of a primary that cheats, over real HTTPS.

The primary has the true log key and signs whatever it made of its log; or it lies on the way. The
mirror stops, says so in its log, its metrics and /health/ready, and goes on serving what it had.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import note
from protocol.change import Change, Kind, pack
from protocol.record import HandleValue
from registry.check import check_node
from registry.erase import erasures
from registry.keys import SITE_KEY, TLS_CERT, load_keys
from registry.log import Body, entry
from registry.replay import Logged
from registry.store.lmdb_store import LmdbStore
from registry.tree import LogSigner, log_name
from resolver.trust.following import read_status
from resolver.trust.source import stored_rows
from resolver.writer_process import own_writer
from tests.resolver.nodes import Serving, biaoshi, make, until
from tests.resolver.trust.cheat import CheatingLog

TRUE = b"http://true.example/"
FALSE = b"http://false.example/"
NAMES = [b"86.999/P%d" % number for number in range(12)]


class Primary(CheatingLog):
    """The log of a real node's folder, in the hands of an operator who may do anything with it."""

    def __init__(self, folder) -> None:
        store = LmdbStore.open(folder / "store", readonly=True)
        self.entries = list(stored_rows(store, 1, 1 << 40))
        store.close()
        self.signer = LogSigner(log_name("86.999"), load_keys(folder).log_private)
        self.mangle = lambda octets: octets
        self.withheld: set[int] = set()
        self.lock = threading.Lock()

    def signed(self, size=None):
        size = len(self.entries) if size is None else size
        return self.signer.checkpoint(size, self.roots()[size], 0)

    def made(self, sequence, name, text, time_s=1_800_000_000):
        """A change as the writer would log it."""
        body = Body("create", name, None, (HandleValue(1, b"URL", text),))
        one = entry(sequence, time_s, name, body, bytes(32))
        return Logged(sequence, one.leaf, one.body)

    def add(self, name, text=TRUE, **more):
        self.entries.append(self.made(len(self.entries) + 1, name, text, **more))

    def erase(self, *sequences):
        told = {"reason": "", "sequences": list(sequences)}
        assert erasures(Kind.ERASE, told) == sequences
        number = len(self.entries) + 1
        one = entry(
            number, 1_800_000_000, b"", Body("erase", b"", None, None, None, told), bytes(32)
        )
        self.entries.append(Logged(number, one.leaf, one.body))
        self.withheld.update(sequences)


class Handler(BaseHTTPRequestHandler):
    """What a mirror asks of a primary."""

    log: Primary
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = {
            name: int(text) for name, _, text in (p.partition("=") for p in query.split("&") if p)
        }
        log = self.log
        with log.lock:
            if path == "/log/checkpoint":
                size = asked.get("size")
                self.answer(log.claims or log.signed(size))
            elif path == "/log/bodies":
                first = asked["from"]
                rows = log.entries[first - 1 : first - 1 + asked["limit"]]
                body = b"".join(
                    pack([r.sequence, r.leaf, None if r.sequence in log.withheld else r.body])
                    for r in rows
                )
                self.answer(log.mangle(body))
            elif path == "/log/keys":
                self.answer(b'{"keys":[],"handovers":[]}')
            else:
                self.answer(b"{}", 404)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b"{}", 404)

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def cheated(tmp_path):
    """(the primary's log, the running mirror that has all of it)."""
    folder = make(tmp_path / "primary")
    with own_writer(folder) as writer:
        made = [Change(Kind.CREATE, name, (HandleValue(1, b"URL", TRUE),)) for name in NAMES]
        assert all(one.error is None for one in writer.submit(made))
    log = Primary(folder)
    log.claims = None
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (Handler,), {"log": log}), bind_and_activate=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / TLS_CERT, folder / SITE_KEY)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    secret = tmp_path / "secret"
    secret.write_text("not looked at")
    secret.chmod(0o600)
    verifier = note.Key(log_name("86.999"), load_keys(folder).log_public.public_bytes_raw())
    made = biaoshi(
        *("init", tmp_path / "mirror", "--role", "mirror", "--prefix", "86.999", "--irp", 0),
        *("--http", 0, "--https", 0, "--of", f"https://127.0.0.1:{server.server_address[1]}"),
        *("--auth", f"301:0.NA/86.999={secret}", "--log-key", verifier.text()),
    )
    assert made.returncode == 0, made.stderr
    mirror = Serving(tmp_path / "mirror")
    try:
        assert mirror.ready, mirror.logged()
        follows(mirror, log)
        until(lambda: mirror.get("/health/ready")[0] == 200)
        yield log, mirror
    finally:
        mirror.end()
        server.shutdown()
        server.server_close()


def follows(mirror, log):
    until(
        lambda: (
            (status := read_status(mirror.folder)).get("state") == "following"
            and status["size"] == len(log.entries)
        )
    )


def metrics(mirror):
    with urllib.request.urlopen(f"{mirror.url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("biaoshi_mirror_"):
            found[name] = float(value)
    return found


def state_told(mirror):
    """The state that the metric tells."""
    found = metrics(mirror)
    (state,) = [name.split('"')[1] for name, value in found.items() if "_state{" in name and value]
    return state


def url_of(mirror, name):
    """What the mirror says on both faces, which is one thing; None: no such record."""
    code, values = mirror.ask(name)
    status, shape = mirror.get(f"/api/handles/{name.decode()}?type=URL")
    assert (code == 1) == (status == 200)
    told = {value.data for value in values if value.type == b"URL"}
    if status == 200:
        assert {shape["values"][0]["data"]["value"].encode()} == told
        return told.pop()
    assert (code, status) == (100, 404)
    return None


def rewrite(log):
    log.entries[-3] = log.made(len(log.entries) - 2, NAMES[9], FALSE)


def drop(log):
    kept = log.entries[:-3] + log.entries[-2:]
    gone = len(log.entries) - 3
    log.entries = kept[:gone]
    log.add(NAMES[10])
    log.add(NAMES[11])
    log.add(b"86.999/later", FALSE)


def reorder(log):
    size = len(log.entries)
    log.entries[-2:] = [log.made(size - 1, NAMES[11], TRUE), log.made(size, NAMES[10], TRUE)]


def backdate(log):
    log.entries[-1] = log.made(len(log.entries), NAMES[11], TRUE, time_s=1)


def cut_off(log):
    log.entries = log.entries[:-4]
    log.add(NAMES[8], FALSE)


ALTERED = (rewrite, drop, reorder, backdate)


def and_longer(alter):
    def run(log):
        alter(log)
        log.add(b"86.999/new", FALSE)

    run.__name__ = f"{alter.__name__}_and_longer"
    return run


def other_key(log):
    log.add(NAMES[0], FALSE)
    log.signer = LogSigner(log.signer.name, Ed25519PrivateKey.generate())


def other_log(log):
    log.add(NAMES[0], FALSE)
    log.signer = LogSigner(log_name("86.998"), log.signer.key)


def claims_more(log):
    """The signed root is over other changes than those that come."""
    log.add(NAMES[0], FALSE)
    log.claims = log.signed()
    log.entries[-1] = log.made(len(log.entries), NAMES[1], FALSE)


def other_body(log):
    log.add(NAMES[0], TRUE)
    forged = log.made(len(log.entries), NAMES[0], FALSE)
    log.entries[-1] = Logged(forged.sequence, log.entries[-1].leaf, forged.body)


def skipped(log):
    log.add(NAMES[0], FALSE)
    log.add(NAMES[1], FALSE)
    log.claims = log.signed()
    del log.entries[-2]


def withheld(log):
    """The newest content of a record is kept back: the mirror would serve the one before for ever."""
    log.withheld.add(len(log.entries) + 1)
    log.add(NAMES[0], b"http://newer.example/")


@pytest.mark.parametrize(
    "cheat",
    [
        *ALTERED,
        *map(and_longer, ALTERED),
        cut_off,
        other_key,
        other_log,
        claims_more,
        other_body,
        skipped,
        withheld,
    ],
    ids=lambda cheat: cheat.__name__,
)
def test_a_mirror_stops_at_a_cheat(cheated, cheat):
    """It serves what it verified, takes nothing of the lie, alarms, and does not begin anew."""
    log, mirror = cheated
    with log.lock:
        cheat(log)
    status = until(lambda: (s := read_status(mirror.folder)).get("state") == "diverged" and s)
    assert status["why"]
    (alarm,) = [line for line in mirror.logged() if line["event"] == "mirror_diverged"]
    assert (alarm["level"], alarm["why"]) == ("error", status["why"])
    code, ready = mirror.get("/health/ready")
    assert (code, ready["checks"]["following"], ready["reads"]) == (503, False, True)
    assert state_told(mirror) == "diverged"
    for name in NAMES:
        assert url_of(mirror, name) == TRUE
    for name in (b"86.999/new", b"86.999/later"):
        assert url_of(mirror, name) is None
    mirror.stop()
    again = Serving(mirror.folder)
    try:
        until(lambda: read_status(mirror.folder).get("state") == "diverged")
        assert again.get("/health/ready")[0] == 503
        assert url_of(again, NAMES[0]) == TRUE
        again.stop()
    finally:
        again.end()
    done = biaoshi("promote", mirror.folder)
    assert (done.returncode, "parted" in done.stderr) == (2, True)
    store = LmdbStore.open(mirror.folder / "store", readonly=True)
    assert check_node(store) == []
    store.close()


def cut(octets):
    return octets[: len(octets) // 2]


def noise(octets):
    return b"\xc1" * len(octets)


def huge(octets):
    return pack([1, b"x", b"\0" * (9 << 20)]) + octets


@pytest.mark.parametrize("lie", [cut, noise, huge], ids=lambda lie: lie.__name__)
def test_a_garbled_answer_is_waited_out(cheated, lie):
    """Octets that are no changes: nothing is taken, it is said, and the true ones are taken later."""
    log, mirror = cheated
    with log.lock:
        log.mangle = lie
        log.add(NAMES[0], b"http://newer.example/")
    until(lambda: read_status(mirror.folder).get("state") == "waiting")
    assert "mirror_waiting" in mirror.events()
    until(lambda: state_told(mirror) == "waiting")
    assert mirror.get("/health/ready")[0] == 503
    assert url_of(mirror, NAMES[0]) == TRUE
    with log.lock:
        log.mangle = lambda octets: octets
    follows(mirror, log)
    assert url_of(mirror, NAMES[0]) == b"http://newer.example/"
    assert mirror.get("/health/ready")[0] == 200
    assert metrics(mirror)["biaoshi_mirror_behind_changes"] == 0


def test_erased_content_is_no_cheat(cheated):
    """Content that is gone because a later change erased it: the mirror goes on."""
    log, mirror = cheated
    with log.lock:
        log.add(b"86.999/gone", FALSE)
        log.withheld.add(len(log.entries))
        log.erase(len(log.entries))
        log.add(NAMES[0], b"http://newer.example/")
    follows(mirror, log)
    until(lambda: url_of(mirror, NAMES[0]) == b"http://newer.example/")
    with log.lock:
        log.add(NAMES[1], b"http://newest.example/")
    follows(mirror, log)
    assert url_of(mirror, b"86.999/gone") is None
    assert mirror.get("/health/ready")[0] == 200
    assert json.loads((mirror.folder / "run/mirror.json").read_text())["state"] == "following"
