"""What every store promises. A test module gives a `store` fixture and imports these tests."""

from __future__ import annotations

import pytest

from protocol.errors import ReadOnly, StoreError
from registry.store import Store, Table, Write

T = Table.RECORDS


def put(store: Store, *pairs: tuple[bytes, bytes], table: Table = T) -> None:
    store.apply([Write(table, key, value) for key, value in pairs])


class StoreContract:
    """Inherit and define the `store` fixture."""

    def test_empty_store_has_nothing(self, store):
        """A new store answers None to every question."""
        assert store.get(T, b"a") is None
        assert store.getter(T)(b"a") is None
        with store.snapshot() as state:
            assert state.last(T) is None
            assert list(state.scan(T)) == []
            assert state.count(T) == 0
        assert store.check() == []

    def test_written_rows_are_read(self, store):
        """What apply() wrote, every way of reading finds."""
        put(store, (b"a", b"1"), (b"b", b""))
        assert store.get(T, b"a") == b"1"
        assert store.getter(T)(b"b") == b""
        with store.snapshot() as state:
            assert state.get(T, b"a") == b"1"
            assert state.count(T) == 2
        assert store.check() == []

    def test_tables_are_apart(self, store):
        """The same key in two tables names two rows."""
        put(store, (b"a", b"1"))
        put(store, (b"a", b"2"), table=Table.JSON)
        assert (store.get(T, b"a"), store.get(Table.JSON, b"a")) == (b"1", b"2")
        assert store.check() == []

    def test_rows_are_read_backwards(self, store):
        """Backwards come the same rows as forwards, the last one first."""
        rows = [(b"a", b"1"), (b"b", b"2"), (b"d", b"3")]
        put(store, *rows)
        with store.snapshot() as state:
            for start, stop in (
                (b"", b"z"),
                (b"a", b"d"),
                (b"b", b"c"),
                (b"c", b"d"),
                (b"e", b"f"),
            ):
                forwards = list(state.scan(T, start, stop))
                assert list(state.scan_back(T, start, stop)) == forwards[::-1]
            assert list(state.scan_back(T, b"", b"z", 2)) == rows[:0:-1]

    def test_none_deletes(self, store):
        """A write without a value deletes; deleting what is not there is no error."""
        put(store, (b"a", b"1"))
        store.apply([Write(T, b"a", None), Write(T, b"zz", None)])
        assert store.get(T, b"a") is None
        assert store.check() == []

    def test_last_write_of_a_key_wins(self, store):
        """Of several writes of one key in a batch the last one counts."""
        store.apply([Write(T, b"a", b"1"), Write(T, b"a", None), Write(T, b"a", b"3")])
        assert store.get(T, b"a") == b"3"
        store.apply([Write(T, b"a", b"4"), Write(T, b"a", None)])
        assert store.get(T, b"a") is None
        assert store.check() == []

    def test_scan_is_ordered_and_bounded(self, store):
        """A scan gives start <= key < stop in the order of octets, at most limit rows."""
        put(store, *((bytes([n]), b"%d" % n) for n in (200, 3, 100, 5, 4)))
        with store.snapshot() as state:
            assert [key[0] for key, _ in state.scan(T)] == [3, 4, 5, 100, 200]
            assert [key[0] for key, _ in state.scan(T, b"\x04", b"\x64")] == [4, 5]
            assert [key[0] for key, _ in state.scan(T, b"\x04", limit=1)] == [4]
            assert list(state.scan(T, limit=0)) == []
            assert state.last(T) == (b"\xc8", b"200")
        assert store.check() == []

    def test_snapshot_stands_still(self, store):
        """A snapshot does not see what is written after it; get() does."""
        put(store, (b"a", b"1"))
        with store.snapshot() as state:
            put(store, (b"a", b"2"))
            assert state.get(T, b"a") == b"1"
            assert store.get(T, b"a") == b"2"
        assert store.check() == []

    def test_odd_keys_find_nothing(self, store):
        """Empty and overlong keys are absent, not errors."""
        for key in (b"", b"x" * 512, b"x" * 5000):
            assert store.get(T, key) is None
            assert store.getter(T)(key) is None
        assert store.check() == []

    def test_longest_key_is_kept(self, store):
        """A key of 511 octets is stored."""
        put(store, (b"x" * 511, b"1"))
        assert store.getter(T)(b"x" * 511) == b"1"
        assert store.check() == []

    def test_a_bad_key_spoils_the_whole_batch(self, store):
        """apply() is all or nothing: with one impossible key nothing is written."""
        with pytest.raises(StoreError):
            store.apply([Write(T, b"a", b"1"), Write(T, b"x" * 512, b"2")])
        assert store.get(T, b"a") is None
        put(store, (b"b", b"2"))
        assert store.get(T, b"b") == b"2"
        assert store.check() == []

    def test_large_values_are_kept(self, store):
        """A value may be far larger than a page."""
        big = bytes(range(256)) * 4096
        put(store, (b"a", big))
        assert store.get(T, b"a") == big
        assert store.check() == []

    def test_closed_store_reads_nothing(self, store):
        """A closed store refuses work instead of misbehaving."""
        store.close()
        with pytest.raises((StoreError, ReadOnly)):
            put(store, (b"a", b"1"))
