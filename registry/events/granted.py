"""Which events of level 2 a viewer's grants open, whole or by their fields.

The grants are those of the prefix that the issuer of an event speaks for. Of a grant, `identifier`
and `under` hold for the event's own id and for anything that it is about; `event` is its type and
`step` its bizStep. A grant with a `type` opens that field, by disclosure, and never the event: what
is signed is the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from protocol.epcis.event import biz_step, kind, mentions
from protocol.epcis.vocabulary import BIZ_STEP, word
from protocol.identifier import key_of
from protocol.labels import GRANTED, Label, level_of
from protocol.record import type_matches
from registry.events.index import StoredEvent, parse_event
from registry.events.row import EventRow
from registry.grants import Grant
from registry.labels import Viewer, visible

DEFAULT: Final[Label] = {"class": "operation", "level": GRANTED}
"""The label of an event that has none."""
Event = Mapping[str, Any]
Held = EventRow | StoredEvent
Read = Callable[[], Event]


class EventGrants:
    """What is granted to one viewer, read once for one request or delivery.

    of: issuer -> the prefix whose grants count, and those of them that name the viewer; asked once
    for each issuer, in whatever thread.
    """

    def __init__(self, of: Callable[[str], tuple[bytes, tuple[Grant, ...]]], now_s: float) -> None:
        self._of = of
        self._now_s = now_s
        self._known: dict[str, tuple[bytes, tuple[Grant, ...]]] = {}

    def home(self, issuer: str) -> bytes:
        """The prefix whose grants count for an issuer."""
        return self._granted(issuer)[0]

    def names(self, issuer: str) -> bool:
        """Whether some grant names the viewer that can open events of an issuer whole."""
        return any(grant.type is None for grant in self._granted(issuer)[1])

    def opens(self, held: Held, read: Read | None = None) -> bool:
        """Whether an event is opened whole. read: gives it where it was parsed already."""
        return any(True for _ in self.whole(held, read))

    def whole(self, held: Held, read: Read | None = None) -> Iterator[Grant]:
        """The grants that open an event whole."""
        return (grant for grant in self.concerning(held, read) if grant.type is None)

    def fields(self, held: Held, event: Event) -> dict[str, list[Grant]]:
        """The names of the fields that are opened, each with the grants that do."""
        grants = list(self.concerning(held, lambda: event))
        found = {
            name: [g for g in grants if g.type is None or type_matches(g.type, name.encode())]
            for name in event
        }
        return {name: some for name, some in found.items() if some}

    def concerning(self, held: Held, read: Read | None = None) -> Iterator[Grant]:
        """The grants that open an event or some of its fields; the plainest first."""
        label = held.label
        if level_of(label) != GRANTED:
            return
        said = DEFAULT if label is None else label
        fit = [grant for grant in self._granted(held.issuer)[1] if grant.suits(said)]
        if not fit:
            return
        about: set[bytes] | None = None
        event: Event | None = None
        for grant in fit:
            if grant.event is None and grant.step is None and _names_none(grant):
                yield grant
                continue
            if event is None:
                event = read() if read is not None else _parsed(held)
            if not _alike(grant, event):
                continue
            if about is None and not _names_none(grant):
                about = _about(held.event_id, event)
            if about is None or _is_about(grant, about):
                yield grant

    def _granted(self, issuer: str) -> tuple[bytes, tuple[Grant, ...]]:
        known = self._known.get(issuer)
        if known is None:
            home, grants = self._of(issuer)
            held = [g for g in grants if g.until is None or self._now_s < g.until]
            known = self._known[issuer] = home, tuple(sorted(held, key=_narrowness))
        return known


def seen(held: Held, viewer: Viewer, read: Read | None = None) -> bool:
    """Whether a viewer may know of an event: all of it, or nothing."""
    if visible(held.label, viewer):
        return True
    return viewer.events is not None and viewer.events.opens(held, read)


def by_grant(held: Held, viewer: Viewer) -> bool:
    """Whether what a viewer sees of an event is seen by a grant, and so is to be logged."""
    return not visible(held.label, viewer)


def _names_none(grant: Grant) -> bool:
    return grant.identifier is None and grant.under is None


def _narrowness(grant: Grant) -> int:
    narrowed = (grant.identifier, grant.under, grant.event, grant.step, grant.type)
    return sum(one is not None for one in narrowed)


def _is_about(grant: Grant, about: set[bytes]) -> bool:
    """Whether one thing of those is named by a grant, and begins as it says."""
    under = grant.under or b""
    if grant.identifier is not None:
        return grant.identifier in about and grant.identifier.startswith(under)
    return any(one.startswith(under) for one in about)


def _alike(grant: Grant, event: Event) -> bool:
    if grant.event is not None and kind(event) != grant.event:
        return False
    return grant.step is None or word(BIZ_STEP, biz_step(event) or "") == grant.step


def _about(event_id: str, event: Event) -> set[bytes]:
    """The keys of what an event is about."""
    return {key_of(text.encode()) for text in (event_id, *(one.id for one in mentions(event)))}


def _parsed(held: Held) -> Event:
    return parse_event(held.event) if isinstance(held, EventRow) else held.json()
