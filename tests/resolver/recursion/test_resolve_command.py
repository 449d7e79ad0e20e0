"""`biaoshi resolve` against scripted sites on real sockets: output and exit codes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from protocol.keys import encode_public_key
from protocol.record import HandleValue
from resolver.commands.resolve import app
from tests.resolver.recursion.live import live, real_now
from tests.scenarios.world import FakeSite, World

NAME = "88.118/pump"


class Tree:
    """A root for 88 and a site for 88.118, both signed, on real sockets."""

    def __init__(self, net):
        self.world = World(real_now)
        self.root = FakeSite("R", b"88", ("127.0.0.1",), real_now, root=True)
        self.site = FakeSite("E", b"88.118", ("127.0.0.1",), real_now)
        for site in (self.root, self.site):
            site.port = net.serve(site.answer)
        self.world.add(self.root)
        self.world.add(self.site)
        values = [
            HandleValue(1, b"URL", b"https://example.org/pump"),
            HandleValue(2, b"DESC", "泵 \x1b[31m".encode()),
            HandleValue(3, b"BLOB", b"\xff\x00"),
        ]
        self.site.records[b"88.118/PUMP"] = values
        self.world.certify(b"88")
        self.world.certify(b"88.118")
        self.world.sign(b"88.118/pump")
        self.site.records[b"88.118/BARE"] = [HandleValue(1, b"URL", b"u")]
        self.root_url = f"http://127.0.0.1:{net.serve_http(self.root.answer, site=self.root)}"
        self.http = f"http://127.0.0.1:{net.serve_http(self.site.answer)}"

    @property
    def server(self):
        return f"127.0.0.1:{self.site.port}"


@pytest.fixture(scope="module")
def net():
    with live() as made:
        yield made


@pytest.fixture
def tree(net):
    return Tree(net)


def resolve(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_table_and_a_footer(tree):
    """Values are shown whole, one a line, without control characters; then who answered."""
    result = resolve(NAME, "--server", tree.server)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f";; {NAME}"
    assert lines[1].split() == ["INDEX", "TYPE", "TTL", "PERM", "DATA"]
    assert lines[2].split() == ["1", "URL", "86400", "rwr-", "https://example.org/pump"]
    assert lines[3].endswith("泵 \\x1b[31m")
    assert lines[4].endswith("base64 /wA=")
    assert "Ed25519 by 300:0.NA/88.118 over values 1, 2, 3" in lines[5]
    assert ";; SUCCESS (1), 4 values" in lines
    assert any(line.startswith(f";; server {tree.server} (UDP), ") for line in lines)
    assert "\x1b" not in result.output


@pytest.mark.parametrize(("option", "name"), [("--udp", "UDP"), ("--tcp", "TCP")])
def test_one_transport_alone(tree, option, name):
    """--udp and --tcp use that transport and no other."""
    result = resolve(NAME, "--server", tree.server, option)
    assert result.exit_code == 0
    assert f"({name})" in result.output


def test_the_tunnel(tree):
    """A URL is reached by HTTP."""
    result = resolve(NAME, "--server", tree.http)
    assert result.exit_code == 0
    assert "(HTTP)" in result.output
    result = resolve(NAME, "--server", tree.http.removeprefix("http://"), "--http")
    assert result.exit_code == 0
    assert resolve(NAME, "--server", tree.http, "--udp").exit_code == 2


def test_some_values(tree):
    """--type and --index are OR-ed and may repeat."""
    result = resolve(
        NAME, "--server", tree.server, "--type", "url", "--index", 3, "--json", "--root", "x"
    )
    assert result.exit_code == 0, result.output


def test_json(tree):
    """One object in the shape of the Handle interface, with who answered."""
    found = json.loads(resolve(NAME, "--server", tree.server, "--json", "--steps").output)
    assert found["responseCode"] == 1
    assert found["handle"] == NAME
    assert found["values"][0]["data"]["value"] == "https://example.org/pump"
    assert found["server"] == tree.server
    assert found["transport"] == "udp"
    assert found["steps"][0]["outcome"] == "SUCCESS"


def test_absent_names_and_values(tree):
    """Exit code 1: no such identifier, or none of the asked values."""
    result = resolve("88.118/none", "--server", tree.server)
    assert result.exit_code == 1
    assert "HANDLE_NOT_FOUND (100)" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ["88.118"],
        ["88.118/a b\x00"],
        [NAME, "--server", "::bad::"],
        [NAME, "--server", "127.0.0.1:99999"],
        [NAME, "--root", "/no/such/file"],
        [NAME, "--root-key", "/no/such/key"],
        [NAME, "--root", "ftp://example.org"],
        [NAME, "--root", "http://127.0.0.1:1", "--udp"],
        [NAME, "--index", "-1"],
    ],
)
def test_what_cannot_be_asked(words):
    """Exit code 2: no identifier, or a command that cannot be used like that."""
    assert resolve(*words).exit_code == 2


def test_no_answer(tree):
    """Exit code 3: nobody answers, or the server says that it is not responsible."""
    result = resolve(NAME, "--server", "127.0.0.1:9", "--tcp")
    assert result.exit_code == 3
    assert "127.0.0.1 port 9" in result.stderr
    result = resolve("99.9/x", "--server", tree.server)
    assert result.exit_code == 3
    assert "SERVER_NOT_RESPONSIBLE" in result.output


def test_verification_through_a_server(tree, tmp_path, net):
    """The chain is fetched through the same server, and ends at the key that is given."""
    key = tmp_path / "root.bin"
    key.write_bytes(encode_public_key(tree.root.key.public_key()))

    def everything(data, transport):
        from protocol.doirp.message import decode_message
        from protocol.doirp.resolution import decode_resolution_request

        name = decode_resolution_request(decode_message(data).body).handle
        holder = tree.root if name.startswith(b"0.NA/") else tree.site
        return holder.answer(data, transport)

    server = f"127.0.0.1:{net.serve(everything)}"
    result = resolve(NAME, "--server", server, "--verify", "--root-key", key, "--type", "URL")
    assert result.exit_code == 0, result.output
    assert "verification: value digests hold: 3; signer 300:0.NA/88.118" in result.output
    assert "DESC" not in result.output
    assert "not pinned" not in result.output
    assert resolve(NAME, "--server", server, "--verify", "--root", tree.root_url).exit_code == 0
    shown = resolve(NAME, "--server", server, "--verify")
    assert shown.exit_code == 0
    assert "the root's key is not pinned" in shown.output
    tree.site.moods = {"tampers"}
    result = resolve(NAME, "--server", server, "--verify", "--root-key", key)
    assert result.exit_code == 4
    assert "values changed" in result.stderr
    assert "example.org/pump" not in result.output
    assert resolve(NAME, "--server", server, "--verify").exit_code == 4
    tree.site.moods = set()
    assert resolve("88.118/bare", "--server", server, "--verify", "--root-key", key).exit_code == 4


def test_walking_from_a_root(tree, tmp_path):
    """--root and no --server: every hop is shown, and the trust in the root said."""
    result = resolve(NAME, "--root", tree.root_url, "--steps", "--verify")
    assert result.exit_code == 0, result.output
    assert "asked 0.NA/88.118" in result.output
    assert "reply signed" in result.output
    assert "(as it showed itself)" in result.output
    assert "chain of 3 to root 300:0.NA/88" in result.output
    result = resolve(NAME, "--root", tree.root_url, "--json", "--steps")
    assert [s["asked"] for s in json.loads(result.output)["steps"] if "address" in s] == [
        "0.NA/88",
        "0.NA/88.118",
        NAME,
    ]
    tree.site.moods = {"tampers"}
    assert resolve(NAME, "--root", tree.root_url).exit_code == 4
    key = tmp_path / "other.bin"
    key.write_bytes(encode_public_key(tree.site.key.public_key()))
    assert resolve(NAME, "--root", tree.root_url, "--root-key", key).exit_code == 4


def test_a_root_from_a_site_record(tree, tmp_path):
    """--root takes a siteinfo.json."""
    from protocol.keys import decode_public_key
    from protocol.keys.jwk import format_jwk
    from protocol.values.site_json import site_to_json

    file = tmp_path / "siteinfo.json"
    shape = site_to_json(
        tree.root.site("127.0.0.1"), lambda key: format_jwk(decode_public_key(key))
    )
    file.write_text(json.dumps(shape))
    assert resolve(NAME, "--root", file).exit_code == 0


def test_aliases(tree):
    """A walk follows HS_ALIAS unless it is told not to."""
    tree.site.records[b"88.118/OLD"] = [HandleValue(1, b"HS_ALIAS", b"88.118/bare")]
    assert "URL" in resolve("88.118/old", "--root", tree.root_url).output
    assert "HS_ALIAS" in resolve("88.118/old", "--root", tree.root_url, "--no-alias").output


def test_help_shows_examples():
    """Examples and exit codes are in --help."""
    output = resolve("--help").output
    assert "biaoshi resolve 88.118.8/" in output
    assert "Exit codes" in output
