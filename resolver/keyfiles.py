"""Keys from files, in whatever form operators have them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate

from protocol.errors import ParseError, SettingsError
from protocol.keys import (
    PrivateKey,
    PublicKey,
    decode_pem,
    decode_private_key,
    decode_public_key,
    decode_public_pem,
    decode_spki,
    encode_public_key,
    encode_spki,
)
from protocol.keys.files import decode_key_file, open_key_file
from protocol.keys.jwk import parse_jwk
from protocol.keys.private_jwk import is_private_jwk, parse_private_jwk
from registry.keys import require_private
from resolver.roots import site_of_json

_MAX_BYTES = 1_048_576


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """The keys of a file: PEM (key or certificate), JSON Web Key, siteinfo.json, or Handle form.

    Raises SettingsError naming the file.
    """
    try:
        data = path.read_bytes()[: _MAX_BYTES + 1]
    except OSError as error:
        raise SettingsError(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        return _parse(data)
    except (ParseError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{path} holds no public key: {error}; wanted is PEM, a JSON Web Key, siteinfo.json "
            "or the Handle form (pubkey.bin)"
        ) from None


def _parse(data: bytes) -> tuple[PublicKey, ...]:
    text = data.lstrip()
    if b"PRIVATE KEY-----" in text:
        raise ParseError("it is a private key, which nobody else should see")
    if text.startswith(b"-----BEGIN CERTIFICATE"):
        key = load_pem_x509_certificate(text).public_key()
        return (decode_spki(encode_spki(key)),)  # type: ignore[arg-type]
    if text.startswith(b"-----BEGIN"):
        return (decode_public_pem(text),)
    if text.startswith(b"{"):
        value = json.loads(text)
        if "servers" not in value and "site" not in value:
            return (parse_jwk(value),)
        servers = site_of_json(value).servers
        return tuple(decode_public_key(each.public_key) for each in servers if each.public_key)
    return (decode_public_key(data),)


def encoded(keys: tuple[PublicKey, ...]) -> tuple[bytes, ...]:
    """Their Handle form."""
    return tuple(map(encode_public_key, keys))


@dataclass(frozen=True, slots=True)
class AnyKey:
    """A key out of a file. form: PEM, JWK or Handle. private: None in a public key's file."""

    public: PublicKey
    form: str
    private: PrivateKey | None = field(default=None, repr=False)
    encrypted: bool = False
    open_to_others: bool = False


_METHODS = {b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\4"}
"""How private-key files of Handle software begin; a public key begins with a longer length."""


def read_any_key(path: Path, passphrase_file: Path | None = None) -> AnyKey:
    """The key of a file, private or public, of any form. Raises SettingsError naming the file.

    open_to_others tells of a private key that others may read too: tools of Handle software make
    such files.
    """
    try:
        data = path.read_bytes()[: _MAX_BYTES + 1]
        shared = bool(path.stat().st_mode & 0o077)
    except OSError as error:
        raise SettingsError(f"the key file {path} cannot be read: {error.strerror}") from None
    text = data.lstrip()
    try:
        if data[:4] in _METHODS:
            passphrase = read_passphrase(passphrase_file)
            key = decode_private_key(open_key_file(data, passphrase))
            sealed = decode_key_file(data).encrypted
            return AnyKey(key.public_key(), "Handle", key, sealed, shared)
        if b"PRIVATE KEY-----" in text:
            encrypted = b"ENCRYPTED" in text
            passphrase = read_passphrase(passphrase_file)
            if encrypted and passphrase is None:
                raise ParseError("the key is encrypted; give --passphrase-file")
            key = decode_pem(text, passphrase if encrypted else None)
            return AnyKey(key.public_key(), "PEM", key, encrypted, shared)
        if text.startswith(b"{") and is_private_jwk(json.loads(text)):
            key = parse_private_jwk(json.loads(text))
            return AnyKey(key.public_key(), "JWK", key, open_to_others=shared)
        keys = _parse(data)
    except (ParseError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{path} holds no key that is read here: {error}; wanted is PEM, a JSON Web Key or "
            "the Handle form (admpriv.bin, pubkey.bin)"
        ) from None
    if not keys:
        raise SettingsError(f"{path} holds no key")
    form = "PEM" if text.startswith(b"-----") else "JWK" if text.startswith(b"{") else "Handle"
    return AnyKey(keys[0], form)


def read_passphrase(path: Path | None) -> bytes | None:
    """The passphrase in a file, one final newline left out. Raises SettingsError."""
    if path is None:
        return None
    try:
        require_private(path)
        return path.read_bytes()[:65_536].removesuffix(b"\n") or None
    except OSError as error:
        raise SettingsError(
            f"the passphrase file {path} cannot be read: {error.strerror}"
        ) from None
