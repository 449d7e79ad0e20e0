"""HS_ADMIN: who may change a handle, and how far (RFC 3651 §3.2.1; do-irp 12.1).

Decides nothing about a request: that is registry.access.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from protocol.record import Reference
from protocol.wire import Reader, Writer

LEGACY_TAIL = b"\x00\x00"
"""Deployed software up to 7.3 wrote these after the index."""


class Permission(IntFlag):
    """Bits of the permission mask, unsigned 16 bit."""

    ADD_HANDLE = 0x0001
    DELETE_HANDLE = 0x0002
    ADD_DERIVED_PREFIX = 0x0004
    DELETE_DERIVED_PREFIX = 0x0008
    MODIFY_VALUE = 0x0010
    REMOVE_VALUE = 0x0020
    ADD_VALUE = 0x0040
    MODIFY_ADMIN = 0x0080
    REMOVE_ADMIN = 0x0100
    ADD_ADMIN = 0x0200
    READ_VALUE = 0x0400
    LIST_HANDLES = 0x0800
    LIST_DERIVED_PREFIXES = 0x1000


ALL_PERMISSIONS = 0x0FFF
"""What deployed software means by all; it does not know 0x1000."""


@dataclass(frozen=True, slots=True)
class Admin:
    """One administrator reference and its rights.

    permissions: bits of Permission, unknown bits kept. index 0: any key of the handle.
    legacy_tail: two octets followed the index; written again only if set.
    """

    permissions: int
    handle: bytes
    index: int
    legacy_tail: bool = False

    @property
    def reference(self) -> Reference:
        return Reference(self.handle, self.index)

    def allows(self, wanted: int) -> bool:
        """Whether every bit of `wanted` is granted."""
        return self.permissions & wanted == wanted


def decode_admin(data: bytes | memoryview) -> Admin:
    """Exactly none or two octets may follow the index. Raises Truncated or ParseError."""
    reader = Reader(data)
    mask = reader.u2()
    handle = reader.octets()
    index = reader.u4()
    legacy = reader.left == len(LEGACY_TAIL)
    if legacy:
        reader.take(len(LEGACY_TAIL))
    reader.finish()
    return Admin(mask, handle, index, legacy)


def encode_admin(admin: Admin) -> bytes:
    """The data of an HS_ADMIN value; the mask is cut to 16 bits, the index to 32."""
    out = Writer().u2(admin.permissions & 0xFFFF).octets(admin.handle).u4(admin.index)
    return (out.raw(LEGACY_TAIL) if admin.legacy_tail else out).finish()


def permission_names(permissions: int) -> list[str]:
    """Lower-case names of the known bits, lowest first."""
    return [bit.name.lower() for bit in Permission if permissions & bit and bit.name]
