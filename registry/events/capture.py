"""From an event as it was sent to a signed change: done in the process that took it.

The event is given its eventID, brought into its JCS form and signed; what the tables will find it
by is worked out here too, so that the writer has nothing to do but to append.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocol.change import Change, Kind
from protocol.epcis.event import event_id, time_us
from protocol.epcis.eventhash import Version, event_hash
from protocol.epcis.jcs import canonical, loads
from protocol.errors import InvalidValue, SignatureInvalid
from protocol.event_signature import (
    MAX_EVENT_BYTES,
    EventClaims,
    detached,
    read_claims,
    sign_event,
    verify_event,
)
from protocol.keys import PrivateKey, PublicKey
from protocol.name import fold_prefix, prefix_record
from protocol.record import Reference
from registry.events.keys import index_heads, trace_heads
from registry.events.writing import (
    EVENT,
    ISSUER,
    KEYS,
    LABEL,
    MAX_ID_BYTES,
    MISMATCH,
    OWN,
    PREFIX,
    RECORD_TIME,
    SIGNATURE,
)
from registry.keys import NodeKeys
from registry.labels import check_label
from registry.signing import LOG_KEY_INDEX, SITE_KEY_INDEX

RECORD_TIME_FIELD: Final = "recordTime"
CONTEXT: Final = "@context"
MAX_SKEW_S: Final = 86_400
"""How far an issuer's own signing time may lie from ours."""


@dataclass(frozen=True, slots=True)
class EventSigner:
    """Signs events. reference: where the public key is, `302:0.NA/P`."""

    reference: Reference
    key: PrivateKey


def node_event_signer(keys: NodeKeys, prefix: bytes) -> EventSigner:
    """The signer of a node: its log key, which lies at 302:0.NA/P."""
    return EventSigner(Reference(prefix_record(prefix), LOG_KEY_INDEX), keys.log_private)


def operator_of(prefix: bytes) -> Reference:
    """Who is the issuer of what a node's own operator captures: 300:0.NA/P."""
    return Reference(prefix_record(prefix), SITE_KEY_INDEX)


def make_change(
    event: Mapping[str, Any],
    *,
    issuer: Reference,
    signer: EventSigner,
    now_us: int,
    actor: Reference | None = None,
    context: Any = None,
    label: Mapping[str, Any] | None = None,
    prefix: bytes | None = None,
    memberships: tuple[Reference, ...] = (),
    cbv: Version = "2.0",
    mismatch: bool = False,
) -> Change:
    """The change that captures an event, signed by the node for its issuer.

    event: valid (protocol.epcis.schema), of JSON values; not altered. issuer: who says so; the
    authenticated actor, or operator_of() with no actor. now_us: microseconds since 1970, the record
    time. context: the `@context` of the document around it. label: as registry.labels.check_label
    gives it; None: the default. prefix: on whose behalf, where it is not the issuer's own. cbv: the
    rules for an eventID that is missing. mismatch: its eventID claims a hash that it has not. Raises
    InvalidValue.
    """
    kept = {name: value for name, value in event.items() if name != RECORD_TIME_FIELD}
    extensions = kept_context(context, kept.get(CONTEXT))
    kept.pop(CONTEXT, None)
    if extensions:
        kept[CONTEXT] = extensions
    own = event_id(kept)
    if own is None:
        own = event_hash(kept, version=cbv).hash
        kept["eventID"] = own
    octets = canonical(kept)
    claims = EventClaims(issuer, signer.reference, now_us // 1_000_000, label)
    _require_size(octets)
    signature = sign_event(octets, claims, signer.key)
    attributes = _attributes(kept, octets, own, signature, issuer, label, now_us)
    if mismatch:
        attributes[MISMATCH] = True
    return _change(own, attributes, actor, prefix, memberships)


def signed_change(
    jws: bytes,
    keys: Sequence[PublicKey],
    *,
    actor: Reference,
    now_us: int,
    prefix: bytes | None = None,
    memberships: tuple[Reference, ...] = (),
) -> tuple[Change, dict[str, Any]]:
    """The change that captures an event which its issuer signed, and the event.

    jws: compact, its payload the event in JCS form with an eventID and without recordTime; its
    header as protocol.event_signature says, `iss` the actor. keys: the public keys that `kid`
    names. Raises SignatureInvalid, InvalidValue, ParseError.
    """
    claims = read_claims(jws)
    signature, octets = detached(jws)
    if claims.issuer.index != actor.index or not _same(claims.issuer, actor):
        raise SignatureInvalid(
            f"the event is signed for {claims.issuer.text()} and sent by {actor.text()}; "
            "send it as its issuer"
        )
    if not _same(claims.key, actor):
        raise SignatureInvalid(
            f"the event of {actor.text()} is signed with {claims.key.text()}, which is no key of its"
        )
    if abs(claims.time_s - now_us // 1_000_000) > MAX_SKEW_S:
        raise SignatureInvalid("the event was signed more than a day from now; sign it again")
    _require_size(octets)
    _verify(octets, jws, keys, claims)
    kept = loads(octets, "the signed event")
    if not isinstance(kept, dict) or canonical(kept) != octets:
        raise InvalidValue(
            "the payload of a signed event is its RFC 8785 (JCS) form, octet by octet"
        )
    own = event_id(kept)
    if own is None or RECORD_TIME_FIELD in kept:
        raise InvalidValue("a signed event has an `eventID` and no `recordTime`")
    label = None if claims.label is None else check_label(claims.label)
    if label != claims.label:
        raise InvalidValue("the `label` that is signed needs both `class` and `level`")
    attributes = _attributes(kept, octets, own, signature, actor, label, now_us)
    return _change(own, attributes | {OWN: True}, actor, prefix, memberships), kept


def kept_context(document: Any, event: Any) -> list[Any]:
    """What of the contexts an event needs to be read alone: all but the standard's own.

    document, event: `@context` of the document and of the event: a URL, an object or a list.
    """
    found: list[Any] = []
    for context in (document, event):
        for item in context if isinstance(context, list) else [context]:
            own = isinstance(item, Mapping) or (
                isinstance(item, str) and not is_standard_context(item)
            )
            if own and item and item not in found:
                found.append(item)
    return found


def is_standard_context(url: str) -> bool:
    """Whether a URL is that of the EPCIS context, which every answer names by itself."""
    return url.endswith("epcis-context.jsonld")


def _verify(octets: bytes, jws: bytes, keys: Sequence[PublicKey], claims: EventClaims) -> None:
    problem = f"no public key is known at {claims.key.text()}; register it there first"
    for key in keys:
        try:
            verify_event(octets, jws, key)
        except SignatureInvalid as error:
            problem = str(error)
        else:
            return
    raise SignatureInvalid(problem)


def _attributes(
    kept: Mapping[str, Any],
    octets: bytes,
    own: str,
    signature: bytes,
    issuer: Reference,
    label: Mapping[str, Any] | None,
    now_us: int,
) -> dict[str, Any]:
    time = time_us(kept)
    return {
        EVENT: octets,
        ISSUER: issuer.text(),
        KEYS: [time, trace_heads(kept, time), index_heads(kept, own, time)],
        LABEL: None if label is None else dict(label),
        RECORD_TIME: now_us,
        SIGNATURE: signature,
    }


def _change(
    own: str,
    attributes: dict[str, Any],
    actor: Reference | None,
    prefix: bytes | None,
    memberships: tuple[Reference, ...],
) -> Change:
    try:
        handle = own.encode()
    except UnicodeEncodeError:
        raise InvalidValue("the eventID holds half of a surrogate pair") from None
    if not 0 < len(handle) <= MAX_ID_BYTES:
        raise InvalidValue(f"an eventID has 1 to {MAX_ID_BYTES} octets, not {len(handle)}")
    if prefix is not None:
        attributes[PREFIX] = prefix
    return Change(Kind.EVENT, handle, actor=actor, attributes=attributes, memberships=memberships)


def _require_size(octets: bytes) -> None:
    if len(octets) > MAX_EVENT_BYTES:
        raise InvalidValue(
            f"an event of {len(octets)} octets is above {MAX_EVENT_BYTES}; split it, or name large "
            "content by its address and digest"
        )


def _same(one: Reference, other: Reference) -> bool:
    return fold_prefix(one.handle) == fold_prefix(other.handle)
