"""Files of identifiers: what each format means, and that errors name their line and column."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.change import Kind
from protocol.errors import SettingsError
from protocol.record import Reference
from protocol.values.hs_admin import Permission, decode_admin
from protocol.values.hs_vlist import decode_vlist
from registry.imports import Format, OnExists, Options, detect, read_items

PLAIN = Options(add_admin=False)


def items(format_: Format, text: str | bytes, options: Options = PLAIN):
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_items(io.BytesIO(data), format_, options))


def one(format_: Format, text: str | bytes, options: Options = PLAIN):
    (item,) = items(format_, text, options)
    assert item.error is None, item.error
    return item


# --- CSV


def test_csv_columns_become_values():
    """Columns count up from 1, TYPE@INDEX is fixed, empty cells are no values."""
    text = "identifier,URL,DESC@7,URL,HS_SECKEY@301,X\n88.118.8/a,u1,d,u2,word,\n"
    item = one(Format.CSV, text)
    assert (item.line, item.handle, item.change.kind) == (2, b"88.118.8/a", Kind.CREATE)
    assert [(v.index, v.type, v.data) for v in item.change.values] == [
        (1, b"URL", b"u1"),
        (7, b"DESC", b"d"),
        (2, b"URL", b"u2"),
        (301, b"HS_SECKEY", b"word"),
    ]
    assert not item.change.values[3].public


def test_csv_counting_leaves_customary_indexes_out():
    """Counting passes over indexes that are fixed elsewhere or have a customary meaning."""
    header = "identifier,A@2," + ",".join(f"T{n}" for n in range(100))
    item = one(Format.CSV, header + "\n88.118.8/a" + ",x" * 101 + "\n")
    indexes = [v.index for v in item.change.values]
    assert len(set(indexes)) == 101
    assert indexes[:3] == [2, 1, 3]
    assert not {100, 101, 102} & set(indexes)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", "identifier,DESC\n88.118.8/泵,离心泵\n".encode()),
        ("utf-8", "\ufeffidentifier,DESC\r\n88.118.8/泵,离心泵\r\n".encode()),
        ("gb18030", "identifier,DESC\n88.118.8/泵,离心泵\n".encode("gb18030")),
        ("utf-8", "identifier;DESC\n88.118.8/泵;离心泵".encode()),
        ("utf-8", 'identifier\tDESC\n88.118.8/泵\t"离心泵"\n\n'.encode()),
    ],
)
def test_csv_encodings_and_separators(encoding, data):
    """UTF-8 with and without mark, GB18030, and three separators are read alike."""
    item = one(Format.CSV, data, Options(add_admin=False, encoding=encoding))
    assert item.handle == "88.118.8/泵".encode()
    assert item.change.values[0].data == "离心泵".encode()


def test_csv_cells_may_span_lines():
    """A quoted cell keeps its line breaks; the row is numbered by its first line."""
    rows = items(Format.CSV, 'identifier,DESC\n88.118.8/a,"two\nlines"\n88.118.8/b,x\n')
    assert [(row.line, row.change.values[0].data) for row in rows] == [
        (2, b"two\nlines"),
        (4, b"x"),
    ]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("88.118.8/a,u,extra", "3 cells"),
        (",u", "`identifier` is empty"),
        ("88.118.8/,u", "`identifier`"),
        ('88.118.8/a,"u"x', "not CSV"),
        ("88.118.8/a,caf\xe9", "--encoding"),
    ],
)
def test_csv_errors_name_their_place(row, names):
    """A bad row is an error of its line, and the rows around it are read."""
    text = f"identifier,URL\n88.118.8/0,u\n{row}\n88.118.8/9,u\n".encode("latin-1")
    rows = items(Format.CSV, text)
    assert [row.line for row in rows] == [2, 3, 4]
    assert names in rows[1].error
    assert rows[0].change is not None
    assert rows[2].change is not None


def test_a_quote_that_is_never_closed_costs_one_row():
    """The rows that an open quote swallowed are read for themselves, each with its own line."""
    rows = items(
        Format.CSV,
        'identifier,URL,DESC\n88.118.8/a,u,d\n88.118.8/b,"open,d\n88.118.8/c,u,d\n\n'
        '88.118.8/d,"u",d\n88.118.8/e,"two\nlines",d\n88.118.8/f,"open\n88.118.8/g,u,d\n',
    )
    assert [(row.line, row.change is not None) for row in rows] == [
        (2, True),
        (3, False),
        (4, True),
        (6, True),
        (7, True),
        (9, False),
        (10, True),
    ]
    assert "check the quotes" in rows[1].error
    assert rows[4].change.values[0].data == b"two\nlines"


def test_a_row_of_many_lines_is_bounded():
    """A cell that goes on over more lines than a record may hold is one bad row."""
    long = "x" * 1_000_000
    text = f'identifier,URL\n88.118.8/a,"{long}\n{long}\n{long}"\n88.118.8/b,u\n'
    rows = items(Format.CSV, text)
    assert (rows[0].line, rows[0].change, rows[-1].handle) == (2, None, b"88.118.8/b")


def test_csv_admin_cells():
    """HS_ADMIN is a reference, with all rights or with digits in the order of the REST interface."""
    text = (
        "identifier,HS_ADMIN\n88.118.8/a,300:0.NA/88\n88.118.8/b,300:000000000011:0.NA/88\n"
        "88.118.8/c,nonsense\n"
    )
    all_, some, bad = items(Format.CSV, text, Options())
    assert [v.index for v in all_.change.values] == [100]
    assert decode_admin(all_.change.values[0].data).permissions == 0xFFF
    granted = decode_admin(some.change.values[0].data)
    assert granted.permissions == Permission.ADD_HANDLE | Permission.DELETE_HANDLE
    assert granted.reference == Reference(b"0.NA/88", 300)
    assert "column `HS_ADMIN`" in bad.error


@pytest.mark.parametrize(
    "header",
    [
        "",
        "URL,identifier",
        "identifier,URL@0",
        "identifier,URL@x",
        "identifier,A@1,B@1",
        "identifier,,A",
    ],
)
def test_csv_headers_that_cannot_be_used(header):
    """A wrong header stops the import before anything is read."""
    with pytest.raises(SettingsError):
        items(Format.CSV, header + "\n88.118.8/a,u\n")


def test_unknown_encoding_is_said():
    """An encoding that nobody knows is an error of the command, not of each line."""
    with pytest.raises(SettingsError, match="klingon"):
        items(Format.CSV, "identifier\n", Options(encoding="klingon"))


# --- what all formats share


def test_administrators_are_added_unless_given():
    """A record without HS_ADMIN gets its prefix's administrators at 100 or the next free index."""
    item = one(Format.CSV, "identifier,URL\n88.118.8/a,u\n", Options())
    admin = item.change.values[-1]
    assert admin.index == 100
    assert decode_admin(admin.data).reference == Reference(b"0.NA/88.118.8", 200)
    taken = '{"handle":"88.1/x","values":[{"index":100,"type":"URL","data":"u"}]}'
    assert [v.index for v in one(Format.JSON_LINES, taken, Options()).change.values] == [100, 101]


@pytest.mark.parametrize(
    ("rule", "kind", "overwrite"),
    [
        (OnExists.REFUSE, Kind.CREATE, False),
        (OnExists.REPLACE, Kind.CREATE, True),
        (OnExists.MERGE, Kind.MERGE, False),
    ],
)
def test_what_happens_to_records_that_exist(rule, kind, overwrite):
    """The rule decides the kind of change; a JSON row may have its own."""
    change = one(Format.CSV, "identifier,URL\n88.1/a,u\n", Options(on_exists=rule)).change
    assert (change.kind, change.overwrite) == (kind, overwrite)
    row = f'{{"handle":"88.1/x","values":[],"on_exists":"{rule}","expected_version":7}}'
    change = one(Format.JSON_LINES, row).change
    assert (change.kind, change.overwrite, change.expected_version) == (kind, overwrite, 7)


def test_overlong_lines_are_skipped(monkeypatch):
    """A line above the bound is an error, and the next line is read."""
    monkeypatch.setattr("registry.imports.bounded_lines.__defaults__", (40,))
    text = '{"handle":"88.1/x","values":[]}\n' + "x" * 500 + '\n{"handle":"88.1/y","values":[]}'
    rows = items(Format.JSON_LINES, text)
    assert [(row.line, row.handle) for row in rows] == [(1, b"88.1/x"), (2, b""), (3, b"88.1/y")]
    assert "octets" in rows[1].error


@pytest.mark.parametrize(
    ("name", "start", "format_"),
    [
        ("a.csv", b"", Format.CSV),
        ("a.JSONL", b"", Format.JSON_LINES),
        ("-", b'\xef\xbb\xbf{"handle"', Format.JSON_LINES),
        ("-", b"\n\nCREATE 88.1/x\n", Format.BATCH),
        ("a.txt", b"authenticate SECKEY:301:0.NA/x\n", Format.BATCH),
        ("-", b"Identifier,URL\n", Format.CSV),
    ],
)
def test_formats_are_found(name, start, format_):
    """The name decides, else the first octets."""
    assert detect(name, start) is format_


@pytest.mark.parametrize("start", [b"", b"hello\n", b"\xff\xfei\0d\0"])
def test_unknown_formats_are_said(start):
    """What cannot be told is asked for."""
    with pytest.raises(SettingsError, match="--"):
        detect("file", start)


# --- JSON lines


def test_json_lines_are_records():
    """A row is what the Handle REST interface shows; other members are ignored."""
    text = (
        '{"responseCode":1,"handle":"88.1/x","values":[{"index":1,"type":"URL","data":'
        '{"format":"string","value":"u"},"ttl":60,"permissions":"1100","timestamp":"x"}]}\n\n'
    )
    value = one(Format.JSON_LINES, text).change.values[0]
    assert (value.data, value.ttl, value.permissions) == (b"u", 60, 0b1100)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("nonsense", "not JSON"),
        ("[]", "handle"),
        ('{"values":[]}', "`handle`"),
        ('{"handle":7,"values":[]}', "`handle`"),
        ('{"handle":"88.1/x"}', "`values`"),
        ('{"handle":"88.1/x","values":[{"index":1,"type":"URL"}]}', "`data`"),
        ('{"handle":"88.1/x","values":[{"index":0,"type":"URL","data":"u"}]}', "index"),
        ('{"handle":"88.1/x","values":[],"on_exists":"x"}', "`on_exists`"),
        ('{"handle":"88.1/x","values":[],"expected_version":-1}', "`expected_version`"),
    ],
)
def test_json_errors_name_the_field(row, names):
    """A bad row is an error of its line that names the field."""
    (item,) = items(Format.JSON_LINES, row)
    assert item.change is None
    assert names in item.error


# --- batch files

BATCH = """AUTHENTICATE SECKEY:301:0.NA/88.118
my_password

CREATE 88.118/a
100 HS_ADMIN 86400 1110 ADMIN 300:110011111111:0.NA/88.118
1 URL 60 1110 UTF8 https://example.org/a b
200 HS_VLIST 86400 1110 LIST 300:10.50/USR1; 301:10.50/USR2;
CREATE 88.118/b
100 HS_ADMIN 86400 1110 ADMIN
300:111111111111:0.NA/88.118
DELETE 88.118/c
DELETE 88.118/d

ADD 88.118/a
5 EMAIL 86400 1100 UTF8 x@example.org

MODIFY 88.118/a
5 EMAIL 86400 1110 UTF8
REMOVE 5,6:88.118/a
HOME 10.27.10.28:2641:TCP
0.NA/12345
0.NA/TEST1.t1

UNHOME 10.27.10.28:2641:TCP
0.NA/12345
"""


def test_batch_operations():
    """Each operation becomes its change, numbered by the line it begins on."""
    rows = items(Format.BATCH, BATCH.replace("\n", "\r\n"))
    assert [row.error for row in rows] == [None] * 10
    assert [(row.line, row.change.kind, row.handle) for row in rows] == [
        (4, Kind.CREATE, b"88.118/a"),
        (8, Kind.CREATE, b"88.118/b"),
        (11, Kind.DELETE, b"88.118/c"),
        (12, Kind.DELETE, b"88.118/d"),
        (14, Kind.ADD, b"88.118/a"),
        (17, Kind.MODIFY, b"88.118/a"),
        (19, Kind.REMOVE, b"88.118/a"),
        (21, Kind.HOME, b"0.NA/12345"),
        (22, Kind.HOME, b"0.NA/TEST1.t1"),
        (25, Kind.UNHOME, b"0.NA/12345"),
    ]
    admin, url, group = rows[0].change.values
    assert (url.data, url.ttl) == (b"https://example.org/a b", 60)
    assert [r.index for r in decode_vlist(group.data)] == [300, 301]
    # add handle, delete handle, not the prefixes, and the rest: as the manual explains its example
    prefixes = Permission.ADD_DERIVED_PREFIX | Permission.DELETE_DERIVED_PREFIX
    assert decode_admin(admin.data).permissions == 0xFFF & ~prefixes
    assert decode_admin(rows[1].change.values[0].data).permissions == 0xFFF
    assert rows[4].change.values[0].permissions == 0b1100
    assert rows[5].change.values[0].data == b""
    assert rows[6].change.indexes == (5, 6)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("RENAME 88.1/x\n", "no operation"),
        ("CREATE 88.1/x\n1 URL 60 1110\n", "line 2"),
        ("CREATE 88.1/x\nx URL 60 1110 UTF8 u\n", "index"),
        ("CREATE 88.1/x\n1 URL soon 1110 UTF8 u\n", "ttl"),
        ("CREATE 88.1/x\n1 URL 60 111 UTF8 u\n", "permissions"),
        ("CREATE 88.1/x\n1 URL 60 1110 HTML u\n", "data format"),
        ("CREATE 88.1/x\n100 HS_ADMIN 60 1110 ADMIN 300:111:0.NA/x\n", "twelve digits"),
        ("CREATE 88.1/x\n200 HS_VLIST 60 1110 LIST nobody\n", "LIST"),
        ("CREATE 88.1/x\n1 URL 60 1110 FILE key.bin\n", "FILE"),
        ("REMOVE 88.1/x\n", "INDEX"),
        ("REMOVE 0:88.1/x\n", "index"),
    ],
)
def test_batch_errors_name_their_line(text, names):
    """A bad block is an error that says where; the next block is read."""
    first, second = items(Format.BATCH, text + "\nDELETE 88.1/y\n")
    assert first.change is None
    assert names in first.error
    assert second.handle == b"88.1/y"


def test_batch_files_name_files_beside_them(tmp_path):
    """FILE data is read from the batch file's own folder and nowhere else."""
    (tmp_path / "key.bin").write_bytes(b"\x01key")
    options = Options(add_admin=False, folder=tmp_path)
    text = "CREATE 88.1/x\n300 HS_PUBKEY 60 1110 FILE %s\n"
    assert one(Format.BATCH, text % "key.bin", options).change.values[0].data == b"\x01key"
    for name in ("../key.bin", "/etc/passwd", "none.bin"):
        assert items(Format.BATCH, text % name, options)[0].change is None


@given(st.binary(max_size=300), st.sampled_from([Format.JSON_LINES, Format.BATCH, Format.CSV]))
def test_any_octets_become_items_or_a_settings_error(data, format_):
    """Whatever a file holds, reading it gives items or says that it cannot be used."""
    try:
        found = items(format_, (b"identifier,URL\n" if format_ is Format.CSV else b"") + data)
    except SettingsError:
        return
    assert all((item.change is None) == (item.error is not None) for item in found)
