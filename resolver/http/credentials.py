"""What a request offers as proof of who sends it: the Authorization header and the certificate.

Reading only; resolver.http.auth decides.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.x509.oid import NameOID

from protocol.challenge import (
    HS_PUBKEY,
    HS_SECKEY,
    KeyAnswer,
    MacCode,
    SecretAnswer,
    encode_key_answer,
    encode_secret_answer,
)
from protocol.errors import ParseError
from protocol.keys import PublicKey
from protocol.keys.signing import ED25519
from protocol.record import Reference

CLAIM_VERSION: Final = (2, 11)
"""The protocol version whose rules the answers follow."""
_MAX_HEADER: Final = 8_192
_MAX_FIELD: Final = 4_096
_field = re.compile(r'[\s,]*([A-Za-z]{1,32})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_escape = re.compile(r"\\(.)")

_MAC_CODES: Final[Mapping[str, MacCode]] = {
    "SHA1": MacCode.SHA1,
    "SHA-1": MacCode.SHA1,
    "SHA256": MacCode.SHA256,
    "SHA-256": MacCode.SHA256,
    "HMAC-SHA1": MacCode.HMAC_SHA1,
    "HMAC-SHA256": MacCode.HMAC_SHA256,
    "PBKDF2-HMAC-SHA1": MacCode.PBKDF2_HMAC_SHA1,
}


@dataclass(frozen=True, slots=True)
class Basic:
    """User name and password. identity: None where the name is none of ours."""

    identity: Reference | None
    password: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """An answer to a challenge."""

    identity: Reference
    key_type: bytes
    cnonce: bytes
    algorithm: str
    signature: bytes
    salt: bytes = b""
    iterations: int = 0
    length: int = 0

    def answer(self) -> bytes:
        """The answer as protocol.challenge verifies it. Raises ParseError."""
        name = self.algorithm.upper()
        if self.key_type == HS_PUBKEY:
            digest = ED25519 if name == "ED25519" else name.encode("ascii", "replace")
            return encode_key_answer(KeyAnswer(digest, self.signature))
        code = _MAC_CODES.get(name)
        if code is None:
            raise ParseError(
                f"unknown alg {self.algorithm[:40]!r}; use one of {', '.join(_MAC_CODES)}"
            )
        return encode_secret_answer(
            SecretAnswer(code, self.signature, self.salt, self.iterations, self.length)
        )


@dataclass(frozen=True, slots=True)
class HandleFields:
    """The fields of `Authorization: Handle …`, or of the JSON body of a session."""

    session_id: str | None = None
    cnonce: bytes | None = None
    client_cert: bool = False
    proof: Proof | None = None
    broken: bool = False
    """A proof was meant and cannot be read."""


def read_basic(value: str) -> Basic:
    """The credentials of a Basic header's value; unreadable ones name nobody."""
    try:
        raw = binascii.a2b_base64(value.strip().encode("ascii", "replace"), strict_mode=True)
    except binascii.Error:
        return Basic(None, b"")
    name, colon, password = raw.partition(b":")
    return Basic(identity_of(unquote_to_bytes(name)) if colon else None, password)


def identity_of(text: bytes) -> Reference | None:
    """`301:0.NA/86.999` as a reference; None without an index, a colon or a handle."""
    digits, colon, handle = text.partition(b":")
    if not colon or not digits.isdigit() or len(digits) > 10 or not handle:
        return None
    index = int(digits)
    return Reference(handle, index) if index <= 0x7FFFFFFF else None


def read_handle_header(value: str) -> HandleFields:
    """The fields of a `Handle` header's value. `id` may be percent-encoded here."""
    fields: dict[str, str] = {}
    at, value = 0, value[:_MAX_HEADER]
    while (found := _field.match(value, at)) is not None:
        name, quoted, plain = found.groups()
        fields.setdefault(name, _escape.sub(r"\1", quoted) if quoted is not None else plain)
        at = found.end()
    if "id" in fields:
        fields["id"] = unquote_to_bytes(fields["id"]).decode("utf-8", "replace")
    return read_handle_fields(fields)


def read_handle_fields(fields: Mapping[str, Any]) -> HandleFields:
    """The same fields from a JSON object or a parsed header."""
    session_id = _text(fields.get("sessionId"))
    client_cert = str(fields.get("clientCert", "")).lower() == "true"
    try:
        cnonce = _octets(fields, "cnonce") if "cnonce" in fields else None
        proof = _proof(fields, cnonce or b"") if "signature" in fields else None
    except ParseError:
        return HandleFields(session_id, None, client_cert, broken=True)
    return HandleFields(session_id, cnonce, client_cert, proof)


def _proof(fields: Mapping[str, Any], cnonce: bytes) -> Proof:
    identity = identity_of((_text(fields.get("id")) or "").encode("utf-8", "replace"))
    key_type = (_text(fields.get("type")) or "").upper().encode("ascii", "replace")
    if identity is None or key_type not in {HS_PUBKEY, HS_SECKEY}:
        raise ParseError("a proof needs id as INDEX:HANDLE and type HS_SECKEY or HS_PUBKEY")
    return Proof(
        identity=identity,
        key_type=key_type,
        cnonce=cnonce,
        algorithm=_text(fields.get("alg")) or "",
        signature=_octets(fields, "signature"),
        salt=_octets(fields, "salt") if "salt" in fields else b"",
        iterations=_number(fields.get("iterations", 0)),
        length=_number(fields.get("length", 0)),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= _MAX_FIELD else None


def _octets(fields: Mapping[str, Any], name: str) -> bytes:
    text = _text(fields.get(name))
    if text is None:
        raise ParseError(f"{name} must be base64")
    try:
        return binascii.a2b_base64(text.encode("ascii", "replace"), strict_mode=True)
    except binascii.Error as error:
        raise ParseError(f"{name} is not base64: {error}") from None


def _number(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ParseError(f"{text[:40]!r} is no number")
    return int(text)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate: who it names and the key it holds."""

    identity: Reference
    key: PublicKey


def read_certificate(der: bytes) -> Certificate | None:
    """The identity in the subject's UID, else CN, and the key; None where there is none.

    Issuer, dates and extensions are not looked at: the certificate carries a key, and the key in
    the identity's record decides.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        subject = certificate.subject
        for name in (NameOID.USER_ID, NameOID.COMMON_NAME):
            for attribute in subject.get_attributes_for_oid(name):
                text = attribute.value
                octets = text.encode() if isinstance(text, str) else text
                identity = identity_of(octets)
                if identity is not None and isinstance(key, PublicKey):
                    return Certificate(identity, key)
    except (ValueError, TypeError):  # not a certificate, or a key of an unknown kind
        return None
    return None
