"""The signature of a lifecycle event: a detached JWS over its JCS octets (RFC 7515 appendix F, RFC 8785).

The protected header has, besides `alg`: `iss` (who says so, `index:handle`), `kid` (the key that
signed, `index:handle`), `iat` (seconds since 1970) and `label` (class and level of the event). The
payload is the event with its eventID, without `recordTime`, which the repository sets. So event,
issuer, key, time and label are bound by one signature, and any JOSE library checks it: put the
base64url of the octets between the two points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import MAX_HEADER_BYTES, algorithm_for, parse_jws, parse_object, sign_jws
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.jwk import format_base64url, parse_base64url
from protocol.keys.policy import STRICT, Policy
from protocol.record import Reference

MAX_EVENT_BYTES: Final = 131_072
"""Longest event, as JCS octets: with base64 it stays within the bounds of a JWS."""
_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class EventClaims:
    """What a signature says besides the event. time_s: of signing, since 1970."""

    issuer: Reference
    key: Reference
    time_s: int
    label: Mapping[str, Any] | None


def sign_event(event: bytes, claims: EventClaims, key: PrivateKey) -> bytes:
    """A detached compact JWS over an event's JCS octets."""
    label = b"" if claims.label is None else orjson.dumps(claims.label, option=_SORTED)
    header = _header(
        algorithm_for(key), claims.issuer.text(), claims.key.text(), claims.time_s, label
    )
    return sign_jws(event, key, header=header, detached=True)


def verify_event(event: bytes, jws: bytes, key: PublicKey, policy: Policy = STRICT) -> EventClaims:
    """What the signature of an event says. Raises SignatureInvalid or ParseError.

    jws: compact, detached or not; one that carries a payload must carry these very octets.
    """
    head, payload, signature = _parts(jws)
    body = format_base64url(event).encode()
    if payload and payload != body:
        raise SignatureInvalid("the signature is over another event")
    parse_jws(b"%b.%b.%b" % (head, body, signature)).verify(key, policy)
    return read_claims(jws)


def read_claims(jws: bytes) -> EventClaims:
    """The header of a signature, nothing verified. Raises ParseError."""
    head, _, _ = _parts(jws)
    header = parse_object(parse_base64url(head.decode("ascii", "replace")))
    issuer, key, time_s, label = (header.get(name) for name in ("iss", "kid", "iat", "label"))
    if not (isinstance(issuer, str) and isinstance(key, str) and type(time_s) is int):
        raise ParseError(
            "the header of an event's signature needs `iss` and `kid` (`index:handle`) and `iat`"
        )
    if label is not None and not isinstance(label, Mapping):
        raise ParseError("`label` in the header of an event's signature is an object")
    return EventClaims(_reference(issuer), _reference(key), time_s, label)


def detached(jws: bytes) -> tuple[bytes, bytes]:
    """A compact JWS without its payload, and the payload. Raises ParseError."""
    head, payload, signature = _parts(jws)
    return b"%b..%b" % (head, signature), parse_base64url(payload.decode("ascii", "replace"))


_SORTED: Final = orjson.OPT_SORT_KEYS


def _parts(jws: bytes) -> tuple[bytes, bytes, bytes]:
    parts = jws.split(b".", _PARTS)
    if len(parts) != _PARTS or len(parts[0]) > MAX_HEADER_BYTES:
        raise ParseError("the signature of an event is a compact JWS: header.payload.signature")
    return parts[0], parts[1], parts[2]


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except UnicodeEncodeError:
        raise ParseError("a reference holds half of a surrogate pair") from None


@lru_cache(maxsize=256)
def _header(algorithm: str, issuer: str, key: str, time_s: int, label: bytes) -> str:
    """The protected header, base64url: the same for all events of a second."""
    fields: dict[str, Any] = {"alg": algorithm, "iat": time_s, "iss": issuer, "kid": key}
    if label:
        fields["label"] = orjson.loads(label)
    return format_base64url(orjson.dumps(fields, option=_SORTED))
