"""EPCIS queries: parameters -> what an event must be, and how the answer is wanted (§3.5).

Different parameters are AND, values of one are OR. Identifiers and vocabulary words are compared in
their canonical form, so a URN and a Digital Link ask for the same thing; numbers with a unit in any
unit of the same quantity (protocol.epcis.units).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocol.epcis.context import namespaces
from protocol.epcis.errors import QueryParameterException, QueryTooComplexException
from protocol.epcis.query_extensions import attribute_test, extension_test
from protocol.epcis.query_match import MATCH_CLASSES, MATCH_INSTANCES, Matcher
from protocol.epcis.query_tests import (
    PER_UNIT,
    TESTS,
    TYPED,
    Subject,
    Test,
    World,
    typed,
    unit_test,
)
from protocol.epcis.query_values import (
    MAX_PARAMETERS,
    Params,
    count_value,
    one,
    shown,
    split,
    time_value,
)

__all__ = ["Query", "World", "parse_query"]

CONTROLS: Final = (
    "orderBy",
    "orderDirection",
    "eventCountLimit",
    "maxEventCount",
    "perPage",
    "nextPageToken",
)
"""Parameters that say how the answer is wanted."""
_PER_UNIT: Final = re.compile(
    rf"(EQ|GT|GE|LT|LE)_(quantity|{'|'.join(PER_UNIT)})_([A-Z0-9]{{2,4}})"
)
_ORDER_FIELDS: Final = ("eventTime", "recordTime")


@dataclass(frozen=True, slots=True)
class Window:
    """Microseconds since 1970: from start_us on, before stop_us. None: open."""

    start_us: int | None = None
    stop_us: int | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked.

    event_time, record_time: windows. ids: MATCH_ parameter -> canonical ids, only where they say
    it all, so that an index on them (and on what stands below them) misses nothing. event_ids: of
    EQ_eventID. order_by: eventTime, recordTime or the name of an extension.
    """

    tests: tuple[Test, ...]
    event_time: Window = Window()
    record_time: Window = Window()
    ids: Mapping[str, frozenset[str]] | None = None
    event_ids: tuple[str, ...] = ()
    order_by: str = "eventTime"
    descending: bool = True
    event_count_limit: int | None = None
    max_event_count: int | None = None
    per_page: int | None = None
    next_page_token: str | None = None

    def matches(self, event: Mapping[str, Any], world: World | None = None) -> bool:
        """Whether an event is part of the answer. It carries its own @context for extensions.

        world: places and master data; without one a place lies only in what its identifier says.
        """
        subject = Subject(event) if world is None else Subject(event, world)
        return all(test(subject) for test in self.tests)


def parse_query(params: Params, context: Any = None) -> Query:
    """A query of its parameters: name -> values as they stood, each perhaps several with `|`.

    context: an @context for the prefixes in names of extensions; without it a prefix means what it
    means in each event. Raises QueryParameterException for an unknown parameter or a bad value,
    QueryTooComplexException for too many of them.
    """
    if len(params) > MAX_PARAMETERS:
        raise QueryTooComplexException(
            f"{len(params)} parameters; at most {MAX_PARAMETERS} are read"
        )
    prefixes = namespaces(context) if context is not None else {}
    tests = tuple(
        _test(name, values, prefixes) for name, values in params.items() if name not in CONTROLS
    )
    if "eventCountLimit" in params and "maxEventCount" in params:
        raise QueryParameterException("give eventCountLimit or maxEventCount, not both")
    return Query(
        tests,
        event_time=_window(params, "eventTime"),
        record_time=_window(params, "recordTime"),
        ids=_ids(params),
        event_ids=tuple(_values(params, "EQ_eventID")),
        order_by=_order_by(params),
        descending=_descending(params),
        event_count_limit=_count(params, "eventCountLimit"),
        max_event_count=_count(params, "maxEventCount"),
        per_page=_count(params, "perPage"),
        next_page_token=one("nextPageToken", params["nextPageToken"])
        if "nextPageToken" in params
        else None,
    )


def _test(name: str, values: Sequence[str], prefixes: Mapping[str, str]) -> Test:
    maker = TESTS.get(name)
    if maker is not None:
        return maker(name, values)
    for head, (list_name, member, words) in TYPED.items():
        if name.startswith(head):
            return typed(list_name, member, words, name[len(head) :])(name, values)
    match = _PER_UNIT.fullmatch(name)
    if match is not None:
        return unit_test(*match.groups())(name, values)
    found = attribute_test(name, values) or extension_test(name, values, prefixes)
    if found is None:
        raise QueryParameterException(
            f"there is no query parameter {shown(name)}; "
            "a parameter of your own field has its prefix: EQ_example:field"
        )
    return found


def _values(params: Params, name: str) -> list[str]:
    return split(name, params[name]) if name in params else []


def _window(params: Params, name: str) -> Window:
    found = {
        head: time_value(f"{head}_{name}", params[f"{head}_{name}"])
        for head in ("GE", "LT")
        if f"{head}_{name}" in params
    }
    return Window(found.get("GE"), found.get("LT"))


def _ids(params: Params) -> Mapping[str, frozenset[str]]:
    found = {}
    for name in (*MATCH_INSTANCES, *MATCH_CLASSES):
        if name in params:
            matcher = Matcher(name, split(name, params[name]))
            if matcher.exact:
                found[name] = matcher.ids
    return found


def _order_by(params: Params) -> str:
    if "orderBy" not in params:
        return "eventTime"
    name = one("orderBy", params["orderBy"])
    if name not in _ORDER_FIELDS and ":" not in name:
        raise QueryParameterException(
            f"orderBy is {shown(name)}; write {', '.join(_ORDER_FIELDS)} or a field with a prefix"
        )
    return name


def _descending(params: Params) -> bool:
    if "orderDirection" not in params:
        return True
    direction = one("orderDirection", params["orderDirection"])
    if direction not in ("ASC", "DESC"):
        raise QueryParameterException(f"orderDirection is {shown(direction)}; write ASC or DESC")
    return direction == "DESC"


def _count(params: Params, name: str) -> int | None:
    return count_value(name, params[name]) if name in params else None
