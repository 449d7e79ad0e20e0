"""GET /events/{id}?disclose=…: the fields of an event that a grant opens, proved without the rest.

`disclose` names fields, separated by commas, or is `*`. A grant's `type` is then the name of a field
(none: every field), its identifier or beginning that of anything the event is about. What no grant
opens is not there. A node signs it with the key that signs its log.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from protocol.epcis.event import mentions
from protocol.epcis.jcs import canonical
from protocol.event_disclosure import disclose
from protocol.identifier import key_of
from protocol.merkle import leaf_hash
from protocol.record import Reference
from registry.events.capture import node_event_signer
from registry.events.index import parse_event
from registry.events.row import EventRow
from registry.events.writing import prefix_of_actor
from registry.labels import Viewer, visible
from registry.log import sequence_key
from registry.store import Snapshot, Table

if TYPE_CHECKING:
    from resolver.node import Node

EVERY: Final = "*"
DEFAULT: Final = {"class": "operation", "level": 2}
"""The label of an event that has none."""


def fields_seen(
    node: Node, event_id: str, row: EventRow, viewer: Viewer, asked: str
) -> tuple[dict[str, Any], frozenset[str], tuple[str, ...]]:
    """The event, the names of the fields that a viewer gets, and the purposes of the grants.

    No names: to this viewer the event is not there.
    """
    event = parse_event(row.event)
    wanted = event.keys() if asked == EVERY else event.keys() & set(asked.split(","))
    if visible(row.label, viewer):
        return event, frozenset(wanted), ()
    if viewer.actor is None or node.lookup.reads.full:
        return event, frozenset(), ()
    prefix = prefix_of_actor(Reference.parse(row.issuer))
    about = {key_of(text.encode()) for text in (event_id, *(m.id for m in mentions(event)))}
    now_s, access = node.now(), node.access
    grants = tuple(
        grant
        for grant in node.lookup.grants.of(prefix)
        if any(grant.concerns(name, now_s) for name in about)
        and access.is_member(viewer.actor, grant.to)
    )
    granted = Viewer(viewer.actor, grants=grants)
    label = DEFAULT if row.label is None else row.label
    names = [name for name in wanted if visible(label, granted, name.encode())]
    purposes = {grant.purpose for grant in grants if grant.purpose}
    return event, frozenset(names), tuple(sorted(purposes))


def disclosure(
    node: Node, state: Snapshot, sequence: int, row: EventRow, viewer: Viewer, asked: str
) -> dict[str, Any] | None:
    """What a viewer gets of an event; None: it is not there. Notes the read of a grantee."""
    event_id = row.event_id
    event, names, purposes = fields_seen(node, event_id, row, viewer, asked)
    leaf = state.get(Table.CHANGES, sequence_key(sequence))
    if not names or leaf is None:
        return None
    signer = node_event_signer(node.keys, node.prefix)
    claims = {
        "sub": event_id,
        "issuer": row.issuer,
        "label": row.label,
        "change": sequence,
        "leaf": leaf_hash(leaf).hex(),
        "iat": int(node.now()),
    }
    shape = disclose(event, names, claims, signer.reference, signer.key, os.urandom)
    if viewer.actor is not None and not visible(row.label, viewer):
        shown = canonical({name: event[name] for name in names})
        prefix = prefix_of_actor(Reference.parse(row.issuer))
        node.lookup.reads.note(
            viewer.actor, event_id.encode(), [(0, shown)], int(node.now()), purposes, prefix
        )
    return shape
