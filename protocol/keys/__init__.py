"""Keys: between their wire form and objects that sign and verify (do-irp 13).

RSA, DSA and Ed25519 sign; Diffie-Hellman keys are numbers only (protocol.session). Key files are
protocol.keys.files, JSON keys protocol.keys.jwk, signing protocol.keys.signing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
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
)

from protocol.errors import ParseError
from protocol.keys.numbers import (
    DH_PUBLIC,
    DSA_PRIVATE,
    DSA_PUBLIC,
    ED25519_PRIVATE,
    ED25519_PUBLIC,
    RSA_CRT,
    RSA_PLAIN,
    RSA_PUBLIC,
    WireKey,
    read_private_key,
    read_public_key,
    write_private_key,
    write_public_key,
)

PublicKey: TypeAlias = RSAPublicKey | DSAPublicKey | Ed25519PublicKey | EllipticCurvePublicKey
"""A key that verifies. Elliptic-curve keys (P-256) have a JSON form only, none on the wire."""
PrivateKey: TypeAlias = RSAPrivateKey | DSAPrivateKey | Ed25519PrivateKey | EllipticCurvePrivateKey
"""A key that signs."""

MIN_RSA_BITS = 512
"""Below it the bytes are no RSA key at all; what is strong enough is the policy's matter."""
MAX_RSA_EXPONENT_BITS = 64
"""Larger ones only make verification slow."""
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
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError(f"the numbers of this {_text(key.type)} are no key: {error}") from None
    raise ParseError(f"{_text(key.type)} is no key that verifies; wanted RSA, DSA or Ed25519")


def public_wire_key(key: PublicKey) -> WireKey:
    """The wire form of a public key. Raises ParseError for elliptic-curve keys: they have none."""
    if isinstance(key, RSAPublicKey):
        rsa_numbers = key.public_numbers()
        return WireKey(RSA_PUBLIC, (rsa_numbers.e, rsa_numbers.n))
    if isinstance(key, DSAPublicKey):
        numbers = key.public_numbers()
        group = numbers.parameter_numbers
        return WireKey(DSA_PUBLIC, (group.q, group.p, group.g, numbers.y))
    if isinstance(key, Ed25519PublicKey):
        return WireKey(ED25519_PUBLIC, octets=key.public_bytes_raw())
    raise ParseError("elliptic-curve keys have no wire form; use RSA or Ed25519")


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
    raise ParseError("elliptic-curve keys have no wire form; use RSA or Ed25519")


def encode_private_key(key: PrivateKey) -> bytes:
    """The Handle encoding of a private key."""
    return write_private_key(private_wire_key(key))


def encode_spki(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def decode_spki(data: bytes) -> PublicKey:
    """A public key from SubjectPublicKeyInfo, DER. Raises ParseError."""
    try:
        return _public(load_der_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError(f"not a SubjectPublicKeyInfo: {error}") from None


def encode_pkcs8(key: PrivateKey) -> bytes:
    """PKCS#8, DER, not encrypted."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def decode_pkcs8(data: bytes) -> PrivateKey:
    """A private key from PKCS#8, DER, not encrypted. Raises ParseError."""
    try:
        return _private(load_der_private_key(data, None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ParseError("not an unencrypted PKCS#8 private key") from None


def encode_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS#8, PEM; encrypted when a passphrase is given."""
    cover = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cover)


def decode_pem(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """A private key from PEM (PKCS#8 or the older forms). Raises ParseError."""
    try:
        return _private(load_pem_private_key(data, passphrase))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ParseError(
            "not a readable PEM private key; check the file and its passphrase"
        ) from None


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
    raise ValueError(f"{type(key).__name__} is not supported; use RSA, DSA, P-256 or Ed25519")


def _private(key: object) -> PrivateKey:
    if isinstance(key, PrivateKey):
        return key
    raise ValueError("unsupported key type")


def _text(type_: bytes) -> str:
    return type_.decode("ascii", "replace")
