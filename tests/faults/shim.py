"""The shim between a process and its files: compiled once a session, switched by the environment."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from struct import Struct

import pytest

SOURCE = Path(__file__).with_name("shim.c")
WRITE_EIO, WRITE_SHORT, SYNC_EIO, WRITE_FULL = 1, 2, 3, 4
_CONTROL = Struct("=iiii")


@cache
def library() -> Path:
    """The shared object; the test is skipped where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to make the write recorder with")
    made = Path(tempfile.mkdtemp(prefix="shim-")) / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", made, SOURCE, "-ldl", "-lpthread"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the write recorder does not compile here: {done.stderr[:200]}")
    return made


def environment(
    under: Path, *, log: Path | None = None, control: Path | None = None, clock: Path | None = None
):
    """The environment of a process whose files below a folder are watched."""
    found = {**os.environ, "LD_PRELOAD": str(library()), "SHIM_UNDER": str(under)}
    if log is not None:
        found["SHIM_LOG"] = str(log)
    if control is not None:
        found["SHIM_CONTROL"] = str(control)
    if clock is not None:
        found["SHIM_CLOCK"] = str(clock)
    return found


class Clock:
    """Moves the wall clock of a running process, from outside."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    def jump(self, seconds: int) -> None:
        """The wall clock is wrong by so many seconds from now on."""
        self._map[:] = seconds.to_bytes(8, "little", signed=True)


def mark(number: int) -> None:
    """Said by the watched process itself: a mark in the record."""
    ctypes.CDLL(None).shim_mark(ctypes.c_uint64(number))


class Control:
    """Makes the writes or syncs of a running process fail, from outside."""

    def __init__(self, path: Path) -> None:
        if not path.exists():  # another process may have it mapped
            path.write_bytes(bytes(_CONTROL.size))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _CONTROL.size)

    def fail(self, mode: int, after: int = 1, *, sticky: bool = False) -> None:
        """The after-th call of the kind fails from now on; sticky: the later ones as well."""
        _CONTROL.pack_into(self._map, 0, 0, after, 0, int(sticky))
        self._map[0:4] = mode.to_bytes(4, "little")

    def mend(self) -> None:
        """Nothing fails any more."""
        self._map[0:4] = bytes(4)

    @property
    def hits(self) -> int:
        """How many calls were made to fail."""
        return _CONTROL.unpack_from(self._map)[2]
