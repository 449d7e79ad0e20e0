"""What the resources of the Handle JSON interface share: who asks, errors as they say them, form.

Mounted under /api/handles, /api/prefixes, /api/site and /api/sessions; nothing else answers with
these error bodies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from protocol.errors import (
    AtOdds,
    AuthenticationNeeded,
    BiaoshiError,
    IdempotencyConflict,
    InvalidCredential,
    ParseError,
    ResponseCode,
    StoreError,
    StoreFull,
    TakesNoChanges,
)
from resolver.doirp.counting import count
from resolver.http.asked import BodyTooLarge, BodyTooSlow, Parameters, Senders
from resolver.http.auth import Authenticator, Caller
from resolver.http.auth_errors import NotProved, SessionUnknown, TooManyFailures
from resolver.http.reply import (
    PREFLIGHT_HEADERS,
    Answer,
    Form,
    cors_headers,
    error_answer,
    error_body,
    form_of,
    render,
)

if TYPE_CHECKING:
    from resolver.node import Node

log = structlog.get_logger()

NOT_SERVED: Final = "That prefix doesn't live here"
_STATUS_OF_KIND: Final[tuple[tuple[type[BiaoshiError], int], ...]] = (
    (BodyTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (BodyTooSlow, HTTPStatus.REQUEST_TIMEOUT),
    (TooManyFailures, HTTPStatus.TOO_MANY_REQUESTS),
    (IdempotencyConflict, HTTPStatus.UNPROCESSABLE_ENTITY),
    (AtOdds, HTTPStatus.CONFLICT),
    (TakesNoChanges, HTTPStatus.FORBIDDEN),
    (StoreFull, HTTPStatus.INSUFFICIENT_STORAGE),
)


class NeedsIdentity(AuthenticationNeeded):
    """The request needs an identity: 401 with challenges over TLS, 403 without TLS."""

    def __init__(self, handle: bytes | None, session: Caller) -> None:
        super().__init__("")
        self.handle = handle
        self.caller = session


class PlainHttp(InvalidCredential):
    """Something that is only done over TLS: 403 with an empty body."""


class MethodUnknown(ParseError):
    """A method the interface does not know: 501, as deployed servers say of a record."""


class MethodNotAllowed(MethodUnknown):
    """A method that this resource does not take: 405, with those that it takes."""

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"Unknown method {method}")
        self.allowed = allowed


@dataclass(slots=True)
class Asked:
    """One request on its way through the face.

    handle: the one it is about, for error bodies. identify() must have run before caller is read.
    """

    request: web.BaseRequest
    parameters: Parameters
    secure: bool
    caller: Caller
    handle: bytes | None = None


Operation = Callable[[Asked], Awaitable[Answer]]


class HandleFace:
    """Runs operations and says what came of them."""

    def __init__(self, node: Node, authenticator: Authenticator, senders: Senders) -> None:
        self.node = node
        self.authenticator = authenticator
        self.senders = senders

    async def serve(self, request: web.BaseRequest, operation: Operation) -> web.Response:
        """The response of one operation. Raises ConnectionError when the peer went away."""
        if request.method == "OPTIONS":
            return self._finish(request, web.Response(status=200, headers=PREFLIGHT_HEADERS))
        secure = self.senders.secure(request)
        asked = Asked(request, Parameters(()), secure, Caller())
        try:
            asked.parameters = Parameters.of(request)
            answer = await operation(asked)
        except NotProved as error:
            response = web.Response(status=401)
            told = not isinstance(error, SessionUnknown)
            for line in self.authenticator.challenge(error.session, error.fields, error=told):
                response.headers.add("WWW-Authenticate", line)
            self._count(request, ResponseCode.AUTHENTICATION_FAILED)
            return self._finish(request, response)
        except NeedsIdentity as error:
            response = self._render(request, asked, self._needs_identity(error, secure))
            if secure:
                caller = error.caller
                for line in self.authenticator.challenge(caller.session, caller.fields):
                    response.headers.add("WWW-Authenticate", line)
            return self._finish(request, response)
        except BiaoshiError as error:
            answer = self._refused(asked, error)
        except ConnectionError:
            raise  # the peer went away: there is nobody to tell
        except Exception:
            log.exception("request_failed", method=request.method)
            answer = Answer(error_body(ResponseCode.ERROR, message="an internal error"), 500)
        return self._render(request, asked, answer)

    async def identify(self, asked: Asked) -> Caller:
        """Prove who asks, if they say so. Raises NotProved or TooManyFailures."""
        asked.caller = await self.authenticator.caller(asked.request)
        return asked.caller

    def _needs_identity(self, error: NeedsIdentity, secure: bool) -> Answer:
        body = error_body(ResponseCode.AUTHENTICATION_NEEDED, handle=error.handle)
        return Answer(body, 401 if secure else 403)

    def _refused(self, asked: Asked, error: BiaoshiError) -> Answer:
        if isinstance(error, PlainHttp):
            return Answer(b"", HTTPStatus.FORBIDDEN)
        if isinstance(error, StoreError):
            log.error("store_failed", why=str(error))
        answer = error_answer(error, handle=asked.handle, secure=asked.secure)
        if error.code == ResponseCode.SERVER_NOT_RESPONSIBLE:
            body = error_body(error.code, message=NOT_SERVED, handle=asked.handle)
            answer = replace(answer, body=body)
        if error.code == ResponseCode.HANDLE_NOT_FOUND:
            answer = replace(answer, body=error_body(error.code, handle=asked.handle))
        if isinstance(error, MethodUnknown):
            answer = replace(answer, status=HTTPStatus.NOT_IMPLEMENTED)
        if isinstance(error, MethodNotAllowed):
            allow = {"Allow": error.allowed}
            answer = replace(answer, status=HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
        for kind, status in _STATUS_OF_KIND:
            if isinstance(error, kind):
                answer = replace(answer, status=status)
        if isinstance(error, TooManyFailures):
            wait_s = {"Retry-After": str(max(1, round(error.retry_after_s)))}
            answer = replace(answer, headers=wait_s)
        return answer

    def _render(self, request: web.BaseRequest, asked: Asked, answer: Answer) -> web.Response:
        parameters = asked.parameters
        form = Form()
        if parameters.pairs or "Accept-Encoding" in request.headers:
            form = form_of(
                request, pretty=parameters.flag("pretty"), callback=parameters.first("callback")
            )
            if request.method not in {"GET", "HEAD"}:
                form = replace(form, callback=None)
        self._count(request, _code_in(answer))
        return self._finish(request, render(request, answer, form))

    def _finish(self, request: web.BaseRequest, response: web.Response) -> web.Response:
        response.headers.update(cors_headers(request, response.headers))
        return response

    def _count(self, request: web.BaseRequest, code: int) -> None:
        face = "https" if self.senders.secure(request) else "http"
        changed = code == ResponseCode.SUCCESS and request.method in {"PUT", "DELETE", "POST"}
        count(self.node.metrics, face, code, changed=changed)


def _code_in(answer: Answer) -> int:
    """The responseCode a body begins with; by the status where it has none."""
    start = len(b'{"responseCode":')
    digits = answer.body[start : answer.body.find(b",", start)].rstrip(b"}")
    if answer.body.startswith(b'{"responseCode":') and digits.isdigit():
        return int(digits)
    return int(ResponseCode.SUCCESS if answer.status < 400 else ResponseCode.ERROR)
