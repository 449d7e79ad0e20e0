"""Private-key files of Handle software (do-irp 13.4), both directions.

u4 method, then: 1 plain; 4 AES, 3 DESede (CBC, key by PBKDF2-HMAC-SHA1). Methods 0 and 2 are DES
and refused. Reading and writing the file itself is left to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import pbkdf2_hmac

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from protocol.errors import ParseError
from protocol.keys.numbers import MAX_KEY_BYTES, read_private_key
from protocol.wire import Reader, Writer

MAX_ITERATIONS = 10_000_000
MAX_SALT_BYTES = 1_024
DEFAULT_ITERATIONS = 10_000
"""What Handle software writes; more is read by it as well."""


class Method(IntEnum):
    """How the key lies in the file."""

    PLAIN = 1
    DESEDE = 3
    AES = 4


_KEY_BITS = {Method.DESEDE: (192,), Method.AES: (128, 192, 256)}
_BLOCK_BYTES = {Method.DESEDE: 8, Method.AES: 16}


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private-key file. content: the key's octets (PLAIN) or the ciphertext."""

    method: Method
    content: bytes
    salt: bytes = b""
    iterations: int = 0
    key_bits: int = 0
    iv: bytes = b""

    @property
    def encrypted(self) -> bool:
        return self.method is not Method.PLAIN


def wide_password(secret: bytes) -> bytes:
    """What PBKDF2 gets: the octets read as Latin-1 and written as UTF-8 (do-irp 8.2).

    A quirk of the deployed software, needed for interworking; ASCII stays as it is.
    """
    return secret.decode("latin-1").encode()


def derive_key(passphrase: bytes, salt: bytes, iterations: int, key_bits: int) -> bytes:
    """PBKDF2-HMAC-SHA1 over the widened passphrase; key_bits is a multiple of 8."""
    return pbkdf2_hmac("sha1", wide_password(passphrase), salt, iterations, key_bits // 8)


def decode_key_file(data: bytes) -> KeyFile:
    """The parts of a file, nothing decrypted. Raises ParseError."""
    if len(data) > 4 * MAX_KEY_BYTES:
        raise ParseError(f"a private-key file of {len(data)} octets is none")
    reader = Reader(data)
    number = reader.u4()
    try:
        method = Method(number)
    except ValueError:
        raise ParseError(
            f"private-key file of method {number}; only 1, 3 and 4 are read: "
            "open it with the software that wrote it and save it with AES"
        ) from None
    if method is Method.PLAIN:
        return KeyFile(method, bytes(reader.take(reader.left)))
    file = KeyFile(
        method,
        salt=reader.octets(limit=MAX_SALT_BYTES),
        iterations=reader.u4(),
        key_bits=reader.u4(),
        iv=reader.octets(limit=64),
        content=reader.octets(limit=2 * MAX_KEY_BYTES),
    )
    reader.finish()
    _check(file)
    return file


def encode_key_file(file: KeyFile) -> bytes:
    """The inverse of decode_key_file."""
    out = Writer().u4(file.method)
    if not file.encrypted:
        return out.raw(file.content).finish()
    out.octets(file.salt).u4(file.iterations).u4(file.key_bits)
    return out.octets(file.iv).octets(file.content).finish()


def open_key_file(data: bytes, passphrase: bytes | None = None) -> bytes:
    """The octets of the private key in a file (see protocol.keys.decode_private_key).

    passphrase: UTF-8 octets; None or empty for a plain file. Raises ParseError, with one text for
    a wrong passphrase and for damaged content.
    """
    file = decode_key_file(data)
    if not file.encrypted:
        return file.content
    if not passphrase:
        raise ParseError("the private-key file is encrypted; give its passphrase")
    decryptor = _cipher(file, passphrase).decryptor()
    unpadder = PKCS7(_BLOCK_BYTES[file.method] * 8).unpadder()
    try:
        padded = decryptor.update(file.content) + decryptor.finalize()
        octets = unpadder.update(padded) + unpadder.finalize()
        read_private_key(octets)  # one wrong passphrase in 256 leaves a padding that fits
        return octets
    except (ValueError, ParseError):
        raise ParseError("the private-key file does not decrypt; check the passphrase") from None


def seal_key_file(
    private_key: bytes,
    passphrase: bytes | None,
    *,
    salt: bytes = b"",
    iv: bytes = b"",
    iterations: int = DEFAULT_ITERATIONS,
    key_bits: int = 256,
    method: Method = Method.AES,
) -> bytes:
    """A private-key file around the octets of a private key.

    salt and iv: fresh random octets (16 each; iv 8 with DESede), or nothing for a plain file.
    Raises ParseError when they do not fit the method.
    """
    if not passphrase:
        return encode_key_file(KeyFile(Method.PLAIN, private_key))
    empty = KeyFile(method, b"", salt, iterations, key_bits, iv)
    padder = PKCS7(_BLOCK_BYTES.get(method, 1) * 8).padder()
    padded = padder.update(private_key) + padder.finalize()
    _check(empty, len(padded))
    encryptor = _cipher(empty, passphrase).encryptor()
    content = encryptor.update(padded) + encryptor.finalize()
    return encode_key_file(KeyFile(method, content, salt, iterations, key_bits, iv))


def _check(file: KeyFile, content_bytes: int | None = None) -> None:
    if not 1 <= file.iterations <= MAX_ITERATIONS:
        raise ParseError(f"{file.iterations} PBKDF2 iterations; 1 … {MAX_ITERATIONS} are read")
    if file.key_bits not in _KEY_BITS.get(file.method, ()):
        raise ParseError(f"a key of {file.key_bits} bits does not fit {file.method.name}")
    block = _BLOCK_BYTES[file.method]
    size = len(file.content) if content_bytes is None else content_bytes
    if len(file.iv) != block or size % block or not size or not file.salt:
        raise ParseError(f"salt, IV or ciphertext do not fit {file.method.name}")


def _cipher(file: KeyFile, passphrase: bytes) -> Cipher[CBC]:
    key = derive_key(passphrase, file.salt, file.iterations, file.key_bits)
    algorithm = AES(key) if file.method is Method.AES else TripleDES(key)
    return Cipher(algorithm, CBC(file.iv))
