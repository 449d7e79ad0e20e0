"""A question that another node would have to be asked for, refused by cutting octets (threats O1).

Refusing the general way costs half of carrying out, so that a flood would be served by its
refusals alone; here one costs about a hundredth. What the cache has at hand is not refused.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from time import time
from typing import TYPE_CHECKING, Final

from protocol.doirp.header import COPIED_FLAGS, HEADER, Flag
from protocol.errors import ResponseCode
from protocol.name import whole_name
from resolver.doirp.fast import reply_head

if TYPE_CHECKING:
    from resolver.recursion import Recursion

_U4: Final = Struct(">I")
_LENGTHS: Final = Struct(">II")
_RESOLUTION: Final = b"\0\0\0\1\0\0\0\0"
_KEPT: Final = (COPIED_FLAGS & ~Flag.RD).value
_LEAST: Final = 60
_EXPIRES_S: Final = 60
_END: Final = bytes(8)
"""An empty message and an empty credential."""


def shedder(recursion: Recursion) -> Callable[[bytes], bytes]:
    """Message -> "busy", or empty where the message is to be looked at after all."""
    fresh = recursion.cache.fresh

    def shed(data: bytes) -> bytes:
        if len(data) < _LEAST or data[20:28] != _RESOLUTION or data[12:16] != bytes(4):
            return b""
        head = reply_head(data[:8])
        (size,) = _U4.unpack_from(data, 44)
        name = data[48 : 48 + size]
        if head is None or size > len(data) - _LEAST or fresh(whole_name(name)) is not None:
            return b""
        (flags,) = _U4.unpack_from(data, 28)
        header = HEADER.pack(
            1, ResponseCode.SERVER_BUSY, flags & _KEPT, 0, 0, 0, int(time()) + _EXPIRES_S, 4
        )
        return b"".join((head, data[8:12], _LENGTHS.pack(0, 32), header, _END))

    return shed
