"""A DO-IRP request from octets to octets: read, look who asks, carry out, write the reply.

The one way for UDP, TCP and the HTTP tunnel; the plainest questions have a shorter one with the
same octets (resolver.doirp.fast). What each operation does is in OPERATIONS.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

import structlog

from protocol.doirp.envelope import ENVELOPE_SIZE
from protocol.doirp.header import EXPIRATION_S, OpCode
from protocol.doirp.message import Message, encode_message, response
from protocol.errors import BiaoshiError, ParseError, ResponseCode
from resolver.doirp import questions
from resolver.doirp.counting import count
from resolver.doirp.exchange import Exchange, Peer, Reply, error_reply
from resolver.doirp.fast import plain_answers
from resolver.doirp.limits import Proven
from resolver.doirp.reading import Unreadable, read_envelope, read_request, unparsed
from resolver.node import Node

log = structlog.get_logger()

Operation = Callable[[Node, Exchange], Awaitable[Reply]]

OPERATIONS: Final[Mapping[int, Operation]] = {
    OpCode.RESOLUTION: questions.resolve,
    OpCode.GET_SITE_INFO: questions.site_info,
}


class Handler:
    """One reader's DO-IRP server, without its sockets."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.proven = Proven(node.dir / "run" / "proven", now=node.now)
        self.query_log = node.query_log if node.settings.log.query_sample else None
        self.plain = plain_answers(node.lookup, serial=self._serial, now=node.now)

    def _serial(self) -> int:
        return self.node.site.serial

    def take(self, data: bytes, peer: Peer) -> Exchange | bytes:
        """The request in a whole message with its envelope, or the reply to what is none.

        An empty reply: there is nothing to be said. Never raises.
        """
        try:
            envelope = read_envelope(data)
            return Exchange(read_request(envelope, data[ENVELOPE_SIZE:], peer.transport), peer)
        except Unreadable as refused:
            count(self.node.metrics, peer.transport, ResponseCode.PROTOCOL_ERROR)
            if refused.message is None:
                return b""
            return self._encode(refused.message, error_reply(refused.code, refused.text))

    def now(self, exchange: Exchange) -> bytes | None:
        """The reply, when it takes no waiting; None: take `replies()`."""
        if exchange.message.header.opcode != OpCode.RESOLUTION:
            return None
        try:
            reply = questions.resolve_now(self.node, exchange)
        except BiaoshiError as error:
            reply = self._refusal(exchange, error)
        return None if reply is None else self._sealed(exchange, reply)

    async def replies(self, exchange: Exchange) -> AsyncGenerator[bytes, None]:
        """The replies, each a whole message with its envelope; several where one does not hold all.

        Never raises but for cancellation.
        """
        try:
            operation = OPERATIONS.get(exchange.message.header.opcode)
            if operation is None:
                reply = error_reply(
                    unparsed(exchange.peer.transport),
                    f"operation code {exchange.message.header.opcode} is unknown",
                )
            else:
                reply = await operation(self.node, exchange)
        except BiaoshiError as error:
            reply = self._refusal(exchange, error)
        except Exception:
            log.exception("operation_failed", opcode=exchange.message.header.opcode)
            reply = error_reply(ResponseCode.ERROR, "an internal error; see the server's log")
        yield self._sealed(exchange, reply)

    def busy(self, exchange: Exchange) -> bytes:
        """The reply when there is no room to carry a request out."""
        return self._sealed(exchange, error_reply(ResponseCode.SERVER_BUSY))

    def _refusal(self, exchange: Exchange, error: BiaoshiError) -> Reply:
        """An error as a reply."""
        if isinstance(error, ParseError) and error.code == ResponseCode.PROTOCOL_ERROR:
            return error_reply(unparsed(exchange.peer.transport), str(error))
        return error_reply(error.code, str(error))

    def _sealed(self, exchange: Exchange, reply: Reply) -> bytes:
        """A reply counted and encoded."""
        count(self.node.metrics, exchange.peer.transport, reply.code, changed=reply.changed)
        return self._encode(exchange.answers, reply, opcode=exchange.message.header.opcode)

    def _encode(self, to: Message, reply: Reply, opcode: int | None = None) -> bytes:
        return encode_message(
            response(
                to,
                reply.code,
                reply.body,
                site_serial=self._serial(),
                expiration=int(self.node.now()) + EXPIRATION_S,
                authoritative=reply.authoritative,
                session_id=reply.session_id,
                set_flags=reply.flags,
                opcode=opcode,
            )
        )
