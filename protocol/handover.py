"""Handovers: an old key names the one that comes after it, so that who pinned the old one goes on.

A JWS text signed by the old key. Site keys and log keys are handed over alike. A handover ends with
the overlap of the two keys, and one by a key that was revoked is never given out: then the new key
must be learnt another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import parse_jws, parse_object, sign_jws
from protocol.keys import PrivateKey, PublicKey, encode_public_key
from protocol.keys.jwk import format_jwk, parse_jwk

TYPE: Final = "biaoshi-key-handover"
MOST: Final = 16
"""Handovers looked at in one list."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What one says. begins, ends: seconds since 1970, both included."""

    data: bytes
    old: PublicKey
    new: PublicKey
    subject: str
    begins: int
    ends: int

    def verify(self, now: int) -> None:
        """Raise SignatureInvalid unless the old key signed it and it holds now."""
        parse_jws(self.data).verify(self.old)
        if not self.begins <= now <= self.ends:
            raise SignatureInvalid(f"the handover of {self.subject} does not hold now")


def hand_over(old: PrivateKey, new: PublicKey, subject: str, *, begins: int, ends: int) -> bytes:
    """The text. subject: whose key, such as `300:0.NA/88.118.8`."""
    payload = {
        "exp": ends,
        "from": format_jwk(old.public_key()),
        "nbf": begins,
        "sub": subject,
        "to": format_jwk(new),
        "typ": TYPE,
    }
    return sign_jws(orjson.dumps(payload), old)


def parse_handover(data: bytes) -> Handover:
    """A handover, not verified. Raises ParseError."""
    payload = parse_object(parse_jws(data).payload)
    begins, ends, subject = payload.get("nbf"), payload.get("exp"), payload.get("sub")
    if payload.get("typ") != TYPE or type(begins) is not int or type(ends) is not int:
        raise ParseError("this is no handover of a key")
    if not isinstance(subject, str) or len(subject) > 2_048:
        raise ParseError("a handover names whose key it is")
    keys = parse_jwk(payload.get("from")), parse_jwk(payload.get("to"))
    return Handover(data, *keys, subject, begins, ends)


def successors(
    pinned: Iterable[PublicKey], texts: Sequence[bytes], subject: str | None, now: int
) -> frozenset[bytes]:
    """The pinned keys and those they handed over to, step by step, encoded.

    subject: whose keys; None takes anyone's. What does not parse or hold is passed over.
    """
    trusted = {encode_public_key(key) for key in pinned}
    waiting = list(texts[:MOST])
    while True:
        left: list[bytes] = []
        for text in waiting:
            try:
                found = parse_handover(text)
                if subject not in (None, found.subject):
                    continue
                if encode_public_key(found.old) not in trusted:
                    left.append(text)
                    continue
                found.verify(now)
            except (ParseError, SignatureInvalid):
                continue
            trusted.add(encode_public_key(found.new))
        if len(left) == len(waiting) or not left:
            return frozenset(trusted)
        waiting = left
