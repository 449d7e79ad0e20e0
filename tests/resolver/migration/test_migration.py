"""Moving from a Handle.Net primary: what its streams become here, and what is refused."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.doirp.stream_records import (
    Action,
    DumpEnd,
    DumpHead,
    DumpPosition,
    DumpPrefix,
    DumpRecord,
    Status,
    Transaction,
    TxnEnd,
    TxnHead,
)
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Reference
from protocol.values.hs_vlist import decode_vlist
from registry.records import read_record
from registry.store.lmdb_store import LmdbStore
from resolver.migration.changes import Plan, moving
from resolver.migration.compare import Side, compare, record_digest
from resolver.pem import format_public_pem
from tests.resolver.migration.fake_primary import KEY, FakePrimary
from tests.resolver.nodes import biaoshi, make

PREFIX = "86.998"
ADMIN_KEY = generate_private_key(65537, 2048)


def value(index, type_, data, **more):
    return HandleValue(index, type_.encode(), data, timestamp=7, **more)


def thing(number, data=None):
    name = f"{PREFIX}/THING-{number}".encode()
    return name, (value(1, "URL", data or b"https://example.org/%d" % number, ttl=number),)


OWN = (
    value(1, "HS_SITE", b"old site"),
    value(300, "HS_PUBKEY", encode_public_key(ADMIN_KEY.public_key())),
    value(301, "HS_SECKEY", b"old secret", permissions=0b1110),
    value(500, "DESC", b"from the old server"),
)


def dump_of(*records):
    return [
        DumpHead(None, 2),
        DumpPosition(1_000, 40),
        *(DumpRecord(name, values) for name, values in records),
        DumpRecord(b"0.NA/0.NA", (value(1, "DESC", b"root"),)),
        DumpPrefix(b"0.NA/86.998"),
        DumpEnd(),
    ]


def log_of(*items, date_ms=2_000):
    def log(last_id):
        head = TxnHead(None, 1, Status.TRANSACTIONS)
        return [head, *(item for item in items if item.id > last_id), TxnEnd(date_ms)]

    return log


@pytest.fixture
def start():
    running = []

    def run(*arguments, **more):
        running.append(FakePrimary(*arguments, **more))
        return running[-1]

    yield run
    for each in running:
        each.close()


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "node", PREFIX)


@pytest.fixture
def auth(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"old secret")
    secret.chmod(0o600)
    return f"301:0.NA/{PREFIX}={secret}"


def migrate(primary, folder, auth, *more):
    source = f"127.0.0.1:{primary.port}"
    return biaoshi("import", "--from", source, "--node", folder, "--auth", auth, "--json", *more)


def values_of(folder, name):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        record = read_record(store, name)
    finally:
        store.close()
    return None if record is None else record.values


def held(folder, name):
    values = values_of(folder, name)
    return None if values is None else {v.index: v.data for v in values}


def test_everything_moves(start, folder, auth):
    """The dump, then the transactions after it; both sides are the same at the end."""
    final = [thing(1, b"changed"), thing(3), thing(4)]
    first = dump_of(thing(1), thing(2), thing(3), (f"0.NA/{PREFIX}".encode(), OWN))
    name, values = final[0]
    primary = start(
        [first],
        log_of(
            Transaction(41, name, Action.UPDATE, 1_500, values),
            Transaction(42, thing(2)[0], Action.DELETE, 1_500),
            Transaction(43, final[2][0], Action.CREATE, 1_500, final[2][1]),
            Transaction(44, f"{PREFIX}/GONE".encode(), Action.DELETE, 1_500),
        ),
    )
    primary.dumps.append(dump_of(*final))
    done = migrate(primary, folder, auth)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["comparison"]["same"] is True
    assert told["comparison"]["ours"] == 3
    assert told["transactions"] == 4
    assert held(folder, name) == {1: b"changed"}
    assert held(folder, thing(2)[0]) is None
    assert held(folder, final[2][0]) == {1: b"https://example.org/4"}
    own = held(folder, f"0.NA/{PREFIX}".encode())
    assert own[500] == b"from the old server"
    assert own[303] == OWN[1].data
    assert own[301] == b"old secret"
    assert own[1] != b"old site"
    assert told["moved_keys"] == [[300, f"303:0.NA/{PREFIX}"]]
    record = f"0.NA/{PREFIX}".encode()
    assert Reference(record, 301) in decode_vlist(own[200])
    moved = next(v for v in values_of(folder, record) if v.index == 303)
    assert (moved.references, moved.permissions) == ((Reference(record, 300),), 0b1100)


def test_a_difference_is_told(start, folder, auth):
    """What the second dump says otherwise is counted, named and ends in exit code 1."""
    first = dump_of(thing(1), thing(2))
    primary = start([first], log_of())
    primary.dumps.append(dump_of(thing(1), thing(2, b"other")))
    done = migrate(primary, folder, auth)
    assert done.returncode == 1
    told = json.loads(done.stdout)["comparison"]
    assert (told["same"], told["differing"]) == (False, [thing(2)[0].decode()])


def test_a_repeated_run_changes_nothing(start, folder, auth):
    """With --fresh the dump is taken again, and what is here already is unchanged."""
    primary = start([dump_of(thing(1), thing(2))], log_of())
    assert migrate(primary, folder, auth).returncode == 0
    told = json.loads(migrate(primary, folder, auth, "--fresh").stdout)
    assert told["records"] == {"unchanged": 2}
    assert told["resumed"] is False


def test_a_later_run_goes_on_from_the_log(start, folder, auth):
    """What was done there since, deletions included, comes from the log; nothing is dumped."""
    primary = start([dump_of(thing(1), thing(2))], log_of())
    assert migrate(primary, folder, auth).returncode == 0
    name, values = thing(1, b"changed")
    primary.log = log_of(
        Transaction(41, name, Action.UPDATE, 3_000, values),
        Transaction(42, thing(2)[0], Action.DELETE, 3_000),
        date_ms=4_000,
    )
    primary.dumps = [dump_of((name, values))]
    done = migrate(primary, folder, auth)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["resumed"], told["transactions"]) == (True, 2)
    assert told["records"] == {"deleted": 1, "replaced": 1}
    assert held(folder, name) == {1: b"changed"}
    assert held(folder, thing(2)[0]) is None
    told = json.loads(migrate(primary, folder, auth).stdout)
    assert (told["resumed"], told["transactions"], told["records"]) == (True, 0, {})


def test_a_later_run_finds_the_log_too_short(start, folder, auth):
    """The dump is taken again by itself."""
    primary = start([dump_of(thing(1))], log_of())
    assert migrate(primary, folder, auth).returncode == 0
    whole, asked = log_of(), []

    def short(last_id):
        asked.append(last_id)
        redump = [TxnHead(None, 1, Status.REDUMP_NEEDED), TxnEnd(0)]
        return redump if len(asked) == 1 else whole(last_id)

    primary.log, primary.dumps = short, [dump_of(thing(1), thing(2))]
    done = migrate(primary, folder, auth)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["records"] == {"created": 1, "unchanged": 1}


def test_a_later_run_that_ends_otherwise_dumps(start, folder, auth):
    """When the sides differ after following the log, the dump is taken again and settles it."""
    primary = start([dump_of(thing(1))], log_of())
    assert migrate(primary, folder, auth).returncode == 0
    primary.dumps = [dump_of(thing(1), thing(2))]
    done = migrate(primary, folder, auth)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "taking the dump again" in done.stderr
    assert held(folder, thing(2)[0]) is not None


def test_what_was_refused_is_tried_again(start, folder, auth):
    """No position is kept while a record of the dump is missing here."""
    bad = (f"{PREFIX}/SECRET".encode(), (value(1, "HS_SECKEY", b"s", permissions=0b1110),))
    primary = start([dump_of(thing(1), bad)], log_of())
    for _ in range(2):
        done = migrate(primary, folder, auth)
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert (told["resumed"], told["records"]["refused"]) == (False, 1)


def test_a_broken_position_file(start, folder, auth):
    """It is named, with what to do; nothing is guessed."""
    primary = start([dump_of(thing(1))], log_of())
    (folder / "migrations.json").write_text("{")
    done = migrate(primary, folder, auth)
    assert done.returncode == 2
    assert "migrations.json" in done.stderr
    assert "remove it" in done.stderr


def test_a_wrong_signature_ends_it(start, folder, auth):
    """A stream that is signed with another key than the site record's is not taken."""
    primary = start([dump_of(thing(1))], log_of(), signer=ADMIN_KEY)
    done = migrate(primary, folder, auth)
    assert done.returncode != 0
    assert held(folder, thing(1)[0]) is None


def test_another_server_than_the_pinned_one(start, folder, auth, tmp_path):
    """--server-key names the key; a server with another one is not asked for anything."""
    primary = start([dump_of(thing(1))], log_of())
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    good.write_bytes(format_public_pem(KEY.public_key()))
    bad.write_bytes(format_public_pem(ADMIN_KEY.public_key()))
    assert migrate(primary, folder, auth, "--server-key", good).returncode == 0
    primary.asked.clear()
    done = migrate(primary, folder, auth, "--server-key", bad)
    assert "another key" in done.stderr
    assert primary.asked == [2]


def test_an_identity_that_is_not_proved(start, folder, auth):
    """Exit code 4 and the reason."""
    done = migrate(start([dump_of(thing(1))], log_of(), accept=False), folder, auth)
    assert done.returncode == 4
    assert "did not accept" in done.stderr


def test_a_log_that_is_too_short(start, folder, auth):
    """The old server asks for a new dump: said as such."""
    redump = [TxnHead(None, 1, Status.REDUMP_NEEDED), TxnEnd(0)]
    done = migrate(start([dump_of(thing(1))], lambda _: redump), folder, auth)
    assert done.returncode == 3
    assert "run this again" in done.stderr


def test_one_prefix_alone(start, folder, auth):
    """--prefix leaves the others where they are."""
    other = (b"86.1/X", (value(1, "URL", b"x"),))
    primary = start([dump_of(thing(1), other)], log_of(), homed=(b"0.NA/86.998", b"0.NA/86.1"))
    done = migrate(primary, folder, auth, "--prefix", PREFIX)
    assert done.returncode == 0, done.stderr
    assert held(folder, b"86.1/X") is None


@pytest.mark.parametrize(
    ("handle", "taken"),
    [
        (b"86.998/x", True),
        (b"0.NA/86.998", True),
        (b"0.na/86.998.7", True),
        (b"0.NA/86.9980", False),
        (b"86.9980/x", False),
        (b"86.998.7/x", False),
        (b"0.NA/0.NA", False),
    ],
)
def test_what_a_plan_takes(handle, taken):
    """Names under the prefix, its record, and records derived from it."""
    assert Plan(frozenset((b"86.998",)), b"").takes(handle) is taken


def test_which_prefixes_move():
    """All that are homed there but the root, or those that are named."""
    homed = [b"0.NA/0.NA", b"0.NA/86.1", b"0.NA/86.2"]
    assert moving(homed, []) == {b"86.1", b"86.2"}
    assert moving([], ["86.1", "0.NA/86.3"]) == {b"86.1", b"86.3"}


def test_digests_do_not_depend_on_order_or_time():
    """The order of values and records, case and timestamps do not count; anything else does."""
    a, b = value(1, "A", b"a"), value(2, "B", b"b")
    later = HandleValue(1, b"A", b"a", timestamp=99)
    assert record_digest(b"1/x", (a, b)) == record_digest(b"1/X", (b, later))
    assert record_digest(b"1/x", (a,)) != record_digest(b"1/y", (a,))
    assert record_digest(b"1/x", (a,)) != record_digest(b"1/x", (value(3, "A", b"a"),))
    one, other = Side(), Side()
    for side, names in ((one, (b"1/x", b"1/y")), (other, (b"1/y", b"1/x"))):
        for name in names:
            side.add(name, (a,))
    assert compare(one, other).same
    other.add(b"1/z", (a,))
    assert compare(one, other).differing == (b"1/Z",)
