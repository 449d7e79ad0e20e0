"""What a change makes of a record's values: pure functions, one per kind (do-irp 17.4).

They decide nothing about rights, time or versions beyond stamping the values they set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from protocol.change import Change, Kind
from protocol.errors import (
    HandleExists,
    HandleNotFound,
    InsufficientPermissions,
    InvalidValue,
    ValueExists,
    ValuesNotFound,
)
from protocol.record import ADMIN_WRITE, HandleValue
from registry.content import same_content
from registry.rules import (
    SIGN,
    WriterSettings,
    check_values,
    default_admin,
    is_admin,
    is_signature,
)

Values = tuple[HandleValue, ...]

CREATED = "created"
UNCHANGED = "unchanged"
REPLACED = "replaced"  # a whole record, or some values that were there
CHANGED = "changed"  # values added, modified or removed
DELETED = "deleted"
REFUSED = "refused"


class Altered(NamedTuple):
    """What came of a change. values: the record's now; None where there is none any more."""

    status: str
    values: Values | None


def alter(change: Change, old: Values | None, now_s: int, settings: WriterSettings) -> Altered:
    """Apply a change of a record to its values.

    old: None where there is no record. now_s: the time stamped on what is set. Raises the errors
    of do-irp 17.4; nothing is half done.
    """
    if change.kind is Kind.CREATE:
        check_values(change.values, settings)
        return _create(change, old, now_s)
    if change.kind is Kind.MERGE and old is None:
        check_values(change.values, settings)
        return Altered(CREATED, _stamped(change.values, now_s))
    if old is None:
        raise HandleNotFound(
            f"{_shown(change)} does not exist; create it first, or check its spelling"
        )
    if change.kind is Kind.DELETE:
        return Altered(DELETED, None)
    if change.kind is Kind.REMOVE:
        return _remove(change, old, settings)
    if change.kind is Kind.MODIFY:
        return _modify(change, old, now_s, settings)
    return _add(change, old, now_s, settings)


def _create(change: Change, old: Values | None, now_s: int) -> Altered:
    if old is None:
        return Altered(CREATED, _stamped(change.values, now_s))
    kept = old
    if (change.attributes or {}).get(SIGN) and not any(map(is_signature, change.values)):
        kept = tuple(value for value in old if not is_signature(value))
    if same_content(kept, change.values):
        return Altered(UNCHANGED, old)
    if not change.overwrite:
        raise HandleExists(
            f"{_shown(change)} exists already with other values; "
            "replace or merge it, or choose another name"
        )
    return Altered(REPLACED, _stamped(change.values, now_s))


def _add(change: Change, old: Values, now_s: int, settings: WriterSettings) -> Altered:
    if not change.values:
        raise InvalidValue(f"no values to add to {_shown(change)}; give at least one")
    check_values(change.values, settings)
    before = {value.index: value for value in old}
    if change.kind is Kind.MERGE:
        change = _without_default_admin(change, old)
    taken = [value for value in change.values if value.index in before]
    overwrite = change.overwrite or change.kind is Kind.MERGE
    if taken and not overwrite:
        raise ValueExists(
            f"index conflict for {taken[0].index} of {_shown(change)}: "
            "it is taken; modify it, or overwrite"
        )
    return _set(change, before, REPLACED if taken else CHANGED, now_s, settings)


def _without_default_admin(change: Change, old: Values) -> Change:
    """What an import adds for want of an administrator is left out where the record has one."""
    if not any(map(is_admin, old)):
        return change
    default = default_admin(change.handle).data
    kept = tuple(v for v in change.values if not (is_admin(v) and v.data == default))
    return change if len(kept) == len(change.values) else replace(change, values=kept)


def _modify(change: Change, old: Values, now_s: int, settings: WriterSettings) -> Altered:
    if not change.values:
        raise InvalidValue(f"no values to modify in {_shown(change)}; give at least one")
    before = {value.index: value for value in old}
    _require_present((value.index for value in change.values), before, change)
    check_values(change.values, settings)
    return _set(change, before, CHANGED, now_s, settings)


def _set(
    change: Change,
    before: dict[int, HandleValue],
    status: str,
    now_s: int,
    settings: WriterSettings,
) -> Altered:
    """Put the change's values at their indexes; those that say the same keep their time."""
    after = dict(before)
    for value in change.values:
        old = before.get(value.index)
        if old is not None and same_content((old,), (value,)):
            continue
        if old is not None and not old.permissions & ADMIN_WRITE:
            raise InsufficientPermissions(
                f"value {value.index} of {_shown(change)} has no admin write permission: "
                "nobody may modify it; replace the whole record"
            )
        after[value.index] = _stamp(value, now_s)
    if after == before:
        return Altered(UNCHANGED, tuple(before.values()))
    _require_admin_left(change, before, after, settings)
    return Altered(status, _sorted(after))


def _remove(change: Change, old: Values, settings: WriterSettings) -> Altered:
    if not change.indexes:
        raise InvalidValue(f"no indexes to remove from {_shown(change)}; name at least one")
    before = {value.index: value for value in old}
    _require_present(change.indexes, before, change)
    after = {index: value for index, value in before.items() if index not in change.indexes}
    _require_admin_left(change, before, after, settings)
    return Altered(CHANGED, _sorted(after))


RECORD_KINDS = frozenset((Kind.CREATE, Kind.DELETE, Kind.ADD, Kind.MODIFY, Kind.REMOVE, Kind.MERGE))
"""The kinds that this page knows; the others are about prefixes."""


def _require_present(
    indexes: Iterable[int], before: dict[int, HandleValue], change: Change
) -> None:
    missing = [index for index in indexes if index not in before]
    if missing:
        raise ValuesNotFound(
            f"{_shown(change)} has no value {missing[0]}; nothing was changed. "
            "Read the record for its indexes"
        )


def _require_admin_left(
    change: Change,
    before: dict[int, HandleValue],
    after: dict[int, HandleValue],
    settings: WriterSettings,
) -> None:
    """The last administrator is not lost by accident (threats A6)."""
    if not settings.keep_last_admin or any(map(is_admin, after.values())):
        return
    if any(map(is_admin, before.values())):
        raise InvalidValue(
            f"this would leave {_shown(change)} without an administrator; "
            "add another HS_ADMIN value first, or replace the whole record"
        )


def _stamped(values: Sequence[HandleValue], now_s: int) -> Values:
    return tuple(_stamp(value, now_s) for value in values)


def _stamp(value: HandleValue, now_s: int) -> HandleValue:
    return HandleValue(
        value.index,
        value.type,
        value.data,
        value.ttl,
        value.ttl_type,
        now_s,
        value.permissions,
        value.references,
    )


def _sorted(values: dict[int, HandleValue]) -> Values:
    return tuple(values[index] for index in sorted(values))


def _shown(change: Change) -> str:
    return change.handle.decode("utf-8", "replace")
