"""When a scheduled subscription reports: lists and ranges for second to month, in UTC (§3.1).

A field is a number, `[a-b]`, `*`, or several of these with commas; one that is missing is not
constrained, but for the seconds: without them a report is made at second 0. As in the examples of
the standard's OpenAPI document, `0/30` is every thirtieth from 0, and `[8-18]/2` each second one of
those.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final

from protocol.epcis.errors import SubscriptionControlsException

FIELDS: Final[Mapping[str, tuple[int, int]]] = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "dayOfMonth": (1, 31),
    "month": (1, 12),
    "dayOfWeek": (1, 7),
}
"""Bounds of the fields. dayOfWeek: 1 is Monday."""
_PART: Final = re.compile(
    r"(?:(?P<only>[0-9]{1,2})|\[(?P<first>[0-9]{1,2})-(?P<last>[0-9]{1,2})\]|\*)"
    r"(?:/(?P<step>[0-9]{1,2}))?"
)
_DAYS: Final = 366 * 8 + 3
"""How far ahead a match is looked for: 29 February may be eight years away."""
_MAX_TEXT: Final = 200
_FREE: Final = object()
"""Of a field that is not there."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values each field may have, sorted, in the order of FIELDS."""

    allowed: tuple[tuple[int, ...], ...]

    def next_after(self, time_s: float) -> int | None:
        """The next moment, in seconds since 1970; None: there is none in eight years."""
        seconds, minutes, hours, days, months, weekdays = self.allowed
        start = datetime.fromtimestamp(int(time_s) + 1, UTC)
        day = start.replace(hour=0, minute=0, second=0)
        for _ in range(_DAYS):
            if day.month in months and day.day in days and day.isoweekday() in weekdays:
                for hour, minute, second in product(hours, minutes, seconds):
                    moment = day.replace(hour=hour, minute=minute, second=second)
                    if moment >= start:
                        return int(moment.timestamp())
            if day.month not in months and day.day == 1:
                day += timedelta(days=monthrange(day.year, day.month)[1])
            else:
                day += timedelta(days=1)
        return None


def parse_schedule(fields: Any) -> Schedule:
    """A schedule of its JSON members. Raises SubscriptionControlsException."""
    if not isinstance(fields, Mapping) or not fields:
        raise SubscriptionControlsException(
            f"a schedule is an object with some of {', '.join(FIELDS)}"
        )
    unknown = fields.keys() - FIELDS.keys()
    if unknown:
        raise SubscriptionControlsException(
            f"a schedule has {', '.join(FIELDS)}, not {min(map(str, unknown))[:40]!r}"
        )
    made = Schedule(tuple(_values(name, fields.get(name, _FREE)) for name in FIELDS))
    if made.next_after(0) is None:
        raise SubscriptionControlsException("no moment ever fits this schedule")
    return made


def _values(name: str, text: Any) -> tuple[int, ...]:
    low, high = FIELDS[name]
    if text is _FREE:
        return (0,) if name == "second" else tuple(range(low, high + 1))
    found = set[int]()
    if not isinstance(text, str):
        raise SubscriptionControlsException(f"`{name}` of a schedule is a text, not {text!r:.40}")
    for part in text[:_MAX_TEXT].split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise SubscriptionControlsException(
                f"`{name}` of a schedule is a number, [a-b], * or 0/30, or a list of them; "
                f"not {text!r:.40}"
            )
        found.update(_spread(name, match))
    return tuple(sorted(found))


def _spread(name: str, match: re.Match[str]) -> range:
    """The values that one part names. A number with a step begins a range to the end."""
    low, high = FIELDS[name]
    only, step = match["only"], int(match["step"] or 1)
    first = int(only or match["first"] or low)
    last = int(match["last"] or (only if match["step"] is None else None) or high)
    if not low <= first <= last <= high:
        raise SubscriptionControlsException(f"`{name}` lies between {low} and {high}")
    if not step:
        raise SubscriptionControlsException(f"`{name}` of a schedule has steps of 1 or more")
    return range(first, last + 1, step)
