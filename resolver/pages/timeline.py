"""A life as a list: each event in words, with its place, its issuer and what was checked of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from protocol.epcis.event import (
    biz_location,
    disposition,
    documents,
    family,
    items,
    read_point,
)
from resolver.http.page import is_web_address
from resolver.pages.checks import Seal
from resolver.pages.life import Life, Moment
from resolver.pages.markup import Child, Markup, join, tag
from resolver.pages.names import Names
from resolver.pages.readings import reading
from resolver.pages.words import Words
from resolver.trace.evidence import OK
from resolver.trace.foreign import FIRST
from resolver.trace.views import CHILDREN, INPUTS, OUTPUTS, TRANSFORMATION, View

FAMILIES: Final = ("production", "logistics", "service", "end-of-life", "other")
_MOST_THINGS: Final = 5
_MOST_READINGS: Final = 4
_MOST_DATA: Final = 4_000
Seals = Mapping[str, Seal]
"""By event id."""


def timeline(
    life: Life, seals: Seals, words: Words, names: Names, *, whole: bool = False
) -> Markup:
    """All moments as an ordered list, with buttons to filter it for those with script.

    whole: over all companies; each event then says whose node gave it.
    """
    if not life.moments:
        return tag("p", words("no_events"))
    rows = [_moment(one, life, seals, words, names, whole=whole) for one in life.moments]
    present = {family(one.view.stored.json()) for one in life.moments}
    notes = [tag("p", words("public_only"), class_="dim")]
    if life.more:
        notes.append(tag("p", words("more_events", count=len(life.moments)), class_="dim"))
    if life.withdrawn:
        notes.append(tag("p", words("withdrawn", count=life.withdrawn), class_="dim"))
    return join([_filters(present, words), tag("ol", rows, class_="life"), notes])


def _filters(present: Iterable[str], words: Words) -> Markup:
    wanted = ("", *(one for one in FAMILIES if one in set(present)))
    buttons = [
        tag(
            "button",
            words(one or "all"),
            type="button",
            data_family=one,
            aria_pressed="false" if one else "true",
        )
        for one in wanted
    ]
    return tag(
        "div", buttons, class_="filters", role="group", aria_label=words("filter"), hidden=True
    )


def _moment(
    moment: Moment, life: Life, seals: Seals, words: Words, names: Names, *, whole: bool
) -> Markup:
    view = moment.view
    event = view.stored.json()
    kind = family(event)
    title = [words.step(view.step), " ", tag("span", words(kind), class_="chip")]
    facts: list[Child] = [
        _whose(moment, words, names),
        _where(event, words, names),
        _what(moment, life.id, words, names),
    ]
    state = words.disposition(disposition(event))
    if state:
        facts.append(words("state", state=state))
    facts += _readings(event, words)
    inner = [
        tag("h3", title),
        tag("p", when(view), class_="facts dim"),
        [tag("p", fact, class_="facts") for fact in facts if fact],
        _papers(event, words),
        tag("p", said_by(view, life, words, names, whole=whole), class_="facts by"),
        tag("p", seal_text(seals.get(view.stored.event_id), words), class_="facts"),
        _data(view, words),
    ]
    other = moment.via or moment.carrier
    return tag("li", inner, class_=kind + (" inherited" if other else " of" if moment.of else ""))


def said_by(view: View, life: Life, words: Words, names: Names, *, whole: bool) -> str:
    """Which company says it, and in a whole life whose node gave it."""
    who = words("says", who=names.company(view.stored.issuer))
    if not whole:
        return who
    if view.stored.sequence < FIRST:
        return f"{who}; {words('kept_here')}"
    return f"{who}; {words('given_by', node=life.foreign.source(view.stored.sequence))}"


def _whose(moment: Moment, words: Words, names: Names) -> Child:
    """Of a whole life: the things of the trace that an event is about."""
    if not moment.of:
        return None
    key = "about_carrier" if moment.carrier else "about"
    return _sentence(words, key, "things", _things(moment.of, words, names))


def when(view: View) -> Markup:
    """The time of an event on the clock of its place."""
    event = view.stored.json()
    text = str(event.get("eventTime", ""))
    zone = event.get("eventTimeZoneOffset")
    return tag(
        "time", shown_time(view.time_us, zone if isinstance(zone, str) else ""), datetime=text
    )


def shown_time(us: int, zone: str) -> str:
    """`2026-03-01 08:00 +08:00`; in UTC where the zone is none. us: since 1970."""
    from datetime import UTC, datetime, timedelta

    minutes = 0
    if len(zone) == 6 and zone[0] in "+-" and zone[1:3].isdigit() and zone[4:].isdigit():
        minutes = (int(zone[1:3]) * 60 + int(zone[4:])) * (-1 if zone[0] == "-" else 1)
    else:
        zone = "UTC"
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us, minutes=minutes)
    except OverflowError:
        return "?"
    return f"{at:%Y-%m-%d %H:%M} {zone}"


def _where(event: Mapping[str, Any], words: Words, names: Names) -> Child:
    here, then = read_point(event), biz_location(event)
    parts: list[str] = []
    if here:
        parts.append(words("at", place=names.of(here)))
    if then and then != here:
        parts.append(words("then" if here else "at", place=names.of(then)))
    return "; ".join(parts)


def _what(moment: Moment, id_: str, words: Words, names: Names) -> Child:
    """What the event did with the thing, with links to the others."""
    view = moment.view
    if moment.via:
        return _sentence(words, "carried", "parent", _things(moment.via[:1], words, names))
    if moment.roles & set(OUTPUTS):
        ids = [one.id for one in view.of_roles(INPUTS)]
        return _sentence(words, "made_of", "things", _things(ids, words, names))
    if moment.roles & set(INPUTS):
        ids = [one.id for one in view.of_roles(OUTPUTS)]
        return _sentence(words, "made_into", "things", _things(ids, words, names))
    if moment.of and view.kind == TRANSFORMATION:
        return None
    if moment.roles & set(CHILDREN) and view.parent:
        key = {"ADD": "put_into", "DELETE": "taken_out"}.get(view.action or "", "seen_in")
        return _sentence(words, key, "parent", _things([view.parent], words, names))
    if view.parent == id_ and view.children:
        return _sentence(words, "holds", "things", _things(sorted(view.children), words, names))
    return None


def _things(ids: Iterable[str], words: Words, names: Names) -> Markup:
    every = list(dict.fromkeys(ids))
    shown: list[Child] = []
    for id_ in every[:_MOST_THINGS]:
        shown += [", " if shown else "", thing(id_, names)]
    if len(every) > _MOST_THINGS:
        shown += [" ", words("and_more", count=len(every) - _MOST_THINGS)]
    return join(shown)


def thing(id_: str, names: Names) -> Markup:
    """A thing by its name, as a link to its page where it has one."""
    address = names.address(id_)
    return tag("a", names.of(id_), href=address) if address else tag("span", names.of(id_))


def _sentence(words: Words, key: str, place: str, inner: Markup) -> Markup:
    """A sentence with markup in its one place."""
    before, _, after = words(key, **{place: "\0"}).partition("\0")
    return join([before, inner, after])


def _readings(event: Mapping[str, Any], words: Words) -> list[Child]:
    found: list[Child] = []
    for element in items(event, "sensorElementList"):
        reports = element.get("sensorReport") if isinstance(element, Mapping) else None
        for report in reports if isinstance(reports, list) else ():
            if isinstance(report, Mapping) and len(found) < _MOST_READINGS:
                found.append(words("reading", what=reading(report, words)))
    return found


def _papers(event: Mapping[str, Any], words: Words) -> list[Markup]:
    rows = [(words("document"), one.id) for one in documents(event)[:_MOST_THINGS]]
    told = event.get("certificationInfo")
    for one in [told] if isinstance(told, str) else told if isinstance(told, list) else ():
        if isinstance(one, str) and all(one != id_ for _, id_ in rows):
            rows.append((words("certification"), one))
    return [tag("p", label, _linked(text), class_="facts") for label, text in rows[:8]]


def _linked(text: str) -> Markup:
    if not is_web_address(text):
        return tag("span", text)
    return tag("a", text, href=text, rel="noopener noreferrer nofollow")


def seal_text(seal: Seal | None, words: Words) -> Markup:
    """What was checked of one event, no more."""
    if seal is None:
        return tag("span", words("seal_unsigned"), class_="seal open")
    state = "good" if seal.state == OK else "bad" if seal.state in WRONG else "open"
    mark = {"good": "✓ ", "bad": "✗ ", "open": "○ "}[state]
    said = mark + words(f"seal_{seal.state}", key=seal.key)
    placed = words("not_logged")
    if seal.size:
        key = "logged_at" if seal.log else "logged"
        placed = words(key, number=seal.number, size=seal.size, log=seal.log)
    vouched = [", ", words(f"trust_{seal.trust}")] if seal.state == OK and seal.trust else None
    return join([tag("span", said, class_=f"seal {state}"), vouched, "; ", placed])


WRONG: Final = frozenset(("invalid", "issuer", "label"))


def _data(view: View, words: Words) -> Markup:
    text = orjson.dumps(view.stored.json(), option=orjson.OPT_INDENT_2).decode()
    cut = text if len(text) <= _MOST_DATA else text[:_MOST_DATA] + "…"
    return tag("details", tag("summary", words("event_data")), tag("pre", cut))
