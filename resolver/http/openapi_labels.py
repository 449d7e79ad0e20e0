"""The resources of labels in OpenAPI: grants, and reads by them."""

from __future__ import annotations

from typing import Final

from protocol.labels import CLASSES
from resolver.http.openapi_parts import (
    NUMBER,
    PROBLEM,
    TEXT,
    Json,
    answer,
    object_of,
    operation,
    parameter,
)

_PREFIX: Final = parameter("prefix", TEXT, "the prefix; default: the node's own")
_CLASS: Final[Json] = {"type": "string", "enum": list(CLASSES)}
_DENIED: Final = {
    400: PROBLEM,
    401: answer("who asks is not proved (over TLS); WWW-Authenticate says how"),
    403: PROBLEM,
}
_GRANT: Final[Json] = {
    "to": TEXT,
    "identifier": TEXT,
    "under": TEXT,
    "class": _CLASS,
    "type": TEXT,
    "purpose": TEXT,
    "event": TEXT,
    "step": TEXT,
}

LABEL_PATHS: Final[Json] = {
    "/api/grants": {
        "get": operation(
            "Who is granted values and events of level 2 of a prefix",
            {200: answer("the grants", "Grants"), **_DENIED},
            tag="labels",
            parameters=[_PREFIX],
            secured=True,
        ),
        "post": operation(
            "One more grant",
            {201: answer("its number", "Granted"), **_DENIED, 409: PROBLEM, 413: PROBLEM},
            tag="labels",
            parameters=[_PREFIX],
            body={
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/NewGrant"}}
                },
            },
            secured=True,
        ),
        "delete": operation(
            "One grant less",
            {200: answer("it is taken back", "Granted"), **_DENIED, 404: PROBLEM},
            tag="labels",
            parameters=[_PREFIX, parameter("number", NUMBER, "of the grant")],
            secured=True,
        ),
    },
    "/api/audit": {
        "get": operation(
            "Reads by grant, oldest first, a thousand at a time",
            {200: answer("the reads", "Reads"), **_DENIED},
            tag="labels",
            parameters=[_PREFIX, parameter("after", NUMBER, "the change of the last read seen")],
            secured=True,
        )
    },
}

LABEL_SCHEMAS: Final[Json] = {
    "NewGrant": {
        **object_of(
            {**_GRANT, "until": {"oneOf": [{"type": "string", "format": "date-time"}, NUMBER]}},
            "to",
        ),
        "additionalProperties": False,
    },
    "Granted": object_of({"number": NUMBER, "sequence": NUMBER}, "sequence"),
    "Grants": object_of(
        {
            "grants": {
                "type": "array",
                "items": object_of({"number": NUMBER, **_GRANT, "until": NUMBER}, "number", "to"),
            }
        },
        "grants",
    ),
    "Reads": object_of(
        {
            "reads": {
                "type": "array",
                "items": object_of(
                    {
                        "who": TEXT,
                        "what": TEXT,
                        "indexes": {"type": "array", "items": NUMBER},
                        "when": NUMBER,
                        "purposes": {"type": "array", "items": TEXT},
                        "digest": TEXT,
                        "changes": TEXT,
                        "sequence": NUMBER,
                    },
                    "who",
                    "what",
                ),
            },
            "next": NUMBER,
        },
        "reads",
    ),
}
