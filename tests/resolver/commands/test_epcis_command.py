"""`biaoshi epcis`, as a program that calls it sees it."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from protocol.epcis.eventhash import event_hash
from resolver.commands import epcis
from tests.protocol.epcis.shared_epcis import MINIMAL, VECTORS, needs_vectors, read

app = typer.Typer()
app.add_typer(epcis.app)
DOCUMENT = {
    "@context": [MINIMAL["@context"], {"ex": "https://ns.example/"}],
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-03-01T10:00:00Z",
    "epcisBody": {"eventList": [MINIMAL, MINIMAL | {"ex:n": 1}]},
}


def run(*arguments, data=None):
    """Exit code and the objects of standard output."""
    done = CliRunner().invoke(app, ["epcis", *map(str, arguments)], input=data)
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_hash_of_a_document_and_of_one_event(tmp_path):
    """One line an event with file, index, hash and pre-hash string; `-` is standard input."""
    file = tmp_path / "events.json"
    file.write_text(json.dumps(DOCUMENT))
    code, lines = run("hash", file, "-", "--cbv", "2.1", data=json.dumps(MINIMAL).encode())
    assert code == 0
    assert [(line["file"], line["event"]) for line in lines] == [
        (str(file), 0),
        (str(file), 1),
        ("-", 0),
    ]
    wanted = event_hash(MINIMAL, DOCUMENT["@context"], "2.1")
    assert (lines[0]["hash"], lines[0]["prehash"]) == wanted
    assert lines[1]["prehash"].endswith("{https://ns.example/}n=1")


def test_hash_says_what_cannot_be_hashed(tmp_path):
    """A file that is no JSON ends with 2, one that is no document with 1; each has its line."""
    assert run("hash", tmp_path / "none.json")[0] == 2
    assert run("hash", "-", data=b"{")[0] == 2
    code, lines = run("hash", "-", data=b"{}")
    assert (code, lines[0]["hash"]) == (1, None)
    assert (
        run("hash", "-", data=json.dumps(DOCUMENT | {"epcisBody": {"eventList": [3]}}).encode())[0]
        == 1
    )
    assert run("hash", "--cbv", "9", "-", data=b"{}")[0] == 2
    assert run("hash")[0] == 2


def test_validate_files_and_lines(tmp_path):
    """Valid, invalid and unusable documents each have one line; the worst decides the code."""
    file = tmp_path / "events.json"
    file.write_text(json.dumps(DOCUMENT))
    assert run("validate", file) == (0, [{"file": str(file), "valid": True, "errors": []}])
    wrong = MINIMAL | {"bizStep": "shoving"}
    code, lines = run(
        "validate", "--jsonl", data="\n".join(map(json.dumps, (DOCUMENT, wrong))).encode()
    )
    assert code == 1
    assert [line["valid"] for line in lines] == [True, False]
    assert lines[1]["line"] == 2
    assert lines[1]["errors"][0]["path"] == "/bizStep"
    code, lines = run("validate", "--jsonl", data=b"nonsense\n\n[]\n")
    assert code == 2
    assert [line["valid"] for line in lines] == [False, False]
    assert run("validate")[0] == 2


def test_flags_leave_a_document_valid():
    """A rule beyond the schema is a flag."""
    event = MINIMAL | {"epcList": ["https://id.gs1.org/01/09521234543210"]}
    code, lines = run("validate", "-", data=json.dumps(event).encode())
    assert code == 0
    assert lines[0]["valid"] is True
    assert lines[0]["flags"][0]["rule"] == "gs1-identifier"


@needs_vectors
def test_the_vectors_through_the_command():
    """The documents of the manifest have its verdicts, and the events of the hash rows theirs."""
    rows = [row for row in read("manifest.json") if row["schema_valid"] is not None]
    files = [VECTORS / row["file"] for row in rows]
    _, lines = run("validate", *files)
    assert [line["valid"] for line in lines] == [row["schema_valid"] for row in rows]
    hashes = {}
    for version in ("2.0", "2.1"):
        for line in run("hash", *sorted(set(files)), "--cbv", version)[1]:
            hashes[line["file"], line["event"], f"CBV{version}"] = line["hash"]
    for row in read("event-hash.json"):
        assert hashes[str(VECTORS / row["file"]), row["event"], row["cbv"]] == row["hash"]
