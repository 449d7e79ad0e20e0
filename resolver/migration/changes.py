"""What records and transactions of a Handle.Net primary mean for a node of ours.

A record is taken as it is, signatures included: nothing is signed anew and none is checked here.
The node's own prefix record is the exception: its site, keys and certificates stay, what the old
server has besides is added, keys as administrators. A key at an index that is taken goes under a
new one, with a reference to the old: it stands in for it (registry.access.proves), so that whoever
is `300:0.NA/P` by the old key stays that. It is not public: the record's signature stays whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from protocol.change import Change, Kind
from protocol.doirp.stream_records import Action, Transaction
from protocol.errors import ParseError
from protocol.name import PREFIX_RECORDS, ROOT_RECORD, described_prefix, fold, prefix_of
from protocol.record import HandleValue, Reference
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from registry.rules import ADMIN_LIST_INDEX, HS_PUBKEY, HS_SECKEY, HS_VLIST
from registry.signing import VERIFIED

_FIRST_FREE = 303
"""Keys of the old server go from here on, where their own indexes are taken."""
_OWN_TYPES = frozenset(
    (b"HS_SITE", b"HS_SITE.6", b"HS_SERV", b"HS_CERT", b"HS_SIGNATURE", b"HS_ADMIN", HS_VLIST)
)
_KEYS = frozenset((HS_PUBKEY, HS_SECKEY))


@dataclass(slots=True)
class Plan:
    """Which names are taken, and how.

    prefixes: folded, those whose records move. own: the folded prefix of this node; its record is
    merged. moved: keys that got another index, as (old index, new reference), for people.
    """

    prefixes: frozenset[bytes]
    own: bytes
    moved: list[tuple[int, Reference]] = field(default_factory=list)

    def takes(self, handle: bytes) -> bool:
        """Whether a record moves: it lies under a moving prefix or describes one."""
        described = described_prefix(fold(handle))
        if described is not None:
            return described in self.prefixes or any(
                described.startswith(prefix + b".") for prefix in self.prefixes
            )
        return prefix_of(handle) in self.prefixes

    def is_own(self, handle: bytes) -> bool:
        """Whether it is the record of this node's prefix."""
        return bool(self.own) and fold(handle) == PREFIX_RECORDS + self.own

    def record(
        self, handle: bytes, values: Sequence[HandleValue], own_values: Sequence[HandleValue]
    ) -> Change | None:
        """The change that takes a record. own_values: of this node's prefix record, now."""
        if not self.takes(handle):
            return None
        if self.is_own(handle):
            return self._merge(handle, values, own_values)
        return Change(
            Kind.CREATE,
            handle,
            tuple(values),
            overwrite=True,
            attributes={VERIFIED: True},
        )

    def transaction(self, item: Transaction, own_values: Sequence[HandleValue]) -> Change | None:
        """The change that repeats a transaction; None for what does not move."""
        if item.action in (Action.CREATE, Action.UPDATE):
            return self.record(item.handle, item.values or (), own_values)
        if item.action is Action.DELETE:
            if not self.takes(item.handle) or self.is_own(item.handle):
                return None
            return Change(Kind.DELETE, item.handle)
        if item.action is Action.HOME and self.takes(item.handle):
            return Change(Kind.HOME, item.handle)
        return None

    def _merge(
        self, handle: bytes, values: Sequence[HandleValue], own: Sequence[HandleValue]
    ) -> Change | None:
        """What the old server's prefix record has besides ours."""
        taken = {value.index: value for value in own}
        known = {(value.type.upper(), value.data) for value in own}
        added: list[HandleValue] = []
        members: list[Reference] = []
        for value in values:
            if value.type.upper() in _OWN_TYPES or (value.type.upper(), value.data) in known:
                continue
            index = value.index
            if index in taken:
                if value.type.upper() not in _KEYS:
                    continue
                index = max(_FIRST_FREE, *taken) + 1 if max(taken) >= _FIRST_FREE else _FIRST_FREE
                index = next(n for n in range(_FIRST_FREE, index + 2) if n not in taken)
            placed = replace(value, index=index, permissions=_closed(value))
            if index != value.index:
                stood_for = Reference(PREFIX_RECORDS + self.own, value.index)
                placed = replace(
                    placed,
                    references=(*value.references, stood_for),
                    permissions=placed.permissions & 0b1100,
                )
            taken[index] = placed
            added.append(placed)
            if value.type.upper() in _KEYS:
                reference = Reference(PREFIX_RECORDS + self.own, index)
                if index != value.index:
                    self.moved.append((value.index, reference))
                else:
                    members.append(reference)
        if not added:
            return None
        if members:
            added.append(_listed(own, members))
        return Change(Kind.MERGE, handle, tuple(added), overwrite=True, attributes={VERIFIED: True})


def _closed(value: HandleValue) -> int:
    """A secret is never public here."""
    return value.permissions & 0b1100 if value.type.upper() == HS_SECKEY else value.permissions


def _listed(own: Iterable[HandleValue], members: Sequence[Reference]) -> HandleValue:
    """The administrators' list of the prefix record with more members."""
    for value in own:
        if value.index == ADMIN_LIST_INDEX and value.type.upper() == HS_VLIST:
            try:
                before = decode_vlist(value.data)
            except ParseError:
                before = ()
            more = [each for each in members if each not in before]
            return replace(value, data=encode_vlist([*before, *more]))
    return HandleValue(ADMIN_LIST_INDEX, HS_VLIST, encode_vlist(list(members)))


def moving(homed: Iterable[bytes], wanted: Sequence[str]) -> frozenset[bytes]:
    """The folded prefixes that move: those that are homed there, or the wanted ones alone."""
    if wanted:
        return frozenset(fold(text.encode()).removeprefix(PREFIX_RECORDS) for text in wanted)
    return frozenset(
        record.upper().removeprefix(PREFIX_RECORDS)
        for record in homed
        if record.upper() != ROOT_RECORD
    )
