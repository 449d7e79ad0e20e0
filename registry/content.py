"""When two sets of values say the same: what a repeated registration is compared by.

Left out: timestamps (the server's), the order of values, and of an HS_SIGNATURE the moments of
signing (iat, nbf, exp), the spelling of the handle in large or small letters, and the signature
octets that follow from them. So signing the same values again, by the same signer, changes nothing.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import orjson

from protocol.batch_signature import HEADER
from protocol.change import Change, pack
from protocol.name import fold
from protocol.record import HandleValue
from registry.rules import HS_SIGNATURE

_ALONE = b"eyJhbGciOiJFZDI1NTE5In0"
"""The header of an Ed25519 signature by itself, which says the same as one of a batch."""
MOMENTS = frozenset(("iat", "nbf", "exp"))
"""Claims that tell when a signature was made and how long it holds."""


def comparable(values: Iterable[HandleValue]) -> list[tuple[Any, ...]]:
    """The values in the order of their indexes, without what does not count."""
    return sorted(
        (
            value.index,
            value.type,
            _timeless(value.data) if value.type == HS_SIGNATURE else value.data,
            value.ttl,
            value.ttl_type,
            value.permissions,
            tuple((r.handle, r.index) for r in value.references),
        )
        for value in values
    )


def same_content(one: Iterable[HandleValue], other: Iterable[HandleValue]) -> bool:
    """Whether two sets of values say the same."""
    return comparable(one) == comparable(other)


def _timeless(jws: bytes) -> bytes:
    """The claims of a compact JWS without its moments; other data as it is."""
    parts = jws.split(b".")
    if len(parts) != 3:
        return jws
    try:
        claims = orjson.loads(urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except ValueError:
        return jws
    if not isinstance(claims, dict):
        return jws
    kept = {name: claim for name, claim in claims.items() if name not in MOMENTS}
    if isinstance(kept.get("sub"), str):
        kept["sub"] = fold(kept["sub"].encode("utf-8", "surrogatepass")).hex()
    head = _ALONE if parts[0] == HEADER else parts[0]
    return head + b"." + orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def change_digest(change: Change) -> bytes:
    """What an idempotency key is bound to: everything asked for but the key itself."""
    if change.body_digest is not None:
        return change.body_digest
    actor = change.actor
    return sha256(
        pack(
            {
                "actor": [actor.handle, actor.index] if actor else None,
                "attributes": change.attributes,
                "expected": change.expected_version,
                "handle": change.handle,
                "indexes": list(change.indexes),
                "kind": change.kind.value,
                "overwrite": change.overwrite,
                "values": [list(value) for value in comparable(change.values)],
            }
        )
    ).digest()
