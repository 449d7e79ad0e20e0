"""Exchange: one request with its way through the server, and Reply: what an operation says to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from protocol.doirp.header import Flag
from protocol.doirp.message import Message
from protocol.errors import ResponseCode
from protocol.record import Reference
from protocol.wire import Writer
from resolver.doirp.sessions import Session


class Transport(StrEnum):
    """How a message came."""

    UDP = "udp"
    TCP = "tcp"
    HTTP = "http"  # inside a POST (do-irp 3.3)
    HTTPS = "https"


class Peer(NamedTuple):
    """Who sent it. host: numeric address as the socket gives it. secure: nobody can listen."""

    host: str
    port: int
    transport: Transport

    @property
    def secure(self) -> bool:
        return self.transport is Transport.HTTPS


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation answers.

    body: without request digest. flags: CN, OWE, MNS as they apply. authoritative: this node is
    a primary for what is said. session_id: other than the request's. private: holds values that
    not everybody may read. site_signed: signed with the site key even inside a session.
    """

    code: int = ResponseCode.SUCCESS
    body: bytes = b""
    flags: int = 0
    authoritative: bool = True
    session_id: int | None = None
    private: bool = False
    site_signed: bool = False


Replies = AsyncIterator[Reply]


@dataclass(slots=True)
class Exchange:
    """One request. Made by the handler once the octets were a message.

    message: the request to carry out, decrypted. answers: the message that the reply goes to; not
    `message` only where that was challenged and this one brought the proof. identity: proved,
    or None. session: whose MAC the request bears.
    """

    message: Message
    peer: Peer
    answers: Message
    session: Session | None = None
    identity: Reference | None = None

    def has(self, flag: Flag) -> bool:
        return self.message.header.has(flag)

    @property
    def keep_alive(self) -> bool:
        return self.answers.header.has(Flag.KC)


def error_reply(code: int, text: str = "") -> Reply:
    """An error (do-irp 7.3): the message for people, cut to stay small."""
    return Reply(code, Writer().octets(text.encode()[:MAX_ERROR_TEXT]).finish())


MAX_ERROR_TEXT = 300
