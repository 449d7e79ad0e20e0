"""Importing events: rows of other systems through a mapping file to a node, a file or nothing.

Each event is checked as a capture would check it before it is sent; what is refused is told with
its lines, and the others go on. Events get their hash id, so a broken run can be repeated: what is
there already is unchanged.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from protocol.epcis.mapping import EventMapping, Line, Made, Mapper, parse_mapping
from protocol.epcis.schema import Problem, check_event, check_rules
from protocol.errors import InvalidValue, SettingsError
from resolver.epcis.taking import FLAGGED
from resolver.event_import.rows import Rows

BATCH: Final = 100
"""Events a request; a capture job names at most as many errors."""
MAX_MAPPING_OCTETS: Final = 1 << 20
SHOWN: Final = 20
"""Refusals told one by one."""
_OFFSET: Final = re.compile(r"([+-])([01][0-9]|2[0-3]):([0-5][0-9])")
_READ_OCTETS: Final = 1 << 20


class Event(NamedTuple):
    """An event on its way, and the lines it was made of."""

    lines: tuple[int, ...]
    event: Mapping[str, Any]


class Refusal(NamedTuple):
    lines: tuple[int, ...]
    error: str

    def text(self) -> str:
        """`line 7: …`, or `lines 7, 8 …: …`."""
        if self.error.startswith("line "):
            return self.error
        shown = ", ".join(map(str, self.lines[:5])) + (" …" if len(self.lines) > 5 else "")
        return f"line{'s' if len(self.lines) > 1 else ''} {shown}: {self.error}"


class Target(Protocol):
    """Where events go. What send() did not refuse is kept when it returns."""

    def send(self, events: Sequence[Event], /) -> list[Refusal]:
        """Take events; the refused ones."""

    def close(self) -> None:
        """No more comes."""


@dataclass(slots=True)
class Summary:
    """What a run came to."""

    rows: int = 0
    unused: int = 0
    events: int = 0
    refused: int = 0
    flagged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def refuse(self, refusal: Refusal) -> None:
        self.refused += 1
        if len(self.refusals) < SHOWN:
            self.refusals.append(refusal)

    def shape(self) -> dict[str, Any]:
        """For --json."""
        return {
            "rows": self.rows,
            "unused": self.unused,
            "events": self.events,
            "refused": self.refused,
            "flagged": self.flagged,
            "types": dict(sorted(self.kinds.items())),
            "refusals": [{"lines": list(one.lines), "error": one.error} for one in self.refusals],
        }


def load_mapping(path: Path) -> EventMapping:
    """A mapping file. Raises SettingsError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_MAPPING_OCTETS:
        raise SettingsError(f"{path} is no mapping file: it has {len(data)} octets")
    try:
        return parse_mapping(tomllib.loads(data.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def find_zone(name: str | None) -> tzinfo | None:
    """A time zone of its name or offset. Raises SettingsError."""
    if name is None:
        return None
    match = _OFFSET.fullmatch(name)
    if match is not None:
        ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(ahead if match[1] == "+" else -ahead)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f"there is no time zone {name!r} here; write one such as Asia/Shanghai, or +08:00"
        ) from None


class Digests:
    """SHA-256 of the files below one folder; a name in a row never leads out of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._known = dict[Path, str]()

    def __call__(self, name: str) -> str:
        """Raises InvalidValue."""
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder):
                raise InvalidValue(f"the file {name!r} lies outside {self._folder}")
            if path not in self._known:
                self._known[path] = _sha256(path)
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            raise InvalidValue(f"the file {name!r} cannot be read: {told}") from None
        return self._known[path]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_OCTETS):
            digest.update(part)
    return digest.hexdigest()


def require_columns(mapping: EventMapping, rows: Rows) -> None:
    """Raise SettingsError for a column that the mapping names and the file has not."""
    if rows.columns is None:
        return
    missing = sorted(mapping.columns - set(rows.columns))
    if missing:
        raise SettingsError(
            f"the file has no column {missing[0]!r}, which the mapping names; it has "
            f"{', '.join(name for name in rows.columns if name)}"
        )


def run(
    mapper: Mapper,
    rows: Rows,
    target: Target,
    now_us: int,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Make and send every event. Errors of the target and of the file end the run.

    progress: told how many rows were read since.
    """
    require_columns(mapper.mapping, rows)
    summary = Summary()
    contexts = mapper.mapping.contexts()
    batch: list[Event] = []
    for made in mapper.events(_counted(rows.lines, mapper.mapping, summary, progress)):
        event = _checked(made, contexts, now_us, summary)
        if event is None:
            continue
        batch.append(event)
        if len(batch) == BATCH:
            _send(target, batch, summary)
            batch = []
    if batch:
        _send(target, batch, summary)
    return summary


def _counted(
    lines: Iterable[Line],
    mapping: EventMapping,
    summary: Summary,
    progress: Callable[[int], None] | None,
) -> Iterator[Line]:
    for line in lines:
        summary.rows += 1
        if progress is not None and summary.rows % BATCH == 0:
            progress(BATCH)
        if not any(rule.applies(line.row) for rule in mapping.rules):
            summary.unused += 1
        yield line


def _checked(made: Made, contexts: list[Any], now_us: int, summary: Summary) -> Event | None:
    if made.event is None:
        summary.refuse(Refusal(made.lines, made.error or "no event"))
        return None
    problems = check_event(made.event, contexts)
    if not problems:
        rules = check_rules(made.event, contexts, now_us=now_us)
        problems = [one for one in rules if one.rule not in FLAGGED]
        summary.flagged += bool(rules)
        summary.flags += [one.message for one in rules][: max(0, SHOWN - len(summary.flags))]
    if problems:
        summary.refuse(Refusal(made.lines, _told(problems)))
        return None
    return Event(made.lines, made.event)


def _told(problems: Sequence[Problem]) -> str:
    return "; ".join(f"{one.path or 'the event'}: {one.message}" for one in problems[:3])


def _send(target: Target, batch: Sequence[Event], summary: Summary) -> None:
    refusals = target.send(batch)
    for refusal in refusals:
        summary.refuse(refusal)
    summary.events += len(batch) - len(refusals)
    refused = {refusal.lines for refusal in refusals}
    summary.kinds.update(one.event["type"] for one in batch if one.lines not in refused)
