"""GET /openapi.json: every HTTP resource of a node in OpenAPI 3.1, as this node has it.

The patterns of names come from the prefixes that the node is home to, so that what a program makes
up by them is served here. What lies at other nodes, or depends on what is stored, stands in words.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from resolver.epcis import description, shapes
from resolver.http import openapi_handles as handles
from resolver.http import openapi_labels as labels
from resolver.http import openapi_links as links
from resolver.http import openapi_log as log
from resolver.http import openapi_trace as trace
from resolver.http.openapi_handles import INDEX, SHOWN, TYPE
from resolver.http.openapi_parts import (
    NATURAL,
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
    problems,
    reference,
)
from resolver.http.problem import method_not_allowed
from resolver.pages.style import SCRIPT_PATH

if TYPE_CHECKING:
    from resolver.node import Node

_ROWS: Final = "application/x-ndjson"
_SECURITY: Final[Json] = {
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
}


def _registrations() -> Json:
    body = content(reference("Row"), _ROWS, "application/json")
    done = answer("a result a line, in the order of the rows", "Result", _ROWS, "application/json")
    return {
        "/api/registrations": {
            "post": operation(
                "Register many: a row a line in, a result a line out",
                {
                    200: done,
                    201: answer("created: of one row in application/json", "Result"),
                    **problems(400, 401, 403, 404, 408, 409, 412, 413, 422, 429, 503),
                },
                tag="registrations",
                text="One row may be sent as application/json: it then has a status of its own. "
                "`expected_version` of a row binds it to a version (412).",
                conditions=("IdempotencyKey",),
                body=body,
                secured=True,
            )
        }
    }


def _resolving(facts: Facts) -> Json:
    return {
        "/api/resolve": {
            "get": operation(
                "Resolve an identifier in any spelling",
                {200: answer("identifier and values", "Resolved"), **problems(400, 404, 502, 503)},
                tag="resolve",
                parameters=[
                    parameter(
                        "id",
                        facts.sought(),
                        "a name of this node; or a DOI, OID, GTIN, URN, VAA code … of any",
                        required=True,
                        example=facts.example(),
                    ),
                    parameter(
                        "scheme",
                        {"enum": ["handle"]},
                        "read it as this scheme: handle, doi, oid, gs1, epc, vaa, ma, ecode, "
                        "did, urn; 400 where it is none of that",
                    ),
                    INDEX,
                    TYPE,
                    parameter("steps", SWITCH, "show every hop"),
                    parameter("verify", SWITCH, "check signatures up to a root"),
                    parameter("alias", SWITCH, "no: the record as it is, aliases not followed"),
                ],
            )
        },
        **links.paths(facts),
        "/{identifier}": {
            "get": operation(
                "Follow an identifier: redirect, or a page of its values",
                {
                    **links.LINKSETS,
                    **links.CHOICES,
                    301: answer("an alias"),
                    302: answer("its address"),
                },
                tag="resolve",
                parameters=_following(facts),
            ),
            "post": operation(
                "The same, as browsers send forms",
                {
                    **links.LINKSETS,
                    **links.CHOICES,
                    301: answer("an alias"),
                    302: answer("its address"),
                },
                tag="resolve",
                parameters=_following(facts),
            ),
        },
    }


def _following(facts: Facts) -> list[Json]:
    return [
        parameter(
            "identifier",
            facts.sought(),
            "as it is written; of any scheme",
            where="path",
            example=facts.example(),
        ),
        *links.LINK_PARAMETERS,
        parameter("index", TEXT, "the page of these values; what is no number: of none", many=True),
        TYPE,
        parameter("noredirect", TEXT, "with any value: the page"),
        parameter("urlappend", TEXT, "appended to the address"),
        parameter("locatt", TEXT, "attribute:value of a 10320/loc location"),
        parameter("action", TEXT, "showurls: every address as XML"),
        parameter("ignore_aliases", TEXT, "with any value: the page, not the alias"),
    ]


_MESSAGES: Final = "application/x-hdl-message"
_ENTRANCE: Final[Json] = {
    "/": {
        "get": operation(
            "The form to look something up",
            {200: answer("a page", None, "text/html"), 302: answer("to the identifier `id`")},
            tag="resolve",
            parameters=[parameter("id", TEXT, "an identifier: straight to it")],
        ),
        "post": operation(
            "A DO-IRP message in HTTP, where the body is application/x-hdl-message",
            {
                200: answer("the reply messages, or the form", None, _MESSAGES, "text/html"),
                302: answer("to the identifier `id`"),
                **problems(400, 408, 413, 503),
            },
            tag="resolve",
        ),
    },
}


def _delegations(facts: Facts) -> Json:
    child = parameter("prefix", facts.derived(), "a prefix below one of this node", where="path")
    escrow = parameter("prefix", facts.derived(), "of the child", where="path")
    note = parameter(
        "Escrow-Note",
        {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+$"},
        "what the child signed: a compact JWS",
        where="header",
        required=True,
    )
    refused = problems(400, 401, 403, 404, 422)
    return {
        "/api/delegations": {
            "post": operation(
                "Apply for a prefix",
                {
                    200: answer("known already", "Delegation"),
                    202: answer("waits for approval", "Delegation"),
                    **problems(400, 403, 404, 408, 409, 413, 422, 429, 503),
                },
                tag="delegations",
                body=content(reference("SignedApplication"), "text/plain", "application/jose"),
            )
        },
        "/api/delegations/{prefix}": {
            "get": operation(
                "What became of an application",
                {200: answer("its state", "Delegation"), **problems(400, 404)},
                tag="delegations",
                parameters=[child],
            )
        },
        "/api/escrow/{prefix}": {
            "get": operation(
                "The deposits that lie here, for the child alone",
                {200: answer("what lies here", None, "application/json"), **refused},
                tag="delegations",
                parameters=[escrow, note],
            ),
            "post": operation(
                "Deposit a part of the child's log, encrypted",
                {
                    201: answer("the receipt", None, "application/json"),
                    **refused,
                    **problems(408, 409, 413),
                },
                tag="delegations",
                parameters=[escrow, note],
                body=content({"type": "string"}, "application/octet-stream"),
            ),
        },
        "/api/escrow/{prefix}/{name}": {
            "get": operation(
                "The octets of one deposit, for the child alone",
                {
                    200: answer("as they were deposited", None, "application/octet-stream"),
                    **refused,
                },
                tag="delegations",
                parameters=[
                    escrow,
                    parameter(
                        "name",
                        {"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"},
                        "of the deposit",
                        where="path",
                    ),
                    note,
                ],
            )
        },
    }


_OPERATION: Final[Json] = {
    "/api/node": {
        "get": operation(
            "Its prefix and role", {200: answer("prefix and role", "Node")}, tag="operation"
        )
    },
    "/openapi.json": {
        "get": operation(
            "This description",
            {200: answer("OpenAPI 3.1", None, "application/json")},
            tag="operation",
        )
    },
    "/health/live": {
        "get": operation("The process answers", {200: answer("alive", "Health")}, tag="operation")
    },
    "/health/ready": {
        "get": operation(
            "The node does all of its work",
            {200: answer("ready", "Health"), 503: answer("degraded", "Health")},
            tag="operation",
        )
    },
    "/metrics": {
        "get": operation(
            "Prometheus metrics",
            {200: answer("text", None, "text/plain"), **problems(403)},
            tag="operation",
        )
    },
}
_PAGE_PARAMETERS: Final = (
    parameter("lang", TEXT, "zh or en; default: by Accept-Language"),
    parameter("Accept-Language", TEXT, "the languages of the reader", where="header"),
)


def _pages(facts: Facts) -> Json:
    shown = parameter(
        "identifier",
        facts.sought(),
        "as it is written; of any scheme",
        where="path",
        example=facts.example(),
    )
    failed = {
        status: answer(why, None, "text/html", "application/problem+json")
        for status, why in (
            (400, "no identifier, or of a prefix elsewhere"),
            (404, "nothing is known of it here"),
            (500, "it could not be resolved"),
            (502, "another node failed"),
            (503, "busy"),
        )
    }
    return {
        "/page/{identifier}": {
            "get": operation(
                "What people see of an identifier",
                {200: answer("the page", None, "text/html"), **failed},
                tag="pages",
                parameters=[
                    shown,
                    parameter("view", TEXT, "recall or certificate; else the page"),
                    *_PAGE_PARAMETERS,
                ],
            )
        },
        "/page/{identifier}/qr.svg": {
            "get": operation(
                "Its code alone",
                {200: answer("an image", None, "image/svg+xml"), **failed},
                tag="pages",
                parameters=[shown],
            )
        },
        SCRIPT_PATH: {
            "get": operation(
                "The script of the pages",
                {200: answer("the same for ever", None, "text/javascript")},
                tag="pages",
            )
        },
    }


def _schemas(facts: Facts) -> Json:
    row = object_of(
        {
            "line": NATURAL,
            "handle": facts.name(),
            "values": reference("Values"),
            "on_exists": {"enum": ["refuse", "replace", "merge"]},
        },
        "handle",
        "values",
    )
    some = {"on_exists": {"const": "merge"}, "values": reference("SomeValues")}
    row["anyOf"] = [
        {"properties": {"on_exists": {"enum": ["refuse", "replace"]}}},
        {"properties": some, "required": ["on_exists"]},
    ]
    return {"Row": row}


_SCHEMAS: Final[Json] = {
    "Result": object_of(
        {
            "line": NUMBER,
            "handle": TEXT,
            "status": {"enum": ["created", "unchanged", "replaced", "refused"]},
            "version": NUMBER,
            "sequence": NUMBER,
            "error": {"type": ["string", "null"]},
        },
        "line",
        "handle",
        "status",
    ),
    "Resolved": object_of(
        {
            "id": TEXT,
            "scheme": TEXT,
            "handle": TEXT,
            "source": {"enum": ["store", "cache", "referral"]},
            "authoritative": {"type": "boolean"},
            "version": NUMBER,
            "ttl_s": NUMBER,
            "stale": {"type": "boolean"},
            "cache": {"enum": ["fresh", "stale"]},
            "age_s": NUMBER,
            "aliases": {"type": "array", "items": TEXT},
            "record": TEXT,
            "note": TEXT,
            "ms": {"type": "number"},
            "steps": {"type": "array", "items": {"type": "object"}},
            "verification": {"type": "object"},
            "values": SHOWN,
        },
        "id",
        "scheme",
        "handle",
        "source",
        "authoritative",
        "values",
    ),
    "SignedApplication": {
        "type": "string",
        "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
        "description": "a compact JWS by the site key of the child (`biaoshi prefix request`)",
    },
    "Delegation": object_of(
        {
            "prefix": TEXT,
            "state": TEXT,
            "answer": {"type": "string", "description": "the same, signed by this node"},
        },
        "prefix",
        "state",
        "answer",
    ),
    "Node": object_of({"prefix": {"type": ["string", "null"]}, "role": TEXT}, "prefix", "role"),
    "Health": object_of(
        {
            "status": {"enum": ["alive", "ready", "degraded"]},
            "reads": {"type": "boolean"},
            "checks": {"type": "object", "additionalProperties": {"type": "boolean"}},
        },
        "status",
    ),
    "Problem": object_of(
        {"type": TEXT, "title": TEXT, "status": NUMBER, "detail": TEXT}, "type", "status"
    ),
}


def document(facts: Facts) -> Json:
    """The whole description of a node of which this holds."""
    paths = {
        **handles.paths(facts),
        **_registrations(),
        **labels.paths(facts),
        **_delegations(facts),
        **log.paths(facts),
        **_OPERATION,
        **_pages(facts),
        **_ENTRANCE,
        **_resolving(facts),
    }
    schemas = {
        **handles.SCHEMAS,
        **_SCHEMAS,
        **_schemas(facts),
        **labels.SCHEMAS,
        **links.SCHEMAS,
    }
    if facts.epcis:
        paths |= trace.PATHS | description.paths()
        schemas |= trace.SCHEMAS | shapes.schemas()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Biaoshi",
            "version": _version(),
            "summary": "Industrial identifier resolution",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": handles.CONDITIONS,
            "securitySchemes": _SECURITY,
        },
    }


def _version() -> str:
    try:
        return version("biaoshi")
    except PackageNotFoundError:
        return "0"


class OpenApi:
    """The resource, in one reader."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._made: tuple[Any, bytes] = (None, b"")

    async def get(self, request: web.Request) -> web.Response:
        """The description as JSON, made anew when something of it changed."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        facts = self._facts()
        if self._made[0] != facts:
            self._made = (facts, orjson.dumps(document(facts)))
        return web.Response(body=self._made[1], headers={"Content-Type": "application/json"})

    def _facts(self) -> Facts:
        node = self._node
        homed = sorted(node.prefixes.homed(), key=lambda one: (one != node.prefix, one))
        return Facts(
            tuple(one.decode("utf-8", "replace") for one in homed),
            bool(node.prefix),
            bool(node.settings.signing.witnesses),
        )
