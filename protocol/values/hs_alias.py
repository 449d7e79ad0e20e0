"""HS_ALIAS: the handle to use instead (RFC 3651 §3.2.6).

Clients follow it, servers do not; how far is the resolver's matter.
"""

from __future__ import annotations

from protocol.values.hs_serv import handle_in


def decode_alias(data: bytes | memoryview) -> bytes:
    """The handle, as octets. Raises ParseError when it is empty or above 2048 octets."""
    return handle_in(bytes(data), "HS_ALIAS")


def encode_alias(handle: bytes) -> bytes:
    """The data of such a value."""
    return handle_in(handle, "HS_ALIAS")
