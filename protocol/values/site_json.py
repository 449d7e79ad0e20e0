"""The JSON form of a site record: siteinfo.json and GET /api/site (handle-http-api 8).

Pure shape: which JSON Web Key a public key is, is said by the two functions handed in
(protocol.keys has them).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from protocol.errors import ParseError
from protocol.jsonfields import Fields, text_of
from protocol.values.hs_site import (
    MULTI_PRIMARY,
    PRIMARY,
    HashOption,
    Interface,
    InterfaceType,
    Server,
    Site,
    Transport,
    address_octets,
)

ToJwk = Callable[[bytes], Mapping[str, Any]]
FromJwk = Callable[[Mapping[str, Any]], bytes]

_TRANSPORT_NAMES = {transport.value: transport.name for transport in Transport}


def site_to_json(site: Site, to_jwk: ToJwk) -> dict[str, Any]:
    """to_jwk: an encoded public key as a JSON Web Key; raises ParseError when it cannot be read.

    Raises ParseError when an attribute is not UTF-8.
    """
    shape: dict[str, Any] = {
        "version": site.format_version,
        "protocolVersion": f"{site.major}.{site.minor}",
        "serialNumber": site.serial,
        "primarySite": site.primary,
        "multiPrimary": site.multi_primary,
    }
    if site.hash_option != HashOption.BY_HANDLE:
        shape["hashOption"] = site.hash_option
    if site.hash_filter:
        shape["hashFilter"] = base64.b64encode(site.hash_filter).decode()
    shape["attributes"] = [
        {"name": text_of(name, "an attribute name"), "value": text_of(value, "an attribute")}
        for name, value in site.attributes
    ]
    shape["servers"] = [_server_to_json(server, to_jwk) for server in site.servers]
    return shape


def _server_to_json(server: Server, to_jwk: ToJwk) -> dict[str, Any]:
    shape: dict[str, Any] = {"serverId": server.server_id, "address": server.ip}
    if server.public_key:
        shape["publicKey"] = _key_to_json(server.public_key, to_jwk)
    shape["interfaces"] = [
        {
            "query": interface.query,
            "admin": interface.admin,
            "protocol": _TRANSPORT_NAMES.get(interface.protocol, str(interface.protocol)),
            "port": interface.port,
        }
        for interface in server.interfaces
    ]
    return shape


def _key_to_json(octets: bytes, to_jwk: ToJwk) -> dict[str, Any]:
    try:
        return {"format": "key", "value": dict(to_jwk(octets))}
    except ParseError:
        # A key type of another generation still travels, as octets.
        return {"format": "base64", "value": base64.b64encode(octets).decode()}


def site_from_json(value: Any, from_jwk: FromJwk) -> Site:
    """The inverse of site_to_json(). Raises ParseError naming the field.

    Missing fields take what a single primary site would have.
    """
    fields = Fields(value, "site")
    major, minor = _version(fields)
    mask = (PRIMARY if _flag(fields, "primarySite", default=True) else 0) | (
        MULTI_PRIMARY if _flag(fields, "multiPrimary", default=False) else 0
    )
    attributes = fields.objects("attributes") if "attributes" in fields else ()
    return Site(
        servers=tuple(_server_from_json(server, from_jwk) for server in fields.objects("servers")),
        attributes=tuple((item.text("name"), item.text("value")) for item in attributes),
        serial=fields.u2("serialNumber") if "serialNumber" in fields else 1,
        primary_mask=mask,
        hash_option=fields.u1("hashOption") if "hashOption" in fields else HashOption.BY_HANDLE,
        hash_filter=_base64(fields, "hashFilter") if "hashFilter" in fields else b"",
        major=major,
        minor=minor,
        format_version=fields.u2("version") if "version" in fields else 1,
    )


def _server_from_json(fields: Fields, from_jwk: FromJwk) -> Server:
    key = b""
    if "publicKey" in fields:
        envelope = fields.object("publicKey")
        if envelope.any("format") == "base64":
            key = _base64(envelope, "value")
        else:
            jwk = envelope.any("value")
            if not isinstance(jwk, Mapping):
                raise ParseError(f"{envelope.path('value')} is no JSON Web Key")
            key = from_jwk(jwk)
    return Server(
        server_id=fields.u4("serverId"),
        address=address_octets(fields.text("address").decode()),
        public_key=key,
        interfaces=tuple(_interface(item) for item in fields.objects("interfaces")),
    )


def _interface(fields: Fields) -> Interface:
    kind = (InterfaceType.ADMIN if fields.flag("admin") else 0) | (
        InterfaceType.QUERY if fields.flag("query") else 0
    )
    name = fields.text("protocol").decode()
    if name in Transport.__members__:
        transport = int(Transport[name])
    elif name.isascii() and name.isdigit() and len(name) <= 3 and int(name) <= 0xFF:
        transport = int(name)
    else:
        raise ParseError(f"{fields.path('protocol')} is {name!r}; use UDP, TCP, HTTP or HTTPS")
    return Interface(int(kind), transport, fields.u4("port"))


def _version(fields: Fields) -> tuple[int, int]:
    text = fields.text("protocolVersion").decode() if "protocolVersion" in fields else "2.11"
    major, dot, minor = text.partition(".")
    if dot and all(part.isascii() and part.isdigit() and len(part) <= 3 for part in (major, minor)):
        version = (int(major), int(minor))
        if max(version) <= 0xFF:
            return version
    raise ParseError(f"{fields.path('protocolVersion')} is {text!r}; write it like 2.11")


def _flag(fields: Fields, name: str, *, default: bool) -> bool:
    return fields.flag(name) if name in fields else default


def _base64(fields: Fields, name: str) -> bytes:
    try:
        return base64.b64decode(fields.text(name), validate=True)
    except binascii.Error:
        raise ParseError(f"{fields.path(name)} is not base64") from None
