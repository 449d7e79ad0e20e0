"""Further prefixes that are home at a node beside its own, and their records 0.NA/Q.

Each holds the node's keys under its own name, with certificates by whoever holds the authority
over it: the node itself where it stands alone (here), else the node of a prefix above
(resolver.homing). So a record under Q is signed by 302:0.NA/Q, and a chain needs no other rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.errors import ParseError
from protocol.keys import encode_public_key
from protocol.name import is_oid
from protocol.record import HandleValue
from protocol.values.hs_site import decode_site
from registry.keys import NodeKeys
from registry.prefix_record import (
    ADMIN_KEY,
    ADMIN_LIST,
    ADMIN_SECRET,
    KEY,
    LIST,
    LOG_KEY,
    SITE,
    SITE6,
    SITES,
)
from registry.prefixes import HOMED, Prefixes
from registry.store import Store

_ADMINISTRATORS: Final = frozenset((ADMIN_LIST, ADMIN_KEY, ADMIN_SECRET, LIST))


def is_further(prefix: bytes, own: bytes) -> bool:
    """Whether a folded prefix needs certificates of its own beside those of the node's.

    What lies under the node's prefix is covered by those; prefixes under 0 are the system's.
    """
    is_systems = prefix.startswith(b"0.") and not is_oid(prefix)
    return not is_systems and not (prefix + b".").startswith(own + b".")


def further_prefixes(store: Store, own: bytes) -> list[bytes]:
    """Those that are home here."""
    rows = Prefixes(store).rows()
    return [row.prefix for row in rows if row.state == HOMED and is_further(row.prefix, own)]


def is_ours(before: Sequence[HandleValue], keys: NodeKeys) -> bool:
    """Whether the record of a further prefix may hold the node's keys: no others have their place."""
    own = _own_keys(keys)
    return all(value.data in own for value in before if value.index in {KEY, LOG_KEY})


def operators_own(before: Sequence[HandleValue], keys: NodeKeys) -> frozenset[int]:
    """Indexes that the node would fill, had the operator not written there: administrators, sites."""
    stays = {value.index for value in before if value.index in _ADMINISTRATORS}
    if names_another_site(before, keys):
        stays |= SITES
    return frozenset(stays)


def names_another_site(before: Sequence[HandleValue], keys: NodeKeys) -> bool:
    """Whether a prefix record names a primary site that is not this node's."""
    own = _own_keys(keys)
    for value in before:
        if value.index in {SITE, SITE6}:
            try:
                site = decode_site(value.data)
            except ParseError:
                return True
            if any(server.public_key not in own for server in site.servers):
                return True
    return False


def _own_keys(keys: NodeKeys) -> set[bytes]:
    """The node's keys, as values hold them: those in use and those before."""
    rotation = keys.rotation
    before = (*(one.key for one in rotation.former), *(one.key for one in rotation.revoked))
    # b"": the key of a site whose key was revoked.
    return {b"", *map(encode_public_key, (keys.site_public, keys.log_public, *before))}
