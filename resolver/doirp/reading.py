"""Octets to a request, or to the refusal that octets deserve which are none (do-irp 17.1)."""

from __future__ import annotations

from protocol.doirp.envelope import (
    ENVELOPE,
    ENVELOPE_SIZE,
    SUGGEST_MAJOR,
    Envelope,
    decode_envelope,
)
from protocol.doirp.header import HEADER_SIZE, Header, decode_header
from protocol.doirp.message import Message, decode_message_part
from protocol.errors import ParseError, ResponseCode
from resolver.doirp.exchange import Transport


class Unreadable(Exception):
    """Octets that are no request. message: what could be read of it, to echo; None: say nothing."""

    def __init__(self, code: int, text: str, message: Message | None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.message = message


def read_envelope(data: bytes) -> Envelope:
    """The envelope of a whole message. Raises Unreadable."""
    if len(data) < ENVELOPE_SIZE:
        raise Unreadable(ResponseCode.PROTOCOL_ERROR, "", None)
    try:
        envelope = decode_envelope(data)
    except ParseError as error:
        raise Unreadable(ResponseCode.PROTOCOL_ERROR, str(error), _echo(data)) from None
    if envelope.compressed:
        raise Unreadable(
            ResponseCode.PROTOCOL_ERROR,
            "the message says it is compressed, and no compression method is defined",
            _echo(data),
        )
    if len(data) - ENVELOPE_SIZE != envelope.length:
        raise Unreadable(
            ResponseCode.PROTOCOL_ERROR,
            f"the envelope says {envelope.length} octets, {len(data) - ENVELOPE_SIZE} came",
            _echo(data),
        )
    return envelope


def read_request(envelope: Envelope, part: bytes, transport: Transport) -> Message:
    """A request whose envelope was read. part: decrypted, reassembled. Raises Unreadable.

    A reply is never answered: two servers would answer each other for ever.
    """
    echo = echo_of(envelope, part)
    if len(part) < HEADER_SIZE:
        raise Unreadable(
            ResponseCode.PROTOCOL_ERROR,
            f"a message has at least {HEADER_SIZE} octets, {len(part)} are there",
            echo,
        )
    if echo.header.response_code != ResponseCode.REQUEST:
        raise Unreadable(ResponseCode.PROTOCOL_ERROR, "", None)
    if echo.header.opcode == 0:
        raise Unreadable(ResponseCode.PROTOCOL_ERROR, "operation code 0 is no operation", echo)
    try:
        return decode_message_part(envelope, part)
    except ParseError as error:
        raise Unreadable(unparsed(transport), str(error), echo) from None


def unparsed(transport: Transport) -> ResponseCode:
    """The code for a message that does not parse, and for an unknown operation."""
    if transport is Transport.TUNNEL:
        return ResponseCode.PROTOCOL_ERROR
    return ResponseCode.ERROR


def _echo(data: bytes) -> Message:
    """What can be read of a message whose envelope is wrong: versions, ids, operation, flags."""
    major, minor, flags, suggest_minor, session, request, _, _ = ENVELOPE.unpack_from(data)
    envelope = Envelope(
        major,
        minor,
        request,
        session,
        suggest_major=flags & SUGGEST_MAJOR,
        suggest_minor=suggest_minor,
    )
    return echo_of(envelope, data[ENVELOPE_SIZE:])


def echo_of(envelope: Envelope, part: bytes) -> Message:
    """Envelope and header alone; a header that is not there is all nought."""
    header = decode_header(part) if len(part) >= HEADER_SIZE else Header(0, flags=0)
    return Message(envelope, header)
