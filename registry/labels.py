"""Who may see what is labelled (plan §10): one function decides, on every face.

Level 1 is public; 2 is for administrators and whom they grant it; 3 is for administrators alone.
Administrators are those of the record who may read values, and those of its prefix. Of events,
what has no label is level 2; of a record's values, what has none is public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol.labels import (
    CLASSES,
    GRANTED,
    LEVELS,
    PRIVATE,
    PUBLIC,
    check_label,
    level_of,
)
from protocol.record import HandleValue, Reference
from registry.grants import Grant

if TYPE_CHECKING:
    from registry.events.granted import EventGrants

__all__ = [
    "ANYBODY",
    "CLASSES",
    "GRANTED",
    "LEVELS",
    "PRIVATE",
    "PUBLIC",
    "Viewer",
    "check_label",
    "level_of",
    "sees",
    "visible",
]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. actor: proved; None for anybody. administrator: of a prefix homed here, or of the
    server; the process that proved the actor found that out. grants: those that name the actor and
    hold now for the record that is asked about; events: what they open of events.
    """

    actor: Reference | None = None
    administrator: bool = False
    grants: tuple[Grant, ...] = ()
    events: EventGrants | None = None


ANYBODY = Viewer()


def visible(label: Mapping[str, Any] | None, caller: Viewer, type_: bytes | None = None) -> bool:
    """Whether a caller may know that something labelled so is there.

    type_: of a value; None for what is no value of a record. Events: registry.events.granted.
    """
    level = level_of(label)
    if caller.administrator or level == PUBLIC:
        return True
    if level != GRANTED or label is None or type_ is None:
        return False
    return any(grant.covers(type_, label) for grant in caller.grants)


def sees(caller: Viewer) -> Any:
    """visible() for the values of a record, as protocol.labels asks it.

    What permissions withhold from the public no grant opens.
    """

    def may(value: HandleValue, label: Mapping[str, Any]) -> bool:
        if not value.public and not caller.administrator:
            return level_of(label) == PUBLIC
        return visible(label, caller, value.type)

    return may
