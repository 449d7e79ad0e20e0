"""Sessions of the Handle JSON interface: ids, nonces and who was authenticated.

An id carries the time it was made and a MAC, and the first nonce follows from it: a challenge
that nobody answers takes no memory. A row is written once an answer was tried. A nonce is good
for one answer, right or wrong, within `challenge_s`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from protocol.record import Reference
from resolver.http.session_table import SessionTable

NONCE_BYTES: Final = 16
_ID_BYTES: Final = 16
_TAG_BYTES: Final = 6
_ID_LENGTH: Final = 25
"""Characters of [0-9a-z] that 16 octets need."""
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_UNUSED_S: Final = 600
"""How long an id that was handed out is known without being used."""
_TOUCH_S: Final = 60


@dataclass(frozen=True, slots=True)
class Session:
    """One session as it is now.

    nonce: None once its time is over; the next answer gets a new one. identity: proved, or None.
    key_digest: of the key or secret that proved it: the session ends with that key.
    """

    id: str
    generation: int
    nonce: bytes | None
    identity: Reference | None = None
    key_digest: bytes = b""
    key_type: bytes = b""


class Sessions:
    """All sessions of a node, as one reader sees them."""

    def __init__(
        self,
        table: SessionTable,
        *,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        challenge_s: float,
        session_s: float,
    ) -> None:
        """now: seconds since 1970. random: octets for ids and, once for all readers, the secret."""
        self.table = table
        self._now = now
        self._random = random
        self._challenge_s = challenge_s
        self._session_s = session_s
        self._secret = table.secret(random(32))

    def new(self) -> Session:
        """A session that nothing is kept of yet."""
        made = int(self._now()).to_bytes(4, "big") + self._random(_ID_BYTES - 4 - _TAG_BYTES)
        number = int.from_bytes(made + self._mac(b"id", made)[:_TAG_BYTES], "big")
        text = _base36(number)
        return Session(text, 0, self._nonce(text, 0))

    def get(self, text: str) -> Session | None:
        """The session of an id; None for one that is unknown, ended or over."""
        made_at = self._made_at(text)
        if made_at is None:
            return None
        row = self.table.session(text.encode())
        now = self._now()
        if row is None:
            if now - made_at > _UNUSED_S:
                return None
            fresh = now - made_at <= self._challenge_s
            return Session(text, 0, self._nonce(text, 0) if fresh else None)
        generation, nonce_at, used_at, handle, index, key_digest, key_type, ended = row
        if ended:
            return None
        identity = Reference(handle, index) if handle is not None else None
        if identity is not None and now - used_at > _TOUCH_S:
            self._touch(text)
        fresh = now - nonce_at <= self._challenge_s
        nonce = self._nonce(text, generation) if fresh else None
        return Session(text, generation, nonce, identity, key_digest, key_type)

    def renewed(self, session: Session) -> Session:
        """The session with a nonce that can be answered."""
        if session.nonce is not None:
            return session
        self.spend(session)
        return self.get(session.id) or self.new()

    def spend(self, session: Session) -> bool:
        """Use up a session's nonce; False when another answer was quicker."""
        won = False

        def change(row: list[Any] | None) -> list[Any] | None:
            nonlocal won
            fields = self._fields(row)
            if fields[0] != session.generation or fields[7]:
                return None
            won = True
            fields[0] += 1
            fields[1] = self._now()
            return fields

        self.table.change_session(session.id.encode(), change, self._until())
        return won

    def authenticated(
        self, session: Session, identity: Reference, key: bytes, key_type: bytes
    ) -> None:
        """Note who the session belongs to from now on. key: what proved it."""

        def change(row: list[Any] | None) -> list[Any] | None:
            fields = self._fields(row)
            fields[2:7] = [self._now(), identity.handle, identity.index, digest_of(key), key_type]
            return fields

        self.table.change_session(session.id.encode(), change, self._until())

    def end(self, session: Session) -> None:
        """Forget it; its id is not known again."""

        def change(row: list[Any] | None) -> list[Any] | None:
            fields = self._fields(row)
            fields[3:] = [None, 0, b"", b"", True]
            return fields

        self.table.change_session(session.id.encode(), change, self._now() + _UNUSED_S)

    def _touch(self, text: str) -> None:
        def change(row: list[Any] | None) -> list[Any] | None:
            if row is not None:
                row[2] = self._now()
            return row

        self.table.change_session(text.encode(), change, self._until())

    def _fields(self, row: list[Any] | None) -> list[Any]:
        """generation, nonce made, last used, handle, index, key digest, key type, ended."""
        return list(row) if row is not None else [0, self._now(), 0, None, 0, b"", b"", False]

    def _until(self) -> float:
        return self._now() + self._session_s

    def _nonce(self, text: str, generation: int) -> bytes:
        return self._mac(b"nonce", b"%d:%b" % (generation, text.encode()))[:NONCE_BYTES]

    def _mac(self, purpose: bytes, data: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + data, "sha256")

    def _made_at(self, text: str) -> int | None:
        if len(text) != _ID_LENGTH or text.strip(_DIGITS):
            return None
        number = int(text, 36)
        if number >> (8 * _ID_BYTES):
            return None
        octets = number.to_bytes(_ID_BYTES, "big")
        made, tag = octets[:-_TAG_BYTES], octets[-_TAG_BYTES:]
        if not hmac.compare_digest(self._mac(b"id", made)[:_TAG_BYTES], tag):
            return None
        return int.from_bytes(made[:4], "big")


def digest_of(key: bytes) -> bytes:
    """What a session keeps of the key that proved it."""
    return sha256(key).digest()[:16]


def _base36(number: int) -> str:
    digits = []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
