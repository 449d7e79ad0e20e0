"""The node's own site records: what it tells clients about where and how it answers.

One for its first IPv4 address and one for its first IPv6 address (HS_SITE.6): several servers in
one site would divide the identifiers between them. siteinfo.json is the first of them, as
Handle.Net clients read it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from protocol.errors import ParseError, SettingsError
from protocol.keys import decode_public_key, encode_public_key
from protocol.keys.jwk import format_jwk, parse_jwk
from protocol.values.hs_site import (
    PRIMARY,
    Interface,
    InterfaceType,
    Server,
    Site,
    Transport,
    address_octets,
)
from protocol.values.site_json import site_from_json, site_to_json
from registry.keys import NodeKeys
from resolver.config import Settings
from resolver.sockets import Ports

SITE_INFO: Final = "siteinfo.json"
_MOST_SERIAL: Final = 0xFFFF


def make_sites(settings: Settings, ports: Ports, keys: NodeKeys, serial: int) -> list[Site]:
    """The site records of a node with these ports: IPv4 first, then IPv6, where it has them."""
    key = encode_public_key(keys.site_public)
    interfaces = tuple(_interfaces(ports))
    description = settings.node.description.encode()
    attributes = ((b"desc", description),) if description else ()
    return [
        Site(
            servers=(Server(1, address_octets(address), key, interfaces),),
            attributes=attributes,
            serial=serial,
            primary_mask=0 if settings.node.role == "mirror" else PRIMARY,
        )
        for address in announced(settings)
    ]


def announced(settings: Settings) -> list[str]:
    """The first IPv4 and the first IPv6 address that others can use."""
    chosen = settings.node.announce or settings.node.hosts
    found: list[str] = []
    for kind in (IPv4Address, IPv6Address):
        addresses = [host for host in chosen if isinstance(ip_address(host), kind)]
        if addresses:
            found.append(_usable(addresses[0]))
    return found


def _usable(host: str) -> str:
    """The address this machine would send from, where the setting means all addresses."""
    address = ip_address(host)
    if not address.is_unspecified:
        return host
    family, outside = (
        (socket.AF_INET, "192.0.2.1") if address.version == 4 else (socket.AF_INET6, "2001:db8::1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((outside, 9))  # chooses an address, sends nothing
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1" if address.version == 4 else "::1"


def _interfaces(ports: Ports) -> list[Interface]:
    offered = (
        (Transport.TCP, ports.irp),
        (Transport.UDP, ports.irp),
        (Transport.HTTP, ports.http),
        (Transport.HTTPS, ports.https),
    )
    return [Interface(InterfaceType.BOTH, way, port) for way, port in offered if port]


def same_but_serial(one: Sequence[Site], other: Sequence[Site]) -> bool:
    """Whether two lists of site records say the same."""
    return [replace(site, serial=0) for site in one] == [replace(site, serial=0) for site in other]


def next_serial(serial: int) -> int:
    """The serial after a change; 0xFFFF means unknown on the wire and is left out."""
    return serial + 1 if serial + 1 < _MOST_SERIAL else 1


def write_site_info(folder: Path, site: Site) -> None:
    """Put siteinfo.json in place as a whole."""
    shape = site_to_json(site, lambda octets: format_jwk(decode_public_key(octets)))
    path = folder / SITE_INFO
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(shape, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.chmod(0o644)  # to be handed to anybody, to be changed by nobody: whatever the umask is
    os.replace(aside, path)  # noqa: PTH105 - the word for what is meant


def read_site_info(folder: Path) -> Site:
    """The site record of siteinfo.json. Raises SettingsError."""
    path = folder / SITE_INFO
    try:
        shape = json.loads(path.read_text(encoding="utf-8"))
        return site_from_json(shape, lambda jwk: encode_public_key(parse_jwk(jwk)))
    except (OSError, ValueError, ParseError) as error:
        raise SettingsError(
            f"{path} cannot be read ({error}); it is written anew by `biaoshi serve`"
        ) from None
