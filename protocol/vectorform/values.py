"""Vector forms of values: handle_value, hs_admin, hs_vlist, hs_site, global_values."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from protocol.errors import ParseError
from protocol.jsonfields import Fields, signed32, text_of
from protocol.record import (
    HandleValue,
    Reference,
    decode_value,
    encode_value,
    permission_text,
    value_digest,
)
from protocol.values.global_values import decode_global_values, encode_global_values
from protocol.values.hs_admin import Admin, decode_admin, encode_admin, permission_names
from protocol.values.hs_site import (
    ADDRESS_SIZE,
    MULTI_PRIMARY,
    PRIMARY,
    Interface,
    Server,
    Site,
    decode_site,
    encode_site,
    site_type,
)
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from protocol.vectorform.form import Form, Shape, VectorMismatch, plain_text, two_way

_OTHER_SITE_TYPES = ("HS_SITE.PREFIX", "HS_NA_DELEGATE")


def references_shape(references: Sequence[Reference]) -> list[Shape]:
    return [
        {"handle": text_of(item.handle, "a reference"), "index": signed32(item.index)}
        for item in references
    ]


def references_of(fields: Fields, name: str) -> tuple[Reference, ...]:
    return tuple(Reference(item.text("handle"), item.u4("index")) for item in fields.objects(name))


def value_shape(value: HandleValue) -> Shape:
    """One value inside another shape; `data_text` where the data is plain text."""
    shape: Shape = {
        "index": signed32(value.index),
        "timestamp": signed32(value.timestamp),
        "ttl_type": value.ttl_type,
        "ttl": signed32(value.ttl),
        "permissions": value.permissions,
        "permission_string": permission_text(value.permissions),
        "type": text_of(value.type, "a value type"),
        "data_hex": value.data.hex(),
    }
    try:
        text = value.data.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and plain_text(text):
        shape["data_text"] = text
    shape["references"] = references_shape(value.references)
    return shape


def value_of(fields: Fields) -> HandleValue:
    return HandleValue(
        index=signed32(fields.u4("index")),
        type=fields.text("type"),
        data=fields.hex("data_hex"),
        ttl=fields.u4("ttl"),
        ttl_type=fields.u1("ttl_type"),
        timestamp=fields.u4("timestamp"),
        permissions=fields.u1("permissions"),
        references=references_of(fields, "references"),
    )


def values_shape(values: Sequence[HandleValue]) -> list[Shape]:
    return [value_shape(value) for value in values]


def values_of(fields: Fields, name: str = "values") -> tuple[HandleValue, ...]:
    return tuple(value_of(item) for item in fields.objects(name))


def _decode_value(data: bytes) -> Shape:
    value = decode_value(data)
    digest = base64.b64encode(value_digest(value)).decode()
    return value_shape(value) | {"digest_sha256_base64": digest}


def _encode_value(decoded: Shape) -> bytes:
    return encode_value(value_of(Fields(decoded)))


def _decode_admin(data: bytes) -> Shape:
    admin = decode_admin(data)
    return {
        "permission_mask": admin.permissions,
        "permissions": permission_names(admin.permissions),
        "admin_handle": text_of(admin.handle, "admin_handle"),
        "admin_index": signed32(admin.index),
        "legacy_byte_length": admin.legacy_tail,
    }


def _encode_admin(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    legacy = "legacy_byte_length" in fields and fields.flag("legacy_byte_length")
    mask = fields.u2("permission_mask")
    return encode_admin(Admin(mask, fields.text("admin_handle"), fields.u4("admin_index"), legacy))


def _decode_vlist(data: bytes) -> Shape:
    return {"references": references_shape(decode_vlist(data))}


def _encode_vlist(decoded: Shape) -> bytes:
    return encode_vlist(references_of(Fields(decoded), "references"))


def site_shape(site: Site) -> Shape:
    return {
        "format_version": site.format_version,
        "protocol_major": site.major,
        "protocol_minor": site.minor,
        "serial": site.serial,
        "primary": site.primary,
        "multi_primary": site.multi_primary,
        "hash_option": site.hash_option,
        "hash_filter_hex": site.hash_filter.hex(),
        "attributes": [
            {"name": text_of(name, "an attribute name"), "value": text_of(value, "an attribute")}
            for name, value in site.attributes
        ],
        "servers": [_server_shape(server) for server in site.servers],
    }


def _server_shape(server: Server) -> Shape:
    return {
        "server_id": signed32(server.server_id),
        "address_hex": server.address.hex(),
        "address": server.ip,
        "public_key_hex": server.public_key.hex(),
        "interfaces": [
            {"type": item.type, "protocol": item.protocol, "port": signed32(item.port)}
            for item in server.interfaces
        ],
    }


def site_of(fields: Fields) -> Site:
    mask = (PRIMARY if fields.flag("primary") else 0) | (
        MULTI_PRIMARY if fields.flag("multi_primary") else 0
    )
    return Site(
        servers=tuple(_server_of(item) for item in fields.objects("servers")),
        attributes=tuple(
            (item.text("name"), item.text("value")) for item in fields.objects("attributes")
        ),
        serial=fields.u2("serial"),
        primary_mask=mask,
        hash_option=fields.u1("hash_option"),
        hash_filter=fields.hex("hash_filter_hex"),
        major=fields.u1("protocol_major"),
        minor=fields.u1("protocol_minor"),
        format_version=fields.u2("format_version"),
    )


def _server_of(fields: Fields) -> Server:
    address = fields.hex("address_hex")
    if len(address) != ADDRESS_SIZE:
        raise ParseError(f"{fields.path('address_hex')} has {len(address)} octets, not 16")
    return Server(
        fields.u4("server_id"),
        address,
        fields.hex("public_key_hex"),
        tuple(
            Interface(item.u1("type"), item.u1("protocol"), item.u4("port"))
            for item in fields.objects("interfaces")
        ),
    )


def _decode_site(data: bytes) -> Shape:
    site = decode_site(data)
    return site_shape(site) | {"value_type": site_type(site).decode()}


def _encode_site(decoded: Shape) -> bytes:
    return encode_site(site_of(Fields(decoded)))


def _site_type_fits(data: bytes, decoded: Shape) -> None:
    made = site_type(decode_site(data)).decode()
    # The types of delegation share the layout and do not follow from the bytes.
    if decoded["value_type"] not in (made, *_OTHER_SITE_TYPES):
        raise VectorMismatch(f"decoded.value_type is {made!r}, not {decoded['value_type']!r:.60}")


def _decode_global_values(data: bytes) -> Shape:
    return {"values": values_shape(decode_global_values(data))}


def _encode_global_values(decoded: Shape) -> bytes:
    return encode_global_values(values_of(Fields(decoded)))


FORMS: dict[str, Form] = {
    "handle_value": two_way(_decode_value, _encode_value),
    "hs_admin": two_way(_decode_admin, _encode_admin),
    "hs_vlist": two_way(_decode_vlist, _encode_vlist),
    "hs_site": two_way(_decode_site, _encode_site, also={"value_type": _site_type_fits}),
    "global_values": two_way(_decode_global_values, _encode_global_values),
}
