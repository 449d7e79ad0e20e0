"""Envelope: the 20 octets before every message or packet (RFC 3652 §2.2.1, DO-IRP 6.2.1).

Carries versions, session, request id and packet number. Knows nothing of what follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812

from protocol.errors import ParseError, Truncated

ENVELOPE = Struct(">BBBBIIII")
"""major, minor, flags + suggested major, suggested minor, session id, request id, sequence number,
message length. The hot path packs it directly."""
ENVELOPE_SIZE = ENVELOPE.size
MAX_MESSAGE = 262_144
"""Octets of a whole message without its envelope."""

COMPRESSED = 0x80
ENCRYPTED = 0x40
TRUNCATED = 0x20
SUGGEST_MAJOR = 0x1F

OLD_CLIENT_MAJOR = 5
"""An old client's mistake; it means version 2.0."""

Version = tuple[int, int]
V2_0: Version = (2, 0)
OWN_VERSION: Version = (2, 11)
"""The highest version this software speaks and suggests."""
UNKNOWN_SITE_VERSION: Version = (2, 3)
"""What a client writes as the message version to a server whose site record it does not know."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One envelope. All numbers as on the wire, unsigned.

    suggest_major 0: no suggestion. sequence: packet number from 0. length: octets of the whole
    message (header, body, credential; the ciphertext when encrypted).
    """

    major: int
    minor: int
    request_id: int
    session_id: int = 0
    sequence: int = 0
    length: int = 0
    suggest_major: int = 0
    suggest_minor: int = 0
    compressed: bool = False
    encrypted: bool = False
    truncated: bool = False

    @property
    def version(self) -> Version:
        """The message version; 5.x is read as 2.0."""
        return V2_0 if self.major == OLD_CLIENT_MAJOR else (self.major, self.minor)

    @property
    def suggestion(self) -> Version:
        """The effective suggested version: the message's own where none is written."""
        if self.suggest_major == 0:
            return self.version
        if self.suggest_major == OLD_CLIENT_MAJOR:
            return V2_0
        return (self.suggest_major, self.suggest_minor)


def decode_envelope(data: bytes | bytearray | memoryview) -> Envelope:
    """Read the first 20 octets of a datagram or of a TCP message.

    Raises Truncated below 20 octets and ParseError on a length above 262144; nothing else.
    """
    if len(data) < ENVELOPE_SIZE:
        raise Truncated(f"an envelope has {ENVELOPE_SIZE} octets, {len(data)} are there")
    major, minor, flags, suggest_minor, session, request, sequence, length = ENVELOPE.unpack_from(
        data
    )
    if length > MAX_MESSAGE:
        raise ParseError(f"message length {length} is above {MAX_MESSAGE}")
    return Envelope(
        major=major,
        minor=minor,
        request_id=request,
        session_id=session,
        sequence=sequence,
        length=length,
        suggest_major=flags & SUGGEST_MAJOR,
        suggest_minor=suggest_minor,
        compressed=bool(flags & COMPRESSED),
        encrypted=bool(flags & ENCRYPTED),
        truncated=bool(flags & TRUNCATED),
    )


def encode_envelope(envelope: Envelope) -> bytes:
    """The 20 octets. Raises ParseError when a field does not fit its width."""
    if not 0 <= envelope.suggest_major <= SUGGEST_MAJOR:
        raise ParseError(f"suggested major {envelope.suggest_major} does not fit five bits")
    if envelope.length > MAX_MESSAGE:
        raise ParseError(f"message length {envelope.length} is above {MAX_MESSAGE}")
    flags = (
        envelope.suggest_major
        | (COMPRESSED if envelope.compressed else 0)
        | (ENCRYPTED if envelope.encrypted else 0)
        | (TRUNCATED if envelope.truncated else 0)
    )
    try:
        return ENVELOPE.pack(
            envelope.major,
            envelope.minor,
            flags,
            envelope.suggest_minor,
            envelope.session_id,
            envelope.request_id,
            envelope.sequence,
            envelope.length,
        )
    except StructError as error:
        raise ParseError(f"an envelope field does not fit: {error}; {envelope}") from None


def reply_version(request: Envelope, own: Version = OWN_VERSION) -> Version:
    """The version of a reply: the lower of the request's suggestion and our own highest."""
    return min(request.suggestion, own)
