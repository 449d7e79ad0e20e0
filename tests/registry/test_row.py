"""Rows: slices equal what was given, damage is seen, long names stay apart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.handle_json import format_values
from protocol.name import fold
from protocol.record import HandleValue, Record, Reference, encode_values
from registry.store import Table
from registry.store.row import (
    HAS_SIGNATURE,
    RowDamaged,
    checked,
    decode_row,
    encode_row,
    has_private,
    is_named,
    is_shortened,
    json_head,
    json_is_named,
    json_values,
    no_rows,
    public_body,
    ready_json,
    row_name,
    row_version,
    rows,
    store_key,
)

values = st.builds(
    HandleValue,
    index=st.integers(1, 2**31 - 1),
    type=st.sampled_from([b"URL", b"DESC", b"HS_SECKEY"]),
    data=st.binary(max_size=40),
    ttl=st.integers(0, 2**32 - 1),
    ttl_type=st.integers(0, 1),
    timestamp=st.integers(0, 2**32 - 1),
    permissions=st.integers(0, 15),
    references=st.lists(
        st.builds(Reference, st.binary(max_size=5), st.integers(0, 9)), max_size=2
    ).map(tuple),
)
records = st.builds(
    Record, st.binary(min_size=1, max_size=700), st.lists(values, max_size=6).map(tuple)
)


@given(records, st.integers(0, 2**63), st.integers(0, 2**32 - 1))
def test_row_round_trips(record, version, time):
    """Decoding a row gives the record back, public values first, and the slices agree."""
    raw = checked(encode_row(record, version, time))
    row = decode_row(raw)
    public = tuple(v for v in record.values if v.public)
    private = tuple(v for v in record.values if not v.public)
    assert row.record() == Record(record.handle, public + private)
    assert (row.version, row.time, row_version(raw)) == (version, time, version)
    assert row_name(raw) == record.handle
    assert public_body(raw) == row.public == encode_values(public)
    assert has_private(raw) == bool(private)


@given(records, st.integers(0, 2**63), st.integers(0, 2**32 - 1))
def test_ready_json_is_the_public_values(record, version, time):
    """The ready JSON holds the public values and nothing else."""
    raw = checked(ready_json(record, version, time))
    public = [v for v in record.values if v.public]
    assert json_values(raw) == format_values(public)
    head = json_head(raw)
    assert (head.version, head.time) == (version, time)
    assert head.has_private == (len(public) != len(record.values))
    assert head.min_ttl == decode_row(encode_row(record, version, time)).min_ttl
    key = store_key(fold(record.handle))
    assert json_is_named(raw, key, fold(record.handle))
    assert is_named(encode_row(record, version, time), key, fold(record.handle))


@given(records, st.data())
def test_any_flipped_bit_is_found(record, data):
    """A row with one bit changed, or cut short, is refused."""
    raw = bytearray(encode_row(record, 7, 8))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    with pytest.raises(RowDamaged):
        decode_row(bytes(raw))
    with pytest.raises(RowDamaged):
        checked(bytes(raw[: at // 8]))


@given(st.binary(max_size=1500), st.binary(max_size=1500))
def test_keys_fit_and_differ(one, other):
    """Keys are at most 511 octets, and different names have different keys."""
    assert len(store_key(one)) <= 511
    assert (store_key(one) == store_key(other)) == (one == other)


def test_long_names_compare_the_whole_name():
    """A key that stands for a longer name is recognised, and the row's own name decides."""
    name = b"88.1/" + b"X" * 600
    key = store_key(name)
    assert is_shortened(key)
    assert not is_shortened(store_key(b"88.1/x"))
    record = Record(name.lower(), (HandleValue(1, b"URL", b"http://example.org"),))
    for write in rows(record, 1, 2):
        assert write.key == key
        named = is_named if write.table is Table.RECORDS else json_is_named
        assert named(write.value, key, name)
        assert not named(write.value, key, name + b"Y")
    # A name that looks like a shortened key is shortened itself.
    assert store_key(key) != key


def test_least_ttl_and_flags():
    """The least TTL is that of the public values; absolute ones count from the row's time."""
    record = Record(
        b"88.1/a",
        (
            HandleValue(1, b"URL", b"u", ttl=60),
            HandleValue(2, b"X", b"x", ttl=1_000_010, ttl_type=1),
            HandleValue(3, b"HS_SECKEY", b"s", ttl=1, permissions=0b1100),
            HandleValue(400, b"HS_SIGNATURE", b"j"),
        ),
    )
    row = decode_row(encode_row(record, 1, 1_000_000))
    assert row.min_ttl == 10
    assert row.flags & HAS_SIGNATURE
    assert json_head(ready_json(record, 1, 1_000_000)).has_absolute_ttl
    assert decode_row(encode_row(Record(b"a", ()), 1, 2)).min_ttl == 0


def test_rows_and_no_rows_touch_the_same_keys():
    """Deleting a record deletes everything that was written for it."""
    record = Record(b"88.1/aBc", (HandleValue(1, b"URL", b"http://example.org/"),))
    written, deleted = rows(record, 1, 2), no_rows(b"88.1/ABC")
    assert [w[:2] for w in written] == [w[:2] for w in deleted]
    assert all(w.value is None for w in deleted)
    shown = json.loads(json_values(written[1].value))
    assert shown[0]["data"] == {"format": "string", "value": "http://example.org/"}
