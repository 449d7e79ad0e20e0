"""Vector forms of challenge answers: challenge_answer, secret_key_encoding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from protocol.challenge import (
    HS_PUBKEY,
    HS_SECKEY,
    KeyAnswer,
    MacCode,
    SecretAnswer,
    answer_with_key,
    decode_key_answer,
    decode_secret_answer,
    encode_key_answer,
    encode_secret_answer,
    hashed_secret,
    pbkdf2_key,
    secret_mac,
    verify_key_answer,
)
from protocol.doirp.header import HEADER_SIZE, decode_header
from protocol.doirp.message import digest_algorithm, digest_of
from protocol.errors import ParseError
from protocol.jsonfields import Fields, text_of
from protocol.keys import PublicKey
from protocol.keys.policy import EVERYTHING
from protocol.keys.signing import SHA_1, digest_for
from protocol.vectorform.crypto_fields import (
    claims_without_case,
    demand,
    holds,
    one_bit_apart,
    private_key_of,
    public_key_of,
    says_one_bit,
)
from protocol.vectorform.form import Form, Shape, compare, hex_of

_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)
_LATEST = (2, 11)
_MAX_ITERATIONS = 10_000_000
_NAMES = {b"SHA-256": "SHA256", b"SHA256": "SHA256", b"SHA1": "SHA1", b"SHA-1": "SHA1"}
_OPTIONAL = ("weak", "pbkdf2_mac_hex", "pbkdf2_derived_key_hex")
"""Told in some rows only (the last two always in valid ones); true where they are told."""


def _decode(data: bytes) -> Shape:
    # The first octet of a key answer is the length of a digest name, always 0.
    if data[:1] == b"\0":
        return {"auth_type": "HS_PUBKEY"} | _key_shape(decode_key_answer(data))
    shape = _secret_shape(decode_secret_answer(data, _LATEST))
    shape.pop("weak")  # an opinion about the algorithm, told in some rows only
    return {"auth_type": "HS_SECKEY"} | shape


def _key_shape(answer: KeyAnswer) -> Shape:
    return {
        "digest_algorithm": text_of(answer.digest, "the digest algorithm"),
        "signature_hex": answer.signature.hex(),
    }


def _secret_shape(answer: SecretAnswer) -> Shape:
    octets = encode_secret_answer(answer)
    shape: Shape = {
        "mac_algorithm": None if answer.code is None else int(answer.code),
        "mac_hex": (octets if answer.code is None else octets[1:]).hex(),
        "weak": answer.weak is not None,
    }
    if answer.code is MacCode.PBKDF2_HMAC_SHA1:
        shape |= {
            "pbkdf2_salt_hex": answer.salt.hex(),
            "pbkdf2_iterations": answer.iterations,
            "pbkdf2_key_bits": answer.key_bits,
            "pbkdf2_mac_hex": answer.mac.hex(),
        }
    return shape


def _encode(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    auth_type = fields.text("auth_type")
    if auth_type == HS_PUBKEY:
        return encode_key_answer(
            KeyAnswer(fields.text("digest_algorithm"), fields.hex("signature_hex"))
        )
    if auth_type != HS_SECKEY:
        raise ParseError(f"{fields.path('auth_type')} is {auth_type!r:.40}; HS_PUBKEY, HS_SECKEY")
    coded = fields.any("mac_algorithm") is not None
    return (bytes([fields.u1("mac_algorithm")]) if coded else b"") + fields.hex("mac_hex")


def _check(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields = Fields(claims)
    version = _version(fields)
    actual = _challenge_shape(fields, version)
    covered = fields.hex("nonce_hex") + fields.hex("request_digest_hex")
    auth_type = fields.text("auth_type")
    if auth_type == HS_PUBKEY:
        actual |= _check_key(vector, data, fields, version)
    elif auth_type == HS_SECKEY:
        actual |= _check_secret(vector, data, fields, covered)
    else:
        raise ParseError(f"{fields.path('auth_type')} is {auth_type!r:.40}; HS_PUBKEY, HS_SECKEY")
    for name in _OPTIONAL:
        if name not in claims and (name == "weak" or not actual["valid"]):
            actual.pop(name, None)
    compare(claims, actual)
    demand("encoding `decoded` does not give `hex`", so=_encode(claims) == data)


def _version(fields: Fields) -> tuple[int, int]:
    found = _VERSION.fullmatch(fields.text("protocol").decode())
    if not found:
        raise ParseError(f"{fields.path('protocol')} is no version such as 2.10")
    return int(found[1]), int(found[2])


def _challenge_shape(fields: Fields, version: tuple[int, int]) -> Shape:
    covered = fields.hex("request_header_body_hex")
    header = decode_header(covered)
    whole = header.body_length == len(covered) - HEADER_SIZE and not header.response_code
    demand("decoded.request_header_body_hex is no header and body of a request", so=whole)
    algorithm = digest_algorithm(version)
    return {
        "protocol": fields.any("protocol"),
        "request_header_body_hex": covered.hex(),
        "request_digest_algorithm": algorithm,
        "request_digest_hex": digest_of(covered, algorithm).hex(),
        "nonce_hex": fields.hex("nonce_hex").hex(),
        "auth_type": fields.any("auth_type"),
    }


def _check_key(
    vector: Mapping[str, Any], data: bytes, fields: Fields, version: tuple[int, int]
) -> Shape:
    answer, key = decode_key_answer(data), public_key_of(fields)
    nonce, digest = fields.hex("nonce_hex"), fields.hex("request_digest_hex")
    valid = holds(lambda: verify_key_answer(data, key, nonce, digest, EVERYTHING))
    expected_digest = digest_for(key, version)
    same = _NAMES.get(expected_digest) == _NAMES.get(answer.digest)
    demand(f"a {_algorithm(key)} key signs {version} with {expected_digest!r}", so=same)
    shape = _key_shape(answer) | {
        "key_algorithm": _algorithm(key),
        "signature_algorithm": _signature_algorithm(key, answer),
        "public_key_hex": fields.hex("public_key_hex").hex(),
        "deterministic": not isinstance(key, DSAPublicKey),
        "weak": isinstance(key, DSAPublicKey) or expected_digest == SHA_1,
        "valid": valid,
    }
    if "private_key_hex" in fields or shape["deterministic"]:
        shape["private_key_hex"] = fields.any("private_key_hex")
        _check_pair(vector, data, fields, version)
    if not valid and "nonce" in str(vector["decoded"].get("reason", "")):
        made = not isinstance(key, RSAPublicKey) or _made_by(key, answer)
        demand("the signature was not made by this key over another nonce", so=made)
    return shape


def _check_pair(
    vector: Mapping[str, Any], data: bytes, fields: Fields, version: tuple[int, int]
) -> None:
    """The private key is the public one's, and makes the row's octets where it can."""
    key, public = private_key_of(fields), public_key_of(fields)
    demand(
        "decoded.private_key_hex is not the key of public_key_hex", so=key.public_key() == public
    )
    if isinstance(public, DSAPublicKey):
        return
    nonce, digest = fields.hex("nonce_hex"), fields.hex("request_digest_hex")
    made = answer_with_key(key, nonce, digest, version)
    if fields.any("valid") is True:
        demand("answering with private_key_hex does not give `hex`", so=made == data)
    elif says_one_bit(vector):
        demand("more or less than one bit was changed", so=one_bit_apart(made, data))


def _check_secret(vector: Mapping[str, Any], data: bytes, fields: Fields, covered: bytes) -> Shape:
    secret, version = fields.hex("secret_hex"), _version(fields)
    answer = decode_secret_answer(data, version)
    if answer.iterations > _MAX_ITERATIONS or answer.key_bits > 512 or answer.key_bits % 8:
        raise ParseError(f"{answer.iterations} iterations, {answer.key_bits} bits are not computed")
    mac = secret_mac(secret, covered, answer)
    valid = compare_digest(mac, answer.mac)
    shape = _secret_shape(answer) | {"secret_hex": secret.hex(), "valid": valid}
    if answer.code is MacCode.PBKDF2_HMAC_SHA1:
        shape["pbkdf2_derived_key_hex"] = pbkdf2_key(secret, answer).hex()
    if not valid and says_one_bit(vector):
        demand("more or less than one bit was changed", so=one_bit_apart(mac, answer.mac))
    return shape


def _algorithm(key: PublicKey) -> str:
    if isinstance(key, RSAPublicKey):
        return "RSA"
    return "DSA" if isinstance(key, DSAPublicKey) else "Ed25519"


def _signature_algorithm(key: PublicKey, answer: KeyAnswer) -> str:
    digest = _NAMES.get(answer.digest)
    return f"{digest}with{_algorithm(key)}" if digest else _algorithm(key)


def _made_by(key: RSAPublicKey, answer: KeyAnswer) -> bool:
    """Whether the signature is one of this key, over whatever it was."""
    hash_ = SHA1() if _NAMES.get(answer.digest) == "SHA1" else SHA256()  # noqa: S303 - old rows
    try:
        key.recover_data_from_signature(answer.signature, PKCS1v15(), hash_)
    except (InvalidSignature, ValueError):
        return False
    return True


def _decode_encoding(data: bytes) -> Shape:
    return {"encoded_text": text_of(data, "the encoded secret")}


def _encode_encoding(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    if "secret_hex" in fields:
        return hashed_secret(fields.hex("secret_hex"))
    return fields.text("encoded_text")


def _check_encoding(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    secret = Fields(claims).hex("secret_hex")
    encoded = hashed_secret(secret)
    compare(claims, {"secret_hex": secret.hex(), "encoded_text": encoded.decode()})
    demand("`hex` is not the encoded text", so=encoded == data)


FORMS: dict[str, Form] = {
    "challenge_answer": Form(_decode, _encode, _check),
    "secret_key_encoding": Form(_decode_encoding, _encode_encoding, _check_encoding),
}
