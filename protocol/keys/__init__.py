"""Keys: between their wire form and objects that sign and verify (do-irp 13).

RSA, DSA, P-256, Ed25519 and SM2 sign (the last through libcrypto: protocol.keys.sm2);
Diffie-Hellman keys are numbers only (protocol.session). Key files are
protocol.keys.files, JSON keys protocol.keys.jwk, signing protocol.keys.signing.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from protocol.errors import ParseError
from protocol.keys.numbers import (
    DH_PUBLIC,
    DSA_PRIVATE,
    DSA_PUBLIC,
    ED25519_PRIVATE,
    ED25519_PUBLIC,
    P256_PRIVATE,
    P256_PUBLIC,
    RSA_CRT,
    RSA_PLAIN,
    RSA_PUBLIC,
    SM2_PRIVATE,
    SM2_PUBLIC,
    WireKey,
    read_private_key,
    read_public_key,
    write_private_key,
    write_public_key,
)
from protocol.keys.sm2 import POINT_BYTES, Sm2PrivateKey, Sm2PublicKey, is_spki

PublicKey: TypeAlias = (
    RSAPublicKey | DSAPublicKey | Ed25519PublicKey | EllipticCurvePublicKey | Sm2PublicKey
)
"""A key that verifies. Of elliptic curves: P-256 alone."""
PrivateKey: TypeAlias = (
    RSAPrivateKey | DSAPrivateKey | Ed25519PrivateKey | EllipticCurvePrivateKey | Sm2PrivateKey
)
"""A key that signs."""

MIN_RSA_BITS = 512
"""Below it the bytes are no RSA key at all; what is strong enough is the policy's matter."""
MAX_RSA_EXPONENT_BITS = 64
"""Larger ones only make verification slow."""
_POINT = PublicFormat.UncompressedPoint
_SCALAR_BYTES = 32
_EXPONENTS = (65_537, 3, 17, 257)
"""Tried when a private key comes without its public exponent."""


@dataclass(frozen=True, slots=True)
class DhPublicKey:
    """A Diffie-Hellman public key with its group. Checked by protocol.session, not here."""

    y: int
    p: int
    g: int


# Loading 2048-bit RSA numbers takes 10 us, the verification after it 28 us; a kept key 0.1 us.
@lru_cache(maxsize=1024)
def decode_public_key(data: bytes) -> PublicKey:
    """A public key that verifies: the data of HS_PUBKEY or the key of a server.

    Raises ParseError, also for Diffie-Hellman keys, which verify nothing.
    """
    return load_public_key(read_public_key(data))


def load_public_key(key: WireKey) -> PublicKey:
    """The object of a wire form. Raises ParseError when the numbers are no key."""
    numbers = key.named()
    try:
        if key.type == RSA_PUBLIC:
            return _rsa_public(**numbers).public_key()
        if key.type == DSA_PUBLIC:
            return _dsa_public(**numbers).public_key()
        if key.type == ED25519_PUBLIC:
            return Ed25519PublicKey.from_public_bytes(key.octets)
        if key.type == P256_PUBLIC:
            return _p256_point(key.octets)
        if key.type == SM2_PUBLIC:
            return Sm2PublicKey(key.octets)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError(f"the numbers of this {_text(key.type)} are no key: {error}") from None
    raise ParseError(
        f"{_text(key.type)} is no key that verifies; wanted RSA, DSA, P-256 or Ed25519"
    )


def public_wire_key(key: PublicKey) -> WireKey:
    """The wire form of a public key. Raises ParseError for curves other than P-256 and SM2."""
    if isinstance(key, RSAPublicKey):
        rsa_numbers = key.public_numbers()
        return WireKey(RSA_PUBLIC, (rsa_numbers.e, rsa_numbers.n))
    if isinstance(key, DSAPublicKey):
        numbers = key.public_numbers()
        group = numbers.parameter_numbers
        return WireKey(DSA_PUBLIC, (group.q, group.p, group.g, numbers.y))
    if isinstance(key, Ed25519PublicKey):
        return WireKey(ED25519_PUBLIC, octets=key.public_bytes_raw())
    if isinstance(key, Sm2PublicKey):
        return WireKey(SM2_PUBLIC, octets=key.point)
    _require_p256(key)
    return WireKey(P256_PUBLIC, octets=key.public_bytes(Encoding.X962, _POINT))


def encode_public_key(key: PublicKey) -> bytes:
    """The data of HS_PUBKEY."""
    return write_public_key(public_wire_key(key))


def decode_dh_key(data: bytes) -> DhPublicKey:
    """A DH_PUB_KEY. Raises ParseError for other types."""
    key = read_public_key(data)
    if key.type != DH_PUBLIC:
        raise ParseError(f"a {_text(key.type)} where DH_PUB_KEY is wanted; offer Diffie-Hellman")
    return DhPublicKey(*key.numbers)


def encode_dh_key(key: DhPublicKey) -> bytes:
    """The inverse of decode_dh_key."""
    return write_public_key(WireKey(DH_PUBLIC, (key.y, key.p, key.g)))


def decode_private_key(data: bytes) -> PrivateKey:
    """A private key from its Handle encoding. Raises ParseError; its text shows no secret."""
    return load_private_key(read_private_key(data))


def load_private_key(key: WireKey) -> PrivateKey:
    """The object of a private wire form. Raises ParseError when the numbers do not agree."""
    try:
        if key.type == RSA_CRT:
            return _rsa_crt(key.named())
        if key.type == RSA_PLAIN:
            return _rsa_plain(**key.named())
        if key.type == DSA_PRIVATE:
            return _dsa_private(**key.named())
        if key.type == P256_PRIVATE:
            return derive_private_key(int.from_bytes(key.octets), SECP256R1())
        if key.type == SM2_PRIVATE:
            return Sm2PrivateKey.from_scalar(key.octets)
        return Ed25519PrivateKey.from_private_bytes(key.octets)
    except (ValueError, UnsupportedAlgorithm, ZeroDivisionError, OverflowError):
        # The library's own message could show numbers of the key.
        raise ParseError(f"the numbers of this {_text(key.type)} do not make a key") from None


def private_wire_key(key: PrivateKey) -> WireKey:
    """The wire form of a private key (RSA with its Chinese-remainder numbers)."""
    if isinstance(key, RSAPrivateKey):
        numbers = key.private_numbers()
        public = numbers.public_numbers
        crt = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        return WireKey(RSA_CRT, (public.n, public.e, numbers.d, *crt))
    if isinstance(key, DSAPrivateKey):
        dsa_numbers = key.private_numbers()
        group = dsa_numbers.public_numbers.parameter_numbers
        return WireKey(DSA_PRIVATE, (dsa_numbers.x, group.p, group.q, group.g))
    if isinstance(key, Ed25519PrivateKey):
        return WireKey(ED25519_PRIVATE, octets=key.private_bytes_raw())
    if isinstance(key, Sm2PrivateKey):
        return WireKey(SM2_PRIVATE, octets=key.scalar)
    _require_p256(key.public_key())
    scalar = key.private_numbers().private_value.to_bytes(_SCALAR_BYTES)
    return WireKey(P256_PRIVATE, octets=scalar)


def encode_private_key(key: PrivateKey) -> bytes:
    """The Handle encoding of a private key."""
    return write_private_key(private_wire_key(key))


def encode_spki(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    if isinstance(key, Sm2PublicKey):
        return key.spki()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def decode_spki(data: bytes) -> PublicKey:
    """A public key from SubjectPublicKeyInfo, DER. Raises ParseError."""
    if is_spki(data):
        return Sm2PublicKey(data[-POINT_BYTES:])
    try:
        return _public(load_der_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError(f"not a SubjectPublicKeyInfo: {error}") from None


def encode_pkcs8(key: PrivateKey) -> bytes:
    """PKCS#8, DER, not encrypted."""
    if isinstance(key, Sm2PrivateKey):
        return key.pkcs8()
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def decode_pkcs8(data: bytes) -> PrivateKey:
    """A private key from PKCS#8, DER, not encrypted. Raises ParseError."""
    try:
        return _private(load_der_private_key(data, None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ParseError("not an unencrypted PKCS#8 private key") from None


def encode_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS#8, PEM; encrypted when a passphrase is given."""
    if isinstance(key, Sm2PrivateKey):
        return key.pem(passphrase)
    cover = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cover)


def decode_pem(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """A private key from PEM (PKCS#8 or the older forms). Raises ParseError."""
    try:
        return _private(load_pem_private_key(data, passphrase))
    except UnsupportedAlgorithm:
        # An SM2 key looks like one of an unknown curve. Raises NotSupported without libcrypto.
        return Sm2PrivateKey.from_pem(data, passphrase)
    except (ValueError, TypeError):
        raise ParseError(
            "not a readable PEM private key; check the file and its passphrase"
        ) from None


def encode_public_pem(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, PEM."""
    if not isinstance(key, Sm2PublicKey):
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return b"-----BEGIN PUBLIC KEY-----\n%b-----END PUBLIC KEY-----\n" % encodebytes_64(key.spki())


def decode_public_pem(data: bytes) -> PublicKey:
    """A public key from PEM (SubjectPublicKeyInfo). Raises ParseError."""
    try:
        return _public(load_pem_public_key(data))
    except UnsupportedAlgorithm:
        return decode_spki(_unpem(data))
    except ValueError as error:
        raise ParseError(f"not a readable PEM public key: {error}") from None


def encodebytes_64(data: bytes) -> bytes:
    """base64 in lines of 64 characters, as PEM has them."""
    text = b64encode(data)
    return b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))


def _unpem(data: bytes) -> bytes:
    lines = [line.strip() for line in data.strip().splitlines()]
    try:
        return b64decode(b"".join(lines[1:-1]), validate=True)
    except ValueError:
        raise ParseError("not a readable PEM public key") from None


def _p256_point(octets: bytes) -> EllipticCurvePublicKey:
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), octets)


def _require_p256(key: EllipticCurvePublicKey) -> None:
    if not isinstance(key.curve, SECP256R1):
        raise ParseError(f"curve {key.curve.name} has no wire form; use P-256")


def _rsa_public(e: int, n: int) -> rsa.RSAPublicNumbers:
    if n.bit_length() < MIN_RSA_BITS or n % 2 == 0:
        raise ValueError(f"the modulus has {n.bit_length()} bits or is even")
    if e.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise ValueError(f"the exponent has {e.bit_length()} bits")
    return rsa.RSAPublicNumbers(e, n)


def _dsa_public(q: int, p: int, g: int, y: int) -> dsa.DSAPublicNumbers:
    if not 1 < y < p:
        raise ValueError("y lies outside the group")
    return dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g))


def _rsa_crt(numbers: dict[str, int]) -> RSAPrivateKey:
    crt = (numbers["dp"], numbers["dq"], numbers["qinv"])
    public = _rsa_public(numbers["e"], numbers["n"])
    primes = (numbers["p"], numbers["q"])
    return rsa.RSAPrivateNumbers(*primes, numbers["d"], *crt, public).private_key()


def _rsa_plain(n: int, d: int) -> RSAPrivateKey:
    for e in _EXPONENTS:
        try:
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
        except ValueError:
            continue
        dp, dq, qinv = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
        return _rsa_crt({"n": n, "e": e, "d": d, "p": p, "q": q, "dp": dp, "dq": dq, "qinv": qinv})
    raise ValueError("no usual public exponent fits")


def _dsa_private(x: int, p: int, q: int, g: int) -> DSAPrivateKey:
    if not 0 < x < q < p or not 1 < g < p:
        raise ValueError("out of range")
    return dsa.DSAPrivateNumbers(x, _dsa_public(q, p, g, pow(g, x, p))).private_key()


def _public(key: object) -> PublicKey:
    if isinstance(key, PublicKey):
        return key
    raise ValueError(f"{type(key).__name__} is not supported; use RSA, DSA, P-256, Ed25519 or SM2")


def _private(key: object) -> PrivateKey:
    if isinstance(key, PrivateKey):
        return key
    raise ValueError("unsupported key type")


def _text(type_: bytes) -> str:
    return type_.decode("ascii", "replace")
