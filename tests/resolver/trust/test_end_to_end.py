"""Every kind of key signs records that verify everywhere; batch signatures; what is altered is not."""

from __future__ import annotations

import json
import ssl
import urllib.request
from base64 import b64encode

import pytest

from protocol.jws import parse_jws
from protocol.keys import sm2
from tests.resolver.nodes import biaoshi, make, make_door, ok, serving, until

PREFIX = "88.118"
SECRET = "word"
URL = {"index": 1, "type": "URL", "data": {"format": "string", "value": "http://a.example/"}}
needs_sm2 = pytest.mark.skipif(sm2.missing() is not None, reason=str(sm2.missing()))


@pytest.fixture(scope="module")
def serve():
    with serving() as start:
        yield start


@pytest.fixture(scope="module")
def tree(tmp_path_factory, serve):
    """A root, a child that is home, and a recursive node that demands signatures up to the root."""
    folder = tmp_path_factory.mktemp("tree")
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    top = serve(make(folder / "top", "88", role="top"))
    ok(
        *("init", folder / "child", "--role", "enterprise", "--prefix", PREFIX, "--irp", 0),
        *("--http", 0, "--https", 0, "--admin-secret", secret, "--parent", top.url),
    )
    child = serve(folder / "child")
    ok("prefix", "request", "--node", child.folder)
    ok("prefix", "approve", PREFIX, "--node", top.folder)
    until(lambda: child.get(f"/api/handles/0.NA/{PREFIX}?index=410")[0] == 200)
    return top, child, serve(make_door(folder / "door", top, verify="required"))


def post(node, *rows):
    """POST /api/registrations over TLS, as the prefix's administrator; a result a row."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    word = b64encode(f"301%3A0.NA/{PREFIX}:{SECRET}".encode()).decode()
    request = urllib.request.Request(
        f"https://127.0.0.1:{node.ready['https']}/api/registrations",
        "".join(json.dumps(row) + "\n" for row in rows).encode(),
        {"Content-Type": "application/x-ndjson", "Authorization": f"Basic {word}"},
    )
    with urllib.request.urlopen(request, timeout=30, context=context) as reply:
        return [json.loads(line) for line in reply]


def values_of(node, name):
    status, answer = node.get(f"/api/handles/{name}")
    assert status == 200, answer
    return answer


def written(path, *shapes):
    path.write_text("".join(json.dumps(shape) + "\n" for shape in shapes))
    return path


def resolve(tree, name, *more):
    top, _, _ = tree
    root = top.folder / "keys/root_pub.pem"
    return biaoshi("resolve", name, "--verify", "--root", top.url, "--root-key", root, *more)


def verified(tree, tmp_path, *shapes, fresh=False):
    """`biaoshi verify` with the root's key and the prefix records."""
    top, child, _ = tree
    records = []
    for node in (top, child):
        records.append(tmp_path / f"records-{node.folder.name}.jsonl")
        if fresh:
            records[-1].unlink()
        if not records[-1].exists():
            ok("export", node.folder, "--no-proofs", "--output", records[-1])
    file = written(tmp_path / "wanted.jsonl", *shapes)
    root = top.folder / "keys/root_pub.pem"
    return biaoshi(
        *("verify", file, "--root-key", root),
        *(word for path in records for word in ("--records", path)),
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("rsa", "RS256"),
        ("ed25519", "Ed25519"),
        ("p256", "ES256"),
        pytest.param("sm2", "SM2SM3", marks=needs_sm2),
    ],
)
def test_a_registrant_s_own_key(tree, tmp_path, kind, algorithm):
    """Made, published, used to sign, registered, verified offline and online; altered, refused."""
    _, child, door = tree
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    ok("key", "new", key, "--type", kind, "--public", public)
    shown = json.loads(ok("key", "show", public, "--json"))
    person, name = f"{PREFIX}/person-{kind}", f"{PREFIX}/made-{kind}"
    published = {
        "index": 300,
        "type": "HS_PUBKEY",
        "data": {"format": "base64", "value": shown["hs_pubkey"]},
    }
    file = written(tmp_path / "person.jsonl", {"handle": person, "values": [published]})
    ok("register", file, "--node", child.folder, "--sign")
    told = ok("key", "certify", child.folder, f"300:{person}")
    assert told == f"300:{person} is certified by 401:{person}, for 365 days.\n"
    mine = written(tmp_path / "mine.jsonl", {"handle": name, "values": [URL]})
    signed = tmp_path / "signed.jsonl"
    signed.write_text(ok("sign", mine, "--auth", f"300:{person}={key}"))
    ok("register", signed, "--node", child.folder, "--no-sign", "--no-admin")
    answer = values_of(child, name)
    (signature,) = [v for v in answer["values"] if v["type"] == "HS_SIGNATURE"]
    assert parse_jws(signature["data"]["value"].encode()).algorithm.name == algorithm

    file = written(tmp_path / "answer.json", answer)
    assert "signature 400 holds" in ok("verify", file, "--key", public)
    altered = json.loads(json.dumps(answer).replace("http://a.example/", "http://b.example/"))
    done = biaoshi("verify", written(tmp_path / "altered.json", altered), "--key", public)
    assert (done.returncode, "NOT VALID" in done.stdout) == (1, True)
    line = json.loads(signed.read_text())
    line["handle"] += "-other"
    done = biaoshi(
        *("register", written(tmp_path / "other.jsonl", line), "--node", child.folder),
        *("--no-sign", "--no-admin"),
    )
    assert done.returncode == 1, done.stdout

    offline = verified(tree, tmp_path, answer)
    online = resolve(tree, name)
    assert offline.returncode == 0, offline.stdout
    assert f"signer 300:{person}" in offline.stdout
    assert online.returncode == 0, online.stdout + online.stderr
    assert f"signer 300:{person}" in str(door.get(f"/api/resolve?id={name}&steps=1"))

    # Beyond its certificate the key signs nothing, and revoked it does not either.
    assert biaoshi("key", "certify", child.folder, "300:77/x").returncode != 0
    ok("key", "certify", child.folder, f"300:{person}", "--handle", f"{PREFIX}/another")
    done = verified(tree, tmp_path, answer, fresh=True)
    assert (done.returncode, "does not cover" in done.stdout) == (1, True), done.stdout


@pytest.mark.timeout(240)
def test_records_signed_together(tree, tmp_path):
    """More rows than a group has are signed by groups; all verify, and nothing altered does."""
    _, child, door = tree
    names = [f"{PREFIX}/batch-{n}" for n in range(150)]
    rows = [{"handle": name, "values": [URL]} for name in names]
    assert {one["status"] for one in post(child, *rows)} == {"created"}
    answers = [values_of(child, name) for name in (names[0], names[70], names[149])]
    texts = [
        next(v["data"]["value"] for v in a["values"] if v["type"] == "HS_SIGNATURE")
        for a in answers
    ]
    assert {parse_jws(text.encode()).algorithm.name for text in texts} == {"Ed25519-tree"}

    done = verified(tree, tmp_path, *answers)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (names[0], names[149]):
        assert f"signer 302:0.NA/{PREFIX}" in str(door.get(f"/api/resolve?id={name}&steps=1"))
        done = resolve(tree, name)
        assert done.returncode == 0, done.stdout + done.stderr

    head, payload, octets = texts[0].split(".")
    flipped = octets[:200] + ("A" if octets[200] != "A" else "B") + octets[201:]
    value = answers[0]["values"][0]["data"]["value"]
    for wrong in (
        json.dumps(answers[0]).replace(value, "http://b.example/"),
        json.dumps(answers[0]).replace(texts[0], f"{head}.{payload}.{flipped}"),
        json.dumps(answers[0]).replace(texts[0], f"{head}.{payload}.{octets[:-43]}"),
        json.dumps(answers[0]).replace(texts[0], texts[1]),
        json.dumps(answers[0]).replace(octets, texts[1].split(".")[2]),
        json.dumps(answers[0]).replace(names[0], names[1]),
    ):
        done = verified(tree, tmp_path, json.loads(wrong))
        assert (done.returncode, "NOT VALID" in done.stdout) == (1, True), wrong

    # The node itself takes no record with another's signature, or an altered proof.
    stolen = {"index": 400, "type": "HS_SIGNATURE", "data": {"format": "string"}}
    for text in (texts[0], f"{head}.{payload}.{flipped}"):
        value = stolen | {"data": {"format": "string", "value": text}}
        row = {"handle": f"{PREFIX}/thief", "values": [URL, value]}
        (result,) = post(child, row)
        assert result["status"] == "refused", result
