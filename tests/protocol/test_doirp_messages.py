"""Envelope, header, message: layouts, versions, flags and digests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.doirp.envelope import (
    MAX_MESSAGE,
    OWN_VERSION,
    Envelope,
    decode_envelope,
    encode_envelope,
    reply_version,
)
from protocol.doirp.header import ADMINISTRATIVE, Flag, Header, OpCode, decode_header, encode_header
from protocol.doirp.message import (
    DIGEST_MD5_OLD,
    DIGEST_SHA1,
    DIGEST_SHA256,
    Message,
    code_for,
    decode_message,
    digest_algorithm,
    digest_of,
    encode_message,
    known_code,
    request,
    response,
    split_request_digest,
)
from protocol.errors import ParseError, ResponseCode, Truncated

U1 = st.integers(0, 0xFF)
U4 = st.integers(0, 0xFFFFFFFF)

envelopes = st.builds(
    Envelope,
    major=U1,
    minor=U1,
    request_id=U4,
    session_id=U4,
    sequence=U4,
    length=st.integers(0, MAX_MESSAGE),
    suggest_major=st.integers(0, 0x1F),
    suggest_minor=U1,
    compressed=st.booleans(),
    encrypted=st.booleans(),
    truncated=st.booleans(),
)
headers = st.builds(
    Header,
    opcode=U4,
    response_code=U4,
    flags=U4,
    site_serial=st.integers(0, 0xFFFF),
    recursion_count=U1,
    expiration=U4,
    body_length=U4,
    reserved=U1,
)


def asked(version: tuple[int, int] = (2, 11), own: tuple[int, int] = OWN_VERSION) -> Message:
    flags = Flag.REC | Flag.CA | Flag.PO | Flag.RD
    return request(
        OpCode.RESOLUTION,
        b"\0\0\0\3a/b",
        request_id=7,
        expiration=9,
        site_version=version,
        own=own,
        flags=flags,
    )


def answered(to: Message, code: int = ResponseCode.SUCCESS, **more: object) -> Message:
    return response(to, code, b"body", site_serial=3, expiration=10, **more)


@given(envelopes)
def test_envelopes_round_trip(envelope: Envelope) -> None:
    """Any envelope decodes from what it encodes to."""
    assert decode_envelope(encode_envelope(envelope)) == envelope


@given(headers)
def test_headers_round_trip(header: Header) -> None:
    """Any header decodes from what it encodes to."""
    assert decode_header(encode_header(header)) == header


@settings(max_examples=150)
@given(st.binary(max_size=80))
def test_any_bytes_make_a_message_or_a_parse_error(data: bytes) -> None:
    """Decoding never fails otherwise than with ParseError."""
    for decode in (decode_envelope, decode_header, decode_message):
        try:
            decode(data)
        except ParseError:
            continue


def test_a_length_above_the_limit_is_refused() -> None:
    """262144 octets are a message, one more are not."""
    data = bytearray(encode_envelope(Envelope(2, 10, 1, length=MAX_MESSAGE)))
    assert decode_envelope(data).length == MAX_MESSAGE
    data[-1] += 1
    with pytest.raises(ParseError):
        decode_envelope(data)


def test_no_suggestion_means_the_own_version() -> None:
    """Suggested major 0 is the message's own version; major 5 means 2.0."""
    assert Envelope(2, 3, 1).suggestion == (2, 3)
    assert Envelope(5, 0, 1).version == (2, 0)
    assert Envelope(2, 3, 1, suggest_major=2, suggest_minor=9).suggestion == (2, 9)


def test_a_reply_is_never_above_the_suggestion() -> None:
    """A reply speaks the lower of the request's suggestion and our own highest version."""
    assert reply_version(Envelope(2, 3, 1, suggest_major=2, suggest_minor=8)) == (2, 8)
    assert reply_version(Envelope(3, 0, 1, suggest_major=3, suggest_minor=0)) == OWN_VERSION


def test_a_message_survives_the_wire() -> None:
    """A request with a credential decodes from its bytes, lengths set."""
    message = replace(asked(), credential=b"credential")
    there = decode_message(encode_message(message))
    assert (there.body, there.credential) == (message.body, b"credential")
    assert there.envelope.length == 24 + 7 + 4 + 10
    assert there.header.body_length == 7


def test_a_message_may_end_after_its_body() -> None:
    """Old peers leave the credential length out."""
    data = encode_message(asked())[:-4]
    data = data[:16] + (len(data) - 20).to_bytes(4) + data[20:]
    assert decode_message(data).credential == b""


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data[:-1], Truncated),
        (lambda data: data + b"\0", ParseError),
        (lambda data: data[:2] + bytes([data[2] | 0x80]) + data[3:], ParseError),
        (lambda data: data[:40] + b"\0\0\x10\0" + data[44:], Truncated),
    ],
    ids=["short", "long", "compressed", "body-beyond-end"],
)
def test_broken_messages_are_refused(change: object, error: type[Exception]) -> None:
    """Lengths that do not fit and compression are refused."""
    with pytest.raises(error):
        decode_message(change(encode_message(asked())))


def test_a_reply_repeats_what_it_must() -> None:
    """Request id, operation, flags and recursion count come from the request; REC is set."""
    to = asked()
    reply = answered(replace(to, header=replace(to.header, recursion_count=4)), authoritative=True)
    assert reply.envelope.request_id == 7
    assert reply.header.opcode == OpCode.RESOLUTION
    assert reply.header.flags == Flag.REC | Flag.CA | Flag.PO | Flag.RD | Flag.AT
    assert reply.header.recursion_count == 4


@pytest.mark.parametrize(
    ("version", "algorithm"),
    [
        ((2, 11), DIGEST_SHA256),
        ((2, 7), DIGEST_SHA256),
        ((2, 6), DIGEST_SHA1),
        ((2, 1), DIGEST_SHA1),
    ],
)
def test_the_digest_goes_by_the_version_of_the_reply(
    version: tuple[int, int], algorithm: int
) -> None:
    """SHA-256 from 2.7, SHA-1 from 2.1, over header and body as received."""
    to = asked(version, own=version)
    digest, body = split_request_digest(answered(to))
    assert digest is not None
    assert (digest.algorithm, body) == (algorithm, b"body")
    assert digest.digest == digest_of(encode_message(to)[20:-4], algorithm)


def test_version_2_0_has_no_digest_in_front() -> None:
    """A reply to a 2.0 client carries no digest, and says so."""
    reply = answered(asked((2, 0), own=(2, 0)))
    assert digest_algorithm((2, 0)) == DIGEST_MD5_OLD
    assert not reply.header.has(Flag.RD)
    assert reply.body == b"body"


def test_a_challenge_always_carries_the_digest() -> None:
    """Code 402 has the request digest whether or not it was asked for."""
    to = asked()
    to = replace(to, header=replace(to.header, flags=0))
    reply = answered(to, ResponseCode.AUTHENTICATION_NEEDED, session_id=99)
    assert reply.header.has(Flag.RD)
    assert reply.envelope.session_id == 99


def test_old_peers_get_old_codes() -> None:
    """Below 2.5 a read-only server says 303 and an invalid value 201."""
    assert code_for(ResponseCode.SERVER_BACKUP, (2, 4)) == 303
    assert code_for(ResponseCode.INVALID_VALUE, (2, 4)) == 201
    assert code_for(ResponseCode.SERVER_BACKUP, (2, 5)) == 7
    assert known_code(303, (2, 4)) is ResponseCode.SERVER_BACKUP
    assert known_code(77, (2, 11)) is ResponseCode.ERROR


def test_an_unknown_site_gets_version_2_3() -> None:
    """Without a site record a client speaks 2.3 and suggests its highest."""
    message = request(OpCode.RESOLUTION, b"", request_id=1, expiration=0)
    assert message.envelope.version == (2, 3)
    assert message.envelope.suggestion == OWN_VERSION


def test_unknown_codes_stay_numbers() -> None:
    """A header with an operation nobody knows can be read and echoed."""
    header = decode_header(encode_header(Header(opcode=999, response_code=77)))
    assert (header.opcode, header.response_code) == (999, 77)


def test_administrative_operations() -> None:
    """Creating and homing are administrative, resolution and sessions are not."""
    assert {OpCode.CREATE_HANDLE, OpCode.HOME_PREFIX, OpCode.DUMP_HANDLES} <= ADMINISTRATIVE
    assert not {OpCode.RESOLUTION, OpCode.SESSION_SETUP, OpCode.VERIFY_RESPONSE} & ADMINISTRATIVE
