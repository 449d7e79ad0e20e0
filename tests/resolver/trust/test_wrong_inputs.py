"""What operators get wrong: the message names it, and the exit code says whose fault it is."""

from __future__ import annotations

import json

import pytest

from tests.resolver.nodes import Serving, biaoshi, make


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("steel") / "steel", "86.999")
    witness = folder.parent / "w.pem"
    assert biaoshi("key", "new", witness, "--type", "ed25519").returncode == 0
    return folder


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("audit", "{node}", "--log-key", "biaoshi/x+00000000+AAAA"), "verifier key"),
        (("verify", "{node}/biaoshi.toml", "--log-key", "x+00000000+AAAA"), "verifier key"),
        (("witness", "{node}", "--name", "two words", "--key", "{up}/w.pem"), "blanks"),
        (("backup", "{node}", "{up}/a.tar", "--since", "{up}/none.tar"), "No such file"),
        (("restore", "{up}/none.tar", "{up}/back"), "No such file"),
        (("restore", "{up}/x", "{up}/back", "--at", "1", "--until", "2026-01-01"), "not both"),
    ],
)
def test_a_wrong_option_is_told_and_ends_with_2(node, arguments, told):
    """Nothing is said to be forged where an option cannot be read."""
    done = biaoshi(*(word.format(node=node, up=node.parent) for word in arguments))
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_an_epoch_is_confirmed_only_where_there_is_need(node):
    """A healthy node keeps its epoch; both commands speak JSON."""
    done = json.loads(biaoshi("epoch", "confirm", node, "--json").stdout)
    assert (done["began"], done["epoch"]) == (False, 0)
    shown = json.loads(biaoshi("epoch", "show", node, "--json").stdout)
    assert (shown["epoch"], shown["writes"]) == (0, True)


def test_an_increment_without_news_says_so(node):
    """The file is written, for those that follow it."""
    first, second = node.parent / "first.tar", node.parent / "second.tar"
    made = json.loads(biaoshi("backup", node, first, "--json").stdout)
    done = biaoshi("backup", node, second, "--since", first)
    assert f"nothing new after change {made['sequence']}" in done.stdout


def test_a_node_that_hears_no_witness_says_what_its_operator_does(tmp_path, node):
    """The cosignature is made, and the refusal names the setting."""
    serving = Serving(node)
    try:
        key = node.parent / "w.pem"
        more = ("--state", tmp_path / "kept", "--submit")
        done = biaoshi("witness", serving.url, "--name", "w", "--key", key, *more)
    finally:
        serving.end()
    assert done.returncode == 2
    assert "signing.witnesses" in done.stderr


def test_keys_are_replaced_for_programs_too(node):
    """--json tells the new key, the end of the overlap and what was signed anew."""
    done = json.loads(biaoshi("key", "rotate", node, "--json").stdout)
    assert done["keys"].keys() == {"302:0.NA/86.999"}
    assert done["until"]
    assert done["signedAnew"] == 0
