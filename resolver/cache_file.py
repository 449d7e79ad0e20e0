"""DIR/cache/: the cached records of a node's readers in LMDB, for the start after a restart.

Written behind, read once at start; losing it loses nothing but time. Shared by all readers of the
node, each of which writes what came and went in its own memory. Bounded by the size of its map:
when that is full, everything is dropped and written anew. What was verified under other settings
or roots is not taken over, and neither is a row whose checksum is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library spells it so
from typing import Any, Final

import lmdb
import msgpack
from xxhash import xxh3_64_intdigest as xxh3

from protocol.errors import ResponseCode, StoreError
from protocol.name import PREFIX_RECORDS
from resolver.cache import Entry, zone_of
from resolver.config import RecursionSettings

FOLDER: Final = "cache"
_LEAST_MAP = 16 << 20
_LONGEST_KEY = 500
_FINGERPRINT = b"\0fingerprint"
_FORMAT = b"1"
_CHECK = Struct(">Q")


@dataclass(frozen=True, slots=True)
class Clocks:
    """The steady clock that entries are aged by, and seconds since 1970, at one moment."""

    now: float
    wall: float


def fingerprint(settings: RecursionSettings, keys: Iterable[bytes]) -> bytes:
    """What the verification of a kept record depends on. keys: the pinned root keys, encoded."""
    rules = (settings.verify, settings.verify_prefixes, settings.certify, settings.roots)
    digest = sha256(repr(rules).encode())
    for key in sorted(keys):
        digest.update(sha256(key).digest())
    return _FORMAT + digest.digest()


def encode_entry(entry: Entry, clocks: Clocks) -> bytes:
    """A row: checksum, then msgpack with all times in seconds since 1970."""
    to_wall = clocks.wall - clocks.now
    body: bytes = msgpack.packb(
        [
            entry.handle,
            int(entry.code),
            entry.values,
            entry.stored_at + to_wall,
            entry.expires_at + to_wall,
            entry.stale_until + to_wall,
            entry.valid_until,
            entry.authoritative,
            entry.proof,
        ]
    )
    return _CHECK.pack(xxh3(body)) + body


def decode_entry(row: bytes, clocks: Clocks) -> Entry | None:
    """The entry of a row; None when it is damaged or from the future (a clock that was set back)."""
    body = row[_CHECK.size :]
    try:
        if _CHECK.unpack_from(row)[0] != xxh3(body):
            return None
        handle, code, values, stored, expires, stale, valid, authoritative, proof = msgpack.unpackb(
            body
        )
        known = ResponseCode(code)
    except (StructError, ValueError, TypeError, msgpack.UnpackException):
        return None
    if stored > clocks.wall + 1:
        return None
    to_now = clocks.now - clocks.wall
    return Entry(
        handle,
        known,
        values,
        stored_at=stored + to_now,
        expires_at=expires + to_now,
        stale_until=stale + to_now,
        valid_until=valid,
        authoritative=authoritative,
        proof=proof,
        zone=zone_of(handle),
        # What vouched for it then is looked up anew at its first use.
        vouchers=((PREFIX_RECORDS + zone_of(handle), b""),) if proof else (),
    )


class CacheFile:
    """The file. One in each process; its calls may block on the disk."""

    def __init__(self, folder: Path, max_bytes: int, wanted: bytes) -> None:
        """max_bytes: of the cache in memory. wanted: fingerprint of the settings in force.

        Raises StoreError.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            self._env = lmdb.open(
                str(folder), map_size=max(_LEAST_MAP, 2 * max_bytes), mode=0o600, max_readers=512
            )
        except lmdb.Error as error:
            raise StoreError(
                f"{folder} cannot be opened ({error}); delete it, it only holds the cache"
            ) from None
        self._wanted = wanted
        with self._env.begin(write=True) as txn:
            if txn.get(_FINGERPRINT) != wanted:
                self._empty(txn)

    def _empty(self, txn: Any) -> None:
        txn.drop(self._env.open_db(txn=txn), delete=False)
        txn.put(_FINGERPRINT, self._wanted)

    def load(self, clocks: Clocks) -> Iterator[Entry]:
        """Every row that can be read."""
        with self._env.begin(buffers=False) as txn:
            for key, row in txn.cursor():
                if key != _FINGERPRINT:
                    entry = decode_entry(row, clocks)
                    if entry is not None:
                        yield entry

    def write(self, rows: dict[bytes, bytes | None]) -> bool:
        """Put or, where there is no row, delete; False when it was full and began anew with these.

        Raises StoreError when the disk fails.
        """
        try:
            self._put(rows)
        except lmdb.MapFullError:
            try:
                with self._env.begin(write=True) as txn:
                    self._empty(txn)
                self._put(rows)
            except lmdb.MapFullError:
                pass  # more at once than the file takes: it stays empty until the next time
            return False
        except lmdb.Error as error:
            raise StoreError(f"the cache file cannot be written: {error}") from None
        return True

    def _put(self, rows: dict[bytes, bytes | None]) -> None:
        with self._env.begin(write=True) as txn:
            for key, row in rows.items():
                if row is None:
                    txn.delete(_row_key(key))
                else:
                    txn.put(_row_key(key), row)

    def keys(self) -> list[bytes]:
        """The names in it, as the cache compares them (long ones as their digest)."""
        with self._env.begin() as txn:
            return [key for key in txn.cursor().iternext(values=False) if key != _FINGERPRINT]

    def clear(self) -> None:
        """Drop everything."""
        with self._env.begin(write=True) as txn:
            self._empty(txn)

    def __len__(self) -> int:
        return max(0, int(self._env.stat()["entries"]) - 1)

    def close(self) -> None:
        self._env.close()


def _row_key(key: bytes) -> bytes:
    return key if len(key) <= _LONGEST_KEY else b"\0" + sha256(key).digest()
