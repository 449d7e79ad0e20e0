"""GET /events/{id}?disclose=…: the fields of an event that a grant opens, proved without the rest.

`disclose` names fields, separated by commas, or is `*`. What no grant opens (registry.events.granted)
is not there. A node signs it with the key that signs its log.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from protocol.epcis.jcs import canonical
from protocol.event_disclosure import disclose
from protocol.merkle import leaf_hash
from registry.events.capture import node_event_signer
from registry.events.index import parse_event
from registry.events.row import EventRow
from registry.labels import Viewer, visible
from registry.log import sequence_key
from registry.reads import OpenedEvent
from registry.store import Snapshot, Table
from resolver.epcis.granted import note_reads

if TYPE_CHECKING:
    from resolver.node import Node

EVERY: Final = "*"


def fields_seen(
    row: EventRow, viewer: Viewer, asked: str
) -> tuple[dict[str, Any], frozenset[str], frozenset[str]]:
    """The event, the names of the fields that a viewer gets, and the purposes of the grants.

    No names: to this viewer the event is not there.
    """
    event = parse_event(row.event)
    wanted = event.keys() if asked == EVERY else event.keys() & set(asked.split(","))
    if visible(row.label, viewer):
        return event, frozenset(wanted), frozenset()
    if viewer.events is None:
        return event, frozenset(), frozenset()
    granted = viewer.events.fields(row, event)
    names = frozenset(name for name in wanted if name in granted)
    purposes = {grant.purpose for name in names for grant in granted[name] if grant.purpose}
    return event, names, frozenset(purposes)


def disclosure(
    node: Node, state: Snapshot, sequence: int, row: EventRow, viewer: Viewer, asked: str
) -> dict[str, Any] | None:
    """What a viewer gets of an event; None: it is not there. Notes the read of a grantee."""
    event_id = row.event_id
    event, names, purposes = fields_seen(row, viewer, asked)
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
    if viewer.events is not None and not visible(row.label, viewer):
        shown = canonical({name: event[name] for name in names})
        home = viewer.events.home(row.issuer)
        read = OpenedEvent(sequence, event_id, shown, home, purposes)
        note_reads(node, viewer, [read])
    return shape
