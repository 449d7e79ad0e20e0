"""biaoshi migrate, as a command: what it says and removes."""

from __future__ import annotations

import json

from tests.resolver.nodes import biaoshi, make, ok


def test_a_store_of_this_release_stays(tmp_path):
    """Said in words and as JSON; copies of earlier stores go only when that is asked."""
    node = make(tmp_path / "node")
    (node / "store.format1").mkdir()
    assert "as this release writes it" in ok("migrate", node)
    told = json.loads(ok("migrate", node, "--json"))
    assert (told["before"], told["kept"], told["removed"]) == (told["format"], None, [])
    assert (node / "store.format1").exists()
    told = json.loads(ok("migrate", node, "--drop-copies", "--json"))
    assert told["removed"] == ["store.format1"]
    assert not (node / "store.format1").exists()


def test_no_node(tmp_path):
    """A folder that is no node is named."""
    done = biaoshi("migrate", tmp_path)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
