"""protocol.epcis.schema: the verdicts, the schema of the standard as oracle, and the flags."""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from protocol.epcis import vocabulary
from protocol.epcis.document import open_document
from protocol.epcis.errors import ValidationException
from protocol.epcis.eventhash import event_hash
from protocol.epcis.schema import (
    MAX_PROBLEMS,
    _schema,
    check_document,
    check_event,
    check_rules,
)
from tests.protocol.epcis.shared_epcis import MINIMAL, needs_vectors, read

CONTEXT = MINIMAL["@context"]


@needs_vectors
def test_every_row_of_the_vectors() -> None:
    """Every variant of event-validation.json and every document has the schema's verdict."""
    for row in read("event-validation.json"):
        assert (not check_document(row["document"])) == row["schema_valid"], row["id"]
    for row in read("manifest.json"):
        if row["schema_valid"] is not None:
            assert (not check_document(read(row["file"]))) == row["schema_valid"], row["file"]


@needs_vectors
def test_where_the_first_error_of_the_manifest_is() -> None:
    """A refused document has a problem at the event that the published schema refuses."""
    for row in read("manifest.json"):
        if row["schema_valid"] is False:
            event = "/".join(row["first_error"]["path"].split("/")[:4])
            assert any(p.path.startswith(event) for p in check_document(read(row["file"])))


@cache
def _oracle() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(read("schema/epcis-json-schema.json"), validate_formats=True)


JUNK = [
    None, True, 0, 1.5, "", "foo", "x:y", "urn:epcglobal:cbv:bizstep:shipping",
    "https://ns.gs1.org/cbv/x", "https://gs1.org/voc/T", "https://www.gs1.org/voc/T", [], {}, [1],
    ["a:b", "a:b"], "2026-01-01T00:00:00", "DELETE", "ADD", "OBSERVE", "ObjectEvent",
    "TransformationEvent", "EPCISDocument", "shipping", "Temperature", "KGMX", "kg", "+14:00", "Z",
]  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for name, part in inner:
        if isinstance(part, dict | list):
            found += _paths(part, (*path, name))
        else:
            found.append((*path, name))
    return found


def _mutate(value: Any, names: list[str], draw: random.Random) -> None:
    path = draw.choice(_paths(value) or [()])
    if not path:
        return
    for step in path[:-1]:
        value = value[step]
    what = draw.random()
    if what < 0.3:
        del value[path[-1]]
    elif what < 0.6:
        value[path[-1]] = copy.deepcopy(draw.choice(JUNK))
    elif isinstance(value, dict):
        value[draw.choice(names)] = copy.deepcopy(draw.choice(JUNK))
    else:
        value.append(copy.deepcopy(draw.choice(JUNK)))


@needs_vectors
@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_the_published_schema_on_mutated_documents(seed: int) -> None:
    """Thousands of documents with one or two changes get the oracle's verdict."""
    draw = random.Random(seed)
    documents = [row["document"] for row in read("event-validation.json")]
    documents += [read(row["file"]) for row in read("manifest.json")]
    names = sorted(
        {name for d in documents for path in _paths(d) for name in path if isinstance(name, str)}
    )
    verdicts = set()
    for _ in range(4_000):
        document = copy.deepcopy(draw.choice(documents))
        for _ in range(draw.choice((1, 1, 2))):
            _mutate(document, [*names, "foo", "a:b"], draw)
        wanted = _oracle().is_valid(document)
        verdicts.add(wanted)
        assert (not check_document(document)) == wanted, json.dumps(document, default=str)
    assert verdicts == {True, False}


def test_the_schema_has_the_words_of_the_vocabulary() -> None:
    """Each vocabulary of schema.json is that of vocabulary.py."""
    definitions = _schema()["$defs"]
    for name, words in {
        "bizStep": vocabulary.BIZ_STEP,
        "disposition": vocabulary.DISPOSITION,
        "bizTransactionType": vocabulary.BIZ_TRANSACTION,
        "sourceDestType": vocabulary.SOURCE_DEST,
        "errorReason": vocabulary.ERROR_REASON,
        "component": vocabulary.COMPONENT,
        "measurementType": vocabulary.MEASUREMENT,
        "alertType": vocabulary.ALERT,
    }.items():
        assert set(definitions[name]["if"]["enum"]) == words.words


def test_problems_say_where_and_what() -> None:
    """A problem has a JSON pointer and names the value."""
    document = {
        "@context": CONTEXT,
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-01T10:00:00Z",
        "epcisBody": {"eventList": [MINIMAL, MINIMAL | {"bizStep": "shoving", "lot": 1}]},
    }
    problems = {problem.path: problem.message for problem in check_document(document)}
    assert "shoving" in problems["/epcisBody/eventList/1/bizStep"]
    assert "vocabulary" in problems["/epcisBody/eventList/1/bizStep"]
    assert '"lot"' in problems["/epcisBody/eventList/1"]


def test_an_event_needs_some_context() -> None:
    """The document's is enough; without one the event brings its own."""
    bare = {name: value for name, value in MINIMAL.items() if name != "@context"}
    assert check_event(bare, CONTEXT) == []
    assert check_event(MINIMAL) == []
    assert [p.path for p in check_event(bare)] == [""]
    assert check_event("x")[0].path == ""


@pytest.mark.parametrize(
    "document",
    [
        {"type": "EPCISDocument", "epcisBody": {"eventList": [{"type": "ObjectEvent"}] * 50_000}},
        {"epcisBody": {"eventList": [{}] * 50_000}},
        {"epcisBody": {"queryResults": {"resultsBody": {"eventList": [3] * 50_000}}}},
        MINIMAL | {f"f{at}": 1 for at in range(20_000)},
        MINIMAL | {f"a b:{at}": 1 for at in range(20_000)},
        MINIMAL | {"ilmd": {f"f{at}": {} for at in range(20_000)}},
    ],
)
def test_problems_are_bounded(document: dict[str, Any]) -> None:
    """A document with tens of thousands of faults names some of them, and ends."""
    assert 0 < len(check_document(document)) <= MAX_PROBLEMS


def test_a_fault_behind_many_members_is_told_all_the_same() -> None:
    """Where the first members are good, the document is refused without a place."""
    event = MINIMAL | {f"ex:{at}": 1 for at in range(100)} | {"ex:a b": 1}
    assert len(check_document(event)) == 1
    assert check_event(event) == check_document(event)


def rules(now_us: int | None = None, **fields: Any) -> list[tuple[str, str]]:
    return [(p.rule, p.path) for p in check_rules(MINIMAL | fields, now_us=now_us)]


def test_rules_beyond_the_schema_are_flagged() -> None:
    """Each rule of the standard's text that the minimal event keeps is named when it is broken."""
    assert rules() == []
    assert rules(type="AggregationEvent", action="ADD") == [("parent-missing", "")]
    late = [
        {"sensorMetadata": {"time": "2026-03-01T10:00:01Z"}, "sensorReport": [{"type": "Mass"}]}
    ]
    assert rules(sensorElementList=late) == [
        ("sensor-time", "/sensorElementList/0/sensorMetadata/time")
    ]
    wrong = "https://shop.example/01/09521234543210/21/A1"
    assert rules(epcList=[wrong, "88.1/x"]) == [("gs1-identifier", "/epcList/0")]
    assert rules(epcList=["urn:epc:id:sgtin:4012345.11122.25"]) == [
        ("gs1-identifier", "/epcList/0")
    ]
    at = 1_772_359_200_000_000
    assert rules(now_us=at - 301_000_000) == [("future", "/eventTime")]
    assert rules(now_us=at - 299_000_000) == []


def test_a_hash_id_that_does_not_fit_is_flagged() -> None:
    """A right hash id of either rule set passes; a wrong one is flagged, other ids are not looked at."""
    for version in ("2.0", "2.1"):
        name = event_hash(MINIMAL, version=version).hash  # type: ignore[arg-type]
        assert rules(eventID=name) == []
        assert rules(eventID=name, action="ADD") == [("eventid-mismatch", "/eventID")]
    assert rules(eventID="ni:///md5;00?ver=CBV9") == [("eventid-mismatch", "/eventID")]
    assert rules(eventID="urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8") == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"epcisBody": {}},
        {"epcisBody": {"eventList": 3}},
        {"epcisBody": {"queryResults": 1}},
    ],
)
def test_what_is_no_document_is_refused(value: object) -> None:
    """Neither list of events nor event: ValidationException."""
    with pytest.raises(ValidationException):
        open_document(value)
