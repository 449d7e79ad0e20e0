"""SM2 signatures with SM3 (GB/T 32918, GM/T 0003, GM/T 0009), through the system's libcrypto.

The library that `cryptography` brings has no SM2, so OpenSSL 3 is loaded by cffi, without a
compiler. Where there is none, everything but signing, verifying and reading private keys still
works, and those say what is missing: `missing()`.

Signatures are made over Z_A and the message, with the user id of GM/T 0009: 1234567812345678.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from protocol.errors import NotSupported, ParseError

FFI: TypeAlias = Any
"""cffi.FFI, imported when it is first needed."""
USER_ID: Final = b"1234567812345678"
POINT_BYTES: Final = 65
SCALAR_BYTES: Final = 32
LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.3.dylib", "libcrypto-3-x64.dll")

P: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123

SPKI_HEAD: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
"""What stands before the point in a SubjectPublicKeyInfo: id-ecPublicKey, curve sm2p256v1."""
PKCS8_HEAD: Final = bytes.fromhex(
    "3041020100301306072a8648ce3d020106082a811ccf5501822d0427302502010104 20"
)
"""What stands before the scalar in a PKCS#8 key without its public part."""
_PEM_LINE: Final = 64
_MAX_PEM: Final = 65_536

_DECLARATIONS: Final = """
void *BIO_new_mem_buf(const void *buf, int len);
void *BIO_new(const void *type);
const void *BIO_s_mem(void);
int BIO_read(void *b, void *data, int len);
int BIO_free(void *b);
void *PEM_read_bio_PrivateKey(void *b, void **x, void *cb, void *u);
int PEM_write_bio_PKCS8PrivateKey(void *b, void *pkey, const void *cipher, const char *text,
                                  int len, void *cb, void *u);
const void *EVP_aes_256_cbc(void);
void *d2i_AutoPrivateKey(void **a, const unsigned char **pp, long length);
void *d2i_PUBKEY(void **a, const unsigned char **pp, long length);
int i2d_PUBKEY(void *a, unsigned char **pp);
int EVP_PKEY_get_bn_param(const void *pkey, const char *name, void **bn);
int BN_bn2binpad(const void *a, unsigned char *to, int tolen);
void BN_clear_free(void *a);
void *EVP_PKEY_Q_keygen(void *libctx, const char *propq, const char *type, ...);
int EVP_PKEY_is_a(const void *pkey, const char *name);
void EVP_PKEY_free(void *pkey);
void *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(void *ctx);
int EVP_PKEY_CTX_set1_id(void *ctx, const void *id, int len);
int EVP_DigestSignInit_ex(void *ctx, void **pctx, const char *md, void *libctx, const char *propq,
                          void *pkey, const void *params);
int EVP_DigestSign(void *ctx, unsigned char *sig, size_t *siglen, const unsigned char *data,
                   size_t size);
int EVP_DigestVerifyInit_ex(void *ctx, void **pctx, const char *md, void *libctx,
                            const char *propq, void *pkey, const void *params);
int EVP_DigestVerify(void *ctx, const unsigned char *sig, size_t siglen,
                     const unsigned char *data, size_t size);
void ERR_clear_error(void);
void OPENSSL_free(void *p);
"""


def missing() -> str | None:
    """Why SM2 cannot be computed here; None where it can."""
    return _load()[1]


def check_point(octets: bytes) -> bytes:
    """An uncompressed point of the curve, unchanged. Raises ParseError."""
    if len(octets) != POINT_BYTES or octets[0] != 4:
        raise ParseError(f"an SM2 key is 04 and two numbers of 32 octets, not {len(octets)} octets")
    x, y = int.from_bytes(octets[1:33]), int.from_bytes(octets[33:])
    if x >= P or y >= P or (y * y - (x * x * x - 3 * x + B)) % P:
        raise ParseError("the numbers of this SM2 key are no point of the curve")
    return octets


@dataclass(frozen=True, slots=True)
class Sm2PublicKey:
    """A key that verifies. point: 04 and both coordinates, 65 octets."""

    point: bytes

    def __post_init__(self) -> None:
        check_point(self.point)

    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return SPKI_HEAD + self.point

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise InvalidSignature unless this key signed. signature: r and s, 64 octets."""
        if len(signature) != 2 * SCALAR_BYTES:
            raise InvalidSignature
        r, s = int.from_bytes(signature[:SCALAR_BYTES]), int.from_bytes(signature[SCALAR_BYTES:])
        self.verify_der(encode_dss_signature(r, s), data)

    def verify_der(self, signature: bytes, data: bytes) -> None:
        """The same for a signature in DER. Raises NotSupported without a library."""
        ffi, lib = _library()
        try:
            if signature != encode_dss_signature(*decode_dss_signature(signature)):
                raise ValueError(signature)
        except ValueError:
            raise InvalidSignature from None
        key = _loaded_public(self.point)
        with _context(ffi, lib, lib.EVP_DigestVerifyInit_ex, key) as context:
            done = lib.EVP_DigestVerify(context, signature, len(signature), data, len(data))
            lib.ERR_clear_error()
        if done != 1:
            raise InvalidSignature


@dataclass(frozen=True, slots=True)
class Sm2PrivateKey:
    """A key that signs. scalar: 32 octets."""

    scalar: bytes = field(repr=False)
    _key: Any = field(repr=False, compare=False)
    _public: Sm2PublicKey = field(repr=False)

    @classmethod
    def generate(cls) -> Sm2PrivateKey:
        """A new key. Raises NotSupported without a library."""
        ffi, lib = _library()
        return cls._of(ffi, lib, lib.EVP_PKEY_Q_keygen(ffi.NULL, ffi.NULL, b"SM2"))

    @classmethod
    def from_scalar(cls, scalar: bytes) -> Sm2PrivateKey:
        """The key of a scalar. Raises ParseError out of range, NotSupported without a library."""
        if len(scalar) != SCALAR_BYTES or not 0 < int.from_bytes(scalar) < N - 1:
            raise ParseError("the scalar of an SM2 key is out of range")
        return cls.from_der(PKCS8_HEAD + scalar)

    @classmethod
    def from_der(cls, data: bytes) -> Sm2PrivateKey:
        """A key from PKCS#8 or the older form. Raises ParseError, NotSupported."""
        ffi, lib = _library()
        buffer = ffi.new("unsigned char[]", data)
        at = ffi.new("const unsigned char **", buffer)
        return cls._of(ffi, lib, lib.d2i_AutoPrivateKey(ffi.NULL, at, len(data)))

    @classmethod
    def from_pem(cls, data: bytes, passphrase: bytes | None) -> Sm2PrivateKey:
        """A key from PEM, perhaps encrypted. Raises ParseError, NotSupported."""
        ffi, lib = _library()
        if len(data) > _MAX_PEM:
            raise ParseError(f"a PEM key of {len(data)} octets is none")
        source = lib.BIO_new_mem_buf(data, len(data))
        phrase = ffi.new("char[]", passphrase or b"")
        try:
            made = lib.PEM_read_bio_PrivateKey(source, ffi.NULL, ffi.NULL, phrase)
        finally:
            lib.BIO_free(source)
        return cls._of(ffi, lib, made)

    @classmethod
    def _of(cls, ffi: FFI, lib: Any, made: Any) -> Sm2PrivateKey:
        lib.ERR_clear_error()
        if made == ffi.NULL:
            raise ParseError("not a readable SM2 private key; check the file and its passphrase")
        key = ffi.gc(made, lib.EVP_PKEY_free)
        if lib.EVP_PKEY_is_a(key, b"SM2") != 1:
            raise ParseError("a private key of another kind than SM2")
        number = ffi.new("void **")
        scalar = ffi.new("unsigned char[]", SCALAR_BYTES)
        lib.EVP_PKEY_get_bn_param(key, b"priv", number)
        lib.BN_bn2binpad(number[0], scalar, SCALAR_BYTES)
        lib.BN_clear_free(number[0])
        spki = ffi.new("unsigned char[]", 256)
        size = lib.i2d_PUBKEY(key, ffi.new("unsigned char **", spki))
        point = bytes(ffi.buffer(spki, size))[-POINT_BYTES:]
        return cls(bytes(ffi.buffer(scalar)), key, Sm2PublicKey(point))

    def public_key(self) -> Sm2PublicKey:
        """Its public part."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """The signature: r and s, 64 octets."""
        r, s = decode_dss_signature(self.sign_der(data))
        return r.to_bytes(SCALAR_BYTES) + s.to_bytes(SCALAR_BYTES)

    def sign_der(self, data: bytes) -> bytes:
        """The same in DER."""
        ffi, lib = _library()
        size = ffi.new("size_t *", 128)
        made = ffi.new("unsigned char[]", 128)
        with _context(ffi, lib, lib.EVP_DigestSignInit_ex, self._key) as context:
            done = lib.EVP_DigestSign(context, made, size, data, len(data))
            lib.ERR_clear_error()
        if done != 1:
            raise NotSupported("libcrypto refuses to sign with SM2; is it a restricted build?")
        return bytes(ffi.buffer(made, size[0]))

    def pkcs8(self) -> bytes:
        """PKCS#8, DER, not encrypted."""
        return PKCS8_HEAD + self.scalar

    def pem(self, passphrase: bytes | None) -> bytes:
        """PKCS#8, PEM; encrypted (AES-256) when a passphrase is given."""
        ffi, lib = _library()
        target = lib.BIO_new(lib.BIO_s_mem())
        cipher = lib.EVP_aes_256_cbc() if passphrase else ffi.NULL
        phrase = passphrase or ffi.NULL
        try:
            lib.PEM_write_bio_PKCS8PrivateKey(
                target, self._key, cipher, phrase, len(passphrase or b""), ffi.NULL, ffi.NULL
            )
            buffer = ffi.new("unsigned char[]", _MAX_PEM)
            size = lib.BIO_read(target, buffer, _MAX_PEM)
        finally:
            lib.BIO_free(target)
        if size <= 0:
            raise NotSupported("libcrypto cannot write this key; is it a restricted build?")
        return bytes(ffi.buffer(buffer, size))

    def same(self, other: Sm2PrivateKey) -> bool:
        """Whether it is the same key, compared in constant time."""
        return compare_digest(self.scalar, other.scalar)


def is_spki(data: bytes) -> bool:
    """Whether a SubjectPublicKeyInfo is that of an SM2 key."""
    return data.startswith(SPKI_HEAD) and len(data) == len(SPKI_HEAD) + POINT_BYTES


@cache
def _load() -> tuple[tuple[FFI, Any] | None, str | None]:
    import cffi  # type: ignore[import-untyped]

    ffi = cffi.FFI()
    ffi.cdef(_DECLARATIONS)
    for name in LIBRARIES:
        try:
            lib = ffi.dlopen(name)
            lib.EVP_PKEY_Q_keygen  # noqa: B018 - asks whether the symbol is there
        except (OSError, AttributeError):
            continue
        made = lib.EVP_PKEY_Q_keygen(ffi.NULL, ffi.NULL, b"SM2")
        lib.ERR_clear_error()
        if made == ffi.NULL:
            return None, f"{name} was built without SM2; install OpenSSL 3 with SM2 and SM3"
        lib.EVP_PKEY_free(made)
        return (ffi, lib), None
    return None, f"none of {', '.join(LIBRARIES)} can be loaded; install OpenSSL 3 (libssl3)"


def _library() -> tuple[FFI, Any]:
    found, why = _load()
    if found is None:
        raise NotSupported(f"SM2 is not available here: {why}")
    return found


@lru_cache(maxsize=1024)
def _loaded_public(point: bytes) -> Any:
    ffi, lib = _library()
    data = SPKI_HEAD + point
    buffer = ffi.new("unsigned char[]", data)
    made = lib.d2i_PUBKEY(ffi.NULL, ffi.new("const unsigned char **", buffer), len(data))
    lib.ERR_clear_error()
    if made == ffi.NULL:
        raise ParseError("libcrypto does not take this SM2 key")
    return ffi.gc(made, lib.EVP_PKEY_free)


@contextmanager
def _context(ffi: FFI, lib: Any, begin: Callable[..., int], key: Any) -> Iterator[Any]:
    """A digest context over SM3 with the user id. begin: for signing or for verifying."""
    context, inner = lib.EVP_MD_CTX_new(), ffi.new("void **")
    try:
        done = begin(context, inner, b"SM3", ffi.NULL, ffi.NULL, key, ffi.NULL)
        if done == 1:  # the id cannot be given any earlier
            done = lib.EVP_PKEY_CTX_set1_id(inner[0], USER_ID, len(USER_ID))
        lib.ERR_clear_error()
        if done != 1:
            raise NotSupported("libcrypto refuses SM2 with SM3; is it a restricted build?")
        yield context
    finally:
        lib.EVP_MD_CTX_free(context)
