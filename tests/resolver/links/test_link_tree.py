"""Digital Links through a tree of real nodes: GS1, a company's node below it, a recursive node."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.resolver.nodes import enrol, make, make_door, ok, serving

KEY = "/01/09521234543213"


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
        ok("register", file, "--node", pumps.folder)
        recursive = serve(
            make_door(tmp_path / "recursive", top, roots=(f"gs1={top.url}",), verify="required")
        )
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
