"""Public keys as PEM text, the form in which they are handed to other operators."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.keys import PublicKey


def format_public_pem(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, PEM; resolver.keyfiles reads it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
