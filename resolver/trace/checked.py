"""What another node gave as events, checked one by one (§9.4 step 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol.epcis.event import event_id, time_us
from protocol.epcis.jcs import canonical
from protocol.epcis.moment import parse_time_us
from protocol.errors import BiaoshiError, ParseError, SignatureInvalid
from protocol.event_signature import EventClaims, read_claims
from protocol.name import fold_prefix
from protocol.record import Reference
from registry.events.proof import verify_logged, verify_signature
from registry.events.writing import prefix_of_actor
from registry.receipt import parse_receipt
from resolver.trace.foreign import ForeignEvent
from resolver.trace.keybook import KeyBook, Keys


async def checked(shape: Any, keys: KeyBook) -> ForeignEvent:
    """An event with its proof, as registry.events.proof writes it.

    Raises SignatureInvalid or ParseError: by nobody that is known, not entitled, or altered.
    """
    if not isinstance(shape, Mapping) or not isinstance(shape.get("event"), Mapping):
        raise ParseError("a foreign event is an object with `event`, `signature` and `receipt`")
    claims = read_claims(str(shape.get("signature")).encode("ascii", "replace"))
    found = await keys.find(claims.key)
    verify_signature(shape, found.keys)
    _require_entitled(claims, found)
    event = shape["event"]
    own = event_id(event)
    if own is None:
        raise ParseError("a foreign event has no eventID")
    time_us(event)
    recorded = shape.get("recordTime")
    record_us = parse_time_us(recorded) if isinstance(recorded, str) else 0
    evidence = {
        "event": own,
        "signature": "ok",
        "signer": claims.key.text(),
        "issuer": claims.issuer.text(),
        "trust": found.trust,
        "receipt": _receipt(shape, found, claims),
    }
    return ForeignEvent(
        own,
        canonical(event),
        claims.issuer.text(),
        claims.label,
        str(shape["signature"]).encode(),
        record_us,
        evidence,
    )


def _require_entitled(claims: EventClaims, found: Keys) -> None:
    """A key speaks for identities of its own prefix, or of one that its node is home to.

    The key's record must be signed up to a trusted root: so its prefix was given to who signs.
    """
    if found.trust not in ("own", "local", "verified"):
        raise SignatureInvalid(
            f"the key {claims.key.text()} is not vouched for up to a trusted root ({found.trust})"
        )
    issuer, signer = prefix_of_actor(claims.issuer), prefix_of_actor(claims.key)
    if issuer != signer and not issuer.startswith(signer + b"."):
        raise SignatureInvalid(
            f"{claims.key.text()} may not sign for {claims.issuer.text()}: another prefix"
        )


def _receipt(shape: Mapping[str, Any], found: Keys, claims: EventClaims) -> Mapping[str, Any]:
    """Where the event lies in its log; a receipt that does not hold is refused."""
    if shape.get("receipt") is None:
        return {"verified": False}
    raw = [key.public_bytes_raw() for key in _log_keys(found.keys) if _is_log_key(claims.key)]
    if not raw:
        return {"verified": False}
    try:
        said = verify_logged(shape, raw)
        index = parse_receipt(shape["receipt"]).index
    except BiaoshiError as error:
        raise SignatureInvalid(f"the receipt of an event does not hold: {error}") from None
    return {"log": said.origin, "index": index, "size": said.size, "verified": True}


def _log_keys(keys: Sequence[Any]) -> list[Ed25519PublicKey]:
    return [key for key in keys if isinstance(key, Ed25519PublicKey)]


def _is_log_key(reference: Reference) -> bool:
    return reference.index == 302 and fold_prefix(reference.handle).startswith(b"0.NA/")
