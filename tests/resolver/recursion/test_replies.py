"""Any octets are the reply that was asked for, no reply, or a lie: nothing else happens."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.credential import sign_message
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import decode_message, encode_message, request, response
from protocol.doirp.resolution import (
    ResolutionReply,
    ResolutionRequest,
    encode_resolution_reply,
    encode_resolution_request,
)
from protocol.errors import ParseError, ResponseCode, SignatureInvalid
from protocol.keys import encode_public_key
from protocol.record import HandleValue
from protocol.values.hs_site import Transport
from resolver.peers import Endpoint
from resolver.replies import Expected, can_certify
from tests.scenarios.world import key_of

NAME = b"88.1/pump"
HERE = Endpoint(Transport.UDP, "192.0.2.1", 2641)
KEY = key_of("server")
FAR = 2_000_000_000


def question(version=(2, 11), flags=Flag.RD | Flag.PO):
    return request(
        OpCode.RESOLUTION,
        encode_resolution_request(ResolutionRequest(NAME)),
        request_id=4711,
        expiration=FAR,
        site_version=version,
        flags=flags,
    )


def expected(asked, *, key=b"", certified=False):
    return Expected(asked, NAME, key, certified, OpCode.RESOLUTION, 1_800_000_000)


def good(asked, name=NAME, **more):
    body = encode_resolution_reply(ResolutionReply(name, (HandleValue(1, b"URL", b"u"),)))
    return response(asked, ResponseCode.SUCCESS, body, site_serial=1, expiration=FAR, **more)


def test_the_true_reply():
    """Its values come without name and digest."""
    asked = question()
    reply = expected(asked).accept(good(asked), HERE)
    assert reply.body[:4] == b"\0\0\0\1"
    assert reply.signature == "key unknown"


def test_the_name_may_come_back_in_other_case():
    """Names compare without case, as the servers' stores do."""
    asked = question()
    expected(asked).accept(good(asked, NAME.upper()), HERE)


@pytest.mark.parametrize("code", [2, 3, 4, 5, 7])
def test_plain_failures_need_no_digest(code):
    """A server that could not read the request cannot digest it."""
    asked = question()
    bare = replace(asked, header=replace(asked.header, flags=0))
    reply = response(bare, code, b"\0\0\0\0", site_serial=1, expiration=FAR)
    assert expected(asked).accept(reply, HERE).code == code


@pytest.mark.parametrize("code", [1, 100, 200, 301, 302, 402])
def test_facts_need_a_digest(code):
    """What would be believed or acted on says which question it answers."""
    asked = question()
    bare = replace(asked, header=replace(asked.header, flags=0))
    reply = response(bare, code, b"\0\0\0\0", site_serial=1, expiration=FAR)
    if code == 402:  # challenges always have one: take it off
        reply = replace(reply, header=replace(reply.header, flags=0))
    with pytest.raises(ParseError):
        expected(asked).accept(reply, HERE)


def test_weak_digests_are_for_old_servers_only():
    """SHA-1 is taken from a 2.6 server; from a 2.11 one it is refused."""
    asked = question()
    old = good(asked, own=(2, 6))
    assert expected(asked).accept(old, HERE).version == (2, 6)
    envelope = replace(old.envelope, minor=11)
    with pytest.raises(ParseError, match="weak"):
        expected(asked).accept(replace(old, envelope=envelope), HERE)


def test_signatures():
    """The site's own is told, a missing or foreign one refused where one is demanded."""
    asked = question(flags=Flag.RD | Flag.CT)
    key = encode_public_key(KEY.public_key())
    wanted = expected(asked, key=key, certified=True)
    assert wanted.accept(sign_message(good(asked), KEY), HERE).signature == "signed"
    for bad in (good(asked), sign_message(good(asked), key_of("another"))):
        with pytest.raises(SignatureInvalid):
            wanted.accept(bad, HERE)
    assert expected(asked, key=key).accept(good(asked), HERE).signature == "unsigned"


def test_busy_may_be_unsigned():
    """A server without room for another signature says so without one; nothing else may."""
    asked = question(flags=Flag.RD | Flag.CT)
    public = encode_public_key(KEY.public_key())
    certain = expected(asked, key=public, certified=True)

    def plain(code):
        return response(asked, code, b"", site_serial=1, expiration=FAR)

    assert certain.accept(plain(ResponseCode.SERVER_BUSY), HERE).signature == "unsigned"
    for code in (ResponseCode.ERROR, ResponseCode.HANDLE_NOT_FOUND, ResponseCode.SERVER_BACKUP):
        with pytest.raises(SignatureInvalid, match="unsigned"):
            certain.accept(plain(code), HERE)


def test_which_keys_can_certify():
    """RSA and Ed25519 can; nothing, garbage and DSA cannot."""
    assert can_certify(encode_public_key(KEY.public_key()))
    assert not can_certify(b"")
    assert not can_certify(b"garbage")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_octets(data):
    """A reply with spoilt octets is accepted, no reply, or a lie."""
    asked = question(flags=Flag.RD | Flag.CT)
    key = encode_public_key(KEY.public_key())
    octets = bytearray(encode_message(sign_message(good(asked), KEY)))
    for _ in range(data.draw(st.integers(0, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)))
    octets = octets[: cut if data.draw(st.booleans()) else len(octets)]
    with suppress(ParseError, SignatureInvalid):
        reply = expected(asked, key=key, certified=True).accept(decode_message(bytes(octets)), HERE)
        assert reply.code == ResponseCode.SUCCESS
        assert reply.body == expected(asked).accept(good(asked), HERE).body
