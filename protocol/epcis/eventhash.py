"""The event hash id: an eventID that anyone can compute from the event's content (CBV 2.0 §8.9).

`event_hash` follows traceability §2 step by step; the numbers in comments are its steps. It hashes
any event, valid or not, since an id must exist before anyone can complain about the event.

Choices where the rules are open (traceability §2.4), all of them here and in `context.BUILT_IN`:
a value with a prefix of the user's own (`example:x`) stays as written; under 2.0 the extensions of
several sensor elements, and of several reports in one, are sorted; a value in an extension whose
name contains `time` is a time if it can be read as one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from protocol.epcis import vocabulary
from protocol.epcis.context import namespaces
from protocol.epcis.identity import gs1_id
from protocol.epcis.jcs import MAX_EXPONENT
from protocol.epcis.moment import hash_time
from protocol.epcis.vocabulary import Vocabulary, expand
from protocol.errors import InvalidValue

Version = Literal["2.0", "2.1"]
VERSIONS: Final[tuple[Version, ...]] = ("2.0", "2.1")
ALGORITHMS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "sha-256": hashlib.sha256,
    "sha3-256": hashlib.sha3_256,
    "sha-384": hashlib.sha384,
    "sha-512": hashlib.sha512,
}
MAX_DEPTH: Final = 64

IGNORED: Final = frozenset(
    (
        "recordTime",
        "eventID",
        "errorDeclaration",
        "certificationInfo",
        "type",
        "@context",
        "rdfs:comment",
        "comment",
    )
)
_COMMENTS: Final = frozenset(("@context", "rdfs:comment", "comment"))
_METADATA: Final = (
    "time",
    "startTime",
    "endTime",
    "deviceID",
    "deviceMetadata",
    "rawData",
    "dataProcessingMethod",
    "bizRules",
)
_REPORT: Final = (
    "type",
    "exception",
    "deviceID",
    "deviceMetadata",
    "rawData",
    "dataProcessingMethod",
    "time",
    "microorganism",
    "chemicalSubstance",
    "value",
    "component",
    "stringValue",
    "booleanValue",
    "hexBinaryValue",
    "uriValue",
    "minValue",
    "maxValue",
    "meanValue",
    "sDev",
    "percRank",
    "percValue",
    "uom",
    "coordinateReferenceSystem",
)
_REPORT_KNOWN: Final = frozenset((*_REPORT, "bizRules"))
_QUANTITY: Final = ("epcClass", "quantity", "uom")
_VOCABULARIES: Final[Mapping[str, Vocabulary]] = {
    "bizStep": vocabulary.BIZ_STEP,
    "disposition": vocabulary.DISPOSITION,
    "set": vocabulary.DISPOSITION,
    "unset": vocabulary.DISPOSITION,
    "exception": vocabulary.ALERT,
    "component": vocabulary.COMPONENT,
}
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?"
)
_CURIES: Final = {"gs1:": vocabulary.VOC, "cbv:": vocabulary.CBV}


class EventHash(NamedTuple):
    """hash: the `ni:` URI with its rule set. prehash: the text that was hashed."""

    hash: str
    prehash: str


def event_hash(
    event: Mapping[str, Any],
    context: Any = None,
    version: Version = "2.0",
    algorithm: str = "sha-256",
) -> EventHash:
    """The hash id of an event. context: the document's `@context`; the event's own adds to it.

    Raises InvalidValue for an unknown version or algorithm, or nesting beyond MAX_DEPTH.
    """
    if version not in VERSIONS:
        raise InvalidValue(f"no rule set {version!r}; there are {', '.join(VERSIONS)}")
    if algorithm not in ALGORITHMS:
        raise InvalidValue(f"no algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}")
    prehash = _Prehash(event, namespaces(context, event.get("@context")), version).text()
    digest = ALGORITHMS[algorithm](prehash.encode("utf-8", "surrogatepass")).hexdigest()
    return EventHash(f"ni:///{algorithm};{digest}?ver=CBV{version}", prehash)


def value_text(name: str, value: Any, words: Vocabulary | None = None) -> str:
    """The normalised text of a leaf (step 4 to 7); "" for what gives nothing.

    name: of its field, which tells times; words: of the field's vocabulary.
    """
    if not isinstance(value, str):
        return _other_text(value)
    text = value.strip()
    if _is_time(name):  # step 7
        moment = hash_time(text)
        if moment is not None:
            return moment
    text = expand(words, text) if words is not None else vocabulary.from_urn(text)
    if text[:4] in _CURIES:
        text = _CURIES[text[:4]] + text[4:]
    return plain_number(text) or gs1_id(text)


def _other_text(value: Any) -> str:
    if isinstance(value, bool):  # step 6
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return plain_number(str(value)) or str(value)
    return ""


@lru_cache(1024)
def _is_time(name: str) -> bool:
    lower = name.lower()
    return "time" in lower and "offset" not in lower


def plain_number(text: str) -> str | None:
    """A number as the shortest plain decimal (step 5); None for text that is none."""
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT + len(text):
        return None
    plain = f"{number:f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def _leaves(part: Mapping[str, Any], names: Iterable[str]) -> str:
    """`name=value` of each field in the given order; "" for those that are absent or empty."""
    found = []
    for name in names:
        text = value_text(name, part.get(name), _VOCABULARIES.get(name))
        if text:
            found.append(f"{name}={text}")
    return "".join(found)


def _list(value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return value
    return () if value is None else (value,)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, Mapping)]


def _named(name: str, children: Iterable[str]) -> str:
    """A list's name and its children in byte order; nothing when all are empty (steps 3, 8)."""
    text = "".join(sorted(filter(None, children)))
    return name + text if text else ""


def _prefixed(name: str, text: str) -> str:
    return name + text if text else ""


class _Prehash:
    """The pre-hash string of one event, field by field in the order of FIELDS."""

    def __init__(
        self, event: Mapping[str, Any], prefixes: Mapping[str, str], version: Version
    ) -> None:
        self._event = event
        self._prefixes = prefixes
        self._in_place = version == "2.1"

    def text(self) -> str:
        event = self._event
        parts = ["eventType=" + value_text("type", event.get("type"))]
        parts += [build(self, name) for name, build in FIELDS if name in event]
        if not self._in_place:
            parts += [
                _prefixed(name, self._extensions(place, known={"id"}))
                for name in ("readPoint", "bizLocation")
                for place in _objects(event.get(name))
            ]
            parts += sorted(map(self._late_sensor, _objects(event.get("sensorElementList"))))
        parts.append(self._extensions(event, known=_STANDARD))
        return "".join(parts)

    def leaf(self, name: str) -> str:
        return _leaves(self._event, (name,))

    def epcs(self, name: str) -> str:
        return _named(
            name, (_prefixed("epc=", value_text("epc", e)) for e in _list(self._event.get(name)))
        )

    def quantities(self, name: str) -> str:
        return _named(
            name,
            (
                _prefixed("quantityElement", _leaves(element, _QUANTITY))
                for element in _objects(self._event.get(name))
            ),
        )

    def persistent(self, name: str) -> str:  # step 10
        found = "".join(
            "".join(
                sorted(
                    f"{member}={value_text(member, item, vocabulary.DISPOSITION)}"
                    for item in _list(part.get(member))
                    if isinstance(item, str) and item.strip()
                )
            )
            for part in _objects(self._event.get(name))
            for member in ("set", "unset")
        )
        return _prefixed(name, found)

    def place(self, name: str) -> str:  # steps 11, 15
        parts = []
        for place in _objects(self._event.get(name)):
            own = self._extensions(place, known={"id"}) if self._in_place else ""
            parts.append(_leaves(place, ("id",)) + own)
        return _prefixed(name, "".join(parts))

    def typed(self, name: str, member: str, words: Vocabulary) -> str:  # step 9
        return _named(
            name,
            (
                _prefixed("type=", value_text("type", item.get("type"), words))
                + _prefixed(f"{member}=", value_text(member, item.get(member)))
                for item in _objects(self._event.get(name))
            ),
        )

    def documents(self, name: str) -> str:
        return self.typed(name, "bizTransaction", vocabulary.BIZ_TRANSACTION)

    def sources(self, name: str) -> str:
        return self.typed(name, "source", vocabulary.SOURCE_DEST)

    def destinations(self, name: str) -> str:
        return self.typed(name, "destination", vocabulary.SOURCE_DEST)

    def sensors(self, name: str) -> str:  # step 12
        elements = sorted(map(self._sensor, _objects(self._event.get(name))))
        return _prefixed(name if self._in_place else "", "".join(elements)) if any(elements) else ""

    def _sensor(self, element: Mapping[str, Any]) -> str:
        metadata = "".join(
            _leaves(part, _METADATA) + self._own(part, _METADATA)
            for part in _objects(element.get("sensorMetadata"))
        )
        reports = _named(
            "",
            (
                _prefixed("sensorReport", self._report(part) + self._own(part, _REPORT_KNOWN))
                for part in _objects(element.get("sensorReport"))
            ),
        )
        own = self._own(element, ("sensorMetadata", "sensorReport"))
        return _prefixed("sensorElement", _prefixed("sensorMetadata", metadata) + reports + own)

    def _report(self, part: Mapping[str, Any]) -> str:
        kind = _prefixed("type=", value_text("type", part.get("type"), vocabulary.MEASUREMENT))
        return kind + _leaves(part, _REPORT[1:])

    def _own(self, part: Mapping[str, Any], known: Iterable[str]) -> str:
        return self._extensions(part, known=frozenset(known)) if self._in_place else ""

    def _late_sensor(self, element: Mapping[str, Any]) -> str:
        """What one sensor element adds after ilmd under 2.0 (step 15)."""
        metadata = "".join(
            self._extensions(part, known=frozenset(_METADATA))
            for part in _objects(element.get("sensorMetadata"))
        )
        reports = _named(
            "",
            (
                _prefixed("sensorReport", self._extensions(part, known=_REPORT_KNOWN))
                for part in _objects(element.get("sensorReport"))
            ),
        )
        own = self._extensions(element, known={"sensorMetadata", "sensorReport"})
        return _prefixed("sensorElement", _prefixed("sensorMetadata", metadata) + reports + own)

    def ilmd(self, name: str) -> str:  # step 13
        parts = [self._extensions(part, known=()) for part in _objects(self._event.get(name))]
        return _prefixed(name, "".join(parts))

    def _extensions(self, part: Mapping[str, Any], known: Iterable[str]) -> str:
        """The sorted extension strings of an object (steps 14, 16)."""
        taken = frozenset(known) | _COMMENTS
        return "".join(
            sorted(
                string
                for name, value in part.items()
                if name not in taken
                for string in self._extension(name, value, MAX_DEPTH)
            )
        )

    def _extension(self, name: str, value: Any, depth: int) -> list[str]:
        """The strings of one extension: one, or one for each item of an array (step 14)."""
        if depth == 0:
            raise InvalidValue(f"an extension is nested deeper than {MAX_DEPTH}")
        if isinstance(value, list):
            return [text for item in value for text in self._extension(name, item, depth - 1)]
        key = self._key(name)
        if not isinstance(value, Mapping):
            text = value_text(name.rpartition(":")[2], value)
            return [f"{key}={text}"] if text else []
        own = value_text(name.rpartition(":")[2], value.get("#text"))
        children = "".join(
            sorted(
                text
                for child, inner in value.items()
                if child not in _COMMENTS and child != "#text"
                for text in self._extension(child, inner, depth - 1)
            )
        )
        if not own and not children:
            return []
        return [key + _prefixed("=", own) + children]

    def _key(self, name: str) -> str:
        prefix, colon, local = name.partition(":")
        namespace = self._prefixes.get(prefix) if colon else None
        return f"{{{namespace}}}{local}" if namespace is not None else name


_Build = Callable[[_Prehash, str], str]
FIELDS: Final[tuple[tuple[str, _Build], ...]] = (
    ("eventTime", _Prehash.leaf),
    ("eventTimeZoneOffset", _Prehash.leaf),
    ("epcList", _Prehash.epcs),
    ("parentID", _Prehash.leaf),
    ("inputEPCList", _Prehash.epcs),
    ("childEPCs", _Prehash.epcs),
    ("quantityList", _Prehash.quantities),
    ("childQuantityList", _Prehash.quantities),
    ("inputQuantityList", _Prehash.quantities),
    ("outputEPCList", _Prehash.epcs),
    ("outputQuantityList", _Prehash.quantities),
    ("action", _Prehash.leaf),
    ("transformationID", _Prehash.leaf),
    ("bizStep", _Prehash.leaf),
    ("disposition", _Prehash.leaf),
    ("persistentDisposition", _Prehash.persistent),
    ("readPoint", _Prehash.place),
    ("bizLocation", _Prehash.place),
    ("bizTransactionList", _Prehash.documents),
    ("sourceList", _Prehash.sources),
    ("destinationList", _Prehash.destinations),
    ("sensorElementList", _Prehash.sensors),
    ("ilmd", _Prehash.ilmd),
)
"""The order of the standard fields (traceability §2.2) and what writes each."""
_STANDARD: Final = frozenset(name for name, _ in FIELDS) | IGNORED
