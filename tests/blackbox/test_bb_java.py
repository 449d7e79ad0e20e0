"""The Handle.Net client library and command-line tools against the server under test (HSJ=folder)."""

from __future__ import annotations

import http.client
import json
import secrets

import pytest

from protocol.keys import encode_private_key
from protocol.keys.files import seal_key_file
from protocol.values.hs_site import decode_site
from tests.blackbox.java_client import DRIVER, JavaClient, require_hsj
from tests.blackbox.test_bb_both_ways import biaoshi
from tests.blackbox.wire import Wire, value

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def java(target, tmp_path_factory):
    """The distribution, its home pointed at the server under test."""
    require_hsj()
    folder = tmp_path_factory.mktemp("java")
    connection = http.client.HTTPConnection(target.host, target.http, timeout=10)
    connection.request("GET", "/api/site")
    site = json.load(connection.getresponse())["site"]
    connection.close()
    (folder / "admpriv.bin").write_bytes(seal_key_file(encode_private_key(target.key), None))
    client = JavaClient(folder, site)
    client.compile(DRIVER)
    return client


@pytest.fixture(scope="module")
def ascii_secret(target):
    """The driver's secret comes as an argument: one that every locale carries."""
    return target.secret.decode()


@pytest.mark.parametrize("session", ["plain", "session", "encrypted"])
@pytest.mark.parametrize("by", ["secret", "key"])
@pytest.mark.parametrize("transport", ["tcp", "udp", "http"])
def test_the_client_library(java, target, ascii_secret, transport, by, session):
    """Every administrative operation and its errors, as the library sees them."""
    if by == "secret" and not target.secret.isascii():
        # A secret of other octets would test the locale of the Java machine, not the server.
        name = target.name(f"java-{secrets.token_hex(4)}")
        pytest.skip(f"the secret of {name!r} is not ASCII")
    done = java.run(
        "Drive",
        *(transport, by, session, target.prefix, java.folder / "admpriv.bin"),
        *(ascii_secret, secrets.token_hex(4)),
    )
    assert "BAD" not in done.stdout, done.stdout
    assert done.stdout.rstrip().endswith("ALL GOOD"), done.stdout + done.stderr


def test_qresolver(java, target, fresh):
    """hdl-qresolver prints the values."""
    name = fresh("q").decode()
    wire = Wire(target)
    assert wire.create(name.encode(), value(1, "URL", "https://example.org/q")).code == 1
    done = java.tool("hdl-qresolver", name)
    assert "https://example.org/q" in done.stdout, done.stdout + done.stderr
    assert wire.delete(name.encode()).code == 1


def test_getsiteinfo(java, target):
    """hdl-getsiteinfo writes the site record."""
    out = java.folder / "site.bin"
    done = java.tool("hdl-getsiteinfo", target.host, target.irp, out)
    assert out.exists(), done.stdout + done.stderr
    assert decode_site(out.read_bytes()).servers[0].public_key


def test_trace(java, target, fresh):
    """hdl-trace shows the whole exchange of a resolution."""
    name = fresh("trace").decode()
    wire = Wire(target)
    assert wire.create(name.encode(), value(1, "URL", "https://example.org/trace")).code == 1
    done = java.tool("hdl-trace", name)
    assert 'URL rwr- "https://example.org/trace"' in done.stdout, done.stdout + done.stderr
    assert wire.delete(name.encode()).code == 1


def test_the_test_tool(java, target):
    """hdl-testtool reaches every interface of the site record."""
    done = java.tool("hdl-testtool", "client", target.prefix)
    assert "FAIL" not in done.stdout, done.stdout
    for interface in ("TCP", "UDP", "HTTP"):
        assert f"{interface}:" in done.stdout
    assert done.stdout.count("***PASS***") >= 3, done.stdout + done.stderr


def test_create_list_delete(java, target, fresh):
    """hdl-create, hdl-list and hdl-delete with a key file."""
    name = fresh("tool").decode()
    who = (f"0.NA/{target.prefix}", 300, java.folder / "admpriv.bin")
    done = java.tool("hdl-create", *who, name)
    assert Wire(target).resolve(name.encode()).code == 1, done.stdout + done.stderr
    listed = java.tool("hdl-list", *who, target.prefix)
    assert name.upper() in listed.stdout.upper(), listed.stdout + listed.stderr
    done = java.tool("hdl-delete", *who, "-", stdin=name + "\n")
    assert Wire(target).resolve(name.encode()).code == 100, done.stdout + done.stderr


def test_key_files(java):
    """Encrypted private-key files are read in both directions, and are the same key."""
    passphrase = java.folder / "passphrase"
    passphrase.write_text("pass phrase")
    ours, theirs = java.folder / "ours.bin", java.folder / "theirs.bin"
    for file in (passphrase, theirs):
        file.touch(0o600)
        file.chmod(0o600)
    options = ("--passphrase-file", passphrase)
    made = biaoshi("key", "new", ours, "--form", "handle", *options)
    assert made.returncode == 0, made.stderr
    java.compile(DRIVER.with_name("Keys.java"))
    done = java.run("Keys", ours, "pass phrase", theirs)
    assert done.stdout == "RSA 2048\n", done.stderr
    shown = [biaoshi("key", "show", file, *options, "--json") for file in (ours, theirs)]
    one, other = (json.loads(each.stdout) for each in shown)
    assert one["jwk"] == other["jwk"]


def test_home(java, target):
    """hdl-home-na makes the server home to a prefix."""
    prefix = f"{target.prefix}.{secrets.randbelow(10**6)}"
    who = (f"0.NA/{target.prefix}", 300, java.folder / "admpriv.bin")
    done = java.tool("hdl-home-na", *who, target.host, target.irp, f"0.NA/{prefix}")
    wire = Wire(target)
    assert wire.resolve(f"{prefix}/x".encode()).code == 100, done.stdout + done.stderr
    from tests.blackbox.wire import named

    assert wire.administer(301, named(f"0.NA/{prefix}".encode())).code == 1


@pytest.mark.parametrize("by", ["secret", "key"])
def test_genericbatch(java, target, fresh, by):
    """hdl-genericbatch: every kind of block, in a session, by secret and by key."""
    if by == "secret" and not target.secret.isascii():
        pytest.skip("the secret of this server is not ASCII; batch files have a locale's encoding")
    name = fresh("batch").decode()
    record = f"0.NA/{target.prefix}"
    login = (
        f"AUTHENTICATE SECKEY:301:{record}\n{target.secret.decode()}"
        if by == "secret"
        else f"AUTHENTICATE PUBKEY:300:{record}\n{java.folder / 'admpriv.bin'}|"
    )
    batch = java.folder / f"batch-{by}.txt"
    batch.write_text(
        f"{login}\n\n"
        f"CREATE {name}\n"
        f"100 HS_ADMIN 86400 1110 ADMIN 200:111111111111:{record}\n"
        "1 URL 86400 1110 UTF8 https://example.org/batch\n"
        "2 DESC 60 1110 UTF8 two\n\n"
        f"ADD {name}\n"
        "3 EMAIL 86400 1110 UTF8 e@example.org\n\n"
        f"MODIFY {name}\n"
        "2 DESC 60 1110 UTF8 zwei\n\n"
        f"REMOVE 3:{name}\n"
    )
    done = java.tool("hdl-genericbatch", batch)
    values = {
        v.index: v.data for v in Wire(target).resolve(name.encode(), indexes=[1, 2, 3]).values
    }
    assert values == {1: b"https://example.org/batch", 2: b"zwei"}, done.stdout + done.stderr
    assert Wire(target).delete(name.encode()).code == 1
