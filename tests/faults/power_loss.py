"""What a disk may hold after power was lost, rebuilt from recorded writes.

The model. What was synced is on the disk. Of what was written since, each sector of 512 octets
holds the synced content or that of any later write: so writes are dropped, reordered and torn. A
file may have its synced or any later length. Names are durable once their folder was synced;
of the later changes of names in a folder, a beginning is there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

SECTOR = 512
_HEAD = Struct("<BBHIQ")

DROPPED, KEPT, SUBSET, TORN, ORDERED = range(5)
WAYS = ("dropped", "kept", "subset", "torn", "in order")


@dataclass(frozen=True)
class Event:
    """One recorded call. at: offset, size or number."""

    op: str
    flag: int
    path: str
    data: bytes
    at: int


def read_events(log: Path) -> list[Event]:
    """The record of a process, in order; a durable write is a write and then its sync."""
    raw, at, events = log.read_bytes(), 0, []
    while at < len(raw):
        op, flag, path_size, size, where = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        path = raw[at : at + path_size].decode()
        data = raw[at + path_size : at + path_size + size]
        at += path_size + size
        events.append(Event(chr(op), flag, path, data, where))
        if chr(op) == "W" and flag:
            events.append(Event("Y", 0, path, b"\0" * len(data), where))
    return events


@dataclass
class File:
    """An inode. pending: by sector, (write number, content) in the order written."""

    durable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    pending: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)

    def write(self, number: int, at: int, data: bytes) -> None:
        end = at + len(data)
        if end > len(self.cached):
            self.cached.extend(bytes(end - len(self.cached)))
        self.cached[at:end] = data
        for sector in range(at // SECTOR, (end - 1) // SECTOR + 1):
            content = bytes(self.cached[sector * SECTOR : (sector + 1) * SECTOR])
            self.pending.setdefault(sector, []).append((number, content))

    def truncate(self, size: int) -> None:
        """Only to nothing or to a greater length, as the store does; taken as durable."""
        if size < len(self.cached):
            del self.cached[size:]
            self.durable = bytearray(self.cached)
            self.pending.clear()
        else:
            self.cached.extend(bytes(size - len(self.cached)))

    def sync(self) -> None:
        self.durable = bytearray(self.cached)
        self.pending.clear()

    def sync_range(self, at: int, size: int) -> None:
        """A write through O_DSYNC came back: its sectors are on the disk."""
        end = at + size
        if end > len(self.durable):
            self.durable.extend(bytes(end - len(self.durable)))
        for sector in range(at // SECTOR, (end - 1) // SECTOR + 1):
            start = sector * SECTOR
            self.durable[start : start + SECTOR] = self.cached[start : start + SECTOR]
            self.pending.pop(sector, None)

    def image(self, way: int, chance: random.Random) -> bytes:
        """What may be read back."""
        numbers = sorted({number for versions in self.pending.values() for number, _ in versions})
        kept = set(numbers)
        if way == DROPPED:
            kept = set()
        elif way == SUBSET:
            kept = {number for number in numbers if chance.random() < 0.5}
        elif way == ORDERED:
            kept = set(numbers[: chance.randint(0, len(numbers))])
        made = bytearray(self.durable)
        for sector, versions in self.pending.items():
            if way == TORN:
                found = chance.choice([None, *(content for _, content in versions)])
            else:
                found = next((c for number, c in reversed(versions) if number in kept), None)
            if found is None:
                continue
            start = sector * SECTOR
            if start > len(made):
                made.extend(bytes(start - len(made)))
            made[start : start + len(found)] = found
        if len(made) < len(self.cached) and chance.random() < 0.5:
            made.extend(bytes(len(self.cached) - len(made)))
        return bytes(made)


class Disk:
    """A folder, its names and files, as the events come in."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.names: dict[str, File | None] = {}
        self.synced: dict[str, File | None] = {}
        self._changes: list[tuple[str, Event, File | None]] = []
        self._number = 0
        self.acknowledged = -1

    def take(self, event: Event) -> None:
        """One event. Paths are kept whole; a folder is a name without a file."""
        self._number += 1
        if event.op == "M":
            self.acknowledged = event.at
        elif event.op in "ODRU":
            self._rename(event)
        elif (event.op == "S" and self.names.get(event.path, 0) is None) or event.path == self.root:
            self._sync_folder(event.path)
        else:
            file = self.names.get(event.path)
            if file is None:
                return
            if event.op == "W":
                file.write(self._number, event.at, event.data)
            elif event.op == "Y":
                file.sync_range(event.at, len(event.data))
            elif event.op == "T":
                file.truncate(event.at)
            else:
                file.sync()

    def _rename(self, event: Event) -> None:
        made = File() if event.op == "O" else None
        if event.op == "R":
            made = self.names.get(event.path)
        self._changes.append((str(Path(event.path).parent), event, made))
        _change(self.names, event, made)

    def _sync_folder(self, folder: str) -> None:
        left = []
        for change in self._changes:
            if change[0] == folder:
                _change(self.synced, *change[1:])
            else:
                left.append(change)
        self._changes = left

    def image(self, target: Path, way: int, chance: random.Random) -> None:
        """Write what may be read back into an empty folder."""
        names = dict(self.synced)
        cut = {folder: chance.randint(0, len(self._changes)) for folder, *_ in self._changes}
        if way in {DROPPED, KEPT}:
            cut = dict.fromkeys(cut, 0 if way == DROPPED else len(self._changes))
        for number, (folder, event, made) in enumerate(self._changes):
            if number < cut[folder]:
                _change(names, event, made)
        for path in sorted(names):
            place = target / Path(path).relative_to(self.root)
            file = names[path]
            if file is None:
                place.mkdir(parents=True, exist_ok=True)
            elif place.parent.is_dir():
                place.write_bytes(file.image(way, chance))


def _change(names: dict[str, File | None], event: Event, made: File | None) -> None:
    """A name comes, goes or is another one; with a folder all that is in it."""
    if event.op in "OD":
        names[event.path] = made
    elif event.op == "U":
        names.pop(event.path, None)
    else:
        to = event.data.decode()
        if event.path in names:
            names[to] = names.pop(event.path)
        for path in [path for path in names if path.startswith(event.path + "/")]:
            names[to + path[len(event.path) :]] = names.pop(path)


def crash_points(events: list[Event], root: str) -> Iterator[tuple[int, Disk]]:
    """The disk before each event and after the last, as power may be lost at any of them."""
    disk = Disk(root)
    for number, event in enumerate(events):
        yield number, disk
        disk.take(event)
    yield len(events), disk
