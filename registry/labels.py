"""Who may see what is labelled (plan §10): one function decides, on every face.

A label is {"class": product|production|operation|management|external, "level": 1|2|3, …}. Level 1
is public; 2 is for administrators of this node's prefixes and whom they grant it; 3 stays within.
What has no label is level 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocol.errors import InvalidValue
from protocol.record import Reference

PUBLIC: Final = 1
GRANTED: Final = 2
PRIVATE: Final = 3
LEVELS: Final = (PUBLIC, GRANTED, PRIVATE)
CLASSES: Final = ("product", "production", "operation", "management", "external")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. actor: proved; None for anybody. administrator: of a prefix homed here, or of the
    server; the process that proved the actor found that out.
    """

    actor: Reference | None = None
    administrator: bool = False


ANYBODY: Final = Viewer()


def level_of(label: Mapping[str, Any] | None) -> int:
    """The level a label says; 2 where it says none, 3 where it says something else."""
    level = GRANTED if label is None else label.get("level", GRANTED)
    return level if type(level) is int and level in LEVELS else PRIVATE


def visible(label: Mapping[str, Any] | None, caller: Viewer) -> bool:
    """Whether a caller may know that something labelled so is there."""
    return caller.administrator or level_of(label) == PUBLIC


def check_label(label: Any) -> dict[str, Any]:
    """A label that may be set, its members in order. Raises InvalidValue."""
    if not isinstance(label, Mapping):
        raise InvalidValue("a label is an object with `class` and `level`")
    level, class_ = label.get("level", GRANTED), label.get("class", "operation")
    if type(level) is not int or level not in LEVELS:
        raise InvalidValue(f"the `level` of a label is 1, 2 or 3, not {level!r:.40}")
    if class_ not in CLASSES:
        raise InvalidValue(f"the `class` of a label is one of {', '.join(CLASSES)}")
    unknown = label.keys() - {"class", "level", "purpose", "retain_until"}
    if unknown:
        raise InvalidValue(f"a label has no member {min(map(str, unknown))!r:.40}")
    for name in ("purpose", "retain_until"):
        if name in label and (not isinstance(label[name], str) or len(label[name]) > 200):
            raise InvalidValue(f"`{name}` of a label is a text of at most 200 characters")
    return dict(sorted({**label, "class": class_, "level": level}.items()))
