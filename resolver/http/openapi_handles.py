"""The Handle JSON interface in OpenAPI: records, lists, site, sessions.

Parameters whose right value depends on what is stored (which ETag holds, which index agrees with a
body, which Idempotency-Key was used before) stand in CONDITIONS.
"""

from __future__ import annotations

from typing import Final

from resolver.http.openapi_parts import (
    HEADERS_OF,
    KNOWN,
    NUMBER,
    SWITCH,
    TEXT,
    Facts,
    Json,
    answer,
    content,
    object_of,
    operation,
    parameter,
    reference,
)

_MOST_INDEX: Final = 2**31 - 1
_PAGES: Final[Json] = {"type": "integer", "minimum": 0, "maximum": _MOST_INDEX}
_STORED: Final[Json] = {"type": "integer", "minimum": 1, "maximum": _MOST_INDEX}
INDEX: Final = parameter(
    "index",
    {"type": "integer", "minimum": -(2**31), "maximum": _MOST_INDEX},
    "only these values",
    many=True,
)
TYPE: Final = parameter(
    "type", TEXT, "only values of these types; `URL.` takes URL.x too", many=True
)
_PRETTY: Final = parameter("pretty", SWITCH, "indent the answer")
_OVERWRITE: Final = parameter(
    "overwrite", SWITCH, "default: true; else 409 where something is there"
)
_PAGED: Final = (
    parameter("page", _PAGES, "from 0"),
    parameter("pageSize", _PAGES, "0: the count only"),
)
_ETAG: Final = r'(W/)?"[0-9]{1,19}(-gzip)?"'
_ONE_INDEX: Final[Json] = {"type": "integer", "minimum": 1, "maximum": _MOST_INDEX}
CONDITIONS: Final[Json] = {
    "IfMatch": parameter(
        "If-Match",
        {"type": "string", "pattern": rf"^(\*|{_ETAG})$"},
        "the ETag of the version that was read: 412 where the record has another, or is not there; "
        "400 for what is no ETag of this interface",
        where="header",
        example='"3"',
    ),
    "IfNoneMatch": parameter(
        "If-None-Match",
        {"type": "string", "const": "*"},
        "create only: 412 where the record is there",
        where="header",
    ),
    "IdempotencyKey": parameter(
        "Idempotency-Key",
        {"type": "string", "minLength": 1, "maxLength": 255},
        "makes it safe to send the same again; 422 where the key was used for another request",
        where="header",
    ),
    "WrittenIndexes": parameter(
        "index",
        {"anyOf": [{"const": "various"}, _ONE_INDEX]},
        "`various`, or one by one the indexes of the body (400 where they disagree): no other "
        "values of the record change",
        many=True,
    ),
    "DeletedIndexes": parameter(
        "index", _ONE_INDEX, "only these values; 400 where one is not there", many=True
    ),
}
_SENT_AGAIN: Final = ("IfMatch", "IdempotencyKey")
_JSONP: Final = ("application/json", "application/javascript")


def _error(text: str, status: int = 0, *media: str) -> Json:
    return answer(text, "HandleError", *media, headers=HEADERS_OF.get(status))


_NOT_PROVED: Final = "who asks is not proved (over TLS); the body may be empty"
_DENIED: Final = {
    401: _error(_NOT_PROVED, 401),
    403: _error("the right is missing, or it takes credentials and TLS"),
    429: _error("too many failed proofs of identity", 429),
}
# A refusal of credentials has no body, and so no media type.
_DENIED[401].pop("content")
_READ_ERRORS: Final = {
    400: _error("malformed, or the prefix is not served here", 0, *_JSONP),
    **_DENIED,
    403: _error("the right is missing, or it takes credentials and TLS", 0, *_JSONP),
    404: _error("no such handle", 0, *_JSONP),
    429: _error("too many failed proofs of identity", 429, *_JSONP),
    503: _error("busy", 503, *_JSONP),
}
_WRITE_ERRORS: Final = {
    400: _error("malformed, or the prefix is not served here"),
    **_DENIED,
    404: _error("no such handle"),
    408: _error("the body did not come in time"),
    409: _error(
        "it is there already, an index stands twice in the body, or the record does not take what "
        "is sent: `message` says why"
    ),
    412: _error("another version than expected"),
    413: _error("the body is too large"),
    422: _error("the Idempotency-Key was used for another request"),
    503: _error("busy or read-only", 503),
}


def paths(facts: Facts) -> Json:
    """Every path of the interface."""
    handle = parameter(
        "handle",
        facts.name(),
        "prefix/suffix, percent-encoded; slashes as they are. Names elsewhere: 400, code 301",
        where="path",
        example=facts.example(),
    )
    return {
        "/api/handles/{handle}": _record(handle),
        "/api/handles": _list(facts),
        "/api/prefixes": {
            "get": operation(
                "List the prefixes served here",
                {200: answer("sorted", "Prefixes"), 400: _error("malformed"), **_DENIED},
                tag="handles",
                parameters=_PAGED,
                secured=True,
            )
        },
        "/api/site": {
            "get": operation(
                "The site record",
                {200: answer("servers and keys", "Site"), 304: answer("not changed")},
                tag="handles",
                parameters=[KNOWN],
            )
        },
        **_SESSIONS,
    }


def _record(handle: Json) -> Json:
    body, some = _values("Values"), _values("SomeValues")
    version = {"ETag": "the version"}
    return {
        "get": operation(
            "Resolve a handle",
            {
                200: answer(
                    "the record, or code 200 and no values", "Record", *_JSONP, headers=version
                ),
                304: answer("not changed since that ETag"),
                **_READ_ERRORS,
            },
            tag="handles",
            parameters=[
                handle,
                INDEX,
                TYPE,
                parameter("publicOnly", SWITCH, "default: true without credentials"),
                parameter("auth", SWITCH, "past every cache"),
                _PRETTY,
                parameter("callback", TEXT, "JSONP; public values only"),
                KNOWN,
            ],
        ),
        "put": operation(
            "Create or replace a record, or with `index` values of it",
            {
                200: answer("replaced", "Done", headers=version),
                201: answer("created", "Done", headers=version),
                **_WRITE_ERRORS,
            },
            tag="handles",
            text="The body is a list of values, one value, or an object with `values`.",
            conditions=("WrittenIndexes", "IfNoneMatch", *_SENT_AGAIN),
            parameters=[
                handle,
                _OVERWRITE,
                parameter("mintNewSuffix", SWITCH, "append a random suffix"),
            ],
            body=body,
            secured=True,
        ),
        "post": operation(
            "Add or replace values: PUT with index=various",
            {
                200: answer("replaced", "Done", headers=version),
                201: answer("added", "Done", headers=version),
                **_WRITE_ERRORS,
            },
            tag="handles",
            conditions=_SENT_AGAIN,
            parameters=[handle, _OVERWRITE],
            body=some,
            secured=True,
        ),
        "delete": operation(
            "Delete a record",
            {200: answer("deleted", "Done"), **_WRITE_ERRORS},
            tag="handles",
            conditions=("DeletedIndexes", *_SENT_AGAIN),
            parameters=[handle],
            secured=True,
        ),
    }


def _values(name: str) -> Json:
    """A body of values: a list, or an object with it."""
    known = reference(name)
    return content({"anyOf": [known, object_of({"values": known}, "values")]}, "application/json")


def _list(facts: Facts) -> Json:
    return {
        "get": operation(
            "List the handles under a prefix",
            {
                200: answer("names in upper case, sorted", "Listing"),
                400: _error("no prefix, or not served here"),
                **_DENIED,
            },
            tag="handles",
            parameters=[
                parameter("prefix", facts.prefix(), "88.118.8 or 0.NA/88.118.8", required=True),
                *_PAGED,
            ],
            secured=True,
        )
    }


_NO_TLS: Final = answer("not over TLS, or no such session; empty")
_REFUSED: Final = {400: _error("malformed"), 403: _NO_TLS, 413: _error("the body is too large")}
_PROOF: Final = content({"type": "object"}, "application/json", required=False)
_SESSIONS: Final[Json] = {
    "/api/sessions": {
        "post": operation(
            "Open a session",
            {
                201: answer("id and nonce", "Session", headers={"Location": "where it is"}),
                **_REFUSED,
                429: _DENIED[429],
            },
            tag="sessions",
            text="The body may hold a `cnonce`, for the server to prove itself.",
            body=_PROOF,
        )
    },
    "/api/sessions/this": {
        "get": operation(
            "Its state",
            {200: answer("the state", "Session"), **_DENIED, 403: _NO_TLS},
            tag="sessions",
        ),
        "put": operation(
            "Answer its challenge",
            {
                200: answer("authenticated", "Session"),
                **_REFUSED,
                401: answer("not proved", headers=HEADERS_OF[401]),
                429: _DENIED[429],
            },
            tag="sessions",
            text="The body holds `sessionId`, `id`, `type`, `alg`, `cnonce` and `signature`.",
            body=_PROOF,
        ),
        "delete": operation(
            "End it", {204: answer("ended"), **_DENIED, 403: _NO_TLS}, tag="sessions"
        ),
    },
}


def _data(format_: str, value: Json) -> Json:
    return object_of({"format": {"const": format_}, "value": value}, "format", "value")


_REFERENCES: Final[Json] = {
    "type": ["array", "null"],
    "maxItems": 64,
    "items": object_of(
        {
            "handle": TEXT,
            "index": {"type": "integer", "minimum": 0, "maximum": _MOST_INDEX},
        },
        "handle",
        "index",
    ),
}
_MOMENT: Final = (
    r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
)
_NEW_VALUE: Final = object_of(
    {
        "index": {**_STORED, "description": "a text of its digits is read too"},
        "type": {
            "type": "string",
            "minLength": 1,
            "description": "at most 1024 octets, which no schema counts; HS_ADMIN, "
            "HS_VLIST and 0.LINK take data of that shape",
        },
        "data": {
            "description": "also of format `site` (as /api/site has it) and `key` (a JWK)",
            "oneOf": [
                TEXT,
                {"type": "number", "minimum": -(10**15), "maximum": 10**15},
                {"type": "boolean"},
                _data("string", {"type": ["string", "number"]}),
                _data(
                    "base64",
                    {
                        "type": "string",
                        "pattern": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==)?$",
                    },
                ),
                _data("hex", {"type": "string", "pattern": "^([0-9A-Fa-f]{2})*$"}),
                _data(
                    "admin",
                    object_of(
                        {
                            "handle": TEXT,
                            "index": {"type": "integer", "minimum": 0, "maximum": _MOST_INDEX},
                            "permissions": {"type": "string", "pattern": "^[01]{12,16}$"},
                        },
                        "handle",
                        "index",
                        "permissions",
                    ),
                ),
                _data("vlist", {**_REFERENCES, "type": "array"}),
            ],
        },
        "permissions": {"type": ["string", "null"], "pattern": "^[01]{4}$"},
        "ttl": {
            "description": "seconds; or until when",
            "oneOf": [
                {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
                {"type": "string", "pattern": r"^[0-9]{1,9}$"},
                {"type": "string", "pattern": _MOMENT},
            ],
        },
        "timestamp": {"type": "string", "format": "date-time", "readOnly": True},
        "references": _REFERENCES,
    },
    "index",
    "type",
    "data",
)
_SHOWN_VALUE: Final = object_of(
    {
        "index": _STORED,
        "type": TEXT,
        "data": object_of(
            {"format": {"enum": ["string", "base64", "admin", "vlist", "site", "key"]}},
            "format",
            "value",
        ),
        "permissions": {"type": "string", "pattern": "^[01]{4}$"},
        "ttl": {"oneOf": [NUMBER, {"type": "string", "format": "date-time"}]},
        "timestamp": {"type": "string", "format": "date-time"},
        "references": {"type": "array", "items": {"type": "object"}},
    },
    "index",
    "type",
    "data",
    "ttl",
    "timestamp",
)
SHOWN: Final[Json] = {"type": "array", "items": reference("Value")}
SCHEMAS: Final[Json] = {
    "Value": _SHOWN_VALUE,
    "Values": {"type": "array", "items": reference("NewValue")},
    "SomeValues": {"type": "array", "minItems": 1, "items": reference("NewValue")},
    "NewValue": _NEW_VALUE,
    "Record": object_of({"responseCode": NUMBER, "handle": TEXT, "values": SHOWN}, "responseCode"),
    "Done": object_of({"responseCode": NUMBER, "handle": TEXT}, "responseCode", "handle"),
    "HandleError": object_of(
        {"responseCode": NUMBER, "message": TEXT, "handle": TEXT}, "responseCode"
    ),
    "Listing": object_of(
        {
            "responseCode": NUMBER,
            "prefix": TEXT,
            "totalCount": TEXT,
            "page": NUMBER,
            "pageSize": NUMBER,
            "handles": {"type": "array", "items": TEXT},
        },
        "responseCode",
        "prefix",
        "totalCount",
        "handles",
    ),
    "Prefixes": object_of(
        {
            "responseCode": NUMBER,
            "totalCount": TEXT,
            "page": NUMBER,
            "pageSize": NUMBER,
            "prefixes": {"type": "array", "items": TEXT},
        },
        "responseCode",
        "totalCount",
        "prefixes",
    ),
    "Site": object_of(
        {
            "responseCode": NUMBER,
            "site": {"type": "object"},
            "handovers": {"type": "array", "items": TEXT},
        },
        "responseCode",
        "site",
    ),
    "Session": object_of(
        {
            "sessionId": TEXT,
            "nonce": TEXT,
            "authenticated": {"type": "boolean"},
            "id": TEXT,
            "error": TEXT,
            "serverAlg": TEXT,
            "serverSignature": TEXT,
        }
    ),
}
