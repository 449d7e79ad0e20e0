"""What a prefix change makes of a prefix's row: homing, application, delegation, refusal.

A prefix change may carry values: those of the prefix record `0.NA/P`, set in the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from protocol.change import Change, Kind
from protocol.errors import BadIdentifier, HandleExists, HandleNotFound, InvalidValue, NotServedHere
from protocol.name import described_prefix, record_of
from registry.alter import CHANGED, CREATED, DELETED, UNCHANGED
from registry.prefixes import DELEGATED, HOMED, REFUSED, REQUESTED, WAITING, PrefixRow, ancestors
from registry.rules import ACCEPT, MARK, REFUSE

State = Callable[[bytes], str | None]
"""The state of a prefix, by its folded name."""


class PrefixAltered(NamedTuple):
    """What came of a prefix change. state: the row's now; None where there is none any more."""

    status: str
    state: str | None
    attributes: Mapping[str, Any]


def changed_prefix(change: Change) -> bytes:
    """The folded prefix that a prefix change is about. Raises BadIdentifier."""
    prefix = described_prefix(record_of(change.handle))
    if not prefix or b"/" in prefix:
        raise BadIdentifier(
            "not-a-prefix",
            f"{change.handle.decode('utf-8', 'replace')} is no prefix; write 0.NA/PREFIX",
        )
    return prefix


def alter_prefix(change: Change, row: PrefixRow | None, state: State) -> PrefixAltered:
    """Apply a prefix change. state: of any prefix, for its ancestors. Raises on what cannot be."""
    prefix = changed_prefix(change)
    if change.kind is Kind.HOME:
        return _home(change, prefix, row)
    if change.kind is Kind.UNHOME:
        return _unhome(prefix, row)
    if not any(state(above) == HOMED for above in ancestors(prefix)):
        raise NotServedHere(
            f"{_text(prefix)} does not lie under a prefix that is homed here; "
            "send the application to the node that is home to its parent"
        )
    if change.kind is Kind.REQUEST:
        return _request(change, prefix, row)
    if change.kind is Kind.DELEGATE:
        return _delegate(change, prefix, row)
    return _refuse(change, prefix, row)


def _home(change: Change, prefix: bytes, row: PrefixRow | None) -> PrefixAltered:
    attributes = dict(change.attributes or {})
    wanted = attributes.pop("state", HOMED)
    if wanted not in {HOMED, WAITING}:
        raise InvalidValue(f"a prefix is homed or waits here, it cannot be {wanted!r}")
    if attributes.get("unsigned", ACCEPT) not in {ACCEPT, MARK, REFUSE}:
        raise InvalidValue(
            f"unsigned records are accepted, marked or refused, not {attributes['unsigned']!r}"
        )
    if row is not None and row.state == DELEGATED:
        raise HandleExists(
            f"{_text(prefix)} is delegated to another node; "
            f"delete 0.NA/{_text(prefix)} before homing it here"
        )
    merged = {**row.attributes, **attributes} if row is not None else attributes
    if row is not None and row.state == wanted and merged == row.attributes:
        return PrefixAltered(UNCHANGED, wanted, merged)
    return PrefixAltered(CHANGED if row is not None else CREATED, wanted, merged)


def _unhome(prefix: bytes, row: PrefixRow | None) -> PrefixAltered:
    if row is None or row.state not in {HOMED, WAITING}:
        raise HandleNotFound(
            f"{_text(prefix)} is not homed here; `biaoshi prefix list` shows what is"
        )
    return PrefixAltered(DELETED, None, {})


def _request(change: Change, prefix: bytes, row: PrefixRow | None) -> PrefixAltered:
    attributes = dict(change.attributes or {})
    if row is not None and row.state in {HOMED, WAITING}:
        raise HandleExists(f"{_text(prefix)} is homed at this node itself; ask for another prefix")
    if row is not None and row.state == DELEGATED:
        if attributes.items() <= dict(row.attributes).items():
            return PrefixAltered(UNCHANGED, DELEGATED, row.attributes)
        raise HandleExists(
            f"{_text(prefix)} is delegated already, to another holder or with other keys; "
            "ask the operator of this node, or apply for another prefix"
        )
    if row is not None and row.state == REQUESTED:
        if dict(row.attributes) == attributes:
            return PrefixAltered(UNCHANGED, REQUESTED, attributes)
        # Two who apply at once: the first has the name until the operator refuses it.
        if row.attributes.get("keys") != attributes.get("keys"):
            raise HandleExists(
                f"{_text(prefix)} was requested already, with another key; "
                "ask the operator of this node, or apply for another prefix"
            )
    return PrefixAltered(CHANGED if row is not None else CREATED, REQUESTED, attributes)


def _delegate(change: Change, prefix: bytes, row: PrefixRow | None) -> PrefixAltered:
    if row is not None and row.state == HOMED:
        raise HandleExists(
            f"{_text(prefix)} is homed at this node; unhome it before giving it away"
        )
    if not change.values:
        raise InvalidValue(
            f"delegating {_text(prefix)} needs the values of its prefix record 0.NA/{_text(prefix)}"
        )
    attributes = {**(row.attributes if row is not None else {}), **(change.attributes or {})}
    return PrefixAltered(CHANGED if row is not None else CREATED, DELEGATED, attributes)


def _refuse(change: Change, prefix: bytes, row: PrefixRow | None) -> PrefixAltered:
    if row is not None and row.state == DELEGATED:
        raise HandleExists(
            f"{_text(prefix)} is delegated already; to take it back, delete its record "
            f"0.NA/{_text(prefix)}: `biaoshi register` reads DELETE in a batch file"
        )
    if row is None or row.state not in {REQUESTED, REFUSED}:
        raise HandleNotFound(
            f"nobody applied for {_text(prefix)}; `biaoshi prefix list` shows what waits"
        )
    attributes = {**row.attributes, **(change.attributes or {})}
    if row.state == REFUSED and attributes == row.attributes:
        return PrefixAltered(UNCHANGED, REFUSED, attributes)
    return PrefixAltered(CHANGED, REFUSED, attributes)


def _text(prefix: bytes) -> str:
    return prefix.decode("utf-8", "replace")
