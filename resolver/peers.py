"""Who can be asked: endpoints of one server, sites of one service (do-irp 12.3, 16, 18).

Turns HS_SITE values into what the client connects to. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from protocol.doirp.envelope import Version
from protocol.doirp.hashing import server_index
from protocol.doirp.header import UNKNOWN_SERIAL
from protocol.errors import ParseError
from protocol.record import HandleValue
from protocol.values.hs_site import Interface, Server, Site, Transport, decode_site

MAX_SERVERS = 256
"""Servers of one site that are looked at."""
MAX_SITES = 16
"""Sites of one service that are looked at."""

ORDER = (Transport.UDP, Transport.TCP, Transport.HTTP, Transport.HTTPS)
"""The transports as they are tried (do-irp 18.3)."""
SITE_TYPES = frozenset({b"HS_SITE", b"HS_SITE.6"})
DERIVED_TYPES = frozenset({b"HS_SITE.PREFIX", b"HS_NA_DELEGATE"})
SERVICE_TYPES = frozenset({b"HS_SERV"})
DERIVED_SERVICE_TYPES = frozenset({b"HS_SERV.PREFIX"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to reach a server. address: IP text."""

    transport: Transport
    address: str
    port: int

    @property
    def ipv6(self) -> bool:
        return ":" in self.address

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.ipv6 else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """One server, as it is asked.

    public_key: encoded, empty when it is not known. version: highest the site speaks, None when
    its site record is not known. host: name for the HTTP Host header and TLS.
    """

    endpoints: tuple[Endpoint, ...]
    public_key: bytes = b""
    version: Version | None = None
    serial: int = UNKNOWN_SERIAL
    host: str | None = None

    def only(self, transports: Sequence[Transport]) -> Peer:
        """The same server over some transports alone."""
        kept = tuple(each for each in self.endpoints if each.transport in transports)
        return replace(self, endpoints=kept)

    def __str__(self) -> str:
        return str(self.endpoints[0]) if self.endpoints else "a server without an address"


@dataclass(frozen=True, slots=True)
class ServiceSite:
    """One site, in the variants that its IPv4 and IPv6 records give."""

    variants: tuple[Site, ...]

    @property
    def primary(self) -> bool:
        return any(site.primary for site in self.variants)

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two sites the same one: their servers' keys, or their addresses."""
        return _identity(self.variants[0])

    def peer(self, handle: bytes, *, admin: bool = False) -> Peer:
        """The server that holds a handle, chosen by hash. Raises ParseError when there is none."""
        endpoints: list[Endpoint] = []
        key, version, serial, host = b"", self.variants[0].version, self.variants[0].serial, None
        for site in self.variants:
            if not site.servers:
                continue
            position = server_index(handle, site.hash_option, len(site.servers))
            server = site.servers[position]
            key = key or server.public_key
            host = host or _domain(site, position)
            endpoints += _endpoints(site, server, admin=admin)
        if not endpoints:
            raise ParseError("the site record names no server that answers such requests")
        endpoints.sort(key=lambda each: ORDER.index(each.transport))
        return Peer(tuple(dict.fromkeys(endpoints)), key, version, serial, host)


@dataclass(frozen=True, slots=True)
class Service:
    """The sites that answer for a zone. zone: the prefix they were given for; empty: for all.

    source: where they were learnt, for people and for refreshing: a prefix record or `root`.
    """

    zone: bytes
    sites: tuple[ServiceSite, ...]
    source: bytes

    @property
    def label(self) -> str:
        """What people call it."""
        return self.zone.decode("utf-8", "replace") or "root"


def _endpoints(site: Site, server: Server, *, admin: bool) -> list[Endpoint]:
    addresses = [address_of(server)]
    for name in (b"alt_addr." + str(server.server_id).encode(), b"alt_addr"):
        other = site.attribute(name)
        if other is not None and (len(site.servers) == 1 or b"." in name):
            addresses.append(other.decode("ascii", "replace"))
            break
    return [
        Endpoint(Transport(interface.protocol), address, interface.port)
        for interface in server.interfaces
        if _usable(interface, admin=admin)
        for address in addresses
    ]


def _usable(interface: Interface, *, admin: bool) -> bool:
    known = interface.protocol in Transport.__members__.values()
    serves = interface.admin if admin else interface.query
    return known and serves and 0 < interface.port < 65536


def address_of(server: Server) -> str:
    """A server's address as text. `::1` looks like the IPv4 address 0.0.0.1 in a site record."""
    return "::1" if server.ip == "0.0.0.1" else server.ip


def _domain(site: Site, position: int) -> str | None:
    name = site.attribute(b"domain.%d" % position) or site.attribute(b"domain")
    return name.decode("ascii", "replace") if name else None


def _identity(site: Site) -> tuple[object, ...]:
    keys = tuple((server.server_id, server.public_key) for server in site.servers)
    if all(key for _, key in keys):
        return (site.primary, keys)
    return tuple(
        (server.address, tuple((i.protocol, i.port) for i in server.interfaces))
        for server in site.servers
    )


def group_sites(sites: Iterable[Site]) -> tuple[ServiceSite, ...]:
    """Sites with the same servers are one site in several records (IPv4 and IPv6)."""
    groups: dict[tuple[object, ...], list[Site]] = {}
    for site in sites:
        if 0 < len(site.servers) <= MAX_SERVERS:
            groups.setdefault(_identity(site), []).append(site)
    return tuple(ServiceSite(tuple(group)) for group in list(groups.values())[:MAX_SITES])


def sites_in(values: Iterable[HandleValue], types: frozenset[bytes]) -> tuple[ServiceSite, ...]:
    """The sites that values of these types describe; one that cannot be read is left out."""
    found = []
    for value in values:
        if value.type.upper() in types:
            try:
                found.append(decode_site(value.data))
            except ParseError:
                continue
    return group_sites(found)


def services_in(values: Iterable[HandleValue], types: frozenset[bytes]) -> tuple[bytes, ...]:
    """The service handles that HS_SERV values name."""
    return tuple(value.data for value in values if value.type.upper() in types and value.data)


def plain_peer(
    addresses: Iterable[str], port: int, transports: Sequence[Transport], host: str | None = None
) -> Peer:
    """A server known by its address alone."""
    texts = tuple(addresses)
    return Peer(
        tuple(Endpoint(transport, text, port) for transport in transports for text in texts),
        host=host,
    )
