"""Key files: made private, checked private, never overwritten."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol.errors import SettingsError
from protocol.keys import decode_private_key
from protocol.keys.files import open_key_file
from registry.keys import (
    ADMIN_BIN,
    ADMIN_PEM,
    LOG_KEY,
    SITE_KEY,
    TLS_CERT,
    NodeKeys,
    create_keys,
    load_keys,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("node")
    create_keys(path, ["127.0.0.1", "::1", "id.example.org"], NOW)
    return path


def test_keys_are_loaded_as_made(folder):
    """Site key, log key and the administrator's files belong together."""
    keys = load_keys(folder)
    assert isinstance(keys, NodeKeys)
    assert keys.site_public.key_size == 2048
    admin = decode_private_key(open_key_file((folder / ADMIN_BIN).read_bytes()))
    assert isinstance(admin, RSAPrivateKey)
    assert admin.private_numbers() == keys.site_private.private_numbers()
    assert (folder / ADMIN_PEM).read_bytes() == (folder / SITE_KEY).read_bytes()


def test_the_certificate_has_the_site_key(folder):
    """The TLS certificate carries the site key and the names it is good for."""
    certificate = x509.load_pem_x509_certificate((folder / TLS_CERT).read_bytes())
    assert certificate.public_key() == load_keys(folder).site_public
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(n) for n in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.DNSName) == ["id.example.org"]
    assert certificate.not_valid_before_utc < NOW


@pytest.mark.parametrize("name", [SITE_KEY, LOG_KEY, ADMIN_PEM, ADMIN_BIN])
def test_a_key_open_to_others_is_refused(folder, name):
    """The message names the file, its mode and the command that mends it."""
    assert (folder / name).stat().st_mode & 0o777 == 0o600
    (folder / name).chmod(0o640)
    with pytest.raises(SettingsError) as error:
        load_keys(folder)
    (folder / name).chmod(0o600)
    for part in (str(folder / name), "0640", f"chmod 600 {folder / name}"):
        assert part in str(error.value)


def test_keys_are_never_overwritten(folder):
    """A folder that has keys keeps them."""
    with pytest.raises(SettingsError, match="not overwritten"):
        create_keys(folder, ["127.0.0.1"], NOW)


def test_missing_and_wrong_keys_are_named(folder, tmp_path):
    """A missing file and one of another kind are said by name."""
    with pytest.raises(SettingsError, match=r"site_key\.pem is missing"):
        load_keys(tmp_path)
    (tmp_path / "keys").mkdir()
    for name in (SITE_KEY, LOG_KEY):
        (tmp_path / name).write_bytes((folder / SITE_KEY).read_bytes())
        (tmp_path / name).chmod(0o600)
    with pytest.raises(SettingsError, match="Ed25519"):
        load_keys(tmp_path)
    (tmp_path / SITE_KEY).write_bytes(b"nonsense")
    with pytest.raises(SettingsError, match="no readable"):
        load_keys(tmp_path)
