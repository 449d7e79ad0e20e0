"""JWS: signed JSON texts, as HS_SIGNATURE and HS_CERT values hold them (RFC 7515; do-irp 14).

Compact form, or the JSON form with its first signature. `none` and the HMAC family do not parse:
a public key must never be taken for a shared secret. Algorithms of old Handle software (DSA,
SHA-1) verify only where the policy names them. `SM2SM3` is our name for SM2 with SM3, r and s in 64
octets as ES256 has them: no registry has one. What the payload says is protocol.signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm

from protocol import batch_signature
from protocol.errors import NotSupported, ParseError, SignatureInvalid
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.jwk import format_base64url, parse_base64url
from protocol.keys.policy import STRICT, Policy, Weak
from protocol.keys.signing import MAX_SIGNATURE_BYTES, check_rsa_size
from protocol.keys.sm2 import Sm2PrivateKey, Sm2PublicKey
from protocol.strict_json import parse_json

MAX_JWS_BYTES = 262_144
MAX_HEADER_BYTES = 4_096
_HALF_P256 = 32
_COMPACT_PARTS = 3

JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One JWS algorithm. kind: the key's class; weak: the policy word it needs, if any."""

    name: str
    kind: type[PublicKey]
    hash: HashAlgorithm | None
    weak: Weak | None = None


_ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("RS256", RSAPublicKey, SHA256()),
        Algorithm("RS384", RSAPublicKey, SHA384()),
        Algorithm("RS512", RSAPublicKey, SHA512()),
        Algorithm("ES256", EllipticCurvePublicKey, SHA256()),
        Algorithm("Ed25519", Ed25519PublicKey, None),
        Algorithm("EdDSA", Ed25519PublicKey, None),  # older name of the same, RFC 8037
        Algorithm(batch_signature.ALGORITHM, Ed25519PublicKey, None),
        Algorithm("SM2SM3", Sm2PublicKey, None),
        Algorithm("RS160", RSAPublicKey, SHA1(), Weak.RSA_SHA1),  # noqa: S303 - old peers
        Algorithm("DS160", DSAPublicKey, SHA1(), Weak.DSA_SHA1),  # noqa: S303 - old peers
        Algorithm("DS256", DSAPublicKey, SHA256(), Weak.DSA_SHA2),
        Algorithm("DS384", DSAPublicKey, SHA384(), Weak.DSA_SHA2),
        Algorithm("DS512", DSAPublicKey, SHA512(), Weak.DSA_SHA2),
    )
}


@dataclass(frozen=True, slots=True)
class Jws:
    """A parsed JWS. signed: the octets under the signature; payload: its own octets."""

    algorithm: Algorithm
    payload: bytes
    signed: bytes
    signature: bytes

    @property
    def weak(self) -> Weak | None:
        """The weak method its algorithm is, if it is one."""
        return self.algorithm.weak

    def verify(self, key: PublicKey, policy: Policy = STRICT) -> None:
        """Raise SignatureInvalid unless this key made the signature and the policy takes it."""
        self._check_kind(key)
        if self.weak:
            policy.allow(self.weak)
        try:
            self._verify(key, policy)
        except NotSupported as error:
            raise SignatureInvalid(f"the {self.algorithm.name} signature: {error}") from None
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            raise SignatureInvalid(
                f"the {self.algorithm.name} signature does not hold; "
                "the content was changed or another key signed it"
            ) from None

    def _check_kind(self, key: PublicKey) -> None:
        # The algorithm is bound to the key's type, never the other way round.
        if not isinstance(key, self.algorithm.kind):
            raise SignatureInvalid(
                f"algorithm {self.algorithm.name} does not fit a {type(key).__name__}"
            )

    @property
    def _in_batch(self) -> bool:
        return self.algorithm.name == batch_signature.ALGORITHM

    def _verify(self, key: PublicKey, policy: Policy) -> None:
        hash_ = self.algorithm.hash
        if isinstance(key, Ed25519PublicKey | Sm2PublicKey):
            if isinstance(key, Ed25519PublicKey) and self._in_batch:
                batch_signature.verify_in_batch(self.signature, self.signed, key)
            else:
                key.verify(self.signature, self.signed)
            return
        if hash_ is None:
            raise ValueError(self.algorithm.name)
        if isinstance(key, RSAPublicKey):
            check_rsa_size(key, policy)
            key.verify(self.signature, self.signed, PKCS1v15(), hash_)
        elif isinstance(key, DSAPublicKey):
            key.verify(self.signature, self.signed, hash_)
        else:
            key.verify(_der_signature(self.signature, key), self.signed, ECDSA(hash_))


def parse_jws(data: bytes) -> Jws:
    """Read a compact or JSON JWS (UTF-8 octets). Raises ParseError, also for none and HS*."""
    if len(data) > MAX_JWS_BYTES:
        raise ParseError(f"a JWS of {len(data)} octets is above {MAX_JWS_BYTES}")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise ParseError("a JWS is ASCII text; these octets are not") from None
    protected, payload, signature = (
        _json_parts(data) if text.startswith("{") else _compact_parts(text)
    )
    if len(protected) > MAX_HEADER_BYTES:
        raise ParseError(f"a JWS header of {len(protected)} characters")
    octets = parse_base64url(signature)
    if len(octets) > MAX_SIGNATURE_BYTES:
        raise ParseError(f"a signature of {len(octets)} octets is none")
    return Jws(
        _algorithm(parse_object(parse_base64url(protected))),
        parse_base64url(payload),
        f"{protected}.{payload}".encode(),
        octets,
    )


def sign_jws(
    payload: bytes,
    key: PrivateKey,
    algorithm: str | None = None,
    *,
    header: str | None = None,
    detached: bool = False,
) -> bytes:
    """A compact JWS over `payload`.

    algorithm: RS256, ES256, Ed25519 or SM2SM3 by the key when None; the weak ones only by name.
    header: the protected header in base64url, where it says more than the algorithm. detached:
    without the payload (RFC 7515 appendix F). Raises ParseError when the algorithm does not fit.
    """
    name = algorithm or algorithm_for(key)
    row = _known(name)
    if name == batch_signature.ALGORITHM and isinstance(key, Ed25519PrivateKey):
        return batch_signature.sign_batch([payload], key)[0]
    protected = header or _protected(name)
    signed = f"{protected}.{format_base64url(payload)}".encode()
    if algorithm is not None and not isinstance(key.public_key(), row.kind):
        raise ParseError(f"algorithm {name} does not fit a {type(key).__name__}")
    signature = format_base64url(_sign(signed, key, row.hash)).encode()
    return b"%b..%b" % (protected.encode(), signature) if detached else signed + b"." + signature


@cache
def _protected(name: str) -> str:
    """The header that names a known algorithm."""
    return format_base64url(json.dumps({"alg": name}, separators=(",", ":")).encode())


def algorithm_for(key: PrivateKey | PublicKey) -> str:
    """The algorithm a key signs records with."""
    kind: type = type(key)
    return _algorithm_for(kind)


@cache  # the classes are abstract: asking one costs microseconds
def _algorithm_for(kind: type) -> str:
    if issubclass(kind, RSAPrivateKey | RSAPublicKey):
        return "RS256"
    if issubclass(kind, Ed25519PrivateKey | Ed25519PublicKey):
        return "Ed25519"
    if issubclass(kind, EllipticCurvePrivateKey | EllipticCurvePublicKey):
        return "ES256"
    if issubclass(kind, Sm2PrivateKey | Sm2PublicKey):
        return "SM2SM3"
    raise ParseError("DSA keys do not sign records here; use RSA or Ed25519")


def parse_object(data: bytes) -> JsonObject:
    """A JSON object, read strictly (protocol.strict_json). Raises ParseError."""
    value = parse_json(data, "the JWS")
    if not isinstance(value, dict):
        raise ParseError(f"the JWS holds a JSON {type(value).__name__}, not an object")
    return value


def _compact_parts(text: str) -> tuple[str, str, str]:
    parts = text.split(".", _COMPACT_PARTS)
    if len(parts) != _COMPACT_PARTS:
        raise ParseError("a compact JWS has three parts: header.payload.signature")
    return parts[0], parts[1], parts[2]


def _json_parts(data: bytes) -> tuple[str, str, str]:
    value = parse_object(data)
    signatures = value.get("signatures")
    first = signatures[0] if isinstance(signatures, list) and signatures else None
    if not isinstance(first, Mapping) or "header" in first:
        raise ParseError("a JSON JWS needs `signatures` with a protected header only")
    parts = (first.get("protected"), value.get("payload"), first.get("signature"))
    protected, payload, signature = parts
    if isinstance(protected, str) and isinstance(payload, str) and isinstance(signature, str):
        return protected, payload, signature
    raise ParseError("a JSON JWS needs the texts payload, protected and signature")


def _algorithm(header: JsonObject) -> Algorithm:
    # A header parameter that must be understood and is not makes the JWS invalid (RFC 7515 §4.1.11);
    # b64=false would change what is signed.
    if "crit" in header or "b64" in header:
        raise ParseError("the JWS header asks for extensions; none is supported")
    return _known(header.get("alg"))


def _known(name: Any) -> Algorithm:
    row = _ALGORITHMS.get(name) if isinstance(name, str) else None
    if row is None:
        raise ParseError(f"algorithm {name!r:.40} is refused; sign with RS256, ES256 or Ed25519")
    return row


def _sign(signed: bytes, key: PrivateKey, hash_: HashAlgorithm | None) -> bytes:
    if isinstance(key, Ed25519PrivateKey | Sm2PrivateKey):
        return key.sign(signed)
    if hash_ is None:
        raise ParseError(f"a {type(key).__name__} needs a digest")
    if isinstance(key, RSAPrivateKey):
        return key.sign(signed, PKCS1v15(), hash_)
    if isinstance(key, DSAPrivateKey):
        return key.sign(signed, hash_)
    r, s = decode_dss_signature(key.sign(signed, ECDSA(hash_)))
    return r.to_bytes(_HALF_P256, "big") + s.to_bytes(_HALF_P256, "big")


def _der_signature(signature: bytes, key: EllipticCurvePublicKey) -> bytes:
    if not isinstance(key.curve, SECP256R1) or len(signature) != 2 * _HALF_P256:
        raise ValueError("ES256 is P-256 with 64 octets")
    halves = signature[:_HALF_P256], signature[_HALF_P256:]
    return encode_dss_signature(*(int.from_bytes(half, "big") for half in halves))
