"""biaoshi auth test: which step of a login fails, and why."""

from __future__ import annotations

import json

import pytest

from resolver.config import FaceSettings, NodeSettings, OutboundSettings, Settings
from resolver.founding import found
from tests.resolver.nodes import Serving, biaoshi


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auth") / "node"
    settings = Settings(
        node=NodeSettings(role="enterprise", prefix="86.999"),
        faces=FaceSettings(irp=0, http=0, https=0),
        outbound=OutboundSettings(allow=("127.0.0.0/8",)),
    )
    found(folder, settings, secret=b"sesame")
    serving = Serving(folder)
    yield serving
    serving.stop()
    serving.end()


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / f"f{len(list(tmp_path.iterdir()))}"
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    return write


def steps(identity, server):
    done = biaoshi("auth", "test", identity, "--server", server, "--json")
    return done.returncode, [(s["step"], s["passed"], s["text"]) for s in json.loads(done.stdout)]


def addresses(node):
    return f"127.0.0.1:{node.ready['irp']}", f"https://127.0.0.1:{node.ready['https']}"


def test_logins_that_work(node, file):
    """By secret and by key, over DO-IRP and over HTTPS."""
    secret = file(b"sesame\n")
    key = node.folder / "keys" / "admin_300.pem"
    for server in addresses(node):
        for identity in (f"301:0.NA/86.999={secret}", f"300:0.NA/86.999={key}"):
            code, told = steps(identity, server)
            assert code == 0, told
            assert all(passed for _, passed, _ in told)
            assert told[-1][0] == "proof"


def test_a_wrong_secret(node, file):
    """The proof fails, everything before it passed."""
    wrong = file(b"nonsense")
    for server in addresses(node):
        code, told = steps(f"301:0.NA/86.999={wrong}", server)
        assert code == 4
        assert [passed for _, passed, _ in told] == [True] * (len(told) - 1) + [False]
        assert told[-1][0] == "proof"


def test_a_wrong_key_or_index(node, file, tmp_path):
    """The record says so before anything is proved."""
    server = addresses(node)[0]
    other = tmp_path / "other.pem"
    assert biaoshi("key", "new", other).returncode == 0
    code, told = steps(f"300:0.NA/86.999={other}", server)
    assert (code, told[-1][0]) == (4, "record")
    assert "another key" in told[-1][2]
    secret = file(b"sesame")
    code, told = steps(f"300:0.NA/86.999={secret}", server)
    assert (code, told[-1][0]) == (4, "record")
    code, told = steps(f"301:0.NA/86.123={secret}", server)
    assert code == 4
    code, told = steps(f"301:86.999/nobody={secret}", server)
    assert (code, told[-1][0]) == (4, "record")


def test_no_server(file):
    """Exit code 3 at the first step."""
    code, told = steps(f"301:0.NA/86.999={file(b'x')}", "127.0.0.1:1")
    assert (code, told[0][:2]) == (3, ("connect", False))
