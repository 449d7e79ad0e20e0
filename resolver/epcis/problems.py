"""Errors of the EPCIS binding: problem documents whose type is `epcisException:NAME` (§3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from protocol import errors
from protocol.epcis.errors import EpcisException
from protocol.errors import BiaoshiError, ServerBusy, StoreError
from resolver.http.asked import BodyTooLarge, BodyTooSlow
from resolver.http.auth_errors import NotProved, TooManyFailures
from resolver.http.problem import PROBLEM_TYPE

# The first class that fits decides.
_TABLE: Final[tuple[tuple[type[BiaoshiError], int, str], ...]] = (
    (BodyTooLarge, 413, "CaptureLimitExceededException"),
    (BodyTooSlow, 408, "ValidationException"),
    (TooManyFailures, 429, "SecurityException"),
    (NotProved, 401, "SecurityException"),
    (errors.AuthenticationNeeded, 401, "SecurityException"),
    (errors.NotAuthorized, 403, "SecurityException"),
    (errors.HandleExists, 409, "ResourceAlreadyExistsException"),
    (errors.HandleNotFound, 404, "NoSuchResourceException"),
    (errors.SignatureInvalid, 400, "ValidationException"),
    (errors.OutboundRefused, 400, "SubscriptionControlsException"),
    (errors.ServerBusy, 503, "ImplementationException"),
    (errors.TakesNoChanges, 403, "ImplementationException"),
    (errors.ReadOnly, 503, "ImplementationException"),
    (errors.NotSupported, 501, "ImplementationException"),
    (errors.InvalidValue, 400, "ValidationException"),
    (errors.ParseError, 400, "ValidationException"),
)
MAX_DETAIL: Final = 2_000


def shape_of(error: BiaoshiError) -> dict[str, Any]:
    """An error as a problem document's members; also an entry of a capture job."""
    if isinstance(error, EpcisException):
        return shape(error.status, error.exception, str(error))
    for kind, status, name in _TABLE:
        if isinstance(error, kind):
            return shape(status, name, str(error))
    detail = "see the node's log" if isinstance(error, StoreError) else str(error)
    return shape(500, "ImplementationException", detail)


def shape(status: int, name: str, detail: str) -> dict[str, Any]:
    """Members of a problem. name: after `epcisException:`."""
    return {
        "type": f"epcisException:{name}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail.encode("utf-8", "replace").decode()[:MAX_DETAIL],
    }


def respond(error: BiaoshiError) -> web.Response:
    """The answer to a request that failed."""
    headers = {}
    if isinstance(error, ServerBusy | TooManyFailures):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return of_shape(shape_of(error), headers)


def of_shape(members: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """A problem document out of its members."""
    return web.Response(
        status=int(members["status"]),
        body=orjson.dumps(members),
        headers={"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", **(headers or {})},
    )
