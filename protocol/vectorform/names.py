"""Vector forms about names: handle_hash, case_fold, handle_equality, type_filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.doirp.hashing import (
    hashed_part,
    part_digest,
    part_number,
    prefix_part,
    server_index,
    suffix_part,
)
from protocol.jsonfields import Fields, text_of
from protocol.name import (
    described_prefix,
    fold,
    fold_prefix,
    parent_prefix,
    prefix_of,
    prefix_record,
    whole_name,
)
from protocol.record import type_matches
from protocol.values.hs_site import HashOption
from protocol.vectorform.form import (
    Form,
    Shape,
    VectorMismatch,
    claims_of,
    compare,
    expect,
    hex_of,
    two_way,
)

_SERVER_COUNTS = (1, 2, 3, 4, 7, 16)
_OPTIONS = (
    ("prefix", HashOption.BY_PREFIX),
    ("suffix", HashOption.BY_SUFFIX),
    ("all", HashOption.BY_HANDLE),
)
_TYPES = ("URL", "url", "URL.METADATA", "URLX", "DESC", "EMAIL", "EMAIL.X", "HS_ADMIN", "10320/LOC")
_SEPARATOR = b","


def _encode_handle(decoded: Shape) -> bytes:
    return Fields(decoded).text("handle")


def _encode_hashed(decoded: Shape) -> bytes:
    # Hashing a name without slash folds it in place: such rows show the folded octets.
    handle = Fields(decoded).text("handle")
    return handle if b"/" in handle else handle.upper()


def _decode_hash(data: bytes) -> Shape:
    suffix = suffix_part(data)
    shape: Shape = {
        "handle": text_of(data, "the handle"),
        "prefix_part": text_of(prefix_part(data), "the prefix"),
        "suffix_part": text_of(suffix if b"/" in data else suffix.upper(), "the suffix"),
        "md5_all_hex": part_digest(data).hex(),
    }
    for name, option in _OPTIONS:
        shape[f"hash_by_{name}"] = abs(part_number(hashed_part(data, option)))
    shape["server_index_for_n"] = _indexes(data, _SERVER_COUNTS)
    return shape


def _hashed_handle_holds(data: bytes, decoded: Shape) -> None:
    if _encode_hashed(decoded) != data:
        raise VectorMismatch(f"decoded.handle is {decoded['handle']!r:.80}, not what `hex` holds")


def _indexes(handle: bytes, counts: tuple[int, ...]) -> Shape:
    return {
        str(count): {name: server_index(handle, option, count) for name, option in _OPTIONS}
        for count in counts
    }


def _indexes_hold(data: bytes, decoded: Shape) -> None:
    claimed = decoded["server_index_for_n"]
    if not isinstance(claimed, dict) or not claimed:
        raise VectorMismatch("decoded.server_index_for_n is no table of server counts")
    counts = []
    for text in claimed:
        if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) == int(text)):
            raise VectorMismatch(f"decoded.server_index_for_n has {text!r:.40}, no server count")
        counts.append(int(text))
    expect(_indexes(data, tuple(counts)), claimed, "server_index_for_n")


def _decode_case(data: bytes) -> Shape:
    described = described_prefix(data)
    parent = parent_prefix(described) if described is not None else None
    return {
        "handle": text_of(data, "the handle"),
        "upper_all": fold(data).decode(),
        "upper_prefix": fold_prefix(data).decode(),
        "has_slash": b"/" in data,
        "prefix_handle": prefix_record(prefix_of(data)).decode(),
        "slashless_as_prefix_handle": whole_name(data).decode(),
        "is_derived_prefix_handle": parent is not None,
        "parent_prefix_handle": prefix_record(parent).decode() if parent is not None else None,
    }


def _parent_holds(data: bytes, decoded: Shape) -> None:
    # Whether letters of the parent are shown folded or as they were asked is no claim.
    made, claimed = _decode_case(data)["parent_prefix_handle"], decoded["parent_prefix_handle"]
    if made is None or not isinstance(claimed, str):
        expect(made, claimed, "parent_prefix_handle")
    elif fold(claimed.encode("utf-8", "replace")) != made.encode():
        raise VectorMismatch(f"decoded.parent_prefix_handle is {made!r}, not {claimed!r:.80}")


def _decode_equality(data: bytes) -> Shape:
    return {"a": text_of(data, "the handle")}


def _encode_equality(decoded: Shape) -> bytes:
    return Fields(decoded).text("a")


def _check_equality(vector: Mapping[str, Any]) -> None:
    claims = claims_of(vector)
    fields = Fields(claims)
    a, b = hex_of(vector), fields.text("b")
    made = {
        "a": text_of(a, "the handle"),
        "b": b.decode(),
        "equal_case_insensitive": fold(a) == fold(b),
        "equal_prefix_case_insensitive": fold_prefix(a) == fold_prefix(b),
    }
    compare(claims, made)


def _decode_types(data: bytes) -> Shape:
    wanted = data.split(_SEPARATOR) if data else []
    return {
        "query_types": [text_of(item, "a type") for item in wanted],
        "matches": _matches(wanted, _TYPES),
    }


def _encode_types(decoded: Shape) -> bytes:
    return _SEPARATOR.join(Fields(decoded).texts("query_types"))


def _matches(wanted: list[bytes], types: tuple[str, ...]) -> Shape:
    return {name: any(type_matches(item, name.encode()) for item in wanted) for name in types}


def _matches_hold(data: bytes, decoded: Shape) -> None:
    claimed = decoded["matches"]
    if not isinstance(claimed, dict) or not claimed:
        raise VectorMismatch("decoded.matches is no table of types")
    wanted = data.split(_SEPARATOR) if data else []
    expect(_matches(wanted, tuple(claimed)), claimed, "matches")


FORMS: dict[str, Form] = {
    "handle_hash": two_way(
        _decode_hash,
        _encode_hashed,
        also={"server_index_for_n": _indexes_hold, "handle": _hashed_handle_holds},
    ),
    "case_fold": two_way(
        _decode_case, _encode_handle, also={"parent_prefix_handle": _parent_holds}
    ),
    "handle_equality": Form(_decode_equality, _encode_equality, _check_equality),
    "type_filter": two_way(_decode_types, _encode_types, also={"matches": _matches_hold}),
}
