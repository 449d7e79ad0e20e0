"""What HS_NAMESPACE values say of the prefixes that are homed here (do-irp 12.4).

A prefix's chain is its own namespace and the one of the root record, as deployed software has it;
parent prefixes between them do not count. It is read once and kept until the generation of the
prefix table changes: the writer raises that for namespaces too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.errors import ParseError, StoreError
from protocol.identifier import key_of
from protocol.name import ROOT_RECORD, prefix_of, prefix_record
from protocol.record import HandleValue, decode_value
from protocol.value_slices import slices
from protocol.values.hs_namespace import INACTIVE, Namespace, decode_namespace
from registry.prefixes import ROOT, Prefixes
from registry.store.row import checked, public_body

NAMESPACE_TYPE: Final = b"HS_NAMESPACE"
MAX_LOCS: Final = 10
"""Handles with locations that one name may have from its namespaces."""
_MAX_KEPT: Final = 4_096


@dataclass(frozen=True, slots=True)
class Chain:
    """The namespaces of a prefix, the nearest first; empty when there are none."""

    namespaces: tuple[Namespace, ...] = ()

    @property
    def delimiter(self) -> str:
        """Of the first namespace with a template; empty when names are not divided."""
        found = next((one for one in self.namespaces if one.templates), None)
        return (found.delimiter if found is not None else None) or ""

    @property
    def locs(self) -> tuple[str, ...]:
        """Handles with 10320/loc values for every name of the prefix."""
        found: list[str] = []
        for namespace in self.namespaces:
            found += namespace.locs
            if not namespace.inherit_locs:
                break
        return tuple(found[:MAX_LOCS])

    @property
    def inactive(self) -> bool:
        """Whether browsers are told that the prefix is out of use."""
        return bool(self.namespaces) and self.namespaces[0].status == INACTIVE

    @property
    def for_browsers(self) -> bool:
        """Whether browsers are not simply redirected to a record's URL value."""
        return self.inactive or any(one.locs for one in self.namespaces)

    @property
    def message(self) -> str:
        """What people are told then."""
        return (self.namespaces[0].status_message if self.namespaces else None) or ""


NO_CHAIN: Final = Chain()


def namespace_in(values: Sequence[HandleValue]) -> Namespace | None:
    """The namespace of a record: of its values that can be read, the one with the lowest index."""
    for value in sorted(values, key=lambda one: one.index):
        if value.type.upper() == NAMESPACE_TYPE:
            try:
                return decode_namespace(value.data)
            except ParseError:
                continue  # as deployed software does: the next one counts
    return None


class Namespaces:
    """The chains of homed prefixes, each read at its first question."""

    def __init__(self, prefixes: Prefixes, get: Callable[[bytes], bytes | None]) -> None:
        """get: the stored row of a key."""
        self._prefixes = prefixes
        self._get = get
        self._seen: int | None = None
        self._chains: dict[bytes, Chain] = {}
        self._dividing: dict[bytes, bool] = {}

    def dividing(self) -> dict[bytes, bool]:
        """Whether names of a prefix may come from a template, for the prefixes asked about so far.

        For loops that look many names up in one turn; what is not in it, `divides()` tells.
        """
        self._refresh()
        return self._dividing

    def divides(self, prefix: bytes) -> bool:
        """Whether names of a folded prefix may come from a template."""
        self._refresh()
        known = self._dividing.get(prefix)
        if known is None:
            known = bool(self.of(prefix).delimiter)
            self._dividing[prefix] = known
        return known

    def of(self, prefix: bytes) -> Chain:
        """The chain of a folded prefix that is homed here. Prefix records have none."""
        self._refresh()
        chain = self._chains.get(prefix)
        if chain is None:
            if len(self._chains) >= _MAX_KEPT:
                self._chains.clear()
                self._dividing.clear()
            chain = self._chains[prefix] = self._read(prefix)
        return chain

    def of_name(self, handle: bytes) -> Chain:
        """The chain for a name that lies here."""
        return self.of(prefix_of(handle))

    def _refresh(self) -> None:
        # The generation is read before the records: a change in between is seen at the next call.
        now = self._prefixes.generation()
        if now is None or now != self._seen:
            self._chains.clear()
            self._dividing.clear()
            self._seen = now

    def _read(self, prefix: bytes) -> Chain:
        # A template must not make up prefix records: whoever could write one would hold them all.
        if prefix == ROOT or prefix not in self._prefixes.homed():
            return NO_CHAIN
        found = (self._namespace(name) for name in (prefix_record(prefix), ROOT_RECORD))
        chain = tuple(one for one in found if one is not None)
        return Chain(chain) if chain else NO_CHAIN

    def _namespace(self, record: bytes) -> Namespace | None:
        if not self._prefixes.responsible(record):
            return None
        try:
            raw = self._get(key_of(record))
            if raw is None:
                return None
            found = slices(public_body(checked(raw)), 4)
            values = [one.octets for one in found if one.type.upper() == NAMESPACE_TYPE]
        except StoreError:
            return None  # the record itself is answered with the error
        return namespace_in([decode_value(octets) for octets in values])
