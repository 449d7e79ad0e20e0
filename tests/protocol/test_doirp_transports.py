"""UDP packets, TCP streams, the HTTP tunnel and the choice of a server."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.doirp import tunnel
from protocol.doirp.envelope import Envelope, decode_envelope, encode_envelope
from protocol.doirp.hashing import part_number, prefix_part, server_index, suffix_part
from protocol.doirp.header import OpCode
from protocol.doirp.message import encode_message, request
from protocol.doirp.stream import NEED_DATA, MessageStream
from protocol.doirp.udp import MAX_DATA, MAX_DATAGRAM, Reassembler, packet_count, split
from protocol.errors import ParseError, ServerBusy, Truncated

ENVELOPE = Envelope(2, 11, 7)


@settings(max_examples=60)
@given(st.binary(max_size=4 * MAX_DATA), st.randoms(use_true_random=False))
def test_packets_in_any_order_make_the_message(part: bytes, chance: object) -> None:
    """Shuffled and repeated packets give the message once, and nothing stays behind."""
    packets = split(part, ENVELOPE)
    assert all(len(packet) <= MAX_DATAGRAM for packet in packets)
    chance.shuffle(packets)
    # A repeated packet after the last one would open the message anew, as a repeated request does.
    arriving = packets[:-1] * 2 + packets[-1:]
    reassembler = Reassembler()
    whole = [found for packet in arriving if (found := reassembler.add("a", packet, 0.0))]
    assert [found[1] for found in whole] == [part]
    assert len(reassembler) == 0


@pytest.mark.parametrize(("length", "packets"), [(0, 1), (492, 1), (493, 2), (984, 2), (985, 3)])
def test_packet_counts(length: int, packets: int) -> None:
    """A packet takes 492 octets, and an empty message one packet."""
    assert packet_count(length) == packets


def test_the_truncated_flag_marks_every_packet_of_several() -> None:
    """All packets carry the flag when there are several; one alone does not."""
    assert all(decode_envelope(packet).truncated for packet in split(bytes(500), ENVELOPE))
    assert not decode_envelope(split(bytes(400), ENVELOPE)[0]).truncated


def test_packets_that_cannot_be_right_are_refused() -> None:
    """A wrong size or a number beyond the last packet is refused."""
    first, second = split(bytes(500), ENVELOPE)
    for packet in (first[:-1], first + b"\0", second + b"\0"):
        with pytest.raises(ParseError):
            Reassembler().add("a", packet, 0.0)
    beyond = encode_envelope(Envelope(2, 11, 7, sequence=2, length=500)) + bytes(8)
    with pytest.raises(ParseError):
        Reassembler().add("a", beyond, 0.0)


def test_siblings_must_agree() -> None:
    """Packets of one request that tell another length drop the message."""
    reassembler = Reassembler()
    reassembler.add("a", split(bytes(500), ENVELOPE)[0], 0.0)
    with pytest.raises(ParseError):
        reassembler.add("a", split(bytes(600), ENVELOPE)[1], 0.0)
    assert len(reassembler) == 0


def test_what_waits_too_long_is_dropped() -> None:
    """After the wait a message is forgotten, and its late rest makes nothing."""
    reassembler = Reassembler(wait_s=5.0)
    first, second = split(bytes(500), ENVELOPE)
    reassembler.add("a", first, 0.0)
    assert reassembler.add("a", second, 5.0) is None
    assert reassembler.expire(100.0) == 1
    assert len(reassembler) == 0


def test_waiting_messages_are_bounded() -> None:
    """Messages, messages of one peer and octets in all have their limits."""
    few = Reassembler(max_pending=2, max_pending_per_peer=1, max_octets=2 * MAX_DATA)
    packets = [split(bytes(500), Envelope(2, 11, at))[0] for at in range(3)]
    few.add("a", packets[0], 0.0)
    with pytest.raises(ServerBusy):
        few.add("a", packets[1], 0.0)
    few.add("b", packets[1], 0.0)
    with pytest.raises(ServerBusy):
        few.add("c", packets[2], 0.0)
    small = Reassembler(max_octets=MAX_DATA)
    small.add("a", packets[0], 0.0)
    with pytest.raises(ServerBusy):
        small.add("b", packets[1], 0.0)
    assert len(small) == 1


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(1, 50))
def test_a_stream_gives_its_messages_however_it_is_cut(parts: list[bytes], size: int) -> None:
    """The messages do not depend on how the octets arrive."""
    data = b"".join(encode_envelope(Envelope(2, 11, 1, length=len(part))) + part for part in parts)
    stream = MessageStream()
    found = []
    for at in range(0, len(data), size):
        stream.feed(data[at : at + size])
        while (message := stream.next()) is not NEED_DATA:
            found.append(message[1])
    assert found == parts
    assert stream.held == 0


def test_what_follows_the_last_message_is_kept() -> None:
    """The start of a replication stream is there after the reply was taken."""
    stream = MessageStream()
    stream.feed(encode_envelope(Envelope(2, 11, 1, length=2)) + b"ok" + b"\xff\xff\xff\xff")
    stream.next()
    assert stream.rest() == b"\xff\xff\xff\xff"


def test_a_stream_refuses_a_length_above_the_limit() -> None:
    """No memory is taken for a message that is too long."""
    stream = MessageStream()
    stream.feed(b"\2\13\0\0" + bytes(12) + b"\xff\xff\xff\xff")
    with pytest.raises(ParseError):
        stream.next()


def test_the_tunnel_names_the_handle_in_its_path() -> None:
    """Slashes and spaces of a handle are percent-encoded, the site's path stands in front."""
    assert tunnel.request_path(b"20.5000/a b") == "/20.5000%2Fa%20b"
    assert tunnel.request_path(b"1/x", b"/hdl/") == "/hdl/1%2Fx"
    assert tunnel.handle_of_path("/20.5000%2Fa%20b") == b"20.5000/a b"


def test_a_stray_line_end_before_the_envelope_is_skipped() -> None:
    """Exactly one CR or LF in front of a POST body is passed over."""
    assert tunnel.request_body(b"\r\2\n") == b"\2\n"
    assert tunnel.request_body(b"\2") == b"\2"


def test_a_tunnelled_reply_may_hold_several_messages() -> None:
    """Messages follow one another; an unfinished one is refused."""
    one = encode_message(request(OpCode.RESOLUTION, b"x", request_id=1, expiration=0))
    assert tunnel.messages(one + one) == [one, one]
    with pytest.raises(Truncated):
        tunnel.messages(one + one[:-1])
    with pytest.raises(ParseError):
        tunnel.messages(b"")


@given(st.binary(max_size=30), st.integers(0, 2), st.integers(1, 50))
def test_every_handle_has_a_server(handle: bytes, option: int, servers: int) -> None:
    """The index is always a position in the list, and does not depend on ASCII case."""
    index = server_index(handle, option, servers)
    assert 0 <= index < servers
    assert index == server_index(handle.upper(), option, servers)


def test_the_least_number_is_like_others() -> None:
    """-2^31 makes no negative index."""
    numbers = [abs(-(2**31)) % servers for servers in (1, 2, 3, 7)]
    assert all(number >= 0 for number in numbers)
    assert part_number(b"20.5000") == part_number(b"20.5000")


def test_names_without_slash_hash_under_the_prefix_of_names() -> None:
    """A name without a slash is all suffix; its prefix is 0.NA."""
    assert (prefix_part(b"x.y"), suffix_part(b"x.y")) == (b"0.NA", b"x.y")
    with pytest.raises(ParseError):
        server_index(b"x/y", 3, 1)
    with pytest.raises(ParseError):
        server_index(b"x/y", 2, 0)
