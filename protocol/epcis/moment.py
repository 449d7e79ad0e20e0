"""Times of events: RFC 3339 text -> exact moments, and the one spelling the hash uses.

The calendar is the proleptic Gregorian one; a leap second is the second that follows it.
"""

from __future__ import annotations

import re
from datetime import date

from protocol.errors import ParseError

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,32}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))"
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
_US = 1_000_000


def parse_moment(text: str) -> tuple[int, str]:
    """Whole seconds since 1970 in UTC, and the digits of the fraction as written ("" for none).

    Raises ParseError for anything but a date and time with its zone.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ParseError(
            f"{text[:60]!r} is no date and time with a zone such as 2026-03-01T10:00:00Z"
        )
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        ordinal = date(year, month, day).toordinal()
    except ValueError as error:
        raise ParseError(f"{text[:60]!r}: {error}") from None
    if hour > 23 or minute > 59 or second > 60:
        raise ParseError(f"{text[:60]!r} names no time of a day")
    seconds = (ordinal - _EPOCH_DAY) * _DAY_S + hour * 3600 + minute * 60 + second
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 23 or minutes > 59:
            raise ParseError(f"{text[:60]!r} has no zone such as +08:00")
        offset = hours * 3600 + minutes * 60
        seconds -= offset if match[8] == "+" else -offset
    return seconds, match[7] or ""


def parse_time_us(text: str) -> int:
    """Microseconds since 1970 in UTC; finer digits are cut. Raises ParseError."""
    seconds, fraction = parse_moment(text)
    return seconds * _US + int((fraction + "000000")[:6])


def format_time_us(time_us: int) -> str:
    """RFC 3339 in UTC with three decimals, or six where the moment needs them."""
    seconds, rest = divmod(time_us, _US)
    if rest % 1000:
        return f"{_format_seconds(seconds)}.{rest:06d}Z"
    return f"{_format_seconds(seconds)}.{rest // 1000:03d}Z"


def hash_time(text: str) -> str | None:
    """The spelling of a moment in a pre-hash string: UTC, three decimals, half up at the fourth.

    None for text that is no moment (traceability §2.1 step 7).
    """
    try:
        seconds, fraction = parse_moment(text)
        millis = int((fraction + "000")[:3]) + (fraction[3:4] >= "5")
        return f"{_format_seconds(seconds + millis // 1000)}.{millis % 1000:03d}Z"
    except ParseError:
        return None


def _format_seconds(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY_S)
    try:
        day = date.fromordinal(days + _EPOCH_DAY)
    except (ValueError, OverflowError):
        raise ParseError(f"{seconds} seconds since 1970 are outside the calendar") from None
    return f"{day.isoformat()}T{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
