"""The resources of links in OpenAPI: Digital Links, linksets, the resolver's description."""

from __future__ import annotations

from typing import Final

from protocol.linkset import LD_MEDIA_TYPE, MEDIA_TYPE, TEXT_MEDIA_TYPE
from protocol.schemes.gs1_ai import KEYS
from resolver.http.openapi_parts import (
    FLAG,
    KNOWN,
    TEXT,
    Facts,
    Json,
    answer,
    object_of,
    operation,
    parameter,
    problems,
)

_CHECKED: Final = frozenset(("check", "check_pair"))
KEY: Final[Json] = {
    "type": "string",
    "enum": sorted(
        ai.ai for ai in KEYS.values() if not any(_CHECKED & set(part.checks) for part in ai.parts)
    ),
}
_VALUE: Final[Json] = {"type": "string", "pattern": "^[0-9]{7,12}[A-Z0-9]{0,18}$"}
_KEYS: Final = (
    "Also keys that end in a check digit, which no schema can say, and that have other lengths: "
    + ", ".join(sorted(KEYS.keys() - set(KEY["enum"])))
    + ". What breaks the rules of its key is refused (400)."
)
_LINK_TYPE: Final[Json] = {
    "type": "string",
    "pattern": r"^([A-Za-z][A-Za-z0-9.-]*|[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9/.?=&%_-]+)$",
}
LINK_PARAMETERS: Final = [
    parameter("linkType", _LINK_TYPE, "gs1:pip, a URI, a registered name; or linkset"),
    parameter("context", TEXT, "prefer links of this context"),
    parameter("Accept", TEXT, "application/linkset+json: the linkset", where="header"),
    parameter("Accept-Language", TEXT, "prefer links in these languages", where="header"),
    KNOWN,
]


def _linkset(text: str) -> Json:
    shape, text_of = {"schema": {"$ref": "#/components/schemas/Linkset"}}, {"schema": TEXT}
    kinds = dict.fromkeys((MEDIA_TYPE, LD_MEDIA_TYPE, "application/json"), shape)
    kinds |= dict.fromkeys((TEXT_MEDIA_TYPE, "text/html"), text_of)
    return {"description": text, "content": kinds}


def _refusal(text: str) -> Json:
    shape = {"schema": {"$ref": "#/components/schemas/Problem"}}
    kinds = {"application/problem+json": shape, "text/html": {"schema": TEXT}}
    return {"description": text, "content": kinds}


LINKSETS: Final = {
    200: _linkset("the linkset (or, where nothing is linked, a page)"),
    304: answer("not changed since that ETag"),
    400: _refusal("no identifier, no link type, or of a prefix elsewhere"),
    404: _refusal("no such identifier, or no link of this type"),
    410: _linkset("retired; what is left of its links"),
    500: _refusal("it could not be resolved"),
    502: _refusal("another node failed"),
    **problems(503, 508),
}
CHOICES: Final = {
    300: _linkset("several links fit equally well"),
    307: answer("the link's target, or another resolver"),
}


def paths(facts: Facts) -> Json:
    """Every path of links."""
    identifier = parameter(
        "identifier",
        facts.sought(),
        "of any scheme, as it is written, slashes too",
        where="path",
        example=facts.example(),
    )
    return {
        "/api/linkset/{identifier}": {
            "get": operation(
                "Everything that is linked to an identifier, in any spelling",
                LINKSETS,
                tag="links",
                parameters=[identifier, KNOWN],
            )
        },
        "/.well-known/gs1resolver": {
            "get": operation(
                "Who runs the Digital Link resolver, and what it does",
                {200: answer("the description", "Resolver")},
                tag="links",
            )
        },
        "/{key}/{value}": {
            "get": operation(
                "Follow a GS1 Digital Link; key and value may be followed by qualifiers and values",
                {**LINKSETS, **CHOICES},
                tag="links",
                text=_KEYS,
                parameters=[
                    parameter("key", KEY, "the Application Identifier of the key", where="path"),
                    parameter("value", _VALUE, "its value", where="path"),
                    *LINK_PARAMETERS,
                    parameter("noredirect", TEXT, "with any value: the page"),
                ],
            )
        },
    }


SCHEMAS: Final[Json] = {
    "Linkset": object_of(
        {
            "linkset": {
                "type": "array",
                "items": object_of(
                    {"anchor": TEXT, "itemDescription": TEXT}, "anchor", "itemDescription"
                ),
            }
        },
        "linkset",
    ),
    "Resolver": object_of(
        {
            "name": TEXT,
            "resolverRoot": TEXT,
            "supportedPrimaryKeys": {"type": "array", "items": TEXT},
            "contact": object_of({"fn": TEXT}, "fn"),
            "linkTypeDefaultCanBeLinkset": FLAG,
        },
        "name",
        "resolverRoot",
        "supportedPrimaryKeys",
        "contact",
        "linkTypeDefaultCanBeLinkset",
    ),
}
