"""GET /openapi.json: every HTTP resource of a node in OpenAPI 3.1."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

import orjson
from aiohttp import web

from resolver.epcis import description
from resolver.http.openapi_labels import LABEL_PATHS, LABEL_SCHEMAS
from resolver.http.openapi_links import CHOICES, LINK_PARAMETERS, LINK_PATHS, LINK_SCHEMAS, LINKSETS
from resolver.http.openapi_log import LOG_PATHS
from resolver.http.openapi_parts import FLAG as _FLAG
from resolver.http.openapi_parts import NUMBER as _NUMBER
from resolver.http.openapi_parts import PROBLEM as _PROBLEM
from resolver.http.openapi_parts import TEXT as _TEXT
from resolver.http.openapi_parts import Json
from resolver.http.openapi_parts import answer as _answer
from resolver.http.openapi_parts import object_of as _object
from resolver.http.openapi_parts import operation as _operation
from resolver.http.openapi_parts import parameter as _parameter
from resolver.http.openapi_trace import TRACE_PATHS, TRACE_SCHEMAS

_HANDLE = _parameter(
    "handle", _TEXT, "prefix/suffix, percent-encoded; slashes as they are", where="path"
)
_INDEX = _parameter("index", _NUMBER, "only these values", many=True)
_TYPE = _parameter("type", _TEXT, "only values of these types; `URL.` takes URL.x too", many=True)
_PRETTY = _parameter("pretty", _FLAG, "indent the answer")
_WRITE_INDEX = _parameter("index", _TEXT, "these values, or `various`", many=True)
_OVERWRITE = _parameter("overwrite", _FLAG, "false: 409 where something is there; default true")
_KEY = _parameter("Idempotency-Key", _TEXT, "makes a repeated request safe", where="header")
_IF_MATCH = _parameter("If-Match", _TEXT, "write only to this version (an ETag)", where="header")
_VALUES_BODY: Final[Json] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {"type": "array", "items": {"$ref": "#/components/schemas/Value"}},
                    {"$ref": "#/components/schemas/Value"},
                    {
                        "type": "object",
                        "required": ["values"],
                        "properties": {
                            "handle": _TEXT,
                            "values": {
                                "type": "array",
                                "items": {"$ref": "#/components/schemas/Value"},
                            },
                        },
                    },
                ]
            }
        }
    },
}

_DENIED = {
    401: _answer("who asks is not proved (over TLS); WWW-Authenticate says how", "HandleError"),
    403: _answer("the right is missing, or credentials over plain HTTP", "HandleError"),
}
_WRITE_ERRORS = {
    400: _answer("malformed, or the prefix is not served here", "HandleError"),
    **_DENIED,
    409: _answer("it is there already", "HandleError"),
    412: _answer("another version than expected", "HandleError"),
    413: _answer("the body is too large", "HandleError"),
    422: _answer("the Idempotency-Key was used for another request", "HandleError"),
    429: _answer("too many failed proofs of identity", "HandleError"),
    503: _answer("busy or read-only; Retry-After says when to come back", "HandleError"),
}

_PATHS: Final[Json] = {
    "/api/handles/{handle}": {
        "get": _operation(
            "Resolve a handle",
            {
                200: _answer("the record, or code 200 and no values", "Record"),
                304: _answer("not changed since that ETag"),
                400: _answer("malformed, or the prefix is not served here", "HandleError"),
                **_DENIED,
                404: _answer("no such handle", "HandleError"),
            },
            tag="handles",
            parameters=[
                _HANDLE,
                _INDEX,
                _TYPE,
                _parameter("publicOnly", _FLAG, "default: true without credentials"),
                _parameter("auth", _FLAG, "past every cache"),
                _PRETTY,
                _parameter("callback", _TEXT, "JSONP; public values only"),
            ],
        ),
        "put": _operation(
            "Create or replace a record, or with `index` values of it",
            {200: _answer("replaced", "Done"), 201: _answer("created", "Done"), **_WRITE_ERRORS},
            tag="handles",
            parameters=[
                _HANDLE,
                _WRITE_INDEX,
                _OVERWRITE,
                _parameter("mintNewSuffix", _FLAG, "append a random suffix"),
                _KEY,
                _IF_MATCH,
            ],
            body=_VALUES_BODY,
            secured=True,
        ),
        "post": _operation(
            "Add or replace values: PUT with index=various",
            {200: _answer("replaced", "Done"), 201: _answer("added", "Done"), **_WRITE_ERRORS},
            tag="handles",
            parameters=[_HANDLE, _OVERWRITE, _KEY, _IF_MATCH],
            body=_VALUES_BODY,
            secured=True,
        ),
        "delete": _operation(
            "Delete a record, or with `index` values of it",
            {
                200: _answer("deleted", "Done"),
                404: _answer("no such handle", "HandleError"),
                **_WRITE_ERRORS,
            },
            tag="handles",
            parameters=[_HANDLE, _INDEX, _KEY, _IF_MATCH],
            secured=True,
        ),
    },
    "/api/handles": {
        "get": _operation(
            "List the handles under a prefix",
            {
                200: _answer("names in upper case, sorted", "Listing"),
                400: _answer("no prefix, or not served here", "HandleError"),
                **_DENIED,
            },
            tag="handles",
            parameters=[
                _parameter("prefix", _TEXT, "88.118.8 or 0.NA/88.118.8"),
                _parameter("page", _NUMBER, "from 0"),
                _parameter("pageSize", _NUMBER, "0: the count only"),
            ],
            secured=True,
        )
    },
    "/api/prefixes": {
        "get": _operation(
            "List the prefixes served here",
            {200: _answer("sorted", "Prefixes"), **_DENIED},
            tag="handles",
            secured=True,
        )
    },
    "/api/site": {
        "get": _operation("The site record", {200: _answer("servers and keys")}, tag="handles")
    },
    "/api/node": {
        "get": _operation("Its prefix and role", {200: _answer("prefix and role")}, tag="handles")
    },
    "/api/sessions": {
        "post": _operation(
            "Open a session",
            {201: _answer("id and nonce", "Session"), 403: _answer("not over TLS")},
            tag="sessions",
        )
    },
    "/api/sessions/this": {
        "get": _operation("Its state", {200: _answer("the state", "Session")}, tag="sessions"),
        "put": _operation(
            "Answer its challenge",
            {200: _answer("authenticated", "Session"), 401: _answer("not proved", "Session")},
            tag="sessions",
        ),
        "delete": _operation("End it", {204: _answer("ended")}, tag="sessions"),
    },
    "/api/registrations": {
        "post": _operation(
            "Register many: a row a line in, a result a line out",
            {
                200: _answer("a result a line, in order", "Result", "application/x-ndjson"),
                401: _PROBLEM,
                403: _PROBLEM,
                413: _PROBLEM,
                503: _PROBLEM,
            },
            tag="registrations",
            parameters=[_KEY],
            body={
                "required": True,
                "content": {
                    "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Row"}}
                },
            },
            secured=True,
        )
    },
    "/api/resolve": {
        "get": _operation(
            "Resolve an identifier in any spelling",
            {
                200: _answer("identifier and values", "Resolved"),
                400: _PROBLEM,
                404: _PROBLEM,
                421: _PROBLEM,
                502: _PROBLEM,
            },
            tag="resolve",
            parameters=[
                _parameter("id", _TEXT, "handle, DOI, OID, GTIN, URN, VAA code …"),
                _parameter("scheme", _TEXT, "read it as this scheme"),
                _INDEX,
                _TYPE,
                _parameter("steps", _FLAG, "show every hop"),
                _parameter("verify", _FLAG, "check signatures up to a root"),
                _parameter("alias", _FLAG, "0: the record as it is, aliases not followed"),
            ],
        )
    },
    "/api/delegations": {
        "post": _operation(
            "Apply for a prefix",
            {202: _answer("waits for approval"), 200: _answer("known"), 400: _PROBLEM},
            tag="delegations",
        )
    },
    "/api/delegations/{prefix}": {
        "get": _operation(
            "What became of an application",
            {200: _answer("its state"), 404: _PROBLEM},
            tag="delegations",
            parameters=[_parameter("prefix", _TEXT, "88.118.8", where="path")],
        )
    },
    "/health/live": {
        "get": _operation("The process answers", {200: _answer("alive")}, tag="operation")
    },
    "/health/ready": {
        "get": _operation(
            "The node does all of its work",
            {200: _answer("ready"), 503: _answer("degraded")},
            tag="operation",
        )
    },
    "/metrics": {
        "get": _operation(
            "Prometheus metrics", {200: _answer("text"), 403: _PROBLEM}, tag="operation"
        )
    },
    "/": {
        "post": _operation(
            "A DO-IRP message in HTTP (application/x-hdl-message)",
            {200: _answer("the reply messages"), 400: _PROBLEM},
            tag="resolve",
        )
    },
    **LINK_PATHS,
    **LOG_PATHS,
    **TRACE_PATHS,
    **LABEL_PATHS,
    "/{identifier}": {
        "get": _operation(
            "Follow an identifier: redirect, or a page of its values",
            {
                **LINKSETS,
                **CHOICES,
                301: _answer("an alias"),
                302: _answer("its address"),
            },
            tag="resolve",
            parameters=[
                _parameter("identifier", _TEXT, "as it is written", where="path"),
                *LINK_PARAMETERS,
                _INDEX,
                _TYPE,
                _parameter("noredirect", _FLAG, "the page"),
                _parameter("urlappend", _TEXT, "appended to the address"),
                _parameter("locatt", _TEXT, "attribute:value of a 10320/loc location"),
                _parameter("action", _TEXT, "showurls: every address as XML"),
                _parameter("ignore_aliases", _FLAG, "the page, not the alias"),
            ],
        )
    },
}


_VALUES: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/Value"}}
_SCHEMAS: Final[Json] = {
    "Value": _object(
        {
            "index": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
            "type": _TEXT,
            "data": {
                "oneOf": [
                    _TEXT,
                    {"type": "number"},
                    _object(
                        {
                            "format": {
                                "enum": [
                                    "string",
                                    "base64",
                                    "hex",
                                    "admin",
                                    "vlist",
                                    "site",
                                    "key",
                                ]
                            },
                            "value": {},
                        },
                        "value",
                    ),
                ]
            },
            "permissions": {"type": "string", "pattern": "^[01]{4}$"},
            "ttl": {"oneOf": [_NUMBER, {"type": "string", "format": "date-time"}]},
            "timestamp": {"type": "string", "format": "date-time", "readOnly": True},
            "references": {
                "type": "array",
                "items": _object({"handle": _TEXT, "index": _NUMBER}, "handle", "index"),
            },
        },
        "index",
        "type",
        "data",
    ),
    "Record": _object({"responseCode": _NUMBER, "handle": _TEXT, "values": _VALUES}),
    "Done": _object({"responseCode": _NUMBER, "handle": _TEXT}),
    "HandleError": _object(
        {"responseCode": _NUMBER, "message": _TEXT, "handle": _TEXT}, "responseCode"
    ),
    "Listing": _object(
        {
            "responseCode": _NUMBER,
            "prefix": _TEXT,
            "totalCount": _TEXT,
            "page": _NUMBER,
            "pageSize": _NUMBER,
            "handles": {"type": "array", "items": _TEXT},
        }
    ),
    "Prefixes": _object(
        {
            "responseCode": _NUMBER,
            "totalCount": _TEXT,
            "prefixes": {"type": "array", "items": _TEXT},
        }
    ),
    "Session": _object(
        {
            "sessionId": _TEXT,
            "nonce": _TEXT,
            "authenticated": _FLAG,
            "id": _TEXT,
            "error": _TEXT,
            "serverAlg": _TEXT,
            "serverSignature": _TEXT,
        }
    ),
    "Row": _object(
        {
            "line": _NUMBER,
            "handle": _TEXT,
            "values": _VALUES,
            "on_exists": {"enum": ["refuse", "replace", "merge"]},
            "expected_version": _NUMBER,
        },
        "handle",
        "values",
    ),
    "Result": _object(
        {
            "line": _NUMBER,
            "handle": _TEXT,
            "status": {"enum": ["created", "unchanged", "replaced", "refused"]},
            "version": _NUMBER,
            "sequence": _NUMBER,
            "error": _TEXT,
        },
        "line",
        "handle",
        "status",
    ),
    "Resolved": _object(
        {
            "id": _TEXT,
            "scheme": _TEXT,
            "handle": _TEXT,
            "source": {"enum": ["store", "cache", "referral"]},
            "authoritative": _FLAG,
            "version": _NUMBER,
            "ttl_s": _NUMBER,
            "stale": _FLAG,
            "cache": {"enum": ["fresh", "stale"]},
            "age_s": _NUMBER,
            "aliases": {"type": "array", "items": _TEXT},
            "record": _TEXT,
            "note": _TEXT,
            "ms": _NUMBER,
            "steps": {"type": "array", "items": {"type": "object"}},
            "verification": {"type": "object"},
            "values": _VALUES,
        }
    ),
    **LINK_SCHEMAS,
    **TRACE_SCHEMAS,
    **LABEL_SCHEMAS,
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": _NUMBER, "detail": _TEXT}, "type", "status"
    ),
}


def document() -> Json:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Biaoshi",
            "version": _version(),
            "summary": "Industrial identifier resolution",
        },
        "paths": _PATHS | description.paths(),
        "components": {
            "schemas": _SCHEMAS | description.schemas(),
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "INDEX%3AHANDLE and the secret of that HS_SECKEY; TLS only",
                },
                "handle": {
                    "type": "http",
                    "scheme": "handle",
                    "description": "an answered challenge, or the id of a session; TLS only",
                },
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _version() -> str:
    try:
        return version("biaoshi")
    except PackageNotFoundError:
        return "0"


_BODY: Final = orjson.dumps(document())


async def get(_: web.Request) -> web.Response:
    """The description as JSON."""
    return web.Response(body=_BODY, headers={"Content-Type": "application/json"})
