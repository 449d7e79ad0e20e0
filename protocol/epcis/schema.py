"""Whether a document or event is valid: our own schema, and what no schema can say.

`check_document` and `check_event` give the verdict of the standard's schema (schema.json, written
for this project; the published file is the oracle of the tests). `check_rules` adds what the
standard says in words (traceability §1.7); a reader flags it, a capture may refuse it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema_rs

from protocol.epcis import event as read
from protocol.epcis.eventhash import ALGORITHMS, VERSIONS, event_hash
from protocol.epcis.identity import canonical_id, is_canonical
from protocol.epcis.moment import parse_time_us
from protocol.errors import BadIdentifier, BiaoshiError, ParseError
from protocol.schemes import epc
from protocol.schemes.base import shown
from protocol.schemes.gs1_link import parse_uri

MAX_PROBLEMS: Final = 50
"""Problems told of one document; the rest would say the same."""
MAX_MESSAGE: Final = 240
MAX_MEMBERS: Final = 64
"""Members of an object, with and without a colon, whose faults are named one by one."""
SLACK_US: Final = 5 * 60 * 1_000_000
"""How far an event may lie in the future: clocks of different companies differ."""
_PLAIN_SERIAL: Final = re.compile(r"[A-Za-z0-9\-._]{1,20}")
_SERIALS: Final = ("/21", "/10")
_SCHEMA_FILE: Final = Path(__file__).with_name("schema.json")


class Problem(NamedTuple):
    """What is wrong, where. path: JSON pointer. rule: a stable word for programs."""

    path: str
    message: str
    rule: str = "schema"


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_SCHEMA_FILE.read_bytes())
    return found


@cache
def _validator(name: str) -> jsonschema_rs.Validator:
    """The validator of the whole schema (""), or of one definition."""
    schema = _schema()
    if name:
        schema = {"$schema": schema["$schema"], "$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def check_document(document: Any) -> list[Problem]:
    """What the schema refuses in a document, query document or bare event; [] when valid.

    Problems are told event by event and up to MAX_PROBLEMS: naming each of a million faults of a
    stranger's document would take minutes.
    """
    if _is_valid("", document):
        return []
    path, events = _event_list(document)
    problems = _details("", _without(document, path) if events else document)
    for at, event in enumerate(events):
        if len(problems) >= MAX_PROBLEMS:
            break
        if not _is_valid("event", event):
            stem = "".join(f"/{name}" for name in path) + f"/{at}"
            problems += [one._replace(path=stem + one.path) for one in _details("event", event)]
    return problems[:MAX_PROBLEMS] or [_BEYOND]


def check_event(event: Any, context: Any = None) -> list[Problem]:
    """What the schema refuses in one event of a document with that `@context`.

    Without a context of the document the event must bring its own.
    """
    problems = [] if _is_valid("event", event) else _details("event", event) or [_BEYOND]
    if context is None and isinstance(event, Mapping) and "@context" not in event:
        problems.append(Problem("", 'no "@context"; an event on its own carries one'))
    return problems


_BEYOND: Final = Problem("", f"not valid, beyond the first {MAX_MEMBERS} members of an object")
_LISTS: Final = (
    ("epcisBody", "eventList"),
    ("epcisBody", "queryResults", "resultsBody", "eventList"),
)


def _event_list(document: Any) -> tuple[tuple[str, ...], list[Any]]:
    """The path of the list of events, and the list; ((), []) where there is none."""
    for path in _LISTS:
        found = document
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, list):
            return path, found
    return (), []


def _without(document: Any, path: Sequence[str]) -> Any:
    """The document with an empty list at a path that it has."""
    if not path:
        return []
    return {**document, path[0]: _without(document[path[0]], path[1:])}


def _is_valid(name: str, value: Any) -> bool:
    try:
        return _validator(name).is_valid(value)
    except ValueError:  # a value that is no JSON, such as an integer of 400 digits
        return False


def _details(name: str, value: Any) -> list[Problem]:
    try:
        errors = _validator(name).iter_errors(_reduced(value))
        return [_problem(error) for error in islice(errors, MAX_PROBLEMS)]
    except ValueError as error:
        return [Problem("", str(error)[:MAX_MESSAGE])]


def _reduced(value: Any) -> Any:
    """A value whose objects have few enough members to name their faults.

    The validator copies an object for every bad name in it, so its time grows with the square of
    the members. Members without a colon, which the schema may ask for, are kept apart from others.
    """
    if isinstance(value, list):
        return [_reduced(item) for item in value] if any(map(_is_nested, value)) else value
    if not isinstance(value, Mapping):
        return value
    kept: dict[str, Any] = {}
    left = {True: MAX_MEMBERS, False: MAX_MEMBERS}
    for name, inner in value.items():
        colon = ":" in name
        if left[colon]:
            left[colon] -= 1
            kept[name] = _reduced(inner)
    return kept


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | Mapping)


def _problem(error: jsonschema_rs.ValidationError) -> Problem:
    path = "".join(f"/{_escape(part)}" for part in error.instance_path)
    message = error.message
    if len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE // 2]} … {message[-MAX_MESSAGE // 2 :]}"
    steps = [str(part) for part in error.schema_path]
    if "propertyNames" in steps:
        message = f"{message}: no such field; an extension's name is a prefix, a colon and a name"
    elif steps[-2:-1] == ["else"]:
        message = f"{message}, nor a word of this vocabulary"
    return Problem(path, message)


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def check_rules(
    event: Mapping[str, Any],
    context: Any = None,
    *,
    now_us: int | None = None,
    slack_us: int = SLACK_US,
) -> list[Problem]:
    """What the standard says in words and this event does not keep.

    rule: `parent-missing`, `sensor-time`, `future`, `gs1-identifier`, `eventid-mismatch`.
    now_us: the time now; without it nothing is in the future. The event need not be valid.
    """
    problems = [problem for rule in RULES for problem in rule(event, context)]
    when = _time(event.get("eventTime"))
    if now_us is not None and when is not None and when > now_us + slack_us:
        problems.append(Problem("/eventTime", f"{event['eventTime']} lies in the future", "future"))
    return problems[:MAX_PROBLEMS]


def _time(value: Any) -> int | None:
    try:
        return parse_time_us(value) if isinstance(value, str) else None
    except ParseError:
        return None


def _parent(event: Mapping[str, Any], _context: Any) -> Iterator[Problem]:
    named = read.kind(event) == "AggregationEvent" and read.action(event) in ("ADD", "DELETE")
    if named and "parentID" not in event:
        yield Problem(
            "", f"an AggregationEvent of {event['action']} needs parentID", "parent-missing"
        )


def _sensor_times(event: Mapping[str, Any], _context: Any) -> Iterator[Problem]:
    when = _time(event.get("eventTime"))
    for at, element in enumerate(read.items(event, "sensorElementList")):
        metadata = element.get("sensorMetadata") if isinstance(element, Mapping) else None
        text = metadata.get("time") if isinstance(metadata, Mapping) else None
        measured = _time(text)
        if when is not None and measured is not None and measured > when:
            yield Problem(
                f"/sensorElementList/{at}/sensorMetadata/time",
                f"measured at {text}, after the event at {event['eventTime']}",
                "sensor-time",
            )


def _identifiers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Path and text of every identifier of an object or place."""
    for name in ("parentID",):
        if isinstance(event.get(name), str):
            yield f"/{name}", event[name]
    for name in read.INSTANCE_FIELDS:
        for at, text in enumerate(read.items(event, name)):
            if isinstance(text, str):
                yield f"/{name}/{at}", text
    for name in read.QUANTITY_FIELDS:
        for at, element in enumerate(read.items(event, name)):
            if isinstance(element, Mapping) and isinstance(element.get("epcClass"), str):
                yield f"/{name}/{at}/epcClass", element["epcClass"]
    for name in ("readPoint", "bizLocation"):
        place = event.get(name)
        if isinstance(place, Mapping) and isinstance(place.get("id"), str):
            yield f"/{name}/id", place["id"]


def _gs1(event: Mapping[str, Any], _context: Any) -> Iterator[Problem]:
    for path, text in _identifiers(event):
        told = _identifier_problem(text)
        if told:
            yield Problem(path, f"{shown(text)}: {told}"[:MAX_MESSAGE], "gs1-identifier")


def _identifier_problem(text: str) -> str:
    """What is wrong with a GS1 identifier; "" for nothing, and for other texts."""
    identity = canonical_id(text.strip())
    stem, _, last = identity.rpartition("/")
    if is_canonical(identity):
        # A serial of plain characters needs no look of its own; its class is known from others.
        short = _PLAIN_SERIAL.fullmatch(last) and stem.endswith(_SERIALS)
        return _strictly(stem[:-3] if short else identity)
    return _strictly(identity) if identity[:8].lower() == "urn:epc:" else ""


@lru_cache(65_536)
def _strictly(identity: str) -> str:
    try:
        if identity[:8].lower() == "urn:epc:":
            epc.parse(identity)
        else:
            parse_uri(identity)
    except BadIdentifier as error:
        return str(error)
    return ""


def _own_hash(event: Mapping[str, Any], context: Any) -> Iterator[Problem]:
    """An id that claims to be a hash is kept as it is when it is not one (traceability §2.4)."""
    name = read.event_id(event) or ""
    if not name.startswith("ni:///"):
        return
    algorithm = name[len("ni:///") :].partition(";")[0]
    version = next((v for v in VERSIONS if name.endswith(f"?ver=CBV{v}")), None)
    if version is None or algorithm not in ALGORITHMS:
        yield Problem("/eventID", f"{shown(name)} names no known rule set", "eventid-mismatch")
        return
    try:
        found = event_hash(event, context, version, algorithm).hash
    except BiaoshiError as error:
        yield Problem("/eventID", str(error), "eventid-mismatch")
        return
    if found != name:
        yield Problem("/eventID", f"the event's hash id is {found}", "eventid-mismatch")


RULES: Final[tuple[Callable[[Mapping[str, Any], Any], Iterator[Problem]], ...]] = (
    _parent,
    _sensor_times,
    _gs1,
    _own_hash,
)
"""The rules beyond the schema; the one of the clock stands in check_rules."""
