"""Rules that every write obeys, whoever asks: names, sizes, shapes (do-irp 11, 12, 19).

Decides nothing about rights: that is registry.access.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from protocol.errors import BadIdentifier, InvalidValue, ParseError, ValueExists
from protocol.identifier import key_of
from protocol.name import described_prefix, fold, parent_prefix, prefix_of, prefix_record
from protocol.record import MAX_INDEX, HandleValue, encode_values
from protocol.record_links import (
    LINK,
    LINKSET,
    RETIRED,
    parse_link_value,
    parse_linkset_value,
    parse_retired,
)
from protocol.values.hs_admin import ALL_PERMISSIONS, Admin, decode_admin, encode_admin
from protocol.values.hs_vlist import decode_vlist

MESSAGE_BYTES = 262_144
"""Longest message of the protocol; a record must fit in one, with its header and signature."""
_MESSAGE_REST = 1_024

ADMIN_INDEX = 100
ADMIN_LIST_INDEX = 200
HS_ADMIN = b"HS_ADMIN"
HS_VLIST = b"HS_VLIST"
HS_SECKEY = b"HS_SECKEY"
HS_PUBKEY = b"HS_PUBKEY"
HS_SIGNATURE = b"HS_SIGNATURE"
ACCEPT, MARK, REFUSE = "accept", "mark", "refuse"
"""What happens to records without a valid signature; attribute `unsigned` of a homed prefix."""
SIGN = "sign"
"""Attribute of a record change: the node shall sign the record as it is in the end."""


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Bounds and policies of the writer."""

    value_bytes: int = 240_000
    """Longest data of one value."""
    type_bytes: int = 1_024
    """Longest value type."""
    values: int = 2_048
    """Most values of a record: what deployed software reads in a reply."""
    references: int = 64
    """Most references of a value."""
    handle_bytes: int = 2_048
    """Longest handle: what deployed software reads in a reply."""
    record_bytes: int = MESSAGE_BYTES - _MESSAGE_REST
    """Longest record: handle and values in wire form."""
    public_secrets: bool = False
    """Whether HS_SECKEY values may be publicly readable."""
    keep_last_admin: bool = True
    """Whether removing a record's last HS_ADMIN value is refused; replacing the whole record,
    which cannot happen by accident, is always allowed."""
    idempotency_s: int = 86_400
    """How long an idempotency key is remembered."""
    idempotency_keys: int = 500_000
    """How many are remembered at most; the oldest go first."""
    link_schemes: tuple[str, ...] = ("http", "https")
    """Schemes that targets of 0.LINK and 0.LINKSET may have."""
    unsigned: str = "accept"
    """Records without HS_SIGNATURE, where their prefix says nothing: accept, mark or refuse."""


def check_handle(handle: bytes, settings: WriterSettings) -> None:
    """Raise BadIdentifier unless a handle may be registered (threats I8)."""
    if not handle:
        raise BadIdentifier("empty", "an empty handle is invalid; give PREFIX/SUFFIX")
    if len(handle) > settings.handle_bytes:
        raise BadIdentifier(
            "too-long", f"a handle of {len(handle)} octets is above {settings.handle_bytes}"
        )
    try:
        text = handle.decode()
    except UnicodeDecodeError:
        raise BadIdentifier(
            "not-utf-8", f"{handle!r} is not UTF-8; encode the name first"
        ) from None
    if not text.isprintable() and any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        raise BadIdentifier("control-character", f"{text!r} holds a control character; remove it")
    if text.startswith("/") and key_of(handle) == fold(handle):
        raise BadIdentifier("empty-prefix", f"{text!r} has no prefix before its slash")


def check_values(values: Sequence[HandleValue], settings: WriterSettings) -> None:
    """Raise InvalidValue or ValueExists unless each value may be stored and none repeats."""
    if len(values) > settings.values:
        raise InvalidValue(f"{len(values)} values are more than {settings.values}")
    seen: set[int] = set()
    for value in values:
        if not 0 < value.index <= MAX_INDEX:
            raise InvalidValue(
                f"value indexes must be positive (1 to {MAX_INDEX}), not {value.index}"
            )
        if value.index in seen:
            raise ValueExists(f"index conflict for {value.index}: it is given twice")
        seen.add(value.index)
        check_value(value, settings)


_LINKED = frozenset((LINK, LINKSET, RETIRED))
_SHAPED = frozenset((HS_ADMIN, HS_VLIST, HS_SECKEY, *_LINKED))
"""Types whose data or permissions decide about rights, or where a browser is sent."""


def _is_plain(value: HandleValue, settings: WriterSettings) -> bool:
    """Whether a value is certainly in order: what nearly all are, at a quarter of the cost."""
    type_ = value.type
    return (
        0 < len(type_) <= settings.type_bytes
        and type_.isascii()
        and len(value.data) <= settings.value_bytes
        and 0 <= value.permissions <= 15
        and 0 <= value.ttl_type <= 1
        and 0 <= value.ttl <= 0xFFFFFFFF
        and not value.references
        and type_.upper() not in _SHAPED
    )


def check_value(value: HandleValue, settings: WriterSettings) -> None:
    """Raise InvalidValue unless a value's own fields are in order."""
    if _is_plain(value, settings):
        return
    where = f"value {value.index}"
    if not value.type or len(value.type) > settings.type_bytes:
        raise InvalidValue(f"{where}: a type has 1 to {settings.type_bytes} octets")
    try:
        type_ = value.type.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"{where}: type {value.type!r} is not UTF-8") from None
    if len(value.data) > settings.value_bytes:
        raise InvalidValue(
            f"{where} ({type_}): {len(value.data)} octets of data are above "
            f"{settings.value_bytes}; store the content elsewhere and its address here, "
            "or raise `limits.value_bytes`"
        )
    if not 0 <= value.permissions <= 15:
        raise InvalidValue(f"{where} ({type_}): permissions {value.permissions} are not four bits")
    if value.ttl_type not in {0, 1} or not 0 <= value.ttl <= 0xFFFFFFFF:
        raise InvalidValue(f"{where} ({type_}): ttl {value.ttl} of type {value.ttl_type} is wrong")
    if len(value.references) > settings.references:
        raise InvalidValue(f"{where} ({type_}): more than {settings.references} references")
    for reference in value.references:
        if len(reference.handle) > settings.handle_bytes or not 0 <= reference.index <= 0xFFFFFFFF:
            raise InvalidValue(f"{where} ({type_}): reference {reference.text()[:80]} is wrong")
    _check_shape(value, type_, settings)


def _check_shape(value: HandleValue, type_: str, settings: WriterSettings) -> None:
    """The types that decide about rights must be what they say."""
    folded = value.type.upper()
    if folded == HS_SECKEY and value.public and not settings.public_secrets:
        raise InvalidValue(
            f"value {value.index}: an HS_SECKEY value must not be publicly readable; "
            "give it the permissions 1100"
        )
    problem = ""
    if folded in {HS_ADMIN, HS_VLIST}:
        problem = _shape_problem(folded, value.data)
    elif folded in _LINKED:
        problem = _link_problem(folded, value.data, settings.link_schemes)
    if problem:
        raise InvalidValue(
            f"value {value.index}: its data is no {type_} ({problem}); "
            "write it as an object of that type"
        )


@lru_cache(maxsize=1024)
def _shape_problem(folded: bytes, data: bytes) -> str:
    """What is wrong with the data of HS_ADMIN or HS_VLIST; bulk imports bring the same often."""
    try:
        if folded == HS_ADMIN:
            decode_admin(data)
        else:
            decode_vlist(data)
    except ParseError as error:
        return str(error)
    return ""


@lru_cache(maxsize=1024)
def _link_problem(folded: bytes, data: bytes, schemes: tuple[str, ...]) -> str:
    """What is wrong with the data of a link value."""
    try:
        if folded == LINK:
            parse_link_value(data, schemes)
        elif folded == LINKSET:
            parse_linkset_value(data, schemes)
        else:
            parse_retired(data, schemes)
    except ParseError as error:
        return str(error)
    return ""


def check_size(handle: bytes, values: Sequence[HandleValue], settings: WriterSettings) -> None:
    """Raise InvalidValue when a whole record would not fit in one message."""
    if len(values) > settings.values:
        raise InvalidValue(f"the record would have {len(values)} values, above {settings.values}")
    rough = sum(len(v.data) + len(v.type) + 26 + 80 * len(v.references) for v in values)
    if rough + len(handle) < settings.record_bytes // 2:
        return
    size = len(encode_values(values)) + len(handle)
    if size > settings.record_bytes:
        raise InvalidValue(
            f"the record would have {size} octets, above {settings.record_bytes}: "
            "it must fit in one message; move large values elsewhere"
        )


def is_admin(value: HandleValue) -> bool:
    """Whether a value names an administrator."""
    return value.type.upper() == HS_ADMIN


def is_signature(value: HandleValue) -> bool:
    """Whether a value is a signature over its record."""
    return value.type.upper() == HS_SIGNATURE


def default_admin(handle: bytes, taken: Collection[int] = ()) -> HandleValue:
    """HS_ADMIN of the prefix's administrators, 200:0.NA/P, at 100 or the next free index.

    A prefix record gets those of the prefix above it, its own where there is none.
    """
    index = ADMIN_INDEX
    while index in taken:
        index += 1
    described = described_prefix(fold(handle))
    owner = prefix_of(handle) if described is None else parent_prefix(described) or described
    record = prefix_record(owner)
    admin = Admin(ALL_PERMISSIONS, record, ADMIN_LIST_INDEX)
    return HandleValue(index, HS_ADMIN, encode_admin(admin))
