"""/api/sessions: open a session, look at it, authenticate it, end it (handle-http-api 6)."""

from __future__ import annotations

from base64 import b64encode
from http import HTTPStatus
from typing import Any, Final

import orjson

from protocol.errors import ParseError
from protocol.strict_json import TOLERANT, parse_json
from resolver.http.asked import raw_path, read_body
from resolver.http.auth import Authenticator, Caller
from resolver.http.auth_errors import ERROR_TEXT, NotProved, SessionUnknown
from resolver.http.credentials import HandleFields, read_handle_fields, read_handle_header
from resolver.http.face import Asked, HandleFace, PlainHttp
from resolver.http.reply import Answer
from resolver.http.sessions import Session

MOUNT: Final = "/api/sessions"
THIS: Final = "/api/sessions/this"
_MAX_BODY: Final = 16_384
_ALLOWED: Final = "POST, TRACE, OPTIONS"
_ALLOWED_THIS: Final = "GET, HEAD, PUT, DELETE, OPTIONS"


class SessionResource:
    """Both resources: the collection, and the caller's own session."""

    def __init__(self, face: HandleFace) -> None:
        self._face = face
        self._authenticator: Authenticator = face.authenticator
        self._node = face.node

    async def __call__(self, asked: Asked) -> Answer:
        """Any method on /api/sessions and /api/sessions/this."""
        method = asked.request.method
        if raw_path(asked.request).rstrip("/") == THIS:
            if method in {"GET", "HEAD"}:
                return await self._show(asked)
            if method == "PUT":
                return await self._authenticate(asked)
            if method == "DELETE":
                return await self._end(asked)
            return _not_allowed(_ALLOWED_THIS)
        if method == "POST":
            return await self._open(asked)
        return _not_allowed(_ALLOWED)

    async def _open(self, asked: Asked) -> Answer:
        _require_tls(asked)
        fields = self._merged(asked, await self._body(asked))
        session, error = self._authenticator.sessions.new(), None
        try:
            caller = await self._face.identify(asked)
        except NotProved:
            error = ERROR_TEXT
        else:
            if caller.identity is not None:
                self._authenticator.adopt(session, caller)
                session = self._authenticator.sessions.get(session.id) or session
        headers = {"Location": THIS}
        return Answer(self._shown(session, fields, error), 201, private=True, headers=headers)

    async def _show(self, asked: Asked) -> Answer:
        _require_tls(asked)
        try:
            caller = await self._face.identify(asked)
        except SessionUnknown:
            return Answer(b"", HTTPStatus.FORBIDDEN)
        if caller.session is None:
            return Answer(orjson.dumps(_who(caller)), private=True)
        session = self._authenticator.sessions.renewed(caller.session)
        return Answer(self._shown(session, caller.fields, None), private=True)

    async def _authenticate(self, asked: Asked) -> Answer:
        _require_tls(asked)
        fields = self._merged(asked, await self._body(asked))
        sessions = self._authenticator.sessions
        session = sessions.get(fields.session_id or "")
        if session is None and fields.session_id is None and fields.proof is None:
            return Answer(orjson.dumps(_who(await self._face.identify(asked))), private=True)
        if session is None:
            return Answer(b"", HTTPStatus.FORBIDDEN)
        if fields.proof is None and not fields.broken:
            return Answer(self._shown(sessions.renewed(session), fields, None), private=True)
        try:
            if fields.proof is None:
                raise NotProved("the proof cannot be read", fields, session)
            await self._authenticator.prove(asked.request, session, fields.proof)
        except NotProved:
            again = sessions.renewed(sessions.get(session.id) or sessions.new())
            body = self._shown(again, None, ERROR_TEXT)
            return Answer(body, HTTPStatus.UNAUTHORIZED, private=True)
        session = sessions.get(session.id) or session
        return Answer(self._shown(session, None, None), private=True)

    async def _end(self, asked: Asked) -> Answer:
        _require_tls(asked)
        try:
            caller = await self._face.identify(asked)
        except SessionUnknown:
            return Answer(b"", HTTPStatus.FORBIDDEN)
        if caller.session is None:
            return Answer(b"", HTTPStatus.FORBIDDEN)
        self._authenticator.sessions.end(caller.session)
        return Answer(b"", HTTPStatus.NO_CONTENT)

    async def _body(self, asked: Asked) -> dict[str, Any]:
        """The JSON object of the body; an empty one where there is no body."""
        limits = self._node.settings.limits
        data = await read_body(asked.request, _MAX_BODY, limits.request_s)
        body = parse_json(data, decoder=TOLERANT) if data.strip() else {}
        if not isinstance(body, dict):
            raise ParseError("the body must be a JSON object")
        return body

    def _merged(self, asked: Asked, body: dict[str, Any]) -> HandleFields:
        """The fields of the body, and the session id from the header where it has none."""
        header = asked.request.headers.get("Authorization", "")
        scheme, _, value = header.partition(" ")
        in_header = read_handle_header(value) if scheme.lower() == "handle" else HandleFields()
        in_body = read_handle_fields(body)
        if in_body.proof is None and not in_body.broken and in_body.cnonce is None:
            return in_header
        return HandleFields(
            in_body.session_id or in_header.session_id,
            in_body.cnonce,
            in_body.client_cert,
            in_body.proof,
            in_body.broken,
        )

    def _shown(self, session: Session, fields: HandleFields | None, error: str | None) -> bytes:
        """A session's state as JSON. fields: with a cnonce, the server proves itself as well."""
        nonce = session.nonce or b""
        state: dict[str, Any] = {"sessionId": session.id, "nonce": b64encode(nonce).decode()}
        if session.identity is not None:
            state |= {"authenticated": True, "id": session.identity.text()}
        if error is not None:
            state["error"] = error
        if fields is not None and fields.cnonce:
            state |= dict(self._authenticator.server_proof(session, fields.cnonce))
        return orjson.dumps(state)


def _who(caller: Caller) -> dict[str, Any]:
    """What is known of a caller without a session."""
    if caller.identity is None:
        return {"authenticated": False}
    return {"authenticated": True, "id": caller.identity.text()}


def _require_tls(asked: Asked) -> None:
    if not asked.secure:
        raise PlainHttp("sessions are opened over TLS only")


def _not_allowed(methods: str) -> Answer:
    return Answer(b"", HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": methods})
