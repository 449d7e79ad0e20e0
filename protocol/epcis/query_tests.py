"""What each query parameter asks of an event (traceability §3.5).

A test is a function of a Subject. Tests of one parameter hold when any of its values fits; which
parameters there are stands in the tables at the end of this file and of query_extensions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, Final

from protocol.epcis import event as read
from protocol.epcis import vocabulary
from protocol.epcis.context import namespaces
from protocol.epcis.errors import QueryParameterException
from protocol.epcis.identity import canonical_id, parents_of
from protocol.epcis.query_match import MATCH_CLASSES, MATCH_INSTANCES, Matcher
from protocol.epcis.query_values import (
    as_time,
    exists_value,
    number_values,
    shown,
    split,
    time_value,
    truth_value,
)
from protocol.epcis.units import convert
from protocol.epcis.vocabulary import EPCIS, EVENT_TYPES, Vocabulary, expand

Parents = Callable[[str], Iterable[str]]
Attributes = Callable[[str], Mapping[str, Sequence[str]]]


def _none(_place: str) -> Mapping[str, Sequence[str]]:
    return {}


@dataclass(frozen=True, slots=True)
class World:
    """What a node knows besides the event.

    parents: canonical id of a place -> the places it lies in, all the way up. attributes: canonical
    id -> master data, name -> values.
    """

    parents: Parents = parents_of
    attributes: Attributes = _none


@dataclass
class Subject:
    """An event under test, with what several tests need of it."""

    event: Mapping[str, Any]
    world: World = field(default_factory=World)

    @cached_property
    def prefixes(self) -> Mapping[str, str]:
        return namespaces(self.event.get("@context"))

    @cached_property
    def sensor_elements(self) -> list[Mapping[str, Any]]:
        found = read.items(self.event, "sensorElementList")
        return [element for element in found if isinstance(element, Mapping)]

    @cached_property
    def sensor_metadata(self) -> list[Mapping[str, Any]]:
        found = (element.get("sensorMetadata") for element in self.sensor_elements)
        return [metadata for metadata in found if isinstance(metadata, Mapping)]

    @cached_property
    def sensor_reports(self) -> list[Mapping[str, Any]]:
        return [
            report
            for element in self.sensor_elements
            for report in read.items(element, "sensorReport")
            if isinstance(report, Mapping)
        ]

    @cached_property
    def error(self) -> Mapping[str, Any]:
        found = self.event.get("errorDeclaration")
        return found if isinstance(found, Mapping) else {}


Test = Callable[[Subject], bool]
Maker = Callable[[str, Sequence[str]], Test]
"""Name and values of a parameter -> its test. Raises QueryParameterException."""

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "EQ": operator.eq,
    "GT": operator.gt,
    "GE": operator.ge,
    "LT": operator.lt,
    "LE": operator.le,
}


def _field_time(value: Any) -> int | None:
    return as_time(value.strip()) if isinstance(value, str) else None


def _time(where: Callable[[Subject], Iterable[Any]]) -> Maker:
    """GE_ and LT_ of times."""

    def make(name: str, values: Sequence[str]) -> Test:
        wanted, compare = time_value(name, values), COMPARISONS[name[:2]]
        return lambda subject: any(
            (found := _field_time(value)) is not None and compare(found, wanted)
            for value in where(subject)
        )

    return make


def _field(name: str) -> Callable[[Subject], Iterable[Any]]:
    return lambda subject: (subject.event.get(name),)


def _words(words: Vocabulary, where: Callable[[Subject], Iterable[Any]]) -> Maker:
    """A word, its web URI and its URN ask for the same."""

    def make(name: str, values: Sequence[str]) -> Test:
        wanted = frozenset(_word_uri(words, text) for text in split(name, values))
        return lambda subject: any(
            isinstance(value, str) and _word_uri(words, value) in wanted for value in where(subject)
        )

    return make


def _word_uri(words: Vocabulary, text: str) -> str:
    text = text.strip()
    bare = vocabulary.word(words, text)
    if bare == text:
        prefix, _, rest = text.partition(":")
        bare = rest.removeprefix(words.uri.rpartition("/")[2]) if prefix in ("cbv", "gs1") else bare
    return expand(words, bare)


def _ids(where: Callable[[Subject], Iterable[Any]]) -> Maker:
    """Identifiers in canonical form."""

    def make(name: str, values: Sequence[str]) -> Test:
        wanted = frozenset(canonical_id(text) for text in split(name, values))
        return lambda subject: any(
            isinstance(value, str) and canonical_id(value.strip()) in wanted
            for value in where(subject)
        )

    return make


def _texts(where: Callable[[Subject], Iterable[Any]], *, fold: bool = False) -> Maker:
    def make(name: str, values: Sequence[str]) -> Test:
        texts = split(name, values)
        wanted = frozenset(text.lower() for text in texts) if fold else frozenset(texts)
        return lambda subject: any(
            isinstance(value, str) and (value.lower() if fold else value) in wanted
            for value in where(subject)
        )

    return make


def _event_type(name: str, values: Sequence[str]) -> Test:
    wanted = frozenset(_bare_type(text) for text in split(name, values))
    for text in wanted:
        if text not in EVENT_TYPES and ":" not in text:
            raise QueryParameterException(
                f"{name}: no event type {shown(text)}; there are {', '.join(EVENT_TYPES)}"
            )
    return lambda subject: _bare_type(read.kind(subject.event)) in wanted


def _bare_type(text: str) -> str:
    return text.removeprefix(EPCIS).removeprefix("epcis:")


def _action(name: str, values: Sequence[str]) -> Test:
    wanted = frozenset(split(name, values))
    unknown = wanted - {"ADD", "OBSERVE", "DELETE"}
    if unknown:
        raise QueryParameterException(
            f"{name}: no action {shown(min(unknown))}; write ADD, OBSERVE or DELETE"
        )
    return lambda subject: subject.event.get("action") in wanted


def _within(member: str) -> Maker:
    """A place, or one that lies in it."""

    def make(name: str, values: Sequence[str]) -> Test:
        wanted = frozenset(canonical_id(text) for text in split(name, values))

        def test(subject: Subject) -> bool:
            place = subject.event.get(member)
            text = place.get("id") if isinstance(place, Mapping) else None
            if not isinstance(text, str):
                return False
            above = {canonical_id(text), *parents_of(text)}
            return any(
                one in wanted or any(up in wanted for up in subject.world.parents(one))
                for one in above
            )

        return test

    return make


def _place(member: str) -> Callable[[Subject], Iterable[Any]]:
    def where(subject: Subject) -> Iterator[Any]:
        place = subject.event.get(member)
        if isinstance(place, Mapping):
            yield place.get("id")

    return where


def _disposition(member: str) -> Callable[[Subject], Iterable[Any]]:
    def where(subject: Subject) -> Iterable[Any]:
        part = subject.event.get("persistentDisposition")
        return read.items(part, member) if isinstance(part, Mapping) else ()

    return where


def typed(list_name: str, member: str, words: Vocabulary, kind: str) -> Maker:
    """EQ_bizTransaction_<type> and the like; an empty type asks for elements without one."""

    def make(name: str, values: Sequence[str]) -> Test:
        wanted = frozenset(canonical_id(text) for text in split(name, values))
        kind_uri = _word_uri(words, kind)

        def test(subject: Subject) -> bool:
            return any(
                isinstance(item, Mapping)
                and isinstance(item.get(member), str)
                and canonical_id(item[member].strip()) in wanted
                and _word_uri(words, str(item.get("type") or "")) == kind_uri
                for item in read.items(subject.event, list_name)
            )

        return test

    return make


def _match_instances(fields: Sequence[str]) -> Maker:
    def make(name: str, values: Sequence[str]) -> Test:
        matcher = Matcher(name, split(name, values))

        def test(subject: Subject) -> bool:
            for member in fields:
                value = subject.event.get(member)
                for text in value if isinstance(value, list) else (value,):
                    if isinstance(text, str) and matcher.holds(text.strip()):
                        return True
            return False

        return test

    return make


def _quantities(subject: Subject, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for member in fields:
        for element in read.items(subject.event, member):
            if isinstance(element, Mapping):
                yield element


def _match_classes(fields: Sequence[str]) -> Maker:
    def make(name: str, values: Sequence[str]) -> Test:
        matcher = Matcher(name, split(name, values))
        return lambda subject: any(
            isinstance(text := element.get("epcClass"), str) and matcher.holds(text.strip())
            for element in _quantities(subject, fields)
        )

    return make


def _bounds(name: str, compare: str, values: Sequence[str]) -> list[Decimal]:
    """The numbers of a comparison: one; of EQ, several."""
    wanted = number_values(name, values)
    if compare != "EQ" and len(wanted) > 1:
        raise QueryParameterException(f"{name} takes one number, not {len(wanted)}")
    return wanted


def _number(compare: str, where: Callable[[Subject], Iterable[Any]]) -> Maker:
    """A comparison with a number that has no unit."""

    def make(name: str, values: Sequence[str]) -> Test:
        wanted, holds = _bounds(name, compare, values), COMPARISONS[compare]
        return lambda subject: any(
            (found := read.number(value)) is not None and any(holds(found, w) for w in wanted)
            for value in where(subject)
        )

    return make


def unit_test(compare: str, member: str, uom: str) -> Maker:
    """A comparison with numbers of a unit; what is in another of the same quantity is converted.

    member: of sensor reports, or `quantity`.
    """
    where = _quantity_values if member == "quantity" else _report_values(member)

    def make(name: str, values: Sequence[str]) -> Test:
        wanted, holds = _bounds(name, compare, values), COMPARISONS[compare]

        @lru_cache(maxsize=_MOST_UNITS)
        def wanted_in(code: str) -> list[Fraction]:
            found = (convert(w, uom, code, interval=member in _INTERVALS) for w in wanted)
            return [bound for bound in found if bound is not None]

        def test(subject: Subject) -> bool:
            for value, code in where(subject):
                found = read.number(value) if isinstance(code, str) else None
                if found is not None and any(holds(found, bound) for bound in wanted_in(code)):
                    return True
            return False

        return test

    return make


def _quantity_values(subject: Subject) -> Iterator[tuple[Any, Any]]:
    for element in _quantities(subject, tuple(read.QUANTITY_FIELDS)):
        yield element.get("quantity"), element.get("uom")


def _report_values(member: str) -> Callable[[Subject], Iterator[tuple[Any, Any]]]:
    return lambda subject: (
        (report.get(member), report.get("uom")) for report in subject.sensor_reports
    )


def _reports(member: str) -> Callable[[Subject], Iterable[Any]]:
    """A field of sensorReport, whatever its unit."""
    return lambda subject: (report.get(member) for report in subject.sensor_reports)


def _sensor(member: str) -> Callable[[Subject], Iterable[Any]]:
    """A field of sensorMetadata or sensorReport."""
    return lambda subject: (
        part.get(member) for part in (*subject.sensor_metadata, *subject.sensor_reports)
    )


def _exists(where: Callable[[Subject], Any]) -> Maker:
    def make(name: str, values: Sequence[str]) -> Test:
        exists_value(name, values)
        return lambda subject: bool(where(subject))

    return make


def _boolean(name: str, values: Sequence[str]) -> Test:
    wanted = truth_value(name, values)
    return lambda subject: any(r.get("booleanValue") is wanted for r in subject.sensor_reports)


def _declared(member: str) -> Callable[[Subject], Iterable[Any]]:
    return lambda subject: (subject.error.get(member),)


def _corrective(subject: Subject) -> Iterable[Any]:
    return read.corrected_by(subject.event)


_ERROR_TIME: Final = _time(_declared("declarationTime"))

TESTS: Final[Mapping[str, Maker]] = {
    "eventType": _event_type,
    "GE_eventTime": _time(_field("eventTime")),
    "LT_eventTime": _time(_field("eventTime")),
    "GE_recordTime": _time(_field("recordTime")),
    "LT_recordTime": _time(_field("recordTime")),
    "EQ_action": _action,
    "EQ_bizStep": _words(vocabulary.BIZ_STEP, _field("bizStep")),
    "EQ_disposition": _words(vocabulary.DISPOSITION, _field("disposition")),
    "EQ_persistentDisposition_set": _words(vocabulary.DISPOSITION, _disposition("set")),
    "EQ_persistentDisposition_unset": _words(vocabulary.DISPOSITION, _disposition("unset")),
    "EQ_readPoint": _ids(_place("readPoint")),
    "WD_readPoint": _within("readPoint"),
    "EQ_bizLocation": _ids(_place("bizLocation")),
    "WD_bizLocation": _within("bizLocation"),
    "EQ_transformationID": _ids(_field("transformationID")),
    "EQ_eventID": _texts(_field("eventID")),
    "EXISTS_errorDeclaration": _exists(lambda subject: subject.error),
    "GE_errorDeclarationTime": _ERROR_TIME,
    "LT_errorDeclarationTime": _ERROR_TIME,
    "GE_errorDeclaration_Time": _ERROR_TIME,  # as the query schema of the standard spells it
    "LT_errorDeclaration_Time": _ERROR_TIME,
    "EQ_errorReason": _words(vocabulary.ERROR_REASON, _declared("reason")),
    "EQ_correctiveEventID": _texts(_corrective),
    "EXISTS_sensorElementList": _exists(lambda subject: subject.sensor_elements),
    **{
        f"{compare}_{member}": _time(_sensor(member))
        for compare in ("GE", "LT")
        for member in ("startTime", "endTime", "time")
    },
    "EQ_type": _words(vocabulary.MEASUREMENT, _reports("type")),
    **{
        f"EQ_{member}": _ids(_sensor(member))
        for member in (
            "deviceID",
            "dataProcessingMethod",
            "bizRules",
            "microorganism",
            "chemicalSubstance",
            "uriValue",
        )
    },
    "EQ_stringValue": _texts(_reports("stringValue")),
    "EQ_hexBinaryValue": _texts(_reports("hexBinaryValue"), fold=True),
    "EQ_booleanValue": _boolean,
    **{f"{compare}_percRank": _number(compare, _reports("percRank")) for compare in COMPARISONS},
    **{
        f"{compare}_quantity": _number(
            compare, lambda subject: (value for value, _ in _quantity_values(subject))
        )
        for compare in COMPARISONS
    },
    **{name: _match_instances(fields) for name, fields in MATCH_INSTANCES.items()},
    **{name: _match_classes(fields) for name, fields in MATCH_CLASSES.items()},
}
"""Parameters of a fixed name."""

TYPED: Final[Mapping[str, tuple[str, str, Vocabulary]]] = {
    "EQ_bizTransaction_": ("bizTransactionList", "bizTransaction", vocabulary.BIZ_TRANSACTION),
    "EQ_source_": ("sourceList", "source", vocabulary.SOURCE_DEST),
    "EQ_destination_": ("destinationList", "destination", vocabulary.SOURCE_DEST),
}
"""Parameters whose name ends with a type."""
PER_UNIT: Final = ("value", "minValue", "maxValue", "meanValue", "sDev", "percValue")
"""Readings that are compared per unit of measure; `quantity` is too."""
_INTERVALS: Final = ("sDev",)
"""Readings that tell a difference: where a scale has its zero does not count."""
_MOST_UNITS: Final = 64
"""Units whose bounds one test remembers."""
