"""The DO-IRP face of one reader: its sockets, and messages that came through another face."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from resolver.doirp.exchange import Peer, Transport
from resolver.doirp.handler import Handler
from resolver.doirp.tcp import TcpFace
from resolver.doirp.udp import UdpFace
from resolver.node import Node

_handlers: dict[int, Handler] = {}
"""One a node, and a process has one node; a handler keeps its node alive, so the key stays its."""


def handler_of(node: Node) -> Handler:
    """The node's handler: the same for the sockets and for the HTTP tunnel."""
    handler = _handlers.get(id(node))
    if handler is None:
        handler = _handlers[id(node)] = Handler(node)
    return handler


class DoirpFace:
    """All DO-IRP sockets of one reader."""

    def __init__(self, handler: Handler, parts: Sequence[UdpFace | TcpFace]) -> None:
        self.handler = handler
        self._parts = parts

    async def close(self, grace_s: float) -> None:
        """Take nothing new and answer what was taken, within grace_s."""
        await asyncio.gather(*(part.close(grace_s) for part in self._parts))


async def start(
    node: Node, udp_sockets: Sequence[socket.socket], tcp_sockets: Sequence[socket.socket]
) -> DoirpFace:
    """Answer on these sockets, bound already; they stay the caller's to close."""
    handler = handler_of(node)
    parts: list[UdpFace | TcpFace] = [UdpFace(handler, sock) for sock in udp_sockets]
    parts += [TcpFace(handler, sock) for sock in tcp_sockets]
    return DoirpFace(handler, parts)


async def replies_to(
    node: Node, data: bytes, peer: Peer | tuple[str, int]
) -> AsyncGenerator[bytes, None]:
    """The reply messages to one that came over a connection, each with its envelope.

    For the HTTP tunnel (do-irp 3.3). peer: address and port, or a Peer where the connection is
    secure. No message: there is nothing to be said. Never raises but for cancellation.
    """
    handler = handler_of(node)
    if not isinstance(peer, Peer):
        peer = Peer(peer[0], peer[1], Transport.TUNNEL)
    handler.proven.saw(peer.host)
    # Deployed clients put a line end before the envelope; no version begins with one.
    taken = handler.take(data[1:] if data[:1] in (b"\r", b"\n") else data, peer)
    reply = taken if isinstance(taken, bytes) else handler.now(taken)
    if reply:
        yield reply
    if reply is None and not isinstance(taken, bytes):
        async with aclosing(handler.replies(taken)) as parts:
            async for part in parts:
                yield part


async def handle_message(node: Node, data: bytes, peer: Peer | tuple[str, int]) -> bytes:
    """All of replies_to(), one after the other; empty where there is nothing to be said."""
    return b"".join([part async for part in replies_to(node, data, peer)])
