"""DO-IRP messages inside HTTP: POST with Content-Type application/x-hdl-message (do-irp 3.3).

The path is ignored, as deployed servers do: the handle is in the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from protocol.errors import ParseError
from resolver.doirp.exchange import Peer, Transport
from resolver.http.asked import Senders, read_body
from resolver.serve_doirp import handle_message

if TYPE_CHECKING:
    from resolver.node import Node

TUNNEL_TYPE: Final = "application/x-hdl-message"
_ENVELOPE_AND_LINE: Final = 22


class Tunnel:
    """Takes messages out of requests and puts the replies back."""

    def __init__(self, node: Node, senders: Senders) -> None:
        self._node = node
        self._senders = senders

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """The reply messages, one after the other."""
        limits = self._node.settings.limits
        most = limits.message_bytes + _ENVELOPE_AND_LINE
        data = await read_body(request, most, limits.request_s)
        name = request.transport.get_extra_info("peername") if request.transport else None
        port = int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0
        peer = Peer(
            self._senders.host(request), port, Transport.TUNNEL, self._senders.secure(request)
        )
        reply = await handle_message(self._node, data, peer)
        if not reply:
            raise ParseError("the body is no Handle protocol message; send envelope and message")
        return web.Response(body=reply, headers={"Content-Type": TUNNEL_TYPE})
