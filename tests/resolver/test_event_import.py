"""`biaoshi events import`: files of other systems in, events in a file or a node out."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from openpyxl import Workbook

from protocol.epcis.document import parse_document
from protocol.epcis.mapping import Source
from protocol.epcis.schema import check_document
from protocol.errors import InvalidValue, SettingsError, UpstreamError
from registry.events.index import EventIndex
from registry.store.lmdb_store import LmdbStore
from resolver.cli import main
from resolver.event_import import Digests, Event, find_zone, load_mapping
from resolver.event_import.rows import open_rows
from resolver.event_import.targets import Remote
from resolver.registering.connection import Answer
from tests.resolver.nodes import Serving, make

CSV = (
    "order;step;finished;gtin;serial;kg\n"
    "A1;CAST;2026-03-01 08:00:00;9521234543213;S1;12,5\n"
    'A1;CAST;2026-03-01 08:05:00;9521234543213;"S;2";12,5\n'
    "\n"
    "A1;CAST;yesterday;9521234543213;S3;1\n"
    "A1;IDLE;;;;\n"
)
MAPPING = """
[source]
time_zone = "Asia/Shanghai"
decimal = ","
[[event]]
when = { step = "CAST" }
type = "ObjectEvent"
action = "ADD"
eventTime = "{finished}"
bizStep = "commissioning"
epcList = ["https://id.gs1.org/01/{gtin|gtin}/21/{serial}"]
[[event.documents]]
uri = "https://docs.example/{order}"
file = "{order}.txt"
"""


@pytest.fixture
def files(tmp_path):
    """A folder with a CSV file, its mapping and a document."""
    (tmp_path / "rows.csv").write_text(CSV)
    (tmp_path / "map.toml").write_text(MAPPING)
    (tmp_path / "A1.txt").write_text("certificate")
    return tmp_path


def imported(capsysbinary, files, *arguments, code=1):
    """Run the import of the CSV file; its output and what it said."""
    with pytest.raises(SystemExit) as end:
        main(
            [
                "events",
                "import",
                str(files / "rows.csv"),
                "--map",
                str(files / "map.toml"),
                *map(str, arguments),
            ]
        )
    told = capsysbinary.readouterr()
    assert end.value.code == code, told.err
    return told.out, told.err.decode()


def test_a_document_on_standard_output(files, capsysbinary):
    """Good rows become a valid document; a bad one is told with its line, and the code is 1."""
    out, err = imported(capsysbinary, files)
    document = parse_document(out)
    assert check_document(document.value) == []
    assert [event["epcList"][0][-5:] for event in document.events] == ["21/S1", "S%3B2"]
    referenced = document.events[0]["biaoshi:document"][0]
    assert referenced["biaoshi:sha256"] == sha256(b"certificate").hexdigest()
    assert "line 5: eventTime: 'yesterday'" in err
    assert "5 rows" not in err
    assert "4 rows: 2 events (2 ObjectEvent), 1 refused, 1 rows of no event" in err


def test_lines_and_documents_in_a_file(files, capsysbinary):
    """--out writes a bare event a line for .jsonl, else one document; the events are the same."""
    imported(capsysbinary, files, "--out", files / "e.jsonl")
    imported(capsysbinary, files, "--out", files / "e.json")
    lines = [json.loads(line) for line in (files / "e.jsonl").read_text().splitlines()]
    document = json.loads((files / "e.json").read_text())
    assert all(check_document(line) == [] for line in lines)
    assert [{k: v for k, v in line.items() if k != "@context"} for line in lines] == document[
        "epcisBody"
    ]["eventList"]


def test_a_dry_run_keeps_nothing(files, capsysbinary):
    """--dry-run --json gives the summary alone."""
    out, _ = imported(capsysbinary, files, "--dry-run", "--json", "--out", files / "none.json")
    summary = json.loads(out)
    assert (summary["rows"], summary["events"], summary["refused"], summary["unused"]) == (
        4,
        2,
        1,
        1,
    )
    assert summary["refusals"][0]["lines"] == [5]
    assert not (files / "none.json").exists()


def test_options_that_do_not_go_together(files, capsysbinary):
    """Each is refused with a plain line and code 2."""
    for arguments in (
        ("--node", "x", "--out", "y"),
        ("--auth", "k"),
        ("--label", "1"),
        ("--node", files, "--label", "9"),
        ("--node", "https://127.0.0.1:1"),
        ("--node", files / "nowhere"),
    ):
        imported(capsysbinary, files, *arguments, code=2)


def test_a_column_that_is_missing_is_told_at_once(files, capsysbinary):
    """A mapping for another file does not run over thousands of rows."""
    (files / "rows.csv").write_text("a;b\n1;2\n")
    _, err = imported(capsysbinary, files, code=2)
    assert "no column" in err


def kept(folder):
    """The events in a node's store."""
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            index = EventIndex(state)
            return [
                event.json() for n, _ in index.since(0) if (event := index.event(n)) is not None
            ]
    finally:
        store.close()


def test_into_a_folder_and_again(files, capsysbinary, tmp_path):
    """A node's folder takes the events; importing the same again changes nothing."""
    folder = make(tmp_path / "node")
    out, _ = imported(capsysbinary, files, "--node", folder, "--label", "public")
    assert b"2 events" in out
    first = kept(folder)
    assert [event["eventTime"] for event in first] == [
        "2026-03-01T08:00:00.000+08:00",
        "2026-03-01T08:05:00.000+08:00",
    ]
    imported(capsysbinary, files, "--node", folder, "--label", "public")
    assert kept(folder) == first


def test_into_a_running_node(files, capsysbinary, tmp_path):
    """A node's EPCIS face takes the events from its administrator, and again without complaint."""
    folder = make(tmp_path / "node")
    node = Serving(folder)
    try:
        key = folder / "keys" / "site_key.pem"
        for _ in range(2):
            out, err = imported(capsysbinary, files, "--node", node.url, "--auth", key)
            assert b"2 events" in out, err
    finally:
        node.end()
    assert len(kept(folder)) == 2


class _Scripted:
    """A connection that answers what it was told."""

    credentials = None

    def __init__(self, *answers):
        self.answers = list(answers)

    def request(self, _method, _path, _body=None, _headers=None):
        return self.answers.pop(0)

    def renew(self):
        pass

    def close(self):
        pass


def test_refusals_of_a_capture_job_find_their_lines():
    """A problem names its event by place or id; a job that runs on is waited for."""
    events = [Event((at,), {"eventID": f"urn:x:{at}"}) for at in (4, 5, 6)]
    job = {
        "running": False,
        "errors": [
            {"instance": "/epcisBody/eventList/1", "detail": "no"},
            {"instance": "eventID:urn:x:6", "title": "none"},
        ],
    }
    connection = _Scripted(
        Answer(202, b"", location="/epcis/capture/1"),
        Answer(200, b'{"running":true}'),
        Answer(200, json.dumps(job).encode()),
    )
    waits = []
    found = Remote(connection, [], sleep=waits.append).send(events)
    assert found == [((5,), "no"), ((6,), "none")]
    assert len(waits) == 1
    with pytest.raises(UpstreamError):
        Remote(_Scripted(Answer(500, b"")), []).send(events)


def lines_of(path, **source):
    rows = open_rows(path, Source(**source))
    return rows.columns, [(line.number, line.row) for line in rows.lines]


def test_csv_forms(tmp_path):
    """Delimiter, encoding and the header's row are found or told; rows keep their line numbers."""
    file = tmp_path / "a.csv"
    file.write_bytes('note\n产品,b\n一,"x\ny"\n\n二,z\n'.encode("gb18030"))
    columns, lines = lines_of(file, encoding="gb18030", header_row=2)
    assert columns == ("产品", "b")
    assert lines == [(3, {"产品": "一", "b": "x\ny"}), (6, {"产品": "二", "b": "z"})]
    file.write_text("a\tb\n1\t2\n")
    assert lines_of(file)[1] == [(2, {"a": "1", "b": "2"})]
    file.write_text("a#b\n1#2\n")
    assert lines_of(file, delimiter="#")[1] == [(2, {"a": "1", "b": "2"})]


def test_spreadsheets(tmp_path):
    """Cells come exact: numbers as shown, dates and times as text; empty rows are passed over."""
    book = Workbook()
    sheet = book.active
    sheet.title = "First"
    other = book.create_sheet("Picks")
    other.append(["report of", None])
    other.append(["id", "kg", "when", "day", "ok"])
    other.append(["A", 12.3, datetime(2026, 3, 1, 8, 30), date(2026, 3, 1), True])
    other.append([None] * 5)
    other.append(["B", 7.0, None, None, None])
    file = tmp_path / "a.xlsx"
    book.save(file)
    columns, lines = lines_of(file, sheet="Picks", header_row=2)
    assert columns == ("id", "kg", "when", "day", "ok")
    assert lines[0] == (
        3,
        {
            "id": "A",
            "kg": Decimal("12.3"),
            "when": "2026-03-01 08:30:00",
            "day": "2026-03-01 00:00:00",
            "ok": True,
        },
    )
    assert [number for number, _ in lines] == [3, 5]
    with pytest.raises(SettingsError, match="Picks"):
        lines_of(file, sheet="None")
    with pytest.raises(SettingsError, match="header"):
        lines_of(file)


def test_json_forms(tmp_path):
    """A list, a list at a path, and JSON lines give rows with exact numbers."""
    file = tmp_path / "a.json"
    file.write_text('{"data":{"visits":[{"n":1.50},{"n":2}]}}')
    assert lines_of(file, records="data.visits")[1] == [(1, {"n": Decimal("1.50")}), (2, {"n": 2})]
    lined = tmp_path / "a.jsonl"
    lined.write_text('{"n":1}\n\n{"n":2}\n')
    assert [number for number, _ in lines_of(lined)[1]] == [1, 3]


@pytest.mark.parametrize(
    ("name", "data", "source"),
    [
        ("a.pdf", b"", {}),
        ("a.csv", b"", {}),
        ("a.csv", b"a,a\n", {}),
        ("a.csv", b"\xff\xfe\n", {}),
        ("a.csv", b"a,b\n\xff,1\n", {}),
        ("a.csv", b"a\n" + b"x" * 1_100_000, {}),
        ("a.csv", b"a\n", {"encoding": "nonsense"}),
        ("a.csv", b"a\n", {"delimiter": ";;"}),
        ("a.csv", b"a\n", {"format": "xml"}),
        ("a.xlsx", b"PK\x03\x04", {}),
        ("a.xlsx", b"no zip", {}),
        ("a.json", b"{", {}),
        ("a.json", b"{}", {}),
        ("a.json", b"[1]", {}),
        ("a.jsonl", b"[]\n", {}),
        ("a.jsonl", b"x\n", {}),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, data, source):
    """Each is a SettingsError."""
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(SettingsError):
        lines_of(file, **source)


def test_a_spreadsheet_that_unfolds_too_far_is_refused(tmp_path, monkeypatch):
    """A small file that unpacks to a huge one is not unpacked."""
    monkeypatch.setattr("resolver.event_import.rows.MAX_UNFOLDED_OCTETS", 1_000)
    file = tmp_path / "a.xlsx"
    with ZipFile(file, "w", ZIP_DEFLATED) as parts:
        parts.writestr("xl/workbook.xml", b" " * 100_000)
    with pytest.raises(SettingsError, match="unfolds"):
        lines_of(file)


def test_digests_never_lead_out_of_their_folder(tmp_path):
    """A name in a row reads files below the folder, and no others."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a").write_bytes(b"abc")
    (tmp_path / "secret").write_bytes(b"x")
    digests = Digests(folder)
    assert digests("a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for name in ("../secret", str(tmp_path / "secret"), "none", "", "\0"):
        with pytest.raises(InvalidValue):
            digests(name)


def test_zones_and_mappings(tmp_path):
    """Zones go by name or offset; a mapping file that is none is named."""
    moment = datetime(2026, 7, 1)
    assert find_zone("+05:30").utcoffset(moment).total_seconds() == 19_800
    assert find_zone("Europe/Berlin").utcoffset(moment).total_seconds() == 7_200
    assert find_zone(None) is None
    for name in ("Mars/Olympus", "../etc/passwd", "+25:00", ""):
        with pytest.raises(SettingsError):
            find_zone(name)
    for text in ("x", "[event]\n", "\xff"):
        (tmp_path / "m.toml").write_bytes(text.encode("latin-1"))
        with pytest.raises(SettingsError):
            load_mapping(tmp_path / "m.toml")
    with pytest.raises(SettingsError):
        load_mapping(tmp_path / "none.toml")
