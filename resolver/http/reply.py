"""Answers of the Handle JSON interface: bodies, statuses, and the forms a client may ask for.

Source: the observed behaviour of deployed servers (handle-http-api 2, 3, 8). One table turns a
response code into a status. Successful bodies go out with Content-Length and not chunked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from aiohttp import web

from protocol.errors import BiaoshiError, ParseError, ResponseCode, ServerBusy, VersionConflict
from protocol.handle_json import json_text

JSON_TYPE = "application/json;charset=UTF-8"
SCRIPT_TYPE = "application/javascript;charset=UTF-8"

STATUS_OF: Mapping[ResponseCode, int] = {
    ResponseCode.SUCCESS: 200,
    ResponseCode.ERROR: 500,
    ResponseCode.SERVER_BUSY: 503,
    ResponseCode.PROTOCOL_ERROR: 400,
    ResponseCode.OPERATION_NOT_SUPPORTED: 501,
    ResponseCode.RECURSION_COUNT_TOO_HIGH: 400,
    ResponseCode.SERVER_BACKUP: 503,
    ResponseCode.HANDLE_NOT_FOUND: 404,
    ResponseCode.HANDLE_ALREADY_EXISTS: 409,
    ResponseCode.INVALID_HANDLE: 400,
    ResponseCode.VALUES_NOT_FOUND: 200,  # on DELETE: 400
    ResponseCode.VALUE_ALREADY_EXISTS: 409,
    ResponseCode.INVALID_VALUE: 400,
    ResponseCode.OUT_OF_DATE_SITE_INFO: 400,
    ResponseCode.SERVER_NOT_RESPONSIBLE: 400,
    ResponseCode.SERVICE_REFERRAL: 400,
    ResponseCode.PREFIX_REFERRAL: 400,
    ResponseCode.AUTHENTICATION_NEEDED: 401,  # over plain http: 403
}
"""Codes 400 and above are 403 unless they stand here."""

_MAX_CALLBACK = 256
_not_identifier = re.compile(r"[^A-Za-z0-9_$]")
_origin = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.:\[\]_-]{1,255}|null").fullmatch
_gzip_wanted = re.compile(
    r"(?:^|,)[ \t]*(?:gzip|x-gzip|\*)[ \t]*(?:;[ \t]*q=(?:1(?:\.0*)?|0?\.\d*[1-9]\d*)[ \t]*)?(?:,|$)",
    re.IGNORECASE,
).search
_MAX_ACCEPT = 256
"""A longer Accept-Encoding is no browser's; it gets the plain form."""

NO_HEADERS: Mapping[str, str] = {}
_EXPOSED = ("WWW-Authenticate", "Content-Length", "Location")
"""What a browser shows to a script of another origin, where the answer has it."""
PREFLIGHT_HEADERS = {
    "Access-Control-Max-Age": "86400",
    "Access-Control-Allow-Methods": "GET,POST,HEAD,PUT,DELETE",
    "Access-Control-Allow-Headers": "X-Requested-With,Authorization,Origin,Accept,Content-Type",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How a client wants its JSON. callback: a name made harmless; None for plain JSON."""

    pretty: bool = False
    callback: str | None = None
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer before it takes its form.

    private: not everybody may read it: never cached, never compressed (compression would let an
    observer guess at secrets), never as a script. etag: strong, without its quotes.
    """

    body: bytes
    status: int = 200
    etag: str | None = None
    private: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def status_of(code: ResponseCode, *, secure: bool = True) -> int:
    """The HTTP status of a response code under the Handle interface."""
    if code == ResponseCode.AUTHENTICATION_NEEDED and not secure:
        return 403
    if code not in STATUS_OF:
        return 403 if code >= ResponseCode.INVALID_ADMIN else 500
    return STATUS_OF[code]


def error_body(
    code: ResponseCode, *, message: str | None = None, handle: bytes | None = None
) -> bytes:
    """`{"responseCode":N[,"message":…][,"handle":…]}`."""
    return b'{"responseCode":%d%b%b}' % (
        code,
        b',"message":%b' % orjson.dumps(_whole(message)) if message else b"",
        b',"handle":%b' % json_text(handle) if handle is not None else b"",
    )


def _whole(message: str) -> str:
    """Text without halves of surrogate pairs, which JSON in UTF-8 cannot hold."""
    return message.encode("utf-8", "replace").decode()


def error_answer(error: BiaoshiError, *, handle: bytes | None, secure: bool) -> Answer:
    """An error as the Handle interface says it."""
    headers = {}
    status = status_of(error.code, secure=secure)
    if isinstance(error, ServerBusy):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, VersionConflict):
        status = HTTPStatus.PRECONDITION_FAILED
    if isinstance(error, ParseError) and error.code == ResponseCode.PROTOCOL_ERROR:
        handle = None  # found before the handle was looked at
    body = error_body(error.code, message=str(error), handle=handle)
    return Answer(body, status, headers=headers)


def form_of(request: web.BaseRequest, *, pretty: bool, callback: str | None) -> Form:
    """The form a request asks for."""
    if callback is not None:
        callback = _not_identifier.sub("_", callback[:_MAX_CALLBACK]) or None
        if callback is not None and callback[0].isdigit():
            callback = "_" + callback[1:]
    return Form(pretty, callback, wants_gzip(request.headers.get("Accept-Encoding", "")))


def wants_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding takes gzip (RFC 9110 §12.5.3)."""
    return len(accepted) <= _MAX_ACCEPT and bool(_gzip_wanted(accepted))


def render(request: web.BaseRequest, answer: Answer, form: Form) -> web.Response:
    """An answer in its form, with the headers for caches; 304 where the client has it already."""
    headers = {"Vary": "Accept-Encoding, Origin", **answer.headers}
    body, kind = answer.body, JSON_TYPE
    if form.pretty and body:
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    if form.callback is not None and not answer.private:
        kind = SCRIPT_TYPE
        # U+2028 and U+2029 end a line in old JavaScript, inside a string too.
        body = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
        body = b"%b(%b);" % (form.callback.encode(), body)
    if answer.private:
        headers["Cache-Control"] = "private, no-store"
    zipped = form.gzip and answer.status == HTTPStatus.OK and not answer.private and bool(body)
    if answer.etag is not None and not answer.private:
        headers["ETag"] = f'"{answer.etag}-gzip"' if zipped else f'"{answer.etag}"'
        if is_known(request, answer.etag):
            return web.Response(status=304, headers=headers)
    if zipped:
        headers["Content-Encoding"] = "gzip"
        body = gzipped(body)
    if body:
        headers["Content-Type"] = kind
    return web.Response(body=body, status=answer.status, headers=headers)


def gzipped(body: bytes) -> bytes:
    """Gzip without a time stamp, so that the same body gives the same octets."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def is_known(request: web.BaseRequest, etag: str) -> bool:
    """Whether If-None-Match names this entity tag, in either coding (RFC 9110 §13.1.2)."""
    wanted: str | None = request.headers.get("If-None-Match")
    if wanted is None or request.method not in {"GET", "HEAD"}:
        return False
    if wanted.strip() == "*":
        return True
    tags = {part.strip().removeprefix("W/") for part in wanted.split(",")}
    return bool(tags & {f'"{etag}"', f'"{etag}-gzip"'})


def cors_headers(
    request: web.BaseRequest, answered: Mapping[str, str] = NO_HEADERS
) -> dict[str, str]:
    """The answer to an Origin header; nothing of a malformed one is echoed.

    answered: the answer's headers; what a script needs of them is exposed to it.
    """
    origin = request.headers.get("Origin")
    if origin is None or not _origin(origin):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ",".join(
            name for name in _EXPOSED if name == "Content-Length" or name in answered
        ),
    }
