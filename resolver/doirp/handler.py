"""A DO-IRP request from octets to octets: read, look who asks, carry out, write the reply.

The one way for UDP, TCP and the HTTP tunnel; the plainest questions have a shorter one with the
same octets (resolver.doirp.fast). What each operation does is in OPERATIONS.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from protocol.credential import mac_message, sign_message
from protocol.doirp.envelope import ENVELOPE_SIZE, Envelope, encode_envelope
from protocol.doirp.header import EXPIRATION_S, STALE_EXPIRATION_S, Flag, OpCode
from protocol.doirp.message import Message, encode_message, response
from protocol.errors import (
    AuthenticationNeeded,
    AuthenticationTimeout,
    BiaoshiError,
    NotSupported,
    ParseError,
    ResponseCode,
    SessionTimeout,
)
from protocol.session import encrypt_message
from resolver.doirp import admin, authentication, questions, sessions
from resolver.doirp.counting import count
from resolver.doirp.desk import Desk, make_desk
from resolver.doirp.exchange import Exchange, Peer, Reply, Transport, error_reply
from resolver.doirp.fast import plain_answers
from resolver.doirp.ids import owner_of
from resolver.doirp.reading import Unreadable, echo_of, read_envelope, read_request, unparsed
from resolver.node import Node

log = structlog.get_logger()

Operation = Callable[[Desk, Exchange], Awaitable[Reply | AsyncIterator[Reply]]]

VERB: Final = "doirp"
"""What readers ask each other for: to answer a message whose challenge or session is theirs."""


async def _not_offered(_desk: Desk, exchange: Exchange) -> Reply:
    """Replication of deployed servers (1000 to 1003)."""
    raise NotSupported(f"operation {exchange.message.header.opcode} is not offered by this server")


OPERATIONS: Final[Mapping[int, Operation]] = {
    OpCode.RESOLUTION: questions.resolve,
    OpCode.GET_SITE_INFO: questions.site_info,
    OpCode.CREATE_HANDLE: admin.create,
    OpCode.DELETE_HANDLE: admin.delete,
    OpCode.ADD_VALUE: admin.add,
    OpCode.REMOVE_VALUE: admin.remove,
    OpCode.MODIFY_VALUE: admin.modify,
    OpCode.LIST_HANDLES: admin.list_handles,
    OpCode.LIST_DERIVED_PREFIXES: admin.list_derived,
    OpCode.VERIFY_RESPONSE: authentication.verify,
    OpCode.HOME_PREFIX: admin.home,
    OpCode.UNHOME_PREFIX: admin.unhome,
    OpCode.LIST_HOMED_PREFIXES: admin.list_homed,
    OpCode.SESSION_SETUP: sessions.set_up,
    OpCode.SESSION_TERMINATE: sessions.terminate,
    OpCode.SESSION_EXCHANGE_KEY: sessions.exchange_key,
    OpCode.GET_NEXT_TXN_ID: _not_offered,
    OpCode.RETRIEVE_TXN: _not_offered,
    OpCode.DUMP_HANDLES: _not_offered,
    OpCode.BACKUP_SERVER: _not_offered,
}
"""Operation 200 is none of its own: it brings the proof for another request."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A message whose challenge or session another reader of this node owns."""

    owner: int
    data: bytes
    peer: Peer

    @property
    def keep_alive(self) -> bool:
        """Known only where the message is not encrypted; else the connection is closed."""
        encrypted = bool(self.data[2] & 0x40)
        return not encrypted and len(self.data) > 28 and bool(self.data[28] & 0x02)


Taken = Exchange | Elsewhere


class Handler:
    """One reader's DO-IRP server, without its sockets."""

    def __init__(self, node: Node, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self.node = node
        self.desk = make_desk(node, random=random)
        self.proven = self.desk.proven
        self.query_log = node.query_log if node.settings.log.query_sample else None
        self.plain = plain_answers(node.lookup, serial=self._serial, now=node.now)
        node.siblings.answer(VERB, self._for_sibling)

    def _serial(self) -> int:
        return self.node.site.serial

    # --- in

    def take(self, data: bytes, peer: Peer) -> Taken | bytes:
        """The request in a whole message with its envelope, or the reply to what is none.

        An empty reply: there is nothing to be said. Never raises.
        """
        try:
            envelope = read_envelope(data)
            part = data[ENVELOPE_SIZE:]
            if envelope.session_id:
                return self._take_in_session(envelope, part, data, peer)
            if envelope.encrypted:
                raise Unreadable(
                    ResponseCode.PROTOCOL_ERROR,
                    "an encrypted message must be sent in a session",
                    echo_of(envelope, b""),
                )
            return Exchange(read_request(envelope, part, peer.transport), peer)
        except Unreadable as refused:
            return self._refuse(refused, peer)

    def _take_in_session(
        self, envelope: Envelope, part: bytes, data: bytes, peer: Peer
    ) -> Taken | bytes:
        """A message with the id of a challenge or a session."""
        owner = owner_of(envelope.session_id)
        if owner != self.node.number and owner < self.node.readers:
            return Elsewhere(owner, data, peer)
        try:
            return sessions.open_in_session(self.desk, envelope, part, peer)
        except SessionTimeout as error:
            if envelope.encrypted:
                raise Unreadable(error.code, str(error), echo_of(envelope, b"")) from None
            message = read_request(envelope, part, peer.transport)
            if message.header.opcode == OpCode.CHALLENGE_RESPONSE:
                return Exchange(message, peer)
            raise Unreadable(error.code, str(error), message) from None
        except BiaoshiError as error:
            part = b"" if envelope.encrypted else part
            raise Unreadable(error.code, str(error), echo_of(envelope, part)) from None

    def _refuse(self, refused: Unreadable, peer: Peer) -> bytes:
        """The reply to what is no request, or to one whose session is gone."""
        count(self.node.metrics, peer.transport, refused.code)
        if refused.message is None:
            return b""
        reply = error_reply(refused.code, refused.text)
        return encode_message(self._response(refused.message, reply))

    # --- carrying out

    def now(self, taken: Taken) -> bytes | None:
        """The reply, when it takes no waiting; None: take `replies()`."""
        if isinstance(taken, Elsewhere) or taken.message.header.opcode != OpCode.RESOLUTION:
            return None
        try:
            reply = questions.resolve_now(self.desk, taken)
        except BiaoshiError as error:
            reply = self._refusal(taken, error)
        return None if reply is None else self._sealed(taken, reply)

    async def replies(self, taken: Taken) -> AsyncGenerator[bytes, None]:
        """The replies, each a whole message with its envelope; several where one does not hold all.

        Never raises but for cancellation.
        """
        if isinstance(taken, Elsewhere):
            for whole in await self._from_sibling(taken):
                yield whole
            return
        async for exchange, reply in self._carried_out(taken):
            yield self._sealed(exchange, reply)

    async def _carried_out(self, exchange: Exchange) -> AsyncIterator[tuple[Exchange, Reply]]:
        """What the operation says, with the exchange it says it in."""
        try:
            if exchange.message.header.opcode == OpCode.CHALLENGE_RESPONSE:
                exchange, claim = authentication.answered(self.desk, exchange)
                await authentication.require_proof(self.desk, exchange, claim)
            opcode = exchange.message.header.opcode
            operation = OPERATIONS.get(opcode)
            if operation is None:
                raise ParseError(f"operation code {opcode} is unknown")
            said = await operation(self.desk, exchange)
            if isinstance(said, Reply):
                yield exchange, said
                return
            async for part in said:
                yield exchange, part
        except BiaoshiError as error:
            yield exchange, self._refusal(exchange, error)
        except Exception:
            log.exception("operation_failed", opcode=exchange.message.header.opcode)
            yield exchange, error_reply(ResponseCode.ERROR, "an internal error; see the node's log")

    def busy(self, taken: Taken) -> bytes:
        """The reply when there is no room to carry a request out; empty for another reader's."""
        if isinstance(taken, Elsewhere):
            return b""
        return self._sealed(taken, error_reply(ResponseCode.SERVER_BUSY))

    def _refusal(self, exchange: Exchange, error: BiaoshiError) -> Reply:
        """An error as a reply: a challenge where an identity is all that is missing."""
        if isinstance(error, AuthenticationNeeded) and exchange.identity is None:
            try:
                return authentication.challenge(self.desk, exchange)
            except BiaoshiError as refused:
                error = refused
        if isinstance(error, ParseError) and error.code == ResponseCode.PROTOCOL_ERROR:
            return error_reply(unparsed(exchange.peer.transport), str(error))
        return error_reply(error.code, str(error))

    # --- readers among themselves

    async def _from_sibling(self, taken: Elsewhere) -> list[bytes]:
        """Replies of the reader that owns a challenge or session; a refusal when it is gone."""
        peer = taken.peer
        try:
            body = [taken.data, peer.host, peer.port, peer.transport.value, peer.secure]
            return list(await self.node.siblings.ask(taken.owner, VERB, body))
        except BiaoshiError:
            # It died or was replaced, and its challenges and sessions with it.
            part = taken.data[ENVELOPE_SIZE:]
            echo = echo_of(read_envelope(taken.data), part)
            answers = echo.header.opcode == OpCode.CHALLENGE_RESPONSE
            error = AuthenticationTimeout if answers else SessionTimeout
            text = "the session or challenge is gone; begin again"
            return [self._refuse(Unreadable(error.code, text, echo), peer)]

    async def _for_sibling(self, body: Any) -> list[bytes]:
        """Answer a message that another reader of this node received. Raises ParseError."""
        try:
            data, host, port, transport, secure = body
            peer = Peer(host, port, Transport(transport), secure)
        except (TypeError, ValueError) as error:
            raise ParseError(f"not a message of a sibling: {error}") from None
        taken = self.take(data, peer)
        if isinstance(taken, Elsewhere):
            raise ParseError("the message belongs to a third reader")
        if isinstance(taken, bytes):
            return [taken]
        return [reply async for reply in self.replies(taken)]

    # --- out

    def _sealed(self, exchange: Exchange, reply: Reply) -> bytes:
        """A reply counted, encoded, signed and encrypted as its request and content want it."""
        asked, session = exchange.answers.header, exchange.session
        hide = reply.private or asked.has(Flag.ENC)
        if reply.private and asked.has(Flag.ENC) and session is None and not exchange.peer.secure:
            reply = error_reply(
                ResponseCode.INVALID_CREDENTIAL, "an encrypted reply needs a session: set one up"
            )
        count(self.node.metrics, exchange.peer.transport, reply.code, changed=reply.changed)
        message = self._response(exchange.answers, reply, exchange.message.header.opcode)
        hide = hide and session is not None and not exchange.peer.secure
        if reply.site_signed or (asked.has(Flag.CT) and session is None):
            if not self.desk.may_sign(exchange.peer):
                busy = error_reply(ResponseCode.SERVER_BUSY, "too many signed replies asked for")
                return encode_message(self._response(exchange.answers, busy))
            message = sign_message(message, self.node.keys.site_private)
        elif session is not None and (hide or asked.has(Flag.CT)):
            message = mac_message(message, session.key.octets, counter=session.next_counter())
        if session is None or not hide:
            return encode_message(message)
        iv = self.desk.random(session.key.iv_bytes)
        envelope, ciphertext = encrypt_message(message, session.key, iv=iv)
        return encode_envelope(envelope) + ciphertext

    def _response(self, to: Message, reply: Reply, opcode: int | None = None) -> Message:
        return response(
            to,
            reply.code,
            reply.body,
            site_serial=self._serial(),
            expiration=int(self.node.now()) + (STALE_EXPIRATION_S if reply.stale else EXPIRATION_S),
            authoritative=reply.authoritative,
            session_id=reply.session_id,
            set_flags=reply.flags,
            opcode=opcode,
        )
