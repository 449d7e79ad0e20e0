"""What a mirror carries along beside the log: taken whole, bounded, never ahead of its events."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import UpstreamError
from registry.notes import Note, encode_note
from registry.store.lmdb_store import LmdbStore, create
from resolver.trust import carried
from resolver.trust.carried import note_writes, pack_notes, unpack_notes
from resolver.trust.source import UrlSource


@pytest.fixture
def stores(tmp_path):
    """A store with notes of every kind, and an empty one."""
    made = []
    for name in ("primary", "mirror"):
        create(tmp_path / name)
        made.append(LmdbStore.open(tmp_path / name))
    noted = [b"epcis/query/%03d" % n for n in range(50)]
    noted += [
        b"epcis/partner/1/a",
        b"epcis/sub/1/a",
        b"epcis/cursor/1/a",
        b"epcis/job/1",
        b"epcis/doc/1",
    ]
    made[0].apply([Note(key, encode_note({"name": key})).write() for key in noted])
    yield made
    for one in made:
        one.close()


class Answer:
    status = 200

    def __init__(self, body):
        self.body = body


class Asked:
    """The connection to a node whose store is here. answers: what it sends instead."""

    credentials = None

    def __init__(self, store, answers=None):
        self.store = store
        self.answers = answers

    def request(self, _method, path):
        if self.answers is not None:
            return self.answers.pop(0)
        with self.store.snapshot() as state:
            return Answer(pack_notes(state, bytes.fromhex(path.partition("=")[2])))


def held(store):
    with store.snapshot() as state:
        return unpack_notes(pack_notes(state))


def take(source, store):
    with store.snapshot() as state:
        writes = note_writes(state, source.notes())
    store.apply(writes)
    return len(writes)


@pytest.mark.parametrize("portion", [1, 100, 1 << 20])
def test_carried_whole(stores, portion, monkeypatch):
    """In portions of any size the mirror gets what is carried, once, and loses what went."""
    monkeypatch.setattr(carried, "MOST_PORTION_BYTES", portion)
    primary, mirror = stores
    source = UrlSource(Asked(primary))
    assert take(source, mirror) == 53
    monkeypatch.undo()
    assert held(mirror) == held(primary)
    assert not any(key.startswith((b"epcis/job", b"epcis/doc")) for key in held(mirror))
    assert take(source, mirror) == 0
    gone = [Note(b"epcis/query/007", None), Note(b"epcis/cursor/1/a", encode_note({"to": 9}))]
    primary.apply([one.write() for one in gone])
    assert take(source, mirror) == 2
    assert held(mirror) == held(primary)


@pytest.mark.parametrize(
    "rows",
    [
        [[b"epcis/job/1", b"x"]],
        [[b"meta", b"x"]],
        [["epcis/query/a", b"x"]],
        [[b"epcis/query/a", "x"]],
        [[b"epcis/query/a"]],
        [7],
        [[b"epcis/query/" + b"a" * 400, b"x"]],
        [[b"epcis/query/a", b"x" * ((1 << 20) + 1)]],
    ],
)
def test_other_rows_are_refused(rows):
    """A primary cannot write anything else into a mirror than what is carried."""
    with pytest.raises(UpstreamError):
        unpack_notes(b"".join(msgpack.packb(row) for row in rows))


@given(st.binary(max_size=200))
def test_any_octets(data):
    """Anything is read or refused."""
    try:
        assert all(key.startswith(carried.CARRIED) for key in unpack_notes(data))
    except UpstreamError:
        return


def test_a_source_without_end_is_left():
    """Portions that repeat, or never end, are refused."""
    again = msgpack.packb([b"epcis/query/a", b"x"])
    with pytest.raises(UpstreamError):
        UrlSource(Asked(None, [Answer(again), Answer(again)])).notes()
    portions = [Answer(msgpack.packb([b"epcis/query/%08d" % n, b"x"])) for n in range(10_010)]
    with pytest.raises(UpstreamError):
        UrlSource(Asked(None, portions)).notes()
    older = Answer(b"")
    older.status = 404
    assert UrlSource(Asked(None, [older])).notes() == {}
