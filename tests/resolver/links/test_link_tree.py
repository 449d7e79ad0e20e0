"""Digital Links through a tree of real nodes: GS1, a company's node below it, a recursive node."""

from __future__ import annotations

import http.client
import json

import pytest

from resolver.config import (
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    RecursionSettings,
    Settings,
)
from resolver.founding import found
from tests.resolver.nodes import biaoshi, enrol, make, serving

KEY = "/01/09521234543213"


def _ok(*arguments):
    done = biaoshi(*arguments)
    assert done.returncode == 0, done.stderr


def _recursive(folder, top):
    settings = Settings(
        node=NodeSettings(role="recursive"),
        faces=FaceSettings(irp=0, http=0, https=0),
        recursion=RecursionSettings(
            enabled=True,
            roots=(f"gs1={top.url}",),
            root_keys=("trust/root.pem",),
            verify="required",
        ),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
    )
    found(folder, settings)
    (folder / "trust").mkdir(exist_ok=True)
    key = (top.folder / "keys" / "root_pub.pem").read_bytes()
    (folder / "trust" / "root.pem").write_bytes(key)
    return folder


def _get(node, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", node.ready["http"], timeout=20)
    connection.request("GET", path, headers={name.title(): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


@pytest.mark.timeout(120)
def test_a_link_of_another_node(tmp_path):
    """A recursive node answers the links of a company's node, found digit by digit below GS1."""
    with serving() as serve:
        top = serve(make(tmp_path / "top", "GS1", role="top"))
        prefix = "GS1.9.5.2.1.2.3.4"
        pumps = serve(make(tmp_path / "pumps", prefix, parent=top.url))
        enrol(pumps, top, prefix)
        link = {"relation": "gs1:dpp", "href": "https://example.org/dpp/{serial}"}
        rows = [
            {"index": 1, "type": "URL", "data": "https://example.org/p7"},
            {"index": 2, "type": "0.LINK", "data": json.dumps(link)},
        ]
        file = tmp_path / "products.jsonl"
        file.write_text(json.dumps({"handle": f"https://id.gs1.org{KEY}", "values": rows}))
        _ok("register", file, "--node", pumps.folder)
        recursive = serve(_recursive(tmp_path / "recursive", top))
        for node in (pumps, recursive):
            status, headers, _ = _get(node, f"{KEY}/21/S1")
            assert (status, headers["Location"]) == (307, "https://example.org/p7")
            status, headers, _ = _get(node, f"{KEY}/21/S1?linkType=gs1:dpp")
            assert headers["Location"] == "https://example.org/dpp/S1"
            status, headers, body = _get(node, KEY, accept="application/linkset+json")
            assert (status, headers["Content-Type"]) == (200, "application/linkset+json")
            anchor = f"http://127.0.0.1:{node.ready['http']}{KEY}"
            assert json.loads(body)["linkset"][0]["anchor"] == anchor
            assert _get(node, "/01/09521234543206")[0] == 404
        assert _get(top, KEY)[0] == 404
