"""Bodies of messages: what is written is read back, and anything else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.doirp import administration as admin
from protocol.doirp import authentication as auth
from protocol.doirp import referral, replication, resolution, session
from protocol.doirp.bodies import Body, body_type, decode_body, encode_body
from protocol.doirp.envelope import Envelope
from protocol.doirp.header import Flag, Header, OpCode
from protocol.doirp.message import Message
from protocol.errors import ParseError, ResponseCode
from protocol.record import HandleValue, Reference
from protocol.values.hs_site import Interface, Server, Site

NEW = (2, 11)
U1 = st.integers(0, 0xFF)
U4 = st.integers(0, 0xFFFFFFFF)
U8 = st.integers(0, 2**64 - 1)
OCTETS = st.binary(max_size=40)
INDEXES = st.lists(U4, max_size=5).map(tuple)
references = st.builds(Reference, handle=OCTETS, index=U4)
values = st.builds(
    HandleValue,
    index=st.integers(-(2**31), 2**31 - 1),
    type=OCTETS,
    data=OCTETS,
    ttl=U4,
    ttl_type=U1,
    timestamp=U4,
    permissions=U1,
    references=st.lists(references, max_size=2).map(tuple),
)
VALUES = st.lists(values, max_size=3).map(tuple)
interfaces = st.builds(Interface, type=U1, protocol=U1, port=U4)
servers = st.builds(
    Server,
    server_id=U4,
    address=st.binary(min_size=16, max_size=16),
    public_key=OCTETS,
    interfaces=st.lists(interfaces, max_size=3).map(tuple),
)
sites = st.builds(
    Site,
    servers=st.lists(servers, max_size=2).map(tuple),
    attributes=st.lists(st.tuples(OCTETS, OCTETS), max_size=2).map(tuple),
    serial=st.integers(0, 0xFFFF),
    primary_mask=U1,
    hash_option=U1,
    hash_filter=OCTETS,
    major=U1,
    minor=U1,
    format_version=st.integers(0, 0xFFFF),
)
slices = st.builds(replication.Slice, hash_type=U1, servers=U4, number=U4)
setups = st.one_of(
    st.builds(
        session.SessionSetup,
        mode=st.sampled_from([1, 4]),
        timeout_s=U4,
        identity_handle=OCTETS,
        identity_index=U4,
        public_key=OCTETS,
    ),
    st.builds(session.SessionSetup, mode=st.just(2), identity_handle=OCTETS),
    st.builds(session.SessionSetup, mode=st.just(3), key_handle=OCTETS, key_index=U4),
)

REQUESTS: list[tuple[OpCode, st.SearchStrategy[Any]]] = [
    (
        OpCode.RESOLUTION,
        st.builds(
            resolution.ResolutionRequest,
            handle=OCTETS,
            indexes=INDEXES,
            types=st.lists(OCTETS, max_size=3).map(tuple),
        ),
    ),
    (OpCode.DELETE_HANDLE, st.builds(admin.NameRequest, handle=OCTETS)),
    (OpCode.LIST_DERIVED_PREFIXES, st.builds(admin.NameRequest, handle=OCTETS)),
    (OpCode.CREATE_HANDLE, st.builds(admin.ValuesRequest, handle=OCTETS, values=VALUES)),
    (OpCode.REMOVE_VALUE, st.builds(admin.IndexesRequest, handle=OCTETS, indexes=INDEXES)),
    (
        OpCode.CHALLENGE_RESPONSE,
        st.builds(
            auth.ChallengeResponse,
            auth_type=OCTETS,
            user_handle=OCTETS,
            user_index=U4,
            signed_response=OCTETS,
        ),
    ),
    (
        OpCode.VERIFY_RESPONSE,
        st.builds(
            auth.VerifyRequest,
            user_handle=OCTETS,
            user_index=U4,
            nonce=OCTETS,
            request_digest=OCTETS,
            signed_response=OCTETS,
        ),
    ),
    (OpCode.SESSION_SETUP, setups),
    (
        OpCode.SESSION_EXCHANGE_KEY,
        st.builds(session.KeyExchangeRequest, encrypted_key=OCTETS),
    ),
    (
        OpCode.RETRIEVE_TXN,
        st.one_of(
            st.builds(replication.RetrieveTransactions, slice=slices, last_id=U8, last_date_ms=U8),
            st.builds(replication.RetrieveTransactions, slice=slices, state_json=OCTETS),
        ),
    ),
    (
        OpCode.DUMP_HANDLES,
        st.one_of(
            st.builds(replication.DumpRequest, slice=slices),
            st.builds(replication.DumpRequest, slice=slices, start=OCTETS, start_kind=U4),
        ),
    ),
]
REPLIES: list[tuple[OpCode, int, st.SearchStrategy[Any]]] = [
    (
        OpCode.RESOLUTION,
        1,
        st.builds(resolution.ResolutionReply, handle=OCTETS, values=VALUES),
    ),
    (OpCode.GET_SITE_INFO, 1, sites),
    (OpCode.CREATE_HANDLE, 1, st.builds(admin.CreatedReply, handle=st.none() | OCTETS)),
    (
        OpCode.LIST_HANDLES,
        1,
        st.builds(admin.NamesReply, handles=st.lists(OCTETS, max_size=4).map(tuple)),
    ),
    (OpCode.VERIFY_RESPONSE, 1, st.builds(auth.VerifyReply, valid=st.booleans())),
    (
        OpCode.SESSION_SETUP,
        1,
        st.builds(session.SessionSetupReply, mode=st.integers(0, 0xFFFF), data=OCTETS),
    ),
    (OpCode.GET_NEXT_TXN_ID, 1, st.builds(replication.NextTransactionReply, txn_id=U8)),
    (OpCode.RETRIEVE_TXN, 1, st.builds(replication.RetrieveReply, octet=U1)),
    (OpCode.DELETE_HANDLE, 1, st.just(admin.EmptyReply())),
    (OpCode.CREATE_HANDLE, 402, st.builds(auth.Challenge, nonce=OCTETS)),
    (
        OpCode.RESOLUTION,
        302,
        st.builds(referral.Referral, handle=OCTETS, values=st.none() | VALUES),
    ),
    (
        OpCode.RESOLUTION,
        100,
        st.one_of(
            st.just(referral.ErrorBody(None)),
            st.builds(referral.ErrorBody, message=OCTETS, indexes=st.none() | INDEXES),
        ),
    ),
]


def message(opcode: int, code: int, body: bytes, version: tuple[int, int] = NEW) -> Message:
    return Message(Envelope(*version, 1), Header(opcode, code, 0), body)


@pytest.mark.parametrize(
    ("opcode", "strategy"), REQUESTS, ids=lambda item: getattr(item, "name", "")
)
def test_request_bodies_round_trip(opcode: OpCode, strategy: st.SearchStrategy[Body]) -> None:
    """Every request body decodes from what it encodes to."""

    @settings(max_examples=60)
    @given(strategy)
    def check(body: Body) -> None:
        assert decode_body(message(opcode, 0, encode_body(body, NEW))) == (None, body)

    check()


@pytest.mark.parametrize(
    ("opcode", "code", "strategy"), REPLIES, ids=lambda item: getattr(item, "name", "")
)
def test_reply_bodies_round_trip(
    opcode: OpCode, code: int, strategy: st.SearchStrategy[Body]
) -> None:
    """Every reply body decodes from what it encodes to."""

    @settings(max_examples=60)
    @given(strategy)
    def check(body: Body) -> None:
        assert decode_body(message(opcode, code, encode_body(body, NEW))) == (None, body)

    check()


@settings(max_examples=300)
@given(
    st.sampled_from(OpCode),
    st.sampled_from(ResponseCode),
    st.sampled_from([(2, 0), (2, 3), (2, 8), (2, 11), (3, 0)]),
    st.sampled_from([0, int(Flag.RD)]),
    st.binary(max_size=60),
)
def test_any_bytes_make_a_body_or_a_parse_error(
    opcode: int, code: int, version: tuple[int, int], flags: int, data: bytes
) -> None:
    """Decoding a body never fails otherwise than with ParseError."""
    try:
        decode_body(Message(Envelope(*version, 1), Header(opcode, code, flags), data))
    except ParseError:
        return


@pytest.mark.parametrize(("opcode", "code"), [(999, 0), (1, 77), (0, 0)])
def test_unknown_numbers_have_no_body(opcode: int, code: int) -> None:
    """An unknown operation or response code is a parse error."""
    with pytest.raises(ParseError):
        body_type(opcode, code, NEW)


def test_octets_after_a_body_are_refused() -> None:
    """A body ends where its last field ends."""
    for opcode in OpCode:
        if opcode is OpCode.SESSION_SETUP:
            continue
        body = admin.encode_name(admin.NameRequest(b"a/b"))
        if body_type(opcode, 0, NEW) is admin.NameRequest:
            with pytest.raises(ParseError):
                decode_body(message(opcode, 0, body + b"\0"))


def test_a_session_set_up_ends_with_two_zeros_or_nothing() -> None:
    """The two zero octets are written, may be missing, and may be nothing else."""
    body = session.encode_session_setup(session.SessionSetup(mode=2))
    assert body.endswith(b"\0\0")
    assert session.decode_session_setup(body[:-2]) == session.decode_session_setup(body)
    with pytest.raises(ParseError):
        session.decode_session_setup(body[:-2] + b"\0\1")


def test_303_means_read_only_to_old_peers() -> None:
    """Below 2.5 code 303 has an error body, from then on a referral."""
    assert body_type(1, 303, (2, 4)) is referral.ErrorBody
    assert body_type(1, 303, (2, 5)) is referral.Referral


def test_the_old_challenge_holds_its_digest() -> None:
    """In version 2.0 the MD5 digest follows the nonce."""
    old = auth.Challenge(b"n" * 16, b"d" * 16)
    assert auth.decode_challenge(auth.encode_challenge(old), (2, 0)) == old
    with pytest.raises(ParseError):
        auth.decode_challenge(auth.encode_challenge(old), (2, 1))


def test_asking_all_sources_needs_2_9() -> None:
    """Transactions of all sources cannot be asked for in an older version."""
    wanted = replication.RetrieveTransactions(replication.Slice(2, 1, 0), state_json=b"{}")
    with pytest.raises(ParseError):
        replication.encode_retrieve(wanted, (2, 8))


def test_replies_have_limits() -> None:
    """A reply's handle has at most 2048 octets and a reply at most 2048 values."""
    long = resolution.ResolutionReply(b"a/" + b"b" * 2047, ())
    with pytest.raises(ParseError):
        resolution.decode_resolution_reply(resolution.encode_resolution_reply(long))
    many = resolution.ResolutionReply(b"a/b", (HandleValue(1, b"", b""),) * 2049)
    with pytest.raises(ParseError):
        resolution.decode_resolution_reply(resolution.encode_resolution_reply(many))


def test_the_server_key_of_a_session() -> None:
    """From 2.4 a cipher code stands before the server's key."""
    assert session.split_server_key(session.join_server_key(3, b"key", NEW), NEW) == (3, b"key")
    assert session.split_server_key(b"key", (2, 3)) == (None, b"key")
