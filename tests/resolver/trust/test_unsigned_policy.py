"""`biaoshi prefix home --unsigned`: what becomes of unsigned records, by command and over HTTP."""

from __future__ import annotations

import json

from tests.resolver.nodes import Serving, biaoshi, make

URL = {"index": 1, "type": "URL", "data": {"format": "string", "value": "http://a.example/"}}


def test_a_policy_per_prefix(tmp_path):
    """accept takes, mark takes and tells, refuse refuses with the reason; the last word counts."""
    node = Serving(make(tmp_path / "node"))

    def home(policy):
        done = biaoshi("prefix", "home", "99.1", "--node", node.folder, "--unsigned", policy)
        assert done.returncode == 0, done.stderr

    def register(name):
        file = tmp_path / "rows.jsonl"
        file.write_text(json.dumps({"handle": name, "values": [URL]}) + "\n")
        return biaoshi("register", file, "--node", node.folder, "--no-sign", "--no-admin")

    def told(name):
        status, answer = node.get(f"/api/resolve?id={name}")
        assert status == 200, answer
        return answer.get("verification")

    try:
        home("accept")
        assert register("99.1/a").returncode == 0
        assert told("99.1/a") is None
        home("mark")
        assert register("99.1/b").returncode == 0
        assert told("99.1/b") == told("99.1/a") == {"status": "unsigned"}
        home("refuse")
        done = register("99.1/c")
        assert done.returncode == 1
        assert "must be signed" in done.stderr
        assert node.get("/api/handles/99.1/c")[0] == 404
        assert register("86.999/c").returncode == 0  # another prefix, by the settings
        home("accept")
        assert register("99.1/c").returncode == 0
        bad = biaoshi("prefix", "home", "99.1", "--node", node.folder, "--unsigned", "maybe")
        assert bad.returncode == 2
    finally:
        node.end()
