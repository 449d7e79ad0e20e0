"""The one way out: every outbound connection of a node passes here (threats H4).

A name is resolved once and every address it has must be allowed; the connection is made to just
those addresses. Public addresses are allowed. Loopback and private ones are allowed when

- `allow_private` is set (private ones: a deployment inside one network),
- a network or address of `allow` holds them,
- or a configured root or parent lies in that class: a node whose root is on loopback may follow
  referrals to loopback, one whose root is at 10.1.2.3 to private addresses.

Link-local addresses (cloud metadata) pass only when `allow` names them. What has no host behind
it never passes. Nothing here follows a redirect, reads a proxy setting or forwards a credential.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from protocol.errors import OutboundRefused, ServerBusy, Silent, UpstreamError
from resolver.addresses import (
    Address,
    AddressClass,
    classify,
    inner,
    parse_address,
    parse_network,
)
from resolver.channels import TcpChannel, UdpChannel, open_tcp_channel, open_udp_channel
from resolver.config import OutboundSettings
from resolver.metrics import Metrics

SCHEMES = frozenset({"irp-udp", "irp-tcp", "http", "https"})

# Ports below 1024 are refused but for these; these above are services that a datagram or a
# request sent by mistake can hurt (the list of browsers, and common data stores).
_LOW_PORTS = frozenset({80, 443})
_SERVICES = frozenset(
    {1433, 1521, 1719, 1720, 1723, 1900, 2049, 2375, 2376, 2379, 3306, 3659, 4045, 4190, 5060}
    | {5061, 5353, 5432, 5672, 6000, 6379, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697}
    | {9042, 9200, 9300, 10080, 10250, 11211, 27017, 27018}
)


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https address without credentials. path: with its query, at least `/`."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """`https://host:port`; an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_url(text: str) -> Url:
    """Take an address apart. Raises OutboundRefused, saying what is wrong with it."""
    if any(char <= " " or char in "\x7f\\" for char in text):
        raise OutboundRefused(f"{text!r} holds a blank, a backslash or a control character")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise OutboundRefused(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise OutboundRefused(f"{text!r} is neither http nor https")
    if "@" in parts.netloc:
        raise OutboundRefused("a URL with a user name or password in it is refused")
    if not parts.hostname:
        raise OutboundRefused(f"{text!r} names no host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = 443 if parts.scheme == "https" else 80
    return Url(parts.scheme, parts.hostname, default if port is None else port, path)


class Guard:
    """Checks and opens outbound connections for one process."""

    def __init__(self, settings: OutboundSettings, metrics: Metrics | None = None) -> None:
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._networks = tuple(parse_network(text) for text in settings.allow)
        self._ports = _LOW_PORTS | frozenset(settings.allow_ports)
        self._named_ports = frozenset(settings.allow_ports)
        self._classes = {AddressClass.PUBLIC}
        if settings.allow_private:
            self._classes.add(AddressClass.PRIVATE)
        self._all = asyncio.Semaphore(settings.max_connections)
        self._open: Counter[Address] = Counter()

    @property
    def settings(self) -> OutboundSettings:
        return self._settings

    def trust_class_of(self, addresses: Iterable[str]) -> None:
        """Let the class of configured roots and parents through: private or loopback, no other."""
        for text in addresses:
            kind = classify(parse_address(text))
            if kind in (AddressClass.PRIVATE, AddressClass.LOOPBACK):
                self._classes.add(kind)

    async def trust_host(self, host: str, port: int) -> None:
        """trust_class_of() the addresses of a configured host. Raises UpstreamError."""
        self.trust_class_of(await self._look_up(host, port))

    def check(self, address: str, port: int, scheme: str) -> Address:
        """The address, if a connection to it is allowed. Raises OutboundRefused."""
        try:
            return self._checked(address, port, scheme)
        except OutboundRefused:
            self._metrics.outbound_refused.inc()
            raise

    def _checked(self, address: str, port: int, scheme: str) -> Address:
        if scheme not in SCHEMES:
            raise OutboundRefused(f"scheme {scheme!r} is none of {', '.join(sorted(SCHEMES))}")
        self._check_port(port)
        parsed = parse_address(address)
        if any(parsed in network or inner(parsed) in network for network in self._networks):
            return parsed
        kind = classify(parsed)
        if kind not in self._classes:
            raise OutboundRefused(
                f"{address} is a {kind} address and none of the configured roots is one; name it "
                "in `outbound.allow` if it is meant"
            )
        return parsed

    def _check_port(self, port: int) -> None:
        low = port < 1024 and port not in self._ports
        service = port in _SERVICES and port not in self._named_ports
        if not 0 < port < 65536 or low or service:
            raise OutboundRefused(
                f"port {port} is not one to connect to; name it in `outbound.allow_ports` if it is"
            )

    async def addresses(self, host: str, port: int, scheme: str) -> tuple[str, ...]:
        """Resolve a name once; all its addresses, each allowed. Raises OutboundRefused.

        One address that is not allowed refuses the name: it may be rebound at the next look-up.
        """
        self._check_port(port)
        found = await self._look_up(host, port)
        return tuple(str(self.check(text, port, scheme)) for text in found)

    async def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        bare = host.removeprefix("[").removesuffix("]")
        if ":" in bare or bare.replace(".", "").isdigit():
            return (str(parse_address(bare)),)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                found = await loop.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise UpstreamError(f"{host!r} has no address: {str(error) or 'time-out'}") from None
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))

    @asynccontextmanager
    async def _slot(self, address: Address) -> AsyncIterator[None]:
        if self._open[address] >= self._settings.max_per_address:
            raise ServerBusy(
                f"{self._open[address]} connections to {address} are open, no more are made now"
            )
        self._open[address] += 1
        try:
            async with self._all:
                yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    @asynccontextmanager
    async def udp(self, address: str, port: int) -> AsyncIterator[UdpChannel]:
        """A connected socket on a port of the system's choice: others' datagrams do not arrive."""
        checked = self.check(address, port, "irp-udp")
        async with self._slot(checked):
            channel = await open_udp_channel(str(checked), port)
            try:
                yield channel
            finally:
                channel.close()

    @asynccontextmanager
    async def tcp(
        self,
        address: str,
        port: int,
        *,
        scheme: str = "irp-tcp",
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> AsyncIterator[TcpChannel]:
        """A connection to an address, closed at the end. Raises UpstreamError."""
        checked = self.check(address, port, scheme)
        async with self._slot(checked):
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    channel = await open_tcp_channel(
                        str(checked), port, self._settings.max_bytes, tls, server_name
                    )
            except TimeoutError:
                raise Silent(f"{address} port {port} did not accept in time") from None
            try:
                yield channel
            finally:
                channel.close()

    def http_session(self, **options: Any) -> aiohttp.ClientSession:
        """A session whose every connection is checked here, after the name was resolved.

        The address that was checked is the one connected to. Callers pass
        `allow_redirects=False`; a redirect that is followed all the same is checked like any
        other connection. options: of aiohttp.ClientSession.
        """
        connector = aiohttp.TCPConnector(
            resolver=_GuardedResolver(self),
            socket_factory=self._checked_socket,
            limit=self._settings.max_connections,
            limit_per_host=self._settings.max_per_address,
            use_dns_cache=False,
        )
        options.setdefault("timeout", aiohttp.ClientTimeout(total=30, connect=10))
        options.setdefault("cookie_jar", aiohttp.DummyCookieJar())
        return aiohttp.ClientSession(connector=connector, trust_env=False, **options)

    def _checked_socket(self, info: Any) -> socket.socket:
        family, kind, protocol, _, where = info
        self.check(str(where[0]), int(where[1]), "https")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class _GuardedResolver(AbstractResolver):
    """aiohttp's look-up through Guard.addresses()."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # aiohttp tries what it is given; the guard wants to see every address
        found = await self._guard.addresses(host, port, "https")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is kept open."""
