"""Vector forms of session keys: dh_session_key, rsa_session_key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol.dh import agree, check_public, public_value
from protocol.errors import ParseError
from protocol.jsonfields import Fields
from protocol.keys import DhPublicKey
from protocol.keys.policy import Policy
from protocol.session import (
    CipherCode,
    SessionKey,
    decode_agreed_key,
    decrypt_transported_key,
    derive_session_key,
    encode_agreed_key,
)
from protocol.vectorform.crypto_fields import (
    claims_without_case,
    demand,
    number_of,
    number_text,
    private_key_of,
    trying,
)
from protocol.vectorform.crypto_messages import session_key_of
from protocol.vectorform.form import Form, Shape, compare, hex_of

_NAMES = {CipherCode.DES: "DES", CipherCode.DESEDE: "DESede", CipherCode.AES: "AES"}
_ANY_SIZE = Policy(min_dh_bits=512, max_dh_bits=8_192, max_fresh_dh_bits=4_096)


def _key_shape(key: SessionKey) -> Shape:
    return {
        "algorithm_code": int(key.cipher),
        "algorithm": _NAMES[key.cipher],
        "session_key_hex": key.octets.hex(),
        "cipher_key_hex": key.cipher_key.hex(),
        "weak": key.weak is not None,
    }


def _decode_dh(data: bytes) -> Shape:
    return _key_shape(decode_agreed_key(data))


def _encode_dh(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    data = fields.u4("algorithm_code").to_bytes(4, "big") + fields.hex("session_key_hex")
    return encode_agreed_key(decode_agreed_key(data))


def _check_dh(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields = Fields(claims)
    names = ("p", "g", "client_x", "client_y", "server_x", "server_y")
    numbers = {name: number_of(fields, f"{name}_hex") for name in names}
    p, g = numbers["p"], numbers["g"]
    client, server = (DhPublicKey(numbers[f"{side}_y"], p, g) for side in ("client", "server"))
    trying(lambda: check_public(client, _ANY_SIZE), "the client's key")
    trying(lambda: check_public(server, _ANY_SIZE), "the server's key")
    for side in ("client", "server"):
        made = public_value(p, g, numbers[f"{side}_x"])
        demand(f"decoded.{side}_y_hex is not g^x mod p", so=made == numbers[f"{side}_y"])
    shared = agree(numbers["client_x"], server)
    demand("the two sides do not agree", so=shared == agree(numbers["server_x"], client))
    cipher = session_key_of(fields).cipher
    key = trying(lambda: derive_session_key(shared, cipher), "deriving the key")
    actual = {f"{name}_hex": number_text(number) for name, number in numbers.items()}
    compare(claims, actual | _key_shape(key))
    demand("`hex` is not the code and the key", so=encode_agreed_key(key) == data)


def _decode_rsa(data: bytes) -> Shape:
    if not data:
        raise ParseError("an encrypted session key has at least one octet")
    # All else is under the private key.
    return {"ciphertext_bytes": len(data)}


def _encode_rsa(_: Shape) -> None:
    """The padding is random: no bytes follow from the fields."""


def _check_rsa(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    private_key = private_key_of(Fields(claims))
    if not isinstance(private_key, RSAPrivateKey):
        raise ParseError("decoded.private_key_hex is no RSA key")
    plain = decrypt_transported_key(data, private_key)
    key = decode_agreed_key(plain)
    actual = {
        "private_key_hex": claims["private_key_hex"],
        "plaintext_hex": plain.hex(),
        "algorithm_code": int(key.cipher),
        "session_key_hex": key.octets.hex(),
        "weak": True,  # PKCS#1 v1.5 key transport, whatever the cipher
    }
    compare(claims, actual)


FORMS: dict[str, Form] = {
    "dh_session_key": Form(_decode_dh, _encode_dh, _check_dh),
    "rsa_session_key": Form(_decode_rsa, _encode_rsa, _check_rsa),
}
