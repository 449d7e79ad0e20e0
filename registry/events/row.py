"""The row of an event: a msgpack array of head and content.

[event id, event time µs, record time µs, issuer, label or nil, flags, signature, event]. The event
is the JCS octets that were signed; `recordTime` is beside them, since the repository sets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgpack

from protocol.errors import StoreError

DECLARES_ERROR: Final = 1
"""Flag: the event carries an errorDeclaration."""
CLIENT_SIGNED: Final = 2
"""Flag: the signature is the issuer's own, not this node's."""
ID_MISMATCH: Final = 4
"""Flag: the eventID claims to be a hash of the content and is not: an opaque id (§2.4)."""
_FIELDS: Final = 8


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
        return bytes(msgpack.packb(self, use_bin_type=True))


def decode_event_row(raw: bytes) -> EventRow:
    """The inverse. Raises StoreError: the row is damaged."""
    try:
        fields = msgpack.unpackb(raw, raw=False, unicode_errors="surrogatepass")
        if type(fields) is not list or len(fields) != _FIELDS:
            raise StoreError("the row of an event has not its eight fields; run `biaoshi check`")
        return EventRow(*fields)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise StoreError(f"the row of an event is damaged: {error!r}") from None
