"""Challenge and response over sockets: every encoding, and everything that must be refused."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from protocol.challenge import MacCode
from protocol.doirp.authentication import VerifyRequest, decode_verify_reply, encode_verify_request
from protocol.doirp.header import OpCode
from protocol.doirp.message import DIGEST_SHA256
from protocol.keys import encode_public_key
from protocol.record import Reference
from tests.blackbox.differences import expected
from tests.blackbox.target import OURS
from tests.blackbox.wire import HTTP, TCP, UDP, Wire, admin, named, value, valued

Op = OpCode


@pytest.fixture
def record(wire, fresh, target):
    name = fresh("id")
    assert wire.create(name, value(1, "URL", "old"), admin(target)).code == 1
    yield name
    wire.delete(name)


def change(name, data="new"):
    return valued(name, value(1, "URL", data))


def url(wire, name):
    return wire.resolve(name, indexes=[1]).values[0].data


def test_a_challenge(wire, record):
    """402 names the operation, brings a nonce of 16 octets, the SHA-256 digest and a fresh id."""
    first, second = (wire.ask(Op.DELETE_HANDLE, named(record)) for _ in range(2))
    assert first.code == 402
    assert first.message.header.opcode == Op.DELETE_HANDLE
    assert first.digest.algorithm == DIGEST_SHA256
    assert first.body[:4] == b"\0\0\0\x10"
    assert len(first.body) == 20
    assert first.body != second.body
    ids = {reply.message.envelope.session_id for reply in (first, second)}
    assert len(ids) == 2
    assert 0 not in ids


@pytest.mark.parametrize("transport", [TCP, UDP, HTTP])
@pytest.mark.parametrize(
    "code",
    [
        MacCode.PBKDF2_HMAC_SHA1,
        MacCode.HMAC_SHA1,
        MacCode.HMAC_SHA256,
        MacCode.SHA1,
        MacCode.SHA256,
    ],
)
def test_every_encoding_of_a_secret(target, record, code, transport):
    """The secret as PBKDF2, as HMAC and in the sandwich forms."""
    wire = Wire(target, transport)
    challenge = wire.ask(Op.MODIFY_VALUE, change(record))
    answer = wire.answer(challenge, target.by_secret, target.secret, code=code)
    assert wire.exchange(answer).code == 1
    assert url(wire, record) == b"new"


@pytest.mark.parametrize("index", [300, 0])
def test_a_public_key(wire, target, record, index):
    """RSA with SHA-256; index 0 means any key of the handle."""
    who = Reference(target.record, index)
    reply = wire.administer(Op.MODIFY_VALUE, change(record), who=who, key=target.key)
    assert reply.code == (1 if index else expected(target, "index-nought"))


def test_an_ed25519_key(wire, target, fresh):
    """Our kind of key (docs/compatibility.md) proves as RSA does; deployed servers know none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, name = Ed25519PrivateKey.generate(), fresh("ed")
    who = Reference(name, 300)
    public = value(300, "HS_PUBKEY", encode_public_key(key.public_key()))
    assert wire.create(name, public, admin(target, who=who), admin(target, 101)).code == 1
    body = valued(name, value(2, "DESC", "by Ed25519"))
    other = wire.administer(Op.ADD_VALUE, body, who=who, key=Ed25519PrivateKey.generate())
    assert other.code == 403
    reply = wire.administer(Op.ADD_VALUE, body, who=who, key=key)
    assert reply.code == expected(target, "ed25519")
    assert wire.delete(name).code == 1


def test_an_identity_with_its_own_secret(wire, target, fresh):
    """Secrets of any octets, also hashed ones (hex of SHA-1), and the case of the handle's prefix."""
    for secret in (b"plain", "Schlüssel 泵".encode(), bytes(range(1, 40)), b"a" * 200):
        name = fresh("own")
        who = Reference(name, 300)
        values = (value(300, "HS_SECKEY", secret, 0b1100), admin(target, who=who))
        assert wire.create(name, *values).code == 1
        assert wire.delete(name, who=who, key=secret + b"!").code == 403
        assert wire.delete(name, who=who, key=secret).code == 1


@pytest.mark.parametrize(
    ("who", "key"),
    [
        (lambda t: t.by_secret, lambda _: b"wrong"),
        (lambda t: t.by_secret, lambda _: b""),
        (lambda t: Reference(t.record, 302_000), lambda t: t.secret),
        (lambda t: t.by_key, lambda _: None),
    ],
    ids=["wrong", "empty", "no such value", "other key"],
)
def test_a_wrong_proof(wire, target, record, who, key):
    """403, the operation's own number in the reply, nothing changed."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    chosen = key(target)
    chosen = generate_private_key(65537, 2048) if chosen is None else chosen
    challenge = wire.ask(Op.MODIFY_VALUE, change(record))
    reply = wire.exchange(wire.answer(challenge, who(target), chosen))
    absent = who(target).index == 302_000
    assert reply.code == (expected(target, "no-such-key") if absent else 403)
    assert reply.message.header.opcode == Op.MODIFY_VALUE
    assert url(wire, record) == b"old"


def test_the_answer_to_another_request(wire, target, record):
    """A proof made for one challenge does not answer another."""
    one = wire.ask(Op.MODIFY_VALUE, change(record, "one"))
    two = wire.ask(Op.MODIFY_VALUE, change(record, "two"))
    answer = wire.answer(one, target.by_secret, target.secret)
    moved = wire.answer(two, target.by_secret, target.secret)
    from dataclasses import replace

    stolen = replace(moved, body=answer.body)
    assert wire.exchange(stolen).code == 403
    assert url(wire, record) == b"old"


def test_a_replayed_answer(wire, target, record):
    """The same answer a second time changes nothing more."""
    challenge = wire.ask(Op.MODIFY_VALUE, change(record, "once"))
    answer = wire.answer(challenge, target.by_secret, target.secret)
    assert wire.exchange(answer).code == 1
    again = wire.administer(Op.MODIFY_VALUE, change(record, "later"))
    assert again.code == 1
    reply = wire.exchange(answer)
    assert reply.code == expected(target, "challenge-again")
    if target.kind == OURS:
        assert url(wire, record) == b"later"


def test_an_unknown_challenge(wire, target, record):
    """An answer to a challenge that nobody sent: 405, nothing changed."""
    challenge = wire.ask(Op.MODIFY_VALUE, change(record))
    answer = wire.answer(challenge, target.by_secret, target.secret)
    from dataclasses import replace

    lost = replace(answer, envelope=replace(answer.envelope, session_id=0x12345600))
    assert wire.exchange(lost).code in (405, 500)
    assert url(wire, record) == b"old"


def test_an_old_client(target, record):
    """Below 2.7 nothing is proved here."""
    old = Wire(target, version=(2, 5))
    assert old.ask(Op.DELETE_HANDLE, named(record)).code == expected(target, "old-proof-2.5")


def test_few_iterations(wire, target, record):
    """PBKDF2 with a handful of rounds is no proof."""
    challenge = wire.ask(Op.MODIFY_VALUE, change(record))
    answer = wire.answer(challenge, target.by_secret, target.secret, iterations=10)
    assert wire.exchange(answer).code == expected(target, "weak-iterations")


def test_the_key_of_another(wire, target, fresh, record):
    """Who proves to be another handle's key lacks the right: 400."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    key = generate_private_key(65537, 2048)
    name = fresh("other")
    values = (value(300, "HS_PUBKEY", encode_public_key(key.public_key())), admin(target))
    assert wire.create(name, *values).code == 1
    who = Reference(name, 300)
    assert wire.administer(Op.MODIFY_VALUE, change(record), who=who, key=key).code == 400
    assert url(wire, record) == b"old"
    assert wire.delete(name).code == 1


def test_verify_for_other_servers(wire, target):
    """201 says whether an answer was made with a secret that lies here."""
    from protocol.challenge import answer_with_secret

    nonce, digest = secrets.token_bytes(16), secrets.token_bytes(32)
    for secret, valid in ((target.secret, True), (b"wrong", False)):
        proof = answer_with_secret(secret, nonce, digest, (2, 10), salt=secrets.token_bytes(16))
        asked = VerifyRequest(target.record, 301, nonce, digest, proof)
        reply = wire.ask(Op.VERIFY_RESPONSE, encode_verify_request(asked))
        assert reply.code == 1
        assert decode_verify_reply(reply.body).valid is valid


def test_guessing_is_slowed_down(target):
    """Wrong secrets are refused for ever, later and later or not at all; the right one still proves."""
    if target.kind != OURS:
        pytest.skip("Handle.Net answers guesses as fast as they come")
    from tests.blackbox.target import OwnNode

    with TemporaryDirectory() as folder:
        node = OwnNode(Path(folder))
        try:
            wire = Wire(node.target)
            name = node.target.name("guessed")
            assert wire.create(name, value(1, "URL", "old"), admin(node.target)).code == 1
            codes, slow = [], 0
            for number in range(13):
                began = time.monotonic()
                reply = wire.administer(Op.MODIFY_VALUE, change(name), key=b"guess %d" % number)
                slow += time.monotonic() - began > 0.9
                codes.append(reply.code)
            assert set(codes) <= {403, 3}
            assert slow >= 1
            assert url(wire, name) == b"old"
            assert wire.administer(Op.MODIFY_VALUE, change(name)).code == 1
        finally:
            node.stop()
