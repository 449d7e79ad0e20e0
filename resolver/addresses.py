"""Classes of IP addresses, as the guard of outbound connections tells them apart.

Own tables and not `ipaddress.is_private`: what that says changed between Python releases, and an
address that carries an IPv4 address inside (mapped, NAT64, 6to4) is judged by what is inside.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from protocol.errors import OutboundRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AddressClass(StrEnum):
    """Who can be behind an address."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"  # cloud metadata services live here
    SPECIAL = "special"  # no host at all: unspecified, multicast, documentation, reserved


# The first network that holds the address decides; an address in none is public (IPv4) or, for
# IPv6, public only inside 2000::/3, the space that is given out.
_V4: tuple[tuple[IPv4Network, AddressClass], ...] = tuple(
    (IPv4Network(text), kind)
    for text, kind in (
        ("127.0.0.0/8", AddressClass.LOOPBACK),
        ("10.0.0.0/8", AddressClass.PRIVATE),
        ("172.16.0.0/12", AddressClass.PRIVATE),
        ("192.168.0.0/16", AddressClass.PRIVATE),
        ("100.64.0.0/10", AddressClass.PRIVATE),  # shared by carriers, RFC 6598
        ("169.254.0.0/16", AddressClass.LINK_LOCAL),
        ("0.0.0.0/8", AddressClass.SPECIAL),
        ("192.0.0.0/24", AddressClass.SPECIAL),
        ("192.0.2.0/24", AddressClass.SPECIAL),
        ("192.88.99.0/24", AddressClass.SPECIAL),
        ("198.18.0.0/15", AddressClass.SPECIAL),
        ("198.51.100.0/24", AddressClass.SPECIAL),
        ("203.0.113.0/24", AddressClass.SPECIAL),
        ("224.0.0.0/3", AddressClass.SPECIAL),  # multicast, reserved, broadcast
    )
)
_V6: tuple[tuple[IPv6Network, AddressClass], ...] = tuple(
    (IPv6Network(text), kind)
    for text, kind in (
        ("::1/128", AddressClass.LOOPBACK),
        ("fc00::/7", AddressClass.PRIVATE),
        ("64:ff9b:1::/48", AddressClass.PRIVATE),  # NAT64 of one's own network, RFC 8215
        ("fe80::/10", AddressClass.LINK_LOCAL),
        ("2001::/32", AddressClass.SPECIAL),  # Teredo: the inner address is anybody's
        ("2001:db8::/32", AddressClass.SPECIAL),
        ("3fff::/20", AddressClass.SPECIAL),
        ("2001:2::/48", AddressClass.SPECIAL),
        ("2001:10::/28", AddressClass.SPECIAL),
    )
)
_GIVEN_OUT = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


def parse_address(text: str) -> Address:
    """One IP address in its plain text form. Raises OutboundRefused for anything else.

    `127.1`, `0x7f000001` and zone ids (`fe80::1%eth0`) are no addresses here.
    """
    if "%" in text:
        raise OutboundRefused(f"{text!r} carries a zone id; name an address without one")
    try:
        return ip_address(text)
    except ValueError:
        raise OutboundRefused(f"{text!r} is not an IP address") from None


def parse_network(text: str) -> Network:
    """`10.0.0.0/8`, or one address. Raises OutboundRefused."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise OutboundRefused(f"{text!r} is not a network such as 10.0.0.0/8") from None


def inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    carried = address.ipv4_mapped or address.sixtofour
    if carried is not None:
        return carried
    low = int(address) & 0xFFFFFFFF
    if address in _NAT64 or (address in _COMPATIBLE and low > 1):
        return IPv4Address(low)
    return address


def classify(address: Address) -> AddressClass:
    """Which class an address belongs to, judged by the address inside it where there is one."""
    real = inner(address)
    if isinstance(real, IPv4Address):
        return next((kind for net, kind in _V4 if real in net), AddressClass.PUBLIC)
    for network, kind in _V6:
        if real in network:
            return kind
    return AddressClass.PUBLIC if real in _GIVEN_OUT else AddressClass.SPECIAL
