"""Who sends a request, proved: Basic, Handle challenge, session or client certificate, over TLS.

Rights are not decided here (registry.access). Credentials over plain HTTP are not looked at.
Every proof takes from an allowance of attempts and gives back only when it held, so that guessing
in parallel gains nothing (threats A1).
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from protocol.challenge import HS_PUBKEY, HS_SECKEY, SALT_BYTES, answer_with_secret
from protocol.errors import BiaoshiError, ParseError, ResponseCode
from protocol.keys import PublicKey, decode_public_key, encode_spki
from protocol.keys.signing import SHA_256, sign_octets
from protocol.name import fold_prefix, whole_name
from protocol.record import Reference, decode_values
from resolver.doirp.identity import Claim, prove
from resolver.http.asked import Senders
from resolver.http.auth_errors import ERROR_TEXT, NotProved, SessionUnknown, TooManyFailures
from resolver.http.credentials import (
    CLAIM_VERSION,
    HandleFields,
    Proof,
    read_basic,
    read_certificate,
    read_handle_header,
)
from resolver.http.sessions import NONCE_BYTES, Session, Sessions, digest_of
from resolver.lookup import Query

if TYPE_CHECKING:
    from resolver.node import Node

_SOURCE_SHARE: Final = 10
"""A source may fail this many times as often as one account of it."""
DELAY_S: Final = 1.0
"""How much later an account is answered once its allowance of failures is used up."""
_MOST_WAITING: Final = 2
"""Attempts on one account from one source that wait at once; more are refused (429)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a sender.

    identity: proved; None for anybody. session: a live one that the request named. fields: of a
    `Handle` header. key: what proved the identity in this very request, and its type.
    """

    identity: Reference | None = None
    session: Session | None = None
    fields: HandleFields | None = None
    key: tuple[bytes, bytes] | None = None


class Authenticator:
    """Proves identities for the HTTP face of one reader."""

    def __init__(
        self,
        node: Node,
        sessions: Sessions,
        senders: Senders,
        *,
        random: Callable[[int], bytes],
    ) -> None:
        self.sessions = sessions
        self.random = random
        self._node = node
        self._senders = senders
        self._table = sessions.table
        self._per_minute = node.settings.limits.failures_per_min
        self._waiting: Counter[bytes] = Counter()

    async def caller(self, request: web.BaseRequest) -> Caller:
        """Who sends a request. Raises NotProved or TooManyFailures."""
        header = request.headers.get("Authorization")
        if header is None or not self._senders.secure(request):
            return Caller()
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            return await self._basic(request, value)
        if scheme.lower() == "handle":
            return await self._handle(request, read_handle_header(value))
        return Caller()

    async def prove(self, request: web.BaseRequest, session: Session, proof: Proof) -> Reference:
        """Check an answer to a session's challenge and note who the session belongs to.

        The nonce is used up, whatever comes of it. Raises NotProved or TooManyFailures.
        """
        method = "public_key" if proof.key_type == HS_PUBKEY else "secret_key"
        attempt = await self._attempt(request, proof.identity, method)
        nonce = session.nonce
        if nonce is None or not self.sessions.spend(session):
            raise attempt.failed(None, session)
        try:
            claim = Claim(
                proof.key_type,
                proof.identity,
                proof.answer(),
                nonce + proof.cnonce,
                b"",
                CLAIM_VERSION,
            )
            proved = await prove(self._node, claim)
        except BiaoshiError:
            raise attempt.failed(None, self.sessions.get(session.id)) from None
        attempt.held()
        keys = await self._keys(proved, proof.key_type)
        if not keys and proof.key_type == HS_SECKEY and self._lies_elsewhere(proved):
            keys = (b"",)  # the secret itself is never seen here
        for key in keys:
            self.sessions.authenticated(session, proof.identity, key, proof.key_type)
        return proof.identity

    def adopt(self, session: Session, caller: Caller) -> None:
        """Let a new session belong to a caller who proved an identity by other means."""
        if caller.identity is not None and caller.key is not None:
            self.sessions.authenticated(session, caller.identity, *caller.key)

    # --- the ways

    async def _basic(self, request: web.BaseRequest, value: str) -> Caller:
        offered = read_basic(value)
        identity = offered.identity
        attempt = await self._attempt(request, identity, "basic")
        if identity is not None and self._lies_elsewhere(identity):
            return await self._basic_elsewhere(attempt, identity, offered.password)
        secrets: Sequence[bytes] = ()
        if identity is not None and self._node.settings.auth.secret_keys:
            secrets = self._local_keys(identity, HS_SECKEY)
        # A comparison is made for unknown names as well, so that the time says nothing.
        equal = _any_equal(secrets or (b"\0" * 32,), offered.password)
        if not equal or not secrets or identity is None:
            raise attempt.failed(None, None)
        attempt.held()
        return Caller(identity, key=(offered.password, HS_SECKEY))

    async def _basic_elsewhere(
        self, attempt: _Attempt, identity: Reference, password: bytes
    ) -> Caller:
        """A secret that lies at another node: its server judges an answer made with the password.

        The password itself does not leave this node.
        """
        nonce = self.random(NONCE_BYTES)
        answer = await asyncio.to_thread(
            answer_with_secret, password, nonce, b"", CLAIM_VERSION, salt=self.random(SALT_BYTES)
        )
        claim = Claim(HS_SECKEY, identity, answer, nonce, b"", CLAIM_VERSION)
        try:
            await prove(self._node, claim)
        except BiaoshiError:
            raise attempt.failed(None, None) from None
        attempt.held()
        return Caller(identity, key=(b"", HS_SECKEY))

    def _lies_elsewhere(self, identity: Reference) -> bool:
        """Whether another node holds an identity's keys, and this one can ask it."""
        here = self._node.prefixes.responsible(whole_name(identity.handle))
        return not here and self._node.asking is not None

    async def _handle(self, request: web.BaseRequest, fields: HandleFields) -> Caller:
        if fields.client_cert:
            return await self._certificate(request, fields)
        if fields.session_id is None:
            return Caller(None, None, fields)
        session = self.sessions.get(fields.session_id)
        if session is None:
            raise SessionUnknown
        if fields.broken:
            raise NotProved("the proof cannot be read", fields, session)
        if fields.proof is not None:
            try:
                identity = await self.prove(request, session, fields.proof)
            except NotProved as error:
                error.fields = fields
                raise
            return Caller(identity, self.sessions.get(session.id), fields)
        if session.identity is not None and not await self._still_holds(session):
            self.sessions.end(session)
            raise NotProved("the key of the session is no longer valid", fields, None)
        if session.identity is not None:
            self._count("session", "accepted")
        return Caller(session.identity, session, fields)

    async def _certificate(self, request: web.BaseRequest, fields: HandleFields) -> Caller:
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        der = tls.getpeercert(True) if tls is not None else None
        if der is None:
            return Caller(fields=fields)  # nothing was offered: as without credentials
        offered = read_certificate(der)
        attempt = await self._attempt(request, offered.identity if offered else None, "certificate")
        if offered is None:
            raise attempt.failed(fields, None)
        spki = encode_spki(offered.key)
        for data in await self._keys(offered.identity, HS_PUBKEY, anew=True):
            key = _public_key(data)
            if key is not None and hmac.compare_digest(encode_spki(key), spki):
                attempt.held()
                return Caller(offered.identity, None, fields, (data, HS_PUBKEY))
        raise attempt.failed(fields, None)

    async def _still_holds(self, session: Session) -> bool:
        """Whether the key that proved a session is still its identity's key."""
        assert session.identity is not None  # noqa: S101 - asked of authenticated sessions only
        if session.key_type == HS_SECKEY and self._lies_elsewhere(session.identity):
            return self._node.settings.auth.secret_keys  # judged by its server, for this session
        keys = await self._keys(session.identity, session.key_type)
        return any(digest_of(key) == session.key_digest for key in keys)

    # --- keys

    def _local_keys(self, identity: Reference, key_type: bytes) -> Sequence[bytes]:
        access = self._node.access
        if key_type == HS_SECKEY:
            return access.find_secrets(identity)
        return access.find_public_keys(identity)

    async def _keys(
        self, identity: Reference, key_type: bytes, *, anew: bool = False
    ) -> Sequence[bytes]:
        """The data of the identity's keys; public ones of other nodes are resolved.

        anew: past every cache.
        """
        if key_type == HS_SECKEY and not self._node.settings.auth.secret_keys:
            return ()
        found = self._local_keys(identity, key_type)
        if found or key_type == HS_SECKEY or self._node.prefixes.responsible(identity.handle):
            return found
        indexes = (identity.index,) if identity.index else ()
        types = () if identity.index else (HS_PUBKEY,)
        query = Query(identity.handle, indexes, types, authoritative=anew, do_not_refer=True)
        answer = await self._node.lookup.answer(query)
        if answer.code == ResponseCode.SERVER_NOT_RESPONSIBLE and self._node.asking is not None:
            answer = await self._node.asking.resolve(query)
        if answer.code != ResponseCode.SUCCESS:
            return ()
        return [v.data for v in decode_values(answer.values) if v.type.upper() == HS_PUBKEY]

    # --- attempts

    async def _attempt(
        self, request: web.BaseRequest, identity: Reference | None, method: str
    ) -> _Attempt:
        """Take one attempt from the account's and the source's allowance.

        An account whose allowance is used up is answered later, a few at a time, and not never:
        nobody locks an administrator out by guessing. Raises TooManyFailures beyond that.
        """
        host = self._senders.host(request).encode()
        name = b"" if identity is None else fold_prefix(identity.handle)
        account = (b"account\0%b\0%b" % (host, name), self._per_minute)
        source = (b"source\0%b" % host, self._per_minute * _SOURCE_SHARE)
        wait_s = self._table.take_attempt((source,))
        if wait_s == 0 and self._table.take_attempt((account,)) > 0:
            wait_s = await self._delayed(account[0])
        if wait_s > 0:
            self._count(method, "delayed")
            raise TooManyFailures(wait_s)
        return _Attempt(self, account[0], source, method)

    async def _delayed(self, account: bytes) -> float:
        """Wait in place of a refusal; the seconds to come back in when too many wait already."""
        if self._waiting[account] >= _MOST_WAITING:
            return DELAY_S
        self._waiting[account] += 1
        try:
            await asyncio.sleep(DELAY_S)
        finally:
            self._waiting[account] -= 1
            if not self._waiting[account]:
                del self._waiting[account]
        return 0.0

    def forgive(self, account: bytes, source: tuple[bytes, int]) -> None:
        """An attempt that held is no failure, and ends what was held against the account."""
        self._table.forgive(account)
        self._table.give_attempt_back((source,))

    def _count(self, method: str, outcome: str) -> None:
        self._node.metrics.authentications[method, outcome].inc()

    # --- challenges

    def challenge(
        self, session: Session | None, fields: HandleFields | None, *, error: bool = False
    ) -> list[str]:
        """The WWW-Authenticate lines: Basic first, unless a Handle header came."""
        session = self.sessions.renewed(session or self.sessions.new())
        assert session.nonce is not None  # noqa: S101 - renewed() makes sure
        parts = [f'sessionId="{session.id}"', f'nonce="{_base64(session.nonce)}"']
        if fields is not None and fields.cnonce:
            parts += [
                f'{name}="{text}"' for name, text in self.server_proof(session, fields.cnonce)
            ]
        if error:
            parts.append(f'error="{ERROR_TEXT}"')
        lines = ["Handle " + ", ".join(parts)]
        return lines if fields is not None else ['Basic realm="handle"', *lines]

    def server_proof(self, session: Session, cnonce: bytes) -> list[tuple[str, str]]:
        """`serverAlg` and `serverSignature` over nonce and cnonce, by the site key."""
        signature = sign_octets(
            self._node.keys.site_private, (session.nonce or b"") + cnonce, SHA_256
        )
        return [("serverAlg", SHA_256.decode()), ("serverSignature", _base64(signature))]

    def attempt_done(self, method: str, outcome: str) -> None:
        """Count how a proof ended."""
        self._count(method, outcome)


class _Attempt:
    """One try to prove an identity."""

    def __init__(
        self,
        authenticator: Authenticator,
        account: bytes,
        source: tuple[bytes, int],
        method: str,
    ) -> None:
        self._authenticator = authenticator
        self._account = account
        self._source = source
        self._method = method

    def held(self) -> None:
        """It was right: no failure is counted."""
        self._authenticator.forgive(self._account, self._source)
        self._authenticator.attempt_done(self._method, "accepted")

    def failed(self, fields: HandleFields | None, session: Session | None) -> NotProved:
        """It was wrong: the error to raise."""
        self._authenticator.attempt_done(self._method, "refused")
        return NotProved(ERROR_TEXT, fields, session)


def _any_equal(secrets: Sequence[bytes], offered: bytes) -> bool:
    equal = False
    for secret in secrets:  # all of them, so that the time does not tell which one it was
        equal |= hmac.compare_digest(secret, offered)
    return equal


def _public_key(data: bytes) -> PublicKey | None:
    try:
        return decode_public_key(data)
    except ParseError:
        return None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
