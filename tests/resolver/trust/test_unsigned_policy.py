"""`biaoshi prefix home --unsigned`: what becomes of unsigned records, by command and over HTTP."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request

from resolver.config import FaceSettings, NodeSettings, Settings, SigningSettings
from resolver.founding import found
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


def test_refused_over_http(tmp_path):
    """Where records must be signed, no face of HTTP takes one that is not: a line, a row, a PUT."""
    settings = Settings(
        node=NodeSettings(role="enterprise", prefix="86.999"),
        faces=FaceSettings(irp=0, http=0, https=0),
        signing=SigningSettings(unsigned="refuse", sign_registrations=False),
    )
    folder = tmp_path / "node"
    found(folder, settings, secret=b"open sesame")
    node = Serving(folder)

    def send(method, path, body, kind="application/json"):
        proof = base64.b64encode(b"301%3A0.NA/86.999:open sesame").decode()
        request = urllib.request.Request(
            f"https://127.0.0.1:{node.ready['https']}{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Basic {proof}", "Content-Type": kind},
            method=method,
        )
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        row = {"handle": "86.999/a", "values": [URL]}
        status, result = send("POST", "/api/registrations", row, "application/x-ndjson")
        assert (status, result["status"]) == (200, "refused")
        assert "must be signed" in result["error"]
        status, result = send("POST", "/api/registrations", row)
        assert status == 403
        assert "must be signed" in result["detail"]
        status, result = send("PUT", "/api/handles/86.999/a", {"values": [URL]})
        assert status == 403
        assert "must be signed" in result["message"]
        assert node.get("/api/handles/86.999/a")[0] == 404
    finally:
        node.end()
