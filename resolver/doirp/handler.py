"""A DO-IRP request from octets to octets: read, look who asks, carry out, write the reply.

The one way for UDP, TCP and the HTTP tunnel; the plainest questions have a shorter one with the
same octets (resolver.doirp.fast). What each operation does is in OPERATIONS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from struct import Struct

import structlog

from protocol.doirp.envelope import (
    ENVELOPE_SIZE,
    MAX_MESSAGE,
    Envelope,
    decode_envelope,
)
from protocol.doirp.header import EXPIRATION_S, HEADER_SIZE, Flag, Header, OpCode, decode_header
from protocol.doirp.message import (
    Message,
    decode_message_part,
    encode_message,
    response,
)
from protocol.doirp.referral import error_body
from protocol.errors import BiaoshiError, ParseError, ResponseCode, Truncated
from resolver.doirp import admin, challenge, questions, sessions
from resolver.doirp.counting import count
from resolver.doirp.exchange import Exchange, Peer, Replies, Reply, Transport, error_reply
from resolver.doirp.fast import FastAnswer, plain_answers
from resolver.node import Node
