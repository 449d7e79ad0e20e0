"""HS_SERV, HS_SERV.PREFIX: the handle of a service whose sites apply (RFC 3651 §3.2.3).

`0.NA/0.NA` means the root's sites. Following them is the resolver's matter.
"""

from __future__ import annotations

from protocol.errors import ParseError

MAX_HANDLE = 2048


def decode_serv(data: bytes | memoryview) -> bytes:
    """The handle, as octets. Raises ParseError when it is empty or above 2048 octets."""
    return handle_in(bytes(data), "HS_SERV")


def encode_serv(handle: bytes) -> bytes:
    """The data of such a value."""
    return handle_in(handle, "HS_SERV")


def handle_in(data: bytes, type_: str) -> bytes:
    """Data that is a handle and nothing else. Raises ParseError."""
    if not 0 < len(data) <= MAX_HANDLE:
        raise ParseError(f"{type_} data has {len(data)} octets; a handle has 1 to {MAX_HANDLE}")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise ParseError(f"{type_} data is not UTF-8: {data[:40].hex()}") from None
    return data
