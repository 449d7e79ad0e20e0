"""Giving and taking back grants: the changes of the record `P/0.GRANTS` (registry.grants)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocol.change import Change, Kind
from protocol.errors import InvalidValue, ParseError, ValuesNotFound
from protocol.labels import LABEL
from protocol.record import HandleValue, Record, Reference
from registry.grants import GRANT, Grant, format_grant, grants_record, is_grant, parse_grant
from registry.reads import CLOSED
from registry.rules import SIGN, default_admin

_LABEL_INDEX: Final = 2
_FIRST: Final = 1_001
MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Given:
    """A grant and its number: the index of its value."""

    number: int
    grant: Grant

    def shape(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"number": self.number, **self.grant.shape()}


def given(record: Record | None) -> list[Given]:
    """The grants of a record; what cannot be read grants nothing and is not listed."""
    found = []
    for value in record.values if record is not None else ():
        if is_grant(value):
            try:
                found.append(Given(value.index, parse_grant(value.data)))
            except (ParseError, InvalidValue):
                continue
    return sorted(found, key=lambda one: one.number)


def giving(
    prefix: bytes, record: Record | None, grant: Grant, actor: Reference | None
) -> tuple[Change, int]:
    """The change that adds a grant, and the number it gets. Raises InvalidValue: too many."""
    name = grants_record(prefix)
    taken = {value.index for value in record.values} if record is not None else set()
    if len(taken) > MOST:
        raise InvalidValue(f"a prefix has at most {MOST} grants; remove those that ended")
    number = max((one.number for one in given(record)), default=_FIRST - 1) + 1
    while number in taken:
        number += 1
    value = HandleValue(number, GRANT, format_grant(grant))
    sign = {SIGN: True}
    if record is not None:
        return Change(Kind.ADD, name, (value,), actor=actor, attributes=sign), number
    closed = HandleValue(_LABEL_INDEX, LABEL, CLOSED)
    values = (default_admin(name), closed, value)
    return Change(Kind.CREATE, name, values, actor=actor, attributes=sign), number


def taking_back(
    prefix: bytes, record: Record | None, numbers: Sequence[int], actor: Reference | None
) -> Change:
    """The change that removes grants. Raises ValuesNotFound."""
    there = {one.number for one in given(record)}
    missing = [number for number in numbers if number not in there]
    if missing or not numbers:
        raise ValuesNotFound(
            f"there is no grant {missing[0] if missing else ''} of {prefix.decode('utf-8', 'replace')}"
        )
    return Change(Kind.REMOVE, grants_record(prefix), indexes=tuple(numbers), actor=actor)
