"""The resources of traces in OpenAPI."""

from __future__ import annotations

from typing import Final

from resolver.http.openapi_parts import (
    FLAG,
    KNOWN,
    NUMBER,
    TEXT,
    Json,
    answer,
    object_of,
    operation,
    parameter,
    problems,
)

_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_START: Final[Json] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 4096,
    "pattern": r"^[^\x00-\x1f]*$",
}
_TOKEN: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{16,64}$"}
_WINDOW: Final[Json] = {
    "type": "array",
    "items": {"type": ["string", "null"]},
    "minItems": 2,
    "maxItems": 2,
}
_LIST: Final[Json] = {"type": "array", "items": {"type": "object"}}


def _words(*words: str) -> Json:
    return {"type": "string", "enum": list(words)}


_SHAPE: Final = {"schema": {"$ref": "#/components/schemas/Trace"}}
_REFUSED: Final = problems(400, 401, 404, 422, 429, 503)
_ORDER: Final[Json] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TraceOrder"}}},
}
_ORDERED: Final = operation(
    "Trace for a neighbour, which learns counts of what lies beyond; the answer is signed",
    {
        200: answer("the answer and its signature, a detached JWS", "TraceAnswer"),
        **_REFUSED,
        **problems(408, 409, 413),
    },
    tag="trace",
    body=_ORDER,
)

PATHS: Final[Json] = {
    "/api/trace/{id}": {
        "get": operation(
            "Where a thing came from, or where it went",
            {
                200: {
                    "description": "the trace; as JSON lines, counts first",
                    "content": {
                        "application/json": _SHAPE,
                        "application/x-ndjson": {"schema": TEXT},
                    },
                },
                304: answer("not changed since that ETag"),
                **_REFUSED,
            },
            tag="trace",
            parameters=[
                parameter(
                    "id",
                    _START,
                    "in any spelling, percent-encoded",
                    where="path",
                ),
                parameter("direction", _words("back", "forward"), "default: back"),
                parameter("depth", {"type": "integer", "minimum": 0, "maximum": 200}, "most steps"),
                parameter("at", _TIME, "with what it held at this moment"),
                parameter("from", _TIME, "only what was from then on"),
                parameter("to", _TIME, "only what was until then"),
                parameter("classes", _words("0", "1"), "1: follow what is known by class alone"),
                parameter(
                    "hops", _words("none", "iterative", "delegated"), "how to ask other nodes"
                ),
                parameter(
                    "events",
                    _words("references", "whole", "proof"),
                    "what is told of events; proof: with signature and receipt",
                ),
                KNOWN,
            ],
        )
    },
    "/trace": {"post": _ORDERED},
    "/api/trace": {"post": _ORDERED},
}

SCHEMAS: Final[Json] = {
    "Trace": object_of(
        {
            "traceId": TEXT,
            "start": TEXT,
            "direction": _words("back", "forward"),
            "complete": FLAG,
            "stats": {"type": "object", "additionalProperties": NUMBER},
            "nodes": {
                "type": "array",
                "items": object_of(
                    {
                        "id": TEXT,
                        "level": _words("item", "lot", "class", "other"),
                        "depth": NUMBER,
                        "certain": FLAG,
                        "carrier": FLAG,
                        "windows": {"type": "array", "items": _WINDOW},
                        "holder": TEXT,
                        "disposition": TEXT,
                    },
                    "id",
                    "level",
                    "certain",
                    "carrier",
                ),
            },
            "edges": {
                "type": "array",
                "items": object_of(
                    {
                        "from": TEXT,
                        "to": TEXT,
                        "kind": _words("transformation", "aggregation", "association", "lot"),
                        "event": TEXT,
                        "window": _WINDOW,
                        "certain": FLAG,
                        "signer": TEXT,
                        "signature": TEXT,
                        "quantity": {"type": "number"},
                        "uom": TEXT,
                        "cycle": FLAG,
                    },
                    "from",
                    "to",
                    "kind",
                    "event",
                    "window",
                    "certain",
                ),
            },
            "events": _LIST,
            "gaps": {
                "type": "array",
                "items": object_of(
                    {"id": TEXT, "step": TEXT, "reason": TEXT, "retriable": FLAG},
                    "id",
                    "step",
                    "reason",
                    "retriable",
                ),
            },
            "evidence": _LIST,
            "hops": {"type": "object"},
            "beyond": {"type": "object"},
        },
        "traceId",
        "start",
        "direction",
        "complete",
        "nodes",
        "edges",
        "events",
        "gaps",
        "evidence",
        "stats",
    ),
    "TraceOrder": {
        **object_of(
            {
                "start": _START,
                "direction": _words("back", "forward"),
                "depth": {"type": "integer", "minimum": 0, "maximum": 200},
                "budget": {"type": "integer", "minimum": 0, "maximum": 8},
                "purpose": _words("recall", "quality", "audit", "service", "other"),
                "nonce": _TOKEN,
                "traceId": _TOKEN,
                "visited": {
                    "type": "array",
                    "maxItems": 8,
                    "items": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
                "from": _TIME,
                "to": _TIME,
            },
            "start",
            "nonce",
            "traceId",
        ),
        "additionalProperties": False,
    },
    "TraceAnswer": object_of(
        {"answer": {"$ref": "#/components/schemas/Trace"}, "signature": TEXT},
        "answer",
        "signature",
    ),
}
