"""The EPCIS resources in the OpenAPI document of the node.

What a query parameter may hold is said as narrowly as it is checked; parameters whose name ends
with a type, a unit or an extension are told of in words, since OpenAPI has no names to be filled in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from protocol.epcis import schema as checking
from protocol.epcis.query_tests import TESTS
from protocol.epcis.vocabulary import EVENT_TYPES
from protocol.event_disclosure import FORMAT as DISCLOSURE
from protocol.event_disclosure import MEDIA_TYPE as DISCLOSURE_TYPE
from resolver.epcis.jobs import BEHAVIOURS
from resolver.epcis.named import MAX_NAME, NAME
from resolver.epcis.reading import COLLECTIONS
from resolver.epcis.schedule import FIELDS
from resolver.epcis.versions import EXACT, LEAST, MOST, VERSION, EpcFormat

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_PAST: Final = "^([01][0-9]{3}|20[01][0-9]|202[0-5])-"
"""Moments that certainly are no later than now, which no schema can say."""
_WORD: Final[Json] = {"type": "string", "minLength": 1}
_ANY: Final[Json] = {
    "type": "string",
    "pattern": r"^[^|]*[^|\s\x1c-\x1f\x85][^|]*$",
    "description": "several have | between them",
}
_TIME: Final[Json] = {"type": "string", "format": "date-time", "minLength": 20, "maxLength": 40}
_PROBLEM: Final[Json] = {
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
}
_SECURED: Final[list[Json]] = [{"basic": []}, {"handle": []}, {"certificate": []}]
_MEDIA: Final = ("application/ld+json", "application/json")
_VERSIONS: Final = {"Version": EXACT, "Min": LEAST, "Max": MOST}
_DEFINITIONS: Final = "#/components/schemas/Epcis/$defs/"
_TELLING: Final = (
    "Further parameters, by the pattern of their names: EQ_bizTransaction_TYPE, EQ_source_TYPE, "
    "EQ_destination_TYPE; EQ|GT|GE|LT|LE_FIELD_UOM for value, minValue, maxValue, meanValue, sDev, "
    "percValue, quantity; EQ|GT|GE|LT|LE_ and EXISTS_ on PREFIX:NAME of an extension, with INNER_, "
    "ILMD_, INNER_ILMD_, ERROR_DECLARATION_, SENSORELEMENT_, SENSORMETADATA_, SENSORREPORT_; "
    "HASATTR_ and EQATTR_. A list of values has | between them. Others are refused (400)."
)


def _problem(text: str) -> Json:
    return {"description": text, **_PROBLEM}


_REFUSED: Final[Mapping[str, Json]] = {
    "400": _problem("malformed, or a parameter that is not read"),
    "401": _problem("credentials that do not hold; WWW-Authenticate says how to prove who asks"),
    "406": _problem("no such version, or no such media type"),
    "414": _problem("the target is too long; name the query and run it by its name"),
    "429": _problem("too many failed proofs of identity"),
}
_WRITING: Final[Mapping[str, Json]] = {
    **_REFUSED,
    "401": _problem("who asks is not proved (over TLS)"),
    "403": _problem("no administrator of a prefix that is homed here, nor who is granted events"),
    "408": _problem("the body did not come in time"),
    "413": _problem("more events or octets than are taken at once"),
    "503": _problem("busy or read-only; Retry-After says when to come back"),
}


def _parameter(name: str, schema: Json, text: str, where: str = "query") -> Json:
    made: Json = {"name": name, "in": where, "schema": schema, "description": text}
    return made | ({"required": True} if where == "path" else {})


def _header(name: str, schema: Json, text: str) -> Json:
    return _parameter(name, schema, text, "header")


_NEGOTIATED: Final = [
    _header(
        f"{what}-{end}",
        {"type": "string", "pattern": pattern},
        f"a version of {what} that is understood: {end}; {VERSION} is spoken here",
    )
    for what in ("GS1-EPCIS", "GS1-CBV")
    for end, pattern in _VERSIONS.items()
]
_SPELT: Final = _header(
    "GS1-EPC-Format", {"enum": list(EpcFormat)}, "how identifiers shall be spelt"
)
_DISCLOSE: Final = _parameter(
    "disclose", _TEXT, "fields, separated by commas, or `*`: only these, proved without the others"
)
_PAGED: Final = [
    _parameter("perPage", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, "page size"),
    _parameter("nextPageToken", _TEXT, "from the Link of the page before, for the same request"),
]
_LABEL: Final = _header(
    "Biaoshi-Label",
    {"enum": ["public", "1", "2", "3"]},
    "who may see the events: public (1), granted partners (2, the default), nobody else (3); "
    "or a JSON object with class and level",
)
_EVENT_ID: Final = _parameter("eventID", _WORD, "percent-encoded", "path")
_NAME: Final = _parameter(
    "name", {"type": "string", "minLength": 1, "maxLength": MAX_NAME}, "of the query", "path"
)
_SUBSCRIPTION: Final = _parameter("id", {"type": "string", "minLength": 1}, "its id", "path")


def _query_parameters() -> list[Json]:
    made = [_parameter(name, _schema(name), "see §3.5 of the guide") for name in TESTS]
    return [
        *made,
        _parameter(
            "orderBy", {"enum": ["eventTime", "recordTime"]}, "or an extension, PREFIX:NAME"
        ),
        _parameter("orderDirection", {"enum": ["ASC", "DESC"]}, "default DESC"),
        _parameter(
            "eventCountLimit",
            {"type": "integer", "minimum": 1, "maximum": 1_000_000_000},
            "no more events than this in the whole answer; or maxEventCount: 413 where more fit",
        ),
    ]


_SINGLE: Final = ("EQ_booleanValue", "EXISTS_errorDeclaration", "EXISTS_sensorElementList")


def _value(name: str) -> Json:
    """A parameter in a named query: one value or several."""
    schema = _schema(name)
    if schema is _TIME or schema.get("type") == "number" or name in _SINGLE:
        return schema
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": 50}]}


def _schema(name: str) -> Json:
    if name == "eventType":
        return {"enum": sorted(EVENT_TYPES)}
    if name == "EQ_action":
        return {"enum": ["ADD", "OBSERVE", "DELETE"]}
    if name.startswith("EXISTS_") or name == "EQ_booleanValue":
        return {
            "enum": ["true", "false"] if name == "EQ_booleanValue" else ["", "true", "1", "null"]
        }
    if name[:2] in ("GE", "LT") and name.lower().endswith("time"):
        return _TIME
    if name.endswith(("_quantity", "_percRank")):
        return {"type": "number"}
    return _ANY if name in TESTS else _WORD


def _event_or_disclosure() -> Json:
    made = _found("EpcisEvent", "the event, with its errorDeclaration where it has one")
    made["content"][DISCLOSURE_TYPE] = {"schema": _ref("EpcisDisclosure")}
    return made


def _found(schema: str, text: str, *, paged: bool = False) -> Json:
    content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for media in _MEDIA}
    made: Json = {"description": text, "content": content}
    if paged:
        made["headers"] = {
            "Link": {"schema": _TEXT, "description": 'rel="next"; missing on the last page'},
            "GS1-Next-Page-Token-Expires": {"schema": _TEXT},
        }
    return made


def _located(text: str) -> Json:
    location = {"schema": _TEXT, "description": "where it is", "required": True}
    return {"description": text, "headers": {"Location": location}}


def _get(
    summary: str,
    answer: Json,
    parameters: list[Json],
    *,
    missing: str | None = None,
    more: Mapping[str, Json] | None = None,
    text: str | None = None,
) -> Json:
    answers = {"200": answer, **_REFUSED, **(more or {})}
    if missing is not None:
        answers["404"] = _problem(missing)
    elif _PAGED[1] in parameters:
        answers["404"] = _problem("a page token that belongs to another request, or has expired")
    made: Json = {
        "summary": summary,
        "tags": ["epcis"],
        "parameters": [*parameters, *_NEGOTIATED],
        "responses": answers,
        "security": [{}, *_SECURED],
    }
    return made | ({"description": text} if text else {})


def _write(
    summary: str,
    answers: Mapping[str, Json],
    parameters: list[Json],
    body: Mapping[str, Json] | None = None,
) -> Json:
    made: Json = {
        "summary": summary,
        "tags": ["epcis"],
        "parameters": [*parameters, *_NEGOTIATED],
        "responses": {**_WRITING, **answers},
        "security": _SECURED,
    }
    if body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {media: {"schema": schema} for media, schema in body.items()},
        }
    return made


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_TOO_LARGE: Final = {"413": _problem("more events than maxEventCount, or too much to be read")}
_NOTHING: Final = {"description": "done"}
_MEDIA_REFUSED: Final = {"415": _problem("a body of another media type")}
_EVENTS: Final = [*_query_parameters(), *_PAGED, _SPELT]


def _collections() -> Json:
    made: Json = {}
    for name, (_, parameter) in COLLECTIONS.items():
        known = {"enum": sorted(EVENT_TYPES)} if name == "eventTypes" else _WORD
        value = _parameter("value", known, "percent-encoded", "path")
        own = [one for one in _EVENTS if one["name"] != parameter]
        made[f"/epcis/{name}"] = {
            "get": _get(
                f"The {name} there are",
                _found("EpcisCollection", "a page of them", paged=True),
                _PAGED,
            )
        }
        made[f"/epcis/{name}/{{value}}"] = {
            "get": _get(
                f"What there is of one of the {name}",
                _found("EpcisCollection", "its resources"),
                [value],
                missing="no event has this value",
            )
        }
        made[f"/epcis/{name}/{{value}}/events"] = {
            "get": _get(
                f"The events of one of the {name}",
                _found("EpcisQueryDocument", "a page of them", paged=True),
                [value, *own],
                more=_TOO_LARGE,
                text=_TELLING,
            )
        }
    return made


def _capturing() -> Json:
    document = {media: _ref("EpcisDocument") for media in _MEDIA}
    behaviour = _header(
        "GS1-Capture-Error-Behaviour", {"enum": list(BEHAVIOURS)}, "all or none, or what can be"
    )
    return {
        "/epcis/capture": {
            "get": _get(
                "The capture jobs of who asks",
                _found("EpcisCollection", "a page of them, the newest first", paged=True),
                _PAGED,
            ),
            "post": _write(
                "Capture a document of events: JSON, or EPCIS 1.2 or 2.0 in application/xml",
                {
                    "202": _located("taken durably; the job tells what became of it"),
                    **_MEDIA_REFUSED,
                },
                [behaviour, _LABEL],
                document,
            ),
        },
        "/epcis/capture/{captureID}": {
            "get": _get(
                "A capture job",
                {
                    "description": "the job",
                    "content": {"application/json": {"schema": _ref("EpcisJob")}},
                },
                [_parameter("captureID", {"type": "string", "minLength": 1}, "of the job", "path")],
                missing="no such job of yours",
            )
        },
    }


def _event_paths() -> Json:
    bare = {media: _ref("EpcisNewEvent") for media in _MEDIA}
    jose: Json = {"type": "string", "description": "the event signed by its issuer: compact JWS"}
    return {
        "/epcis/events": {
            "get": _get(
                "Events by a query",
                _found("EpcisQueryDocument", "a page of them", paged=True),
                _EVENTS,
                more=_TOO_LARGE,
                text=_TELLING,
            ),
            "post": _write(
                "Capture one event",
                {
                    "201": _located("stored; or it was stored before with this content"),
                    "409": _problem("its eventID has other content"),
                    **_MEDIA_REFUSED,
                },
                [_LABEL],
                bare | {"application/jose": jose},
            ),
        },
        "/epcis/events/{eventID}": {
            "get": _get(
                "One event",
                _event_or_disclosure(),
                [_EVENT_ID, _SPELT, _DISCLOSE],
                missing="no such event, or none that you may see",
            )
        },
        "/epcis/events/{eventID}/proof": {
            "get": _get(
                "One event with its signature and the log's receipt",
                {
                    "description": "what `biaoshi verify` reads",
                    "content": {"application/json": {"schema": _ref("EpcisProof")}},
                },
                [_EVENT_ID],
                missing="no such event, or none that you may see",
            )
        },
    }


def _query_paths() -> Json:
    gone = "no such query, or none that you may see"
    return {
        "/epcis/queries": {
            "get": _get(
                "Named queries",
                _found("EpcisCollection", "a page of them", paged=True),
                _PAGED,
            ),
            "post": _write(
                "Name a query",
                {"201": _located("kept"), "409": _problem("the name is taken")},
                [],
                {"application/json": _ref("EpcisNamedQuery")},
            ),
        },
        "/epcis/queries/{name}": {
            "get": _get(
                "A named query", _found("EpcisNamedQueryState", "it"), [_NAME], missing=gone
            ),
            "delete": _write(
                "End a query and its subscriptions",
                {"204": _NOTHING, "404": _problem(gone)},
                [_NAME],
            ),
        },
        "/epcis/queries/{name}/events": {
            "get": _get(
                "Run a named query; with an upgrade to WebSocket, subscribe to it",
                _found("EpcisQueryDocument", "a page of events", paged=True),
                [_NAME, *_EVENTS],
                missing=gone,
                more=_TOO_LARGE,
                text=_TELLING,
            )
        },
        "/epcis/queries/{name}/subscriptions": {
            "get": _get(
                "Its webhooks",
                _found("EpcisCollection", "all of them"),
                [_NAME],
                missing=gone,
            ),
            "post": _write(
                "Subscribe by a webhook",
                {"201": _located("begun"), "404": _problem(gone)},
                [_NAME],
                {"application/json": _ref("EpcisSubscription")},
            ),
        },
        "/epcis/queries/{name}/subscriptions/{id}": {
            "get": _get(
                "A webhook and how far it has come",
                _found("EpcisSubscriptionState", "it, without its secret"),
                [_NAME, _SUBSCRIPTION],
                missing=gone,
            ),
            "delete": _write(
                "End a subscription",
                {"204": _NOTHING, "404": _problem(gone)},
                [_NAME, _SUBSCRIPTION],
            ),
        },
    }


def paths() -> Json:
    """Every path under /epcis."""
    top = _get("The resources there are", _found("EpcisCollection", "their names"), [])
    return {
        "/epcis": {"get": top},
        **_capturing(),
        **_event_paths(),
        **_collections(),
        **_query_paths(),
    }


def _standard() -> Json:
    """The schema by which events are checked, its inner references led to its place here."""
    schema = json.loads(Path(checking.__file__).with_name("schema.json").read_bytes())
    moved: Json = _moved({n: v for n, v in schema.items() if n not in ("$schema", "$id")})
    return moved


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
        "EpcisNewEvent": {
            "description": "eventTime is not later than now; a sensor's time not than eventTime",
            "allOf": [_ref("EpcisEvent")],
            "properties": {"eventTime": {"pattern": _PAST}},
            "anyOf": [
                {"properties": {"type": {"not": {"const": "AggregationEvent"}}}},
                {"properties": {"action": {"const": "OBSERVE"}}},
                {"properties": {"type": {"const": "AggregationEvent"}}, "required": ["parentID"]},
            ],
        },
    }


def _proofs() -> Json:
    """Events with what proves them."""
    return {
        "EpcisDisclosure": _object(
            {
                "format": {"const": DISCLOSURE},
                "jws": _TEXT,
                "disclosures": {"type": "array", "items": _TEXT},
            },
            *("format", "jws", "disclosures"),
        ),
        "EpcisProof": _object(
            {
                "format": _TEXT,
                "event": {"type": "object"},
                "recordTime": _TEXT,
                "issuer": _TEXT,
                "label": {"type": ["object", "null"]},
                "signature": _TEXT,
                "receipt": {"type": "object"},
            },
            *("format", "event", "recordTime", "issuer", "label", "signature", "receipt"),
        ),
    }


def _jobs() -> Json:
    job = _object(
        {
            "captureID": _TEXT,
            "createdAt": _TEXT,
            "finishedAt": _TEXT,
            "running": {"type": "boolean"},
            "success": {"type": "boolean"},
            "captureErrorBehaviour": {"enum": list(BEHAVIOURS)},
            "errors": {"type": "array", "items": _ref("Problem")},
            "warnings": {"type": "array", "items": _TEXT},
        },
        *("captureID", "createdAt", "running", "success", "captureErrorBehaviour", "errors"),
    )
    return {"EpcisJob": job}


def _queries() -> Json:
    return {
        "EpcisNamedQuery": _object(
            {
                "name": {**_TEXT, "pattern": NAME},
                "query": _object({name: _value(name) for name in TESTS}, closed=True),
            },
            *("name", "query"),
            closed=True,
        ),
        "EpcisNamedQueryState": _object(
            {"name": _TEXT, "query": {"type": "object"}, "createdAt": _TEXT},
            *("name", "query", "createdAt"),
        ),
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
            "initialRecordTime": _TIME,
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
                "subscriptionID": _TEXT,
                "queryName": _TEXT,
                "dest": _TEXT,
                "stream": {"type": "boolean"},
                "failures": {"type": "integer"},
                "state": {"enum": ["active", "open"]},
            },
            *("subscriptionID", "queryName", "dest", "stream", "failures", "state"),
        ),
    }
