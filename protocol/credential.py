"""Credentials: the last part of a message, its signature or MAC (RFC 3652 §2.2.4; do-irp 6.2, 6.3).

Signs and verifies whole messages. The layouts of versions 2.5 (MAC) and 2.6 are defective in the
deployed software: they are never written and verify only where the policy names them. Which key a
peer has, and whether a counter is fresh, is left to the caller (see protocol.session).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from hmac import compare_digest
from hmac import digest as hmac_digest

from protocol.doirp.envelope import Version
from protocol.doirp.message import Message, with_credential
from protocol.errors import ParseError, SignatureInvalid
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.policy import STRICT, Policy, Weak
from protocol.keys.signing import (
    MAX_SIGNATURE_BYTES,
    SHA_1,
    SHA_256,
    digest_for,
    sign_octets,
    verify_octets,
)
from protocol.wire import Reader, Writer

HS_SIGNED = b"HS_SIGNED"
HS_MAC = b"HS_MAC"
_OLD_SIGNED = b"HS_DSAPUBKEY"
HMAC_SHA256 = b"HMAC-SHA256"
_SANDWICH_SHA1 = b"\x02"
_DIGEST_CODES = {b"\x02": SHA_1, b"\x03": SHA_256}
"""A digest field of one octet is a code."""

_V2_5: Version = (2, 5)
_V2_6: Version = (2, 6)
_V2_7: Version = (2, 7)
_V2_8: Version = (2, 8)
_OVERWRITTEN_BYTES = 14
"""Version, session id, request id and counter, had each its own place."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential.

    type: HS_SIGNED or HS_MAC. algorithm: its digest field as written. counter: the session counter
    (0 outside sessions). signer, version, reserved, options: empty and 0 in deployed software.
    """

    type: bytes
    algorithm: bytes
    signature: bytes
    counter: int = 0
    signer: bytes = b""
    version: int = 0
    reserved: int = 0
    options: int = 0


def decode_credential(data: bytes) -> Credential:
    """Read what Message.credential holds. Raises ParseError; other types than the two as well."""
    reader = Reader(data)
    version, reserved, options = reader.u1(), reader.u1(), reader.u2()
    signer, counter, type_ = reader.octets(limit=4_096), reader.u4(), reader.octets(limit=64)
    if reader.u4() != reader.left:
        raise ParseError("a credential whose inner length is not what follows")
    algorithm, signature = reader.octets(limit=64), reader.octets(limit=MAX_SIGNATURE_BYTES)
    reader.finish()
    if type_ not in {HS_SIGNED, HS_MAC, _OLD_SIGNED}:
        raise ParseError(f"credential type {type_!r}; HS_SIGNED or HS_MAC is wanted")
    return Credential(type_, algorithm, signature, counter, signer, version, reserved, options)


def encode_credential(credential: Credential) -> bytes:
    """The inverse of decode_credential."""
    info = Writer().octets(credential.algorithm).octets(credential.signature).finish()
    out = Writer().u1(credential.version).u1(credential.reserved).u2(credential.options)
    out.octets(credential.signer).u4(credential.counter).octets(credential.type)
    return out.octets(info).finish()


def covered_octets(message: Message, type_: bytes, counter: int) -> bytes:
    """What a credential of that type over this message is computed from.

    From 2.7 on the envelope's fields and the counter come first. A defective MAC (2.5, 2.6) has
    its key among the octets: see defective_mac.
    """
    envelope, version = message.envelope, message.envelope.version
    if version == _V2_6 and type_ != HS_MAC:
        return _overwritten(message, counter) + message.covered()
    if version < _V2_7:
        return message.covered()
    out = Writer().u1(envelope.major).u1(envelope.minor)
    if version >= _V2_8:
        major, minor = envelope.suggestion
        out.u1(major).u1(minor)
    out.u4(envelope.session_id).u4(envelope.request_id).u4(counter)
    return out.raw(message.covered()).finish()


def is_defective(version: Version, type_: bytes) -> bool:
    """Whether deployed software computes a credential of that version over the wrong octets."""
    return version == _V2_6 or (version == _V2_5 and type_ == HS_MAC)


def defective_mac(message: Message, session_key: bytes, counter: int) -> bytes:
    """The MAC of versions 2.5 and 2.6 (do-irp 6.3): integers, message and key over each other.

    The key stands in front, then version and session id; all that should follow them is written
    from offset 4 on instead: the counter, over it header and body, and the key once more.
    """
    covered, size = message.covered(), len(session_key)
    buffer = bytearray(2 * size + len(covered) + _OVERWRITTEN_BYTES)
    buffer[:size] = session_key
    buffer[size : size + 6] = _version_and_session(message)
    buffer[4:8] = counter.to_bytes(4, "big")
    buffer[4 : 4 + len(covered)] = covered
    buffer[4 + len(covered) : 4 + len(covered) + size] = session_key
    return sha1(buffer, usedforsecurity=False).digest()


def _overwritten(message: Message, counter: int) -> bytes:
    """The octets before header and body in a 2.6 signature: the counter lies over the session id,
    and over the request id, of which nothing is left.
    """
    head = bytearray(_OVERWRITTEN_BYTES)
    head[:6] = _version_and_session(message)
    head[4:8] = counter.to_bytes(4, "big")
    return bytes(head)


def _version_and_session(message: Message) -> bytes:
    envelope = message.envelope
    return bytes(envelope.version) + (envelope.session_id & 0xFFFFFFFF).to_bytes(4, "big")


def sign_message(message: Message, key: PrivateKey, *, counter: int = 0) -> Message:
    """The message with an HS_SIGNED credential of a server key."""
    _refuse_defective(message, HS_SIGNED)
    digest = digest_for(key, message.envelope.version)
    signature = sign_octets(key, covered_octets(message, HS_SIGNED, counter), digest)
    return _with(message, Credential(HS_SIGNED, digest, signature, counter))


def mac_message(message: Message, session_key: bytes, *, counter: int) -> Message:
    """The message with an HS_MAC credential: how requests in a session are sent.

    session_key: the whole key. counter: from 1, never twice in a session.
    """
    _refuse_defective(message, HS_MAC)
    covered = covered_octets(message, HS_MAC, counter)
    old = message.envelope.version < _V2_7
    algorithm = _SANDWICH_SHA1 if old else HMAC_SHA256
    mac = session_mac(session_key, covered, sandwich=old)
    return _with(message, Credential(HS_MAC, algorithm, mac, counter))


def verify_signed(message: Message, key: PublicKey, policy: Policy = STRICT) -> Credential:
    """The credential, when the key signed this message; else raises.

    Raises SignatureInvalid (or ParseError); a missing credential is invalid.
    """
    credential = _present(message)
    if credential.type == HS_MAC:
        raise SignatureInvalid("the message has a MAC where a signature is wanted")
    if is_defective(message.envelope.version, HS_SIGNED):
        policy.allow(Weak.DEFECTIVE_LAYOUT)
    covered = covered_octets(message, HS_SIGNED, credential.counter)
    digest = _DIGEST_CODES.get(credential.algorithm, credential.algorithm)
    verify_octets(key, credential.signature, covered, digest, policy)
    return credential


def verify_mac(message: Message, session_key: bytes, policy: Policy = STRICT) -> Credential:
    """The credential, when its MAC was made with the session key; else raises.

    Raises SignatureInvalid (or ParseError). The counter is not checked: see ReplayWindow.
    """
    credential = _present(message)
    if credential.type != HS_MAC:
        raise SignatureInvalid("the message has a signature where a MAC is wanted")
    expected = _expected_mac(message, session_key, credential, policy)
    if not compare_digest(expected, credential.signature):
        raise SignatureInvalid("the MAC does not hold; the message or the session key is another")
    return credential


def _expected_mac(
    message: Message, session_key: bytes, credential: Credential, policy: Policy
) -> bytes:
    if is_defective(message.envelope.version, HS_MAC):
        policy.allow(Weak.DEFECTIVE_LAYOUT)
        if credential.algorithm != _SANDWICH_SHA1 and _plain(credential.algorithm) != b"SHA1":
            raise SignatureInvalid(f"MAC algorithm {credential.algorithm!r:.40}; SHA1 is wanted")
        return defective_mac(message, session_key, credential.counter)
    sandwich = credential.algorithm == _SANDWICH_SHA1
    if sandwich:
        policy.allow(Weak.SANDWICH_SHA1)
    elif _plain(credential.algorithm) != _plain(HMAC_SHA256):
        raise SignatureInvalid(f"MAC algorithm {credential.algorithm!r:.40}; HMAC-SHA256 is wanted")
    covered = covered_octets(message, HS_MAC, credential.counter)
    return session_mac(session_key, covered, sandwich=sandwich)


def _refuse_defective(message: Message, type_: bytes) -> None:
    major, minor = message.envelope.version
    if is_defective((major, minor), type_):
        raise ParseError(
            f"credentials of version {major}.{minor} are defective; speak 2.7 or later"
        )


def session_mac(session_key: bytes, covered: bytes, *, sandwich: bool = False) -> bytes:
    """HMAC-SHA256, or SHA-1(key, input, key) as versions up to 2.4 have it."""
    if sandwich:
        joined = session_key + covered + session_key
        return sha1(joined, usedforsecurity=False).digest()
    return hmac_digest(session_key, covered, "sha256")


def _present(message: Message) -> Credential:
    if not message.credential:
        raise SignatureInvalid("the message has no credential; ask for a certified reply")
    return decode_credential(message.credential)


def _with(message: Message, credential: Credential) -> Message:
    return with_credential(message, encode_credential(credential))


def _plain(name: bytes) -> bytes:
    return bytes(octet for octet in name.upper() if chr(octet).isalnum())
