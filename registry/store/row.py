"""Rows: what is stored under a record's name, laid out so that an answer is a slice of it.

A record's row is a head, then the public values as they are sent (u4 count and the values in
wire form), then the others, then the name as registered. The ready JSON is a row of its own
table: a head and the array of the public values. What has a name in DNS (OIDs, GTINs) has its
NAPTR records ready too.

`rows()` makes everything that is written for a record; what the lookup path may find ready is
decided there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from protocol.change import Ready
from protocol.errors import ParseError, StoreError
from protocol.handle_json import format_values
from protocol.identifier import key_of
from protocol.labels import hidden, open_values
from protocol.naptr import Domain, domain_of
from protocol.naptr_records import naptr_of, records_wire
from protocol.record import (
    PUBLIC_READ,
    TTL_RELATIVE,
    HandleValue,
    Record,
    encode_value,
    read_value,
)
from protocol.wire import Reader
from registry.store import Table, Write

MAX_KEY = 511
"""Longest key of the store, in octets."""
LONG_KEY = b"\xff"
"""First octet of a shortened key; no UTF-8 name begins with it."""
_KEPT = 440

ROW_FORMAT = 1
HAS_PRIVATE = 1
HAS_ABSOLUTE_TTL = 2
HAS_SIGNATURE = 4
GIVEN = 8
"""Of NAPTR records: they were given as values, not made from others."""
HAS_LABELLED = 16
"""Labels hide some of its values: they are not there but for who may see them (protocol.labels)."""
UNSEEN = 32
"""Labels hide all of its values: to others the record is not there."""

HEAD = Struct(">QBBHHHQIIII")
"""checksum (xxh3-64 of all that follows), format, flags, name length, public count, total count,
version, time (s since 1970), least TTL (s), public length, private length."""
HEAD_SIZE = HEAD.size
FLAGS_AT = 9
VERSION_AT = 16
TIME_AT = 24
MIN_TTL_AT = 28
_PUBLIC_LENGTH_AT = 32

JSON_HEAD = Struct(">QBBHQII")
"""checksum, format, flags, length of the name after the text (0 for keys of full length),
version, time, least TTL."""
JSON_HEAD_SIZE = JSON_HEAD.size

NAPTR_HEAD = Struct(">QHHI")
"""checksum, flags, number of records, time; the records follow as a DNS message carries them."""
NAPTR_HEAD_SIZE = NAPTR_HEAD.size
NAPTR_COUNT_AT = 10

_U4 = Struct(">I")
_U8 = Struct(">Q")
_u4_at = _U4.unpack_from
_u8_at = _U8.unpack_from


Facts = tuple[int, int, frozenset[int]]
"""Flags of a row, the least TTL of the public values in seconds, and the indexes labels hide."""


QUARANTINED = b"quarantined"
"""Stands where a row was set aside: too short for any row, so that no reader takes it for one."""


class RowDamaged(StoreError):
    """A row whose checksum or layout does not hold. Never served; `biaoshi check` names it."""


def store_key(folded: bytes) -> bytes:
    """The key of a folded name: itself, or a marker, its first 440 octets and its SHA-256.

    Where the name was shortened (`is_shortened`), compare the row's full name.
    """
    if len(folded) <= MAX_KEY and folded[:1] != LONG_KEY:
        return folded
    return LONG_KEY + folded[:_KEPT] + sha256(folded).digest()


def is_shortened(key: bytes) -> bool:
    """Whether a store key stands for a longer name."""
    return key[:1] == LONG_KEY


# --- the lookup path: slices, no objects


def checked(raw: bytes) -> bytes:
    """The row itself, its checksum compared. Raises RowDamaged."""
    if raw == QUARANTINED:
        raise RowDamaged("it is quarantined: its digests did not hold; `biaoshi check` tells more")
    if len(raw) < JSON_HEAD_SIZE or xxh3_64_intdigest(memoryview(raw)[8:]) != _u8_at(raw)[0]:
        raise RowDamaged(f"a row of {len(raw)} octets does not match its checksum")
    return raw


def public_body(raw: bytes) -> bytes:
    """u4 count and the public values in wire form: the answer's list<value>, ready to send."""
    return raw[HEAD_SIZE : HEAD_SIZE + _u4_at(raw, _PUBLIC_LENGTH_AT)[0]]


def is_unseen(raw: bytes) -> bool:
    """Whether labels hide the whole record."""
    return bool(raw[FLAGS_AT] & UNSEEN)


def has_labelled(raw: bytes) -> bool:
    """Whether labels hide some of it."""
    return bool(raw[FLAGS_AT] & HAS_LABELLED)


def has_private(raw: bytes) -> bool:
    """Whether values exist that not everybody may read."""
    return bool(raw[FLAGS_AT] & HAS_PRIVATE)


def row_version(raw: bytes) -> int:
    """The sequence number of the change that made the row."""
    return int(_u8_at(raw, VERSION_AT)[0])


def row_name(raw: bytes) -> bytes:
    """The handle as registered."""
    return raw[len(raw) - int.from_bytes(raw[10:12], "big") :]


def is_named(raw: bytes, key: bytes, folded: bytes) -> bool:
    """Whether a row found under a key is the one of this folded name."""
    return key[:1] != LONG_KEY or key_of(row_name(raw)) == folded


class JsonHead(NamedTuple):
    """What stands before the ready JSON. min_ttl: seconds, of the public values."""

    version: int
    time: int
    min_ttl: int
    has_private: bool
    has_absolute_ttl: bool


def json_head(raw: bytes) -> JsonHead:
    """The head of a ready JSON row."""
    _, _, flags, _, version, time, min_ttl = JSON_HEAD.unpack_from(raw)
    return JsonHead(
        version, time, min_ttl, bool(flags & HAS_PRIVATE), bool(flags & HAS_ABSOLUTE_TTL)
    )


def json_values(raw: bytes) -> bytes:
    """The JSON array of the public values, ready to send."""
    name_size = raw[10] << 8 | raw[11]
    return raw[JSON_HEAD_SIZE : len(raw) - name_size]


def json_is_named(raw: bytes, key: bytes, folded: bytes) -> bool:
    """As is_named, for a row of the JSON table."""
    return key[:1] != LONG_KEY or key_of(raw[len(raw) - (raw[10] << 8 | raw[11]) :]) == folded


# --- whole rows


@dataclass(frozen=True, slots=True)
class Row:
    """A row taken apart. public: u4 count and public values; private: the other values only.

    version: sequence of the change that made it. time: seconds since 1970. min_ttl: the least
    TTL of the public values in seconds (absolute ones counted from `time`), 0 without any.
    """

    format: int
    flags: int
    version: int
    time: int
    name: bytes
    public_count: int
    total_count: int
    min_ttl: int
    public: bytes
    private: bytes

    def values(self) -> tuple[HandleValue, ...]:
        """All values: the public ones first, each group in the order it was given."""
        public, private = Reader(self.public, 4), Reader(self.private)
        return tuple(read_value(public) for _ in range(self.public_count)) + tuple(
            read_value(private) for _ in range(self.total_count - self.public_count)
        )

    def record(self) -> Record:
        """Name and values."""
        return Record(self.name, self.values())


def decode_row(raw: bytes) -> Row:
    """Take a row apart, its checksum compared. Raises RowDamaged."""
    if len(raw) < HEAD_SIZE and raw != QUARANTINED:
        raise RowDamaged(f"a row of {len(raw)} octets is shorter than its head")
    checked(raw)
    _, format_, flags, name_size, publics, total, version, time, min_ttl, public, private = (
        HEAD.unpack_from(raw)
    )
    middle = HEAD_SIZE + public
    end = middle + private
    if format_ != ROW_FORMAT:
        raise RowDamaged(f"row format {format_} is unknown, {ROW_FORMAT} is known")
    if end + name_size != len(raw) or publics > total:
        raise RowDamaged(f"the lengths in a row's head do not add up to {len(raw)} octets")
    return Row(
        format=format_,
        flags=flags,
        version=version,
        time=time,
        name=raw[end:],
        public_count=publics,
        total_count=total,
        min_ttl=min_ttl,
        public=raw[HEAD_SIZE:middle],
        private=raw[middle:end],
    )


def decode_values_of(row: Row) -> tuple[HandleValue, ...]:
    """The row's values. Raises RowDamaged where they do not parse."""
    try:
        return row.values()
    except ParseError as error:
        raise RowDamaged(f"the values of {row.name!r} do not parse: {error}") from error


def encode_row(
    record: Record,
    version: int,
    time_s: int,
    wire: Sequence[bytes] | None = None,
    facts: Facts | None = None,
) -> bytes:
    """The row of a record. Raises InvalidValue when a value does not fit its wire form.

    wire: the values in wire form, facts: what `rows` found out, where that was done already.
    """
    values = record.values
    if wire is None:
        wire = [encode_value(value) for value in values]
    flags, min_ttl, closed = facts or _facts(values, time_s)
    public, private = list(wire), list[bytes]()
    if flags & (HAS_PRIVATE | HAS_LABELLED):
        public = []
        for value, data in zip(values, wire, strict=True):
            shown = value.public and value.index not in closed
            (public if shown else private).append(data)
    open_values, closed_values = b"".join(public), b"".join(private)
    tail = HEAD.pack(
        0,
        ROW_FORMAT,
        flags,
        len(record.handle),
        len(public),
        len(values),
        version,
        time_s,
        min_ttl,
        len(open_values) + 4,
        len(closed_values),
    )[8:]
    body = b"".join((tail, _U4.pack(len(public)), open_values, closed_values, record.handle))
    return _U8.pack(xxh3_64_intdigest(body)) + body


def ready_json(record: Record, version: int, time_s: int, facts: Facts | None = None) -> bytes:
    """The row of the JSON table: head, then the array of the public values."""
    values = record.values
    flags, min_ttl, closed = facts or _facts(values, time_s)
    shortened = is_shortened(store_key(key_of(record.handle)))
    name = record.handle if shortened else b""
    tail = JSON_HEAD.pack(0, ROW_FORMAT, flags, len(name), version, time_s, min_ttl)[8:]
    if flags & (HAS_PRIVATE | HAS_LABELLED):
        values = tuple(v for v in values if v.public and v.index not in closed)
    shown = format_values(values)
    body = b"".join((tail, shown, name))
    return _U8.pack(xxh3_64_intdigest(body)) + body


def ready_naptr(record: Record, domain: Domain, time_s: int) -> bytes | None:
    """The row of the NAPTR table: head, then the records; None where there are none."""
    found = naptr_of(open_values(record.values), time_s, oid=domain.oid)
    if not found.records:
        return None
    flags = (HAS_ABSOLUTE_TTL if found.absolute else 0) | (GIVEN if found.given else 0)
    head = NAPTR_HEAD.pack(0, flags, len(found.records), time_s)[8:]
    body = head + records_wire([naptr.rdata() for naptr in found.records], found.ttl_s)
    return _U8.pack(xxh3_64_intdigest(body)) + body


def _naptr_writes(key: bytes, record: Record | None, time_s: int = 0) -> list[Write]:
    """What the NAPTR table holds for a record; None: deleted. Nothing for most keys.

    key: of the record, in full length.
    """
    domain = domain_of(key) if key[:1] in _NAMED_IN_DNS else None
    if domain is None:
        return []
    body = ready_naptr(record, domain, time_s) if record is not None else None
    writes = [Write(Table.NAPTR, domain.key, body)]
    if domain.below is not None:
        writes.append(Write(Table.NAPTR, domain.below, None if body is None else b""))
    return writes


_NAMED_IN_DNS = frozenset((b"0", b"1", b"2", b"/"))
"""First octets of the keys that may have a domain name."""


def rows(
    record: Record, version: int, time_s: int, wire: Sequence[bytes] | None = None
) -> list[Write]:
    """Everything that is written for a record.

    version: sequence of the change. time_s: seconds since 1970. wire: the values in wire form,
    where they have been encoded already.
    """
    folded = key_of(record.handle)
    key = store_key(folded)
    facts = _facts(record.values, time_s)
    return [
        Write(Table.RECORDS, key, encode_row(record, version, time_s, wire, facts)),
        Write(Table.JSON, key, ready_json(record, version, time_s, facts)),
        *_naptr_writes(folded, record, time_s),
    ]


def ready_rows(name: bytes, ready: Ready, version: int, time_s: int) -> list[Write]:
    """What rows() makes of the same values, where registry.ready said that it may be so.

    name: a plain handle whose key is itself folded, and which has no name in DNS.
    """
    key = name.upper()
    flags = HAS_SIGNATURE if ready.signed else 0
    count, values, least = ready.number, ready.values, ready.min_ttl
    row = b"%b%b%b" % (
        HEAD.pack(
            0, ROW_FORMAT, flags, len(name), count, count, version, time_s, least, len(values), 0
        )[8:],
        values,
        name,
    )
    shown = JSON_HEAD.pack(0, ROW_FORMAT, flags, 0, version, time_s, least)[8:] + ready.json
    return [
        Write(Table.RECORDS, key, _U8.pack(xxh3_64_intdigest(row)) + row),
        Write(Table.JSON, key, _U8.pack(xxh3_64_intdigest(shown)) + shown),
    ]


def no_rows(folded: bytes) -> list[Write]:
    """Everything that is deleted with a record. folded: its key in full length."""
    key = store_key(folded)
    return [
        Write(Table.RECORDS, key, None),
        Write(Table.JSON, key, None),
        *_naptr_writes(folded, None),
    ]


def _facts(values: Sequence[HandleValue], time_s: int) -> Facts:
    """Flags, the least TTL of the public values in seconds, and the indexes labels hide."""
    closed = hidden(values)
    flags, least, publics = HAS_LABELLED if closed else 0, 0xFFFFFFFF, 0
    for value in values:
        if value.index in closed:
            continue
        if not value.permissions & PUBLIC_READ:
            flags |= HAS_PRIVATE
            continue
        publics += 1
        ttl = value.ttl
        if value.ttl_type != TTL_RELATIVE:
            flags |= HAS_ABSOLUTE_TTL
            ttl = max(0, ttl - time_s)
        least = min(least, ttl)
        if value.type == b"HS_SIGNATURE":
            flags |= HAS_SIGNATURE
    if closed and not publics and not flags & HAS_PRIVATE:
        flags |= UNSEEN
    return flags, least if publics else 0, closed
