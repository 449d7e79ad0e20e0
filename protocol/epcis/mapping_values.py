"""Cells as fields of an event want them: times with a zone, numbers, truth values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from protocol.epcis.eventhash import plain_number
from protocol.epcis.moment import parse_moment
from protocol.errors import InvalidValue, ParseError

NUMBERS: Final = frozenset(
    ("quantity", "value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue")
)
"""Fields that hold a number."""
TIMES: Final = frozenset(
    ("eventTime", "time", "startTime", "endTime", "declarationTime", "recordTime")
)
"""Fields that hold a time."""
BOOLEANS: Final = frozenset(("booleanValue",))
FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d",
)
"""Times without a zone that are read without being told."""
_WORDS: Final = {
    "true": True,
    "yes": True,
    "1": True,
    "是": True,
    "false": False,
    "no": False,
    "0": False,
    "否": False,
}


def read_time(text: str, zone: tzinfo | None, formats: Sequence[str]) -> str:
    """RFC 3339 with a zone. A time that has one stays as it is.

    zone: of times without one. formats: tried first, as strptime reads them. Raises InvalidValue.
    """
    try:
        parse_moment(text)
    except ParseError:
        pass
    else:
        return text
    for form in (*formats, *FORMATS):
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - the zone comes next
        except ValueError:
            continue
        return _zoned(moment, zone, text)
    raise InvalidValue(f"{text[:60]!r} is no time that is known; name its form in time_formats")


def _zoned(moment: datetime, zone: tzinfo | None, text: str) -> str:
    if moment.tzinfo is None:
        if zone is None:
            raise InvalidValue(f"{text[:60]!r} has no zone; write time_zone in [source]")
        moment = moment.replace(tzinfo=zone)
    try:
        moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidValue(f"{text[:60]!r} lies outside the calendar") from None
    precise = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    return moment.isoformat(timespec=precise)


def offset_of(time: str) -> str:
    """The eventTimeZoneOffset of a time: +08:00; Z is +00:00."""
    return time[-6:] if time[-6:-5] in ("+", "-") else "+00:00"


def read_number(text: str, decimal: str) -> Any:
    """A number, exact. decimal: the mark before the fraction, `.` or `,`. Raises InvalidValue."""
    plain = text
    if decimal == ",":
        plain = text.replace(".", "").replace(",", ".")
    found = plain_number("".join(plain.split()))
    if found is None:
        raise InvalidValue(f"{text[:60]!r} is no number; is the decimal mark right?")
    return Decimal(found) if "." in found else int(found)


def read_truth(text: str) -> bool:
    """Raises InvalidValue."""
    found = _WORDS.get(text.lower())
    if found is None:
        raise InvalidValue(f"{text[:60]!r} is neither true nor false")
    return found
