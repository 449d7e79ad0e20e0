"""Settings about weak methods as the protocol's Policy, and what was weak about an accepted proof."""

from __future__ import annotations

from protocol.keys.policy import Policy, Weak
from resolver.config import AuthSettings

SOUND_ITERATIONS = 10_000
SOUND_DH_BITS = 2048


def policy_of(settings: AuthSettings) -> Policy:
    """What a proof of identity may use at this node."""
    weak = {Weak.SANDWICH_SHA256}
    if settings.sha1:
        weak |= {Weak.RSA_SHA1, Weak.SANDWICH_SHA1}
    if settings.md5:
        weak.add(Weak.SANDWICH_MD5)
    if settings.dsa:
        weak |= {Weak.DSA_SHA2} | ({Weak.DSA_SHA1} if settings.sha1 else set())
    if settings.min_rsa_bits < 2048:
        weak.add(Weak.RSA_SHORT)
    return Policy(
        weak=frozenset(weak),
        min_pbkdf2_iterations=settings.min_pbkdf2_iterations,
        max_pbkdf2_iterations=settings.max_pbkdf2_iterations,
        min_dh_bits=settings.min_dh_bits,
    )


def version_floor(settings: AuthSettings) -> tuple[int, int]:
    """The lowest protocol version for anything authenticated."""
    major, _, minor = settings.min_version.partition(".")
    return int(major), int(minor or 0)
