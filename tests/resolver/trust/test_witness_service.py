"""A witness that is called (C2SP tlog-witness): a real process, other logs and our own node."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import add_checkpoint, note
from protocol.keys import encode_pem
from registry.keys import load_keys
from registry.tree import LogSigner
from tests.resolver.nodes import COMMAND, ENVIRONMENT, biaoshi, make
from tests.resolver.trust.cheat import SIGNER, CheatingLog, logged
from tests.resolver.trust.mirrored import register

FOREIGN = LogSigner("example.com/behind-the-sofa", Ed25519PrivateKey.generate())


class Called:
    """`biaoshi witness --serve` as a process."""

    def __init__(self, folder, *logs):
        self.key = folder / "w.pem"
        if not self.key.exists():
            self.key.write_bytes(encode_pem(Ed25519PrivateKey.generate()))
            self.key.chmod(0o600)
        self.options = ("--name", "w.example", "--key", self.key)
        told = [part for line in logs for part in ("--log", line)]
        command = (*COMMAND, "witness", "--serve", "127.0.0.1:0", *self.options, *told)
        self.process = subprocess.Popen(
            [str(part) for part in (*command, "--state", folder / "kept")],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        self.ready = json.loads(self.process.stdout.readline())
        self.url = self.ready["url"]
        shown = biaoshi("witness", *self.options, "--show-key")
        self.verifier = note.Key.parse(shown.stdout)
        self.line = shown.stdout.strip()

    def add(self, body):
        """Status, media type and body."""
        asked = urllib.request.Request(f"{self.url}/add-checkpoint", body, method="POST")
        try:
            with urllib.request.urlopen(asked, timeout=30) as reply:
                return reply.status, reply.headers["Content-Type"], reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()

    def cosigned(self, raw, answer):
        """The note with the witness's line on it, which is checked."""
        made = note.decode(raw + answer)
        assert note.verify(made, [self.verifier]) == [self.verifier]
        return made

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


class Log(CheatingLog):
    """A log of another maker."""

    def __init__(self, count, signer=FOREIGN):
        super().__init__(count)
        self.signer = signer

    def signed(self, size=None):
        size = len(self.entries) if size is None else size
        return self.signer.checkpoint(size, self.roots()[size], 0)

    def grow(self, count):
        for _ in range(count):
            self.entries.append(logged(len(self.entries) + 1, b"more"))

    def request(self, old, size=None):
        size = len(self.entries) if size is None else size
        proof = self.consistency(old, size) if 0 < old < size else []
        return add_checkpoint.encode(old, proof, self.signed(size))


@pytest.fixture
def called(tmp_path):
    running = []

    def start(*logs):
        running.append(Called(tmp_path, *logs))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.end()


def test_each_answer_of_the_specification(called):
    """200, 400, 403, 404, 409 with the size, 422; what was cosigned last is kept over a restart."""
    witness = called(FOREIGN.verifier(0).text())
    log = Log(7)
    conflict = (409, add_checkpoint.SIZE_TYPE)
    assert witness.add(log.request(3)) == (*conflict, b"0\n")
    status, _, answer = witness.add(log.request(0))
    assert status == 200
    witness.cosigned(log.signed(), answer)
    assert witness.add(log.request(0)) == (*conflict, b"7\n")
    assert witness.add(log.request(7))[0] == 200  # the same once more, at a later time
    log.grow(6)
    assert witness.add(log.request(6)) == (*conflict, b"7\n")
    body = log.request(7)
    lines = body.split(b"\n")
    wrong = b"\n".join([lines[0], *reversed(lines[1:4]), *lines[4:]])
    assert witness.add(wrong)[0] == 422
    assert witness.add(add_checkpoint.encode(7, [], log.signed()))[0] == 422
    assert witness.add(log.request(7, 5))[0] == 400
    assert witness.add(b"old x\n\n")[0] == 400
    assert witness.add(b"x" * 100_000)[0] == 413
    stranger = Log(7, LogSigner("example.com/elsewhere", FOREIGN.key))
    assert witness.add(stranger.request(0))[0] == 404
    false = Log(13, LogSigner(FOREIGN.name, Ed25519PrivateKey.generate()))
    assert witness.add(false.request(7))[0] == 403
    assert witness.add(log.request(7))[0] == 200
    assert witness.end() == 0
    again = called(FOREIGN.verifier(0).text())
    assert again.add(log.request(7)) == (*conflict, b"13\n")
    log.grow(1)
    status, _, answer = again.add(log.request(13))
    assert status == 200
    again.cosigned(log.signed(), answer)


def test_no_second_history(called):
    """A rewritten log gets no cosignature: neither at the same size nor longer."""
    witness = called(FOREIGN.verifier(0).text())
    log = Log(20)
    assert witness.add(log.request(0))[0] == 200
    log.entries[4] = logged(5, b"rewritten")
    assert witness.add(log.request(20)) == (409, add_checkpoint.SIZE_TYPE, b"20\n")
    log.grow(5)
    assert witness.add(log.request(20))[0] == 422


def test_requests_at_once_get_one_history(called):
    """Of many forks that are sent together for one size, one is cosigned."""
    witness = called(FOREIGN.verifier(0).text())
    log = Log(8)
    assert witness.add(log.request(0))[0] == 200
    forks = []
    for number in range(12):
        fork = Log(8)
        fork.entries.append(logged(9, b"%d" % number))
        forks.append(fork.request(8))
    with ThreadPoolExecutor(len(forks)) as pool:
        statuses = sorted(status for status, _, _ in pool.map(witness.add, forks))
    assert statuses == [200] + [409] * 11


@pytest.mark.timeout(240)
def test_a_node_pushes(pair, called, tmp_path):
    """`biaoshi witness URL --push`: the node serves the checkpoint that the witness cosigned."""
    primary, _, serve = pair
    log_key = note.Key("biaoshi/86.999", load_keys(primary).log_public.public_bytes_raw())
    witness = called(log_key.text(), SIGNER.verifier(0).text())
    settings = primary / "biaoshi.toml"
    text = settings.read_text()
    settings.write_text(text.replace("witnesses = []", f"witnesses = {json.dumps([witness.line])}"))
    node = serve(primary)
    push = ("witness", node.url, "--push", witness.url, "--submit")
    for name in (b"a", b"b"):
        register(primary, name)
        done = biaoshi(*push)
        assert done.returncode == 0, done.stderr
        made = note.decode(done.stdout.encode())
        assert note.verify(made, [witness.verifier])
        with urllib.request.urlopen(f"{node.url}/log/cosigned", timeout=10) as reply:
            assert note.decode(reply.read()).text == made.text
    assert biaoshi(*push).returncode == 0  # nothing new: cosigned again
    # One that trusts another key for the log of this name.
    other = called(SIGNER.verifier(0).text())
    done = biaoshi("witness", primary, "--push", other.url)
    assert (done.returncode, "does not hear" in done.stderr) == (4, True), done


def test_fetching_and_serving_share_what_they_know(called, tmp_path):
    """A fetching run with the folder as its state goes on from what was cosigned when called."""
    folder = make(tmp_path / "node")
    key = note.Key("biaoshi/86.999", load_keys(folder).log_public.public_bytes_raw())
    witness = called(key.text())
    assert biaoshi("witness", folder, "--push", witness.url).returncode == 0
    kept = list((tmp_path / "kept").glob("*.kept"))
    done = biaoshi("witness", folder, *witness.options, "--state", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "kept").glob("*.kept")) == kept
    # Of this log the node's folder alone is put back to what it was when called: no cosignature.
    raw = SIGNER.checkpoint(1 << 20, bytes(32), 0)
    kept[0].write_bytes(SIGNER.verifier(0).text().encode() + b"\n\n" + raw)
    refused = biaoshi(
        *("witness", folder, *witness.options, "--state", tmp_path / "kept"),
        *("--log-key", SIGNER.verifier(0).text()),
    )
    assert (refused.returncode, "NOT COSIGNED" in refused.stderr) == (1, True)


def test_an_epoch_goes_on_in_the_same_tree(called):
    """A promoted node's log has another origin line; it is held to what was cosigned before."""
    witness = called(SIGNER.verifier(0).text())
    log = Log(9, SIGNER)
    assert witness.add(log.request(0))[0] == 200
    log.grow(2)

    def promoted(old, epoch=1):
        raw = SIGNER.checkpoint(len(log.entries), log.roots()[-1], epoch)
        return add_checkpoint.encode(
            old, log.consistency(old, len(log.entries)) if old else [], raw
        )

    assert witness.add(promoted(0)) == (409, add_checkpoint.SIZE_TYPE, b"9\n")
    status, _, answer = witness.add(promoted(9))
    assert status == 200
    witness.cosigned(SIGNER.checkpoint(11, log.roots()[-1], 1), answer)
    log.entries[2] = logged(3, b"rewritten")
    log.grow(1)
    assert witness.add(promoted(11, 2))[0] == 422
