"""The way to other nodes, as the client sees it: resolver.guard, or a scripted one in tests."""

from __future__ import annotations

import ssl
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from resolver.channels import Datagrams, Octets


class Network(Protocol):
    """Opens connections that are allowed; raises UpstreamError or ServerBusy otherwise."""

    def udp(self, address: str, port: int) -> AbstractAsyncContextManager[Datagrams]:
        """A socket that hears one peer only."""

    def tcp(
        self,
        address: str,
        port: int,
        *,
        scheme: str = "irp-tcp",
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> AbstractAsyncContextManager[Octets]:
        """A stream to one address, closed at the end."""

    async def addresses(self, host: str, port: int, scheme: str) -> tuple[str, ...]:
        """The addresses of a name, each allowed."""
