"""Logs: one JSON object a line on the standard error output, one event name and its fields.

A flood of one event is cut to a number of lines a second; what was left out is counted on the
next line. Fields that could hold a secret are blanked, whoever wrote them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import orjson
import structlog

_SECRET: Final = ("password", "secret", "authorization", "cookie", "private", "token")
_LINES_PER_S: Final = 50
_LONGEST: Final = 2_000
"""Characters of one field at most."""

Event = MutableMapping[str, Any]


class _Flood:
    """Lets _LINES_PER_S lines a second and event pass."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._seen: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._seen.clear()
        name = str(event.get("event"))
        self._seen[name] = self._seen.get(name, 0) + 1
        if self._seen[name] > _LINES_PER_S:
            self._left_out[name] = self._left_out.get(name, 0) + 1
            raise structlog.DropEvent
        if name in self._left_out:
            event["left_out"] = self._left_out.pop(name)
        return event


def _guarded(_logger: Any, _name: str, event: Event) -> Event:
    """Blank secrets, turn octets into text, bound lengths."""
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET):
            event[key] = "[withheld]"
        elif isinstance(value, bytes):
            event[key] = value[:_LONGEST].decode("utf-8", "backslashreplace")
        elif isinstance(value, str) and len(value) > _LONGEST:
            event[key] = f"{value[:_LONGEST]}…"
    return event


def _render(_logger: Any, _name: str, event: Event) -> str:
    try:
        return orjson.dumps(event, default=repr).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, an integer beyond 64 bits
        return json.dumps(event, default=repr)


def configure(level: str, process: str) -> None:
    """Set up logging in this process. level: debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            _named(process),
            structlog.processors.add_log_level,
            _Flood(time.monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _guarded,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Standard(process))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _named(process: str) -> Callable[[Any, str, Event], Event]:
    def add(_logger: Any, _name: str, event: Event) -> Event:
        event["process"] = process
        return event

    return add


class _Standard(logging.Formatter):
    """Lines of libraries (asyncio, aiohttp) in the same form."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event: Event = {
            "event": "library",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return _render(None, "", _guarded(None, "", event))


class QueryLog:
    """Logs one of so many lookups: `if log.due(): log.write(…)`. every = 0: none."""

    __slots__ = ("_every", "_left")

    def __init__(self, every: int) -> None:
        self._every = every
        self._left = every

    def due(self) -> bool:
        """Whether this lookup is the one to log."""
        if not self._every:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self._every
        return True

    def within(self, number: int) -> int:
        """Which of the next lookups is the one to log, from 0 on; -1: none of them.

        For loops over many: asking once a loop costs nothing a lookup.
        """
        if not self._every:
            return -1
        at = self._left - 1
        self._left -= number
        if self._left > 0:
            return -1
        self._left = self._every - (number - 1 - at) % self._every
        return at

    def write(self, face: str, handle: bytes, code: int, took_us: int, source: str) -> None:
        """One line about a lookup."""
        structlog.get_logger().info(
            "lookup", face=face, handle=handle, code=code, took_us=took_us, source=source
        )
