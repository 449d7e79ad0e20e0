"""Query parameters on extension fields and master data (traceability §3.5).

`EQ_ex:colour`, `GE_INNER_ILMD_ex:weight`, `EXISTS_SENSORREPORT_ex:cal`: a comparison, perhaps
INNER_ (below an extension, at any depth), perhaps the part of the event, a name with a prefix.
Names are compared by namespace: the query's own context tells its prefixes, each event's own its.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from protocol.epcis import event as read
from protocol.epcis.context import BUILT_IN
from protocol.epcis.errors import QueryParameterException
from protocol.epcis.identity import canonical_id
from protocol.epcis.query_tests import COMPARISONS, Subject, Test
from protocol.epcis.query_values import as_number, as_time, exists_value, one, shown, split

MAX_DEPTH: Final = 64
Parts = Callable[[Subject], Iterator[Mapping[str, Any]]]


def _event(subject: Subject) -> Iterator[Mapping[str, Any]]:
    yield subject.event


def _member(name: str) -> Parts:
    def parts(subject: Subject) -> Iterator[Mapping[str, Any]]:
        found = subject.event.get(name)
        if isinstance(found, Mapping):
            yield found

    return parts


PARTS: Final[Mapping[str, Parts]] = {
    "ILMD_": _member("ilmd"),
    "ERROR_DECLARATION_": _member("errorDeclaration"),
    "SENSORELEMENT_": lambda subject: iter(subject.sensor_elements),
    "SENSORMETADATA_": lambda subject: iter(subject.sensor_metadata),
    "SENSORREPORT_": lambda subject: iter(subject.sensor_reports),
    "readPoint_": _member("readPoint"),
    "bizLocation_": _member("bizLocation"),
    "": _event,
}
"""Where an extension may stand; the event itself last, which every name begins with."""

_NAME: Final = re.compile(r"(EQ|GT|GE|LT|LE|EXISTS)_(INNER_)?(.+)", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"(HASATTR_|EQ_?ATTR_)(.+)", re.DOTALL)
_VOCABULARY_FIELDS: Final = (
    "readPoint",
    "bizLocation",
    "epcClass",
    "parentID",
    "source",
    "destination",
)


class Name(NamedTuple):
    """The name of an extension in a query. uri: namespace and local name, where it is known."""

    text: str
    uri: str | None

    def is_named(self, name: str, prefixes: Mapping[str, str]) -> bool:
        """Whether a member of an event is this extension."""
        if ":" not in name:
            return False
        uri = _expand(name, prefixes)
        return uri == self.uri if self.uri is not None else self.text in (name, uri)


def _expand(name: str, prefixes: Mapping[str, str]) -> str:
    prefix, _, local = name.partition(":")
    namespace = prefixes.get(prefix)
    return name if namespace is None else namespace + local


def extension_test(name: str, values: Sequence[str], prefixes: Mapping[str, str]) -> Test | None:
    """The test of a parameter on an extension; None for a parameter that is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    compare, inner, rest = match.groups()
    head = next(head for head in PARTS if rest.startswith(head))
    local = rest[len(head) :]
    if ":" not in local.strip(":"):
        return None
    known = {**BUILT_IN, **prefixes}
    uri = _expand(local, known) if local.partition(":")[0] in known else None
    find = _finder(PARTS[head], Name(local, uri), inner=bool(inner))
    if compare == "EXISTS":
        exists_value(name, values)
        return lambda subject: next(find(subject), None) is not None
    holds = _comparison(name, compare, values)
    return lambda subject: any(holds(value) for item in find(subject) for value in _leaves(item))


def _finder(parts: Parts, name: Name, *, inner: bool) -> Callable[[Subject], Iterator[Any]]:
    """Values of the extension in each part: beside its standard fields, or inside extensions."""

    def find(subject: Subject) -> Iterator[Any]:
        for part in parts(subject):
            for member, value in part.items():
                if ":" not in member:
                    continue
                if inner:
                    yield from _below(value, name, subject.prefixes, MAX_DEPTH)
                elif name.is_named(member, subject.prefixes):
                    yield value

    return find


def _below(value: Any, name: Name, prefixes: Mapping[str, str], depth: int) -> Iterator[Any]:
    if depth == 0:
        return
    if isinstance(value, list):
        for item in value:
            yield from _below(item, name, prefixes, depth - 1)
    elif isinstance(value, Mapping):
        for member, inner in value.items():
            if name.is_named(member, prefixes):
                yield inner
            yield from _below(inner, name, prefixes, depth - 1)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, Mapping):
        if "#text" in value:
            yield value["#text"]
    elif value is not None:
        yield value


def _comparison(name: str, compare: str, values: Sequence[str]) -> Callable[[Any], bool]:
    if compare == "EQ":
        wanted = [_comparable(text) for text in split(name, values)]
        return lambda value: any(_equal(_comparable(value), w) for w in wanted)
    text = one(name, values)
    bound = as_number(text) if as_number(text) is not None else as_time(text)
    if bound is None:
        raise QueryParameterException(
            f"{name} is {shown(text)}; write a number, or a time with zone"
        )
    read_as = _number if isinstance(bound, Decimal) else _moment
    holds = COMPARISONS[compare]
    return lambda value: (found := read_as(value)) is not None and holds(found, bound)


class _Forms(NamedTuple):
    text: str
    number: Decimal | None
    moment: int | None


def _comparable(value: Any) -> _Forms:
    if isinstance(value, bool):
        return _Forms("true" if value else "false", None, None)
    if isinstance(value, str):
        text = value.strip()
        return _Forms(canonical_id(text), as_number(text), as_time(text))
    return _Forms(str(value), read.number(value), None)


def _equal(one_: _Forms, other: _Forms) -> bool:
    """The same text or identifier, the same number, or the same moment."""
    return (
        one_.text == other.text
        or (one_.number is not None and one_.number == other.number)
        or (one_.moment is not None and one_.moment == other.moment)
    )


def _number(value: Any) -> Decimal | None:
    return as_number(value.strip()) if isinstance(value, str) else read.number(value)


def _moment(value: Any) -> int | None:
    return as_time(value.strip()) if isinstance(value, str) else None


def attribute_test(name: str, values: Sequence[str]) -> Test | None:
    """HASATTR_<field> and EQATTR_<field>_<attribute>: master data of what a field names."""
    match = _ATTRIBUTE.fullmatch(name)
    if match is None:
        return None
    rest = match[2]
    wanted = frozenset(split(name, values))
    if match[1] == "HASATTR_":
        _require_field(name, rest)
        return lambda subject: any(
            wanted & subject.world.attributes(identity).keys() for identity in _named(subject, rest)
        )
    field_name, _, attribute = rest.partition("_")
    _require_field(name, field_name)
    if not attribute:
        raise QueryParameterException(f"{shown(name)} names no attribute; write EQATTR_field_name")
    return lambda subject: any(
        wanted.intersection(subject.world.attributes(identity).get(attribute, ()))
        for identity in _named(subject, field_name)
    )


def _require_field(name: str, field_name: str) -> None:
    if field_name not in _VOCABULARY_FIELDS:
        raise QueryParameterException(
            f"{shown(name)}: {shown(field_name)} has no master data; "
            f"ask for {', '.join(_VOCABULARY_FIELDS)}"
        )


def _named(subject: Subject, field_name: str) -> Iterator[str]:
    """Canonical ids that a field names."""
    event = subject.event
    if field_name in ("readPoint", "bizLocation"):
        found = read.read_point(event) if field_name == "readPoint" else read.biz_location(event)
        if found is not None:
            yield found
    elif field_name == "parentID":
        parent = read.parent_id(event)
        if parent is not None:
            yield parent
    elif field_name == "epcClass":
        yield from (m.id for m in read.mentions(event) if m.role >= read.Role.QUANTITY)
    else:
        found_ = read.sources(event) if field_name == "source" else read.destinations(event)
        yield from (party.id for party in found_)
