"""What can be said of an exported event from files alone: its signature and its place in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol.chain import Roots
from protocol.errors import ParseError, SignatureInvalid
from protocol.event_disclosure import FORMAT as DISCLOSURE
from protocol.event_disclosure import Disclosed, read_signer, verify_disclosure
from protocol.event_signature import read_claims
from protocol.keys import PublicKey, decode_public_key
from protocol.record import HandleValue, Reference
from registry.events.proof import verify_logged, verify_signature
from registry.rules import HS_PUBKEY
from registry.signing import LOG_KEY_INDEX
from resolver.verify import Need, Verifier

Fetch = Callable[[bytes], Awaitable[Sequence[HandleValue]]]


def event_name(shape: Mapping[str, Any]) -> bytes:
    """The eventID of an exported event; none of a disclosure, whose signature says it.

    Raises ParseError.
    """
    if shape.get("format") == DISCLOSURE:
        return b""
    event = shape.get("event")
    name = event.get("eventID") if isinstance(event, Mapping) else None
    if not isinstance(name, str):
        raise ParseError("an exported event has an `event` with its `eventID`")
    return name.encode("utf-8", "replace")


async def check_event(
    shape: Mapping[str, Any],
    *,
    signers: Sequence[PublicKey],
    roots: Sequence[PublicKey],
    log_keys: Sequence[bytes],
    now_s: int,
    fetch: Fetch,
) -> list[str]:
    """What held, in words. Raises SignatureInvalid or ParseError: something does not.

    signers: believed by themselves. roots: where the chain of the signer's record may end; that
    record and those above it come from `fetch`. An event that its node signed is then looked for
    in the log by that very key, where no log_keys are given.
    """
    held: list[str] = []
    keys = list(signers)
    if shape.get("format") == DISCLOSURE:
        if roots and not keys:
            keys = await _keys_of(read_signer(shape), roots, now_s, fetch)
        return _disclosed(verify_disclosure(shape, keys or _ed25519(log_keys)))
    if roots and not keys:
        keys = await _published(shape, roots, now_s, fetch)
        log_keys = log_keys or _log_keys(shape, keys)
    if keys:
        claims = verify_signature(shape, keys)
        when = datetime.fromtimestamp(claims.time_s, UTC)
        held.append(
            f"signed by {claims.key.text()} for {claims.issuer.text()} at {when:%Y-%m-%dT%H:%M:%SZ}"
        )
    if log_keys:
        said = verify_logged(shape, log_keys)
        sequence = shape["receipt"]["sequence"]
        held.append(f"change {sequence} is in {said.origin} of {said.size} changes")
        held.append("it captured this event with this signature")
    return held


def _log_keys(shape: Mapping[str, Any], keys: Sequence[PublicKey]) -> list[bytes]:
    """A node signs its log with the key it signs events with: 302 of its prefix's record."""
    if read_claims(str(shape["signature"]).encode()).key.index != LOG_KEY_INDEX:
        return []
    return [key.public_bytes_raw() for key in keys if isinstance(key, Ed25519PublicKey)]


async def _published(
    shape: Mapping[str, Any], roots: Sequence[PublicKey], now_s: int, fetch: Fetch
) -> list[PublicKey]:
    """The signer's key, out of its record once that was verified up to a root."""
    signature = shape.get("signature")
    if not isinstance(signature, str):
        raise ParseError("an exported event has a `signature`")
    return await _keys_of(
        read_claims(signature.encode("utf-8", "replace")).key, roots, now_s, fetch
    )


def _ed25519(log_keys: Sequence[bytes]) -> list[PublicKey]:
    """A node signs disclosures with the key that signs its log."""
    return [Ed25519PublicKey.from_public_bytes(key) for key in log_keys]


def _disclosed(said: Disclosed) -> list[str]:
    """What a verified disclosure proves, in words."""
    names = ", ".join(sorted(said.fields)) or "no field"
    return [
        f"{said.signer.text()} says of {said.event_id} by {said.issuer}: {names} as disclosed",
        f"captured by change {said.change} of its log, leaf {said.leaf[:16]}…",
    ]


async def _keys_of(
    reference: Reference, roots: Sequence[PublicKey], now_s: int, fetch: Fetch
) -> list[PublicKey]:
    values = await fetch(reference.handle)
    if not values:
        raise SignatureInvalid(
            f"the record of {reference.text()}, which signed, is in none of the files: --records"
        )
    verifier = Verifier(wall=lambda: now_s)
    await verifier.verify(
        reference.handle, values, Need.REQUIRED, Roots.of(tuple(roots), None), fetch
    )
    return [
        decode_public_key(value.data)
        for value in values
        if value.index == reference.index and value.type.upper() == HS_PUBKEY
    ]
