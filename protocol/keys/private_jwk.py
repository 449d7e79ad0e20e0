"""Private JSON keys (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2). Public ones are protocol.keys.jwk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol.errors import ParseError
from protocol.keys import PrivateKey, load_private_key, private_wire_key
from protocol.keys.jwk import format_base64url, format_jwk, parse_base64url
from protocol.keys.numbers import (
    ED25519_PRIVATE,
    MAX_NUMBER_BYTES,
    P256_PRIVATE,
    PRIVATE_OCTETS,
    RSA_CRT,
    SM2_PRIVATE,
    WireKey,
)
from protocol.keys.sm2 import Sm2PrivateKey

_RSA = ("n", "e", "d", "p", "q", "dp", "dq", "qi")


def is_private_jwk(value: Any) -> bool:
    """Whether a JSON object holds a private key."""
    return isinstance(value, Mapping) and "kty" in value and "d" in value


def format_private_jwk(key: PrivateKey) -> dict[str, str]:
    """A private key as a JSON object. Raises ParseError for DSA, which has no such form here."""
    if isinstance(key, RSAPrivateKey):
        numbers = key.private_numbers()
        more = {
            "d": numbers.d,
            "p": numbers.p,
            "q": numbers.q,
            "dp": numbers.dmp1,
            "dq": numbers.dmq1,
            "qi": numbers.iqmp,
        }
        return format_jwk(key.public_key()) | {name: _text(n) for name, n in more.items()}
    if isinstance(key, Ed25519PrivateKey):
        return format_jwk(key.public_key()) | {"d": format_base64url(key.private_bytes_raw())}
    if isinstance(key, EllipticCurvePrivateKey | Sm2PrivateKey):
        scalar = private_wire_key(key).octets
        return format_jwk(key.public_key()) | {"d": format_base64url(scalar)}
    raise ParseError("a private DSA key is not written as a JSON key; use PEM")


def parse_private_jwk(value: Any) -> PrivateKey:
    """A private key from a JSON object. Raises ParseError; its text shows no number."""
    if not isinstance(value, Mapping):
        raise ParseError("a JSON key is an object")
    match value.get("kty"), value.get("crv"):
        case "RSA", None:
            numbers = tuple(int.from_bytes(_octets(value, name)) for name in _RSA)
            return load_private_key(WireKey(RSA_CRT, numbers))
        case "OKP", "Ed25519":
            return load_private_key(WireKey(ED25519_PRIVATE, octets=_octets(value, "d")))
        case "EC", "P-256" | "SM2" as curve:
            type_ = P256_PRIVATE if curve == "P-256" else SM2_PRIVATE
            scalar = _octets(value, "d")
            if len(scalar) != PRIVATE_OCTETS[type_]:
                raise ParseError("'d' of the private JSON key has another length than 32")
            return load_private_key(WireKey(type_, octets=scalar))
        case kty, _:
            raise ParseError(f"a private JSON key of type {kty!r:.20} is not read; use PEM")


def _octets(value: Mapping[str, Any], name: str) -> bytes:
    text = value.get(name)
    if not isinstance(text, str):
        raise ParseError(f"a private JSON key without {name!r}")
    try:
        octets = parse_base64url(text)
    except ParseError:
        raise ParseError(f"{name!r} of the private JSON key is not base64url") from None
    if len(octets) > MAX_NUMBER_BYTES:
        raise ParseError(f"{name!r} of the private JSON key has {len(octets)} octets")
    return octets


def _text(number: int) -> str:
    return format_base64url(number.to_bytes(max(1, (number.bit_length() + 7) // 8)))
