"""An event as it is exported: with its signature and its receipt, to be checked by anyone.

{"format", "event", "recordTime", "issuer", "label", "signature", "receipt"}. The receipt opens the
body of the change, so that the leaf, and with it the log, speaks for exactly this event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol import note
from protocol.change import Kind
from protocol.epcis.jcs import canonical
from protocol.epcis.moment import format_time_us
from protocol.errors import ParseError, SignatureInvalid, StoreError
from protocol.event_signature import EventClaims, read_claims, verify_event
from protocol.keys import PublicKey
from registry.events.index import parse_event
from registry.events.row import EventRow
from registry.events.writing import EVENT, ISSUER, LABEL, SIGNATURE
from registry.log import decode_body
from registry.receipt import Opened, make_receipt, parse_receipt, verify_receipt
from registry.store import Snapshot

FORMAT: Final = "biaoshi-event/1"


def prove(state: Snapshot, sequence: int, row: EventRow) -> dict[str, Any]:
    """An event with what proves it. Raises StoreError: the log is damaged."""
    return {
        "format": FORMAT,
        "event": parse_event(row.event),
        "recordTime": format_time_us(row.record_us),
        "issuer": row.issuer,
        "label": row.label,
        "signature": row.signature.decode(),
        "receipt": make_receipt(state, sequence, Opened.BODY).shape(),
    }


def verify_signature(shape: Mapping[str, Any], keys: Sequence[PublicKey]) -> EventClaims:
    """What the signature of an exported event says, by one of these keys.

    Raises SignatureInvalid: none of them made it, or the shape says something else than it.
    """
    event, jws = canonical(shape.get("event")), _text(shape, "signature").encode()
    claims = read_claims(jws)
    problem = "no key was given"
    for key in keys:
        try:
            verify_event(event, jws, key)
            break
        except SignatureInvalid as error:
            problem = str(error)
    else:
        raise SignatureInvalid(f"the event of {claims.issuer.text()}: {problem}")
    if claims.issuer.text() != shape.get("issuer") or claims.label != shape.get("label"):
        raise SignatureInvalid("issuer or label beside the event are not those that were signed")
    return claims


def verify_logged(shape: Mapping[str, Any], log_keys: Sequence[bytes]) -> note.Checkpoint:
    """The checkpoint that the receipt of an exported event leads to.

    Raises SignatureInvalid unless the log has just this event with this signature.
    """
    receipt = parse_receipt(shape.get("receipt"))
    said = verify_receipt(receipt, log_keys)
    if receipt.body is None:
        raise SignatureInvalid("the receipt does not open the event; it proves nothing about it")
    try:
        _, body = decode_body(receipt.body)
    except StoreError as error:
        raise ParseError(str(error)) from None
    logged = body.attributes or {}
    wanted = {
        EVENT: canonical(shape.get("event")),
        ISSUER: shape.get("issuer"),
        LABEL: shape.get("label"),
        SIGNATURE: _text(shape, "signature").encode(),
    }
    if body.kind != Kind.EVENT or any(logged.get(name) != one for name, one in wanted.items()):
        raise SignatureInvalid("the log has another event than this at that place")
    return said


def _text(shape: Mapping[str, Any], name: str) -> str:
    value = shape.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise ParseError(f"an exported event has a `{name}`")
    return value
