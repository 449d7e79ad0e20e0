"""Vector forms of transports: udp_packets and http_tunnel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocol.doirp import message as wire
from protocol.doirp import tunnel
from protocol.doirp.bodies import Body, decode_body
from protocol.doirp.envelope import ENVELOPE_SIZE, Envelope, decode_envelope
from protocol.doirp.header import COPIED_FLAGS, HEADER_SIZE, Flag, decode_header
from protocol.doirp.message import Message
from protocol.doirp.udp import MAX_DATA, Reassembler, packet_count, split
from protocol.errors import ParseError, ServerBusy
from protocol.jsonfields import Fields, text_of
from protocol.vectorform.form import (
    Form,
    Shape,
    VectorMismatch,
    claims_of,
    compare,
    expect,
    hex_of,
)
from protocol.vectorform.messages import envelope_shape, message_shape

_TO_SERVER = "client_to_server"
_TO_CLIENT = "server_to_client"
_REQUEST_LINES = "request_lines_without_host"
_RESPONSE = "response_body_hex"


def _decode_udp(data: bytes) -> Shape:
    """What follows from a message without its envelope; how it is cut, for those we would cut."""
    header = decode_header(data)
    if HEADER_SIZE + header.body_length > len(data):
        raise ParseError("the message ends within its body")
    shape: Shape = {
        "direction": _TO_CLIENT if header.response_code else _TO_SERVER,
        "packet_count": packet_count(len(data)),
    }
    return shape if header.response_code else shape | {"max_data_per_packet": MAX_DATA}


def _encode_udp(decoded: Shape) -> bytes:
    return _reassemble(_packets(decoded))[1]


def _packets(decoded: Shape) -> tuple[bytes, ...]:
    fields = Fields(decoded)
    return tuple(
        Fields({"packet": item}, fields.path(f"packets[{at}]")).hex("packet")
        for at, item in enumerate(fields.items("packets"))
    )


def _reassemble(packets: Sequence[bytes]) -> tuple[Envelope, bytes]:
    """The one message that the packets make. Raises ParseError when they make none."""
    reassembler = Reassembler()
    whole: tuple[Envelope, bytes] | None = None
    for packet in packets:
        try:
            whole = reassembler.add("peer", packet, 0.0) or whole
        except ServerBusy as error:
            raise ParseError(str(error)) from None
    if whole is None:
        raise ParseError(f"{len(packets)} packets do not make a whole message")
    return whole


def _check_udp(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_of(vector)
    fields = Fields(claims)
    packets = _packets(claims)
    made = _decode_udp(data) | {"packets": claims["packets"]}
    to_server = made["direction"] == _TO_SERVER
    if to_server or "envelopes" in fields:
        made["envelopes"] = [envelope_shape(decode_envelope(packet)) for packet in packets]
    if "max_data_per_packet" in fields:
        made["max_data_per_packet"] = MAX_DATA
    compare(claims, made)
    envelope, whole = _reassemble(packets)
    if whole != data:
        raise VectorMismatch("decoded.packets make another message than `hex`")
    if to_server:
        _split_again(data, envelope, packets)
    else:
        _whole_packets_only(data, packets)


def _split_again(data: bytes, envelope: Envelope, packets: Sequence[bytes]) -> None:
    for at, (ours, theirs) in enumerate(zip(split(data, envelope), packets, strict=False)):
        expect(ours.hex(), theirs.hex(), f"packets[{at}]")
    if len(packets) != len(split(data, envelope)):
        raise VectorMismatch(f"decoded.packets has {len(packets)} packets, more than are needed")


def _whole_packets_only(data: bytes, packets: Sequence[bytes]) -> None:
    """Every packet, repeated ones too, holds its piece of the message and the same envelope."""
    first = decode_envelope(packets[0])
    ours = {decode_envelope(packet).sequence: packet for packet in split(data, first)}
    for at, packet in enumerate(packets):
        envelope = decode_envelope(packet)
        if packet[ENVELOPE_SIZE:] != ours[envelope.sequence][ENVELOPE_SIZE:]:
            raise VectorMismatch(f"decoded.packets[{at}] holds another piece than its number says")
        if envelope_shape(envelope) != envelope_shape(first) | {
            "sequence_number": envelope.sequence
        }:
            raise VectorMismatch(f"decoded.packets[{at}] has another envelope than its siblings")


def _decode_tunnel(data: bytes) -> Shape:
    body = tunnel.request_body(data)
    handle = _handle_in(decode_body(wire.decode_message(body))[1])
    lines = [f"POST {tunnel.request_path(handle)} HTTP/1.0"]
    lines += [f"{name}: {value}" for name, value in tunnel.request_headers(data)]
    return {
        "handle": text_of(handle, "the handle"),
        _REQUEST_LINES: lines,
        "request_body_is": "hex",
        "response_content_type": tunnel.CONTENT_TYPE,
    }


def _handle_in(body: Body) -> bytes:
    handle = getattr(body, "handle", None)
    if not isinstance(handle, bytes):
        raise ParseError("the message names no handle")
    return handle


def _check_tunnel(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_of(vector)
    made = _decode_tunnel(data) | {_RESPONSE: claims.get(_RESPONSE)}
    compare(_with_plain_marks(claims), _with_plain_marks(made))
    request = wire.decode_message(tunnel.request_body(data))
    replies = tunnel.messages(Fields(claims).hex(_RESPONSE))
    for at, reply in enumerate(replies):
        _answers(request, reply, last=at == len(replies) - 1)


def _with_plain_marks(shape: Shape) -> Shape:
    """The request line with marks unquoted that encoders of URLs quote or leave as they like."""
    lines = shape.get(_REQUEST_LINES)
    if not isinstance(lines, list) or not lines or not isinstance(lines[0], str):
        return shape
    first = lines[0]
    for mark in "!'()*~":
        first = first.replace(f"%{ord(mark):02X}", mark)
    return shape | {_REQUEST_LINES: [first, *lines[1:]]}


def _answers(request: Message, octets: bytes, *, last: bool) -> None:
    """Raise VectorMismatch unless `octets` are a reply to the request, written as we would."""
    message_shape(octets)
    reply = wire.decode_message(octets)
    if wire.encode_message(reply) != octets:
        raise VectorMismatch(f"decoded.{_RESPONSE} is not what encoding its message gives")
    expected = wire.response(
        request,
        reply.header.response_code,
        b"",
        site_serial=reply.header.site_serial,
        expiration=reply.header.expiration,
    )
    copied = COPIED_FLAGS & ~Flag.AT
    claims = (
        ("request id", reply.envelope.request_id, request.envelope.request_id),
        ("operation", reply.header.opcode, request.header.opcode),
        ("flags", reply.header.flags & copied, expected.header.flags & copied),
        ("flag CN", reply.header.has(Flag.CN), not last),
        ("recursion count", reply.header.recursion_count, request.header.recursion_count),
        ("session id", reply.envelope.session_id, request.envelope.session_id),
    )
    for name, there, wanted in claims:
        if there != wanted:
            raise VectorMismatch(f"decoded.{_RESPONSE} has {name} {there}, not {wanted}")
    _versions_fit(request.envelope, reply.envelope)
    digest, body = decode_body(reply)
    if digest and wire.digest_of(request.covered(), digest.algorithm) != digest.digest:
        raise VectorMismatch(f"decoded.{_RESPONSE} has another request digest")
    asked = _handle_in(decode_body(request)[1])
    named = getattr(body, "handle", None)
    if isinstance(named, bytes) and reply.header.response_code == 1 and named != asked:
        raise VectorMismatch(f"decoded.{_RESPONSE} answers for {named!r}, not {asked!r}")


def _versions_fit(request: Envelope, reply: Envelope) -> None:
    if reply.version != min(request.suggestion, reply.suggestion):
        raise VectorMismatch(
            f"decoded.{_RESPONSE} has version {reply.version}; with the suggestions "
            f"{request.suggestion} and {reply.suggestion} it would be the lower of them"
        )


def _nothing(_: Shape) -> bytes | None:
    return None


FORMS: dict[str, Form] = {
    "udp_packets": Form(_decode_udp, _encode_udp, _check_udp),
    "http_tunnel": Form(_decode_tunnel, _nothing, _check_tunnel),
}
