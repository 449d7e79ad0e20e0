"""A store in a fresh folder, and a writer on it with a clock that the test holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.change import Change, Kind
from protocol.record import HandleValue, Record, Reference
from protocol.values.hs_admin import Admin, encode_admin
from protocol.values.hs_vlist import encode_vlist
from registry.access import Access, AccessSettings
from registry.check import check_node
from registry.records import read_row
from registry.store.lmdb_store import LmdbStore, create
from registry.store.row import Row
from registry.writer import Outcome, Writer

ADMIN = Reference(b"0.NA/88.118.8", 300)
SECRET = Reference(b"0.NA/88.118.8", 301)
STRANGER = Reference(b"0.NA/99", 300)


class Desk:
    """A writer, its store and its clock, with short ways to ask."""

    def __init__(self, path: Path, **options: object) -> None:
        self.time = 1_700_000_000
        self.store = LmdbStore.open(path)
        self.access = Access(self.store, AccessSettings(server_admins=(ADMIN, SECRET)))
        self.writer = Writer(self.store, now=lambda: self.time, access=self.access, **options)

    def do(self, kind: Kind, handle: bytes, *values: HandleValue, **rest: object) -> Outcome:
        return self.writer.commit([Change(kind, handle, tuple(values), **rest)])[0]

    def create(self, handle: bytes, *values: HandleValue, **rest: object) -> Outcome:
        return self.do(Kind.CREATE, handle, *values, **rest)

    def row(self, handle: bytes) -> Row | None:
        return read_row(self.store, handle)

    def values(self, handle: bytes) -> dict[int, bytes]:
        row = self.row(handle)
        return {} if row is None else {value.index: value.data for value in row.values()}

    def record(self, handle: bytes) -> Record:
        return self.row(handle).record()


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes desks, each on its own store; each store is checked at the end."""
    made: list[Desk] = []

    def make(home: bytes = b"88.118.8", **options: object) -> Desk:
        path = tmp_path / f"store{len(made)}"
        create(path)
        desk = Desk(path, **options)
        made.append(desk)
        assert desk.do(Kind.HOME, b"0.NA/" + home).status == "created"
        return desk

    yield make
    for desk in made:
        findings = check_node(desk.store)
        desk.store.close()
        assert findings == []


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


def url(data: bytes = b"http://example.org/", index: int = 1, **rest: object) -> HandleValue:
    return HandleValue(index, b"URL", data, **rest)


def admin(mask: int, handle: bytes, index: int, at: int = 100) -> HandleValue:
    return HandleValue(at, b"HS_ADMIN", encode_admin(Admin(mask, handle, index)))


def vlist(*members: Reference, at: int = 200) -> HandleValue:
    return HandleValue(at, b"HS_VLIST", encode_vlist(members))
