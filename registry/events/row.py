"""The row of an event: a checksum and a msgpack array of head and content.

u1 1, the xxh3-64 of the array (u8), then the array: [event id, event time µs, record time µs,
issuer, label or nil, flags, signature, event]. The event is the JCS octets that were signed;
`recordTime` is beside them, since the repository sets it. Rows written before there were checksums
are the array alone; the scrub compares those with the log, as all.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from protocol.errors import StoreError
from registry.store.row import QUARANTINED

DECLARES_ERROR: Final = 1
"""Flag: the event carries an errorDeclaration."""
CLIENT_SIGNED: Final = 2
"""Flag: the signature is the issuer's own, not this node's."""
ID_MISMATCH: Final = 4
"""Flag: the eventID claims to be a hash of the content and is not: an opaque id (§2.4)."""
_FIELDS: Final = 8
_SUMMED: Final = 1
"""First octet of a row with a checksum; one without begins with 0x98."""
_SUMMED_OCTET: Final = bytes((_SUMMED,))
_U8: Final = Struct(">Q")
_HEAD: Final = 1 + _U8.size


class EventRow(NamedTuple):
    """What is stored of an event. Times: microseconds since 1970. signature: a detached JWS."""

    event_id: str
    time_us: int
    record_us: int
    issuer: str
    label: Mapping[str, Any] | None
    flags: int
    signature: bytes
    event: bytes

    def encode(self) -> bytes:
        """The row as it is stored."""
        packed = msgpack.packb(self, use_bin_type=True)
        return b"%c%b%b" % (_SUMMED, _U8.pack(xxh3_64_intdigest(packed)), packed)


def decode_event_row(raw: bytes) -> EventRow:
    """The inverse. Raises StoreError: the row is damaged."""
    packed: bytes | memoryview = raw
    if raw[:1] == _SUMMED_OCTET:
        packed = memoryview(raw)[_HEAD:]
        if len(raw) <= _HEAD or xxh3_64_intdigest(packed) != _U8.unpack_from(raw, 1)[0]:
            raise StoreError(f"the row of an event, {len(raw)} octets, is not of its checksum")
    elif raw == QUARANTINED:
        raise StoreError("the event is quarantined; `biaoshi check` tells more")
    try:
        fields = msgpack.unpackb(packed, raw=False, unicode_errors="surrogatepass")
        if type(fields) is not list or len(fields) != _FIELDS:
            raise StoreError("the row of an event has not its eight fields; run `biaoshi check`")
        return EventRow(*fields)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise StoreError(f"the row of an event is damaged: {error!r}") from None
