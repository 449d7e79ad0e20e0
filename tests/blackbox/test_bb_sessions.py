"""Sessions over sockets: set-up, MACs, counters, encryption, their end (do-irp 9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.credential import mac_message, verify_mac, verify_signed
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.keys import decode_public_key
from protocol.values.hs_site import decode_site
from tests.blackbox.differences import expected
from tests.blackbox.wire import (
    GROUP_1024,
    GROUP_2048,
    HTTP,
    PLAIN_FLAGS,
    TCP,
    UDP,
    Wire,
    admin,
    named,
    value,
    valued,
)

Op = OpCode
HIDDEN = PLAIN_FLAGS & ~Flag.PO


@pytest.fixture
def record(wire, fresh, target):
    name = fresh("session")
    values = (
        value(1, "URL", "old"),
        value(5, "SECRET", "hidden", 0b1100),
        value(6, "NOBODY", "hidden", 0b0100),
        admin(target),
    )
    assert wire.create(name, *values).code == 1
    yield name
    wire.delete(name)


def question(name, *indexes):
    return encode_resolution_request(ResolutionRequest(name, indexes, ()))


def proved(wire, target, record, by="secret"):
    """The session with its identity proved by a first request."""
    who = target.by_secret if by == "secret" else target.by_key
    key = target.secret if by == "secret" else target.key
    body = valued(record, value(1, "URL", "first"))
    assert wire.administer(Op.MODIFY_VALUE, body, who=who, key=key).code == 1


@pytest.mark.parametrize("group", [GROUP_2048, GROUP_1024], ids=["2048", "1024"])
@pytest.mark.parametrize("transport", [TCP, UDP, HTTP])
@pytest.mark.parametrize("by", ["secret", "key"])
def test_a_session(target, record, transport, by, group):
    """One proof, then MACs alone: values change without a second challenge."""
    wire = Wire(target, transport)
    who = target.by_secret if by == "secret" else target.by_key
    assert wire.set_up(who, p=group).code == 1
    proved(wire, target, record, by)
    for data in ("second", "third"):
        body = valued(record, value(1, "URL", data))
        assert wire.ask(Op.MODIFY_VALUE, body).code == 1
    assert wire.resolve(record, indexes=[1]).values[0].data == b"third"
    assert wire.ask(Op.SESSION_TERMINATE, named(b"/")).code == 1
    assert wire.resolve(record, indexes=[1]).code == expected(target, "after-the-end")


def test_set_up_is_signed_by_the_site(target, wire):
    """The reply to set-up bears the signature of the key in the site record."""
    key = decode_public_key(
        decode_site(wire.ask(Op.GET_SITE_INFO, named(b"/")).body).servers[0].public_key
    )
    reply = wire.set_up(target.by_secret)
    assert verify_signed(reply.message, key)
    assert reply.message.envelope.session_id != 0


def test_an_anonymous_session(target, wire, record):
    """Set-up without identity: a session for reading, and its answers may be certified."""
    assert wire.set_up().code == 1
    reply = wire.resolve(record, flags=PLAIN_FLAGS | Flag.CT | Flag.RD)
    assert reply.code == 1
    assert verify_mac(reply.message, wire.session[1].octets).counter > 0


def test_hidden_values_come_encrypted(target, wire, record):
    """A reply with values that not everybody may read is encrypted in a session (2.8)."""
    wire.set_up(target.by_secret)
    proved(wire, target, record)
    reply = wire.ask(Op.RESOLUTION, question(record, 1, 5), HIDDEN)
    assert [v.data for v in reply.values] == [b"first", b"hidden"]
    assert reply.raw[2] & 0x40
    assert b"hidden" not in reply.raw


def test_values_readable_by_nobody_stay(target, wire, record):
    """Also in a session of an administrator."""
    wire.set_up(target.by_secret)
    proved(wire, target, record)
    reply = wire.ask(Op.RESOLUTION, question(record, 6), HIDDEN)
    assert reply.code == expected(target, "unreadable-in-session")


def test_encrypted_requests(target, wire, record):
    """EC: the request is IV and ciphertext; with ENC the reply is too."""
    wire.set_up(target.by_secret)
    message = wire.message(Op.RESOLUTION, question(record, 1), PLAIN_FLAGS | Flag.ENC)
    reply = wire.exchange(message, encrypt=True)
    assert reply.code == 1
    assert reply.raw[2] & 0x40


def test_an_encrypted_proof(target, wire, record):
    """The answer to a challenge may come encrypted and without a MAC, as deployed clients send it."""
    wire.set_up(target.by_secret)
    body = valued(record, value(1, "URL", "hidden way"))
    asked = wire.message(Op.MODIFY_VALUE, body, PLAIN_FLAGS | Flag.ENC | Flag.CT)
    challenge = wire.exchange(asked, encrypt=True)
    answer = replace(wire.answer(challenge, target.by_secret, target.secret), credential=b"")
    assert wire.exchange(answer, encrypt=True).code == 1
    again = wire.message(Op.MODIFY_VALUE, body, PLAIN_FLAGS | Flag.ENC)
    assert wire.exchange(again, encrypt=True).code == 1
    bare = replace(wire.message(Op.MODIFY_VALUE, body, PLAIN_FLAGS | Flag.ENC), credential=b"")
    refused = wire.exchange(bare, encrypt=True).code
    assert refused in (404, 501, 502)


def test_a_repeated_counter(target, wire, record):
    """A counter that was seen is refused: 505."""
    wire.set_up(target.by_secret)
    proved(wire, target, record)
    message = wire.message(Op.MODIFY_VALUE, valued(record, value(1, "URL", "replayed")))
    assert wire.exchange(message).code == 1
    assert wire.ask(Op.MODIFY_VALUE, valued(record, value(1, "URL", "after"))).code == 1
    again = replace(message, envelope=replace(message.envelope))
    assert wire.exchange(again).code == 505
    assert wire.over(TCP).resolve(record, indexes=[1]).values[0].data == b"after"


def test_counter_nought(target, wire, record):
    """Counter 0 skips no check here."""
    wire.set_up(target.by_secret)
    proved(wire, target, record)
    number, key = wire.session
    body = valued(record, value(1, "URL", "nought"))
    bare = replace(wire, session=None).message(Op.MODIFY_VALUE, body, session_id=number)
    message = mac_message(bare, key.octets, counter=0)
    assert wire.exchange(message).code == expected(target, "counter-zero")


def test_a_wrong_mac(target, wire, record):
    """502, nothing changed."""
    wire.set_up(target.by_secret)
    proved(wire, target, record)
    number, _ = wire.session
    body = valued(record, value(1, "URL", "forged"))
    bare = replace(wire, session=None).message(Op.MODIFY_VALUE, body, session_id=number)
    assert wire.exchange(mac_message(bare, b"k" * 32, counter=77)).code == 502
    assert wire.over(TCP).resolve(record, indexes=[1]).values[0].data == b"first"


def test_a_missing_mac(target, wire, record):
    """A request in a session without a MAC has no more rights than a stranger's."""
    wire.set_up(target.by_secret)
    proved(wire, target, record)
    number, _ = wire.session
    body = valued(record, value(1, "URL", "bare"))
    bare = replace(wire, session=None).message(Op.MODIFY_VALUE, body, session_id=number)
    assert wire.exchange(bare).code in (402, 404, 502)
    assert wire.over(TCP).resolve(record, indexes=[1]).values[0].data == b"first"


def test_another_identity_than_the_sessions(target, wire, record):
    """A session set up for one identity is not proved by another."""
    wire.set_up(target.by_secret)
    body = valued(record, value(1, "URL", "other"))
    challenge = wire.ask(Op.MODIFY_VALUE, body)
    wire.exchange(wire.answer(challenge, target.by_key, target.key))
    assert wire.ask(Op.MODIFY_VALUE, valued(record, value(1, "URL", "later"))).code == 402


def test_an_unknown_session(target, wire, record):
    """500: the client begins a new one."""
    wire.set_up(target.by_secret)
    wire.session = (0x7ABCDE01, wire.session[1])
    assert wire.resolve(record).code == 500


def test_a_small_group(target, wire):
    """A group below the floor is not accepted."""
    small = 0xFFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A3620FFFFFFFFFFFFFFFF
    assert wire.set_up(target.by_secret, p=small).code == expected(target, "small-group")
