"""Keys that come and go between a child and its parent: what an application says of them besides.

A child that replaced its site key shows a handover by the key that the parent published; whatever
else it changes, its site key signs for. A revoked key vouches for nothing, and what was once told
as revoked stays told.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final

from protocol.errors import ParseError
from protocol.handover import MOST, successors
from protocol.keys import PublicKey, decode_public_key, encode_public_key
from protocol.keys.sm2 import Sm2PublicKey
from protocol.name import prefix_record
from registry.rotation import MOST_REVOKED, FormerKey, RevokedKey, former_of, revoked_of

_MOST_FORMER: Final = 4


@dataclass(frozen=True, slots=True)
class MoreKeys:
    """What an application says of further keys. handovers: see protocol.handover."""

    national: Sm2PublicKey | None = None
    former: tuple[FormerKey, ...] = ()
    revoked: tuple[RevokedKey, ...] = ()
    handovers: tuple[bytes, ...] = ()

    def attributes(self) -> dict[str, Any]:
        """What the parent keeps; nothing where there is nothing. msgpack-able."""
        return {name: value for name, value in self.attributes_anyway().items() if value}

    def attributes_anyway(self) -> dict[str, Any]:
        """The same with what is empty, to take the place of what was told before."""
        return {
            "former": [one.shape() for one in self.former],
            "revoked": [one.shape() for one in self.revoked],
            "national": encode_public_key(self.national) if self.national else b"",
        }

    def payload(self) -> dict[str, Any]:
        """The same as JSON, with the handovers."""
        made: dict[str, Any] = {
            "former": [[i, _text(k), *rest] for i, k, *rest in (f.shape() for f in self.former)],
            "revoked": [[i, _text(k), *rest] for i, k, *rest in (r.shape() for r in self.revoked)],
            "national": _text(encode_public_key(self.national)) if self.national else "",
            "handovers": [text.decode() for text in self.handovers],
        }
        return {name: value for name, value in made.items() if value}


NO_MORE: Final = MoreKeys()


def more_of_attributes(held: Mapping[str, Any]) -> MoreKeys:
    """The inverse of attributes(). Raises ParseError."""
    national = held.get("national")
    return MoreKeys(
        _sm2(decode_public_key(national)) if national else None,
        former_of(held.get("former", ())),
        revoked_of(held.get("revoked", ())),
    )


def more_of_payload(said: Mapping[str, Any]) -> MoreKeys:
    """The inverse of payload(). Raises ParseError."""
    try:
        former = [[i, _octets(k), *rest] for i, k, *rest in _list(said, "former", _MOST_FORMER)]
        revoked = [[i, _octets(k), *rest] for i, k, *rest in _list(said, "revoked", MOST_REVOKED)]
        national = said.get("national")
        handovers = tuple(str(text).encode() for text in _list(said, "handovers", MOST))
    except (TypeError, ValueError) as error:
        raise ParseError(f"the request garbles its further keys: {error}") from None
    return MoreKeys(
        _sm2(decode_public_key(_octets(national))) if national else None,
        former_of(former),
        revoked_of(revoked),
        handovers,
    )


def merged(held: Mapping[str, Any], said: MoreKeys) -> MoreKeys:
    """What a parent publishes: what the child says, and every revocation told before."""
    known = more_of_attributes(held)
    told = {encode_public_key(one.key): one for one in (*known.revoked, *said.revoked)}
    revoked = tuple(told.values())[-MOST_REVOKED:]
    former = tuple(f for f in said.former if encode_public_key(f.key) not in told)
    return MoreKeys(said.national, former, revoked, said.handovers)


def vouched_for(
    prefix: bytes, held: Mapping[str, Any], site_key: PublicKey, said: MoreKeys, now: float
) -> bool:
    """Whether the site key of an application is that of a prefix's row, or was handed over by it.

    held: the row's attributes. The application itself is signed by `site_key`. A node hands over
    the keys of its own prefix; of a further one the row says which that is.
    """
    keys = held.get("keys")
    own = keys.get("300") if isinstance(keys, Mapping) else None
    if not isinstance(own, bytes):
        return False
    revoked = {encode_public_key(one.key) for one in more_of_attributes(held).revoked}
    wanted = encode_public_key(site_key)
    if wanted in revoked or own in revoked:
        return False
    if compare_digest(own, wanted):
        return True
    subject = f"300:{prefix_record(held.get('home') or prefix).decode()}"
    return wanted in successors([decode_public_key(own)], said.handovers, subject, int(now))


def _sm2(key: PublicKey) -> Sm2PublicKey:
    if not isinstance(key, Sm2PublicKey):
        raise ParseError("key 304 must be an SM2 key")
    return key


def _list(said: Mapping[str, Any], name: str, most: int) -> Sequence[Any]:
    value = said.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise TypeError(name)
    return value


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _octets(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a base64 text")
    return b64decode(value, validate=True)
