"""Paging tokens: where an answer goes on, sealed, so that no reader keeps anything (§3.4).

A token binds the request it belongs to, a position, the newest event that its pages may show, and
an expiry. It is encrypted: a position may be that of an event which the asker may not see. The key
follows from the node's own, so that every reader and every restart knows it.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol.change import pack, unpack
from protocol.epcis.errors import NoSuchResourceException
from protocol.errors import ParseError
from registry.keys import NodeKeys

LIFE_S: Final = 86_400
MAX_TOKEN: Final = 4_096
_NONCE: Final = 12


class Tokens:
    """Makes and reads tokens."""

    def __init__(self, keys: NodeKeys) -> None:
        seed = keys.log_private.private_bytes_raw()
        self._cipher = ChaCha20Poly1305(hmac.digest(seed, b"biaoshi epcis page token", "sha256"))

    def make(self, bound_to: bytes, position: Any, now_s: int) -> tuple[str, int]:
        """A token and when it ends. bound_to: the request; position: msgpack-able."""
        expires = now_s + LIFE_S
        content = pack([expires, position])
        nonce = os.urandom(_NONCE)
        octets = nonce + self._cipher.encrypt(nonce, content, sha256(bound_to).digest())
        return urlsafe_b64encode(octets).rstrip(b"=").decode(), expires

    def read(self, token: str, bound_to: bytes, now_s: int) -> Any:
        """The position of a token. Raises NoSuchResourceException."""
        try:
            if len(token) > MAX_TOKEN:
                raise ValueError(len(token))
            octets = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            nonce, sealed = octets[:_NONCE], octets[_NONCE:]
            content = self._cipher.decrypt(nonce, sealed, sha256(bound_to).digest())
            expires, position = unpack(content)
        except (ValueError, TypeError, ParseError, InvalidTag):
            raise NoSuchResourceException(
                "the nextPageToken is none of this node's for this query; begin again without it"
            ) from None
        if expires < now_s:
            raise NoSuchResourceException("the nextPageToken has expired; begin again without it")
        return position
