"""biaoshi key: every form of key into every other; private files are their owner's alone."""

from __future__ import annotations

import json
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from typer.testing import CliRunner

from protocol.keys import encode_private_key
from protocol.keys.files import decode_key_file, seal_key_file
from resolver.commands.key import app
from resolver.keyfiles import read_any_key, read_public_keys

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, [str(each) for each in arguments])


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "pass.txt"
    path.write_text("a phrase with ümlaut\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "p256", "sm2"])
@pytest.mark.parametrize("form", ["pem", "jwk", "handle"])
def test_new_keys(tmp_path, kind, form):
    """A pair in each form; the private file is 0600 and its public part is the other file."""
    file, public = tmp_path / "key", tmp_path / "public"
    done = run("new", file, "--type", kind, "--form", form, "--public", public)
    assert done.exit_code == 0, done.output
    assert file.stat().st_mode & 0o777 == 0o600
    key = read_any_key(file)
    assert key.private is not None
    assert not key.encrypted
    assert read_public_keys(public) == (key.public,)
    assert read_any_key(public).private is None
    again = run("new", file)
    assert again.exit_code != 0  # a key is never overwritten
    assert read_any_key(file).public == key.public


@pytest.mark.parametrize("form", ["pem", "handle"])
def test_encrypted_keys(tmp_path, passphrase, form):
    """Encrypted with the passphrase, unreadable without it or with another."""
    file, other = tmp_path / "key", tmp_path / "other.txt"
    other.write_text("another")
    other.chmod(0o600)
    assert run("new", file, "--form", form, "--passphrase-file", passphrase).exit_code == 0
    shown = json.loads(run("show", file, "--passphrase-file", passphrase, "--json").output)
    assert shown["encrypted"] is True
    assert run("show", file).exit_code != 0
    assert run("show", file, "--passphrase-file", other).exit_code != 0


@pytest.mark.parametrize("first", ["pem", "jwk", "handle"])
@pytest.mark.parametrize("second", ["pem", "jwk", "handle"])
def test_conversions(tmp_path, first, second):
    """There and back: the same key; --only-public leaves the private part out."""
    one, two, public = tmp_path / "one", tmp_path / "two", tmp_path / "public"
    run("new", one, "--form", first)
    assert run("convert", one, two, "--form", second).exit_code == 0
    assert two.stat().st_mode & 0o777 == 0o600
    kept, made = read_any_key(one).private, read_any_key(two).private
    assert encode_private_key(kept) == encode_private_key(made)
    assert run("convert", one, public, "--form", second, "--only-public").exit_code == 0
    assert read_any_key(public).private is None


def test_show_never_shows_a_private_number(tmp_path):
    """The JSON key that is shown has no d; a file that others can read is told of."""
    file = tmp_path / "key"
    run("new", file, "--form", "jwk")
    secret = json.loads(file.read_text())["d"]
    file.chmod(0o644)
    done = run("show", file)
    assert done.exit_code == 0
    assert secret not in done.output
    assert "chmod 600" in done.output


def test_files_of_handle_software(tmp_path, passphrase):
    """DSA keys as old set-up programs made them are shown and converted to PEM, not to JWK."""
    key = dsa.generate_private_key(2048)
    file = tmp_path / "admpriv.bin"
    sealed = seal_key_file(
        encode_private_key(key),
        passphrase.read_bytes().removesuffix(b"\n"),
        salt=os.urandom(16),
        iv=os.urandom(16),
    )
    file.write_bytes(sealed)
    file.chmod(0o600)
    assert decode_key_file(sealed).encrypted
    out = tmp_path / "key.pem"
    done = run("convert", file, out, "--passphrase-file", passphrase)
    assert done.exit_code == 0, done.output
    assert read_any_key(out).public == key.public_key()
    assert run(
        "convert", file, tmp_path / "k", "--form", "jwk", "--passphrase-file", passphrase
    ).exit_code


def test_what_is_no_key(tmp_path):
    """The file is named, and what is wanted."""
    file = tmp_path / "text"
    file.write_text("no key at all")
    done = run("show", file)
    assert done.exit_code != 0
    assert "holds no key" in str(done.exception)
