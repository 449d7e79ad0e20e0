"""What an identity sees of a record in which labels hide values; only identities come here.

Anybody else gets the public part of the row as it lies: labels were decided when it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol.identifier import key_of
from protocol.labels import hidden, labels_in
from protocol.name import described_prefix, prefix_of, prefix_record
from protocol.record import HandleValue, Reference, encode_value
from protocol.values.hs_admin import Permission
from registry.access import Access
from registry.labels import ANYBODY, Viewer, sees

if TYPE_CHECKING:
    from resolver.lookup import Lookup, Query

_READ = int(Permission.READ_VALUE)


def viewer_of(lookup: Lookup, query: Query, name: bytes, values: Sequence[HandleValue]) -> Viewer:
    """What who asks is to a record. name: of the record."""
    actor, access = query.identity, lookup.access
    if actor is None:
        return ANYBODY
    with access.knowing(query.memberships):
        if is_administrator(access, actor, name, values):
            return Viewer(actor, administrator=True)
        if lookup.reads.full:  # what cannot be noted is not shown
            return Viewer(actor)
        folded, now_s = key_of(name), lookup.now()
        grants = tuple(
            grant
            for grant in lookup.grants.of(prefix_of(name))
            if grant.concerns(folded, now_s) and access.is_member(actor, grant.to)
        )
    return Viewer(actor, grants=grants)


def is_administrator(
    access: Access, actor: Reference, name: bytes, values: Sequence[HandleValue]
) -> bool:
    """Whether an identity may read every value: by the record, or by the record of its prefix."""
    if access.has_everything(actor):
        return True
    if any(mask & _READ for mask in access.masks(actor, values)):
        return True
    if described_prefix(name) is not None:
        return False
    return access.allows(actor, prefix_record(prefix_of(name)), _READ)


def seen(
    lookup: Lookup, query: Query, name: bytes, values: Sequence[HandleValue]
) -> tuple[HandleValue, ...]:
    """The values that who asks may know of, chosen or not."""
    viewer = viewer_of(lookup, query, name, values)
    closed = hidden(values, sees(viewer))
    return tuple(value for value in values if value.index not in closed)


def note_reads(
    lookup: Lookup,
    query: Query,
    name: bytes,
    values: Sequence[HandleValue],
    told: Sequence[HandleValue],
) -> None:
    """Log what a grant opened of what was told. Administrators read what is theirs."""
    viewer = viewer_of(lookup, query, name, values)
    if viewer.actor is None or viewer.administrator:
        return
    closed, labels = hidden(values), labels_in(values)
    opened = [value for value in told if value.index in closed]
    if not opened or labels is None:
        return
    granted = {
        grant.purpose or ""
        for grant in viewer.grants
        for value in opened
        if (label := labels.of(value.index)) is not None and grant.covers(value.type, label)
    }
    octets = [(value.index, encode_value(value)) for value in opened]
    lookup.reads.note(viewer.actor, name, octets, int(lookup.now()), sorted(granted - {""}))
