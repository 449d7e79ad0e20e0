"""The key files of a node: made once, private, checked at every start.

keys/site_key.pem    RSA-2048: site record, TLS, administrator 300:0.NA/P
keys/log_key.pem     Ed25519: 302:0.NA/P, signs records and the log
keys/admin_300.pem   the site key again, as the administrator's key for PEM-reading clients
keys/admin_300.bin   the same in the Handle form, unencrypted
keys/sm2_key.pem     SM2, where there is one: 304:0.NA/P, signs checkpoints as well
keys/….former.pem    site or log key before the last rotation; keys/rotation.json says until when
tls/cert.pem         self-made certificate of the site key
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.x509.oid import NameOID

from protocol.errors import NotSupported, ParseError, SettingsError
from protocol.keys import decode_pem, encode_pem, encode_private_key, encode_public_key
from protocol.keys.files import KeyFile, Method, encode_key_file
from protocol.keys.sm2 import Sm2PrivateKey
from registry.rotation import NO_ROTATION, ROTATION, Rotation, load_rotation
from registry.store.place import sync_folder

SITE_KEY = Path("keys/site_key.pem")
LOG_KEY = Path("keys/log_key.pem")
ADMIN_PEM = Path("keys/admin_300.pem")
ADMIN_BIN = Path("keys/admin_300.bin")
SM2_KEY = Path("keys/sm2_key.pem")
FORMER_SITE_KEY = Path("keys/site_key.former.pem")
FORMER_LOG_KEY = Path("keys/log_key.former.pem")
TLS_CERT = Path("tls/cert.pem")
KEY_FILES = (
    SITE_KEY,
    LOG_KEY,
    ADMIN_PEM,
    ADMIN_BIN,
    SM2_KEY,
    FORMER_SITE_KEY,
    FORMER_LOG_KEY,
    ROTATION,
    TLS_CERT,
)
"""All of a node; not every node has each."""
RSA_BITS = 2048
CERT_DAYS = 3650
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The two keys of a node, and what goes with them.

    national: an SM2 key that signs checkpoints beside the log key. former_log: the log key before,
    which signs checkpoints as well until its overlap ends. rotation: what others are told of keys
    that were replaced or revoked.
    """

    site_private: RSAPrivateKey
    log_private: Ed25519PrivateKey
    national: Sm2PrivateKey | None = None
    former_log: Ed25519PrivateKey | None = None
    rotation: Rotation = NO_ROTATION

    @property
    def site_public(self) -> RSAPublicKey:
        return self.site_private.public_key()

    @property
    def log_public(self) -> Ed25519PublicKey:
        return self.log_private.public_key()


def create_keys(
    folder: Path, names: Sequence[str], now: datetime, *, bits: int = RSA_BITS
) -> NodeKeys:
    """Draw a node's keys and write their files below its folder, readable by the owner alone.

    names: addresses and host names for the TLS certificate. bits: 2048 or more, outside of tests.
    Raises SettingsError when a key file is there already: keys are never overwritten.
    """
    for name in (SITE_KEY, LOG_KEY, ADMIN_PEM, ADMIN_BIN, TLS_CERT):
        if (folder / name).exists():
            raise SettingsError(
                f"{folder / name} is there already and keys are not overwritten; "
                "make the node in an empty folder"
            )
    keys = NodeKeys(generate_private_key(65537, bits), Ed25519PrivateKey.generate())
    for directory in (folder / "keys", folder / "tls"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    site_pem = encode_pem(keys.site_private)
    write_private(folder / SITE_KEY, site_pem)
    write_private(folder / LOG_KEY, encode_pem(keys.log_private))
    write_private(folder / ADMIN_PEM, site_pem)
    admin = KeyFile(Method.PLAIN, encode_private_key(keys.site_private))
    write_private(folder / ADMIN_BIN, encode_key_file(admin))
    write_private(folder / TLS_CERT, self_signed(keys.site_private, names, now))
    sync_folder(folder / "keys")
    sync_folder(folder / "tls")
    return keys


def load_keys(folder: Path) -> NodeKeys:
    """Read a node's keys. Raises SettingsError: missing, open to others, or of another kind."""
    site = load_private_pem(folder / SITE_KEY)
    log = load_private_pem(folder / LOG_KEY)
    require_private(folder / ADMIN_PEM, missing_ok=True)
    require_private(folder / ADMIN_BIN, missing_ok=True)
    if not isinstance(site, RSAPrivateKey) or site.key_size < RSA_BITS:
        raise SettingsError(f"{folder / SITE_KEY} must hold an RSA key of {RSA_BITS} bits or more")
    if not isinstance(log, Ed25519PrivateKey):
        raise SettingsError(f"{folder / LOG_KEY} must hold an Ed25519 key")
    rotation = load_rotation(folder)
    return NodeKeys(site, log, _national(folder), _former_log(folder, rotation), rotation)


def _national(folder: Path) -> Sm2PrivateKey | None:
    path = folder / SM2_KEY
    if not path.exists():
        return None
    require_private(path)
    try:
        key = decode_pem(path.read_bytes())
    except (OSError, ParseError, NotSupported) as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(key, Sm2PrivateKey):
        raise SettingsError(f"{path} must hold an SM2 key; `biaoshi key new --type sm2` makes one")
    return key


def _former_log(folder: Path, rotation: Rotation) -> Ed25519PrivateKey | None:
    """The log key before, while the rotation names it."""
    path = folder / FORMER_LOG_KEY
    named = {encode_public_key(f.key) for f in rotation.former if f.until > time.time()}
    if not named or not path.exists():
        return None
    key = load_private_pem(path)
    if isinstance(key, Ed25519PrivateKey) and encode_public_key(key.public_key()) in named:
        return key
    return None


def require_private(path: Path, *, missing_ok: bool = False) -> None:
    """Raise SettingsError unless only its owner may read a file."""
    try:
        mode = path.stat().st_mode & 0o7777
    except FileNotFoundError:
        if missing_ok:
            return
        raise SettingsError(
            f"{path} is missing; restore it from the backup of the node's folder "
            "(`biaoshi init` makes new keys for a new folder only)"
        ) from None
    if mode & _OTHERS:
        raise SettingsError(
            f"{path} has mode {mode:04o}, so others can read the key; run `chmod 600 {path}`"
        )


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read, and make its content durable."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def load_private_pem(path: Path) -> object:
    """The private key of an unencrypted PEM file that only its owner may read."""
    require_private(path)
    try:
        return _parsed(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        why = str(error).partition(". See ")[0]
        raise SettingsError(f"{path} is no readable unencrypted PEM key: {why}") from error


@lru_cache(maxsize=4)
def _parsed(pem: bytes) -> object:
    """Checking an RSA key takes 40 ms; what is forked from a process need not do it again."""
    return serialization.load_pem_private_key(pem, password=None)


def self_signed(key: RSAPrivateKey, names: Sequence[str], now: datetime) -> bytes:
    """A self-made TLS certificate in PEM. Clients compare its key with the site record's.

    names: addresses and host names it is good for. now: aware or UTC.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anonymous")])
    start = now.astimezone(UTC) if now.tzinfo else now.replace(tzinfo=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + timedelta(days=CERT_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
