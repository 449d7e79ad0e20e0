"""Keys of the event tables: what an event is found by (plan §4, spec/traceability.md §9.2).

Every key is a head of 25 octets and the event's sequence, u8. In TRACE the head is the 16-octet
hash of a canonical identifier, a role and the event time; in SECONDARY it is an index, the hash of
a value and the event time. Values are empty: what an event really says is compared on reading.

A head is made where the event is read (in a reader process); the writer only appends sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, Final

from protocol.epcis.event import (
    INSTANCE_FIELDS,
    QUANTITY_FIELDS,
    Role,
    biz_location,
    biz_step,
    disposition,
    documents,
    items,
    kind,
    read_point,
    transformation_id,
)
from protocol.epcis.identity import canonical_id, parents_of
from protocol.epcis.lots import lots_of
from protocol.epcis.vocabulary import BIZ_STEP, DISPOSITION, EPCIS, word

HASH: Final = 16
HEAD: Final = 25
"""Octets before the sequence, in both tables."""
KEY: Final = HEAD + 8
COARSE: Final = 0x80
"""Added to the role where the event names something finer: an item of this lot or class."""
MOST_KEYS: Final = 20_000
"""Most keys of one event: a hostile one must not fill the tables."""

_SIGN: Final = 1 << 63
_plain_item = re.compile(
    r"(https://id\.gs1\.org/01/[0-9]{14})/(?:21|10)/[A-Za-z0-9\-._~]{1,20}"
).fullmatch
"""Items and lots in canonical form, which nearly all are: canonical_id() and parents_of() of these
say the same (a test compares), at twenty times the cost."""
_TIME = Struct(">Q")
_SEQUENCE = Struct(">Q")
_NO_HASH: Final = b"\0" * HASH


class Index(IntEnum):
    """First octet of a SECONDARY key. Other rows of that table begin with a letter."""

    EVENT_ID = 1
    TRANSFORMATION = 2
    DOCUMENT = 3
    STEP = 4
    DISPOSITION = 5
    READ_POINT = 6
    LOCATION = 7
    TYPE = 8
    TIME = 9
    WITHDRAWN = 10


END: Final = bytes((max(Index) + 1,))
"""After the last row of these indexes."""


def hash16(text: str) -> bytes:
    """The first 16 octets of SHA-256: what a value is found by."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:HASH]


def encode_time(us: int) -> bytes:
    """Microseconds since 1970 as eight octets that compare as the times do."""
    return _TIME.pack((us + _SIGN) & 0xFFFF_FFFF_FFFF_FFFF)


def decode_time(octets: bytes) -> int:
    """The inverse of encode_time."""
    return int(_TIME.unpack(octets)[0]) - _SIGN


def sequence_of(key: bytes) -> int:
    """The event's sequence, out of a key of either table."""
    return int(_SEQUENCE.unpack_from(key, HEAD)[0])


def trace_head(hash_: bytes, role: int, time: bytes) -> bytes:
    """hash_: of the canonical identifier. time: as encode_time gives it."""
    return b"%b%c%b" % (hash_, role, time)


def index_head(index: Index, hash_: bytes, time: bytes) -> bytes:
    """hash_: of the value."""
    return b"%c%b%b" % (index, hash_, time)


def trace_heads(event: Mapping[str, Any], time: int) -> bytes:
    """The TRACE heads of an event, one after another, each once. time: its eventTime, µs.

    Besides what it names: the lots and classes that these belong to, marked COARSE; a lot that the
    master data tells under the role EPC.
    """
    at = encode_time(time)
    heads: dict[bytes, None] = {}
    coarser: tuple[bytes, ...]
    for role, text in _spellings(event):
        plain = _plain_item(text)
        if plain is not None:  # canonical as it stands, its class the one level above
            hash_, coarser = hash16(text), (_known_hash(plain[1]),)
        else:
            hash_, coarser = _known_hash(canonical_id(text)), _coarser(text)
        heads[b"%b%c%b" % (hash_, role, at)] = None
        for above in coarser:
            heads[b"%b%c%b" % (above, role | COARSE, at)] = None
    if "ilmd" in event:
        for _, lot in lots_of(event):
            heads[b"%b%c%b" % (_known_hash(lot), Role.EPC | COARSE, at)] = None
    return b"".join(list(heads)[:MOST_KEYS])


def _spellings(event: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Every object with its role, as it was written: a serial's link may tell its lot."""
    parent = event.get("parentID")
    if isinstance(parent, str):
        yield Role.PARENT, parent.strip()
    for name, role in INSTANCE_FIELDS.items():
        if name in event:
            for text in items(event, name):
                if isinstance(text, str):
                    yield role, text.strip()
    for name, role in QUANTITY_FIELDS.items():
        if name in event:
            for element in items(event, name):
                if isinstance(element, Mapping) and isinstance(element.get("epcClass"), str):
                    yield role, element["epcClass"].strip()


def index_heads(event: Mapping[str, Any], event_id: str, time: int) -> bytes:
    """The SECONDARY heads of an event, one after another, each once. time: its eventTime, µs."""
    at = encode_time(time)
    own = hash16(event_id)
    heads = {b"%c%b%b" % (Index.EVENT_ID, own, at): None}
    if "errorDeclaration" in event:
        heads[b"%c%b%b" % (Index.WITHDRAWN, own, at)] = None
    heads[b"%c%b%b" % (Index.TIME, _NO_HASH, at)] = None
    for index, text in indexed_values(event):
        heads[b"%c%b%b" % (index, _known_hash(text), at)] = None
    return b"".join(list(heads)[:MOST_KEYS])


def declares_error(heads: bytes) -> bool:
    """Whether SECONDARY heads are those of an event with an errorDeclaration: the second says."""
    return len(heads) > HEAD and heads[HEAD] == Index.WITHDRAWN


def indexed_values(event: Mapping[str, Any]) -> Iterator[tuple[Index, str]]:
    """What an event is found by besides its objects: (index, value as it is compared)."""
    yield Index.TYPE, kind(event)
    step, state = biz_step(event), disposition(event)
    if step is not None:
        yield Index.STEP, word(BIZ_STEP, step)
    if state is not None:
        yield Index.DISPOSITION, word(DISPOSITION, state)
    place, location = read_point(event), biz_location(event)
    if place is not None:
        yield Index.READ_POINT, place
    if location is not None:
        yield Index.LOCATION, location
    transformation = transformation_id(event)
    if transformation is not None:
        yield Index.TRANSFORMATION, canonical_id(transformation)
    for document in documents(event):
        yield Index.DOCUMENT, document.id


def indexed_form(index: Index, text: str) -> str:
    """A value as an index compares it: vocabulary by its bare word, identifiers canonical."""
    if index is Index.STEP:
        return word(BIZ_STEP, text)
    if index is Index.DISPOSITION:
        return word(DISPOSITION, text)
    if index is Index.TYPE:
        return text.removeprefix(EPCIS)
    if index in {Index.EVENT_ID, Index.WITHDRAWN}:
        return text
    return canonical_id(text)


def keys(heads: bytes, sequence: int) -> list[bytes]:
    """The keys of an event: each head with the sequence behind it."""
    tail = _SEQUENCE.pack(sequence)
    return [heads[at : at + HEAD] + tail for at in range(0, len(heads), HEAD)]


@lru_cache(maxsize=65_536)
def _known_hash(text: str) -> bytes:
    """Places, steps and lots come again and again."""
    return hash16(text)


@lru_cache(maxsize=65_536)
def _coarser(identifier: str) -> tuple[bytes, ...]:
    return tuple(map(_known_hash, parents_of(identifier)))


def role_of(octet: int) -> tuple[Role, bool]:
    """The role in a TRACE key, and whether it is that of something finer."""
    return Role(octet & ~COARSE), bool(octet & COARSE)
