"""Stores of any size for measurements, filled in key order past the writer.

One record in fifty is withheld: none of its values is publicly readable.

Rows are exactly those that registration writes (registry.store.row.rows); only the log is left
out, so `biaoshi check` on such a store names every record as one without a change.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import track

from protocol.record import PUBLIC_READ, HandleValue, Record
from registry.prefixes import HOMED, PrefixRow
from registry.store import Write
from registry.store.lmdb_store import LmdbStore
from registry.store.row import rows

BATCH = 20_000
WITHHELD_EVERY = 50
TIME_S = 1_790_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What the records look like.

    values: a record's. short: one tiny value. oids: further records, named by OIDs, that have
    NAPTR records in DNS.
    """

    count: int
    values: int = 4
    short: bool = False
    oids: int = 0
    prefix: str = "88.100.1"

    def handle(self, number: int) -> str:
        """The identifier of a record."""
        return f"{self.prefix}/SN{number:010d}"


OID_ROOT = "2.999"
"""The arc for examples (ITU-T X.660)."""


def oid(number: int) -> str:
    """The identifier of an OID record."""
    return f"{OID_ROOT}.{number}"


def product_url(number: int) -> str:
    """What a record's URL value says."""
    return f"https://example.org/product/{number:010d}"


def naptr(number: int) -> str:
    """The NAPTR record of an OID, as zone files and values of that type write it."""
    return f'100 10 "u" "ORS+UINF" "!^.*$!{product_url(number)}!" .'


def is_withheld(number: int) -> bool:
    """Whether a record has no public values."""
    return number % WITHHELD_EVERY == WITHHELD_EVERY - 1


def value_set(shape: Shape, number: int) -> tuple[HandleValue, ...]:
    """The values of a record, private ones where it is withheld."""
    values = _short_values(number) if shape.short else _values(shape, number)
    if not is_withheld(number):
        return values
    return tuple(replace(v, permissions=v.permissions & ~PUBLIC_READ) for v in values)


def _short_values(number: int) -> tuple[HandleValue, ...]:
    return (HandleValue(1, b"URL", b"https://e.cn/%d" % number, timestamp=TIME_S),)


def _values(shape: Shape, number: int) -> tuple[HandleValue, ...]:
    """A product's values: URL, DESC, LIFECYCLE and HS_ADMIN, then more until there are enough."""
    admin = b"\x0f\xff" + b"\x00\x00\x00\x0d0.NA/88.100.1" + b"\x00\x00\x00\xc8"
    lifecycle = json.dumps({"stage": "produced", "batch": f"B{number // 1000:06d}"}).encode()
    known = [
        HandleValue(1, b"URL", product_url(number).encode(), timestamp=TIME_S),
        HandleValue(2, b"DESC", b"cold-rolled coil DC01 1.2 mm, no. %d" % number, timestamp=TIME_S),
        HandleValue(3, b"LIFECYCLE", lifecycle, timestamp=TIME_S),
        HandleValue(100, b"HS_ADMIN", admin, timestamp=TIME_S),
    ]
    more = [
        HandleValue(2000 + n, b"ATTR.%d" % n, b"value %d of %d" % (n, number), timestamp=TIME_S)
        for n in range(shape.values - len(known))
    ]
    return tuple((known + more)[: shape.values])


def writes(shape: Shape, start: int, stop: int) -> Iterator[Write]:
    """The rows of records start … stop−1."""
    for number in range(start, stop):
        record = Record(shape.handle(number).encode(), value_set(shape, number))
        yield from rows(record, number + 1, TIME_S)


def oid_writes(shape: Shape) -> Iterator[Write]:
    """The rows of the OID records, and of the arc that they stand under."""
    yield PrefixRow(OID_ROOT.encode(), HOMED).write()
    for number in range(shape.oids):
        value = HandleValue(1, b"NAPTR", naptr(number).encode(), ttl=300, timestamp=TIME_S)
        yield from rows(Record(oid(number).encode(), (value,)), number + 1, TIME_S)


def fill(store: LmdbStore, shape: Shape, *, quiet: bool = False) -> None:
    """Write all records of a shape in key order."""
    starts = range(0, shape.count, BATCH)
    for start in track(starts, f"{shape.count:,} records", disable=quiet, transient=True):
        store.apply(list(writes(shape, start, min(start + BATCH, shape.count))))
    if shape.oids:
        store.apply(list(oid_writes(shape)))


def write_keys(file: Path, shape: Shape, most: int = 200_000) -> Path:
    """Files of identifiers for the load generator, spread evenly over the records.

    FILE has those that are there, FILE.withheld those without public values, FILE.absent as many
    that are not there.
    """
    step = max(1, shape.count // most)
    numbers = range(0, shape.count, step)
    _write_names(file, (shape.handle(n) for n in numbers if not is_withheld(n)))
    _write_names(names_of(file, "absent"), (f"{shape.handle(n)}-none" for n in numbers))
    withheld = range(WITHHELD_EVERY - 1, shape.count, WITHHELD_EVERY * step)
    _write_names(names_of(file, "withheld"), (shape.handle(n) for n in withheld))
    return file


def names_of(file: Path, expected: str) -> Path:
    """Which of the files of `write_keys` holds present, absent or withheld names."""
    return file if expected == "present" else file.with_suffix(f"{file.suffix}.{expected}")


def _write_names(file: Path, names: Iterable[str]) -> None:
    with file.open("w") as out:
        out.writelines(f"{name}\n" for name in names)


@contextmanager
def in_memory(file: Path) -> Iterator[int]:
    """Keep a file in the page cache meanwhile; gives its octets, 0 where that is not allowed.

    Reading it is not enough: some machines take pages back that were not touched for seconds, and
    a server that reads them from the disk again is charged with it. Needs RLIMIT_MEMLOCK.
    """
    size = read_whole(file)
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p  # Python's mmap tells no address of a read-only view
    with file.open("rb") as data:
        octets = ctypes.c_size_t(size)
        view = library.mmap(
            None, octets, mmap.PROT_READ, mmap.MAP_SHARED, data.fileno(), ctypes.c_long(0)
        )
    if view == ctypes.c_void_p(-1).value:
        yield 0
        return
    try:
        yield size if library.mlock(ctypes.c_void_p(view), octets) == 0 else 0
    finally:
        library.munmap(ctypes.c_void_p(view), octets)


def read_whole(file: Path) -> int:
    """Read a file once so that it lies in the page cache; returns its octets."""
    total = 0
    with file.open("rb", buffering=0) as data:
        os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        while chunk := data.read(1 << 24):
            total += len(chunk)
    return total
