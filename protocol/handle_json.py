"""Handle values as JSON, as the Handle REST interface writes and reads them.

Source: Handle.Net technical manual chapter 14, and the observed answers of that server. Formats:
`string base64 hex admin vlist site key`. One deliberate deviation: malformed base64 is refused,
where Handle.Net stores what is left of it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from protocol.errors import InvalidValue, ParseError
from protocol.keys.jwk import format_wire_jwk, parse_wire_jwk
from protocol.keys.numbers import read_public_key, write_public_key
from protocol.record import (
    DEFAULT_PERMISSIONS,
    DEFAULT_TTL_S,
    MAX_INDEX,
    TTL_ABSOLUTE,
    TTL_RELATIVE,
    HandleValue,
    Reference,
)
from protocol.strict_json import whole
from protocol.values.hs_admin import Admin, decode_admin, encode_admin
from protocol.values.hs_site import decode_site, encode_site
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from protocol.values.site_json import site_from_json, site_to_json

ADMIN_DIGITS = 12
_ADMIN_DIGITS_MOST = 16
_U4_MOST = 0xFFFFFFFF

_plain = re.compile(rb"[ !#-\[\]-~]*").fullmatch
"""ASCII that JSON takes between quotes as it is: the common case, spliced without decoding."""
_binary = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
"""Control characters that make a value `base64`; tab, LF and CR may stand in a `string`."""
_number = re.compile(r"-?\d{1,10}").fullmatch


# --- out ---------------------------------------------------------------------------------------


def format_values(values: Iterable[HandleValue]) -> bytes:
    """A JSON array of values."""
    return b"[" + b",".join(map(format_value, values)) + b"]"


def format_value(value: HandleValue) -> bytes:
    """One value: index, type, data, permissions (unless 1110), ttl, timestamp, references."""
    permissions = value.permissions & 15
    if permissions == DEFAULT_PERMISSIONS and not value.references and not value.ttl_type:
        return b'{"index":%d,"type":%b,"data":%b,"ttl":%d,"timestamp":"%b"}' % (
            value.index,
            _type_text(value.type),
            format_data(value.type, value.data),
            value.ttl,
            iso_time(value.timestamp),
        )
    return b'{"index":%d,"type":%b,"data":%b%b,"ttl":%b,"timestamp":"%b"%b}' % (
        value.index,
        json_text(value.type),
        format_data(value.type, value.data),
        b""
        if permissions == DEFAULT_PERMISSIONS
        else b',"permissions":"%b"' % format_permissions(permissions).encode(),
        b'"%b"' % iso_time(value.ttl) if value.ttl_type == TTL_ABSOLUTE else b"%d" % value.ttl,
        iso_time(value.timestamp),
        b',"references":' + _format_references(value.references) if value.references else b"",
    )


def format_data(type_: bytes, data: bytes) -> bytes:
    """The `{"format":…,"value":…}` object: a structure of a known type, else text, else base64."""
    structured = _STRUCTURES.get(type_.upper())
    if structured is not None:
        name, shape = structured
        try:
            return b'{"format":"%b","value":%b}' % (name, shape(data))
        except (ParseError, UnicodeDecodeError):
            pass  # data that is not what its type promises is shown as plain octets
    if _plain(data):
        return b'{"format":"string","value":"%b"}' % data
    if not _binary(data):
        try:
            return b'{"format":"string","value":%b}' % orjson.dumps(data.decode())
        except UnicodeDecodeError:
            pass  # not text: shown as base64
    return b'{"format":"base64","value":"%b"}' % binascii.b2a_base64(data, newline=False)


def json_text(octets: bytes) -> bytes:
    """Octets as a JSON string; what is not UTF-8 becomes U+FFFD."""
    if _plain(octets):
        return b'"%b"' % octets
    return orjson.dumps(octets.decode("utf-8", "replace"))


_type_text = lru_cache(maxsize=1024)(json_text)
"""Types repeat; data does not."""


@lru_cache(maxsize=4096)
def iso_time(seconds: int) -> bytes:
    """Seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def format_permissions(permissions: int) -> str:
    """Four digits: admin read, admin write, public read, public write."""
    return f"{permissions & 15:04b}"


def format_admin_permissions(mask: int) -> str:
    """Twelve digits, the mask in binary; more when a bit above 0x0800 is set."""
    return f"{mask:0{ADMIN_DIGITS}b}"


def key_to_json(data: bytes) -> dict[str, str]:
    """An encoded public key as a JSON Web Key. Raises ParseError where it has none."""
    return format_wire_jwk(read_public_key(data))


def key_from_json(value: Any) -> bytes:
    """The encoded public key of a JSON Web Key, whose numbers are not tried. Raises ParseError."""
    return write_public_key(parse_wire_jwk(value))


@lru_cache(maxsize=256)  # the same administrators stand in thousands of records
def _format_admin(data: bytes) -> bytes:
    admin = decode_admin(data)
    return b'{"handle":%b,"index":%d,"permissions":"%b"}' % (
        orjson.dumps(admin.handle.decode()),
        admin.index,
        format_admin_permissions(admin.permissions).encode(),
    )


def _format_vlist(data: bytes) -> bytes:
    references = decode_vlist(data)
    for reference in references:
        reference.handle.decode()
    return _format_references(references)


def _format_site(data: bytes) -> bytes:
    return orjson.dumps(site_to_json(decode_site(data), key_to_json))


def _format_key(data: bytes) -> bytes:
    return orjson.dumps(key_to_json(data))


def _format_references(references: Iterable[Reference]) -> bytes:
    return (
        b"["
        + b",".join(
            b'{"handle":%b,"index":%d}' % (json_text(reference.handle), reference.index)
            for reference in references
        )
        + b"]"
    )


_STRUCTURES: dict[bytes, tuple[bytes, Callable[[bytes], bytes]]] = {
    b"HS_ADMIN": (b"admin", _format_admin),
    b"HS_VLIST": (b"vlist", _format_vlist),
    b"HS_SITE": (b"site", _format_site),
    b"HS_SITE.6": (b"site", _format_site),
    b"HS_SITE.PREFIX": (b"site", _format_site),
    b"HS_NA_DELEGATE": (b"site", _format_site),
    b"HS_PUBKEY": (b"key", _format_key),
}
"""Value types that are shown as a structure: format name and the writer of its value."""


# --- in ----------------------------------------------------------------------------------------


def parse_values(body: Any) -> tuple[HandleValue, ...]:
    """The values of a request body: a list of values, one value, or an object with `values`.

    body: what a JSON parser gave. Raises ParseError or InvalidValue naming the field.
    """
    if isinstance(body, dict):
        if "values" not in body:
            return (parse_value(body),)
        body = body["values"]
    if not isinstance(body, list):
        raise ParseError(
            f"expected a list of values, one value, or an object with `values`, not {_shown(body)}"
        )
    return tuple(parse_value(item, f"values[{at}]") for at, item in enumerate(body))


def parse_value(item: Any, where: str = "value") -> HandleValue:
    """One value object. `timestamp` is ignored: the server stamps the time of the write.

    where: how error messages call the value. Raises ParseError, or InvalidValue for an index
    outside 1 … 2^31−1.
    """
    plain = _plain_value(item)
    if plain is not None:
        return plain
    if not isinstance(item, dict):
        raise ParseError(f"{where} must be an object, not {_shown(item)}")
    for name in ("index", "type", "data"):
        if name not in item:
            raise ParseError(f"{where} has no `{name}`; index, type and data are required")
    index = _integer(item["index"], f"{where}.index")
    if not 1 <= index <= MAX_INDEX:
        raise InvalidValue("Value indexes must be positive")
    ttl, ttl_type = _parse_ttl(item.get("ttl", DEFAULT_TTL_S), f"{where}.ttl")
    permissions = item.get("permissions")
    return HandleValue(
        index=index,
        type=_octets(item["type"], f"{where}.type"),
        data=parse_data(item["data"], f"{where}.data"),
        ttl=ttl,
        ttl_type=ttl_type,
        permissions=DEFAULT_PERMISSIONS
        if permissions is None
        else parse_permissions(permissions, f"{where}.permissions"),
        references=_parse_references(
            [] if item.get("references") is None else item["references"], f"{where}.references"
        ),
    )


def _plain_value(item: Any) -> HandleValue | None:
    """What parse_value() gives for a text with a usual TTL and nothing else; most are that.

    None: parse_value() decides, and says what is wrong.
    """
    if type(item) is not dict or "permissions" in item or "references" in item:
        return None
    index, type_, data = item.get("index"), item.get("type"), item.get("data")
    ttl = item.get("ttl", DEFAULT_TTL_S)
    if type(data) is dict and data.get("format") == "string":
        data = data.get("value")
    if type(index) is not int or type(ttl) is not int:
        return None
    if type(type_) is not str or type(data) is not str:
        return None
    if not 1 <= index <= MAX_INDEX or not 0 <= ttl <= _U4_MOST:
        return None
    try:
        return HandleValue(index, type_.encode(), data.encode(), ttl)
    except UnicodeEncodeError:
        return None


def parse_data(data: Any, where: str = "data") -> bytes:
    """The octets of a `data` property: a `{"format","value"}` object, a bare string or number.

    true and false are stored as these words, as deployed servers do.
    """
    if isinstance(data, str):
        return _octets(data, where)
    if isinstance(data, bool):
        return b"true" if data else b"false"
    if isinstance(data, int | float):
        return str(data).encode()
    if not isinstance(data, dict):
        raise ParseError(f"{where} must be an object, a string or a number, not {_shown(data)}")
    if "format" not in data:
        raise ParseError(f"{where} has no `format`; use one of {_FORMAT_NAMES}")
    name = data["format"]
    parse = _FORMATS.get(name) if isinstance(name, str) else None
    if parse is None:
        raise ParseError(f"{where}.format {_shown(name)} is unknown; use one of {_FORMAT_NAMES}")
    if "value" not in data:
        raise ParseError(f"{where} has no `value`")
    return parse(data["value"], f"{where}.value")


def parse_permissions(digits: Any, where: str = "permissions") -> int:
    """Four digits of 0 and 1 to permission bits."""
    if isinstance(digits, str) and len(digits) == 4 and not digits.strip("01"):
        return int(digits, 2)
    raise ParseError(
        f"{where} must be four digits of 0 and 1 (admin read, admin write, public read, "
        f"public write), not {_shown(digits)}"
    )


def parse_admin_permissions(digits: Any, where: str = "permissions") -> int:
    """Twelve digits of 0 and 1 (up to 16) to the HS_ADMIN mask."""
    if (
        isinstance(digits, str)
        and ADMIN_DIGITS <= len(digits) <= _ADMIN_DIGITS_MOST
        and not digits.strip("01")
    ):
        return int(digits, 2)
    raise ParseError(f"{where} must be twelve digits of 0 and 1, not {_shown(digits)}")


def _parse_string(value: Any, where: str) -> bytes:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value).encode()
    return _octets(value, where)


def _parse_base64(value: Any, where: str) -> bytes:
    try:
        return binascii.a2b_base64(_octets(value, where), strict_mode=True)
    except binascii.Error as error:
        raise ParseError(f"{where} is not padded standard base64: {error}") from None


def _parse_hex(value: Any, where: str) -> bytes:
    try:
        return binascii.unhexlify(_octets(value, where))
    except binascii.Error as error:
        raise ParseError(f"{where} is not hexadecimal: {error}") from None


def _parse_admin(value: Any, where: str) -> bytes:
    if not isinstance(value, dict):
        raise ParseError(
            f"{where} must be an object with handle, index and permissions, not {_shown(value)}"
        )
    reference = _parse_reference(value, where)
    mask = parse_admin_permissions(value.get("permissions"), f"{where}.permissions")
    return encode_admin(Admin(mask, reference.handle, reference.index))


def _parse_vlist(value: Any, where: str) -> bytes:
    return encode_vlist(_parse_references(value, where))


def _parse_site(value: Any, where: str) -> bytes:
    try:
        return encode_site(site_from_json(value, key_from_json))
    except ParseError as error:
        raise ParseError(f"{where}: {error}") from None


def _parse_key(value: Any, where: str) -> bytes:
    try:
        return key_from_json(value)
    except ParseError as error:
        raise ParseError(f"{where}: {error}") from None


_FORMATS: dict[str, Callable[[Any, str], bytes]] = {
    "string": _parse_string,
    "base64": _parse_base64,
    "hex": _parse_hex,
    "admin": _parse_admin,
    "vlist": _parse_vlist,
    "site": _parse_site,
    "key": _parse_key,
}
_FORMAT_NAMES = ", ".join(_FORMATS)


def _parse_references(items: Any, where: str) -> tuple[Reference, ...]:
    if not isinstance(items, list):
        raise ParseError(f"{where} must be a list of handle and index, not {_shown(items)}")
    return tuple(_parse_reference(item, f"{where}[{at}]") for at, item in enumerate(items))


def _parse_reference(item: Any, where: str) -> Reference:
    if not isinstance(item, dict) or "handle" not in item or "index" not in item:
        raise ParseError(f"{where} must be an object with handle and index, not {_shown(item)}")
    index = _integer(item["index"], f"{where}.index")
    if not 0 <= index <= MAX_INDEX:
        raise ParseError(f"{where}.index {index} is outside 0 … {MAX_INDEX}")
    return Reference(_octets(item["handle"], f"{where}.handle"), index)


def _parse_ttl(ttl: Any, where: str) -> tuple[int, int]:
    """Seconds, or an ISO time for an absolute expiry: the number and its TTL type."""
    if isinstance(ttl, str) and not _number(ttl):
        try:
            moment = datetime.fromisoformat(ttl)
        except ValueError:
            raise ParseError(f"{where} {_shown(ttl)} is neither seconds nor an ISO time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds, ttl_type = int(moment.timestamp()), TTL_ABSOLUTE
    else:
        seconds, ttl_type = _integer(ttl, where), TTL_RELATIVE
    if not 0 <= seconds <= _U4_MOST:
        raise ParseError(f"{where} {seconds} is outside 0 … {_U4_MOST}")
    return seconds, ttl_type


def _integer(value: Any, where: str) -> int:
    """A JSON integer, or its decimal text: common clients send the HS_ADMIN index as a string."""
    value = whole(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _number(value):
        return int(value)
    raise ParseError(f"{where} must be an integer, not {_shown(value)}")


def _octets(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise ParseError(f"{where} must be a string, not {_shown(value)}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ParseError(f"{where} holds half of a surrogate pair; send whole characters") from None


def _shown(value: Any) -> str:
    """A refused value as an error message shows it, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
