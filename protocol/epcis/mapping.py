"""A mapping file: rows of a MES, WMS or service system -> EPCIS events (docs/events.md).

The file is TOML; its [[event]] tables look like events whose texts have columns in them. Nothing
here reads a file, a clock or a zone database: rows, zone and digests are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final, NamedTuple

from protocol.epcis.eventhash import event_hash
from protocol.epcis.mapping_text import Row, Template, Words, cell, cell_text, parse_template
from protocol.epcis.mapping_values import (
    BOOLEANS,
    NUMBERS,
    TIMES,
    offset_of,
    read_number,
    read_time,
    read_truth,
)
from protocol.epcis.moment import parse_time_us
from protocol.epcis.vocabulary import CONTEXT
from protocol.errors import BiaoshiError, InvalidValue, SettingsError

DOCUMENT_NAMESPACE: Final = "urn:biaoshi:epcis:"
DOCUMENT_PREFIX: Final = "biaoshi"
"""Prefix and namespace of the extension that holds documents with their digests."""
MAX_GROUPED: Final = 2_000_000
"""Rows that are kept while groups are gathered."""
_SOURCE: Final = frozenset(
    (
        "format",
        "encoding",
        "delimiter",
        "sheet",
        "header_row",
        "records",
        "time_zone",
        "time_formats",
        "decimal",
    )
)
_CONTROLS: Final = frozenset(("when", "unless", "group", "documents", "event_id"))
_DOCUMENT: Final = frozenset(("uri", "file", "sha256", "type", "certificate", "title"))
_SHA256_CHARACTERS: Final = 64
_HEX: Final = frozenset("0123456789abcdef")

Json = dict[str, Any]
Digest = Callable[[str], str]
"""Name of a local file -> its SHA-256 in lower-case hex. Raises a BiaoshiError."""


class Line(NamedTuple):
    """A row and where it stood."""

    number: int
    row: Row


class Made(NamedTuple):
    """An event, or why a row gives none. lines: of the source."""

    lines: tuple[int, ...]
    event: Json | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """How the file is to be read. `time_zone` is a name or an offset; None: times carry theirs."""

    format: str | None = None
    encoding: str = "utf-8-sig"
    delimiter: str | None = None
    sheet: str | None = None
    header_row: int = 1
    records: str | None = None
    time_zone: str | None = None
    time_formats: tuple[str, ...] = ()
    decimal: str = "."


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[event]] table. body: like an event, its texts as templates."""

    body: Mapping[str, Any]
    when: Mapping[str, frozenset[str]]
    unless: Mapping[str, frozenset[str]]
    group: Template | None
    documents: tuple[Mapping[str, Any], ...]
    hash_id: bool

    def applies(self, row: Row) -> bool:
        """Whether a row gives this event."""
        return all(
            cell_text(cell(row, name)) in wanted for name, wanted in self.when.items()
        ) and not any(cell_text(cell(row, name)) in barred for name, barred in self.unless.items())


@dataclass(frozen=True, slots=True)
class EventMapping:
    """A whole mapping file. columns: every column it names."""

    source: Source
    context: Mapping[str, str]
    words: Words
    rules: tuple[Rule, ...]
    columns: frozenset[str] = field(default=frozenset())

    def contexts(self) -> list[Any]:
        """The @context of documents and events that come of it."""
        own = dict(self.context)
        if any(rule.documents for rule in self.rules):
            own[DOCUMENT_PREFIX] = DOCUMENT_NAMESPACE
        return [CONTEXT, own] if own else [CONTEXT]


def parse_mapping(value: Mapping[str, Any]) -> EventMapping:
    """The mapping of a TOML file's tables. Raises SettingsError naming the table."""
    unknown = value.keys() - {"source", "context", "words", "event"}
    if unknown:
        raise SettingsError(
            f"the mapping has a table [{min(unknown)}]; there are [source], [context], [words.NAME] "
            "and [[event]]"
        )
    words = {name: _texts(table, f"words.{name}") for name, table in _table(value, "words").items()}
    context = _texts(_table(value, "context"), "context")
    rules = value.get("event")
    if not isinstance(rules, list) or not rules:
        raise SettingsError("the mapping has no [[event]] table; write one for each kind of event")
    columns: set[str] = set()
    made = tuple(_rule(rule, at, words, columns) for at, rule in enumerate(rules, 1))
    return EventMapping(_source(_table(value, "source")), context, words, made, frozenset(columns))


def _table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name, {})
    if not isinstance(found, Mapping):
        raise SettingsError(f"[{name}] of the mapping is no table")
    return found


def _texts(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise SettingsError(f'[{name}] of the mapping holds texts only: name = "text"')
    return dict(value)


def _source(table: Mapping[str, Any]) -> Source:
    unknown = table.keys() - _SOURCE
    if unknown:
        raise SettingsError(
            f"[source] has {min(unknown)!r}; there are {', '.join(sorted(_SOURCE))}"
        )
    wanted: dict[str, Any] = dict(table)
    formats = wanted.pop("time_formats", [])
    row = wanted.pop("header_row", 1)
    if not isinstance(formats, list) or not all(isinstance(one, str) for one in formats):
        raise SettingsError('time_formats is a list of forms: ["%d.%m.%Y %H:%M"]')
    if isinstance(row, bool) or not isinstance(row, int) or not 1 <= row <= 10_000:
        raise SettingsError(
            "header_row is the number of the row with the columns' names, from 1 on"
        )
    for name, text in wanted.items():
        if not isinstance(text, str):
            raise SettingsError(f"{name} of [source] is a text")
    if wanted.get("decimal", ".") not in (".", ","):
        raise SettingsError('decimal is "." or ","')
    return Source(**wanted, time_formats=tuple(formats), header_row=row)


def _rule(rule: Any, at: int, words: Words, columns: set[str]) -> Rule:
    if not isinstance(rule, Mapping) or not isinstance(rule.get("type"), str):
        raise SettingsError(f'[[event]] {at} needs type, such as "ObjectEvent"')

    def build(value: Any) -> Any:
        if isinstance(value, str):
            template = parse_template(value, words)
            columns.update(template.columns)
            return template
        if isinstance(value, Mapping):
            return {name: build(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [build(inner) for inner in value]
        return value

    body = {name: build(value) for name, value in rule.items() if name not in _CONTROLS}
    when, unless = (_conditions(rule, name, columns) for name in ("when", "unless"))
    group = build(rule["group"]) if isinstance(rule.get("group"), str) else None
    event_id = rule.get("event_id", "hash")
    if event_id not in ("hash", "none"):
        raise SettingsError(f'event_id of [[event]] {at} is "hash" or "none"')
    documents = tuple(_document(one, at, build) for one in _list(rule.get("documents", [])))
    return Rule(body, when, unless, group, documents, event_id == "hash" and "eventID" not in body)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise SettingsError("documents of an [[event]] is a list: [[event.documents]]")
    return value


def _document(value: Any, at: int, build: Callable[[Any], Any]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or "uri" not in value or value.keys() - _DOCUMENT:
        raise SettingsError(
            f"[[event.documents]] of [[event]] {at} needs uri and may have "
            f"{', '.join(sorted(_DOCUMENT - {'uri'}))}"
        )
    return {name: build(inner) for name, inner in value.items()}


def _conditions(rule: Mapping[str, Any], name: str, columns: set[str]) -> dict[str, frozenset[str]]:
    found = {}
    for column, wanted in _table(rule, name).items():
        values = wanted if isinstance(wanted, list) else [wanted]
        found[column] = frozenset(cell_text(value) for value in values)
        columns.add(column)
    return found


@dataclass(frozen=True, slots=True)
class Mapper:
    """Makes events of rows. zone: of times without one; digest: of local files."""

    mapping: EventMapping
    zone: tzinfo | None
    digest: Digest

    def events(self, lines: Iterable[Line]) -> Iterator[Made]:
        """Events in the order of rows; groups at the end, in the order they began."""
        groups: dict[tuple[int, str], list[Line]] = {}
        kept = 0
        for line in lines:
            for at, rule in enumerate(self.mapping.rules):
                if not rule.applies(line.row):
                    continue
                if rule.group is None:
                    yield self._made(rule, [line])
                    continue
                names = rule.group.fill(line.row, self.mapping.words)
                groups.setdefault((at, "".join(names)), []).append(line)
                kept += 1
                if kept > MAX_GROUPED:
                    raise InvalidValue(f"over {MAX_GROUPED} rows are to be grouped; split the file")
        for (at, _), members in groups.items():
            yield self._made(self.mapping.rules[at], members)

    def _made(self, rule: Rule, lines: Sequence[Line]) -> Made:
        numbers = tuple(line.number for line in lines)
        event: Json = {}
        for line in lines:
            try:
                _merge(event, self._event(rule, line.row))
            except BiaoshiError as error:
                return Made(numbers, None, f"line {line.number}: {error}")
        self._finish(rule, event)
        return Made(numbers, event)

    def _finish(self, rule: Rule, event: Json) -> None:
        if "eventTimeZoneOffset" not in event and isinstance(event.get("eventTime"), str):
            event["eventTimeZoneOffset"] = offset_of(event["eventTime"])
        if rule.hash_id:
            event["eventID"] = event_hash(event, self.mapping.contexts()).hash

    def _event(self, rule: Rule, row: Row) -> Json:
        event: Json = {}
        for name, part in rule.body.items():
            found = self._value(name, part, row)
            if found is not None:
                event[name] = found
        for document in rule.documents:
            self._add_document(event, document, row)
        return event

    def _value(self, name: str, part: Any, row: Row) -> Any:
        """The JSON of a part; None for nothing."""
        if isinstance(part, Template):
            found = self._texts(name, part, row)
            if len(found) > 1:
                raise InvalidValue(f"{name} takes one value, and {part.text!r} gives {len(found)}")
            return found[0] if found else None
        if isinstance(part, Mapping):
            members = {inner: self._value(inner, value, row) for inner, value in part.items()}
            kept = {inner: value for inner, value in members.items() if value is not None}
            return kept if kept and _says_something(part, kept) else None
        if isinstance(part, list):
            items: list[Any] = []
            for one in part:
                if isinstance(one, Template):
                    items += self._texts(name, one, row)
                else:
                    value = self._value(name, one, row)
                    items += [] if value is None else [value]
            return items or None
        return part

    def _texts(self, name: str, template: Template, row: Row) -> list[Any]:
        source = self.mapping.source
        texts = template.fill(row, self.mapping.words)
        try:
            if name in TIMES:
                return [read_time(text, self.zone, source.time_formats) for text in texts]
            if name in NUMBERS:
                return [read_number(text, source.decimal) for text in texts]
            if name in BOOLEANS:
                return [read_truth(text) for text in texts]
        except InvalidValue as error:
            raise InvalidValue(f"{name}: {error}") from None
        return list(texts)

    def _add_document(self, event: Json, document: Mapping[str, Any], row: Row) -> None:
        """A referenced document: where EPCIS has a place for it, and with its digest."""

        def text(name: str) -> str | None:
            value = self._value(name, document[name], row) if name in document else None
            return value if isinstance(value, str) else None

        uri = text("uri")
        if uri is None:
            return
        shape: Json = {f"{DOCUMENT_PREFIX}:uri": uri}
        digest, file = text("sha256"), text("file")
        if digest is not None:
            digest = digest.lower()
            if len(digest) != _SHA256_CHARACTERS or not _HEX.issuperset(digest):
                raise InvalidValue(f"sha256 of {uri} is {digest[:70]!r}; write 64 hex digits")
        if file is not None:
            found = self.digest(file)
            if digest not in (None, found):
                raise InvalidValue(f"{file} has the SHA-256 {found}, not {digest}")
            digest = found
        if digest is not None:
            shape[f"{DOCUMENT_PREFIX}:sha256"] = digest
        if title := text("title"):
            shape[f"{DOCUMENT_PREFIX}:title"] = title
        _merge(event, {f"{DOCUMENT_PREFIX}:document": [shape]})
        if kind := text("type"):
            _merge(event, {"bizTransactionList": [{"type": kind, "bizTransaction": uri}]})
        if document.get("certificate") is True:
            _merge(event, {"certificationInfo": [uri]})


def _says_something(part: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Whether a table got anything from the row; one of constants alone always does."""
    holes = {name for name, value in part.items() if _has_columns(value)}
    return not holes or any(name in kept for name in holes)


def _has_columns(value: Any) -> bool:
    if isinstance(value, Template):
        return bool(value.columns)
    if isinstance(value, Mapping):
        return any(_has_columns(inner) for inner in value.values())
    return isinstance(value, list) and any(_has_columns(inner) for inner in value)


def _merge(event: Json, other: Json) -> None:
    """Another row of the same event: lists grow, equal quantities add up, the latest time counts."""
    for name, value in other.items():
        known = event.get(name)
        if known is None:
            event[name] = value
        elif name == "eventTime":
            event[name] = max(known, value, key=parse_time_us)
        elif isinstance(known, list) and isinstance(value, list):
            known += [item for item in value if not _absorbed(known, item)]
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)


def _absorbed(known: list[Any], item: Any) -> bool:
    if isinstance(item, dict) and "epcClass" in item and "quantity" in item:
        for one in known:
            same = one["epcClass"] == item["epcClass"] and one.get("uom") == item.get("uom")
            if same and "quantity" in one:
                one["quantity"] += item["quantity"]
                return True
        return False
    return item in known
