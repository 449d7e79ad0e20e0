"""Who may do what: HS_ADMIN and HS_VLIST (RFC 3651 §3.2; do-irp 8.3, 17.3; threats A6).

All rights an operation needs must stand in one HS_ADMIN value that names the identity, directly
or through lists. Server administrators may do everything. Nobody grants more than they hold.

Proving an identity is left to the faces; `find_secret` and `find_public_keys` give them what
this node knows.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from protocol.change import Change, Kind
from protocol.errors import NotAuthorized, ParseError
from protocol.identifier import key_of
from protocol.name import (
    described_prefix,
    fold_prefix,
    is_arcwise,
    lines,
    parent_prefix,
    prefix_of,
)
from protocol.name import prefix_record as record_of_prefix
from protocol.record import PUBLIC_WRITE, HandleValue, Record, Reference
from protocol.values.hs_admin import Admin, Permission, decode_admin, permission_names
from protocol.values.hs_vlist import decode_vlist
from registry.content import comparable
from registry.records import read_record
from registry.rules import HS_PUBKEY, HS_SECKEY, HS_VLIST, is_admin
from registry.store import Store

Values = Sequence[HandleValue]
Read = Callable[[bytes], Values | None]
"""The values of a record by its handle; None where there is none."""

MAX_LISTS = 100
"""Lists followed for one decision: a group of groups larger than that grants nothing more."""
_KEYS = (HS_PUBKEY, HS_SECKEY)


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who has everything."""

    server_admins: tuple[Reference, ...] = ()
    """Administrators of the server: home and unhome prefixes, list them."""
    full_access: bool = True
    """Whether server administrators also have every right in every record."""


class Access:
    """Decides about identities that have been proved."""

    def __init__(
        self,
        store: Store,
        settings: AccessSettings,
        *,
        read: Read | None = None,
        fetch: Read | None = None,
    ) -> None:
        """read: how records here are read (the writer's view of its batch); default: the store.

        fetch: records of other nodes, for lists and keys that lie there. It must answer at once,
        from what was verified before; None knows no foreign lists.
        """
        self._settings = settings
        self._read = read or (lambda handle: _values_of(read_record(store, handle)))
        self._fetch = fetch
        self._store = store
        self._members: dict[tuple[Reference, Reference], bool] | None = None
        self._rights: dict[bytes, dict[Reference, list[int]]] | None = None
        self._elsewhere: frozenset[tuple[bytes, int]] = frozenset()

    def reading(self, read: Read) -> Access:
        """The same rules over another view of the records, with a memory of its own.

        Group memberships are remembered until `forget()`, rights in a record until it changes
        (`changed()`) as well.
        """
        view = Access(self._store, self._settings, read=read, fetch=self._fetch)
        view._members, view._rights = {}, {}
        return view

    @contextmanager
    def knowing(self, memberships: Collection[Reference]) -> Iterator[None]:
        """Decide with lists at other nodes that name the actor, which the caller found.

        For decisions about one actor; forgotten at the end.
        """
        if not memberships:
            yield
            return
        before, self._elsewhere = self._elsewhere, frozenset(map(_key, memberships))
        self.forget()
        try:
            yield
        finally:
            self._elsewhere = before
            self.forget()

    def forget(self) -> None:
        """Drop remembered memberships and rights: a list changed."""
        if self._members:
            self._members.clear()
        if self._rights:
            self._rights.clear()

    def changed(self, handle: bytes) -> None:
        """Drop the remembered rights in one record: it changed."""
        if self._rights:
            self.changed_key(key_of(handle))

    def changed_key(self, folded: bytes) -> None:
        """As changed(), by the record's key."""
        if self._rights:
            self._rights.pop(folded, None)

    # --- identities

    def is_server_admin(self, actor: Reference) -> bool:
        """Whether an identity is one of the configured administrators of this server."""
        return any(matches(actor, reference) for reference in self._settings.server_admins)

    def has_everything(self, actor: Reference | None) -> bool:
        """Whether no record's own rights are asked: the operator, or a full server admin."""
        return actor is None or (self._settings.full_access and self.is_server_admin(actor))

    def values(self, handle: bytes) -> Values | None:
        """The values of a record here; None where there is none."""
        return self._read(handle)

    def find_secrets(self, identity: Reference) -> tuple[bytes, ...]:
        """The HS_SECKEY data here that prove an identity; all of the record's for index 0."""
        return self._key_data(identity, HS_SECKEY)

    def find_secret(self, identity: Reference) -> bytes | None:
        """The first of `find_secrets`, or None."""
        return next(iter(self.find_secrets(identity)), None)

    def find_public_keys(self, identity: Reference) -> tuple[bytes, ...]:
        """The HS_PUBKEY data here that prove an identity; all of the record's for index 0."""
        return self._key_data(identity, HS_PUBKEY)

    def _key_data(self, identity: Reference, type_: bytes) -> tuple[bytes, ...]:
        values = self._read(identity.handle) or ()
        return tuple(
            value.data
            for value in sorted(values, key=lambda value: value.index)
            if value.type.upper() == type_ and proves(value, identity)
        )

    # --- rights in a record

    def masks(self, actor: Reference, values: Values) -> list[int]:
        """The permission masks of the HS_ADMIN values that name an identity."""
        return [admin.permissions for admin in admins(values) if self._is_named(actor, admin)]

    def rights(self, actor: Reference, handle: bytes) -> list[int]:
        """The masks that an identity has in a record here."""
        if self._rights is None:
            return self.masks(actor, self._read(handle) or ())
        known = self._rights.setdefault(key_of(handle), {})
        held = known.get(actor)
        if held is None:
            held = known[actor] = self.masks(actor, self._read(handle) or ())
        return held

    def allows(self, actor: Reference | None, handle: bytes, wanted: int) -> bool:
        """Whether an identity has all wanted rights in one HS_ADMIN value of a record."""
        if self.has_everything(actor) or actor is None:
            return True
        return any(mask & wanted == wanted for mask in self.rights(actor, handle))

    def is_member(self, actor: Reference, reference: Reference) -> bool:
        """Whether a reference means an identity, directly or through lists."""
        return self._is_named(actor, Admin(0, reference.handle, reference.index))

    def _is_named(self, actor: Reference, admin: Admin) -> bool:
        reference = admin.reference
        if matches(actor, reference) or _key(reference) in self._elsewhere:
            return True
        if self._members is None:
            return self._in_group(actor, reference)
        known = self._members.get((actor, reference))
        if known is None:
            known = self._members[actor, reference] = self._in_group(actor, reference)
        return known

    def _in_group(self, actor: Reference, group: Reference) -> bool:
        """Breadth first through HS_VLIST values, each once; index 0 is not followed."""
        waiting, seen = deque((group,)), {_key(group)}
        for _ in range(MAX_LISTS):
            if not waiting:
                return False
            for member in self._list(waiting.popleft()):
                if matches(actor, member) or _key(member) in self._elsewhere:
                    return True
                if _key(member) not in seen:
                    seen.add(_key(member))
                    waiting.append(member)
        return False

    def _list(self, group: Reference) -> tuple[Reference, ...]:
        if group.index == 0:
            return ()
        values = self._read(group.handle)
        if values is None and self._fetch is not None:
            values = self._fetch(group.handle)
        for value in values or ():
            if value.index == group.index and value.type.upper() == HS_VLIST:
                try:
                    return decode_vlist(value.data)
                except ParseError:
                    return ()
        return ()

    # --- decisions; each raises NotAuthorized

    def require_server_admin(self, actor: Reference | None, what: str) -> None:
        """For what only administrators of the server may do. what: for the message."""
        if actor is not None and not self.is_server_admin(actor):
            raise NotAuthorized(
                f"{actor.text()} may not {what}: only administrators of this server may; "
                "authenticate as one of `access.server_admins`"
            )

    def require_read(self, actor: Reference, record: Record) -> None:
        """For values that are not public."""
        self._require(actor, record.handle, record.values, Permission.READ_VALUE)

    def require_list(self, actor: Reference, prefix_record: bytes) -> None:
        """For the handles under a prefix. prefix_record: `0.NA/P`."""
        self._require(actor, prefix_record, None, Permission.LIST_HANDLES)

    def require_list_prefixes(self, actor: Reference, prefix_record: bytes) -> None:
        """For the prefixes derived from a prefix: that right, or listing handles."""
        if not self.allows(actor, prefix_record, Permission.LIST_DERIVED_PREFIXES):
            self.require_list(actor, prefix_record)

    def require(self, change: Change, old: Values | None, new: Values | None) -> None:
        """For a change of a record.

        old, new: its values before and after; None where there is none. Raises NotAuthorized.
        """
        if not change.memberships:
            self._require_change(change, old, new)
            return
        with self.knowing(change.memberships):
            self._require_change(change, old, new)

    def _require_change(self, change: Change, old: Values | None, new: Values | None) -> None:
        actor = change.actor
        if actor is None or self.has_everything(actor):
            return
        if change.kind in {Kind.HOME, Kind.UNHOME}:
            self.require_server_admin(actor, f"{change.kind} a prefix")
        elif change.kind in {Kind.DELEGATE, Kind.REFUSE}:
            self._require_create(actor, change.handle)
        elif change.kind is Kind.DELETE:
            self._require(actor, change.handle, old, Permission.DELETE_HANDLE)
        elif change.kind is Kind.REQUEST:
            return  # a child applies to its parent: anybody may; the operator decides
        elif old is None:
            self._require_create(actor, change.handle)
        elif change.kind is Kind.CREATE:
            self._require_replace(actor, change.handle, old, new or ())
        else:
            self._require(
                actor,
                change.handle,
                old,
                single_changes(change, old) | self._grants(change.handle, old, new or ()),
            )

    def _grants(self, handle: bytes, old: Values, new: Values) -> int:
        return grants(handle, old, new, has_already=self._has_everything)

    def _has_everything(self, reference: Reference) -> bool:
        """Whether a reference leads to administrators of this server alone: nothing is theirs anew.

        A list here counts by its members.
        """
        if not self._settings.full_access:
            return False
        members = self._list(reference)
        return self.is_server_admin(reference) or (
            bool(members) and all(map(self.is_server_admin, members))
        )

    def _require_create(self, actor: Reference, handle: bytes) -> None:
        parent, right = creation_right(handle, self._read)
        self._require(actor, parent, None, right)

    def _require_replace(self, actor: Reference, handle: bytes, old: Values, new: Values) -> None:
        """The rights for the single changes, or add admin, or delete handle and create."""
        granted = self._grants(handle, old, new)
        wanted = replacement(old, new) | granted
        held = self.masks(actor, old)
        if any(mask & w == w for mask in held for w in (wanted, Permission.ADD_ADMIN | granted)):
            return
        if any(mask & Permission.DELETE_HANDLE for mask in held):
            self._require_create(actor, handle)
            return
        raise _refusal(actor, handle, wanted)

    def _require(self, actor: Reference, handle: bytes, values: Values | None, wanted: int) -> None:
        """All wanted rights in one HS_ADMIN value. values: read by the handle when None."""
        wanted = int(wanted)  # an IntFlag's own & costs ten times an integer's
        if wanted == 0 or self.has_everything(actor):
            return
        held = self.rights(actor, handle) if values is None else self.masks(actor, values)
        if not any(mask & wanted == wanted for mask in held):
            raise _refusal(actor, handle, wanted)


def proves(value: HandleValue, identity: Reference) -> bool:
    """Whether a key value is one of an identity's: at its index, or standing in for that one.

    A key stands in for another index of its own record where it has a reference to it: so the
    keys of a server that was moved here keep their names beside this node's own.
    """
    return identity.index in {0, value.index} or any(
        matches(identity, reference) for reference in value.references if reference.index
    )


def same_secret(one: bytes, other: bytes) -> bool:
    """Compare secrets in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def matches(actor: Reference, reference: Reference) -> bool:
    """Whether a reference means an identity: the handle equal, the index equal or 0."""
    return reference.index in {0, actor.index} and fold_prefix(reference.handle) == fold_prefix(
        actor.handle
    )


def admins(values: Iterable[HandleValue]) -> list[Admin]:
    """The readable HS_ADMIN values of a record; one that does not parse grants nothing."""
    found = []
    for value in values:
        if is_admin(value):
            try:
                found.append(decode_admin(value.data))
            except ParseError:
                continue
    return found


def creation_right(handle: bytes, read: Read) -> tuple[bytes, int]:
    """The record in which, and the right that, creating a handle asks for (do-irp 17.3).

    Of what is delegated arc by arc, the record is that of the nearest arc that has one.
    """
    described = described_prefix(handle)
    parent = parent_prefix(described) if described is not None else None
    if parent is not None:
        return record_of_prefix(parent), Permission.ADD_DERIVED_PREFIX
    own = record_of_prefix(prefix_of(handle))
    if not is_arcwise(handle):
        return own, Permission.ADD_HANDLE
    records = map(record_of_prefix, lines(prefix_of(handle)))
    return next((r for r in records if read(r) is not None), own), Permission.ADD_HANDLE


def single_changes(change: Change, old: Values) -> int:
    """The rights that adding, modifying or removing the named values asks for."""
    before = {value.index: value for value in old}
    if change.kind is Kind.REMOVE:
        return _sum(
            Permission.REMOVE_ADMIN if is_admin(before[index]) else Permission.REMOVE_VALUE
            for index in change.indexes
            if index in before
        )
    if change.kind is Kind.MODIFY:  # a missing index is refused later, to those who may modify
        change = replace(
            change, values=tuple(value for value in change.values if value.index in before)
        )
        if not change.values:
            return Permission.MODIFY_VALUE
    return _sum(_value_right(before.get(value.index), value) for value in change.values)


def replacement(old: Values, new: Values) -> int:
    """The rights that turning one set of values into another asks for, value by value.

    A value kept counts as modified, as the deployed software has it.
    """
    before, after = {v.index: v for v in old}, {v.index for v in new}
    removed = _sum(
        Permission.REMOVE_ADMIN if is_admin(value) else Permission.REMOVE_VALUE
        for value in old
        if value.index not in after
    )
    return removed | _sum(_value_right(before.get(value.index), value) for value in new)


def _value_right(old: HandleValue | None, new: HandleValue) -> int:
    if old is None:
        return Permission.ADD_ADMIN if is_admin(new) else Permission.ADD_VALUE
    if is_admin(old):
        if is_admin(new):
            return Permission.MODIFY_ADMIN
        return Permission.REMOVE_ADMIN | Permission.MODIFY_VALUE
    if is_admin(new):
        return Permission.MODIFY_VALUE | Permission.ADD_ADMIN
    return 0 if old.permissions & PUBLIC_WRITE else Permission.MODIFY_VALUE


def grants(
    handle: bytes,
    old: Values,
    new: Values,
    *,
    has_already: Callable[[Reference], bool] = lambda _: False,
) -> int:
    """The rights that a change of an existing record hands out (threats A6).

    Those of HS_ADMIN values that are new, unless who they name has them already; and, where a key
    or a list changes that the record's own HS_ADMIN values trust, the rights of these: whoever
    sets the key gets them.
    """
    before = admins(old)
    given = _sum(
        admin.permissions
        for admin in admins(new)
        if not any(_covers(one, admin) for one in before) and not has_already(admin.reference)
    )
    stood = {(value.index, value.references) for value in old if value.type.upper() in _KEYS}
    if any(
        value.references and (value.index, value.references) not in stood
        for value in new
        if value.type.upper() in _KEYS
    ):
        given |= Permission.MODIFY_VALUE  # as if the key at the other index were changed
    known = {line[0]: line for line in comparable(old)}
    changed = {line[0] for line in comparable(new) if known.get(line[0]) != line}
    own = fold_prefix(handle)
    return given | _sum(
        admin.permissions
        for admin in admins(old)
        if fold_prefix(admin.handle) == own and _trusted(own, admin.index, new) & changed
    )


def _covers(one: Admin, other: Admin) -> bool:
    """Whether who the other names has its rights by this one."""
    return (
        one.permissions & other.permissions == other.permissions
        and one.index == other.index
        and fold_prefix(one.handle) == fold_prefix(other.handle)
    )


def _trusted(own: bytes, index: int, values: Values) -> set[int]:
    """Indexes that a reference to a value of this record leads to: its own keys and lists.

    own: the record's name, folded as identities are. Index 0 means any key.
    """
    by_index = {value.index: value for value in values}
    waiting, found = [index], set[int]()
    while waiting:
        at = waiting.pop()
        if at == 0:
            found.update(v.index for v in values if v.type.upper() in _KEYS)
            continue
        value = by_index.get(at)
        if at in found:
            continue
        standing = Reference(own, at)
        found.update(v.index for v in values if v.type.upper() in _KEYS and proves(v, standing))
        if value is None:
            continue
        found.add(at)
        if value.type.upper() == HS_VLIST:
            try:
                members = decode_vlist(value.data)
            except ParseError:
                continue
            waiting.extend(m.index for m in members if fold_prefix(m.handle) == own)
    return found


def _refusal(actor: Reference, handle: bytes, wanted: int) -> NotAuthorized:
    names = ", ".join(permission_names(wanted)).replace("_", " ")
    return NotAuthorized(
        f"{actor.text()} may not do this: no HS_ADMIN value of "
        f"{handle.decode('utf-8', 'replace')} gives it all of: {names}; "
        "ask an administrator named there"
    )


def _key(reference: Reference) -> tuple[bytes, int]:
    return fold_prefix(reference.handle), reference.index


def _sum(masks: Iterable[int]) -> int:
    total = 0
    for mask in masks:
        total |= int(mask)
    return total


def _values_of(record: Record | None) -> Values | None:
    return None if record is None else record.values
