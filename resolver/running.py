"""Which process serves a node's folder, if any: a lock that the kernel frees, and the ready line."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from protocol.errors import StoreError

LOCK: Final = "serve.lock"
STATE: Final = "serve.json"
_ATTEMPTS: Final = 25
_PAUSE_S: Final = 0.02


class AlreadyRunning(StoreError):
    """Another process serves this folder."""


@contextlib.contextmanager
def running_lock(run: Path) -> Iterator[None]:
    """Hold DIR/run/serve.lock; the kernel frees it when the supervisor dies."""
    handle = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(handle):
            raise AlreadyRunning(
                f"{run.parent} is being served already by process {_holder(handle)}; "
                "stop that first"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Take the lock. Whoever only looks whether it is taken holds it for a moment as well."""
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False


def _holder(handle: int) -> str:
    return os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "of unknown number"


def is_served(folder: Path) -> bool:
    """Whether a supervisor runs for this folder, ready or not."""
    try:
        with (folder / "run" / LOCK).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except OSError:
        pass
    return False


def running_state(folder: Path) -> dict[str, Any] | None:
    """The ready line of the node that serves a folder; None when none does."""
    if not is_served(folder):
        return None
    try:
        text = (folder / "run" / STATE).read_text(encoding="utf-8")
        state: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return None
    return state
