"""The writer: what each change does, what it refuses, and that nothing is half done."""

from __future__ import annotations

import pytest

from protocol.change import Change, Kind, pack, unpack
from protocol.errors import ReadOnly, ResponseCode, StoreError
from protocol.record import HandleValue
from registry.generation import Generation
from registry.log import SALT_BYTES, decode_body, decode_leaf, sequence_key
from registry.prefixes import DELEGATED, HOMED, REFUSED, REQUESTED, WAITING, Prefixes
from registry.rules import WriterSettings
from registry.store import Table
from tests.registry.conftest import ADMIN, admin, url

H = b"88.118.8/pump-7"


def test_create_then_read(desk):
    """A created record is there under any case, its name as written, its values stamped."""
    done = desk.create(b"88.118.8/Pump-7", url(timestamp=5))
    assert (done.code, done.status, done.error) == (ResponseCode.SUCCESS, "created", None)
    row = desk.row(b"88.118.8/PUMP-7")
    assert row.name == b"88.118.8/Pump-7"
    assert row.version == done.version == done.sequence == 2
    assert row.values()[0].timestamp == desk.time


def test_same_content_again_is_unchanged(desk):
    """Creating what is there already writes nothing, whatever the order, the case or the time."""
    first = desk.create(H, url(), url(b"x", index=2))
    desk.time += 100
    again = desk.create(H.upper(), url(b"x", index=2, timestamp=9), url())
    assert (again.status, again.sequence, again.version) == ("unchanged", None, first.version)
    assert again.code is ResponseCode.HANDLE_ALREADY_EXISTS
    over = desk.create(H, url(), url(b"x", index=2), overwrite=True)
    assert (over.status, over.code) == ("unchanged", ResponseCode.SUCCESS)
    assert desk.row(H).time == desk.time - 100


def test_other_content_is_refused_or_replaces(desk):
    """Other values need overwriting; the record is replaced as a whole."""
    desk.create(H, url(), url(b"x", index=2))
    refused = desk.create(H, url(b"y"))
    assert (refused.code, refused.status) == (ResponseCode.HANDLE_ALREADY_EXISTS, "refused")
    assert "exists already" in refused.error
    assert desk.create(H, url(b"y"), overwrite=True).status == "replaced"
    assert desk.values(H) == {1: b"y"}


def test_merge_creates_or_adds_over(desk):
    """Merging makes a record, then sets values by index and keeps the others."""
    assert desk.do(Kind.MERGE, H, url()).status == "created"
    assert desk.do(Kind.MERGE, H, url(b"z"), url(b"two", index=2)).status == "replaced"
    assert desk.do(Kind.MERGE, H, url(b"three", index=3)).status == "changed"
    assert desk.do(Kind.MERGE, H, url(b"three", index=3)).status == "unchanged"
    assert desk.values(H) == {1: b"z", 2: b"two", 3: b"three"}


def test_add_modify_remove_delete(desk):
    """Each kind does its part, sorts by index, and keeps the time of what it does not touch."""
    desk.create(H, url(index=5))
    then = desk.time
    desk.time += 7
    assert desk.do(Kind.ADD, H, url(b"two", index=2)).status == "changed"
    assert [(v.index, v.timestamp) for v in desk.row(H).values()] == [(2, desk.time), (5, then)]
    assert desk.do(Kind.MODIFY, H, url(b"2", index=2)).status == "changed"
    assert desk.do(Kind.REMOVE, H, indexes=(5,)).status == "changed"
    assert desk.values(H) == {2: b"2"}
    gone = desk.do(Kind.DELETE, H)
    assert (gone.status, gone.version) == ("deleted", 0)
    assert desk.row(H) is None
    assert desk.store.get(Table.JSON, H.upper()) is None


@pytest.mark.parametrize(
    ("kind", "rest", "code"),
    [
        (Kind.ADD, {"values": ()}, ResponseCode.INVALID_VALUE),
        (Kind.ADD, {"values": (url(index=0),)}, ResponseCode.INVALID_VALUE),
        (Kind.ADD, {"values": (url(index=-3),)}, ResponseCode.INVALID_VALUE),
        (Kind.ADD, {"values": (url(),)}, ResponseCode.VALUE_ALREADY_EXISTS),
        (Kind.CREATE, {"values": (url(b"n"),)}, ResponseCode.HANDLE_ALREADY_EXISTS),
        (Kind.MODIFY, {"values": (url(), url(index=9))}, ResponseCode.VALUES_NOT_FOUND),
        (Kind.MODIFY, {"values": (url(b"n", 3),)}, ResponseCode.INSUFFICIENT_PERMISSIONS),
        (Kind.REMOVE, {"indexes": (1, 9)}, ResponseCode.VALUES_NOT_FOUND),
        (Kind.REMOVE, {"indexes": ()}, ResponseCode.INVALID_VALUE),
        (Kind.REMOVE, {"indexes": (100,)}, ResponseCode.INVALID_VALUE),
    ],
)
def test_refusals_in_a_record(desk, kind, rest, code):
    """Each operation answers with its own code and leaves the record as it was."""
    fixed = url(b"fixed", index=3, permissions=0b1010)
    desk.create(H, url(), fixed, admin(0xFFF, *(ADMIN.handle, ADMIN.index)))
    before = desk.row(H)
    done = desk.writer.commit([Change(kind, H, **rest)])[0]
    assert (done.status, done.code) == ("refused", code)
    assert done.error
    assert desk.row(H) == before


@pytest.mark.parametrize("kind", [Kind.ADD, Kind.MODIFY, Kind.REMOVE, Kind.DELETE])
def test_missing_record(desk, kind):
    """Changing what is not there answers handle not found."""
    assert desk.do(kind, H, url(), indexes=(1,)).code is ResponseCode.HANDLE_NOT_FOUND


@pytest.mark.parametrize(
    ("handle", "code"),
    [
        (b"", ResponseCode.INVALID_HANDLE),
        (b"/x", ResponseCode.INVALID_HANDLE),
        (b"88.118.8/\xff", ResponseCode.INVALID_HANDLE),
        (b"88.118.8/a\nb", ResponseCode.INVALID_HANDLE),
        (b"88.118.8/" + b"x" * 2048, ResponseCode.INVALID_HANDLE),
        (b"88.118.9/x", ResponseCode.SERVER_NOT_RESPONSIBLE),
        (b"0.NA/88.118", ResponseCode.SERVER_NOT_RESPONSIBLE),
    ],
)
def test_names_that_are_refused(desk, handle, code):
    """Malformed names and names of other nodes are refused, each with its code."""
    done = desk.create(handle, url())
    assert (done.status, done.code) == ("refused", code)


@pytest.mark.parametrize(
    "value",
    [
        url(bytes(240_001)),
        HandleValue(1, b"", b"x"),
        HandleValue(1, b"\xff", b"x"),
        HandleValue(1, b"HS_ADMIN", b"x"),
        HandleValue(1, b"hs_vlist", b"x"),
        HandleValue(1, b"HS_SECKEY", b"x"),
        HandleValue(1, b"URL", b"x", permissions=16),
        HandleValue(1, b"URL", b"x", ttl=-1),
        HandleValue(1, b"URL", b"x", ttl_type=2),
        HandleValue(2**31, b"URL", b"x"),
    ],
)
def test_values_that_are_refused(desk, value):
    """A value that breaks a rule is refused with its index in the message."""
    done = desk.create(H, value)
    assert (done.status, done.code) == ("refused", ResponseCode.INVALID_VALUE)
    assert desk.row(H) is None


def test_limits_of_whole_records(make_desk):
    """Too many values, a repeated index, or a record larger than a message are refused."""
    desk = make_desk(settings=WriterSettings(values=3))
    assert desk.create(H, *(url(index=n) for n in range(1, 5))).code is ResponseCode.INVALID_VALUE
    assert desk.create(H, url(), url()).code is ResponseCode.VALUE_ALREADY_EXISTS
    desk.create(H, *(url(index=n) for n in range(1, 4)))
    assert desk.do(Kind.ADD, H, url(index=9)).code is ResponseCode.INVALID_VALUE
    large = make_desk()
    filled = [url(bytes(60_000), index=n) for n in range(1, 6)]
    assert large.create(H, *filled).code is ResponseCode.INVALID_VALUE
    assert large.create(H, *filled[:4]).status == "created"


def test_long_names_are_kept_apart(desk):
    """Names above the key length of the store are registered, found and kept apart."""
    names = [b"88.118.8/" + b"n" * 1000 + tail for tail in (b"1", b"2")]
    for name in names:
        assert desk.create(name, url(name[-1:])).status == "created"
    assert [desk.values(name) for name in names] == [{1: b"1"}, {1: b"2"}]
    assert desk.row(names[0] + b"3") is None
    desk.do(Kind.DELETE, names[0])
    assert desk.row(names[0]) is None
    assert desk.values(names[1]) == {1: b"2"}


# --- batches


def test_a_refused_change_leaves_the_batch(desk):
    """In item mode the others go on, each with its own outcome, and see those before them."""
    done = desk.writer.commit(
        [
            Change(Kind.CREATE, H, (url(),)),
            Change(Kind.CREATE, b"99/x", (url(),)),
            Change(Kind.ADD, H, (url(b"two", 2),)),
            Change(Kind.CREATE, H, (url(b"other"),)),
        ]
    )
    assert [one.status for one in done] == ["created", "refused", "changed", "refused"]
    assert desk.values(H) == {1: b"http://example.org/", 2: b"two"}
    assert desk.row(H).version == done[2].sequence == done[0].sequence + 1


def test_an_atomic_batch_is_whole_or_nothing(desk):
    """One refusal refuses all, and names its cause in each outcome."""
    changes = [Change(Kind.CREATE, H, (url(),)), Change(Kind.CREATE, b"99/x", (url(),))]
    done = desk.writer.commit(changes, atomic=True)
    assert [one.status for one in done] == ["refused", "refused"]
    assert "change 2" in done[0].error
    assert desk.row(H) is None
    changes[1] = Change(Kind.ADD, H, (url(b"two", 2),))
    assert [one.status for one in desk.writer.commit(changes, atomic=True)] == [
        "created",
        "changed",
    ]
    assert desk.values(H)[2] == b"two"


def test_a_failed_write_leaves_nothing(desk, monkeypatch):
    """When the store fails, no change of the batch is kept and no number is used up."""
    first = desk.create(H, url())

    def fail(writes, bare=None):
        raise StoreError("the disk failed")

    monkeypatch.setattr(desk.store, "apply", fail)
    with pytest.raises(StoreError):
        desk.create(b"88.118.8/2", url())
    monkeypatch.undo()
    assert desk.row(b"88.118.8/2") is None
    assert desk.create(b"88.118.8/3", url()).sequence == first.sequence + 1


def test_read_only_store_refuses_all(desk, monkeypatch):
    """A read-only store is an error of the whole commit, not of one change."""
    monkeypatch.setattr(desk.store, "_broken", "test")
    with pytest.raises(ReadOnly):
        desk.create(H, url())
    monkeypatch.undo()


# --- versions and idempotency keys


def test_expected_version(desk):
    """A change that expects another version is refused; 0 means that nothing may be there."""
    done = desk.create(H, url(), expected_version=0)
    clash = desk.create(H, url(b"n"), overwrite=True, expected_version=0)
    assert (clash.status, clash.reason, clash.version) == (
        "refused",
        "VersionConflict",
        done.version,
    )
    ok = desk.create(H, url(b"n"), overwrite=True, expected_version=done.version)
    assert ok.status == "replaced"
    assert desk.do(Kind.DELETE, H, expected_version=done.version).status == "refused"


def test_versions_come_from_the_log_not_the_clock(desk):
    """A clock that jumps back changes no order of versions."""
    first = desk.create(H, url())
    desk.time -= 10_000_000
    assert desk.create(H, url(b"n"), overwrite=True).version > first.version


def test_idempotency_key_gives_the_first_result(desk):
    """The same key with the same change has one effect; with another change it is refused."""
    change = Change(Kind.CREATE, H, (url(timestamp=1),), idempotency_key=b"k")
    first = desk.writer.commit([change])[0]
    desk.do(Kind.DELETE, H)
    desk.time += 50
    again = desk.writer.commit([Change(Kind.CREATE, H, (url(timestamp=2),), idempotency_key=b"k")])
    assert again == [first]
    assert desk.row(H) is None
    other = desk.create(H, url(b"other"), idempotency_key=b"k")
    assert (other.status, other.reason) == ("refused", "IdempotencyConflict")
    assert desk.create(H, url(), idempotency_key=b"k", actor=ADMIN).status == "created"


def test_idempotency_key_twice_in_one_batch(desk):
    """A repeated key within a batch gives one effect too, in parts as well."""
    change = Change(Kind.CREATE, H, (url(),), idempotency_key=b"k")
    one, two = desk.writer.commit([change, change], atomic=True)
    assert one == two
    assert one.status == "created"


def test_idempotency_keys_are_forgotten_in_order(make_desk):
    """Keys go after their time, and the oldest go when there are too many."""
    desk = make_desk(settings=WriterSettings(idempotency_s=100, idempotency_keys=3))
    for n in range(5):
        desk.create(b"88.118.8/%d" % n, url(), idempotency_key=b"%d" % n)
    with desk.store.snapshot() as state:
        assert len(list(state.scan(Table.SECONDARY, b"idem-order/", b"idem-order0"))) == 3
    assert desk.create(b"88.118.8/4", url(b"n"), idempotency_key=b"4").status == "refused"
    desk.time += 200
    desk.create(b"88.118.8/x", url())
    with desk.store.snapshot() as state:
        assert state.count(Table.SECONDARY) == 0


# --- the log


def test_each_change_is_logged_with_its_body(desk):
    """Leaves are numbered without a gap and commit to bodies that hold before and after."""
    desk.create(H, url())
    done = desk.do(Kind.MODIFY, H, url(b"n"), actor=ADMIN)
    key = sequence_key(done.sequence)
    leaf = decode_leaf(desk.store.get(Table.CHANGES, key))
    name, body = decode_body(desk.store.get(Table.BODIES, key))
    assert name == H.upper()
    assert (leaf["kind"], leaf["time"], leaf["sequence"]) == ("modify", desk.time, done.sequence)
    assert H not in desk.store.get(Table.CHANGES, key)
    assert [v.data for v in body.before] == [b"http://example.org/"]
    assert [v.data for v in body.after] == [b"n"]
    assert body.actor == ADMIN


@pytest.mark.parametrize("spoilt", [-32, 7, "text", [1], True])
def test_a_body_whose_values_became_something_else_is_damaged(desk, spoilt):
    """A flipped bit may turn octets into a number; that is said, and nothing is made of it."""
    done = desk.create(H, url())
    body = desk.store.get(Table.BODIES, sequence_key(done.sequence))
    salts, fields = body[: 2 * SALT_BYTES], unpack(body[2 * SALT_BYTES :])
    with pytest.raises(StoreError, match="no octets"):
        decode_body(salts + pack({**fields, "after": spoilt}))


# --- prefixes


def test_homing_makes_a_node_responsible(make_desk):
    """A prefix is homed, refused twice nowhere, and unhomed again."""
    desk = make_desk()
    assert desk.do(Kind.HOME, b"0.NA/88.118.8").status == "unchanged"
    assert desk.do(Kind.HOME, b"88.200").status == "created"
    assert desk.create(b"88.200/x", url()).status == "created"
    assert desk.do(Kind.UNHOME, b"0.na/88.200").status == "deleted"
    assert desk.do(Kind.UNHOME, b"0.NA/88.200").code is ResponseCode.HANDLE_NOT_FOUND
    assert desk.create(b"88.200/y", url()).code is ResponseCode.SERVER_NOT_RESPONSIBLE
    assert Prefixes(desk.store).homed() == {b"88.118.8"}
    assert desk.do(Kind.HOME, b"88.1/x").code is ResponseCode.INVALID_HANDLE


def test_a_waiting_prefix(desk):
    """While a prefix waits only the operator writes, and only its own record."""
    waiting = {"attributes": {"state": WAITING}}
    assert desk.do(Kind.HOME, b"0.NA/88.7", **waiting).status == "created"
    assert desk.create(b"0.NA/88.7", url()).status == "created"
    assert desk.create(b"0.NA/88.7", url(b"n"), overwrite=True, actor=ADMIN).status == "refused"
    refused = desk.create(b"88.7/x", url())
    assert refused.code is ResponseCode.SERVER_NOT_RESPONSIBLE
    assert "biaoshi prefix approve 88.7" in refused.error
    done = desk.do(Kind.HOME, b"0.NA/88.7", url(b"signed"))
    assert (done.status, desk.values(b"0.NA/88.7")) == ("changed", {1: b"signed"})
    assert desk.create(b"88.7/x", url()).status == "created"


def test_request_delegate_and_refuse(desk, tmp_path):
    """An application waits, is refused or granted; a grant writes row and record in one step."""
    name, holder = b"0.NA/88.118.8.1", {"attributes": {"holder": "Pump works", "keys": [b"k"]}}
    prefixes = Prefixes(desk.store)
    assert desk.do(Kind.REQUEST, name, **holder).status == "created"
    assert desk.do(Kind.REQUEST, name, **holder).status == "unchanged"
    assert prefixes.get(b"88.118.8.1").state == REQUESTED
    assert desk.do(Kind.REFUSE, name).status == "changed"
    assert prefixes.get(b"88.118.8.1").state == REFUSED
    assert desk.do(Kind.REQUEST, name, **holder).status == "changed"
    assert desk.do(Kind.DELEGATE, name).code is ResponseCode.INVALID_VALUE
    done = desk.do(Kind.DELEGATE, name, url(b"site"))
    assert done.status == "changed"
    row = prefixes.get(b"88.118.8.1")
    assert (row.state, row.attributes["holder"], row.sequence) == (
        DELEGATED,
        "Pump works",
        done.sequence,
    )
    assert desk.values(name) == {1: b"site"}
    assert desk.do(Kind.REQUEST, name, **holder).status == "unchanged"
    other = {"attributes": {"holder": "Somebody else"}}
    assert desk.do(Kind.REQUEST, name, **other).code is ResponseCode.HANDLE_ALREADY_EXISTS
    for away in (b"88.118.8.1/x", b"0.NA/88.118.8.1.2"):
        assert desk.create(away, url()).code is ResponseCode.SERVER_NOT_RESPONSIBLE
    assert desk.do(Kind.DELETE, name).status == "deleted"
    assert prefixes.get(b"88.118.8.1") is None


def test_prefixes_of_others_cannot_be_given_away(desk):
    """Only prefixes under a homed one are applied for or delegated here."""
    for kind in (Kind.REQUEST, Kind.DELEGATE):
        done = desk.do(kind, b"0.NA/99.1", url())
        assert done.code is ResponseCode.SERVER_NOT_RESPONSIBLE
    assert desk.do(Kind.REFUSE, b"0.NA/88.118.8.5").code is ResponseCode.HANDLE_NOT_FOUND
    assert desk.do(Kind.REQUEST, b"0.NA/88.118.8").code is ResponseCode.SERVER_NOT_RESPONSIBLE


def test_prefix_changes_raise_the_generation(make_desk, tmp_path):
    """Readers learn of prefix changes, and of nothing else, by the generation."""
    generation = Generation(tmp_path / "generation", writable=True)
    desk = make_desk(generation=generation)
    assert generation.value() == 1
    desk.create(H, url())
    assert generation.value() == 1
    desk.do(Kind.HOME, b"88.9")
    assert generation.value() == 2
    assert Prefixes(desk.store, generation).get(b"88.9").state == HOMED


def test_namespaces_of_prefixes_raise_the_generation(make_desk, tmp_path):
    """A namespace that comes, changes or goes; other values of a prefix record do not count."""
    generation = Generation(tmp_path / "generation", writable=True)
    desk = make_desk(generation=generation)
    record = b"0.NA/88.118.8"
    space = HandleValue(500, b"hs_namespace", b"<namespace/>")
    before = generation.value()
    desk.create(record, url(), overwrite=True)
    desk.create(H, space)
    assert generation.value() == before
    assert desk.do(Kind.ADD, record, space).error is None
    assert generation.value() == before + 1
    assert desk.do(Kind.REMOVE, record, indexes=(500,)).error is None
    assert generation.value() == before + 2
