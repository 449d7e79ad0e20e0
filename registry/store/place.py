"""Where a store may lie: file systems it can trust, one writer, folders made durable.

LMDB maps its file and locks it with fcntl. Both must be coherent for all processes, which
network file systems do not promise.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from protocol.errors import StoreError

MOUNTS = Path("/proc/self/mountinfo")
UNSUITABLE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ncpfs",
        "coda",
        "lustre",
        "gfs",
        "gfs2",
        "ocfs2",
        "ceph",
        "glusterfs",
        "davfs",
        "vboxsf",
        "prl_fs",
        "drvfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.davfs",
        "fuse.davfs2",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.ceph",
        "fuse.cifs",
        "fuse.smbnetfs",
        "fuse.juicefs",
    }
)
"""File systems over a network or between machines, as mountinfo names them."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that holds a path; None where the system does not say.

    mounts: a file in the form of proc(5) `mountinfo`.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    best, found = -1, None
    for line in lines:
        left, dash, right = line.partition(" - ")
        fields = left.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # a later mount covers an earlier one of equal length
            best, found = len(point), right.split(" ", 1)[0]
    return found


def require_suitable(path: Path, mounts: Path = MOUNTS) -> None:
    """Raise StoreError where the path lies on a network file system."""
    kind = file_system(path, mounts)
    if kind in UNSUITABLE:
        raise StoreError(
            f"{path} is on a {kind} file system, where a memory-mapped store loses data; "
            "put the node's folder on a local disk (ext4, xfs, zfs, …)"
        )


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Make the files of a folder and the folder itself durable."""
    for entry in path.iterdir():
        handle = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(path)


class Ballast:
    """Disk space held by an empty file: where others fill the disk, it is given up for deletions."""

    __slots__ = ("_bytes", "_path")

    def __init__(self, path: Path, octets: int) -> None:
        """octets: its size; 0: none."""
        self._path = path
        self._bytes = octets
        self.take(0)

    def take(self, reserve: int) -> None:
        """Make the file, where there is ample room for it beside the reserve."""
        if not self._bytes or self._path.exists():
            return
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < reserve + 4 * self._bytes:
            return
        aside = self._path.with_name(".ballast.new")
        with suppress(OSError):  # no room after all, or a file system that cannot: no ballast
            with aside.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._bytes)
            aside.replace(self._path)

    def give_up(self, free: int) -> None:
        """Let go of it when less is free than it holds."""
        if self._bytes and free < self._bytes:
            self._path.unlink(missing_ok=True)


class StoreLocked(StoreError):
    """Another process writes to the store."""


class WriterLock:
    """The one writer of a store: an fcntl lock that dies with its process.

    The file holds the process id of the owner, for the message to the second one.
    """

    __slots__ = ("_handle",)

    def __init__(self, path: Path) -> None:
        """path: the lock file, made when missing. Raises StoreError when it is taken."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise StoreLocked(
                f"{path.parent} has a writer already (process {owner}); "
                "stop it, or hand the change to it (`biaoshi register FILE --node DIR` does)"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        self._handle = handle

    def release(self) -> None:
        """Let the next writer in. Repeated calls have no effect."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
