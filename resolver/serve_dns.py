"""The DNS face of one reader: authoritative for OIDs (ORS) and GTINs (ONS) on its sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from resolver.dns.face import DnsFace
from resolver.dns.tcp import DnsTcp
from resolver.dns.udp import DnsUdp
from resolver.node import Node


class DnsServer:
    """All DNS sockets of one reader."""

    def __init__(self, face: DnsFace, parts: Sequence[DnsUdp | DnsTcp]) -> None:
        self.face = face
        self._parts = parts

    async def close(self, grace_s: float) -> None:
        """Take nothing new, within grace_s."""
        await asyncio.gather(*(part.close(grace_s) for part in self._parts))


async def start(
    node: Node, udp_sockets: Sequence[socket.socket], tcp_sockets: Sequence[socket.socket]
) -> DnsServer:
    """Answer on these sockets, bound already; they stay the caller's to close.

    Raises SettingsError where the settings name no zone, or a wrong one.
    """
    face = DnsFace(node)
    parts: list[DnsUdp | DnsTcp] = [DnsUdp(face, sock) for sock in udp_sockets]
    for sock in tcp_sockets:
        tcp = DnsTcp(face, sock)
        await tcp.start()
        parts.append(tcp)
    return DnsServer(face, parts)
