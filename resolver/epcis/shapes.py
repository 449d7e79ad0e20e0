"""The shapes that the EPCIS resources take and give, for the OpenAPI document of the node."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from protocol.epcis import schema as checking
from protocol.epcis.query_json import asks, takes_numbers
from protocol.epcis.query_tests import TESTS
from protocol.epcis.vocabulary import EVENT_TYPES
from protocol.event_disclosure import FORMAT as DISCLOSURE
from resolver.epcis.jobs import BEHAVIOURS
from resolver.epcis.named import NAME
from resolver.epcis.schedule import FIELDS

Json = dict[str, Any]

TEXT: Final[Json] = {"type": "string"}
WORD: Final[Json] = {"type": "string", "pattern": r"^[^|]*[^|\s\x1c-\x1f\x85][^|]*$"}
VALUE: Final[Json] = {"type": "string", "pattern": r"^[^\x00-\x20\x7f-\xa0|]+$"}
"""One value in a path: a text with white space is none that an event has."""
ANY: Final[Json] = {**WORD, "description": "several have | between them"}
TIME: Final[Json] = {"type": "string", "format": "date-time", "minLength": 20, "maxLength": 40}
_DEFINITIONS: Final = "#/components/schemas/Epcis/$defs/"


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _value(name: str) -> Json:
    """A parameter in a named query: one value, or a list of those that it takes."""
    schema = schema_of(name)
    compares = takes_numbers(name) and not name.startswith("EQ_")
    most = 1 if schema is TIME or asks(name) or compares else 50
    if asks(name):
        schema = {"enum": [*schema["enum"], True, None if name.startswith("EXISTS_") else False]}
    elif takes_numbers(name):
        schema = {"anyOf": [schema, {"type": "string", "pattern": r"^-?[0-9]{1,15}$"}]}
    several = {"type": "array", "items": schema, "minItems": 1, "maxItems": most}
    return {"anyOf": [schema, several]}


def schema_of(name: str) -> Json:
    if name == "eventType":
        return {"enum": sorted(EVENT_TYPES)}
    if name == "EQ_action":
        return {"enum": ["ADD", "OBSERVE", "DELETE"]}
    if asks(name):
        return {
            "enum": ["true", "false"] if name == "EQ_booleanValue" else ["", "true", "1", "null"]
        }
    if name[:2] in ("GE", "LT") and name.lower().endswith("time"):
        return TIME
    if takes_numbers(name):
        return {"type": "number"}
    return ANY if name in TESTS else WORD


def _earlier(day: datetime) -> str:
    """A pattern of the dates before a day: moments that are no later than now, of this century."""
    decade, year = divmod(day.year % 100, 10)
    month, date = divmod(day.month, 10), divmod(day.day, 10)
    return (
        "^("
        + "|".join(
            (
                "[01][0-9]{3}",
                *_below("20", decade, year, "[0-9]"),
                *_below(f"{day.year}-", *month, "[0-9]"),
                *_below(f"{day:%Y-%m}-", *date, "[0-9]"),
            )
        )
        + ")"
    )


def _below(start: str, tens: int, units: int, digit: str) -> list[str]:
    """Patterns of what begins so and goes on with two digits below these."""
    made = [f"{start}[0-{tens - 1}]{digit}"] if tens else []
    return [*made, f"{start}{tens}[0-{units - 1}]"] if units else made


def _standard() -> Json:
    """The schema by which events are checked, its inner references led to its place here."""
    schema = json.loads(Path(checking.__file__).with_name("schema.json").read_bytes())
    moved: Json = _moved({n: v for n, v in schema.items() if n not in ("$schema", "$id")})
    return moved | {
        "$defs": moved["$defs"] | {"event": _events(), "AggregationEvent": _packed(moved)}
    }


def _events() -> Json:
    """An event, type by type: the same as the schema says by conditions, which programs that make
    events up by a description do not get through.
    """
    known = [{"allOf": [_part(name), _typed(name)]} for name in sorted(EVENT_TYPES)]
    other = {
        "allOf": [_part("extendedEvent")],
        "properties": {"type": {"not": {"enum": sorted(EVENT_TYPES)}}},
        "required": ["type"],
    }
    return {"anyOf": [*known, other]}


def _packed(schema: Json) -> Json:
    """An AggregationEvent with the rule on its parent, which is checked apart from the schema."""
    made: Json = schema["$defs"]["AggregationEvent"]
    rule = {
        "anyOf": [
            {"required": ["parentID"]},
            {"properties": {"action": {"const": "OBSERVE"}}, "required": ["action"]},
        ]
    }
    return made | {"allOf": [*made["allOf"], rule]}


def _moved(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: one.replace("#/$defs/", _DEFINITIONS) if name == "$ref" else _moved(one)
            for name, one in value.items()
        }
    return [_moved(one) for one in value] if isinstance(value, list) else value


def _part(name: str) -> Json:
    return {"$ref": _DEFINITIONS + name}


def _typed(name: str) -> Json:
    return {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]}


def _object(properties: Json, *required: str, closed: bool = False) -> Json:
    made: Json = {"type": "object", "properties": properties}
    if closed:
        made["additionalProperties"] = False
    return made | ({"required": list(required)} if required else {})


def _array(name: str) -> Json:
    return {"type": "array", "items": ref(name)}


def schemas() -> Json:
    """The shapes that the paths name."""
    return {
        "Epcis": _standard(),
        **_documents(),
        **_proofs(),
        **_jobs(),
        **_queries(),
        **_subscriptions(),
    }


def _documents() -> Json:
    """What is captured and what queries give."""
    return {
        "EpcisCollection": _object(
            {"@context": {}, "type": {"const": "Collection"}, "member": {"type": "array"}},
            *("@context", "type", "member"),
        ),
        "EpcisDocument": {
            "oneOf": [
                {"allOf": [_part("document"), _typed("EPCISDocument")]},
                {"allOf": [_part("queryDocument"), _typed("EPCISQueryDocument")]},
            ]
        },
        "EpcisQueryDocument": {"allOf": [_part("queryDocument"), _typed("EPCISQueryDocument")]},
        "EpcisEvent": {"allOf": [_part("event"), {"type": "object", "required": ["@context"]}]},
        "EpcisExact": {
            "description": "any JSON; a whole number beyond 2^53 only where a double holds it",
            "anyOf": [
                {"type": ["string", "boolean", "null"]},
                {"type": "number", "minimum": -(2**53), "maximum": 2**53},
                {"type": "array", "items": ref("EpcisExact")},
                {"type": "object", "additionalProperties": ref("EpcisExact")},
            ],
        },
        "EpcisNewEvent": {
            "description": "eventTime is not later than now; a sensor's time not than eventTime",
            "allOf": [ref("EpcisEvent")],
            "properties": {"eventTime": {"pattern": _earlier(datetime.now(UTC))}},
            "additionalProperties": ref("EpcisExact"),
        },
    }


def _proofs() -> Json:
    """Events with what proves them."""
    return {
        "EpcisDisclosure": _object(
            {
                "format": {"const": DISCLOSURE},
                "jws": TEXT,
                "disclosures": {"type": "array", "items": TEXT},
            },
            *("format", "jws", "disclosures"),
        ),
        "EpcisProof": _object(
            {
                "format": TEXT,
                "event": {"type": "object"},
                "recordTime": TEXT,
                "issuer": TEXT,
                "label": {"type": ["object", "null"]},
                "signature": TEXT,
                "receipt": {"type": "object"},
            },
            *("format", "event", "recordTime", "issuer", "label", "signature", "receipt"),
        ),
    }


def _jobs() -> Json:
    job = _object(
        {
            "captureID": TEXT,
            "createdAt": TEXT,
            "finishedAt": TEXT,
            "running": {"type": "boolean"},
            "success": {"type": "boolean"},
            "captureErrorBehaviour": {"enum": list(BEHAVIOURS)},
            "errors": {"type": "array", "items": ref("Problem")},
            "warnings": {"type": "array", "items": TEXT},
        },
        *("captureID", "createdAt", "running", "success", "captureErrorBehaviour", "errors"),
    )
    return {"EpcisJob": job, "EpcisJobs": _array("EpcisJob")}


def _queries() -> Json:
    return {
        "EpcisNamedQuery": _object(
            {
                "name": {**TEXT, "pattern": NAME},
                "query": _object({name: _value(name) for name in TESTS}, closed=True),
            },
            *("name", "query"),
            closed=True,
        ),
        "EpcisNamedQueryState": _object(
            {"name": TEXT, "query": {"type": "object"}, "createdAt": TEXT},
            *("name", "query", "createdAt"),
        ),
        "EpcisNamedQueries": _array("EpcisNamedQueryState"),
    }


def _schedule() -> Json:
    """When a webhook is told; what names a day of no month is refused besides."""
    made = _object(
        {
            name: {
                "enum": [str(low), str(high), f"[{low}-{high}]", f"{low},{high}"],
                "description": f"{low} to {high}: a number, [a-b], or a list of these",
            }
            for name, (low, high) in FIELDS.items()
            if name not in {"dayOfMonth", "month"}
        }
        | {
            "dayOfMonth": {"enum": ["1", "[1-28]"], "description": "1 to 31"},
            "month": {"enum": ["1", "[1-12]", "3,6,9,12"], "description": "1 to 12"},
        },
        closed=True,
    )
    return made | {"minProperties": 1}


def _subscriptions() -> Json:
    dest = {
        "type": "string",
        "pattern": r"^https?://[a-z0-9]{1,20}\.example(/[a-z0-9]{0,20})?$",
        "description": "an http or https address that [outbound] lets through",
    }
    streamed = {
        "properties": {"stream": {"const": True}, "schedule": False},
        "required": ["stream"],
    }
    scheduled = {"properties": {"stream": {"const": False}}, "required": ["schedule"]}
    subscription = _object(
        {
            "dest": dest,
            "signatureToken": {"type": "string", "maxLength": 256},
            "reportIfEmpty": {"type": "boolean"},
            "initialRecordTime": TIME,
            "stream": {"type": "boolean"},
            "schedule": _schedule(),
        },
        "dest",
        closed=True,
    )
    return {
        "EpcisSubscription": subscription | {"oneOf": [streamed, scheduled]},
        "EpcisSubscriptionState": _object(
            {
                "subscriptionID": TEXT,
                "queryName": TEXT,
                "dest": TEXT,
                "stream": {"type": "boolean"},
                "failures": {"type": "integer"},
                "state": {"enum": ["active", "open"]},
            },
            *("subscriptionID", "queryName", "dest", "stream", "failures", "state"),
        ),
        "EpcisSubscriptions": _array("EpcisSubscriptionState"),
    }
