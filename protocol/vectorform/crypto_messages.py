"""Vector forms of protected messages: signed_message, session_mac, encrypted_message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from protocol.credential import (
    HS_MAC,
    HS_SIGNED,
    Credential,
    covered_octets,
    decode_credential,
    defective_mac,
    is_defective,
    session_mac,
    verify_mac,
    verify_signed,
)
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope, encode_envelope
from protocol.doirp.message import Message, decode_message
from protocol.errors import ParseError
from protocol.jsonfields import Fields
from protocol.keys import PublicKey
from protocol.keys.policy import EVERYTHING
from protocol.session import (
    CBC_SINCE,
    CipherCode,
    SessionKey,
    decrypt_part,
    encrypt_part,
)
from protocol.vectorform.crypto_fields import (
    claims_without_case,
    demand,
    holds,
    one_bit_apart,
    public_key_of,
    says_one_bit,
    trying,
)
from protocol.vectorform.form import Form, Shape, VectorMismatch, compare, hex_of, same_text_fields
from protocol.vectorform.messages import (
    encode_like,
    encode_shape,
    envelope_of,
    envelope_shape,
    message_shape,
)

_KEY_BYTES = (8, 16, 24, 32)
_CHANGED = ("body byte changed", "op-flag bit changed", "request id changed")
"""Reasons after which the signature is still one of the given key, over other octets."""


def _message_claims(claims: Shape, data: bytes, extra: Shape) -> None:
    """Compare a row that shows the message, or only what the key says about it."""
    whole = "envelope" in claims or claims.get("valid") is True
    actual = (message_shape(data) if whole else {}) | extra
    compare(claims, same_text_fields(claims, actual))
    if whole:
        demand("encoding `decoded` does not give `hex`", so=encode_like(claims, data) == data)


def _covered(message: Message, type_: bytes, name: str, claims: Shape) -> Shape:
    """What the credential covers, where the row shows it or should."""
    whole = "envelope" in claims or claims.get("valid") is True
    if not (whole or name in claims):
        return {}
    if is_defective(message.envelope.version, type_) and name not in claims:
        return {}  # a MAC whose key lies among what it covers has no input to show
    counter = decode_credential(message.credential).counter
    return {name: covered_octets(message, type_, counter).hex()}


def _check_signed(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    message, key = decode_message(data), public_key_of(Fields(claims))
    valid = holds(lambda: verify_signed(message, key, EVERYTHING))
    extra = {"public_key_hex": claims["public_key_hex"], "valid": valid}
    extra |= _covered(message, HS_SIGNED, "signed_bytes_hex", claims)
    _message_claims(claims, data, extra)
    reason = str(vector["decoded"].get("reason", ""))
    if not valid and isinstance(key, RSAPublicKey):
        by_key = _made_by(message, key)
        if any(word in reason for word in _CHANGED):
            demand("the signature is not one of public_key_hex", so=by_key)
        elif "another key" in reason:
            demand("the signature is one of public_key_hex", so=not by_key)


def _made_by(message: Message, key: PublicKey) -> bool:
    """Whether an RSA signature was made by the key, over whatever octets."""
    credential = decode_credential(message.credential)
    hash_ = SHA256() if b"256" in credential.algorithm else SHA1()  # noqa: S303 - old rows
    try:
        if isinstance(key, RSAPublicKey):
            key.recover_data_from_signature(credential.signature, PKCS1v15(), hash_)
            return True
    except (InvalidSignature, ValueError):
        pass
    return False


def _check_mac(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields, message = Fields(claims), decode_message(data)
    key = fields.hex("session_key_hex")
    demand(f"a session key of {len(key)} octets is none", so=len(key) in _KEY_BYTES)
    valid = holds(lambda: verify_mac(message, key, EVERYTHING))
    extra: Shape = {"session_key_hex": key.hex(), "valid": valid}
    extra |= _covered(message, HS_MAC, "mac_input_hex", claims)
    _message_claims(claims, data, extra)
    if not valid and says_one_bit(vector):
        credential = decode_credential(message.credential)
        mac = _mac(message, key, credential)
        one = one_bit_apart(mac, credential.signature)
        demand("more or less than one bit of the MAC was changed", so=one)


def _mac(message: Message, key: bytes, credential: Credential) -> bytes:
    if is_defective(message.envelope.version, HS_MAC):
        return defective_mac(message, key, credential.counter)
    covered = covered_octets(message, HS_MAC, credential.counter)
    return session_mac(key, covered, sandwich=credential.algorithm == b"\x02")


def _encode_message(decoded: Shape) -> bytes | None:
    """None for rows that tell the verdict only: no message follows from them."""
    return encode_shape(decoded) if "envelope" in decoded else None


def session_key_of(fields: Fields) -> SessionKey:
    """The key in algorithm_code and session_key_hex. Raises ParseError."""
    code = fields.u4("algorithm_code")
    if code not in set(CipherCode):
        raise ParseError(f"{fields.path('algorithm_code')} is {code}; 1, 2 and 3 are known")
    octets = fields.hex("session_key_hex")
    key: SessionKey = trying(lambda: SessionKey(CipherCode(code), octets), "session_key_hex")
    return key


def _decode_encrypted(data: bytes) -> Shape:
    envelope = decode_envelope(data)
    rest = data[ENVELOPE_SIZE:]
    if not envelope.encrypted or len(rest) != envelope.length:
        raise ParseError("the envelope does not announce these octets as an encrypted message")
    shape: Shape = {"envelope": envelope_shape(envelope)}
    # How long the IV is follows from the session's cipher, which the bytes do not say.
    name = "iv_and_ciphertext_hex" if envelope.version >= CBC_SINCE else "ciphertext_hex"
    return shape | {name: rest.hex()}


def _encode_encrypted(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    envelope = envelope_of(fields.object("envelope"))
    iv = fields.hex("iv_hex") if "iv_hex" in fields else b""
    if "plaintext_hex" in fields and "session_key_hex" in fields:
        key, part = session_key_of(fields), fields.hex("plaintext_hex")
        data: bytes = trying(
            lambda: encrypt_part(part, key, envelope.version, iv=iv, policy=EVERYTHING),
            "encrypting",
        )
    elif "iv_and_ciphertext_hex" in fields:
        data = fields.hex("iv_and_ciphertext_hex")
    else:
        data = iv + fields.hex("ciphertext_hex")
    return encode_envelope(envelope) + data


def _check_encrypted(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    actual = _decode_encrypted(data)
    actual.pop("iv_and_ciphertext_hex", None)
    envelope, key = decode_envelope(data), session_key_of(Fields(claims))
    rest = data[ENVELOPE_SIZE:]
    size = key.iv_bytes if envelope.version >= CBC_SINCE else 0
    version = envelope.version
    plain: bytes = trying(
        lambda: decrypt_part(rest, key, version, policy=EVERYTHING), "decrypting `hex`"
    )
    actual |= {
        "algorithm_code": int(key.cipher),
        "session_key_hex": key.octets.hex(),
        "cipher_key_hex": key.cipher_key.hex(),
        "ciphertext_hex": rest[size:].hex(),
        "plaintext_hex": plain.hex(),
    }
    if size or "iv_hex" in claims:
        actual["iv_hex"] = rest[:size].hex()
    weak = key.weak is not None or version < CBC_SINCE
    if weak or "weak" in claims:
        actual["weak"] = weak
    compare(claims, actual)
    again = _guarded(_encode_encrypted)(claims)
    same = again[ENVELOPE_SIZE:] == rest
    demand("encrypting plaintext_hex does not give `hex`", so=same)


def _guarded(encode: Callable[[Shape], bytes]) -> Callable[[Shape], bytes]:
    """Encoding for callers outside check(): a mismatch inside is a ParseError."""

    def encode_or_raise(decoded: Shape) -> bytes:
        try:
            return encode(decoded)
        except VectorMismatch as error:
            raise ParseError(error.why) from None

    return encode_or_raise


FORMS: dict[str, Form] = {
    "signed_message": Form(message_shape, _encode_message, _check_signed),
    "session_mac": Form(message_shape, _encode_message, _check_mac),
    "encrypted_message": Form(_decode_encrypted, _guarded(_encode_encrypted), _check_encrypted),
}
