"""Rows made ready: the same octets as the general way, and the general way for all else."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.change import Change, Kind, decode_change, encode_change
from protocol.handle_json import format_values, parse_values
from protocol.jws import parse_jws
from protocol.record import HandleValue, Reference
from protocol.strict_json import parse_json
from registry.batch_signing import BatchSigner
from registry.keys import create_keys, load_keys
from registry.prefixes import HOMED, PrefixRow
from registry.ready import Drafter, plain_change
from registry.rules import WriterSettings
from registry.signing import VERIFIED, RecordSigner, is_under
from registry.store import Table
from registry.store.lmdb_store import STORE_ID_KEY, LmdbStore, create
from registry.writer import Writer

NOW = 1_790_000_000
PREFIX = b"88.100.1"
BOUNDS = WriterSettings()
ADMIN = {
    "index": 100,
    "type": "HS_ADMIN",
    "data": {
        "format": "admin",
        "value": {"handle": "0.NA/88.100.1", "index": 200, "permissions": "011111111111"},
    },
}
URL = {"index": 1, "type": "URL", "data": {"format": "string", "value": "https://e.cn/1"}}


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    from datetime import UTC, datetime

    folder = tmp_path_factory.mktemp("keys")
    create_keys(folder, ["127.0.0.1"], datetime.now(UTC))
    return RecordSigner(Reference(b"0.NA/88.100.1", 302), load_keys(folder).log_private, ())


def line(handle="88.100.1/a", values=(URL, ADMIN), **more) -> bytes:
    return json.dumps({"handle": handle, "values": list(values), **more}).encode()


def drafter(signer=None, most=64):
    if signer is None:
        return Drafter(None, BOUNDS, NOW)
    together = BatchSigner(signer, most)
    return Drafter(lambda name: together if is_under(name, PREFIX) else None, BOUNDS, NOW)


texts = st.text(max_size=40)
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
data = st.one_of(texts, plain, st.builds(lambda t: {"format": "string", "value": t}, texts | plain))
value = st.fixed_dictionaries(
    {"index": st.integers(-1, 12), "type": st.sampled_from(["URL", "DESC", "x.y", "é", "HS_VLIST"])}
    | {"data": data},
    optional={
        "ttl": st.sampled_from([0, 60, 86_400, -1, 1 << 40, "60", 1.5]),
        "timestamp": st.sampled_from(["2020-01-01T00:00:00Z", 7]),
        "permissions": st.just("1110"),
        "note": texts,
    },
)
rows_ = st.fixed_dictionaries(
    {
        "handle": st.sampled_from(["88.100.1/a", "88.100.1/A-b.c", "88.100.1/ü", "0.NA/88.100.1"]),
        "values": st.lists(value | st.just(ADMIN), max_size=4),
    },
    optional={
        "line": st.sampled_from([3, -1, "3", True]),
        "on_exists": st.sampled_from(["refuse", "replace", "merge", "no"]),
        "expected_version": st.just(0),
    },
)


@settings(max_examples=300)
@given(rows_, st.booleans())
def test_a_row_that_is_taken_says_what_the_general_way_reads(row, compact):
    """Handle, values and JSON of a draft are those that the strict parser and formatter give."""
    text = json.dumps(row, separators=(",", ":") if compact else None).encode()
    own = drafter()
    draft = own.read(text, 1)
    if draft is None:
        return
    (ready,) = own.finish([draft])
    read = parse_json(text)
    values = tuple(
        HandleValue(v.index, v.type, v.data, v.ttl, v.ttl_type, NOW, v.permissions, v.references)
        for v in parse_values({"values": read["values"]})
    )
    assert draft.handle == read["handle"]
    assert plain_change(Change(Kind.CREATE, b"x"), ready).values == values
    assert ready.json == format_values(values)
    assert ready.min_ttl == min(v.ttl for v in values)
    assert ready.number == len(values)


@pytest.mark.parametrize(
    "text",
    [
        b'{"handle":"88.100.1/a","handle":"88.100.1/b","values":[{"index":1,"type":"U","data":"x"}]}',
        b'{"handle":"88.100.1/a","values":[{"index":1,"type":"U","data":"x","data":"y"}]}',
        b'{"handle":"88.100.1/a","values":[{"index":1,"type":"U","type":"V","data":"x"}]}',
        b'{"handle":"88.100.1/a","values":[{"index":1,"index":2,"type":"U","data":"x"}]}',
        line(values=[{**URL, "type": "HS_SECKEY"}]),
        line(values=[{**URL, "type": "0.LABEL"}]),
        line(values=[{**URL, "type": "HS_SIGNATURE"}]),
        line(values=[URL, URL]),
        line(values=[]),
        line(handle="0.NA/88.100.1"),
        line(handle="2.999.1"),
        line(handle="urn:epc:id:sgtin:1.2.3"),
        line(on_exists="merge"),
        line(expected_version=1),
        b"not json",
    ],
)
def test_the_general_way_decides_about_what_is_unusual(text):
    """Names that stand twice, types that decide about something, and odd handles are not taken."""
    assert drafter().read(text, 1) is None


def store_at(path):
    create(path)
    store = LmdbStore.open(path, reserve_bytes=0)
    store.apply([PrefixRow(PREFIX, HOMED).write()])
    return store


def writer_on(store):
    salts = itertools.count(1)
    return Writer(store, now=lambda: NOW, random=lambda n: next(salts).to_bytes(n, "big"))


def dump(store):
    with store.snapshot() as state:
        tables = {table: dict(state.scan(table)) for table in Table}
    tables[Table.META].pop(STORE_ID_KEY)
    return tables


def ready_changes(signer, lines, most=64):
    own = drafter(signer, most)
    drafts = [own.read(text, 1) for text in lines]
    return [
        Change(Kind.CREATE, d.handle.encode(), overwrite=d.overwrite, ready=ready)
        for d, ready in zip(drafts, own.finish(drafts), strict=True)
    ]


def test_the_writer_stores_the_same_either_way(tmp_path, signer):
    """Ready changes and the same ones as objects leave every table octet for octet alike."""
    lines = [
        line(),
        line("88.100.1/b", [{**URL, "data": 'a "quoted" text\n'}, {**URL, "index": 2, "ttl": 7}]),
        line("88.100.1/Ab"),
        line("88.100.1/b", on_exists="replace"),
        line("88.100.1/a"),
        line("88.100.2/elsewhere"),
    ]
    ready = [decode_change(encode_change(change)) for change in ready_changes(signer, lines)]
    objects = [plain_change(change, change.ready) for change in ready]
    stores = [store_at(tmp_path / name) for name in ("ready", "objects")]
    outcomes = [
        writer_on(store).commit(changes)
        for store, changes in zip(stores, (ready, objects), strict=True)
    ]
    assert outcomes[0] == outcomes[1]
    assert [outcome.status for outcome in outcomes[0]] == [
        "created", "created", "created", "replaced", "unchanged", "refused",
    ]  # fmt: skip
    assert dump(stores[0]) == dump(stores[1])
    for store in stores:
        store.close()


@pytest.mark.parametrize("most", [1, 2, 64])
def test_signatures_are_those_of_the_general_signer(signer, most):
    """A ready record's signature has the payload that RecordSigner makes, and verifies."""
    lines = [line(f"88.100.1/n{number}") for number in range(5)]
    for change in ready_changes(signer, lines, most):
        values = plain_change(change, change.ready).values
        signature = parse_jws(values[-1].data)
        signature.verify(signer.key.public_key())
        assert signature.payload == signer.payload(change.handle, values[:-1], NOW)
        assert plain_change(change, change.ready).attributes == {VERIFIED: True}
        assert change.ready.signed


def test_other_prefixes_are_not_signed(signer):
    """What lies outside the node's own prefix is made ready without a signature."""
    (change,) = ready_changes(signer, [line("88.7/x")])
    assert not change.ready.signed
    assert len(plain_change(change, change.ready).values) == 2


def test_signing_again_alone_or_in_a_batch_changes_nothing(tmp_path, signer):
    """A record that was signed in a batch and comes again signed by itself is unchanged."""
    store = store_at(tmp_path / "store")
    lines = [line(f"88.100.1/n{number}", on_exists="replace") for number in range(3)]
    writer_on(store).commit(ready_changes(signer, lines))
    again = writer_on(store).commit(ready_changes(signer, lines, most=1))
    assert [outcome.status for outcome in again] == ["unchanged"] * 3
    store.close()
