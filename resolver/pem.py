"""Public keys as PEM text, the form in which they are handed to other operators."""

from __future__ import annotations

from protocol.keys import PublicKey, encode_public_pem


def format_public_pem(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, PEM; resolver.keyfiles reads it."""
    return encode_public_pem(key)
