"""Is this the reply to that question? (do-irp 4, 6.1, 7.2; threats N2)

Matched on request id, operation, request digest and, where the reply repeats it, the name. A
reply that does not match is no reply; one that matches and is wrongly signed is a lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest

from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey

from protocol.credential import verify_signed
from protocol.doirp.envelope import Version
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import (
    DIGEST_SHA1,
    DIGEST_SHA256,
    FROM_2_7,
    Message,
    RequestDigest,
    digest_of,
    known_code,
    split_request_digest,
)
from protocol.doirp.resolution import MAX_REPLY_HANDLE
from protocol.errors import ParseError, ResponseCode, SignatureInvalid
from protocol.keys import decode_public_key
from protocol.name import fold
from protocol.wire import Reader
from resolver.peers import Endpoint

_PLAIN_FAILURES = frozenset(
    {
        ResponseCode.ERROR,
        ResponseCode.SERVER_BUSY,
        ResponseCode.PROTOCOL_ERROR,
        ResponseCode.OPERATION_NOT_SUPPORTED,
        ResponseCode.SERVER_BACKUP,
    }
)
"""Codes that a server may send before it read the whole request: believed without a digest."""

FLOOR: Version = FROM_2_7
"""Nothing is signed or authenticated below this version (do-irp 21)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An accepted reply.

    body: without the request digest; for a resolution that succeeded, without the name: a value
    list. digest: of the request, None when the server left it out. signature: `signed` by the
    key of the site, `unsigned`, or why it was not checked.
    """

    message: Message
    code: ResponseCode
    body: bytes
    digest: RequestDigest | None
    endpoint: Endpoint
    signature: str

    @property
    def version(self) -> Version:
        return self.message.envelope.version

    @property
    def authoritative(self) -> bool:
        return self.message.header.has(Flag.AT)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a reply must be to count as the one to `request`.

    name: what was asked for, repeated by a resolution reply. key: the server's, when it is known.
    certified: an unsigned reply is refused. now_s: seconds since 1970. challenged: the digest of
    the request whose challenge this one answers: deployed servers repeat that one.
    """

    request: Message
    name: bytes
    key: bytes
    certified: bool
    opcode: int
    now_s: float
    challenged: bytes = b""

    def accept(self, message: Message, endpoint: Endpoint) -> Reply:
        """Raise ParseError when it is no reply to it, SignatureInvalid when it is wrongly signed."""
        header = message.header
        if message.envelope.request_id != self.request.envelope.request_id:
            raise ParseError("it is the reply to another request")
        if message.is_request or message.envelope.encrypted:
            raise ParseError("it is no reply, or encrypted outside a session")
        code = known_code(header.response_code, message.envelope.version)
        if header.opcode != self.opcode and code not in _PLAIN_FAILURES:
            raise ParseError(f"it answers operation {header.opcode}, asked was {self.opcode}")
        if 0 < header.expiration < self.now_s:
            raise ParseError("its time is past; compare the clocks of both nodes")
        digest, body = split_request_digest(message)
        self._check_digest(message, digest, code)
        if self.opcode == OpCode.RESOLUTION and code == ResponseCode.SUCCESS:
            body = self._values(body)
        return Reply(message, code, body, digest, endpoint, self._signature(message))

    def _check_digest(
        self, message: Message, digest: RequestDigest | None, code: ResponseCode
    ) -> None:
        if digest is None:
            if code in _PLAIN_FAILURES:
                return
            raise ParseError("it does not say which request it answers (no request digest)")
        # do-irp 21: SHA-256; SHA-1 only from a server too old to have it, for public reading.
        least = DIGEST_SHA256 if message.envelope.version >= FROM_2_7 else DIGEST_SHA1
        if digest.algorithm < least:
            raise ParseError(f"its request digest is of the weak kind {digest.algorithm}")
        own = digest_of(self.request.covered(), digest.algorithm)
        known = compare_digest(own, digest.digest)
        if not known and not (self.challenged and compare_digest(self.challenged, digest.digest)):
            raise ParseError("it answers another question (request digest)")

    def _values(self, body: bytes) -> bytes:
        reader = Reader(body)
        name = reader.octets(limit=MAX_REPLY_HANDLE)
        if fold(name) != fold(self.name):
            raise ParseError("it answers for another name")
        return bytes(reader.take(reader.left))

    def _signature(self, message: Message) -> str:
        if not self.key:
            return "key unknown"
        if not message.credential:
            # "Busy" says nothing of the name, and a server without room for another signature
            # cannot say it otherwise: it is no lie to be asked about over every transport.
            if self.certified and message.header.response_code != ResponseCode.SERVER_BUSY:
                raise SignatureInvalid("the reply is unsigned, though a signature was asked for")
            return "unsigned"
        verify_signed(message, decode_public_key(self.key))
        return "signed"


def can_certify(key: bytes) -> bool:
    """Whether replies of the holder of this key can be verified: DSA ones cannot (do-irp 21)."""
    if not key:
        return False
    try:
        return not isinstance(decode_public_key(key), DSAPublicKey)
    except ParseError:
        return False
