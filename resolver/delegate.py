"""What a parent publishes for a child: the record of its prefix, certified and signed."""

from __future__ import annotations

from protocol.name import lines, prefix_of, prefix_record
from protocol.record import HandleValue
from registry.access import Access, AccessSettings
from registry.keys import NodeKeys
from registry.prefix_record import KEY, Holder, Issuer, delegated_values, own_issuer
from registry.signing import certificate_chain, is_certified
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


def issuer(store: Store, keys: NodeKeys, own: bytes, handle: bytes = b"") -> Issuer:
    """This node as issuer, with the certificates above it as its prefix record names them.

    handle: what is certified; under a further prefix that is certified here, by its name.
    """
    access = Access(store, AccessSettings())
    for prefix in lines(prefix_of(handle)) if handle else ():
        values = access.values(prefix_record(prefix)) or ()
        if is_certified(prefix_record(prefix), values, KEY, keys.site_public):
            own = prefix
            break
    values = access.values(prefix_record(own)) or ()
    return own_issuer(keys, own, certificate_chain(prefix_record(own), values, KEY))
