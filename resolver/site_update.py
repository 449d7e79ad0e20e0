"""At each start: the node's own site record says the ports and addresses that are in use now.

Done by the writer before it takes submissions, so that siteinfo.json and 0.NA/P are right when
the node says that it is ready; so are, at a node that stands alone, the records of the further
prefixes that are home to it. The record of a delegated prefix is its parent's to change:
resolver.homing sends it the new site.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from protocol.change import Change, Kind
from protocol.errors import SettingsError, StoreError
from protocol.name import prefix_record
from protocol.record import HandleValue
from protocol.signature import REVOKED, Validity, sign_record
from protocol.values.hs_site import Site, decode_site, encode_site
from registry.keys import NodeKeys, load_keys
from registry.prefix_record import (
    DAY_S,
    FORMER,
    KEY,
    LOG_KEY,
    NATIONAL,
    SIGNATURE,
    SITES,
    Holder,
    Issuer,
    base_values,
    is_nodes_own,
    own_issuer,
    own_prefix_values,
    secret_of,
    with_members,
)
from registry.prefixes import HOMED, WAITING, Prefixes
from registry.records import read_record
from registry.signing import SKEW_S
from registry.store import Store
from registry.writer import Writer
from resolver.config import Settings
from resolver.further import further_prefixes, is_ours, names_another_site, operators_own
from resolver.site import (
    make_sites,
    next_serial,
    read_site_info,
    same_but_serial,
    write_site_info,
)
from resolver.sockets import Ports
from resolver.trust.mirrors import mirror_sites

log = structlog.get_logger()


def update_site(
    folder: Path, settings: Settings, ports: Ports, store: Store, writer: Writer
) -> None:
    """Bring siteinfo.json and the node's own prefix record up to date. Raises StoreError."""
    keys = load_keys(folder)
    old = _known(folder)
    serial = old.serial if old is not None else 0
    sites = make_sites(settings, ports, keys, serial)
    if old is None or not same_but_serial(sites[:1], [old]):
        serial = next_serial(serial)
        sites = [replace(site, serial=serial) for site in sites]
        write_site_info(folder, sites[0])
        log.info("site_changed", serial=serial)
    prefix = settings.node.prefix.encode().upper()
    if prefix and settings.node.role != "mirror":
        own = {server.public_key for site in sites for server in site.servers}
        others = [site for site in mirror_sites(folder) if site.servers[0].public_key not in own]
        _update_record(prefix, settings, [*sites, *others], keys, store, writer)


def _known(folder: Path) -> Site | None:
    try:
        return read_site_info(folder)
    except SettingsError:
        return None


def _update_record(
    prefix: bytes,
    settings: Settings,
    sites: Sequence[Site],
    keys: NodeKeys,
    store: Store,
    writer: Writer,
) -> None:
    row = Prefixes(store).get(prefix)
    ours = row is not None and (row.state == WAITING or not settings.node.parent)
    record = read_record(store, prefix_record(prefix))
    if row is None or record is None or not ours:
        return
    issuer = own_issuer(keys, prefix) if row.state == HOMED else None
    days = settings.signing.certificate_days
    if not _says(prefix, record.values, sites, keys):
        values = remade(prefix, record.values, sites, keys, issuer=issuer, days=days)
        _write(prefix, values, writer)
    for further in further_prefixes(store, prefix) if issuer is not None else ():
        made = further_record(store, keys, settings, further, sites)
        if made is not None:
            _write(further, made, writer)


def further_record(
    store: Store, keys: NodeKeys, settings: Settings, prefix: bytes, sites: Sequence[Site]
) -> tuple[HandleValue, ...] | None:
    """The record of a further prefix, certified by this node, which stands alone.

    None where it says all that already, or other keys have the places of the node's.
    """
    record = read_record(store, prefix_record(prefix))
    before = record.values if record is not None else ()
    if not is_ours(before, keys) or _says(prefix, before, sites, keys):
        return None
    issuer = own_issuer(keys, settings.node.prefix.encode().upper())
    days = settings.signing.certificate_days
    return remade(prefix, before, sites, keys, issuer=issuer, days=days)


def sites_of(values: Sequence[HandleValue]) -> list[Site]:
    """The sites that a prefix record names."""
    return [decode_site(value.data) for value in values if value.index in SITES]


def _write(prefix: bytes, values: tuple[HandleValue, ...], writer: Writer) -> None:
    change = Change(Kind.CREATE, prefix_record(prefix), values, overwrite=True)
    (outcome,) = writer.commit([change])
    if outcome.status == "refused":
        raise StoreError(
            f"the node's own record 0.NA/{prefix.decode()} cannot take its new site: {outcome.error}"
        )


def _says(
    prefix: bytes, values: Sequence[HandleValue], sites: Sequence[Site], keys: NodeKeys
) -> bool:
    """Whether a record holds just these site records, and these keys and revocations."""
    held = {value.data for value in values if value.index in SITES}
    if held != {encode_site(site) for site in sites} and not names_another_site(values, keys):
        return False
    holder = Holder.of(keys, prefix, tuple(sites), has_secret=False)
    wanted = base_values(holder, int(time.time()))
    told = [value for value in values if value.type == REVOKED]
    return _keys(wanted) == _keys(values) and len(told) >= len(holder.revoked)


def _keys(values: Sequence[HandleValue]) -> dict[int, bytes]:
    own = (KEY, LOG_KEY, NATIONAL, KEY + FORMER, LOG_KEY + FORMER)
    return {value.index: value.data for value in values if value.index in own}


def remade(
    prefix: bytes,
    before: Sequence[HandleValue],
    sites: Sequence[Site],
    keys: NodeKeys,
    *,
    issuer: Issuer | None,
    days: int,
) -> tuple[HandleValue, ...]:
    """A prefix record of the node's own with new sites; what its operator added stays, signed too.

    issuer: as of own_prefix_values(); its prefix is another one where this one is a further one.
    """
    now_s = int(time.time())
    made = own_prefix_values(
        keys, prefix, sites, now_s=now_s, secret=secret_of(before), issuer=issuer, days=days
    )
    if issuer is not None and issuer.prefix != prefix:
        stays = operators_own(before, keys)
        made = tuple(value for value in made if value.index not in stays)
    else:
        stays = frozenset()
    known = {value.index for value in made}
    added = [
        value
        for value in before
        if value.index in stays or not (value.index in known or is_nodes_own(value))
    ]
    kept = with_members(made, before)
    if (not added and kept == made) or issuer is None:
        return (*kept, *added)
    signed = [*(value for value in kept if value.index != SIGNATURE), *added]
    expires = now_s + days * DAY_S
    data = sign_record(
        prefix_record(prefix),
        signed,
        issuer.reference,
        issuer.key,
        validity=Validity(now_s - SKEW_S, expires, now_s),
        chain=issuer.chain,
    )
    return (*signed, HandleValue(SIGNATURE, b"HS_SIGNATURE", data, timestamp=now_s))
