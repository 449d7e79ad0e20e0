"""Errors outside the Handle interface: RFC 9457 problem documents with a stable code.

`type` is a URN that ends in the code; documents never show paths, stacks or data of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from protocol import errors
from protocol.errors import BadIdentifier, BiaoshiError, ServerBusy, StoreError
from resolver.http.asked import BodyTooLarge, BodyTooSlow
from resolver.http.auth_errors import NotProved, TooManyFailures, TooManyRequests

PROBLEM_TYPE: Final = "application/problem+json"

# The first class that fits decides: the more special ones stand first.
PROBLEMS: Final[tuple[tuple[type[BiaoshiError], int, str], ...]] = (
    (BodyTooLarge, 413, "body-too-large"),
    (BodyTooSlow, 408, "body-too-slow"),
    (TooManyFailures, 429, "too-many-failures"),
    (TooManyRequests, 429, "too-many-requests"),
    (NotProved, 401, "identity-not-verified"),
    (errors.BadIdentifier, 400, "bad-identifier"),
    (errors.ParseError, 400, "malformed"),
    (errors.ServerBusy, 503, "busy"),
    (errors.NotSupported, 501, "not-supported"),
    (errors.RecursionTooDeep, 508, "loop"),
    (errors.StoreFull, 507, "store-full"),
    (errors.TakesNoChanges, 403, "takes-no-changes"),
    (errors.ReadOnly, 503, "read-only"),
    (errors.HandleNotFound, 404, "not-found"),
    (errors.HandleExists, 409, "exists"),
    (errors.ValuesNotFound, 404, "values-not-found"),
    (errors.ValueExists, 409, "value-exists"),
    (errors.AtOdds, 409, "at-odds"),
    (errors.InvalidValue, 422, "invalid-value"),
    (errors.NotServedHere, 404, "not-served-here"),
    (errors.NotAuthorized, 403, "not-authorized"),
    (errors.InsufficientPermissions, 403, "not-readable"),
    (errors.AuthenticationNeeded, 401, "identity-needed"),
    (errors.AuthenticationFailed, 401, "identity-not-verified"),
    (errors.InvalidCredential, 403, "credentials-refused"),
    (errors.SignatureInvalid, 422, "signature-invalid"),
    (errors.VersionConflict, 412, "version-conflict"),
    (errors.IdempotencyConflict, 422, "idempotency-conflict"),
    (errors.UpstreamError, 502, "upstream"),
)


def problem(
    status: int,
    code: str,
    title: str,
    *,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> web.Response:
    """A problem document. more: extension members."""
    body: dict[str, Any] = {"type": f"urn:biaoshi:problem:{code}", "title": title, "status": status}
    if detail:
        body["detail"] = detail.encode("utf-8", "replace").decode()
    return web.Response(
        status=status,
        body=orjson.dumps(body | more),
        headers={"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", **(headers or {})},
    )


def problem_of(error: BiaoshiError) -> web.Response:
    """An error of ours as a problem document."""
    if isinstance(error, StoreError):
        return problem(500, "store", "The store failed", detail="see the node's log")
    headers = {}
    if isinstance(error, ServerBusy | TooManyFailures | TooManyRequests):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    more = {"reason": error.reason} if isinstance(error, BadIdentifier) else {}
    for kind, status, code in PROBLEMS:
        if isinstance(error, kind):
            title = HTTPStatus(status).phrase
            return problem(status, code, title, detail=str(error), headers=headers, **more)
    return problem(500, "internal", "Internal Server Error")


def not_found() -> web.Response:
    """No such resource."""
    told = "GET /openapi.json lists what there is; identifiers lie outside of the reserved paths"
    return problem(404, "no-such-resource", "There is nothing here", detail=told)


def method_not_allowed(methods: str) -> web.Response:
    """The resource is there and does not do this."""
    told = f"this resource takes {methods}"
    headers = {"Allow": methods}
    return problem(405, "method-not-allowed", "Method Not Allowed", detail=told, headers=headers)
