"""Whether the keys that vouched for a kept record still stand (threats I3).

A kept record was verified through the certificates in some prefix records. Those are kept for
`recursion.key_status_s` at most, whatever their TTL; while they say the same, the proof of the record
holds on without any signature being checked again. Once they say something else, it is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from protocol.record import HandleValue
from protocol.signature import HS_CERT, REVOKED
from resolver.cache import Cache, Entry
from resolver.wire_values import Slice

Voucher = tuple[bytes, bytes]
"""A prefix record's name and the digest of its certificates; empty: not known any more."""
_TOLD = frozenset((HS_CERT, REVOKED))


def tells_of_keys(values: Iterable[HandleValue]) -> bool:
    """Whether a record has certificates, or says that a key was revoked."""
    return any(value.type in _TOLD for value in values)


def standing_of(values: bytes, parts: Iterable[Slice]) -> bytes:
    """The digest of what a record says about keys."""
    digest = sha256()
    for part in parts:
        if part.type in _TOLD:
            digest.update(values[part.start : part.end])
    return digest.digest()


def voucher_of(entry: Entry) -> Voucher:
    """What a kept prefix record vouches with."""
    return entry.handle, standing_of(entry.values, entry.parts())


def still_stands(cache: Cache, entry: Entry) -> float | None:
    """Until when a proof holds on, by what is kept fresh; None where that does not say so."""
    until = float("inf")
    for name, digest in entry.vouchers:
        found = cache.fresh(name)
        if found is None or voucher_of(found)[1] != digest:
            return None
        until = min(until, found.expires_at)
    return until


def contradicted(cache: Cache, entry: Entry) -> bool:
    """Whether a fresh prefix record says something else than when the record was verified."""
    for name, digest in entry.vouchers:
        found = cache.fresh(name) if digest else None
        if found is not None and voucher_of(found)[1] != digest:
            return True
    return False
