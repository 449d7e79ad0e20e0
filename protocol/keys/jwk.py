"""JSON keys, as certificates hold them (do-irp 13.3; RFC 7517, RFC 7518 §6, RFC 8037).

base64url without padding, numbers unsigned. RSA and DSA are what Handle software reads; EC P-256,
OKP Ed25519 and EC SM2 (a curve name that no registry has) are ours.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from protocol.errors import ParseError
from protocol.keys import PublicKey, load_public_key, public_wire_key
from protocol.keys.numbers import (
    DSA_PUBLIC,
    ED25519_BYTES,
    ED25519_PUBLIC,
    MAX_NUMBER_BYTES,
    P256_PUBLIC,
    RSA_PUBLIC,
    SM2_PUBLIC,
    WireKey,
)

_HALF = 32
"""Octets of a coordinate."""
_CURVES = {P256_PUBLIC: "P-256", SM2_PUBLIC: "SM2"}
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
    return format_wire_jwk(public_wire_key(key))


def parse_jwk(value: Any) -> PublicKey:
    """A public key from a JSON object. Raises ParseError."""
    return load_public_key(parse_wire_jwk(value))


def format_wire_jwk(key: WireKey) -> dict[str, str]:
    """The same of a key as it travels, whether its numbers are a key or not. Raises ParseError."""
    numbers = {name: _number_text(number) for name, number in key.named().items()}
    if key.type == RSA_PUBLIC:
        return {"kty": "RSA", "n": numbers["n"], "e": numbers["e"]}
    if key.type == DSA_PUBLIC:
        return {"kty": "DSA"} | {name: numbers[name] for name in ("y", "p", "q", "g")}
    if key.type == ED25519_PUBLIC:
        return {"kty": "OKP", "crv": "Ed25519", "x": format_base64url(key.octets)}
    if key.type in _CURVES:
        point = key.octets[1:]  # without the 04 of an uncompressed one
        x, y = (format_base64url(half) for half in (point[:_HALF], point[_HALF:]))
        return {"kty": "EC", "crv": _CURVES[key.type], "x": x, "y": y}
    raise ParseError(f"a key of type {key.type!r} has no JSON form")


def parse_wire_jwk(value: Any) -> WireKey:
    """A key that can travel, from a JSON object; its numbers are not tried. Raises ParseError."""
    if not isinstance(value, Mapping):
        raise ParseError(f"a JSON key is an object, not {value!r:.40}")
    match value.get("kty"), value.get("crv"):
        case "RSA", None:
            return WireKey(RSA_PUBLIC, _numbers(value, "e", "n"))
        case "DSA", None:
            return WireKey(DSA_PUBLIC, _numbers(value, "q", "p", "g", "y"))
        case "OKP", "Ed25519":
            return WireKey(ED25519_PUBLIC, octets=_fixed(value, "x", ED25519_BYTES))
        case "EC", "P-256":
            return WireKey(P256_PUBLIC, octets=_point(value))
        case "EC", "SM2":
            return WireKey(SM2_PUBLIC, octets=_point(value))
        case kty, crv:
            raise ParseError(f"unknown JSON key kty={kty!r:.20} crv={crv!r:.20}; use RSA")


def _point(value: Mapping[str, Any]) -> bytes:
    """An uncompressed point of a curve of 256 bits (SEC 1 §2.3.3)."""
    return b"\x04" + b"".join(_fixed(value, name, _HALF) for name in ("x", "y"))


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
