"""Named queries and their subscriptions as the store keeps them (registry.notes)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from protocol.epcis.errors import QueryValidationException
from protocol.epcis.moment import format_time_us
from registry.events.keys import hash16
from registry.notes import Note, encode_note, notes, read_note
from registry.store import Snapshot
from resolver.epcis.schedule import Schedule, parse_schedule

QUERIES: Final = b"epcis/query/"
PARTNERS: Final = b"epcis/partner/"
"""Queries of partners: each has names of its own, so that none shows another's."""
SUBSCRIPTIONS: Final = b"epcis/sub/"
CURSORS: Final = b"epcis/cursor/"
MAX_NAME: Final = 80
NAME: Final = r"^[^./?#%\\\x00-\x1f\x7f-\x9f][^/?#%\\\x00-\x1f\x7f-\x9f]{0,79}$"
"""Names of queries: they stand in paths."""
MOST_QUERIES: Final = 1_000
MOST_SUBSCRIPTIONS: Final = 1_000
PARTNER_QUERIES: Final = 16
PARTNER_SUBSCRIPTIONS: Final = 16
SHARED: Final = ""
"""The space of what administrators name."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A stored query. query: its parameters, each with its alternatives. given: as it was sent, in JSON.

    space: whose names it is among: a partner's identity; SHARED: those of the administrators.
    """

    name: str
    owner: str
    created_us: int
    query: dict[str, list[str]]
    space: str = SHARED
    given: str = ""

    def key(self) -> bytes:
        return _queries(self.space) + self.name.encode()

    def note(self) -> Note:
        """The query as it is kept; only where none has its name."""
        return Note(self.key(), encode_note(asdict(self)), new=True)

    def shape(self) -> dict[str, Any]:
        """The query as it is shown: as it was sent."""
        shown = orjson.Fragment(self.given) if self.given else self.query
        return {"name": self.name, "query": shown, "createdAt": format_time_us(self.created_us)}


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook. token: the shared secret of its signatures. first: the cursor it began with.

    least_us: events recorded earlier are left out. space: that of its query.
    """

    id: str
    query: str
    owner: str
    created_us: int
    dest: str
    token: str
    report_if_empty: bool
    schedule: dict[str, str] | None
    first: int
    least_us: int
    space: str = SHARED

    def key(self) -> bytes:
        return _of_query(SUBSCRIPTIONS, self.query, self.space) + self.id.encode()

    def cursor_key(self) -> bytes:
        return _of_query(CURSORS, self.query, self.space) + self.id.encode()

    def note(self) -> Note:
        """The subscription as it is kept."""
        return Note(self.key(), encode_note(asdict(self)), new=True)

    def timing(self) -> Schedule | None:
        """When it reports; None: whenever there is something."""
        return None if self.schedule is None else parse_schedule(self.schedule)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a subscription has come. sequence: of the last event it was asked about.

    failures: deliveries that failed one after another; retry_us: when the next is tried.
    """

    sequence: int
    failures: int = 0
    retry_us: int = 0
    error: str = ""
    reported_us: int = 0


def check_name(name: Any) -> str:
    """The name of a query. Raises QueryValidationException."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or _has_surrogate(name):
        raise QueryValidationException(
            f"`name` of a query is 1 to {MAX_NAME} characters without / ? # % and \\, the first no point"
        )
    return name


def _has_surrogate(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


def read_query(state: Snapshot, name: str, space: str = SHARED) -> NamedQuery | None:
    """The query of a name."""
    if not 0 < len(name) <= MAX_NAME or _has_surrogate(name):
        return None
    fields = read_note(state, _queries(space) + name.encode())
    return None if fields is None else NamedQuery(**fields)


def all_queries(state: Snapshot, after: str = "", space: str = SHARED) -> Iterator[NamedQuery]:
    """The queries of a space in the order of their names."""
    for _, fields in notes(state, _queries(space), after=after.encode()):
        yield NamedQuery(**fields)


def subscriptions_of(state: Snapshot, query: NamedQuery) -> list[Subscription]:
    """The subscriptions of one query."""
    head = _of_query(SUBSCRIPTIONS, query.name, query.space)
    return [Subscription(**fields) for _, fields in notes(state, head)]


def all_subscriptions(state: Snapshot) -> list[Subscription]:
    """Every subscription of the node."""
    return [Subscription(**fields) for _, fields in notes(state, SUBSCRIPTIONS)]


def read_cursor(state: Snapshot, subscription: Subscription) -> Cursor:
    """How far a subscription has come."""
    fields = read_note(state, subscription.cursor_key())
    return Cursor(subscription.first) if fields is None else Cursor(**fields)


def cursor_note(subscription: Subscription, cursor: Cursor) -> Note:
    """The cursor as it is kept."""
    return Note(subscription.cursor_key(), encode_note(asdict(cursor)))


def _queries(space: str) -> bytes:
    return PARTNERS + hash16(space).hex().encode() + b"/" if space else QUERIES


def _of_query(prefix: bytes, query: str, space: str) -> bytes:
    text = f"{space}\0{query}" if space else query
    return prefix + hash16(text).hex().encode() + b"/"
