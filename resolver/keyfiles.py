"""Public keys from files, in whatever form operators have them."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from protocol.errors import ParseError, SettingsError
from protocol.keys import PublicKey, decode_public_key, decode_spki, encode_public_key, encode_spki
from protocol.keys.jwk import parse_jwk
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
        return (decode_spki(encode_spki(load_pem_public_key(text))),)  # type: ignore[arg-type]
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
