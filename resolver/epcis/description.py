"""The EPCIS resources in the OpenAPI document of the node.

What a query parameter may hold is said as narrowly as it is checked; parameters whose name ends
with a type, a unit or an extension are told of in words, since OpenAPI has no names to be filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.epcis.query_tests import TESTS
from protocol.epcis.vocabulary import EVENT_TYPES
from protocol.epcis.xmlwriting import CbvFormat
from protocol.event_disclosure import MEDIA_TYPE as DISCLOSURE_TYPE
from resolver.epcis.jobs import BEHAVIOURS
from resolver.epcis.named import NAME
from resolver.epcis.reading import COLLECTIONS
from resolver.epcis.shapes import TEXT, VALUE, Json, ref, schema_of
from resolver.epcis.versions import EXACT, LEAST, MOST, VERSION, XML_TYPES, EpcFormat

_PROBLEM: Final[Json] = {
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
}
_SECURED: Final[list[Json]] = [{"basic": []}, {"handle": []}, {"certificate": []}]
_MEDIA: Final = ("application/ld+json", "application/json")
_VERSIONS: Final = {"Version": EXACT, "Min": LEAST, "Max": MOST}
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


def _hex(digits: int) -> Json:
    """An id that this node made up."""
    return {"type": "string", "pattern": f"^[0-9a-f]{{{digits}}}$"}


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
_WORDS: Final = _header(
    "GS1-CBV-XML-Format",
    {"enum": list(CbvFormat)},
    "how words of the vocabularies shall be spelt in XML: as URNs unless web URIs are asked for",
)
_FORM: Final = (_SPELT, _WORDS)
_DISCLOSE: Final = _parameter(
    "disclose", TEXT, "fields, separated by commas, or `*`: only these, proved without the others"
)
_PAGED: Final = [
    _parameter("perPage", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, "page size"),
    _parameter("nextPageToken", TEXT, "from the Link of the page before, for the same request"),
]
_LABEL: Final = _header(
    "Biaoshi-Label",
    {"enum": ["public", "1", "2", "3"]},
    "who may see the events: public (1), granted partners (2, the default), nobody else (3); "
    "or a JSON object with class and level",
)
_EVENT_ID: Final = _parameter("eventID", VALUE, "percent-encoded", "path")
_NAME: Final = _parameter("name", {"type": "string", "pattern": NAME}, "of the query", "path")
_SUBSCRIPTION: Final = _parameter("id", _hex(24), "its id", "path")


def _query_parameters() -> list[Json]:
    made = [_parameter(name, schema_of(name), "see §3.5 of the guide") for name in TESTS]
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


def _event_or_disclosure() -> Json:
    made = _events("the event, and the copies that declare it an error")
    made["content"][DISCLOSURE_TYPE] = {"schema": ref("EpcisDisclosure")}
    return made


def _found(schema: str, text: str, *, paged: bool = False) -> Json:
    content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for media in _MEDIA}
    made: Json = {"description": text, "content": content}
    if paged:
        made["headers"] = {
            "Link": {"schema": TEXT, "description": 'rel="next"; missing on the last page'},
            "GS1-Next-Page-Token-Expires": {"schema": TEXT},
        }
    return made


def _events(text: str, *, paged: bool = False) -> Json:
    made = _found("EpcisQueryDocument", text, paged=paged)
    made["content"] |= {media: {"schema": TEXT} for media in XML_TYPES}
    return made


def _located(text: str, schema: str | None = None) -> Json:
    location = {"schema": TEXT, "description": "where it is", "required": True}
    made: Json = {"description": text, "headers": {"Location": location}}
    return made | ({"content": {_MEDIA[1]: {"schema": ref(schema)}}} if schema else {})


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


_TOO_LARGE: Final = {"413": _problem("more events than maxEventCount, or too much to be read")}
_NOTHING: Final = {"description": "done"}
_MEDIA_REFUSED: Final = {"415": _problem("a body of another media type")}
_EVENTS: Final = [*_query_parameters(), *_PAGED, *_FORM]


def _collections() -> Json:
    made: Json = {}
    for name, (_, parameter) in COLLECTIONS.items():
        known = {"enum": sorted(EVENT_TYPES)} if name == "eventTypes" else VALUE
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
                _events("a page of them", paged=True),
                [value, *own],
                more=_TOO_LARGE,
                text=_TELLING,
            )
        }
    return made


def _capturing() -> Json:
    document = {media: ref("EpcisDocument") for media in _MEDIA}
    behaviour = _header(
        "GS1-Capture-Error-Behaviour", {"enum": list(BEHAVIOURS)}, "all or none, or what can be"
    )
    return {
        "/epcis/capture": {
            "get": _get(
                "The capture jobs of who asks",
                _found("EpcisJobs", "a page of them, the newest first", paged=True),
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
                    "content": {"application/json": {"schema": ref("EpcisJob")}},
                },
                [_parameter("captureID", _hex(32), "of the job", "path")],
                missing="no such job of yours",
            )
        },
    }


def _event_paths() -> Json:
    bare = {media: ref("EpcisNewEvent") for media in _MEDIA}
    jose: Json = {"type": "string", "description": "the event signed by its issuer: compact JWS"}
    return {
        "/epcis/events": {
            "get": _get(
                "Events by a query",
                _events("a page of them", paged=True),
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
                [_EVENT_ID, *_FORM, _DISCLOSE],
                missing="no such event, or none that you may see",
            )
        },
        "/epcis/events/{eventID}/proof": {
            "get": _get(
                "One event with its signature and the log's receipt",
                {
                    "description": "what `biaoshi verify` reads",
                    "content": {"application/json": {"schema": ref("EpcisProof")}},
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
                _found("EpcisNamedQueries", "a page of them", paged=True),
                _PAGED,
            ),
            "post": _write(
                "Name a query",
                {
                    "201": _located("kept", "EpcisNamedQueryState"),
                    "409": _problem("the name is taken"),
                    **_MEDIA_REFUSED,
                },
                [],
                {"application/json": ref("EpcisNamedQuery")},
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
                _events("a page of events", paged=True),
                [_NAME, *_EVENTS],
                missing=gone,
                more=_TOO_LARGE,
                text=_TELLING,
            )
        },
        "/epcis/queries/{name}/subscriptions": {
            "get": _get(
                "Its webhooks",
                _found("EpcisSubscriptions", "all of them"),
                [_NAME],
                missing=gone,
            ),
            "post": _write(
                "Subscribe by a webhook",
                {
                    "201": _located("begun", "EpcisSubscriptionState"),
                    "404": _problem(gone),
                    **_MEDIA_REFUSED,
                },
                [_NAME],
                {"application/json": ref("EpcisSubscription")},
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
