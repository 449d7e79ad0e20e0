"""Keys in records here that are not the node's own: a new one beside the old, and revoking one.

A revoked key's value becomes a 0.REVOKED value: its certificate with the change from which it counts
no more, issued by the node's site key. The key proves nobody from that change on.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from protocol.change import Change, Kind
from protocol.errors import HandleNotFound, InvalidValue, ParseError, SettingsError, ValuesNotFound
from protocol.keys import PublicKey, decode_public_key, encode_public_key
from protocol.name import described_prefix
from protocol.record import HandleValue, Reference
from protocol.signature import (
    HS_CERT,
    REVOKED,
    Permission,
    Revocation,
    Validity,
    parse_certificate,
    same_identity,
)
from protocol.values.hs_admin import decode_admin, encode_admin
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from registry.keys import NodeKeys, load_keys
from registry.prefix_record import DAY_S, revoked_certificate
from registry.prefixes import DELEGATED, Prefixes, PrefixRow
from registry.records import read_record
from registry.rotation import RevokedKey
from registry.rules import HS_ADMIN, HS_PUBKEY, HS_VLIST, SIGN
from registry.signing import CERT_OFFSET, SKEW_S
from registry.store import Store
from registry.tree import log_name, tree_size
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.delegate import delegation, issuer
from resolver.enrol import application_of
from resolver.enrol_keys import NO_MORE
from resolver.trust.source import FolderSource
from resolver.writer_link import open_writer

_REASON = 500


def add_key(folder: Path, identity: str, key: PublicKey) -> str:
    """A further key of an administrator, with the rights that the old one has in its own record.

    Gives its identity. Raises ValuesNotFound, HandleNotFound, InvalidValue.
    """
    old = Reference.parse(identity.encode())
    source = FolderSource(folder)
    try:
        held = _values(source.store, old)
    finally:
        source.close()
    own = _value(held, old, HS_PUBKEY)
    taken = {value.index for value in held}
    index = _free(old.index + 1, taken)
    data = encode_public_key(key)
    if any(value.data == data for value in held):
        raise InvalidValue(f"the record of {identity} has this key already")
    new = Reference(old.handle, index)
    values = [replace(own, index=index, data=data)]
    for value in held:
        if value.type == HS_VLIST and old in (members := decode_vlist(value.data)):
            values.append(replace(value, data=encode_vlist([*members, new])))
        if value.type == HS_ADMIN and _is_admin(value, old):
            at = _free(value.index + 1, taken | {v.index for v in values})
            admin = replace(decode_admin(value.data), index=index)
            values.append(replace(value, index=at, data=encode_admin(admin)))
    _submit(folder, [Change(Kind.ADD, old.handle, tuple(values), overwrite=True)])
    return new.text()


def revoke_value(folder: Path, identity: str, reason: str, position: int | None) -> Revocation:
    """Revoke a key in a record here. Raises SettingsError for the node's own, ValuesNotFound."""
    found = Reference.parse(identity.encode())
    settings, keys = load_settings(folder), load_keys(folder)
    prefix = settings.node.prefix.encode().upper()
    source, now_s = FolderSource(folder), int(time.time())
    try:
        described = described_prefix(found.handle)
        if described == prefix:
            raise SettingsError(
                f"{identity} is this node's own key: use --key site or --key log instead"
            )
        row = Prefixes(source.store).get(described) if described is not None else None
        if row is not None and row.state == DELEGATED:
            of = application_of(row.prefix, row.attributes).log_prefix
            told = Revocation(log_name(of.decode()), position or 0, now_s, reason[:_REASON])
            change = _of_child(
                source.store,
                settings,
                keys,
                row,
                RevokedKey(found.index, _child_key(row, found.index), told),
            )
            changes = [change]
        else:
            told = _told(source.store, settings, position, now_s, reason)
            changes = _of_record(source.store, settings, keys, found, told)
    finally:
        source.close()
    _submit(folder, changes)
    return told


def _told(
    store: Store, settings: Settings, position: int | None, now_s: int, reason: str
) -> Revocation:
    with store.snapshot() as state:
        next_change = tree_size(state) + 1
    return Revocation(
        log_name(settings.node.prefix),
        next_change if position is None else min(position, next_change),
        now_s,
        reason[:_REASON],
    )


def _of_record(
    store: Store, settings: Settings, keys: NodeKeys, found: Reference, told: Revocation
) -> list[Change]:
    """The changes that take a key out of an ordinary record."""
    held = _values(store, found)
    key = _value(held, found, HS_PUBKEY)
    certificates = [value for value in held if _certifies(value, found)]
    permissions: tuple[Permission, ...] = ()
    if certificates:
        permissions = parse_certificate(certificates[0].data).permissions
    own = settings.node.prefix.encode().upper()
    days = settings.signing.certificate_days
    data = revoked_certificate(
        found,
        decode_public_key(key.data),
        permissions,
        issuer(store, keys, own, found.handle),
        Validity(told.time - SKEW_S, told.time + days * DAY_S, told.time),
        told,
    )
    revoked = HandleValue(key.index, REVOKED, data, key.ttl, key.ttl_type)
    sign = {SIGN: True}
    changes = [Change(Kind.MODIFY, found.handle, (revoked,), attributes=sign)]
    if certificates:
        indexes = tuple(value.index for value in certificates)
        changes.append(Change(Kind.REMOVE, found.handle, indexes=indexes, attributes=sign))
    return changes


def _of_child(
    store: Store, settings: Settings, keys: NodeKeys, row: PrefixRow, revoked: RevokedKey
) -> Change:
    """The delegation signed anew without the key."""
    application = application_of(row.prefix, row.attributes)
    kept = tuple(
        one
        for one in application.more.former
        if encode_public_key(one.key) != encode_public_key(revoked.key)
    )
    more = replace(application.more, former=kept, revoked=(*application.more.revoked, revoked))
    application = replace(application, more=more)
    own, now = settings.node.prefix.encode().upper(), time.time()
    days = settings.signing.certificate_days
    values = delegation(store, keys, own, application, now=now, days=days)
    told = NO_MORE.attributes_anyway() | application.attributes()
    name = b"0.NA/" + row.prefix
    return Change(Kind.DELEGATE, name, values, attributes=told)


def _child_key(row: PrefixRow, index: int) -> PublicKey:
    application = application_of(row.prefix, row.attributes)
    keys: dict[int, PublicKey | None] = {
        300: application.site_key,
        302: application.log_key,
        304: application.more.national,
    }
    keys |= {one.index + 20: one.key for one in application.more.former}
    key = keys.get(index)
    if key is None:
        raise ValuesNotFound(f"0.NA/{row.prefix.decode()} has no key at {index}")
    return key


def _values(store: Store, found: Reference) -> tuple[HandleValue, ...]:
    record = read_record(store, found.handle)
    if record is None:
        raise HandleNotFound(f"no record of {found.text()} lies here; ask the node of its prefix")
    return record.values


def _value(held: tuple[HandleValue, ...], found: Reference, type_: bytes) -> HandleValue:
    own = next((value for value in held if value.index == found.index), None)
    if own is None or own.type.upper() != type_:
        raise ValuesNotFound(f"{found.text()} is no {type_.decode()} value; look at the record")
    return own


def _certifies(value: HandleValue, found: Reference) -> bool:
    if value.type.upper() != HS_CERT:
        return False
    try:
        subject = parse_certificate(value.data).subject
    except ParseError:
        return value.index == found.index + CERT_OFFSET
    return same_identity(subject, found)


def _is_admin(value: HandleValue, identity: Reference) -> bool:
    admin = decode_admin(value.data)
    return same_identity(Reference(admin.handle, admin.index), identity)


def _free(index: int, taken: set[int]) -> int:
    while index in taken:
        index += 1
    return index


def _submit(folder: Path, changes: list[Change]) -> None:
    with open_writer(folder) as writer:
        for outcome in writer.submit(changes, atomic=True):
            if outcome.status == "refused":
                raise InvalidValue(f"nothing was changed: {outcome.error}")
