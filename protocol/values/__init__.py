"""Value types: which data each type of value holds, one file each and one table.

A type that is not in the table keeps its bytes. Keys (HS_PUBKEY) are protocol.keys, signatures
and certificates (HS_SIGNATURE, HS_CERT) protocol.signature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.values.hs_admin import decode_admin, encode_admin
from protocol.values.hs_alias import decode_alias, encode_alias
from protocol.values.hs_namespace import decode_namespace, encode_namespace
from protocol.values.hs_serv import decode_serv, encode_serv
from protocol.values.hs_site import decode_site, encode_site
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from protocol.values.loc import decode_loc, encode_loc

__all__ = ["VALUE_TYPES", "ValueType", "value_type"]


@dataclass(frozen=True, slots=True)
class ValueType:
    """decode: data of a value -> its object; raises ParseError only. encode: the inverse."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


_SITE = ValueType(decode_site, encode_site)
_SERV = ValueType(decode_serv, encode_serv)

VALUE_TYPES: dict[bytes, ValueType] = {
    b"HS_ADMIN": ValueType(decode_admin, encode_admin),
    b"HS_VLIST": ValueType(decode_vlist, encode_vlist),
    b"HS_SITE": _SITE,
    b"HS_SITE.6": _SITE,
    b"HS_SITE.PREFIX": _SITE,
    b"HS_NA_DELEGATE": _SITE,
    b"HS_SERV": _SERV,
    b"HS_SERV.PREFIX": _SERV,
    b"HS_ALIAS": ValueType(decode_alias, encode_alias),
    b"HS_NAMESPACE": ValueType(decode_namespace, encode_namespace),
    b"10320/LOC": ValueType(decode_loc, encode_loc),
}
"""By type in ASCII upper case."""


def value_type(type_: bytes) -> ValueType | None:
    """What a type holds, its case ignored; None for types that keep their bytes."""
    return VALUE_TYPES.get(type_.upper())
