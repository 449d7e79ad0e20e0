"""Bodies of authentication: challenge (402), its answer (200), its verification (201).

RFC 3652 §3.5; do-irp 7, 7.5, 8.1. How an answer is made and checked is protocol.challenge.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.doirp.envelope import Version
from protocol.doirp.message import FROM_2_1
from protocol.errors import ParseError
from protocol.wire import Reader, Writer

NONCE_SIZE = 16
MAX_NONCE = 1024
_MD5_SIZE = 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """Body of code 402. old_digest: the MD5 request digest that only version 2.0 has here."""

    nonce: bytes
    old_digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class ChallengeResponse:
    """Body of operation 200. auth_type: HS_PUBKEY or HS_SECKEY; user_index unsigned, 0 = any."""

    auth_type: bytes
    user_handle: bytes
    user_index: int
    signed_response: bytes


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Body of operation 201: one server asks another that holds the secret key."""

    user_handle: bytes
    user_index: int
    nonce: bytes
    request_digest: bytes
    signed_response: bytes


@dataclass(frozen=True, slots=True)
class VerifyReply:
    """Success body of operation 201."""

    valid: bool


def decode_challenge(body: bytes | memoryview, version: Version) -> Challenge:
    """Bytes nonce; in version 2.0 bytes MD5 digest. body: without the request digest."""
    reader = Reader(body)
    nonce = reader.octets(limit=MAX_NONCE)
    digest = None
    if version < FROM_2_1:
        digest = reader.octets(limit=_MD5_SIZE)
        if len(digest) != _MD5_SIZE:
            raise ParseError(f"an MD5 request digest has 16 octets, not {len(digest)}")
    reader.finish()
    return Challenge(nonce, digest)


def encode_challenge(challenge: Challenge) -> bytes:
    """The body after the request digest, or the whole old one."""
    out = Writer().octets(challenge.nonce)
    if challenge.old_digest is not None:
        out.octets(challenge.old_digest)
    return out.finish()


def decode_challenge_response(body: bytes | memoryview) -> ChallengeResponse:
    """Str auth type; ref user; bytes signed response."""
    reader = Reader(body)
    response = ChallengeResponse(reader.octets(), reader.octets(), reader.u4(), reader.octets())
    reader.finish()
    return response


def encode_challenge_response(response: ChallengeResponse) -> bytes:
    """The body of operation 200."""
    out = Writer().octets(response.auth_type).octets(response.user_handle)
    return out.u4(response.user_index).octets(response.signed_response).finish()


def decode_verify_request(body: bytes | memoryview) -> VerifyRequest:
    """Ref user; bytes nonce; bytes request digest; bytes signed response."""
    reader = Reader(body)
    request = VerifyRequest(
        reader.octets(), reader.u4(), reader.octets(), reader.octets(), reader.octets()
    )
    reader.finish()
    return request


def encode_verify_request(request: VerifyRequest) -> bytes:
    """The body of operation 201."""
    out = Writer().octets(request.user_handle).u4(request.user_index).octets(request.nonce)
    return out.octets(request.request_digest).octets(request.signed_response).finish()


def decode_verify_reply(body: bytes | memoryview) -> VerifyReply:
    """u1, bit 0 = valid."""
    reader = Reader(body)
    octet = reader.u1()
    reader.finish()
    return VerifyReply(bool(octet & 1))


def encode_verify_reply(reply: VerifyReply) -> bytes:
    """u1."""
    return bytes((reply.valid,))
