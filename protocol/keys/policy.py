"""Policy: which weak methods are accepted, and the bounds of what a peer may ask us to compute.

The defaults are those of do-irp 21: nothing weak. A deployment lists what its peers still need
by name, one by one; nothing is accepted because a peer asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protocol.errors import SignatureInvalid

STRONG_RSA_BITS = 2048


class Weak(StrEnum):
    """Methods that verify only where the policy names them."""

    RSA_SHORT = "rsa-short"  # RSA keys below 2048 bits
    RSA_SHA1 = "rsa-sha1"  # signatures below version 2.7, replication streams
    DSA_SHA1 = "dsa-sha1"  # default server keys of the 9.0 software
    DSA_SHA2 = "dsa-sha2"
    SANDWICH_MD5 = "sandwich-md5"  # digest(secret, input, secret)
    SANDWICH_SHA1 = "sandwich-sha1"
    SANDWICH_SHA256 = "sandwich-sha256"
    CIPHER_DES = "cipher-des"
    CIPHER_DESEDE = "cipher-desede"
    CIPHER_ECB = "cipher-ecb"  # sessions below version 2.4
    DEFECTIVE_LAYOUT = "defective-layout"  # credentials of versions 2.5 (MAC) and 2.6
    DIGEST_SHA1 = "digest-sha1"  # value digests in a record signature


@dataclass(frozen=True, slots=True)
class Policy:
    """What verification accepts."""

    weak: frozenset[Weak] = frozenset()
    """Accepted weak methods."""
    min_pbkdf2_iterations: int = 1_000
    max_pbkdf2_iterations: int = 1_000_000
    min_salt_bytes: int = 8
    max_salt_bytes: int = 64
    min_dh_bits: int = 1_024
    """Deployed clients offer groups of 1024 bits; raise it where none of them is left."""
    max_dh_bits: int = 4_096
    max_fresh_dh_bits: int = 2_048
    """Largest group that is none of the published ones: each has to be tested for primality."""

    def allow(self, method: Weak) -> None:
        """Raise SignatureInvalid unless the weak method is accepted here."""
        if method not in self.weak:
            raise SignatureInvalid(
                f"{method.value} is too weak to be accepted; "
                f"use a stronger method, or list {method.value!r} among the accepted weak ones"
            )


STRICT = Policy()
"""Nothing weak."""

EVERYTHING = Policy(weak=frozenset(Weak))
"""Every weak method: for test vectors and for reading old material, never for a live peer."""
