"""Exchange: one request with its way through the server, and Reply: what an operation says to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from protocol.doirp.header import Flag
from protocol.doirp.message import Message
from protocol.doirp.referral import error_body
from protocol.errors import ResponseCode
from protocol.record import Reference
from resolver.doirp.session_table import Session

_MOST_TEXT = 300
"""Characters of an error's text: an error stays smaller than most requests' answers."""


class Transport(StrEnum):
    """How a message came; the value is the face's name in the metrics."""

    UDP = "udp"
    TCP = "tcp"
    TUNNEL = "tunnel"  # inside an HTTP POST (do-irp 3.3)


class Peer(NamedTuple):
    """Who sent a message. host: numeric address as the socket gives it. secure: over TLS."""

    host: str
    port: int
    transport: Transport
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation answers.

    body: without request digest. flags: CN, OWE, MNS as they apply. authoritative: this node is
    a primary for what is said. session_id: other than the request's. private: holds values that
    not everybody may read. site_signed: always signed with the site key. changed: a write was
    accepted. stale: from a cache, past its TTL: the message expires soon, which marks it.
    """

    code: int = ResponseCode.SUCCESS
    body: bytes = b""
    flags: int = 0
    authoritative: bool = True
    session_id: int | None = None
    private: bool = False
    site_signed: bool = False
    changed: bool = False
    stale: bool = False


Replies = AsyncIterator[Reply]


@dataclass(slots=True)
class Exchange:
    """One request.

    message: the request to carry out, decrypted. peer: who sent it. answers: the message that the
    reply goes to; another than `message` where that was challenged and this one brought the proof.
    identity: proved, or None. session: the one whose MAC the request bears.
    """

    message: Message
    peer: Peer
    answers: Message = field(init=False)
    session: Session | None = None
    identity: Reference | None = None

    def __post_init__(self) -> None:
        self.answers = self.message

    def has(self, flag: Flag) -> bool:
        return self.message.header.has(flag)

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is kept open for another request."""
        return self.answers.header.has(Flag.KC)


def error_reply(code: int, text: str = "", *, authoritative: bool = True) -> Reply:
    """An error (do-irp 7.3) with one line for people."""
    return Reply(code, error_body(text[:_MOST_TEXT]), authoritative=authoritative)
