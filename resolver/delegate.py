"""What a parent publishes for a child: the record of its prefix, certified and signed."""

from __future__ import annotations

from protocol.name import prefix_record
from protocol.record import HandleValue
from registry.keys import NodeKeys
from registry.prefix_record import KEY, Holder, Issuer, delegated_values, own_issuer
from registry.records import read_record
from registry.signing import certificate_chain
from registry.store import Store
from resolver.enrol import Application


def delegation(
    store: Store, keys: NodeKeys, own: bytes, application: Application, *, now: float, days: int
) -> tuple[HandleValue, ...]:
    """The record of a child's prefix, certified and signed by this node (prefix `own`)."""
    holder = Holder(
        application.prefix,
        application.sites,
        application.site_key,
        application.log_key,
        application.has_secret,
        application.more.national,
        application.more.former,
        application.more.revoked,
    )
    return delegated_values(holder, issuer(store, keys, own), now_s=int(now), days=days)


def issuer(store: Store, keys: NodeKeys, own: bytes) -> Issuer:
    """This node as issuer, with the certificates above it as its own record names them."""
    record = read_record(store, prefix_record(own))
    values = record.values if record is not None else ()
    return own_issuer(keys, own, certificate_chain(prefix_record(own), values, KEY))
