"""Further prefixes beside a node's own: certified by whoever holds them, signed, verified, revoked."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.resolver.nodes import Serving, biaoshi, make, ok

GTIN, OID = "https://id.gs1.org/01/06901234567892", "1.2.156.3001.7"
URL = {"index": 1, "type": "URL", "data": {"format": "string", "value": "http://a.org/"}}


def register(folder, tmp_path, *names):
    file = tmp_path / "products.jsonl"
    lines = (json.dumps({"handle": name, "values": [URL]}) for name in names)
    file.write_text("\n".join(lines) + "\n")
    ok("register", file, "--node", folder, "--sign")


def verified(folder, tmp_path, root_key, *records, log_key=None):
    """What `biaoshi verify` says offline of each record of a folder that it exports, by name."""
    file = _fresh(tmp_path)
    ok("export", folder, "--output", file)
    more = [word for path in (file, *records) for word in ("--records", path)]
    if log_key is not None:
        more += ["--log-key", log_key]
    done = biaoshi("verify", file, "--root-key", root_key, *more, "--json")
    return {one["handle"]: one for one in map(json.loads, done.stdout.splitlines())}


def _fresh(tmp_path):
    return tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"


def signer_of(said):
    return next((line for line in said["held"] if line.startswith("signer")), said["problem"])


@pytest.mark.timeout(200)
def test_a_node_that_stands_alone_certifies_itself(tmp_path, serve):
    """Plain prefixes, OID arcs and GS1 prefixes: each way of registering signs, keys may change."""
    folder = make(tmp_path / "top", "88", role="top")
    root_key = folder / "keys/root_pub.pem"
    for prefix in ("20.500", "1.2.156.3001", "GS1.6.9.0.1.2.3.4"):
        told = json.loads(ok("prefix", "home", prefix, "--node", folder, "--json"))
        assert told["certificate"] == "certified", told
    names = ("88/a", "20.500/a", OID, GTIN)
    register(folder, tmp_path, *names)
    node = serve(folder)
    secret = folder / "keys/admin_300.pem"
    remote = tmp_path / "remote.jsonl"
    remote.write_text(json.dumps({"handle": "20.500/remote", "values": [URL]}) + "\n")
    ok("register", remote, "--node", node.url, "--auth", f"300:0.NA/88={secret}")
    batch = tmp_path / "batch.txt"
    batch.write_text("HOME\n0.NA/20.700\n")
    ok("register", batch, "--node", folder)
    register(folder, tmp_path, "20.700/a")
    found = verified(folder, tmp_path, root_key)
    assert all(one["ok"] for one in found.values()), found
    assert "signer 302:0.NA/20.700" in signer_of(found["20.700/a"])
    assert "signer 302:0.NA/20.500, chain of 3" in signer_of(found["20.500/a"])
    assert "signer 302:0.NA/20.500" in signer_of(found["20.500/remote"])
    assert "signer 302:0.NA/1.2.156.3001" in signer_of(found[OID])
    assert "0.NA/GS1.6.9.0.1.2.3.4" in signer_of(found[GTIN])

    ok("key", "rotate", folder, "--key", "both", "--no-resign")
    root_key = folder / "keys/root_pub.pem"
    found = verified(folder, tmp_path, root_key)
    assert found["20.500/a"]["ok"], found["20.500/a"]  # the overlap
    ok("key", "revoke", folder, "--former", "--reason", "stolen", "--no-resign")
    found = verified(folder, tmp_path, root_key)
    assert not found["20.500/a"]["ok"]
    assert "revoked" in found["20.500/a"]["problem"]
    found = verified(folder, tmp_path, root_key, log_key=_log_key(node, tmp_path))
    assert found["20.500/a"]["ok"], found["20.500/a"]
    assert any("logged before" in line for line in found["20.500/a"]["held"])
    ok("key", "rotate", folder)
    found = verified(folder, tmp_path, root_key)
    assert all(one["ok"] for one in found.values()), [
        one for one in found.values() if not one["ok"]
    ]


def _log_key(node, tmp_path):
    """The log key in use, as the node names it."""
    from protocol.keys import decode_pem
    from resolver.pem import format_public_pem

    file = tmp_path / "log.pub"
    private = decode_pem((node.folder / "keys/log_key.pem").read_bytes())
    file.write_bytes(format_public_pem(private.public_key()))
    return file


@pytest.mark.timeout(200)
def test_a_parent_certifies_a_further_prefix_of_its_child(tmp_path, serve):
    """Asked on `prefix home`, signed once approved; rotated with the child, revoked by the parent."""
    top = serve(make(tmp_path / "top", "88", role="top"))
    child = serve(make(tmp_path / "child", "88.118", parent=top.url))
    root_key = top.folder / "keys/root_pub.pem"
    ok("prefix", "request", "--node", child.folder)
    ok("prefix", "approve", "88.118", "--node", top.folder)
    ok("prefix", "request", "--node", child.folder, "--wait")
    ok("prefix", "home", "GS1", "--node", top.folder)

    told = json.loads(ok("prefix", "home", "88.119", "--node", child.folder, "--json"))
    assert told["certificate"] == "asked", told
    assert "biaoshi prefix approve 88.119" in told["note"]
    company = "GS1.6.9.0.1.2.3.4"
    told = json.loads(ok("prefix", "home", company, "--node", child.folder, "--json"))
    assert told["certificate"] == "missing"
    assert f"biaoshi prefix request {company}" in told["note"]
    ok("prefix", "request", company, "--node", child.folder, "--parent", top.url)
    register(child.folder, tmp_path, "88.119/early")  # home already: answered, not signed yet
    for prefix in ("88.119", company):
        ok("prefix", "approve", prefix, "--node", top.folder)
        ok("prefix", "request", prefix, "--node", child.folder, "--wait")
    register(child.folder, tmp_path, "88.118/a", "88.119/a", GTIN)
    above = _fresh(tmp_path)
    ok("export", top.folder, "--output", above)
    found = verified(child.folder, tmp_path, root_key, above)
    assert not found["88.119/early"]["ok"]
    for name, signer in (("88.118/a", "88.118"), ("88.119/a", "88.119"), (GTIN, company)):
        assert found[name]["ok"], found[name]
        assert f"signer 302:0.NA/{signer}, chain of 3" in signer_of(found[name])

    ok("key", "rotate", child.folder, "--key", "both")
    above = _fresh(tmp_path)
    ok("export", top.folder, "--output", above)
    found = verified(child.folder, tmp_path, root_key, above)
    assert all(found[name]["ok"] for name in ("88.118/a", "88.119/a", GTIN)), found

    ok("key", "revoke", top.folder, "302:0.NA/88.119", "--reason", "stolen")
    above = _fresh(tmp_path)
    ok("export", top.folder, "--output", above)
    found = verified(child.folder, tmp_path, root_key, above)
    assert found["88.118/a"]["ok"]
    assert "revoked" in found["88.119/a"]["problem"]


def test_what_an_operator_put_into_a_prefix_record_stays(tmp_path):
    """Administrators and descriptions are kept and signed; other keys in the node's places are, too."""
    folder = make(tmp_path / "top", "88", role="top")
    ok("prefix", "home", "20.600", "--node", folder)
    note_ = {"index": 7, "type": "DESC", "data": {"format": "string", "value": "ours"}}
    file = tmp_path / "prefix.jsonl"
    file.write_text(json.dumps({"handle": "0.NA/20.600", "values": [note_]}) + "\n")
    ok("register", file, "--node", folder, "--on-exists", "merge")
    ok("key", "rotate", folder)
    node = Serving(folder)
    try:
        values = _values(node, "0.NA/20.600")
    finally:
        node.end()
    assert values[7]["data"]["value"] == "ours"
    found = verified(folder, tmp_path, folder / "keys/root_pub.pem")
    assert found["0.NA/20.600"]["ok"], found


def _values(node, name):
    with urllib.request.urlopen(f"{node.url}/api/handles/{name}", timeout=10) as reply:
        return {value["index"]: value for value in json.load(reply)["values"]}


def test_a_node_that_runs_again_after_an_upgrade_certifies_what_is_home(tmp_path, serve):
    """A prefix that came home without a record gets one at the next start."""
    folder = make(tmp_path / "top", "88", role="top")
    _home_as_before(folder, b"20.500")
    node = serve(folder)
    assert 402 in _values(node, "0.NA/20.500")


def _home_as_before(folder, prefix):
    from protocol.change import Change, Kind
    from protocol.name import prefix_record
    from resolver.writer_link import open_writer

    with open_writer(folder) as writer:
        (outcome,) = writer.submit([Change(Kind.HOME, prefix_record(prefix))])
    assert outcome.status == "created", outcome


def test_a_prefix_under_the_own_one_needs_no_other_certificate(tmp_path):
    """What lies under it is covered; asking for it is refused, with the reason."""
    folder = make(tmp_path / "top", "88", role="top")
    told = json.loads(ok("prefix", "home", "88.5", "--node", folder, "--json"))
    assert told["certificate"] is None
    register(folder, tmp_path, "88.5/a")
    found = verified(folder, tmp_path, folder / "keys/root_pub.pem")
    assert "signer 302:0.NA/88," in signer_of(found["88.5/a"])
    refused = biaoshi("prefix", "request", "88.5", "--node", folder)
    assert refused.returncode != 0
    assert "cover it" in refused.stderr
