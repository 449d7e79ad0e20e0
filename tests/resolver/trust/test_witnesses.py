"""Witness, auditor and mirror of real nodes: keys handed over, SM2 beside, cheating found out."""

from __future__ import annotations

import json
import threading
import urllib.request
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import note
from protocol.keys import encode_pem, sm2
from registry.keys import load_keys
from resolver.pem import format_public_pem
from tests.resolver.nodes import biaoshi, ok
from tests.resolver.trust.cheat import KEY, CheatingLog, logged
from tests.resolver.trust.mirrored import caught_up, register, tree_of


def fetch(url, accept="*/*"):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read()


def new_witness(folder, name):
    """Its options and its verifier key."""
    key = folder / f"{name}.pem"
    key.write_bytes(encode_pem(Ed25519PrivateKey.generate()))
    key.chmod(0o600)
    options = ("--name", name, "--key", key, "--state", folder / f"{name}.kept")
    return options, ok("witness", "http://127.0.0.1:1", *options, "--show-key").strip()


@pytest.mark.timeout(240)
def test_those_who_pinned_a_log_key_follow_its_handover(pair, tmp_path):
    """Auditor, witness and mirror go on after a rotation; a revocation stops all three."""
    primary, mirror, serve = pair
    node, _ = serve(primary), serve(mirror)
    register(primary, b"a")
    caught_up(mirror, tree_of(primary))
    options, _ = new_witness(tmp_path, "w")
    kept = tmp_path / "audited"
    ok("audit", node.url, "--keep", kept)
    ok("witness", node.url, *options)
    before = kept.read_text().splitlines()[0]
    ok("key", "rotate", primary, "--no-resign")
    register(primary, b"b")
    caught_up(mirror, tree_of(primary))
    ok("audit", node.url, "--keep", kept)
    assert kept.read_text().splitlines()[0] != before
    ok("witness", node.url, *options)
    ok("check", primary)
    ok("check", mirror)
    ok("key", "revoke", primary, "--key", "log", "--former", "--no-resign")
    register(primary, b"c")
    caught_up(mirror, tree_of(primary))
    ok("audit", node.url, "--keep", kept)
    ok("witness", node.url, *options)
    # Revoked while in use: nobody is handed over to, and nobody follows by himself.
    ok("key", "revoke", primary, "--key", "log", "--no-resign")
    register(primary, b"d")
    assert biaoshi("audit", node.url, "--keep", kept).returncode == 1
    assert biaoshi("witness", node.url, *options).returncode == 1
    ok("check", primary)


@pytest.mark.timeout(240)
def test_cosignatures_by_commands(pair, tmp_path):
    """Witnesses submit; receipts, exports and COSE receipts verify, and N of M are demanded."""
    primary, _, serve = pair
    options, lines = zip(*(new_witness(tmp_path, name) for name in ("w1", "w2", "w3")), strict=True)
    settings = primary / "biaoshi.toml"
    text = settings.read_text()
    told = text.replace("witnesses = []", f"witnesses = {json.dumps(list(lines[:2]))}")
    assert told != text
    settings.write_text(told)
    node = serve(primary)
    (made,) = register(primary, b"a")
    assert biaoshi("export", primary, "--cosigned", "--output", tmp_path / "no").returncode == 2
    ok("witness", node.url, *options[0], "--submit")
    assert biaoshi("witness", node.url, *options[2], "--submit").returncode != 0
    assert biaoshi("witness", primary, *options[1], "--submit").returncode == 2

    log_key, receipt = tmp_path / "log.pub", tmp_path / "receipt.json"
    log_key.write_bytes(format_public_pem(load_keys(primary).log_public))
    receipt.write_bytes(fetch(f"{node.url}/log/receipt?sequence={made.sequence}&cosigned=1"))
    both = ("--log-key", log_key, "--witness", lines[0], "--witness", lines[1])
    assert "cosigned by w1" in ok("verify", receipt, *both, "--witnesses", 1)
    done = biaoshi("verify", receipt, *both)
    assert (done.returncode, "1 of the 2 witnesses" in done.stdout) == (1, True)
    ok("witness", node.url, *options[1], "--submit")
    receipt.write_bytes(fetch(f"{node.url}/log/receipt?sequence={made.sequence}&cosigned=1"))
    assert "w1" in ok("verify", receipt, *both)

    export = tmp_path / "export.jsonl"
    ok("export", primary, "--cosigned", "--scitt", "--output", export)
    (line,) = [
        x for x in map(json.loads, export.read_text().splitlines()) if "86.999/" in x["handle"]
    ]
    whole = tmp_path / "line.json"
    whole.write_text(json.dumps(line))
    told = ok("verify", whole, *both)
    assert "cosigned by w1, w2" in told
    assert "COSE receipt: change" in told
    cose = tmp_path / "receipt.cose"
    path = f"{node.url}/log/entries/{made.sequence}/receipt"
    cose.write_bytes(fetch(path, "application/scitt-receipt+cose"))
    assert f"change {made.sequence} is in biaoshi/86.999" in ok(
        "verify", cose, "--log-key", log_key
    )
    octets = bytearray(cose.read_bytes())
    octets[-1] ^= 1
    cose.write_bytes(octets)
    assert biaoshi("verify", cose, "--log-key", log_key).returncode == 1


@pytest.mark.skipif(sm2.missing() is not None, reason=str(sm2.missing()))
@pytest.mark.timeout(240)
def test_a_log_signed_with_sm2_as_well(pair, tmp_path):
    """keys/sm2_key.pem signs checkpoints, stands at 304 with its certificate, and verifies alone."""
    primary, _, serve = pair
    public = tmp_path / "sm2.pub"
    ok("key", "new", primary / "keys/sm2_key.pem", "--type", "sm2", "--public", public)
    node = serve(primary)
    (made,) = register(primary, b"a")
    types = {v["index"]: v["type"] for v in node.get("/api/handles/0.NA/86.999")[1]["values"]}
    assert (types[304], types[404]) == ("HS_PUBKEY", "HS_CERT")
    keys = json.loads(fetch(f"{node.url}/log/keys"))["keys"]
    line = next(text for text in keys if note.Key.parse(text).kind == note.SM2)
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(fetch(f"{node.url}/log/receipt?sequence={made.sequence}"))
    for key in (public, line):
        assert "is in biaoshi/86.999" in ok("verify", receipt, "--log-key", key)
        ok("audit", node.url, "--log-key", key)
    kept = tmp_path / "kept"
    ok("audit", node.url, "--log-key", public, "--keep", kept)
    ok("audit", node.url, "--keep", kept)
    other = tmp_path / "other.pub"
    ok("key", "new", tmp_path / "other.pem", "--type", "sm2", "--public", other)
    assert biaoshi("verify", receipt, "--log-key", other).returncode == 1
    assert biaoshi("audit", node.url, "--log-key", other).returncode == 1


class Cheat(BaseHTTPRequestHandler):
    """The log resources of a node whose operator alters what lies behind them."""

    log: CheatingLog

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = dict(part.split("=") for part in query.split("&") if part)
        log = self.log
        if path == "/log/checkpoint":
            self.answer(log.checkpoint())
        elif path == "/log/proof/consistency":
            proof = log.consistency(int(asked["old"]), int(asked["new"]))
            texts = [b64encode(one).decode() for one in proof]
            self.answer(json.dumps({"proof": texts}).encode())
        elif path.startswith("/log/tile/entries/000"):
            _, _, width = path.partition(".p/")
            leaves = [one.leaf for one in log.entries[: int(width or 256)]]
            self.answer(b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves))
        else:
            self.send_error(404)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def cheat():
    log = CheatingLog(40)
    handler = type("Handler", (Cheat,), {"log": log})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield log, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def rewrite(log):
    log.entries[16] = logged(17, b"http://elsewhere.example/")


def drop(log):
    log.entries[16:] = [logged(n, b"http://example.org/%d" % (n + 1)) for n in range(17, 40)]


def reorder(log):
    log.entries[16:18] = [
        logged(17, b"http://example.org/18"),
        logged(18, b"http://example.org/17"),
    ]


@pytest.mark.parametrize("alter", [rewrite, drop, reorder])
def test_a_cheating_node_is_caught_over_http(cheat, tmp_path, alter):
    """A rewritten log, signed anew, passes neither `biaoshi audit URL` nor a witness."""
    log, url = cheat
    key = tmp_path / "log.pub"
    key.write_bytes(format_public_pem(KEY.public_key()))
    kept = tmp_path / "kept"
    options, _ = new_witness(tmp_path, "w")
    ok("audit", url, "--log-key", key, "--keep", kept)
    ok("witness", url, *options, "--log-key", key)
    log.entries += [logged(n, b"later") for n in range(41, 44)]
    ok("audit", url, "--keep", kept)
    ok("witness", url, *options)
    alter(log)
    log.entries += [logged(n, b"later") for n in range(len(log.entries) + 1, 50)]
    done = biaoshi("audit", url, "--keep", kept)
    assert (done.returncode, "altered" in done.stdout + done.stderr) == (1, True), done.stdout
    done = biaoshi("witness", url, *options)
    assert (done.returncode, "NOT COSIGNED" in done.stderr) == (1, True)
    assert done.stdout == ""
    ok("audit", url, "--log-key", key)  # who kept nothing sees nothing
