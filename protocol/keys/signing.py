"""Signing octets with a key and a named digest: what challenges, messages and streams share.

Digest texts (do-irp 6.3): `SHA-256`, `SHA1`; ours are `Ed25519` for keys that hash by themselves and
`SM3` for SM2 keys. Signatures of curves are DER (r, s), as those of DSA.
Record signatures name their algorithms otherwise: protocol.jws.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from protocol.errors import NotSupported, ParseError, SignatureInvalid
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.policy import STRICT, STRONG_RSA_BITS, Policy, Weak
from protocol.keys.sm2 import Sm2PrivateKey, Sm2PublicKey

SHA_256 = b"SHA-256"
SHA_1 = b"SHA1"
ED25519 = b"Ed25519"
SM3 = b"SM3"
MAX_SIGNATURE_BYTES = 1_024

_DIGESTS: dict[bytes, type[SHA1 | SHA256]] = {
    b"SHA-256": SHA256,
    b"SHA256": SHA256,
    b"SHA1": SHA1,
    b"SHA-1": SHA1,
}
RSA_SHA256_SINCE = (2, 7)
DSA_SHA256_SINCE = (2, 11)


def digest_for(key: PublicKey | PrivateKey, version: tuple[int, int]) -> bytes:
    """The digest text that a key signs with at a protocol version."""
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return ED25519
    if isinstance(key, Sm2PublicKey | Sm2PrivateKey):
        return SM3
    if isinstance(key, EllipticCurvePublicKey | EllipticCurvePrivateKey):
        return SHA_256
    since = RSA_SHA256_SINCE if isinstance(key, RSAPublicKey | RSAPrivateKey) else DSA_SHA256_SINCE
    return SHA_256 if version >= since else SHA_1


def sign_octets(key: PrivateKey, data: bytes, digest: bytes) -> bytes:
    """The signature over `data`: RSA PKCS#1 v1.5, DSA, P-256 and SM2 as DER (r, s), or Ed25519.

    Raises ParseError when the key cannot sign with that digest.
    """
    if isinstance(key, Ed25519PrivateKey) and digest == ED25519:
        return key.sign(data)
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, PKCS1v15(), _hash(digest))
    if isinstance(key, DSAPrivateKey):
        return key.sign(data, _hash(digest))
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(hash_ := _hash(digest), SHA256):
        return key.sign(data, ECDSA(hash_))
    if isinstance(key, Sm2PrivateKey) and digest == SM3:
        return key.sign_der(data)
    raise ParseError(f"a {type(key).__name__} does not sign with {digest!r}")


def verify_octets(
    key: PublicKey, signature: bytes, data: bytes, digest: bytes, policy: Policy = STRICT
) -> None:
    """Raise SignatureInvalid unless the signature holds and the policy accepts its method."""
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureInvalid(f"a signature of {len(signature)} octets is none")
    try:
        if isinstance(key, Ed25519PublicKey) and digest == ED25519:
            key.verify(signature, data)
        elif isinstance(key, RSAPublicKey):
            check_rsa_size(key, policy)
            hash_ = _verified_hash(digest, policy, Weak.RSA_SHA1)
            key.verify(signature, data, PKCS1v15(), hash_)
        elif isinstance(key, DSAPublicKey):
            hash_ = _verified_hash(digest, policy, Weak.DSA_SHA1)
            if not isinstance(hash_, SHA1):
                policy.allow(Weak.DSA_SHA2)
            key.verify(signature, data, hash_)
        elif isinstance(key, EllipticCurvePublicKey) and isinstance(hash_ := _hash(digest), SHA256):
            key.verify(signature, data, ECDSA(hash_))
        elif isinstance(key, Sm2PublicKey) and digest == SM3:
            key.verify_der(signature, data)
        else:
            raise SignatureInvalid(f"a {type(key).__name__} does not verify {digest!r}")
    except NotSupported as error:
        raise SignatureInvalid(str(error)) from None
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise SignatureInvalid(
            "the signature does not hold; the data or the key is another one"
        ) from None


def check_rsa_size(key: RSAPublicKey, policy: Policy) -> None:
    """Raise SignatureInvalid for a short key, unless the policy accepts those."""
    if key.key_size < STRONG_RSA_BITS:
        policy.allow(Weak.RSA_SHORT)


def _hash(digest: bytes) -> HashAlgorithm:
    try:
        return _DIGESTS[digest]()
    except KeyError:
        raise ParseError(f"unknown digest {digest[:32]!r}; SHA-256 is wanted") from None


def _verified_hash(digest: bytes, policy: Policy, weak: Weak) -> HashAlgorithm:
    hash_ = _hash(digest)
    if isinstance(hash_, SHA1):
        policy.allow(weak)
    return hash_
