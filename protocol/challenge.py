"""Challenge answers: proving a key or a secret (RFC 3652 §3.5.2; do-irp 8.2).

The covered octets are always nonce, then request digest. Making an answer takes its salt from the
caller; checking one compares in constant time and refuses what the policy does not name.
Whose key or secret it is, and how long a challenge lives, is left to the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import md5, new, pbkdf2_hmac, sha1
from hmac import compare_digest
from hmac import digest as hmac_digest

from protocol.errors import ParseError, SignatureInvalid
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.files import wide_password
from protocol.keys.policy import STRICT, Policy, Weak
from protocol.keys.signing import (
    MAX_SIGNATURE_BYTES,
    digest_for,
    sign_octets,
    verify_octets,
)
from protocol.wire import Reader, Writer

HS_PUBKEY = b"HS_PUBKEY"
HS_SECKEY = b"HS_SECKEY"
NONCE_BYTES = 16
DEFAULT_ITERATIONS = 10_000
SALT_BYTES = 16
_MAC_KEY_BITS = 160
MAX_ANSWER_BYTES = 4_096
_PBKDF2_SINCE = (2, 7)
_CODED_SINCE = (2, 1)


class MacCode(IntEnum):
    """First octet of a secret-key answer."""

    MD5 = 0x01
    SHA1 = 0x02
    SHA256 = 0x03
    HMAC_SHA1 = 0x12
    HMAC_SHA256 = 0x13
    PBKDF2_HMAC_SHA1 = 0x22


_SANDWICHES = {
    MacCode.MD5: ("md5", Weak.SANDWICH_MD5),
    MacCode.SHA1: ("sha1", Weak.SANDWICH_SHA1),
    MacCode.SHA256: ("sha256", Weak.SANDWICH_SHA256),
}
_HMACS = {MacCode.HMAC_SHA1: "sha1", MacCode.HMAC_SHA256: "sha256"}


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """The signed response of HS_PUBKEY: str digest algorithm, bytes signature."""

    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SecretAnswer:
    """The signed response of HS_SECKEY.

    code: None for the 2.0 form (MD5 without an octet in front). The last three fields belong to
    PBKDF2.
    """

    code: MacCode | None
    mac: bytes
    salt: bytes = b""
    iterations: int = 0
    key_bits: int = 0

    @property
    def weak(self) -> Weak | None:
        """The weak method it uses, if it does."""
        if self.code is None:
            return Weak.SANDWICH_MD5
        return _SANDWICHES[self.code][1] if self.code in _SANDWICHES else None


def decode_key_answer(data: bytes) -> KeyAnswer:
    """Read an HS_PUBKEY answer. Raises ParseError."""
    reader = Reader(data)
    answer = KeyAnswer(reader.octets(limit=32), reader.octets(limit=MAX_SIGNATURE_BYTES))
    reader.finish()
    return answer


def encode_key_answer(answer: KeyAnswer) -> bytes:
    """The octets of an HS_PUBKEY answer."""
    return Writer().octets(answer.digest).octets(answer.signature).finish()


def decode_secret_answer(data: bytes, version: tuple[int, int]) -> SecretAnswer:
    """Read an HS_SECKEY answer.

    version: of the challenge; 2.0 has no algorithm octet. Raises ParseError.
    """
    if len(data) > MAX_ANSWER_BYTES:
        raise ParseError(f"an answer of {len(data)} octets is none")
    if version < _CODED_SINCE and len(data) == md5(usedforsecurity=False).digest_size:
        return SecretAnswer(None, data)
    reader = Reader(data)
    number = reader.u1()
    try:
        code = MacCode(number)
    except ValueError:
        raise ParseError(f"unknown MAC algorithm {number:#04x}; use PBKDF2 (0x22)") from None
    if code is not MacCode.PBKDF2_HMAC_SHA1:
        return SecretAnswer(code, bytes(reader.take(reader.left)))
    salt = reader.octets(limit=1_024)
    iterations, key_bits = reader.u4(), reader.u4()
    answer = SecretAnswer(code, reader.octets(limit=64), salt, iterations, key_bits)
    reader.finish()
    return answer


def encode_secret_answer(answer: SecretAnswer) -> bytes:
    """The octets of an HS_SECKEY answer."""
    if answer.code is None:
        return answer.mac
    out = Writer().u1(answer.code)
    if answer.code is not MacCode.PBKDF2_HMAC_SHA1:
        return out.raw(answer.mac).finish()
    out.octets(answer.salt).u4(answer.iterations).u4(answer.key_bits)
    return out.octets(answer.mac).finish()


def answer_with_key(
    key: PrivateKey, nonce: bytes, request_digest: bytes, version: tuple[int, int]
) -> bytes:
    """The HS_PUBKEY answer to a challenge of that message version."""
    digest = digest_for(key, version)
    signature = sign_octets(key, nonce + request_digest, digest)
    return encode_key_answer(KeyAnswer(digest, signature))


def answer_with_secret(
    secret: bytes,
    nonce: bytes,
    request_digest: bytes,
    version: tuple[int, int],
    *,
    salt: bytes,
    iterations: int = DEFAULT_ITERATIONS,
    code: MacCode | None = None,
) -> bytes:
    """The HS_SECKEY answer to a challenge.

    version: the lower of the challenge's version and suggestion. salt: SALT_BYTES fresh random
    octets (unused below 2.7). code: another algorithm than the version's own.
    """
    if code is None and version >= _CODED_SINCE:
        code = MacCode.PBKDF2_HMAC_SHA1 if version >= _PBKDF2_SINCE else MacCode.SHA1
    answer = SecretAnswer(code, b"")
    if code is MacCode.PBKDF2_HMAC_SHA1:
        answer = SecretAnswer(code, b"", salt, iterations, _MAC_KEY_BITS)
    mac = secret_mac(secret, nonce + request_digest, answer)
    return encode_secret_answer(
        SecretAnswer(code, mac, answer.salt, answer.iterations, answer.key_bits)
    )


def secret_mac(secret: bytes, covered: bytes, answer: SecretAnswer) -> bytes:
    """The MAC that `answer` should hold, by its code and parameters.

    Only PBKDF2 widens the secret (see wide_password); HMAC and the sandwich use its octets.
    Does the work that the answer asks for: check the policy first.
    """
    code = answer.code
    if code is MacCode.PBKDF2_HMAC_SHA1:
        return hmac_digest(pbkdf2_key(secret, answer), covered, "sha1")
    if code in _HMACS:
        return hmac_digest(secret, covered, _HMACS[code])
    name = "md5" if code is None else _SANDWICHES[code][0]
    return new(name, secret + covered + secret, usedforsecurity=False).digest()


def pbkdf2_key(secret: bytes, answer: SecretAnswer) -> bytes:
    """The HMAC key of a PBKDF2 answer."""
    password, size = wide_password(secret), answer.key_bits // 8
    if size < 1 or answer.iterations < 1:
        raise ParseError(
            f"PBKDF2 with {answer.iterations} iterations and {answer.key_bits} bits makes no key"
        )
    return pbkdf2_hmac("sha1", password, answer.salt, answer.iterations, size)


def verify_key_answer(
    data: bytes, key: PublicKey, nonce: bytes, request_digest: bytes, policy: Policy = STRICT
) -> None:
    """Raise SignatureInvalid (or ParseError) unless the key answered this challenge."""
    answer = decode_key_answer(data)
    verify_octets(key, answer.signature, nonce + request_digest, answer.digest, policy)


def verify_secret_answer(
    data: bytes,
    secret: bytes,
    nonce: bytes,
    request_digest: bytes,
    *,
    version: tuple[int, int],
    policy: Policy = STRICT,
) -> None:
    """Raise SignatureInvalid (or ParseError) unless the secret answered this challenge.

    The work asked for is bounded by the policy before any of it is done.
    """
    answer = accepted_secret_answer(data, version, policy)
    if not compare_digest(secret_mac(secret, nonce + request_digest, answer), answer.mac):
        raise SignatureInvalid("the secret key is another one, or the challenge is")


def accepted_secret_answer(
    data: bytes, version: tuple[int, int], policy: Policy = STRICT
) -> SecretAnswer:
    """An answer of a kind that the policy takes, whoever will check it.

    Raises ParseError or SignatureInvalid.
    """
    answer = decode_secret_answer(data, version)
    if answer.weak:
        policy.allow(answer.weak)
    if answer.code is MacCode.PBKDF2_HMAC_SHA1:
        _check_bounds(answer, policy)
    return answer


def hashed_secret(password: bytes) -> bytes:
    """A secret as an HS_SECKEY value may hold it: lower-case hex text of SHA-1(password).

    Both sides then use this text as the secret.
    """
    return sha1(password, usedforsecurity=False).hexdigest().encode()


def _check_bounds(answer: SecretAnswer, policy: Policy) -> None:
    low, high = policy.min_pbkdf2_iterations, policy.max_pbkdf2_iterations
    if not low <= answer.iterations <= high:
        raise SignatureInvalid(f"{answer.iterations} PBKDF2 iterations; {low} … {high} are taken")
    low, high = policy.min_salt_bytes, policy.max_salt_bytes
    if not low <= len(answer.salt) <= high:
        raise SignatureInvalid(f"a salt of {len(answer.salt)} octets; {low} … {high} are taken")
    if answer.key_bits not in {128, 160, 192, 256}:
        raise SignatureInvalid(f"a PBKDF2 key of {answer.key_bits} bits; 160 are usual")
