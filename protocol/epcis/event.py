"""What an event says of objects: the few readings that index, trace and pages share.

They take an event as JSON gives it, valid or not: a part of the wrong shape is passed over. Only
`time_us` raises, since an event without a time has no place anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

from protocol.epcis.identity import canonical_id
from protocol.epcis.moment import parse_time_us
from protocol.epcis.vocabulary import EPCIS, Family, family_of
from protocol.errors import InvalidValue

Event = Mapping[str, Any]


class Role(IntEnum):
    """How an event names an object; the number stands in index keys and never changes."""

    EPC = 1
    PARENT = 2
    CHILD = 3
    INPUT = 4
    OUTPUT = 5
    QUANTITY = 6
    CHILD_QUANTITY = 7
    INPUT_QUANTITY = 8
    OUTPUT_QUANTITY = 9


class Mention(NamedTuple):
    """One object in one role. id: canonical. quantity: None for a single object, or unknown."""

    role: Role
    id: str
    quantity: Decimal | None = None
    uom: str | None = None


INSTANCE_FIELDS: Mapping[str, Role] = {
    "epcList": Role.EPC,
    "childEPCs": Role.CHILD,
    "inputEPCList": Role.INPUT,
    "outputEPCList": Role.OUTPUT,
}
QUANTITY_FIELDS: Mapping[str, Role] = {
    "quantityList": Role.QUANTITY,
    "childQuantityList": Role.CHILD_QUANTITY,
    "inputQuantityList": Role.INPUT_QUANTITY,
    "outputQuantityList": Role.OUTPUT_QUANTITY,
}


def mentions(event: Event) -> tuple[Mention, ...]:
    """Every object the event names, in field order, each (role, id, quantity) once."""
    return tuple(dict.fromkeys(_mentions(event)))


def _mentions(event: Event) -> Iterator[Mention]:
    parent = event.get("parentID")
    if isinstance(parent, str):
        yield Mention(Role.PARENT, canonical_id(parent.strip()))
    for name, role in INSTANCE_FIELDS.items():
        for text in items(event, name):
            if isinstance(text, str):
                yield Mention(role, canonical_id(text.strip()))
    for name, role in QUANTITY_FIELDS.items():
        for element in items(event, name):
            if isinstance(element, Mapping) and isinstance(element.get("epcClass"), str):
                uom = element.get("uom")
                yield Mention(
                    role,
                    canonical_id(element["epcClass"].strip()),
                    number(element.get("quantity")),
                    uom if isinstance(uom, str) else None,
                )


def items(event: Event, name: str) -> list[Any]:
    """The list under a name; [] where there is none."""
    value = event.get(name)
    return value if isinstance(value, list) else []


def number(value: Any) -> Decimal | None:
    """A JSON number, exact; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    found = value if isinstance(value, Decimal) else Decimal(str(value))
    return found if found.is_finite() else None


def time_us(event: Event) -> int:
    """The eventTime in microseconds since 1970. Raises ParseError, InvalidValue without one."""
    text = event.get("eventTime")
    if not isinstance(text, str):
        raise InvalidValue(
            "the event has no eventTime; write one such as 2026-03-01T10:00:00+08:00"
        )
    return parse_time_us(text.strip())


def kind(event: Event) -> str:
    """`ObjectEvent` and the like; a URI or CURIE for an extension type; "" for none."""
    value = event.get("type")
    return value.removeprefix(EPCIS) if isinstance(value, str) else ""


def _text(event: Event, name: str) -> str | None:
    value = event.get(name)
    return value if isinstance(value, str) else None


def action(event: Event) -> str | None:
    """ADD, OBSERVE or DELETE; None for a transformation."""
    return _text(event, "action")


def event_id(event: Event) -> str | None:
    return _text(event, "eventID")


def biz_step(event: Event) -> str | None:
    """As written: a word, a URI or a URN."""
    return _text(event, "bizStep")


def disposition(event: Event) -> str | None:
    """As written: a word, a URI or a URN."""
    return _text(event, "disposition")


def transformation_id(event: Event) -> str | None:
    return _text(event, "transformationID")


def parent_id(event: Event) -> str | None:
    """The parent, canonical."""
    value = _text(event, "parentID")
    return None if value is None else canonical_id(value)


def _place(event: Event, name: str) -> str | None:
    value = event.get(name)
    return (
        canonical_id(value["id"])
        if isinstance(value, Mapping) and isinstance(value.get("id"), str)
        else None
    )


def read_point(event: Event) -> str | None:
    """Where it was at that moment, canonical."""
    return _place(event, "readPoint")


def biz_location(event: Event) -> str | None:
    """Where it is afterwards, canonical."""
    return _place(event, "bizLocation")


class Typed(NamedTuple):
    """A business document, a source or a destination. type: as written; id: canonical."""

    type: str | None
    id: str


def _typed(event: Event, name: str, member: str) -> tuple[Typed, ...]:
    found = []
    for item in items(event, name):
        value = item.get(member) if isinstance(item, Mapping) else None
        if isinstance(value, str):
            kind_ = item.get("type")
            found.append(Typed(kind_ if isinstance(kind_, str) else None, canonical_id(value)))
    return tuple(found)


def documents(event: Event) -> tuple[Typed, ...]:
    """The business documents of bizTransactionList."""
    return _typed(event, "bizTransactionList", "bizTransaction")


def sources(event: Event) -> tuple[Typed, ...]:
    return _typed(event, "sourceList", "source")


def destinations(event: Event) -> tuple[Typed, ...]:
    return _typed(event, "destinationList", "destination")


def is_declared_error(event: Event) -> bool:
    """Whether this copy of the event withdraws it (traceability §1.6)."""
    return isinstance(event.get("errorDeclaration"), Mapping)


def corrected_by(event: Event) -> tuple[str, ...]:
    """Event ids that replace a withdrawn event."""
    declaration = event.get("errorDeclaration")
    if not isinstance(declaration, Mapping):
        return ()
    return tuple(i for i in items(declaration, "correctiveEventIDs") if isinstance(i, str))


def family(event: Event) -> Family:
    """production, logistics, service, end-of-life or other (traceability §1.5)."""
    return family_of(
        biz_step(event), disposition(event), transformation=kind(event) == "TransformationEvent"
    )
