"""Backups: a node at one position of its log, in a file; and nodes made from such files.

A full backup is a tar of `manifest.json`, the store's compact copy and the node's own files, keys
included (the file is readable by its owner alone). An incremental one has the changes after
another backup. Both are read again and checked when they are made.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

import msgpack

from protocol import note
from protocol.change import pack
from protocol.errors import ParseError, SettingsError, StoreError
from registry import tree
from registry.check import check_node
from registry.fence import KNOWN_FILE, fence_copy
from registry.follow import append, copy_log
from registry.keys import LOG_KEY, load_keys
from registry.log import SEQUENCE_KEY, decode_leaf, last_sequence, read_sequence, sequence_key
from registry.migrate import upgrade
from registry.replay import Logged, read_checkpoint
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from registry.store.place import sync_folder

FULL: Final = "biaoshi-backup/1"
INCREMENT: Final = "biaoshi-backup-increment/1"
MANIFEST: Final = "manifest.json"
DATA: Final = "store/data.mdb"
CHANGES: Final = "changes.msgpack"
_LEFT_OUT: Final = frozenset(("store", "run", "escrow", "cache", KNOWN_FILE))
_MAX_FILE: Final = 1 << 20
_MAX_MANIFEST: Final = 1 << 20
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. sequence, root: of the log. first: of an increment, else 1."""

    format: str
    sequence: int
    root: bytes
    checkpoint: bytes
    first: int
    digests: dict[str, str]

    def encode(self) -> bytes:
        """The manifest as it lies in the file."""
        shape = {
            "format": self.format,
            "first": self.first,
            "sequence": self.sequence,
            "root": self.root.hex(),
            "checkpoint": self.checkpoint.decode(),
            "sha256": self.digests,
        }
        return json.dumps(shape, indent=1, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The inverse. Raises ParseError."""
        try:
            shape = json.loads(data)
            if shape["format"] not in {FULL, INCREMENT}:
                raise ParseError(f"this is {shape['format']!r}, not a backup of this program")
            return cls(
                shape["format"],
                int(shape["sequence"]),
                bytes.fromhex(shape["root"]),
                str(shape["checkpoint"]).encode(),
                int(shape["first"]),
                {str(name): str(digest) for name, digest in shape["sha256"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ParseError(f"the manifest of the backup cannot be read: {error!r}") from None


def back_up(folder: Path, file: Path, *, map_bytes: int, keys: bool = True) -> Manifest:
    """Write a full backup of a node, running or not. The file must not exist.

    keys: with the private keys. Raises StoreError when the copy does not add up.
    """
    _require_absent(file)
    aside = file.with_name(f".{file.name}.making-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    try:
        source = LmdbStore.open(folder / "store", readonly=True, map_bytes=map_bytes)
        try:
            source.copy(aside)
        finally:
            source.close()
        position = _position(aside, folder, map_bytes)
        files = {DATA: aside / "data.mdb", **dict(_own_files(folder, keys=keys))}
        digests = {name: _digest(path) for name, path in files.items()}
        manifest = Manifest(FULL, *position, 1, digests)
        made = aside / "backup.tar"
        _write_tar(made, manifest, files)
        verify(made)
        _publish(made, file)
        return manifest
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def back_up_since(folder: Path, file: Path, older: Path, *, map_bytes: int) -> Manifest:
    """Write the changes after another backup. Raises StoreError when that is of another log."""
    _require_absent(file)
    before = read_manifest(older)
    aside = file.with_name(f".{file.name}.making-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    store = LmdbStore.open(folder / "store", readonly=True, map_bytes=map_bytes)
    try:
        with store.snapshot() as state:
            size = tree.tree_size(state)
            if size < before.sequence or tree.root_at(state, before.sequence) != before.root:
                raise StoreError(f"{older} is no earlier state of this log; make a full backup")
            checkpoint = tree.latest_checkpoint(state) or b""
            with (aside / "changes").open("wb") as out:
                first = before.sequence + 1
                for key, leaf in state.scan(Table.CHANGES, sequence_key(first)):
                    out.write(pack([read_sequence(key), leaf, state.get(Table.BODIES, key)]))
            root = tree.root_at(state, size)
        files = {CHANGES: aside / "changes"}
        digests = {CHANGES: _digest(aside / "changes")}
        manifest = Manifest(INCREMENT, size, root, checkpoint, first, digests)
        made = aside / "backup.tar"
        _write_tar(made, manifest, files)
        verify(made)
        _publish(made, file)
        return manifest
    finally:
        store.close()
        shutil.rmtree(aside, ignore_errors=True)


def restore(
    file: Path,
    folder: Path,
    *,
    increments: Sequence[Path] = (),
    at: int | None = None,
    until_s: int | None = None,
    map_bytes: int,
) -> tuple[int, bytes]:
    """Make a node's folder from backups; gives the position and the root.

    at: the last change wanted; until_s: or the last one before this time (seconds since 1970).
    The store is fenced: an operator confirms a new epoch before it takes writes.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty and nothing in it is overwritten")
    aside = folder.parent / f".{folder.name}.restore-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700, parents=True)
    try:
        manifest = _unpack(file, aside, FULL)
        _upgrade(aside / "store", map_bytes)
        (aside / "run").mkdir(mode=0o700, exist_ok=True)
        _require_sound(aside / "store", manifest, map_bytes)
        for increment in increments:
            _replay_increment(aside, increment, map_bytes)
        if at is not None or until_s is not None:
            _cut(aside, at, until_s, map_bytes)
        result = _fenced(aside, map_bytes)
        _sync_all(aside)
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
        sync_folder(folder.parent)
        return result
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_manifest(file: Path) -> Manifest:
    """What a backup says of itself."""
    with _opened(file) as tar:
        return _manifest(tar)


def verify(file: Path) -> Manifest:
    """Read a backup to its end and compare every digest. Raises ParseError."""
    with _opened(file) as tar:
        manifest = _manifest(tar)
        left = dict(manifest.digests)
        for member in _members(tar):
            wanted = left.pop(member.name, None)
            stream = tar.extractfile(member)
            if wanted is None or stream is None or _digest_of(stream) != wanted:
                raise ParseError(f"{member.name} in {file} is not what the manifest says")
        if left:
            raise ParseError(f"{file} lacks {', '.join(sorted(left))}")
    return manifest


# --- parts


def _position(copy: Path, folder: Path, map_bytes: int) -> tuple[int, bytes, bytes]:
    """Sequence, root and checkpoint of a store's copy, after everything in it was checked."""
    store = LmdbStore.open(copy, readonly=True, map_bytes=map_bytes)
    try:
        findings = check_node(store, most=3)
        if findings:
            raise StoreError(f"the copy of {folder} does not add up: {'; '.join(findings)}")
        with store.snapshot() as state:
            size = last_sequence(state.get(Table.META, SEQUENCE_KEY))
            if size != tree.tree_size(state):
                raise StoreError("the log has no tree yet; start the node once, then repeat this")
            return size, tree.root_at(state, size), tree.latest_checkpoint(state) or b""
    finally:
        store.close()


def _own_files(folder: Path, *, keys: bool) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        first = name.partition("/")[0]
        if (
            first in _LEFT_OUT
            or first.startswith((".", "store."))
            or path.is_symlink()
            or not path.is_file()
        ):
            continue
        if (first == "keys" and not keys) or path.suffix == ".log":
            continue
        if path.stat().st_size <= _MAX_FILE:
            yield name, path


def _write_tar(made: Path, manifest: Manifest, files: dict[str, Path]) -> None:
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w|") as tar:
        data = manifest.encode()
        head = tarfile.TarInfo(MANIFEST)
        head.size, head.mode = len(data), 0o600
        tar.addfile(head, io.BytesIO(data))
        for name, path in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = path.stat().st_size, 0o600
            with path.open("rb") as stream:
                tar.addfile(member, stream)
    with made.open("rb") as written:
        os.fsync(written.fileno())


def _publish(made: Path, file: Path) -> None:
    made.rename(file)
    sync_folder(file.resolve().parent)


def _require_absent(file: Path) -> None:
    if file.exists():
        raise SettingsError(f"{file} exists already and is not overwritten; give another name")
    if not file.resolve().parent.is_dir():
        raise SettingsError(f"there is no folder {file.resolve().parent}")


def _opened(file: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(file, mode="r|")
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from None
    except tarfile.TarError as error:
        raise ParseError(f"{file} is no backup: {error}") from None


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """What follows in a tar. Raises ParseError where it breaks off."""
    try:
        while (member := tar.next()) is not None:
            yield member
    except (OSError, tarfile.TarError) as error:
        raise ParseError(f"the backup is damaged or cut short: {error}") from None


def _manifest(tar: tarfile.TarFile) -> Manifest:
    member = next(_members(tar), None)
    if member is None or member.name != MANIFEST or member.size > _MAX_MANIFEST:
        raise ParseError("a backup begins with its manifest")
    stream = tar.extractfile(member)
    return Manifest.decode(stream.read() if stream is not None else b"")


def _unpack(file: Path, aside: Path, wanted: str) -> Manifest:
    """Every member into a folder, its digest compared. Names are checked: they are hostile."""
    verify(file)
    with _opened(file) as tar:
        manifest = _manifest(tar)
        if manifest.format != wanted:
            raise ParseError(f"{file} is {manifest.format}, {wanted} is needed here")
        for member in _members(tar):
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not member.isreg():
                raise ParseError(f"{member.name!r} in {file} is no file of a node")
            target = aside / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stream = tar.extractfile(member)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                if stream is not None:
                    shutil.copyfileobj(stream, out, _COPY_BYTES)
                out.flush()
                os.fsync(handle)
    return manifest


def _upgrade(path: Path, map_bytes: int) -> None:
    """A backup of an earlier release has a store of an earlier format: the file is the copy."""
    store = LmdbStore.open(path, map_bytes=map_bytes, any_format=True)
    try:
        upgrade(store, None)
    finally:
        store.close()


def _require_sound(store_folder: Path, manifest: Manifest, map_bytes: int) -> None:
    """Raise StoreError unless the store is that of the manifest and adds up."""
    store = LmdbStore.open(store_folder, readonly=True, map_bytes=map_bytes)
    try:
        findings = check_node(store, most=3)
        with store.snapshot() as state:
            size = tree.tree_size(state)
            if size != manifest.sequence or tree.root_at(state, size) != manifest.root:
                findings.append("its root is not that of the manifest")
    finally:
        store.close()
    if findings:
        raise StoreError(f"the backup does not add up: {'; '.join(findings)}")


def _replay_increment(aside: Path, file: Path, map_bytes: int) -> None:
    with_changes = aside / ".increment"
    with_changes.mkdir(mode=0o700)
    manifest = _unpack(file, with_changes, INCREMENT)
    said = note.parse_checkpoint(note.decode(manifest.checkpoint).text)
    if (aside / LOG_KEY).exists():
        said = read_checkpoint(manifest.checkpoint, load_keys(aside).log_public.public_bytes_raw())
    store = LmdbStore.open(aside / "store", readonly=False, map_bytes=map_bytes)
    try:
        with store.snapshot() as state:
            size = tree.tree_size(state)
        if size + 1 != manifest.first:
            raise StoreError(f"{file} begins at change {manifest.first}, {size + 1} is next here")
        with (with_changes / CHANGES).open("rb") as stream:
            append(store, _rows(stream), manifest.checkpoint, said)
    finally:
        store.close()
        shutil.rmtree(with_changes)


def _rows(stream: BinaryIO) -> Iterator[Logged]:
    unpacker: Any = msgpack.Unpacker(stream, raw=False, max_buffer_size=64 << 20)
    try:
        for sequence, leaf, body in unpacker:
            yield Logged(sequence, leaf, body)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ParseError(f"the changes of the backup cannot be read: {error}") from None


def _cut(aside: Path, at: int | None, until_s: int | None, map_bytes: int) -> None:
    """Build the store anew up to a position of its log."""
    old = LmdbStore.open(aside / "store", readonly=True, map_bytes=map_bytes)
    try:
        with old.snapshot() as state:
            size = tree.tree_size(state)
            last = size if at is None else at
            if not 0 < last <= size:
                raise SettingsError(f"the backup has changes 1 to {size}, not {last}")
            if until_s is not None:
                last = _last_before(state.scan(Table.CHANGES, limit=last), until_s)
        create(aside / "store-new", map_bytes=map_bytes)
        new = LmdbStore.open(aside / "store-new", map_bytes=map_bytes)
        try:
            copy_log(old, new, last)
        finally:
            new.close()
    finally:
        old.close()
    shutil.rmtree(aside / "store")
    (aside / "store-new").rename(aside / "store")


def _last_before(leaves: Iterator[tuple[bytes, bytes]], until_s: int) -> int:
    last = 0
    for key, leaf in leaves:
        if int(decode_leaf(leaf).get("time", 0)) > until_s:
            break
        last = read_sequence(key)
    if last == 0:
        raise SettingsError("the first change is later than that")
    return last


def _fenced(aside: Path, map_bytes: int) -> tuple[int, bytes]:
    store = LmdbStore.open(aside / "store", readonly=False, map_bytes=map_bytes)
    try:
        findings = check_node(store, most=3)
        if findings:
            raise StoreError(f"what was restored does not add up: {'; '.join(findings)}")
        return fence_copy(store, "restored")
    finally:
        store.close()


def _sync_all(path: Path) -> None:
    """Make the files of a folder durable, and those of the folders in it."""
    for inner in path.iterdir():
        if inner.is_dir():
            _sync_all(inner)
    for entry in path.iterdir():
        if entry.is_file():
            handle = os.open(entry, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    sync_folder(path)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return _digest_of(stream)


def _digest_of(stream: Any) -> str:
    digest = sha256()
    try:
        while chunk := stream.read(_COPY_BYTES):
            digest.update(chunk)
    except tarfile.TarError as error:
        raise ParseError(f"the backup is damaged or cut short: {error}") from None
    return digest.hexdigest()
