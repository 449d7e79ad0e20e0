"""HS_VLIST: a list of references, a group of administrators (RFC 3651 §3.2; do-irp 12.2).

Who is in a group is decided by registry.access.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.record import Reference
from protocol.wire import Reader, Writer


def decode_vlist(data: bytes | memoryview) -> tuple[Reference, ...]:
    """list<ref> and nothing after it. Raises Truncated or ParseError."""
    reader = Reader(data)
    references = tuple(
        Reference(reader.octets(), reader.u4()) for _ in range(reader.count(least_size=8))
    )
    reader.finish()
    return references


def encode_vlist(references: Sequence[Reference]) -> bytes:
    """list<ref>."""
    out = Writer().u4(len(references))
    for reference in references:
        out.octets(reference.handle).u4(reference.index)
    return out.finish()
