"""What the writer decides about an event: who may, is it known, which rows.

Whether it is a valid event was decided before it reached the writer (protocol.epcis.schema), and
its signature was made or checked there; here are rights, identity and order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from protocol.change import Change
from protocol.epcis.event import time_us
from protocol.errors import (
    BiaoshiError,
    HandleExists,
    InvalidValue,
    NotAuthorized,
    ParseError,
    StoreError,
)
from protocol.event_signature import MAX_EVENT_BYTES
from protocol.name import described_prefix, fold_prefix, prefix_of, prefix_record
from protocol.record import Reference
from protocol.values.hs_admin import Permission
from registry.access import Access
from registry.events.keys import (
    Index,
    declares_error,
    hash16,
    index_heads,
    keys,
    sequence_of,
    trace_heads,
)
from registry.events.row import (
    CLIENT_SIGNED,
    DECLARES_ERROR,
    ID_MISMATCH,
    EventRow,
    decode_event_row,
)
from registry.labels import GRANTED, level_of
from registry.log import sequence_key
from registry.prefixes import HOMED
from registry.store import Snapshot, Table, Write

if TYPE_CHECKING:
    from registry.batch import Batch

MAX_ID_BYTES: Final = 2_048
EVENT: Final = "event"
SIGNATURE: Final = "signature"
LABEL: Final = "label"
ISSUER: Final = "issuer"
RECORD_TIME: Final = "record_time_us"
PREFIX: Final = "prefix"
MISMATCH: Final = "id_mismatch"
OWN: Final = "own_signature"
KEYS: Final = "keys"
"""Attribute of a change, not logged: [event time µs, TRACE heads, SECONDARY heads], as made by the
process that read the event. Where it is missing the writer makes them."""
LOGGED: Final = (EVENT, MISMATCH, ISSUER, LABEL, OWN, PREFIX, RECORD_TIME, SIGNATURE)
"""Attributes that lie in the body of the change, in the order of canonical msgpack."""
CAPTURE: Final = int(Permission.ADD_HANDLE)
"""The right in `0.NA/P` that capturing on behalf of P asks for: that of registering there."""


@dataclass(frozen=True, slots=True)
class Captured:
    """An event on its way into the tables. trace, index: heads (registry.events.keys)."""

    row: EventRow
    trace: bytes
    index: bytes

    def row_write(self, sequence: int) -> Write:
        """The event itself."""
        return Write(Table.EVENTS, sequence_key(sequence), self.row.encode())

    def writes(self, sequence: int) -> list[Write]:
        """Every row of the event and of its indexes."""
        trace, index = Table.TRACE, Table.SECONDARY
        made = [self.row_write(sequence)]
        made += [Write(trace, key, b"") for key in keys(self.trace, sequence)]
        made += [Write(index, key, b"") for key in keys(self.index, sequence)]
        return made


def captured(event_id: bytes, attributes: Mapping[str, Any] | None) -> Captured:
    """The event of a change or of a logged body. Raises InvalidValue: not made as it should be."""
    try:
        fields = attributes or {}
        event, signature, issuer = fields[EVENT], fields[SIGNATURE], fields[ISSUER]
        record_us, label, made = fields[RECORD_TIME], fields.get(LABEL), fields.get(KEYS)
        if isinstance(signature, str):
            signature = signature.encode()
        if not 0 < len(event_id) <= MAX_ID_BYTES or not 0 < len(event) <= MAX_EVENT_BYTES:
            raise InvalidValue(
                f"an event has an eventID of at most {MAX_ID_BYTES} octets and at most "
                f"{MAX_EVENT_BYTES} octets in all, not {len(event)}"
            )
        text = event_id.decode()
        if made is None:
            parsed = orjson.loads(event)
            at = time_us(parsed)
            made = at, trace_heads(parsed, at), index_heads(parsed, text, at)
        time, trace, index = made
        declares = DECLARES_ERROR if declares_error(index) else 0
        flags = declares | (CLIENT_SIGNED if fields.get(OWN) else 0)
        flags |= ID_MISMATCH if fields.get(MISMATCH) else 0
        row = EventRow(text, time, record_us, issuer, label, flags, signature, event)
    except (ParseError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidValue(f"not an event as registry.events.capture makes it: {error!r}") from None
    return Captured(row, trace, index)


def stored_event(row: EventRow) -> Captured:
    """The event of a stored row, its keys made again. Raises StoreError."""
    try:
        parsed = orjson.loads(row.event)
        at = time_us(parsed)
        trace, index = trace_heads(parsed, at), index_heads(parsed, row.event_id, at)
        return Captured(row, trace, index)
    except (BiaoshiError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"the stored event {row.event_id:.80} is damaged: {error!r}") from None


def logged(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that lie in the body."""
    label = attributes.get(LABEL)
    return {
        name: attributes[name] if name != LABEL else label and dict(sorted(label.items()))
        for name in LOGGED
        if attributes.get(name) is not None
    }


def require_entitled(batch: Batch, access: Access, change: Change) -> None:
    """Raise NotAuthorized unless the actor may capture: by a prefix homed here, or as operator."""
    actor, attributes = change.actor, change.attributes or {}
    if actor is None:
        return
    if attributes.get(ISSUER) != actor.text():
        raise NotAuthorized(
            f"{actor.text()} may not capture events of {attributes.get(ISSUER)!s:.80}: the issuer "
            "of an event is who sends it"
        )
    if access.is_server_admin(actor):
        return
    prefix = attributes.get(PREFIX) or prefix_of_actor(actor)
    with access.knowing(change.memberships):
        homed = batch.prefix_state(prefix) == HOMED
        if homed and access.allows(actor, prefix_record(prefix), CAPTURE):
            return
    raise NotAuthorized(
        f"{actor.text()} may not capture events here: it is no administrator of a prefix that is "
        "homed at this node; ask one to name it in an HS_ADMIN value with the right to add handles"
    )


def prefix_of_actor(actor: Reference) -> bytes:
    """The folded prefix that an identity speaks for by itself: P of `300:0.NA/P` and of P/alice."""
    folded = fold_prefix(actor.handle)
    return (described_prefix(folded) or prefix_of(folded)).upper()


def first_same(batch: Batch, access: Access, change: Change, row: EventRow) -> int | None:
    """The sequence of the event that was captured already with this content; None: it is new.

    Raises HandleExists: its eventID has other content; NotAuthorized: an error declaration (§1.6)
    about somebody else's event.
    """
    known = _known(batch, row.event_id)
    if not known:
        return None
    for sequence, held in known:
        if held.event == row.event:
            return sequence
    bare = _undeclared(row.event)
    if any(_undeclared(held.event) != bare for _, held in known):
        raise HandleExists(
            f"the eventID {row.event_id} was captured with other content; give the event an "
            "eventID of its own, or correct the first by a copy with an errorDeclaration"
        )
    if row.flags & DECLARES_ERROR:
        for _, held in known:
            _require_withdrawing(access, change, held)
            if level_of(row.label) < level_of(held.label):
                raise InvalidValue(
                    f"a copy of {row.event_id} cannot be more public than the event: label it "
                    f"{level_of(held.label)} or above"
                )
            both = level_of(row.label) == GRANTED == level_of(held.label)
            if both and _granted_by(row) != _granted_by(held):
                raise InvalidValue(
                    f"a copy of {row.event_id} has the class and purpose of the event, or a level "
                    "above it: others might be granted what the copy says"
                )
    return None


def _granted_by(row: EventRow) -> tuple[Any, Any]:
    """What of a label grants ask for."""
    label = row.label or {}
    return label.get("class", "operation"), label.get("purpose")


def _known(batch: Batch, event_id: str) -> list[tuple[int, EventRow]]:
    """The events of this id: of the batch and stored."""
    found = list(batch.captured(event_id))
    head = bytes((Index.EVENT_ID,)) + hash16(event_id)
    for key, _ in batch.state.scan(Table.SECONDARY, head, head + b"\xff" * 17):
        sequence = sequence_of(key)
        held = read_event_row(batch.state, sequence)
        if held is not None and held.event_id == event_id:
            found.append((sequence, held))
    return sorted(found, key=lambda one: one[0])


def read_event_row(state: Snapshot, sequence: int) -> EventRow | None:
    """The row of an event. Raises StoreError: damaged."""
    raw = state.get(Table.EVENTS, sequence_key(sequence))
    return None if raw is None else decode_event_row(raw)


def _undeclared(event: bytes) -> Any:
    try:
        fields = orjson.loads(event)
        fields.pop("errorDeclaration", None)
    except (ValueError, AttributeError) as error:
        raise StoreError(f"a stored event is damaged: {error}") from None
    return fields


def _require_withdrawing(access: Access, change: Change, held: EventRow) -> None:
    """An error is declared by who captured the event, or by who administers that prefix."""
    actor = change.actor
    if actor is None or access.is_server_admin(actor):
        return
    issuer = Reference.parse(held.issuer)
    if fold_prefix(issuer.handle) == fold_prefix(actor.handle):
        return
    with access.knowing(change.memberships):
        if access.allows(actor, prefix_record(prefix_of_actor(issuer)), CAPTURE):
            return
    raise NotAuthorized(
        f"{actor.text()} may not declare an error in an event of {held.issuer}; ask its issuer"
    )
