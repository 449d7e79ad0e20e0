"""Prefixes: which this node is home to, which it gave to others, which wait.

A row per folded prefix. The node answers for a handle when its prefix is homed here; for a
prefix record `0.NA/Q` when Q or an ancestor of Q is (do-irp 17.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from protocol.change import pack, unpack
from protocol.errors import NotServedHere, ParseError, StoreError
from protocol.name import (
    described_prefix,
    is_arcwise,
    lines,
    parent_prefix,
    prefix_of,
    prefix_record,
)
from registry.generation import Generation
from registry.store import Store, Table, Write

HOMED: Final = "homed"  # we answer for it
WAITING: Final = "waiting"  # we applied to our parent for it
REQUESTED: Final = "requested"  # a child applied to us for it
DELEGATED: Final = "delegated"  # we gave it to a child
REFUSED: Final = "refused"  # we refused it to a child
STATES: Final = frozenset((HOMED, WAITING, REQUESTED, DELEGATED, REFUSED))
ROOT: Final = b"0.NA"
"""The prefix of prefix records: a node home to it is the root and answers for all of them."""


@dataclass(frozen=True, slots=True)
class PrefixRow:
    """What is known of one prefix.

    prefix: folded. time: of the last change, seconds since 1970. sequence: of that change.
    attributes: holder, keys, address … as the application gave them; msgpack-able.
    """

    prefix: bytes
    state: str
    time: int = 0
    sequence: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The row's value, canonical msgpack."""
        return pack(
            {
                "attributes": dict(self.attributes),
                "sequence": self.sequence,
                "state": self.state,
                "time": self.time,
            }
        )

    def write(self) -> Write:
        """The row as a store write."""
        return Write(Table.PREFIXES, self.prefix, self.encode())

    @classmethod
    def decode(cls, prefix: bytes, data: bytes) -> PrefixRow:
        """A row as stored. Raises StoreError when it is damaged."""
        try:
            fields = unpack(data)
            state = str(fields["state"])
            if state not in STATES:
                raise ParseError(f"unknown state {state!r}")
            return cls(
                prefix, state, int(fields["time"]), int(fields["sequence"]), fields["attributes"]
            )
        except (ParseError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the row of prefix {prefix!r} is damaged: {error}") from error


def ancestors(prefix: bytes) -> Iterator[bytes]:
    """88.118.8 -> 88.118, 88, 0.NA."""
    above = parent_prefix(prefix)
    while above is not None:
        yield above
        above = parent_prefix(above)
    if prefix != ROOT:
        yield ROOT


def is_responsible(
    handle: bytes, homed: Callable[[bytes], bool], delegated: Callable[[bytes], bool]
) -> bool:
    """Whether a node with these homed and delegated prefixes answers for a handle.

    What is delegated arc by arc lies with the nearest of them.
    """
    described = described_prefix(handle)
    if described is None:
        own = prefix_of(handle)
        if homed(own) or not is_arcwise(handle):
            return homed(own)
        nearest = next((p for p in lines(own) if homed(p) or delegated(p)), ROOT)
        return homed(nearest) and nearest != ROOT
    return homed(described) or any(map(homed, ancestors(described)))


def delegation_above(
    handle: bytes, homed: Callable[[bytes], bool], delegated: Callable[[bytes], bool]
) -> bytes | None:
    """The nearest delegated prefix that the handle lies under; None when there is none.

    A prefix record lies with the parent once its prefix is delegated, so only strict ancestors
    count for it.
    """
    described = described_prefix(handle)
    if described is None:
        own = prefix_of(handle)
        if is_arcwise(handle):
            nearest = next((p for p in lines(own) if homed(p) or delegated(p)), None)
            return nearest if nearest is not None and not homed(nearest) else None
        if delegated(own):
            return own
        described = own
    return next(filter(delegated, ancestors(described)), None)


class _Restless(tuple[int, ...]):
    """A mark that always differs: where there is no generation to compare."""

    __slots__ = ()
    _count = count()

    def __getitem__(self, _: Any) -> Any:
        return next(self._count)


class Prefixes:
    """The prefix table, its sets kept in memory until the generation changes."""

    def __init__(self, store: Store, generation: Generation | None = None) -> None:
        """generation: None reads the table at each question (the command line, tests)."""
        self._store = store
        self._generation = generation
        self._seen: int | None = None
        self._homed: frozenset[bytes] = frozenset()
        self._delegated: frozenset[bytes] = frozenset()

    def _refresh(self) -> None:
        # The generation is read before the rows: a change in between is seen at the next call.
        now = self._generation.value() if self._generation is not None else None
        if now is not None and now == self._seen:
            return
        rows = self.rows()
        self._homed = frozenset(row.prefix for row in rows if row.state == HOMED)
        self._delegated = frozenset(row.prefix for row in rows if row.state == DELEGATED)
        self._seen = now

    @property
    def mark(self) -> Sequence[int]:
        """Its first item differs once homed(), delegated() or a prefix's namespace changed.

        For loops where a call costs too much; read it before the set it stands for.
        """
        return self._generation.mark if self._generation is not None else _Restless()

    def rows(self) -> list[PrefixRow]:
        """Every prefix known, in the order of names."""
        with self._store.snapshot() as state:
            return [PrefixRow.decode(key, data) for key, data in state.scan(Table.PREFIXES)]

    def get(self, prefix: bytes) -> PrefixRow | None:
        """The row of one prefix (any case)."""
        folded = prefix.upper()
        data = self._store.get(Table.PREFIXES, folded)
        return None if data is None else PrefixRow.decode(folded, data)

    def homed(self) -> frozenset[bytes]:
        """The folded prefixes that this node answers for."""
        self._refresh()
        return self._homed

    def delegated(self) -> frozenset[bytes]:
        """The folded prefixes that this node gave to others."""
        self._refresh()
        return self._delegated

    def responsible(self, handle: bytes) -> bool:
        """Whether this node answers for a handle."""
        homed, delegated = self.homed(), self.delegated()
        return is_responsible(handle, homed.__contains__, delegated.__contains__)

    def require(self, handle: bytes) -> None:
        """Raise NotServedHere unless this node answers for a handle."""
        if not self.responsible(handle):
            raise not_served(handle, self.get(described_prefix(handle) or prefix_of(handle)))

    def delegation_for(self, handle: bytes) -> bytes | None:
        """The prefix record `0.NA/Q` of the nearest delegated prefix above a handle, or None."""
        homed, delegated = self.homed(), self.delegated()
        found = delegation_above(handle, homed.__contains__, delegated.__contains__)
        return None if found is None else prefix_record(found)


def unsigned_policy(
    prefix: bytes, row_of: Callable[[bytes], PrefixRow | None], default: str
) -> str:
    """What this prefix or the nearest above it says of records without a valid signature."""
    rows = map(row_of, lines(prefix))
    said = (row.attributes.get("unsigned") for row in rows if row is not None)
    return str(next(filter(None, said), default))


def home_above(prefix: bytes, prefixes: Prefixes) -> bytes | None:
    """The nearest prefix above this one that is homed here, from which it can be delegated."""
    homed = prefixes.homed()
    return next((above for above in lines(prefix) if above != prefix and above in homed), None)


def not_served(handle: bytes, row: PrefixRow | None) -> NotServedHere:
    """The error for a handle of a prefix that is not homed here, with the next step."""
    prefix = (described_prefix(handle) or prefix_of(handle)).decode("utf-8", "replace")
    shown = handle.decode("utf-8", "replace")
    if row is not None and row.state == WAITING:
        return NotServedHere(
            f"{shown}: prefix {prefix} still waits for its parent's approval; "
            f"ask the parent's operator to run `biaoshi prefix approve {prefix}`"
        )
    if row is not None and row.state == DELEGATED:
        return NotServedHere(
            f"{shown}: prefix {prefix} was delegated to another node; send it there"
        )
    return NotServedHere(
        f"{shown}: prefix {prefix} is not homed at this node; send it to the node that is home "
        "to it, or check its spelling"
    )
