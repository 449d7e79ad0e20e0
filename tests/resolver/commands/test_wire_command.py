"""biaoshi wire: rows in, rows out, and an exit code that tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from resolver.commands.wire import app

ROW = {
    "name": "one",
    "kind": "hs_vlist",
    "hex": "0000000100000003612f620000012c",
    "decoded": {"references": [{"handle": "a/b", "index": 300}]},
}


def run(command: str, text: str, *more: str) -> Result:
    return CliRunner().invoke(app, [command, *more], input=text)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def line(**change: Any) -> str:
    return json.dumps({**ROW, **change}) + "\n"


def test_decoding_gives_the_fields() -> None:
    """A decoded row repeats its name and shows its bytes and fields."""
    result = run("decode", line())
    assert result.exit_code == 0
    assert rows(result) == [ROW]


def test_encoding_needs_decoded_alone() -> None:
    """Bytes follow from `decoded`; without a name none is written."""
    result = run("encode", json.dumps({"kind": "hs_vlist", "decoded": ROW["decoded"]}))
    assert result.exit_code == 0
    assert rows(result) == [{"kind": "hs_vlist", "hex": ROW["hex"], "decoded": ROW["decoded"]}]


def test_an_array_is_as_good_as_lines() -> None:
    """One JSON array and JSON lines give the same."""
    assert rows(run("check", json.dumps([ROW, ROW], indent=1))) == rows(run("check", line() * 2))


def test_checking_says_why_not() -> None:
    """A wrong claim is answered with the field, and the exit code is 1."""
    worse = {"references": [{"handle": "a/b", "index": 301}]}
    result = run("check", line() + line(name="two", decoded=worse))
    good, bad = rows(result)
    assert result.exit_code == 1
    assert good == {"name": "one", "ok": True, "why": ""}
    assert (bad["name"], bad["ok"]) == ("two", False)
    assert "references[0].index" in bad["why"]


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("decode", {"hex": "00"}),
        ("decode", {"hex": "zz"}),
        ("decode", {"kind": "nonsense"}),
        ("encode", {"decoded": {}}),
        ("encode", {"decoded": None}),
        ("encode", {"decoded": {"references": [{"handle": "\ud800", "index": 1}]}}),
    ],
)
def test_a_row_that_fails_does_not_stop_the_others(command: str, change: dict[str, Any]) -> None:
    """A failure is a row with an error; the rows after it are answered."""
    result = run(command, line(**change) + line())
    bad, good = rows(result)
    assert result.exit_code == 1
    assert bad["name"] == "one"
    assert bad["error"]
    assert good == ROW


def test_a_kind_may_be_given_for_all_rows() -> None:
    """--kind serves rows that name none; without it such a row fails."""
    row = json.dumps({"hex": ROW["hex"]})
    assert rows(run("decode", row, "--kind", "hs_vlist"))[0]["decoded"] == ROW["decoded"]
    result = run("decode", row)
    assert result.exit_code == 1
    assert "--kind" in rows(result)[0]["error"]
    assert "--kind" in rows(run("check", row))[0]["why"]


@pytest.mark.parametrize("text", ["", "not json", "[1]", "[" * 5000, '{"kind": 1'])
def test_unusable_input_is_told_apart(text: str) -> None:
    """Input that holds no rows exits with 2."""
    assert run("check", text).exit_code == 2


def test_files_are_read_in_order(tmp_path: Path) -> None:
    """Files given as arguments are read instead of standard input."""
    paths = [tmp_path / "a.json", tmp_path / "b.jsonl"]
    paths[0].write_text(json.dumps([ROW]))
    paths[1].write_text(line(name="two"))
    result = run("check", "", *map(str, paths))
    assert [row["name"] for row in rows(result)] == ["one", "two"]
    assert run("check", "", str(tmp_path / "none")).exit_code == 2


def test_a_broken_line_is_answered_and_the_next_ones_are_read(tmp_path):
    """Each line of JSON lines has its answer; a line that is no row makes the exit code 2."""
    text = '{"kind":"envelope","hex":NaN}\n' + '{"a":' * 5000 + "\n[]\n"
    text += '{"name":"last\u2028","kind":"envelope","hex":"00"}\n'
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["decode", str(path)])
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 2
    assert ["name" in answer for answer in answers] == [False, False, False, True]
    assert all(answer["error"] for answer in answers)


def test_arrays_one_after_the_other_are_read(tmp_path):
    """`cat *.json` of several vector files is an input too."""
    rows = json.dumps([{"name": "a", "kind": "envelope", "hex": "00"}], indent=1)
    path = tmp_path / "rows.json"
    path.write_text(rows + "\n" + rows, encoding="utf-8")
    result = CliRunner().invoke(app, ["decode", str(path)])
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 2)
