"""JSON keys, as certificates hold them (do-irp 13.3; RFC 7517, RFC 7518 §6, RFC 8037).

base64url without padding, numbers unsigned. RSA and DSA are what Handle software reads; EC P-256,
OKP Ed25519 and EC SM2 (a curve name that no registry has) are ours.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import ParseError
from protocol.keys import PublicKey, load_public_key
from protocol.keys.numbers import (
    DSA_PUBLIC,
    ED25519_BYTES,
    ED25519_PUBLIC,
    MAX_NUMBER_BYTES,
    RSA_PUBLIC,
    WireKey,
)
from protocol.keys.sm2 import Sm2PublicKey

_P256_BYTES = 32
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def format_base64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def parse_base64url(text: str) -> bytes:
    """The octets of unpadded base64url in its only form. Raises ParseError."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ParseError(f"not base64url: {text[:40]!r}")
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if format_base64url(data) != text:
        raise ParseError(f"base64url with loose bits at its end: {text[-8:]!r}")
    return data


def format_jwk(key: PublicKey) -> dict[str, str]:
    """A public key as a JSON object, members in the order that Handle software writes."""
    if isinstance(key, RSAPublicKey):
        rsa = key.public_numbers()
        return {"kty": "RSA", "n": _number_text(rsa.n), "e": _number_text(rsa.e)}
    if isinstance(key, DSAPublicKey):
        dsa = key.public_numbers()
        group = dsa.parameter_numbers
        numbers = {"y": dsa.y, "p": group.p, "q": group.q, "g": group.g}
        return {"kty": "DSA"} | {name: _number_text(number) for name, number in numbers.items()}
    if isinstance(key, Ed25519PublicKey):
        octets = key.public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "x": format_base64url(octets)}
    if isinstance(key, Sm2PublicKey):
        x, y = (format_base64url(half) for half in (key.point[1:33], key.point[33:]))
        return {"kty": "EC", "crv": "SM2", "x": x, "y": y}
    if not isinstance(key.curve, SECP256R1):
        raise ParseError(f"curve {key.curve.name} is not supported; use P-256")
    point = key.public_numbers()
    x, y = (format_base64url(at.to_bytes(_P256_BYTES, "big")) for at in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def parse_jwk(value: Any) -> PublicKey:
    """A public key from a JSON object. Raises ParseError."""
    if not isinstance(value, Mapping):
        raise ParseError(f"a JSON key is an object, not {value!r:.40}")
    match value.get("kty"), value.get("crv"):
        case "RSA", None:
            return load_public_key(WireKey(RSA_PUBLIC, _numbers(value, "e", "n")))
        case "DSA", None:
            return load_public_key(WireKey(DSA_PUBLIC, _numbers(value, "q", "p", "g", "y")))
        case "OKP", "Ed25519":
            octets = _fixed(value, "x", ED25519_BYTES)
            return load_public_key(WireKey(ED25519_PUBLIC, octets=octets))
        case "EC", "P-256":
            return _p256(value)
        case "EC", "SM2":
            halves = (_fixed(value, name, _P256_BYTES) for name in ("x", "y"))
            return Sm2PublicKey(b"".join((b"\x04", *halves)))
        case kty, crv:
            raise ParseError(f"unknown JSON key kty={kty!r:.20} crv={crv!r:.20}; use RSA")


def _p256(value: Mapping[str, Any]) -> EllipticCurvePublicKey:
    x, y = (int.from_bytes(_fixed(value, name, _P256_BYTES), "big") for name in ("x", "y"))
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError as error:
        raise ParseError(f"not a point of P-256: {error}") from None


def _numbers(value: Mapping[str, Any], *names: str) -> tuple[int, ...]:
    return tuple(int.from_bytes(_octets(value, name), "big") for name in names)


def _octets(value: Mapping[str, Any], name: str) -> bytes:
    text = value.get(name)
    if not isinstance(text, str):
        raise ParseError(f"a JSON key without {name!r}, or it is no text")
    octets = parse_base64url(text)
    if len(octets) > MAX_NUMBER_BYTES:
        raise ParseError(f"{name!r} of a JSON key has {len(octets)} octets")
    return octets


def _fixed(value: Mapping[str, Any], name: str, size: int) -> bytes:
    octets = _octets(value, name)
    if len(octets) != size:
        raise ParseError(f"{name!r} of a JSON key has {len(octets)} octets; wanted {size}")
    return octets


def _number_text(number: int) -> str:
    return format_base64url(number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big"))
