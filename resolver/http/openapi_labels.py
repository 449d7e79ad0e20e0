"""The resources of labels in OpenAPI: grants, and reads by them."""

from __future__ import annotations

from typing import Final

from protocol.labels import CLASSES
from resolver.http.openapi_parts import (
    NATURAL,
    NUMBER,
    PRINTED,
    TEXT,
    Facts,
    Json,
    answer,
    content,
    object_of,
    operation,
    parameter,
    problems,
    reference,
)

_CLASS: Final[Json] = {"type": "string", "enum": list(CLASSES)}
_WORDS: Final[Json] = {"type": ["string", "null"], "pattern": f"^{PRINTED}{{1,2048}}$"}
_DENIED: Final = problems(400, 401, 403, 429)
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
_UNTIL: Final = (
    r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]Z$"
)


def paths(facts: Facts) -> Json:
    """Every path of labels."""
    prefix = parameter("prefix", facts.prefix(), "the prefix; default: the node's own")
    return {
        "/api/grants": {
            "get": operation(
                "Who is granted values of level 2 of a prefix",
                {200: answer("the grants", "Grants"), **_DENIED},
                tag="labels",
                parameters=[prefix],
                secured=True,
            ),
            "post": operation(
                "One more grant",
                {201: answer("its number", "Granted"), **_DENIED, **problems(408, 409, 413, 422)},
                tag="labels",
                parameters=[prefix],
                body=content(reference("NewGrant"), "application/json"),
                secured=True,
            ),
            "delete": operation(
                "One grant less",
                {200: answer("it is taken back", "Granted"), **_DENIED, **problems(404, 409)},
                tag="labels",
                parameters=[
                    prefix,
                    parameter("number", NATURAL, "of the grant", required=True),
                ],
                secured=True,
            ),
        },
        "/api/audit": {
            "get": operation(
                "Reads by grant, oldest first, a thousand at a time",
                {200: answer("the reads", "Reads"), **_DENIED},
                tag="labels",
                parameters=[
                    prefix,
                    parameter("after", NATURAL, "the change of the last read seen"),
                ],
                secured=True,
            )
        },
    }


SCHEMAS: Final[Json] = {
    "NewGrant": {
        **object_of(
            {
                **dict.fromkeys(
                    ("identifier", "under", "type", "purpose", "event", "step"), _WORDS
                ),
                "to": {
                    "type": "string",
                    "pattern": f"^[1-9][0-9]{{0,8}}:{PRINTED}{{1,2000}}$",
                    "description": "an identity or a list, such as 300:0.NA/88.118.8",
                },
                "class": {"enum": [*CLASSES, None]},
                "until": {
                    "description": "seconds since 1970, or a date and time with its zone",
                    "oneOf": [
                        {"type": "integer", "minimum": 0, "maximum": 2**40 - 1},
                        {"type": "string", "pattern": _UNTIL},
                        {"type": "null"},
                    ],
                },
            },
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
