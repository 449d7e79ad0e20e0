"""Notes that a mirror carries along: named queries, subscriptions, and how far these have come.

They are in no log, so nothing proves them: a mirror takes them from its primary as they are, on the
connection that it reads the log by. It asks before it looks how long the log is and keeps them once
it holds that much: no cursor of its is ahead of its events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgpack

from protocol.change import pack
from protocol.errors import UpstreamError
from registry.notes import MAX_KEY, Note, notes, raw_note
from registry.store import Snapshot, Write
from resolver.epcis.named import CURSORS, PARTNERS, QUERIES, SUBSCRIPTIONS

CARRIED: Final = (QUERIES, PARTNERS, SUBSCRIPTIONS, CURSORS)
MOST: Final = 10_000
"""Notes that are taken from a primary."""
MOST_PORTION_BYTES: Final = 4 << 20
_MOST_VALUE: Final = 1 << 20


def pack_notes(state: Snapshot, after: bytes = b"") -> bytes:
    """The carried notes behind a key as a row of msgpack arrays [key, value], as many as fit."""
    made = bytearray()
    for key in sorted(_keys(state)):
        if key > after:
            made += pack([key, raw_note(state, key)])
            if len(made) > MOST_PORTION_BYTES:
                break
    return bytes(made)


def unpack_notes(data: bytes) -> dict[bytes, bytes]:
    """The inverse of pack_notes(). Raises UpstreamError for what is none of it."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1), raw=False)
    unpacker.feed(data)
    found: dict[bytes, bytes] = {}
    try:
        for key, value in unpacker:
            if not isinstance(key, bytes) or not isinstance(value, bytes):
                raise UpstreamError("the node sent notes that are none")
            if not key.startswith(CARRIED) or len(key) > MAX_KEY or len(value) > _MOST_VALUE:
                raise UpstreamError(f"the node sent a note that no mirror keeps: {key[:80]!r}")
            found[key] = value
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise UpstreamError(f"the node sent notes that cannot be read: {error}") from None
    return found


def note_writes(state: Snapshot, wanted: Mapping[bytes, bytes]) -> list[Write]:
    """What makes the carried notes of a store these and no others."""
    old = [Note(key, None) for key in _keys(state) if key not in wanted]
    new = [Note(key, value) for key, value in wanted.items() if raw_note(state, key) != value]
    return [one.write() for one in (*old, *new)]


def _keys(state: Snapshot) -> Iterator[bytes]:
    for prefix in CARRIED:
        for key, _ in notes(state, prefix):
            yield prefix + key
