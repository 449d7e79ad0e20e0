"""biaoshi init: what lies in the folder, who may read it, and what is refused."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol.errors import BadIdentifier, SettingsError
from protocol.keys import decode_private_key, decode_public_key, encode_spki
from protocol.keys.files import Method, decode_key_file
from protocol.record import Reference
from protocol.signature import parse_certificate, verify_record
from protocol.values.hs_admin import decode_admin
from protocol.values.hs_vlist import decode_vlist
from registry.prefixes import Prefixes
from registry.records import read_record
from registry.store.lmdb_store import LmdbStore
from resolver.cli import main
from resolver.config import FaceSettings, NodeSettings, Settings
from resolver.config_file import load_settings
from resolver.founding import found, read_secret
from resolver.keyfiles import read_public_keys
from resolver.site import read_site_info

PREFIX = "86.999"
SETTINGS = Settings(
    node=NodeSettings(role="enterprise", prefix=PREFIX, hosts=("127.0.0.1", "::1")),
    faces=FaceSettings(irp=2701, http=8801, https=8802),
)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One founded node for all tests that only look."""
    folder = tmp_path_factory.mktemp("init") / "node"
    found(folder, SETTINGS, secret=b"s3cret \n x")
    return folder


def _run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0, capsys.readouterr()


def _record(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        row = Prefixes(store).get(PREFIX.encode())
        record = read_record(store, b"0.NA/86.999")
    finally:
        store.close()
    return row, {value.index: value for value in record.values}


@pytest.mark.parametrize(
    "name",
    [
        "keys/site_key.pem",
        "keys/log_key.pem",
        "keys/admin_300.pem",
        "keys/admin_300.bin",
        "biaoshi.toml",
    ],
)
def test_what_is_private_is_the_owners_alone(node, name):
    """Keys and settings have mode 0600."""
    assert stat.S_IMODE((node / name).stat().st_mode) == 0o600


def test_folders_are_closed_to_others(node):
    """Nobody else looks into the folder, its store, keys and sockets."""
    for name in ("", "store", "keys", "run", "tls"):
        assert stat.S_IMODE((node / name).stat().st_mode) == 0o700


def test_nothing_else_is_left_behind(node):
    """The folder was built aside; no trace of that remains."""
    assert [path.name for path in node.parent.iterdir()] == ["node"]


def test_the_administrators_key_is_there_in_both_forms(node):
    """admin_300.pem and admin_300.bin hold the site key, not encrypted."""
    pem = load_pem_private_key((node / "keys/admin_300.pem").read_bytes(), None)
    file = decode_key_file((node / "keys/admin_300.bin").read_bytes())
    assert file.method == Method.PLAIN
    for key in (pem, decode_private_key(file.content)):
        assert encode_spki(key.public_key()) == encode_spki(
            read_public_keys(node / "keys/root_pub.pem")[0]
        )


def test_the_certificate_is_on_the_site_key_and_names_the_hosts(node):
    """Subject and issuer are CN=anonymous; the addresses are alternative names."""
    certificate = x509.load_pem_x509_certificate((node / "tls/cert.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=anonymous"
    assert certificate.issuer == certificate.subject
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(ip) for ip in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    site = read_site_info(node)
    assert site.servers[0].public_key
    key = decode_public_key(site.servers[0].public_key)
    assert encode_spki(certificate.public_key()) == encode_spki(key)


def test_siteinfo_is_what_handle_clients_read(node):
    """siteinfo.json has the shape of a site record, without an envelope."""
    shape = json.loads((node / "siteinfo.json").read_text())
    assert shape["version"] == 1
    assert shape["protocolVersion"] == "2.11"
    assert shape["serialNumber"] == 1
    assert shape["primarySite"] is True
    (server,) = shape["servers"]
    assert server["address"] == "127.0.0.1"
    assert server["publicKey"]["value"]["kty"] == "RSA"
    assert {(one["protocol"], one["port"]) for one in server["interfaces"]} == {
        ("TCP", 2701),
        ("UDP", 2701),
        ("HTTP", 8801),
        ("HTTPS", 8802),
    }


def test_the_prefix_record_has_its_administrators(node):
    """300 by key and 301 by secret may do everything, in their own right and through the list."""
    row, held = _record(node)
    assert row.state == "homed"
    record = b"0.NA/86.999"
    for index, named in ((100, 200), (101, 300), (102, 301)):
        admin = decode_admin(held[index].data)
        assert (admin.handle, admin.index, admin.permissions) == (record, named, 0x0FFF)
    assert decode_vlist(held[200].data) == (Reference(record, 300), Reference(record, 301))
    assert held[301].data == b"s3cret \n x"
    assert held[301].permissions == 0b1100
    assert held[301].type == b"HS_SECKEY"
    assert load_settings(node).admin.administrators == ("300:0.NA/86.999", "301:0.NA/86.999")


def test_a_node_alone_vouches_for_itself(node):
    """Its certificates and its signature are by its own key 300, the root for others."""
    _, held = _record(node)
    root = read_public_keys(node / "keys/root_pub.pem")[0]
    certificate = parse_certificate(held[400].data)
    assert certificate.self_issued
    public = [value for value in held.values() if value.public]
    report = verify_record(b"0.NA/86.999", public, held[410].data, root, public[0].timestamp)
    report.require()
    assert set(report.verified) >= {1, 2, 100, 101, 102, 200, 300, 302, 400, 402}


def test_with_a_parent_the_prefix_waits(tmp_path):
    """A child is not home to its prefix, and certifies nothing."""
    settings = replace(SETTINGS, node=replace(SETTINGS.node, parent="http://127.0.0.1:1"))
    made = found(tmp_path / "child", settings)
    row, held = _record(tmp_path / "child")
    assert made.state == row.state == "waiting"
    assert not {400, 402, 410} & set(held)
    assert not (tmp_path / "child/keys/root_pub.pem").exists()


def test_a_recursive_node_needs_no_prefix(tmp_path, node):
    """It begins at its parent's address and trusts the key it was given."""
    settings = Settings(node=NodeSettings(role="recursive", parent="http://127.0.0.1:1"))
    found(tmp_path / "door", settings, root_key=node / "keys/root_pub.pem")
    read = load_settings(tmp_path / "door").recursion
    assert read.enabled
    assert read.roots == ("http://127.0.0.1:1",)
    (kept,) = (read_public_keys(tmp_path / "door" / name)[0] for name in read.root_keys)
    assert encode_spki(kept) == encode_spki(read_public_keys(node / "keys/root_pub.pem")[0])


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    """Nothing is overwritten."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(SettingsError, match="is not empty"):
        found(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(SettingsError, match="is a file"):
        found(tmp_path / "mine", SETTINGS)


def test_an_empty_folder_is_taken(tmp_path):
    """An existing empty folder becomes the node's."""
    (tmp_path / "empty").mkdir()
    found(tmp_path / "empty", SETTINGS)
    assert (tmp_path / "empty/biaoshi.toml").exists()


@pytest.mark.parametrize("prefix", ["88/1", "", "88..1", ".88", "88.", "0.NA", "8 8", "x" * 201])
def test_what_is_no_prefix_is_refused(tmp_path, prefix):
    """No folder is made for a prefix that cannot be."""
    settings = replace(SETTINGS, node=replace(SETTINGS.node, prefix=prefix))
    with pytest.raises((BadIdentifier, SettingsError)):
        found(tmp_path / "x", settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"abc\n", b"abc"), (b"abc\n\n", b"abc\n"), (b"abc\r\n", b"abc\r"), (b" a ", b" a ")],
)
def test_a_secret_is_the_file_less_one_final_newline(tmp_path, content, secret):
    """Nothing else is trimmed."""
    (tmp_path / "s").write_bytes(content)
    assert read_secret(tmp_path / "s") == secret


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5000])
def test_a_secret_that_is_none_is_refused_unseen(tmp_path, content):
    """The message says what is wrong and does not repeat the secret."""
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read_secret(tmp_path / "s")
    assert "xxx" not in str(refused.value)


def test_the_command_makes_it_and_says_what_next(tmp_path, capsys):
    """biaoshi init asks nothing; --json prints what was made."""
    (tmp_path / "secret").write_text("hush\n")
    options = ["--role", "enterprise", "--prefix", PREFIX, "--irp", "0", "--https", "off"]
    code, said = _run(
        capsys, "init", tmp_path / "n", *options, "--admin-secret", tmp_path / "secret", "--json"
    )
    assert code == 0
    shape = json.loads(said.out)
    assert (shape["irp"], shape["http"], shape["https"], shape["dns"]) == (0, 8000, None, None)
    assert shape["state"] == "homed"
    code, said = _run(capsys, "init", tmp_path / "n", *options)
    assert code == 2
    assert "is not empty" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--role", "top"], "needs --prefix"),
        (["--role", "boss", "--prefix", "8"], "boss"),
        (["--role", "top", "--prefix", "8", "--irp", "x"], "'x' is neither a port"),
        (["--role", "top", "--prefix", "8", "--host", "localhost"], "no IP address"),
        (["--role", "top", "--prefix", "8", "--parent", "me"], "is no address"),
        (["--role", "top", "--prefix", "8", "--admin-secret", "/nonexistent"], "cannot be read"),
        (["--role", "recursive", "--admin-secret", "/dev/null"], "secret"),
        (["--role", "top", "--prefix", "8", "--root-key", "/dev/null"], "holds no public key"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_made(tmp_path, capsys, options, told):
    """Exit code 2, one plain message, no folder."""
    code, said = _run(capsys, "init", tmp_path / "n", *options)
    assert code == 2
    assert told in said.err
    assert not (tmp_path / "n").exists()
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--irp", "2701", "--http", "2701"), "both have port 2701"),
        (("--host", "::1", "--host", "0:0::1"), "twice"),
        (("--parent", "http://me:hidden-word@127.0.0.1:8000"), "leave it out"),
        (("--parent", "http://127.0.0.1:x"), "no address"),
        (("--parent", "http://[::1"), "no address"),
    ],
)
def test_settings_that_could_never_serve_are_refused_at_once(tmp_path, capsys, options, said):
    """Two faces on a port, an address named twice, credentials in an address: said by init."""
    code, out = _run(capsys, "init", tmp_path / "n", "--role", "top", "--prefix", "88", *options)
    assert (code, said in out.err, "hidden-word" in out.err) == (2, True, False)
    assert not list(tmp_path.iterdir())


def test_the_same_host_twice_counts_once(tmp_path, capsys):
    """--host 127.0.0.1 --host 127.0.0.1 is one address."""
    ports = ("--irp", "0", "--http", "0", "--https", "off")
    hosts = ("--host", "127.0.0.1", "--host", "127.0.0.1")
    code, out = _run(
        capsys, "init", tmp_path / "n", "--role", "top", "--prefix", "88", *ports, *hosts, "--json"
    )
    assert (code, json.loads(out.out)["hosts"]) == (0, ["127.0.0.1"])


def test_without_a_secret_there_is_no_administrator_by_secret(tmp_path):
    """Whoever could add a value 301 to the prefix record would otherwise rule the node."""
    found(tmp_path / "n", SETTINGS)
    assert load_settings(tmp_path / "n").admin.administrators == ("300:0.NA/86.999",)


def test_a_place_that_cannot_be_written_is_named(capsys):
    """A file system that takes nothing: exit code 3 and one line, no internal error."""
    code, out = _run(capsys, "init", "/proc/node", "--role", "top", "--prefix", "88")
    assert (code, "/proc/node cannot be made" in out.err) == (3, True)
    code, out = _run(capsys, "init", "/proc/a/node", "--role", "top", "--prefix", "88")
    assert (code, "/proc/a/node cannot be made" in out.err) == (3, True)


def test_keys_that_a_killed_init_left_are_removed(tmp_path):
    """The next init of the same folder takes away what the first had built aside."""
    left = tmp_path / f".n.init-{2**22 + 1}"  # above the greatest process id
    (left / "keys").mkdir(parents=True)
    other = tmp_path / ".nn.init-1"
    other.mkdir()
    found(tmp_path / "n", SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".nn.init-1", "n"]


def test_the_site_info_is_changed_by_the_owner_alone(tmp_path):
    """Its mode does not follow a loose umask."""
    before = os.umask(0)
    try:
        found(tmp_path / "n", SETTINGS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "n" / "siteinfo.json").stat().st_mode) == 0o644


def test_a_prefix_of_any_bytes_is_refused_in_words(tmp_path, capsys):
    """Octets that are no UTF-8, and a prefix of thousands of octets, end with exit code 2."""
    for prefix in ("88.\udcff", "88." + "x" * 3000):
        code, out = _run(capsys, "init", tmp_path / "n", "--role", "top", "--prefix", prefix)
        assert (code, len(out.err) < 300) == (2, True)
