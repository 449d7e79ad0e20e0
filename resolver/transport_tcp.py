"""Questions to one server over TCP (do-irp 3.2): one connection, one request, one or more replies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from protocol.doirp.header import Flag
from protocol.doirp.message import Message, decode_message_part, encode_message
from protocol.doirp.stream import NEED_DATA, MessageStream
from protocol.errors import ParseError, Unreachable, UpstreamError
from resolver.channels import Octets
from resolver.network import Network
from resolver.peers import Endpoint

T = TypeVar("T")


async def ask_tcp(
    network: Network,
    endpoint: Endpoint,
    request: Message,
    accept: Callable[[Message], T],
    *,
    sending: Callable[[], None],
) -> T:
    """What `accept` makes of the first reply. Raises UpstreamError, SignatureInvalid."""
    async with network.tcp(endpoint.address, endpoint.port) as channel:
        sending()
        await channel.send(encode_message(request))
        try:
            async for reply in replies(channel, endpoint):
                return accept(reply)
        except ParseError as error:
            raise UpstreamError(f"{endpoint} sent no reply to the question: {error}") from None
    raise Unreachable(f"{endpoint} closed the connection without a reply")


async def ask_tcp_all(
    network: Network,
    endpoint: Endpoint,
    request: Message,
    accept: Callable[[Message], T],
    *,
    sending: Callable[[], None],
) -> AsyncIterator[T]:
    """Every reply of a continued one (flag CN on all but the last). Raises as ask_tcp()."""
    async with network.tcp(endpoint.address, endpoint.port) as channel:
        sending()
        await channel.send(encode_message(request))
        try:
            async for reply in replies(channel, endpoint):
                yield accept(reply)
                if not reply.header.has(Flag.CN):
                    return
        except ParseError as error:
            raise UpstreamError(f"{endpoint} sent no reply to the question: {error}") from None
    raise Unreachable(f"{endpoint} closed the connection before the last reply")


async def replies(channel: Octets, endpoint: Endpoint) -> AsyncIterator[Message]:
    """The messages of a connection until its end. Raises ParseError, UpstreamError."""
    stream = MessageStream()
    while data := await channel.receive():
        stream.feed(data)
        while (taken := stream.next()) is not NEED_DATA:
            yield decode_message_part(*taken)
    if stream.held:
        raise Unreachable(f"{endpoint} closed the connection in the middle of a reply")
