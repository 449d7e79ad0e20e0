"""HS_SITE: the servers of a service site (RFC 3651 §3.2.2; do-irp 12.3).

One layout for HS_SITE, HS_SITE.6, HS_SITE.PREFIX and HS_NA_DELEGATE. Public keys stay octets here
(protocol.keys reads them); which server answers for a handle is protocol.doirp.hashing. The JSON
form is in site_json.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum

from protocol.errors import ParseError
from protocol.wire import Reader, Writer

FORMAT_VERSION = 1
PRIMARY = 0x80
MULTI_PRIMARY = 0x40
ADDRESS_SIZE = 16
_IPV4_PAD = bytes(12)
_LOOPBACK6 = bytes(15) + b"\x01"
"""::1 has the form of IPv4 0.0.0.1, which is nobody's address: it is read as ::1."""

_LEAST_ATTRIBUTE = 8
_LEAST_SERVER = 4 + ADDRESS_SIZE + 4 + 4
_LEAST_INTERFACE = 6


class HashOption(IntEnum):
    """Which part of a handle chooses the server."""

    BY_PREFIX = 0
    BY_SUFFIX = 1
    BY_HANDLE = 2


class InterfaceType(IntEnum):
    """What an interface serves."""

    OUT_OF_SERVICE = 0
    ADMIN = 1
    QUERY = 2
    BOTH = 3


class Transport(IntEnum):
    """How an interface is reached."""

    UDP = 0
    TCP = 1
    HTTP = 2
    HTTPS = 3


@dataclass(frozen=True, slots=True)
class Interface:
    """type: bits of InterfaceType; protocol: a Transport; port: unsigned, not checked."""

    type: int
    protocol: int
    port: int

    @property
    def admin(self) -> bool:
        return bool(self.type & InterfaceType.ADMIN)

    @property
    def query(self) -> bool:
        return bool(self.type & InterfaceType.QUERY)


@dataclass(frozen=True, slots=True)
class Server:
    """address: 16 octets. public_key: encoded key, empty when there is none."""

    server_id: int
    address: bytes
    public_key: bytes = b""
    interfaces: tuple[Interface, ...] = ()

    def __post_init__(self) -> None:
        if len(self.address) != ADDRESS_SIZE:
            raise ParseError(
                f"a server address has {ADDRESS_SIZE} octets, not {len(self.address)}; "
                "make it with address_octets()"
            )

    @property
    def ip(self) -> str:
        """The address as text: `192.0.2.10`, `2001:db8::10`; all zero is `0.0.0.0`."""
        return address_text(self.address)


@dataclass(frozen=True, slots=True)
class Site:
    """One service site.

    major, minor: the highest protocol version it speaks. serial: raised on each change.
    primary_mask: PRIMARY, MULTI_PRIMARY and unknown bits. hash_option: a HashOption.
    attributes: (name, value) octets in their order.
    """

    servers: tuple[Server, ...] = ()
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    serial: int = 1
    primary_mask: int = PRIMARY
    hash_option: int = HashOption.BY_HANDLE
    hash_filter: bytes = b""
    major: int = 2
    minor: int = 11
    format_version: int = FORMAT_VERSION

    @property
    def primary(self) -> bool:
        return bool(self.primary_mask & PRIMARY)

    @property
    def multi_primary(self) -> bool:
        return bool(self.primary_mask & MULTI_PRIMARY)

    @property
    def version(self) -> tuple[int, int]:
        return (self.major, self.minor)

    def attribute(self, name: bytes) -> bytes | None:
        """The first attribute of that name."""
        return next((value for key, value in self.attributes if key == name), None)


def decode_site(data: bytes | memoryview) -> Site:
    """One site record and nothing after it. Raises Truncated or ParseError, nothing else."""
    reader = Reader(data)
    format_version = reader.u2()
    major, minor = reader.u1(), reader.u1()
    serial = reader.u2()
    mask = reader.u1()
    hash_option = reader.u1()
    hash_filter = reader.octets()
    attributes = tuple(
        (reader.octets(), reader.octets()) for _ in range(reader.count(_LEAST_ATTRIBUTE))
    )
    servers = tuple(_read_server(reader) for _ in range(reader.count(_LEAST_SERVER)))
    reader.finish()
    return Site(
        servers, attributes, serial, mask, hash_option, hash_filter, major, minor, format_version
    )


def _read_server(reader: Reader) -> Server:
    server_id = reader.u4()
    address = bytes(reader.take(ADDRESS_SIZE))
    key = reader.octets()
    interfaces = tuple(
        Interface(reader.u1(), reader.u1(), reader.u4())
        for _ in range(reader.count(_LEAST_INTERFACE))
    )
    return Server(server_id, address, key, interfaces)


def encode_site(site: Site) -> bytes:
    """The data of an HS_SITE value, or the body of a site-info reply."""
    out = Writer().u2(site.format_version).u1(site.major).u1(site.minor).u2(site.serial)
    out.u1(site.primary_mask).u1(site.hash_option).octets(site.hash_filter)
    out.u4(len(site.attributes))
    for name, value in site.attributes:
        out.octets(name).octets(value)
    out.u4(len(site.servers))
    for server in site.servers:
        out.u4(server.server_id).raw(server.address).octets(server.public_key)
        out.u4(len(server.interfaces))
        for interface in server.interfaces:
            out.u1(interface.type).u1(interface.protocol).u4(interface.port)
    return out.finish()


def address_octets(text: str) -> bytes:
    """The 16 octets of an IPv4 or IPv6 address; IPv4 stands after twelve zero octets.

    Raises ParseError when the text is no address.
    """
    try:
        packed = ipaddress.ip_address(text).packed
    except ValueError:
        raise ParseError(f"{text!r} is no IP address; write it like 192.0.2.10") from None
    return packed if len(packed) == ADDRESS_SIZE else _IPV4_PAD + packed


def address_text(octets: bytes) -> str:
    """The inverse of address_octets(); twelve zero octets in front mean IPv4."""
    if not is_ipv6(octets):
        return str(ipaddress.IPv4Address(octets[12:]))
    return str(ipaddress.IPv6Address(octets))


def is_ipv6(octets: bytes) -> bool:
    """Whether the address makes a site an HS_SITE.6."""
    return not octets.startswith(_IPV4_PAD) or octets == _LOOPBACK6


def site_type(site: Site) -> bytes:
    """HS_SITE.6 when any server has an IPv6 address, so that old clients skip it."""
    return b"HS_SITE.6" if any(is_ipv6(server.address) for server in site.servers) else b"HS_SITE"
