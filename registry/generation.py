"""The generation of the prefix table: eight octets that every process has mapped.

The writer raises it after each commit that touches prefixes or their namespaces; a reader compares it with the one
its cached set was made at, which costs a memory read.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from struct import Struct

from protocol.errors import StoreError

_U8 = Struct("=Q")


class Generation:
    """A shared counter in a file. One process raises it, any number read it."""

    __slots__ = ("_map", "mark")

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """path: DIR/run/generation; made when missing. Raises StoreError."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(handle).st_size < _U8.size:
                    os.ftruncate(handle, _U8.size)
                access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
                self._map = mmap.mmap(handle, _U8.size, access=access)
                self.mark = memoryview(self._map).cast("Q")
                """The counter as its first item, for loops where a call costs too much."""
            finally:
                os.close(handle)
        except OSError as error:
            raise StoreError(f"cannot open {path}: {error}; is the node's folder ours?") from error

    def value(self) -> int:
        """The generation now."""
        return self.mark[0]

    def bump(self) -> None:
        """Tell every process that prefixes changed."""
        _U8.pack_into(self._map, 0, (self.value() + 1) & 0xFFFFFFFFFFFFFFFF)

    def close(self) -> None:
        """Unmap the file."""
        self.mark.release()
        self._map.close()
