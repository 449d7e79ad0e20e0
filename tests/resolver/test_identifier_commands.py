"""`biaoshi id` and `biaoshi link parse`, as a program that calls them sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from resolver.commands import identifier, link

VECTORS = Path(__file__).parents[1] / "vectors"
ROWS = json.loads((VECTORS / "identifiers.json").read_text(encoding="utf-8"))["vectors"]
LINKS = json.loads((VECTORS / "digital-link.json").read_text(encoding="utf-8"))
EXTRA = ("index", "parts", "urn", "ors_domain", "ors_query", "ons_fqdn", "gtin14", "sscc")
EXTRA += ("digital_link", "top", "second", "company")
app = typer.Typer()
app.add_typer(identifier.app)
app.add_typer(link.app)


def run(*arguments, lines=None):
    """Exit code and the objects of standard output."""
    data = None if lines is None else "".join(json.dumps(line) + "\n" for line in lines)
    done = CliRunner().invoke(app, list(arguments), input=data)
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_every_row_through_jsonl():
    """Each row of the reference set comes back as one line with what the row says."""
    code, found = run(
        "id", "--jsonl", lines=[{"input": row["input"], "scheme": row["scheme"]} for row in ROWS]
    )
    assert code == 1
    assert len(found) == len(ROWS)
    for row, line in zip(ROWS, found, strict=True):
        for name in ("input", "valid", "normalized", "prefix", "suffix", "error"):
            assert line[name] == row[name], row["id"]
        for name in EXTRA:
            if name in row:
                assert line[name] == row[name], row["id"]


def test_valid_lines_give_code_0():
    """When every line is valid the exit code is 0, and the scheme is told."""
    code, found = run("id", "--jsonl", lines=[{"input": "88.118.8/JXDY2106023"}])
    assert code == 0
    assert found[0]["scheme"] == "idis"


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "[]",
        "{}",
        '{"input": 1}',
        '{"input": "1.2", "scheme": "x"}',
        '{"input": "1.2", "scheme": []}',
        "[" * 99999,
    ],
)
def test_unusable_line(line):
    """A line that is no input gives code 2 and an answer in its place; the next one is read."""
    done = CliRunner().invoke(app, ["id", "--jsonl"], input=line + '\n\n{"input": "1.2"}\n')
    assert done.exit_code == 2
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["error"] == "unusable-input"
    assert second["normalized"] == "1.2"


@pytest.mark.parametrize(
    "arguments", [[], ["--scheme", "nonsense", "1.2"], ["--jsonl", "1.2"], ["--no-such-option"]]
)
def test_unusable_arguments(arguments):
    """Arguments that make no sense give code 2."""
    assert CliRunner().invoke(app, ["id", *arguments]).exit_code == 2


def test_table():
    """A person sees one line for each fact and the reason of what is invalid."""
    done = CliRunner().invoke(app, ["id", "1.2.156.3001", "88.118.8/a\u202eb"])
    assert done.exit_code == 1
    assert "  ors_query     ors-dummy.3001.156.2.1.oid-res.org." in done.stdout.splitlines()
    assert "'88.118.8/a\\u202eb'  invalid" in done.stdout.splitlines()
    assert "  error         control-char" in done.stdout.splitlines()


def test_json_of_texts():
    """--json prints one object for each text, and --scheme names the scheme of all."""
    code, found = run("id", "--json", "--scheme", "ecode", "100646901234567892")
    assert (code, found[0]["prefix"]) == (0, "1:0064")


def test_half_a_surrogate_pair():
    """A text that is no Unicode is answered, not fatal."""
    code, found = run("id", "--jsonl", lines=[{"input": "88.118.8/\ud800"}])
    assert (code, found[0]["valid"]) == (1, False)


def test_links_through_jsonl():
    """URIs and element strings come back with both forms, or refused."""
    rows = [row for row in LINKS["uris"] if row["valid"] is not None] + LINKS["element_strings"]
    lines = [
        {"input": row.get("uri", row["element_string"] if "uri" not in row else "")} for row in rows
    ]
    code, found = run("link", "parse", "--jsonl", lines=lines)
    assert code == 1
    for row, line in zip(rows, found, strict=True):
        assert line["valid"] == row["valid"]
        assert line["canonical"] == row.get("canonical")
        if row["valid"] and "uri" in row:
            assert line["element_string"] == row["element_string"]


def test_link_text():
    """One URI on the command line is shown in both forms."""
    done = CliRunner().invoke(
        app, ["link", "parse", "--lenient", "https://example.org/gtin/6901234567892/"]
    )
    assert done.exit_code == 0
    assert "  element string   (01)06901234567892" in done.stdout.splitlines()


def test_compress_and_expand_through_jsonl():
    """Each pair of the reference set is made and undone."""
    rows = LINKS["compression"]
    code, found = run("link", "compress", "--jsonl", lines=[{"input": row["uri"]} for row in rows])
    assert code == 0
    assert [line["compressed"] for line in found] == [row["compressed_optimised"] for row in rows]
    plain = [{"input": row["compressed"]} for row in rows]
    code, found = run("link", "expand", "--jsonl", lines=plain)
    assert code == 0
    assert all(line["valid"] for line in found)
    code, found = run("link", "compress", "--no-sequences", "--jsonl", lines=[{"input": "x"}])
    assert (code, found[0]["compressed"]) == (1, None)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("6901234567892", "https://example.org/p/01/06901234567892"),
        ("(01)06901234567892(17)261231", "https://example.org/p/01/06901234567892?17=261231"),
        ("urn:epc:id:sgtin:6901234.056789.S", "https://example.org/p/01/06901234567892/21/S"),
        (
            "https://example.cn/q/01/06901234567892?a=b",
            "https://example.org/p/01/06901234567892?a=b",
        ),
        ("urn:epc:id:gid:1.2.3", None),
    ],
)
def test_make(text, uri):
    """Any spelling of a GS1 key becomes a URI below the base."""
    code, found = run("link", "make", "--json", "--base", "https://example.org/p", text)
    assert found[0]["uri"] == uri
    assert code == (0 if uri else 1)


@pytest.mark.parametrize(
    "base",
    ["ftp://x", "https://", "https://a b", "https://a?b=c", "https://a/#b", "https://u@a", "x", ""],
)
def test_base_must_be_an_address(base):
    """A base that is no web address, or more than its beginning, gives code 2."""
    done = CliRunner().invoke(app, ["link", "make", "--base", base, "6901234567892"])
    assert done.exit_code == 2


def test_partial_through_jsonl():
    """Each link of the reference set comes back from its partly compressed form."""
    rows = [row["uri"] for row in LINKS["compression"]]
    lines = [{"input": uri} for uri in rows]
    code, found = run("link", "compress", "--partial", "--jsonl", lines=lines)
    assert code == 0
    pairs = [(uri, one["compressed"]) for uri, one in zip(rows, found, strict=True)]
    pairs = [(uri, short) for uri, short in pairs if uri != short]  # a key alone stays as it is
    code, found = run("link", "expand", "--jsonl", lines=[{"input": short} for _, short in pairs])
    assert code == 0
    for (uri, _), one in zip(pairs, found, strict=True):
        path, _, query = uri.partition("?")
        made, _, members = one["uri"].partition("?")
        assert (made, sorted(members.split("&"))) == (path, sorted(query.split("&")))
    wide = "https://example.org/gtin/9506000134352/EEarwSM"
    assert run("link", "expand", "--json", wide)[0] == 1
    code, found = run("link", "expand", "--lenient", "--json", wide)
    assert (code, found[0]["canonical"]) == (0, "https://id.gs1.org/01/09506000134352/10/ABC123")


def test_urns_and_plain_compression_through_jsonl():
    """URNs give their links; both compressed forms of the reference set are made and undone."""
    urns = LINKS["epc_urn"]
    for command, name in (("make", "uri"), ("parse", "canonical")):
        _, found = run("link", command, "--jsonl", lines=[{"input": row["urn"]} for row in urns])
        assert [one[name] for one in found] == [row["digital_link"] for row in urns]
    for option, name in (((), "compressed_optimised"), (("--no-sequences",), "compressed")):
        pairs = LINKS["compression"]
        lines = [{"input": row["uri"]} for row in pairs]
        _, found = run("link", "compress", *option, "--jsonl", lines=lines)
        assert [one["compressed"] for one in found] == [row[name] for row in pairs]
        lines = [{"input": row[name]} for row in pairs]
        _, found = run("link", "expand", "--jsonl", lines=lines)
        for row, one in zip(pairs, found, strict=True):
            path, _, query = row["uri"].partition("?")
            made, _, members = one["uri"].partition("?")
            assert (made, sorted(members.split("&"))) == (path, sorted(query.split("&")))


def test_disputed_rows():
    """Of the disputed rows, 8006 with 22 is taken, as the standard's table of qualifiers says."""
    rows = [{"input": row["uri"]} for row in LINKS["uris"] if row["valid"] is None]
    _, found = run("link", "parse", "--jsonl", lines=rows)
    assert all(one["valid"] for one in found)
