"""Sessions: the agreed key, encrypted messages and counters (RFC 3652 §3.8; do-irp 9).

AES in CBC is what is spoken. DES, DESede and the ECB of versions below 2.4 only where the policy
names them. The groups are checked in protocol.dh, the MAC in protocol.credential; timeouts and
session ids are left to the server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.padding import PKCS7

from protocol.credential import Credential, verify_mac
from protocol.doirp.authentication import decode_challenge_response
from protocol.doirp.envelope import Envelope, Version
from protocol.doirp.header import OpCode
from protocol.doirp.message import Message, decode_message_part, encode_message_part
from protocol.doirp.session import join_server_key, split_server_key
from protocol.errors import (
    ParseError,
    SessionFailed,
    SessionMessageRejected,
    SignatureInvalid,
)
from protocol.keys.policy import STRICT, Policy, Weak
from protocol.wire import Reader, Writer

KEPT_COUNTERS = 200
CBC_SINCE: Version = (2, 4)
_NOT_DECRYPTED = "the message does not decrypt under this session's key"


class CipherCode(IntEnum):
    """Cipher codes of the wire."""

    DES = 1
    DESEDE = 2
    AES = 3


_KEY_BYTES = {CipherCode.DES: 8, CipherCode.DESEDE: 24, CipherCode.AES: 32}
_AES_KEY_BYTES = 16
_BLOCK_BYTES = {CipherCode.DES: 8, CipherCode.DESEDE: 8, CipherCode.AES: 16}
_WEAK = {CipherCode.DES: Weak.CIPHER_DES, CipherCode.DESEDE: Weak.CIPHER_DESEDE}


@dataclass(frozen=True, slots=True, repr=False)
class SessionKey:
    """A session's key. octets: the whole key, which is the MAC key. Its repr shows nothing."""

    cipher: CipherCode
    octets: bytes

    def __post_init__(self) -> None:
        sizes = {_KEY_BYTES[self.cipher]}
        if self.cipher is CipherCode.AES:
            sizes.add(_AES_KEY_BYTES)  # RSA modes carry 16 octets
        if len(self.octets) not in sizes:
            raise SessionFailed(f"{len(self.octets)} octets are no {self.cipher.name} session key")

    def __repr__(self) -> str:
        return f"SessionKey({self.cipher.name})"

    @property
    def cipher_key(self) -> bytes:
        """What the cipher gets: of an AES session key only the first 16 octets."""
        return self.octets[:_AES_KEY_BYTES] if self.cipher is CipherCode.AES else self.octets

    @property
    def iv_bytes(self) -> int:
        """How many fresh random octets each encrypted message needs."""
        return _BLOCK_BYTES[self.cipher]

    @property
    def weak(self) -> Weak | None:
        """The weak method its cipher is, if it is one."""
        return _WEAK.get(self.cipher)


def derive_session_key(shared: bytes, cipher: CipherCode = CipherCode.AES) -> SessionKey:
    """The session key from a Diffie-Hellman secret.

    shared: as long as p (see protocol.dh.agree). AES: 32 octets after the leading zeros that can
    be spared; DES and DESede: the first octets with odd parity. Raises SessionFailed when the
    secret is shorter than the key.
    """
    size = _KEY_BYTES[cipher]
    if cipher is not CipherCode.AES:
        return SessionKey(cipher, bytes(map(_odd_parity, shared[:size])))
    start = 0
    while len(shared) - start > size and shared[start] == 0:
        start += 1
    return SessionKey(cipher, shared[start : start + size])


def encode_agreed_key(key: SessionKey) -> bytes:
    """u4 cipher code and the key: the plaintext of RSA key transport."""
    return Writer().u4(key.cipher).raw(key.octets).finish()


def decode_agreed_key(data: bytes) -> SessionKey:
    """The inverse of encode_agreed_key. Raises ParseError."""
    reader = Reader(data)
    number = reader.u4()
    try:
        return SessionKey(CipherCode(number), bytes(reader.take(reader.left)))
    except (ValueError, SessionFailed):
        raise ParseError(f"cipher code {number} with {len(data) - 4} octets is no key") from None


def decode_exchange_data(data: bytes, version: Version) -> tuple[CipherCode, bytes]:
    """The data of a session set-up reply: cipher code and DH public key (still encoded).

    Below 2.4 there is no code and DES is meant. Raises ParseError.
    """
    number, dh_key = split_server_key(data, version)
    try:
        return CipherCode.DES if number is None else CipherCode(number), dh_key
    except ValueError:
        raise ParseError(f"cipher code {number} is unknown; AES is 3") from None


def encode_exchange_data(cipher: CipherCode, dh_key: bytes, version: Version) -> bytes:
    """The inverse of decode_exchange_data."""
    return join_server_key(cipher, dh_key, version)


def encrypt_part(
    part: bytes, key: SessionKey, version: Version, *, iv: bytes, policy: Policy = STRICT
) -> bytes:
    """IV and ciphertext of a message part (header, body, credential).

    iv: key.iv_bytes fresh random octets; unused below 2.4. Raises SignatureInvalid when the policy
    does not accept the method, SessionFailed when the IV does not fit.
    """
    cipher = _cipher(key, version, iv, policy)
    padder = PKCS7(key.iv_bytes * 8).padder()
    padded = padder.update(part) + padder.finalize()
    encryptor = cipher.encryptor()
    sent_iv = iv if version >= CBC_SINCE else b""
    return sent_iv + encryptor.update(padded) + encryptor.finalize()


def decrypt_part(
    data: bytes, key: SessionKey, version: Version, *, policy: Policy = STRICT
) -> bytes:
    """The message part. Raises SessionFailed with one text whatever was wrong (no oracle)."""
    size = key.iv_bytes if version >= CBC_SINCE else 0
    iv, ciphertext = data[:size], data[size:]
    if len(iv) != size or not ciphertext or len(ciphertext) % key.iv_bytes:
        raise SessionFailed(_NOT_DECRYPTED)
    decryptor = _cipher(key, version, iv, policy).decryptor()
    unpadder = PKCS7(key.iv_bytes * 8).unpadder()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise SessionFailed(_NOT_DECRYPTED) from None


def encrypt_message(
    message: Message, key: SessionKey, *, iv: bytes, policy: Policy = STRICT
) -> tuple[Envelope, bytes]:
    """The envelope (EC set, length of the ciphertext) and IV + ciphertext. Sign first."""
    version = message.envelope.version
    data = encrypt_part(encode_message_part(message), key, version, iv=iv, policy=policy)
    return replace(message.envelope, encrypted=True, length=len(data)), data


def decrypt_message(
    envelope: Envelope, data: bytes, key: SessionKey, *, policy: Policy = STRICT
) -> Message:
    """The message, its MAC not checked. Raises SessionFailed with one text."""
    part = decrypt_part(data, key, envelope.version, policy=policy)
    try:
        return decode_message_part(envelope, part)
    except ParseError:
        raise SessionFailed(_NOT_DECRYPTED) from None


def open_message(
    envelope: Envelope, data: bytes, key: SessionKey, *, policy: Policy = STRICT
) -> tuple[Message, Credential | None]:
    """Decrypt a message and check its MAC: what a server does with an encrypted request.

    The answer to a challenge may come without MAC, as deployed clients send it: it proves itself.
    Raises SessionFailed with one text for bad padding, unreadable content and a wrong MAC, so that
    a sender learns nothing from trying (CBC does not authenticate).
    """
    message = decrypt_message(envelope, data, key, policy=policy)
    try:
        if not message.credential and message.header.opcode == OpCode.CHALLENGE_RESPONSE:
            decode_challenge_response(message.body)  # what does not parse is no such answer
            return message, None
        return message, verify_mac(message, key.octets, policy)
    except (ParseError, SignatureInvalid):
        raise SessionFailed(_NOT_DECRYPTED) from None


def decrypt_transported_key(ciphertext: bytes, key: RSAPrivateKey) -> bytes:
    """The octets of an RSA-transported session key (PKCS#1 v1.5), for reading old material.

    Never offered to peers (do-irp 21). Raises ParseError.
    """
    try:
        return key.decrypt(ciphertext, PKCS1v15())
    except ValueError:
        raise ParseError("the transported key does not decrypt under this RSA key") from None


class ReplayWindow:
    """Session counters seen: each is taken once, and none below the oldest kept.

    Owned by the one task that serves the session.
    """

    __slots__ = ("_kept", "_size")

    def __init__(self, size: int = KEPT_COUNTERS) -> None:
        self._size = size
        self._kept: set[int] = set()

    def take(self, counter: int) -> None:
        """Raise SessionMessageRejected unless the counter is new. Call after the MAC holds."""
        if counter <= 0 or counter in self._kept:
            raise SessionMessageRejected(f"session counter {counter} was used before")
        if len(self._kept) >= self._size:
            oldest = min(self._kept)
            if counter < oldest:
                raise SessionMessageRejected(f"session counter {counter} is too old")
            self._kept.discard(oldest)
        self._kept.add(counter)


def _cipher(
    key: SessionKey, version: Version, iv: bytes, policy: Policy
) -> Cipher[CBC] | Cipher[ECB]:
    if key.weak:
        policy.allow(key.weak)
    algorithm: BlockCipherAlgorithm
    if key.cipher is CipherCode.AES:
        algorithm = AES(key.cipher_key)
    else:
        # DES is DESede with one key three times.
        algorithm = TripleDES(key.octets * (3 if key.cipher is CipherCode.DES else 1))
    if version < CBC_SINCE:
        policy.allow(Weak.CIPHER_ECB)
        return Cipher(algorithm, ECB())  # noqa: S305 - what those versions speak
    if len(iv) != key.iv_bytes:
        raise SessionFailed(f"an IV of {len(iv)} octets; {key.cipher.name} needs {key.iv_bytes}")
    return Cipher(algorithm, CBC(iv))


def _odd_parity(octet: int) -> int:
    return octet & 0xFE | (1 - (octet >> 1).bit_count() % 2)
