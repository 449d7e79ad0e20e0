"""biaoshi register: a file in, a result a row out, in a folder and at an address."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime

import pytest

from protocol.change import Change, Kind
from protocol.errors import (
    AuthenticationFailed,
    ServerBusy,
    SettingsError,
    UpstreamError,
)
from protocol.keys import encode_pem, encode_private_key
from protocol.keys.files import KeyFile, Method, encode_key_file
from protocol.record import HandleValue
from protocol.signature import HS_SIGNATURE, verify_record
from registry.check import check_node
from registry.imports import Item
from registry.keys import SITE_KEY, TLS_CERT, load_keys
from registry.records import read_row
from registry.store.lmdb_store import LmdbStore
from registry.store.row import HAS_SIGNATURE
from resolver.cli import main
from resolver.config import FaceSettings, NodeSettings, Settings
from resolver.founding import found
from resolver.registering import Result, Results, Row, remote, run
from resolver.registering.auth import Credentials
from resolver.registering.connection import Connection
from resolver.registering.local import LocalSink
from resolver.registering.remote import RemoteSink
from tests.resolver.registering.stub_node import StubNode, serving

PREFIX = "88.118.8"


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A founded node's folder, made once."""
    folder = tmp_path_factory.mktemp("origin") / "node"
    settings = Settings(
        node=NodeSettings(prefix=PREFIX), faces=FaceSettings(irp=0, http=0, https=0)
    )
    found(folder, settings, secret=b"word")
    return folder


@pytest.fixture
def folder(origin, tmp_path):
    """A copy of it for one test."""
    import shutil

    return shutil.copytree(origin, tmp_path / "node")


@pytest.fixture
def biaoshi(monkeypatch, tmp_path, capsys):
    """Run the command line; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments])
        out = capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err

    return invoke


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def checked(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        assert check_node(store) == []
    finally:
        store.close()


def row_of(folder, handle: bytes):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        return read_row(store, handle)
    finally:
        store.close()


CSV = (
    "identifier,URL,DESC\n88.118.8/a,https://example.org/a,one\n88.118.8/b,https://example.org/b,\n"
)


def test_registering_a_csv_file(biaoshi, folder, tmp_path):
    """Rows are created, signed by the node, given administrators; refused ones say why."""
    (tmp_path / "p.csv").write_text(CSV + "88.118.9/c,x,\n88.118.8/d,x,y,z\n")
    code, out, _ = biaoshi("register", "p.csv", "--node", "node", "--results", "r.jsonl")
    assert code == 1
    assert "2 created, 2 refused" in out
    done = lines(tmp_path / "r.jsonl")
    assert [(row["line"], row["handle"], row["status"]) for row in done] == [
        (2, "88.118.8/a", "created"),
        (3, "88.118.8/b", "created"),
        (4, "88.118.9/c", "refused"),
        (5, "88.118.8/d", "refused"),
    ]
    assert done[0]["version"] == done[0]["sequence"]
    assert "not homed" in done[2]["error"]
    assert "4 cells" in done[3]["error"]
    values = row_of(folder, b"88.118.8/a").values()
    assert [(v.index, v.type) for v in values] == [
        (1, b"URL"),
        (2, b"DESC"),
        (100, b"HS_ADMIN"),
        (400, b"HS_SIGNATURE"),
    ]
    key = load_keys(folder).log_public
    now = int(datetime.now(UTC).timestamp())
    verify_record(b"88.118.8/a", values, values[3].data, key, now).require()
    checked(folder)


def test_registering_again_changes_nothing(biaoshi, folder, tmp_path):
    """The same file again is unchanged throughout, and the exit code is 0."""
    (tmp_path / "p.csv").write_text(CSV)
    assert biaoshi("register", "p.csv", "--node", "node")[0] == 0
    code, out, _ = biaoshi("register", "p.csv", "--node", "node", "--json")
    assert code == 0
    assert json.loads(out)["unchanged"] == 2


def test_rules_for_what_exists(biaoshi, folder, tmp_path):
    """refuse leaves, replace replaces, merge keeps other values; the signature follows."""
    (tmp_path / "p.csv").write_text(CSV)
    biaoshi("register", "p.csv", "--node", "node")
    (tmp_path / "q.csv").write_text("identifier,URL\n88.118.8/a,https://example.org/new\n")
    code, _, err = biaoshi("register", "q.csv", "--node", "node")
    assert code == 1
    assert "line 2: 88.118.8/a exists already" in err
    merge = ("register", "q.csv", "--node", "node", "--on-exists", "merge", "--json")
    assert json.loads(biaoshi(*merge)[1])["replaced"] == 1
    merged = row_of(folder, b"88.118.8/a").values()
    assert [v.data for v in merged[:2]] == [b"https://example.org/new", b"one"]
    now = int(datetime.now(UTC).timestamp())
    signature = next(v for v in merged if v.type == HS_SIGNATURE)
    key = load_keys(folder).log_public
    verify_record(b"88.118.8/a", merged, signature.data, key, now).require()
    assert json.loads(biaoshi(*merge)[1])["unchanged"] == 1
    replace = ("register", "q.csv", "--node", "node", "--on-exists", "replace", "--json")
    assert json.loads(biaoshi(*replace)[1])["replaced"] == 1
    assert b"one" not in [v.data for v in row_of(folder, b"88.118.8/a").values()]
    checked(folder)


def test_dry_run_writes_nothing(biaoshi, folder, tmp_path):
    """A dry run tells what would happen and leaves the store as it is."""
    (tmp_path / "p.csv").write_text(CSV + "88.118.9/c,x,\n")
    code, out, _ = biaoshi("register", "p.csv", "--node", "node", "--dry-run", "--json")
    shape = json.loads(out)
    assert (code, shape["created"], shape["refused"], shape["dry_run"]) == (1, 2, 1, True)
    assert row_of(folder, b"88.118.8/a") is None


def test_unsigned_on_request(biaoshi, folder, tmp_path):
    """--no-sign leaves records unsigned, --no-admin without administrators."""
    (tmp_path / "p.csv").write_text(CSV)
    biaoshi("register", "p.csv", "--node", "node", "--no-sign", "--no-admin")
    row = row_of(folder, b"88.118.8/a")
    assert not row.flags & HAS_SIGNATURE
    assert [v.index for v in row.values()] == [1, 2]


def test_json_lines_and_batch_files(biaoshi, folder, tmp_path):
    """The other formats are found by their content."""
    row = {"handle": "88.118.8/j", "values": [{"index": 1, "type": "URL", "data": "u"}]}
    (tmp_path / "j.txt").write_text(json.dumps(row))
    assert biaoshi("register", "j.txt", "--node", "node")[0] == 0
    (tmp_path / "b.txt").write_text(
        "CREATE 88.118.8/b\n1 URL 60 1110 UTF8 u\n\nADD 88.118.8/b\n2 X 60 1110 UTF8 x\n"
        "REMOVE 1:88.118.8/b\nDELETE 88.118.8/j\n"
    )
    code, out, _ = biaoshi("register", "b.txt", "--node", "node", "--json")
    shape = json.loads(out)
    assert (code, shape["created"], shape["replaced"]) == (0, 1, 3)
    assert row_of(folder, b"88.118.8/j") is None
    assert {v.index for v in row_of(folder, b"88.118.8/b").values()} == {2, 100, 400}
    checked(folder)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("none.csv", "--node", "node"), "none.csv cannot be read"),
        (("p.csv", "--node", "nowhere"), "no node's folder"),
        (("p.csv", "--node", "node", "--resume"), "--results"),
        (("p.csv", "--node", "node", "--auth", "300:0.NA/x=y"), "for a URL"),
        (("p.csv", "--node", "http://127.0.0.1:1", "--sign"), "for a DIR"),
        (("bad.csv", "--node", "node"), "identifier"),
    ],
)
def test_unusable_commands(biaoshi, folder, tmp_path, arguments, names):
    """What cannot be used is said in one line, and nothing is registered."""
    (tmp_path / "p.csv").write_text(CSV)
    (tmp_path / "bad.csv").write_text("name,URL\n")
    code, _, err = biaoshi("register", *arguments)
    assert code == 2
    assert names in err


def test_a_running_writer_elsewhere_is_named(biaoshi, folder, tmp_path):
    """When another process holds the store and no node answers, the process is named."""
    (tmp_path / "p.csv").write_text(CSV)
    store = LmdbStore.open(folder / "store")
    try:
        code, _, err = biaoshi("register", "p.csv", "--node", "node", "--no-sign")
    finally:
        store.close()
    assert code == 3
    assert err


# --- the loop


class Recorder:
    """A sink that remembers, and fails from a given row on."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.sent: list[int] = []
        self.fail_after = fail_after

    def prepare(self, change: Change) -> Change:
        return change

    def send(self, rows):
        if len(self.sent) >= self.fail_after:
            raise UpstreamError("gone")
        self.sent += [row.line for row in rows]
        return [Result(row.line, row.change.handle, "created") for row in rows]


def numbered(count: int):
    for n in range(1, count + 1):
        yield Item(n, b"88.1/x", None if n % 7 == 0 else Change(Kind.CREATE, b"88.1/x"), "bad")


def test_a_broken_run_is_resumed_after_its_last_line(tmp_path):
    """Results are in the file once acknowledged, in order; the next run continues after them."""
    path = tmp_path / "r.jsonl"
    results = Results.open(path, resume=False)
    with pytest.raises(UpstreamError):
        run(numbered(3000), Recorder(fail_after=1000), results)
    results.close()
    with path.open("ab") as file:
        file.write(b'{"line": 999999, "hand')  # torn by a crash
    first = [row["line"] for row in lines_of(path)]
    assert first == list(range(1, len(first) + 1))
    again, sink = Results.open(path, resume=True), Recorder()
    summary = run(numbered(3000), sink, again)
    again.close()
    assert summary.skipped == len(first)
    assert sink.sent[0] > len(first)
    assert [row["line"] for row in lines_of(path)] == list(range(1, 3001))
    assert summary.counts["refused"] + summary.counts["created"] == 3000 - len(first)


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_a_foreign_results_file_is_not_continued(tmp_path):
    """--resume refuses a file that holds something else."""
    (tmp_path / "r").write_text("hello\n")
    with pytest.raises(SettingsError, match="no results file"):
        Results.open(tmp_path / "r", resume=True)


def test_a_busy_writer_is_waited_for():
    """A full queue is waited out for as long as the writer asks."""
    waits = []

    class Busy:
        def submit(self, changes, *, atomic=False):
            if len(waits) < 2:
                raise ServerBusy("full", 0.5)
            return []

    assert LocalSink(Busy(), None, sleep=waits.append).send([]) == []
    assert waits == [0.5, 0.5]


# --- at an address


@pytest.fixture
def node(origin):
    """A stand-in node with TLS and plain HTTP; its addresses by scheme."""
    keys = load_keys(origin)
    stub = StubNode(keys.site_public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(origin / TLS_CERT, origin / SITE_KEY)
    with serving(stub, context) as secure, serving(stub, None) as plain:
        stub.tls_port = secure
        stub.urls = {
            "https": f"https://127.0.0.1:{secure}",
            "http": f"http://127.0.0.1:{plain}",
        }
        yield stub


@pytest.fixture
def credentials(origin):
    return Credentials.parse(f"300:0.NA/{PREFIX}={origin / 'keys/admin_300.pem'}")


def rows(*names: bytes, kind: Kind = Kind.CREATE, **rest: object) -> list[Row]:
    value = HandleValue(1, b"URL", b"http://example.org/")
    return [Row(n, Change(kind, name, (value,), **rest)) for n, name in enumerate(names, 2)]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_key_answers_the_challenge(node, credentials, scheme):
    """The administrator's key opens a session over TLS, also when the address was plain HTTP."""
    connection = Connection(node.urls[scheme], credentials)
    done = RemoteSink(connection).send(rows(b"88.118.8/a", b"88.118.8/b"))
    connection.close()
    assert [(r.line, r.status, r.version) for r in done] == [(2, "created", 7), (3, "created", 7)]
    assert [row["handle"] for row in node.rows] == ["88.118.8/a", "88.118.8/b"]
    assert node.rows[0]["values"][0]["data"]["value"] == "http://example.org/"


def test_a_secret_goes_as_basic(node, tmp_path):
    """An administrator by secret sends it as the password, one final newline left out."""
    (tmp_path / "s").write_bytes(b"word\n")
    (tmp_path / "s").chmod(0o600)
    credentials = Credentials.parse(f"301:0.NA/{PREFIX}=@{tmp_path / 's'}")
    node.basic = "Basic MzAxJTNBMC5OQS84OC4xMTguODp3b3Jk"
    connection = Connection(node.urls["https"], credentials)
    assert RemoteSink(connection).send(rows(b"88.118.8/a"))[0].status == "created"
    connection.close()


def test_rows_carry_their_rule_and_version(node, credentials):
    """on_exists, expected_version and refusals travel row by row."""
    node.refuse.add("88.118.8/no")
    sink = RemoteSink(Connection(node.urls["https"], credentials))
    sink.send(rows(b"88.118.8/a", overwrite=True, expected_version=3))
    sink.send(rows(b"88.118.8/b", kind=Kind.MERGE))
    (refused,) = sink.send(rows(b"88.118.8/no"))
    assert [row["on_exists"] for row in node.rows] == ["replace", "merge", "refuse"]
    assert node.rows[0]["expected_version"] == 3
    assert (refused.status, refused.error) == ("refused", "no")
    assert len(set(node.keys)) == 3


def test_a_busy_node_is_asked_again_with_the_same_key(node, credentials):
    """503 is waited out as long as it says; the request is the same one."""
    waits = []
    connection = Connection(node.urls["https"], credentials, sleep=waits.append)
    node.fail = [503, 503]
    assert RemoteSink(connection).send(rows(b"88.118.8/a"))[0].status == "created"
    assert waits == [3.0, 3.0]
    node.fail = [503] * 20
    with pytest.raises(ServerBusy):
        RemoteSink(connection).send(rows(b"88.118.8/a"))


def test_an_ended_session_is_opened_again(node, credentials):
    """401 in the middle of a file proves the identity anew."""
    connection = Connection(node.urls["https"], credentials, sleep=lambda _: None)
    node.fail = [401]
    assert RemoteSink(connection).send(rows(b"88.118.8/a"))[0].status == "created"
    assert node.requests.count(("POST", "/api/sessions")) == 2


def test_without_identity_the_refusal_is_told(node):
    """A node that wants to know who asks is an authentication error, not a crash."""
    connection = Connection(node.urls["http"])
    with pytest.raises(AuthenticationFailed, match="--auth"):
        RemoteSink(connection).send(rows(b"88.118.8/a"))


def test_a_wrong_secret_is_told_by_its_identity(node, tmp_path):
    """When the secret is not the right one, the message names whose it should be."""
    (tmp_path / "s").write_bytes(b"guess")
    (tmp_path / "s").chmod(0o600)
    credentials = Credentials.parse(f"301:0.NA/{PREFIX}={tmp_path / 's'}")
    connection = Connection(node.urls["https"], credentials)
    with pytest.raises(AuthenticationFailed, match=r"did not accept 301:0\.NA/88\.118\.8"):
        RemoteSink(connection).send(rows(b"88.118.8/a"))


def test_batch_operations_go_by_rest(node, credentials):
    """Deleting, adding and removing become requests of the Handle REST interface, in order."""
    sink = RemoteSink(Connection(node.urls["https"], credentials))
    value = (HandleValue(3, b"URL", b"u"),)
    changes = [
        Change(Kind.CREATE, b"88.118.8/a"),
        Change(Kind.ADD, b"88.118.8/a", value),
        Change(Kind.MODIFY, b"88.118.8/a b", value),
        Change(Kind.REMOVE, b"88.118.8/a", indexes=(3, 4)),
        Change(Kind.DELETE, b"88.118.8/a"),
        Change(Kind.HOME, b"0.NA/88.5"),
    ]
    done = sink.send([Row(n, change) for n, change in enumerate(changes)])
    assert [r.status for r in done] == [
        "created",
        "replaced",
        "replaced",
        "replaced",
        "replaced",
        "refused",
    ]
    assert node.requests[-4:] == [
        ("PUT", "/api/handles/88.118.8/a?index=various&overwrite=false"),
        ("PUT", "/api/handles/88.118.8/a%20b?index=3"),
        ("DELETE", "/api/handles/88.118.8/a?index=3&index=4"),
        ("DELETE", "/api/handles/88.118.8/a"),
    ]


def test_another_nodes_certificate_is_refused(node, origin, tmp_path, credentials):
    """A certificate that was handed over must be the node's; the right one is taken."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    from registry.keys import self_signed

    other = self_signed(generate_private_key(65537, 2048), ["127.0.0.1"], datetime.now(UTC))
    (tmp_path / "other.pem").write_bytes(other)
    with pytest.raises(SettingsError, match="--cert"):
        Connection(node.urls["https"], credentials, certificate=tmp_path / "other.pem")
    Connection(node.urls["https"], credentials, certificate=origin / TLS_CERT).close()


def test_nobody_there_is_said(node, credentials):
    """An address without a node is an error that asks whether it is right."""
    with pytest.raises(UpstreamError, match="is the node running"):
        Connection("https://127.0.0.1:1", credentials, sleep=lambda _: None)


def test_a_key_alone_is_found_in_the_prefix_record(node, origin):
    """A file without an identity is that of an administrator of the node's own prefix."""
    alone = Credentials.parse(str(origin / "keys/admin_300.pem"), unnamed=True)
    connection = Connection(node.urls["https"], alone)
    assert connection.credentials.identity.text() == f"303:0.NA/{PREFIX}"
    assert RemoteSink(connection).send(rows(b"88.118.8/a"))[0].status == "created"
    connection.close()


def test_a_secret_alone_is_the_administrators(node, tmp_path):
    """A secret without an identity is sent as 301 of the node's own prefix."""
    (tmp_path / "s").write_bytes(b"word\n")
    (tmp_path / "s").chmod(0o600)
    node.basic = "Basic MzAxJTNBMC5OQS84OC4xMTguODp3b3Jk"
    alone = Credentials.parse(str(tmp_path / "s"), unnamed=True)
    connection = Connection(node.urls["https"], alone)
    assert RemoteSink(connection).send(rows(b"88.118.8/a"))[0].status == "created"
    connection.close()


def test_a_key_that_the_node_does_not_know_needs_its_name(node, origin, tmp_path):
    """A stranger's key alone, or a node without a prefix: the identity must be written."""
    (tmp_path / "k.pem").write_bytes(encode_pem(load_keys(origin).log_private))
    (tmp_path / "k.pem").chmod(0o600)
    alone = Credentials.parse(str(tmp_path / "k.pem"), unnamed=True)
    with pytest.raises(SettingsError, match=r"none of 0.NA/88.118.8 .* INDEX:HANDLE=FILE"):
        Connection(node.urls["https"], alone, insecure=True)
    node.prefix = None
    with pytest.raises(SettingsError, match="does not say its prefix"):
        Connection(node.urls["https"], alone, insecure=True)


@pytest.mark.parametrize("text", ["", "300:0.NA/x", "0.NA/x=file", "300:0.NA/x=", "x=y"])
def test_auth_texts_that_cannot_be_used(text):
    """--auth says how it is written."""
    with pytest.raises(SettingsError, match="INDEX:HANDLE=FILE"):
        Credentials.parse(text)


def test_key_files_in_both_forms(origin, tmp_path):
    """PEM and the Handle form are read; files open to others are refused."""
    keys = load_keys(origin)
    (tmp_path / "k.bin").write_bytes(
        encode_key_file(KeyFile(Method.PLAIN, encode_private_key(keys.site_private)))
    )
    (tmp_path / "k.pem").write_bytes(encode_pem(keys.log_private))
    for name in ("k.bin", "k.pem"):
        with pytest.raises(SettingsError, match="chmod 600"):
            Credentials.parse(f"300:0.NA/x={tmp_path / name}")
        (tmp_path / name).chmod(0o600)
        assert Credentials.parse(f"300:0.NA/x={tmp_path / name}").key is not None


def test_the_results_never_overwrite_the_input(biaoshi, folder, tmp_path):
    """A results file that is the input is refused, and the input is as it was."""
    (tmp_path / "p.csv").write_text(CSV)
    code, _, err = biaoshi("register", "p.csv", "--node", "node", "--results", "./p.csv")
    assert (code, "is the input itself" in err) == (2, True)
    assert (tmp_path / "p.csv").read_text() == CSV


@pytest.mark.parametrize(
    ("code", "said"),
    [(100, "does not exist"), (400, "(400), status 404"), (99999, "code 99999"), (None, "None")],
)
def test_an_answer_without_a_message_is_put_in_words(code, said):
    """What a Handle server refuses by a number alone is said by its meaning."""
    assert said in remote._meaning(code, 404)
