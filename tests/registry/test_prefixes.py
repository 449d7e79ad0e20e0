"""Which node answers for which name."""

from __future__ import annotations

import pytest

from protocol.errors import NotServedHere, StoreError
from registry.generation import Generation
from registry.prefixes import DELEGATED, HOMED, REQUESTED, WAITING, Prefixes, PrefixRow
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore, create


@pytest.fixture
def store(tmp_path):
    create(tmp_path / "store")
    made = LmdbStore.open(tmp_path / "store")
    yield made
    assert made.check() == []
    made.close()


def homed(store, *names: bytes, state: str = HOMED) -> Prefixes:
    store.apply([PrefixRow(name, state, 5, 6, {"holder": "X"}).write() for name in names])
    return Prefixes(store)


def test_rows_round_trip(store):
    """A row read back is the row written."""
    prefixes = homed(store, b"88.118", state=REQUESTED)
    assert prefixes.get(b"88.118") == PrefixRow(b"88.118", REQUESTED, 5, 6, {"holder": "X"})
    assert [row.prefix for row in prefixes.rows()] == [b"88.118"]
    assert prefixes.get(b"88.119") is None


def test_a_damaged_row_is_an_error_that_names_it(store):
    """A row that does not parse is reported, not guessed at."""
    store.apply([Write(Table.PREFIXES, b"88", b"\xc1")])
    with pytest.raises(StoreError, match="88"):
        Prefixes(store).rows()


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        (b"88.118/x", True),
        (b"88.118/x/y", True),
        (b"88.118.8/x", False),
        (b"88/x", False),
        (b"0.NA/88.118", True),
        (b"0.na/88.118.8", True),
        (b"0.NA/88.118.8.7", True),
        (b"0.NA/88", False),
        (b"0.NA/88.1180", False),
        (b"0.NA/0.NA", False),
        (b"88.118", False),
    ],
)
def test_who_answers(store, name, answers):
    """A handle by its prefix; a prefix record by its prefix or an ancestor of it."""
    prefixes = homed(store, b"88.118")
    assert prefixes.responsible(name) is answers
    if answers:
        prefixes.require(name)
    else:
        with pytest.raises(NotServedHere):
            prefixes.require(name)


def test_the_root_answers_for_all_prefix_records(store):
    """A node home to 0.NA answers for every prefix record."""
    prefixes = homed(store, b"0.NA")
    assert prefixes.responsible(b"0.NA/99.1")
    assert prefixes.responsible(b"0.NA/0.NA")
    assert not prefixes.responsible(b"99.1/x")


def test_the_nearest_delegation(store):
    """A name below a delegated prefix is referred to the nearest one; its own record is ours."""
    homed(store, b"88")
    prefixes = homed(store, b"88.118", b"88.118.8", state=DELEGATED)
    assert prefixes.delegation_for(b"88.118.8/x") == b"0.NA/88.118.8"
    assert prefixes.delegation_for(b"88.118.9/x") == b"0.NA/88.118"
    assert prefixes.delegation_for(b"0.NA/88.118.8.1") == b"0.NA/88.118.8"
    assert prefixes.delegation_for(b"0.NA/88.118") is None
    assert prefixes.delegation_for(b"88.119/x") is None


def test_messages_say_what_to_do(store):
    """A waiting prefix names the command of the parent; an unknown one says where to look."""
    prefixes = homed(store, b"88.118", state=WAITING)
    with pytest.raises(NotServedHere, match=r"biaoshi prefix approve 88\.118"):
        prefixes.require(b"88.118/x")
    with pytest.raises(
        NotServedHere, match="prefix 99 is not homed at this node; send it to the node"
    ):
        prefixes.require(b"99/x")


def test_the_cached_set_follows_the_generation(store, tmp_path):
    """With a generation the set is read again only after it was raised."""
    writable = Generation(tmp_path / "run" / "generation", writable=True)
    prefixes = Prefixes(store, Generation(tmp_path / "run" / "generation"))
    assert prefixes.homed() == frozenset()
    store.apply([PrefixRow(b"88", HOMED).write()])
    assert prefixes.homed() == frozenset()
    writable.bump()
    assert prefixes.homed() == {b"88"}
    assert writable.value() == 1
    writable.close()
