from __future__ import annotations

import asyncio
import hmac
import re
from base64 import b64decode, b64encode
from hashlib import new, pbkdf2_hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from protocol.keys import encode_public_key
from resolver.http.session_table import SessionTable
from resolver.http.sessions import Sessions
from tests.resolver.http.node_in_process import ADMIN, SECRET, value

P1 = "/api/handles/86.999/s1"
BODY = [{"index": 1, "type": "X", "data": "x"}]
CNONCE = bytes(range(16))


def b64(data):
    return b64encode(data).decode()


def sandwich(name):
    return lambda k, n: new(name, k + n + k).digest()


def pbkdf2(k, n, iterations=1000, length=20, salt=b"s" * 16):
    wide = k.decode("latin-1").encode()
    return hmac.digest(pbkdf2_hmac("sha1", wide, salt, iterations, length), n, "sha1")


SECRET_WAYS = {
    "SHA1": sandwich("sha1"),
    "SHA256": sandwich("sha256"),
    "HMAC-SHA1": lambda k, n: hmac.digest(k, n, "sha1"),
    "HMAC-SHA256": lambda k, n: hmac.digest(k, n, "sha256"),
    "PBKDF2-HMAC-SHA1": pbkdf2,
}


def fields(nonce, alg="HMAC-SHA256", secret=SECRET, identity=ADMIN, cnonce=CNONCE):
    signed = SECRET_WAYS[alg](secret, b64decode(nonce) + cnonce)
    made = {
        "id": identity,
        "type": "HS_SECKEY",
        "cnonce": b64(cnonce),
        "alg": alg,
        "signature": b64(signed),
    }
    if alg.startswith("PBKDF2"):
        made |= {"salt": b64(b"s" * 16), "iterations": "1000", "length": "160"}
    return made


def header(session_id, made=None):
    parts = {"version": "0", "sessionId": session_id} | (made or {})
    return {"Authorization": "Handle " + ", ".join(f'{k}="{v}"' for k, v in parts.items())}


def challenge_in(answer):
    line = answer.headers.getall("WWW-Authenticate")[-1]
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


async def opened(served, **more):
    answer = await served.ask("POST", "/api/sessions", tls=True, **more)
    assert answer.status == 201
    assert answer.headers["Location"] == "/api/sessions/this"
    return answer.json


async def test_open_and_show(served):
    """A session is opened over TLS, shown by its id, and ended once."""
    session = await opened(served)
    assert set(session) == {"sessionId", "nonce"}
    assert re.fullmatch("[0-9a-z]{25}", session["sessionId"])
    assert len(b64decode(session["nonce"])) == 16
    this = header(session["sessionId"])
    shown = await served.ask("GET", "/api/sessions/this", tls=True, headers=this)
    assert (shown.status, shown.json) == (200, session)
    nobody = await served.ask("GET", "/api/sessions/this", tls=True)
    assert (nobody.status, nobody.json) == (200, {"authenticated": False})
    ended = await served.ask("DELETE", "/api/sessions/this", tls=True, headers=this)
    assert (ended.status, ended.body) == (204, b"")
    gone = await served.ask("GET", "/api/sessions/this", tls=True, headers=this)
    assert (gone.status, gone.body) == (403, b"")
    again = await served.ask("DELETE", "/api/sessions/this", tls=True, headers=this)
    assert (again.status, again.body) == (403, b"")
    other = await served.ask("GET", "/api/handles/86.999/p1", tls=True, headers=this)
    assert (other.status, other.body) == (401, b"")
    assert challenge_in(other)["sessionId"] != session["sessionId"]
    assert "error" not in challenge_in(other)


async def test_not_over_plain_http(served):
    """No session is opened without TLS; GET of the collection is not a method."""
    answer = await served.ask("POST", "/api/sessions")
    assert (answer.status, answer.body) == (403, b"")
    for tls in (False, True):
        answer = await served.ask("GET", "/api/sessions", tls=tls)
        assert (answer.status, answer.body) == (405, b"")
        assert answer.headers["Allow"] == "POST, TRACE, OPTIONS"


@pytest.mark.parametrize("alg", list(SECRET_WAYS))
async def test_secret_key_in_json(served, alg):
    """Each way to sign with a secret authenticates a session; its id alone is enough then."""
    session = await opened(served)
    this = header(session["sessionId"])
    answer = await served.ask(
        "PUT", "/api/sessions/this", tls=True, headers=this, body=fields(session["nonce"], alg)
    )
    assert answer.status == 200
    assert answer.json["sessionId"] == session["sessionId"]
    assert answer.json["authenticated"] is True
    assert answer.json["id"] == ADMIN
    assert answer.json["nonce"] != session["nonce"]
    written = await served.ask("PUT", P1, tls=True, headers=this, body=BODY)
    assert written.status == 201


@pytest.mark.parametrize("alg", list(SECRET_WAYS))
async def test_secret_key_in_header(served, alg):
    """A challenge is answered in the header of the request itself, its id percent-encoded."""
    refused = await served.ask("PUT", P1, tls=True, body=BODY)
    challenge = challenge_in(refused)
    made = fields(challenge["nonce"], alg) | {"id": "301%3A0.NA%2F86.999"}
    answer = await served.ask(
        "PUT", P1, tls=True, body=BODY, headers=header(challenge["sessionId"], made)
    )
    assert answer.status == 201
    answer = await served.ask(
        "PUT", P1, tls=True, body=BODY, headers=header(challenge["sessionId"])
    )
    assert answer.status == 200


@pytest.mark.parametrize(
    ("alg", "digest"), [("SHA1", SHA1), ("SHA256", SHA256), ("SHA-256", SHA256)]
)
async def test_rsa_key(served, alg, digest):
    """An RSA key answers with PKCS#1 v1.5; index 0 means any key of the handle."""
    for identity in ("300:0.NA/86.999", "0:0.NA/86.999"):
        session = await opened(served)
        covered = b64decode(session["nonce"]) + CNONCE
        signature = served.node.keys.site_private.sign(covered, padding.PKCS1v15(), digest())
        made = {
            "id": identity,
            "type": "HS_PUBKEY",
            "cnonce": b64(CNONCE),
            "alg": alg,
            "signature": b64(signature),
        }
        answer = await served.ask(
            "PUT",
            "/api/sessions/this",
            tls=True,
            headers=header(session["sessionId"]),
            body=made,
        )
        assert (answer.status, answer.json.get("id")) == (200, identity)


async def test_ed25519_key(served):
    """An Ed25519 key answers too."""
    key = Ed25519PrivateKey.generate()
    served.register("86.999/ed", value(1, "HS_PUBKEY", encode_public_key(key.public_key())))
    session = await opened(served)
    made = {
        "id": "1:86.999/ed",
        "type": "HS_PUBKEY",
        "cnonce": b64(CNONCE),
        "alg": "Ed25519",
        "signature": b64(key.sign(b64decode(session["nonce"]) + CNONCE)),
    }
    answer = await served.ask(
        "PUT", "/api/sessions/this", tls=True, headers=header(session["sessionId"]), body=made
    )
    assert answer.json["authenticated"] is True


async def test_wrong_answers(served):
    """A wrong answer is 401, the session stays usable with a new nonce and is nobody's."""
    session = await opened(served)
    other = rsa.generate_private_key(65537, 2048)
    this, nonce = header(session["sessionId"]), session["nonce"]

    def with_key(key, nonce):
        covered = b64decode(nonce) + CNONCE
        return b64(key.sign(covered, padding.PKCS1v15(), SHA256()))

    key_answer = {"id": "300:0.NA/86.999", "type": "HS_PUBKEY", "cnonce": b64(CNONCE)}
    for wrong in (
        lambda nonce: fields(nonce, secret=b"wrong"),
        lambda nonce: fields(nonce, identity="301:0.NA/86.998"),
        lambda nonce: fields(nonce, identity="300:0.NA/86.999"),
        lambda nonce: fields(nonce) | {"alg": "MD5"},
        lambda nonce: fields(nonce) | {"type": "HS_ODD"},
        lambda nonce: fields(nonce) | {"signature": "%"},
        lambda nonce: fields(b64(b"n" * 16)),
        lambda nonce: key_answer | {"alg": "SHA256", "signature": with_key(other, nonce)},
    ):
        answer = await served.ask(
            "PUT", "/api/sessions/this", tls=True, headers=this, body=wrong(nonce)
        )
        assert answer.status == 401
        assert answer.json["sessionId"] == session["sessionId"]
        assert answer.json["error"] == "Identity not verified"
        nonce = answer.json["nonce"]
        written = await served.ask("PUT", P1, tls=True, headers=this, body=BODY)
        assert (written.status, written.json["responseCode"]) == (401, 402)
        assert len(written.headers.getall("WWW-Authenticate")) == 1
    answer = await served.ask(
        "PUT", "/api/sessions/this", tls=True, headers=this, body=fields(nonce)
    )
    assert answer.status == 200


async def test_replay(served):
    """An answer is good once: not again in its session, not in another one."""
    session = await opened(served)
    made = fields(session["nonce"])
    this = header(session["sessionId"])
    put = {"tls": True, "body": made}
    assert (await served.ask("PUT", "/api/sessions/this", headers=this, **put)).status == 200
    assert (await served.ask("PUT", "/api/sessions/this", headers=this, **put)).status == 401
    other = header((await opened(served))["sessionId"])
    assert (await served.ask("PUT", "/api/sessions/this", headers=other, **put)).status == 401
    headers = header(session["sessionId"], made)
    assert (await served.ask("PUT", P1, tls=True, headers=headers, body=BODY)).status == 401


async def test_unknown_session(served):
    """An unknown, forged or malformed id is 401 with a fresh one."""
    for odd in ("x", "0" * 25, "z" * 25, "A" * 25, ""):
        answer = await served.ask("GET", P1, tls=True, headers=header(odd))
        assert (answer.status, answer.body) == (401, b""), odd
        assert re.fullmatch("[0-9a-z]{25}", challenge_in(answer)["sessionId"])


async def test_old_nonce(served):
    """A nonce is good for a minute; the session then shows a new one."""
    session = await opened(served)
    this = header(session["sessionId"])
    moment = served.node.now()
    served.face.sessions._now = served.face.sessions.table._now = lambda: moment + 61
    answer = await served.ask(
        "PUT", "/api/sessions/this", tls=True, headers=this, body=fields(session["nonce"])
    )
    assert answer.status == 401
    shown = await served.ask("GET", "/api/sessions/this", tls=True, headers=this)
    answer = await served.ask(
        "PUT", "/api/sessions/this", tls=True, headers=this, body=fields(shown.json["nonce"])
    )
    assert answer.status == 200


async def test_idle_session_ends(served):
    """A session that nobody used for its time is unknown."""
    session = await opened(served, user=(ADMIN, SECRET))
    this = header(session["sessionId"])
    moment = served.node.now()
    limit = served.node.settings.limits.session_s
    served.face.sessions._now = served.face.sessions.table._now = lambda: moment + limit + 700
    assert (await served.ask("GET", P1, tls=True, headers=this)).status == 401


async def test_open_with_basic(served):
    """Basic credentials open an authenticated session; wrong ones say so in a session of nobody."""
    session = await opened(served, user=(ADMIN, SECRET))
    assert session["authenticated"] is True
    assert session["id"] == ADMIN
    this = header(session["sessionId"])
    assert (await served.ask("PUT", P1, tls=True, headers=this, body=BODY)).status == 201
    session = await opened(served, user=(ADMIN, b"wrong"))
    assert session["error"] == "Identity not verified"
    assert "authenticated" not in session


async def test_session_ends_with_its_key(served):
    """Changing the secret ends the sessions that it opened."""
    served.register("86.999/user", value(1, "HS_SECKEY", "one", permissions=0b1100))
    session = await opened(served, user=("1:86.999/user", b"one"))
    this = header(session["sessionId"])
    shown = await served.ask("GET", "/api/sessions/this", tls=True, headers=this)
    assert shown.json["id"] == "1:86.999/user"
    served.register("86.999/user", value(1, "HS_SECKEY", "two", permissions=0b1100))
    assert (await served.ask("GET", "/api/sessions/this", tls=True, headers=this)).status == 401


async def test_server_signature(served):
    """A cnonce sent before authenticating makes the server prove its site key."""
    public = served.node.keys.site_public
    session = await opened(served, body={"cnonce": b64(CNONCE)})
    assert session["serverAlg"] == "SHA-256"
    covered = b64decode(session["nonce"]) + CNONCE
    public.verify(b64decode(session["serverSignature"]), covered, padding.PKCS1v15(), SHA256())
    asked = {"Authorization": f'Handle cnonce="{b64(CNONCE)}"'}
    refused = await served.ask("PUT", P1, tls=True, body=BODY, headers=asked)
    assert refused.status == 401
    challenge = challenge_in(refused)
    covered = b64decode(challenge["nonce"]) + CNONCE
    public.verify(b64decode(challenge["serverSignature"]), covered, padding.PKCS1v15(), SHA256())


async def test_rate_limit(served):
    """After ten failures in a minute the account is answered later; the right password ends that."""
    for _ in range(10):
        answer = await served.ask("GET", P1, tls=True, user=(ADMIN, b"wrong"))
        assert answer.status == 401
    outcomes = served.node.metrics.authentications
    together = [served.ask("GET", P1, tls=True, user=(ADMIN, b"wrong")) for _ in range(5)]
    answers = await asyncio.gather(*together)
    assert sorted(answer.status for answer in answers) == [401, 401, 429, 429, 429]
    late = next(answer for answer in answers if answer.status == 429)
    assert 1 <= int(late.headers["Retry-After"]) <= 7
    answer = await served.ask("GET", P1, tls=True, user=(ADMIN, SECRET))
    assert answer.status == 404
    delayed = outcomes["basic", "delayed"].value
    answer = await served.ask("GET", P1, tls=True, user=(ADMIN, SECRET))
    assert answer.status == 404
    assert outcomes["basic", "delayed"].value == delayed


async def test_successes_are_not_limited(served):
    """Right passwords may come as often as they like."""
    for _ in range(25):
        assert (await served.ask("GET", P1, tls=True, user=(ADMIN, SECRET))).status == 404


def sessions_over(table, now=lambda: 1_000_000.0):
    import os

    return Sessions(table, now=now, random=os.urandom, challenge_s=60, session_s=3600)


def test_readers_share_sessions(tmp_path):
    """A session that one reader authenticated is known to the others, and ended for all."""
    import subprocess
    import sys

    code = """
import os, sys
from pathlib import Path
from protocol.record import Reference
from resolver.http.session_table import SessionTable
from resolver.http.sessions import Sessions
table = SessionTable(Path(sys.argv[1]), now=lambda: 1_000_000.0, max_sessions=10)
sessions = Sessions(table, now=lambda: 1_000_000.0, random=os.urandom, challenge_s=60, session_s=3600)
session = sessions.get(sys.argv[2])
assert sessions.spend(session)
assert not sessions.spend(session)
sessions.authenticated(session, Reference(b"a/b", 1), b"key", b"HS_SECKEY")
"""
    table = SessionTable(tmp_path, now=lambda: 1_000_000.0, max_sessions=10)
    sessions = sessions_over(table)
    session = sessions.new()
    subprocess.run([sys.executable, "-c", code, str(tmp_path), session.id], check=True)
    seen = sessions.get(session.id)
    assert seen.identity.text() == "1:a/b"
    assert seen.nonce != session.nonce
    sessions.end(seen)
    assert sessions.get(session.id) is None
    table.close()


def test_unanswered_challenges_take_no_memory(tmp_path):
    """Only sessions that were answered are kept, and no more than may be."""
    from protocol.errors import ServerBusy
    from protocol.record import Reference

    clock = [1_000_000.0]
    table = SessionTable(tmp_path, now=lambda: clock[0], max_sessions=5)
    sessions = sessions_over(table, now=lambda: clock[0])
    assert len({sessions.new().id for _ in range(1000)}) == 1000
    assert table.count() == 0
    with pytest.raises(ServerBusy):
        for _ in range(20):
            sessions.authenticated(sessions.new(), Reference(b"a/b", 1), b"key", b"HS_SECKEY")
    assert table.count() <= 5
    clock[0] += 4000
    sessions.authenticated(sessions.new(), Reference(b"a/b", 1), b"key", b"HS_SECKEY")
    assert table.count() == 1
    table.close()
