"""The writer against a model of plain dictionaries: random batches, the same answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore, create
from registry.writer import Submission, Writer

Model = dict[bytes, dict[int, bytes]]

names = st.sampled_from([b"88.5/a", b"88.5/A", b"88.5/b", b"99/x", b"88.5/" + b"n" * 600])
values = st.lists(
    st.builds(
        HandleValue,
        index=st.integers(0, 3),
        type=st.just(b"T"),
        data=st.sampled_from([b"1", b"2"]),
        permissions=st.sampled_from([0b1110, 0b1100]),
    ),
    max_size=3,
).map(tuple)
changes = st.builds(
    Change,
    kind=st.sampled_from(
        [Kind.CREATE, Kind.DELETE, Kind.ADD, Kind.MODIFY, Kind.REMOVE, Kind.MERGE]
    ),
    handle=names,
    values=values,
    indexes=st.lists(st.integers(0, 3), max_size=2, unique=True).map(tuple),
    overwrite=st.booleans(),
)
submissions = st.lists(
    st.lists(st.tuples(st.lists(changes, max_size=4), st.booleans()), max_size=3), max_size=4
)


def expected(model: Model, change: Change) -> bool:
    """Do one change in the model; whether it can be done."""
    name = change.handle.upper()
    old, kind = model.get(name), change.kind
    new = {value.index: (value.data, value.permissions) for value in change.values}
    if not name.startswith(b"88.5/"):
        return False
    if kind is Kind.REMOVE:
        if old is None or not change.indexes or not set(change.indexes) <= old.keys():
            return False
        model[name] = {i: v for i, v in old.items() if i not in change.indexes}
        return True
    if kind is Kind.DELETE:
        return model.pop(name, None) is not None
    if old is None and kind not in {Kind.CREATE, Kind.MERGE}:
        return False
    if 0 in new or len(new) != len(change.values):
        return False
    if old is None or kind is Kind.CREATE:
        if old is not None and old != new and not change.overwrite:
            return False
        model[name] = new
        return True
    if not new:
        return False
    taken = new.keys() & old.keys()
    if kind is Kind.MODIFY and taken != new.keys():
        return False
    if kind is Kind.ADD and taken and not change.overwrite:
        return False
    model[name] = old | new
    return True


@settings(max_examples=80, deadline=None)
@given(submissions)
def test_random_batches_match_the_model(tmp_path_factory, given_groups):
    """Item by item and all or nothing, the store holds what the model holds, and checks out."""
    path = tmp_path_factory.mktemp("w") / "store"
    create(path, map_bytes=1 << 28)
    store = LmdbStore.open(path, map_bytes=1 << 28)
    try:
        writer = Writer(store, now=lambda: 5)
        writer.commit([Change(Kind.HOME, b"88.5")])
        model: Model = {}
        for group in given_groups:
            results = writer.commit_all([Submission(batch, atomic) for batch, atomic in group])
            for (batch, atomic), outcomes in zip(group, results, strict=True):
                trial = {name: dict(held) for name, held in model.items()}
                done = [expected(trial, change) for change in batch]
                if atomic and not all(done):
                    assert all(outcome.status == "refused" for outcome in outcomes)
                    continue
                model = trial
                assert [outcome.status != "refused" for outcome in outcomes] == done
        for name in (b"88.5/A", b"88.5/B", b"99/X", b"88.5/" + b"N" * 600):
            row = writer.commit([Change(Kind.REMOVE, name, indexes=(77,))])[0]
            assert (row.version > 0) == (name in model)
        with store.snapshot() as state:
            from registry.records import read_record

            for name, held in model.items():
                record = read_record(state, name)
                assert {v.index: (v.data, v.permissions) for v in record.values} == held
        assert check_node(store) == []
    finally:
        store.close()
