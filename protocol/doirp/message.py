"""Message: header, body and credential behind one envelope (RFC 3652 §2.2; do-irp 4, 5, 6.1).

Builds requests and replies by the version and flag rules. What a body says is read by the files
beside this one; who may sign what is protocol.credential.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from protocol.doirp.envelope import (
    ENVELOPE_SIZE,
    MAX_MESSAGE,
    OWN_VERSION,
    UNKNOWN_SITE_VERSION,
    Envelope,
    Version,
    decode_envelope,
    encode_envelope,
    reply_version,
)
from protocol.doirp.header import (
    COPIED_FLAGS,
    HEADER_SIZE,
    REQUEST_FLAGS,
    UNKNOWN_SERIAL,
    Flag,
    Header,
    OpCode,
    decode_header,
    encode_header,
)
from protocol.errors import ParseError, ResponseCode, Truncated
from protocol.wire import Reader, Writer

CREDENTIAL_LENGTH = 4
"""Octets of the length before a credential; 0 when there is none."""

DIGEST_MD5_OLD = 0
DIGEST_MD5 = 1
DIGEST_SHA1 = 2
DIGEST_SHA256 = 3
DIGEST_NAMES = {DIGEST_MD5: "md5", DIGEST_SHA1: "sha1", DIGEST_SHA256: "sha256"}
"""Digest codes of the wire and hashlib's names for them."""
_DIGEST_SIZES = {DIGEST_MD5: 16, DIGEST_SHA1: 20, DIGEST_SHA256: 32}

_COPIED, _REC = COPIED_FLAGS.value, Flag.REC.value
_AT, _RD = Flag.AT.value, Flag.RD.value

FROM_2_1: Version = (2, 1)
FROM_2_5: Version = (2, 5)
FROM_2_7: Version = (2, 7)


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message.

    body: the octets that header.body_length counts, a request digest included.
    credential: the octets after the credential length; empty when there is none.
    """

    envelope: Envelope
    header: Header
    body: bytes = b""
    credential: bytes = b""

    @property
    def is_request(self) -> bool:
        return self.header.response_code == ResponseCode.REQUEST

    def covered(self) -> bytes:
        """Header and body as they travel: what digests and signatures are made over."""
        return encode_header(self.header) + self.body


@dataclass(frozen=True, slots=True)
class RequestDigest:
    """What a reply says about its request. algorithm: 0 (old layout), 1 MD5, 2 SHA-1, 3 SHA-256."""

    algorithm: int
    digest: bytes


def decode_message(data: bytes | bytearray | memoryview) -> Message:
    """Envelope and plain message, nothing after them.

    Raises Truncated or ParseError, nothing else; ParseError too when the message is encrypted.
    """
    view = memoryview(data)
    envelope = decode_envelope(view)
    if envelope.encrypted:
        raise ParseError("the message is encrypted; decrypt it, then use decode_message_part()")
    return decode_message_part(envelope, view[ENVELOPE_SIZE:])


def decode_message_part(envelope: Envelope, part: bytes | bytearray | memoryview) -> Message:
    """A message whose envelope was read already. part: decrypted, reassembled.

    An encrypted envelope is taken to have been decrypted by the caller: its length then counts
    the ciphertext and is not compared.
    """
    if envelope.compressed:
        raise ParseError("the message says it is compressed; no compression method is defined")
    view = memoryview(part)
    if not envelope.encrypted and len(view) != envelope.length:
        error = Truncated if len(view) < envelope.length else ParseError
        raise error(f"the envelope says {envelope.length} octets, {len(view)} are there")
    header = decode_header(view)
    end = HEADER_SIZE + header.body_length
    if end > len(view):
        raise Truncated(
            f"body length {header.body_length} is more than the {len(view) - HEADER_SIZE} left"
        )
    return Message(envelope, header, bytes(view[HEADER_SIZE:end]), _credential(view[end:]))


def _credential(tail: memoryview) -> bytes:
    # A message may end right after the body: old peers leave the length out.
    if not tail:
        return b""
    reader = Reader(tail)
    credential = reader.octets()
    reader.finish()
    return credential


def encode_message(message: Message) -> bytes:
    """Envelope, header, body, credential; both lengths are set from what is there."""
    part, envelope = encode_message_part(message), message.envelope
    if envelope.length != len(part):
        envelope = replace(envelope, length=len(part))
    return encode_envelope(envelope) + part


def encode_message_part(message: Message) -> bytes:
    """The message without its envelope: what UDP splits and sessions encrypt."""
    header = message.header
    if header.body_length != len(message.body):
        header = replace(header, body_length=len(message.body))
    out = Writer().raw(encode_header(header)).raw(message.body).octets(message.credential)
    part = out.finish()
    if len(part) > MAX_MESSAGE:
        raise ParseError(f"a message of {len(part)} octets is above {MAX_MESSAGE}; send less")
    return part


def request(
    opcode: int,
    body: bytes,
    *,
    request_id: int,
    expiration: int,
    site_version: Version | None = None,
    own: Version = OWN_VERSION,
    flags: int = REQUEST_FLAGS,
    session_id: int = 0,
    site_serial: int = UNKNOWN_SERIAL,
    recursion_count: int = 0,
    credential: bytes = b"",
) -> Message:
    """A request, lengths set.

    site_version: what the site record says the server speaks; None when it is not known.
    own: our highest. The message takes the lower of the two and suggests our highest.
    """
    version = min(site_version, own) if site_version else UNKNOWN_SITE_VERSION
    return _sized(
        Envelope(
            major=version[0],
            minor=version[1],
            request_id=request_id,
            session_id=session_id,
            suggest_major=own[0],
            suggest_minor=own[1],
        ),
        Header(
            opcode=int(opcode),
            flags=int(flags),
            site_serial=site_serial,
            recursion_count=recursion_count,
            expiration=expiration,
        ),
        body,
        credential,
    )


def response(
    to: Message,
    code: int,
    body: bytes,
    *,
    site_serial: int,
    expiration: int,
    authoritative: bool = False,
    session_id: int | None = None,
    set_flags: int = 0,
    opcode: int | None = None,
    own: Version = OWN_VERSION,
    credential: bytes = b"",
) -> Message:
    """A reply to the request `to`: version, flags, digest and code by the rules (do-irp 4, 5.2, 6.1).

    body: the fields of the answer; the request digest is put in front where the request asks for
    it, and before every challenge. authoritative: a primary answers. session_id: other than the
    request's, for challenges and session set-up. set_flags: CN, KC, OWE, MNS as they apply.
    opcode: of the challenged request, when `to` is the answer to a challenge.
    """
    version = reply_version(to.envelope, own)
    flags = (to.header.flags & _COPIED) | _REC | int(set_flags)
    if authoritative:
        flags |= _AT
    if code == ResponseCode.AUTHENTICATION_NEEDED:
        flags |= _RD
    if version < FROM_2_1:
        # 2.0 knows the digest only inside its challenge body.
        flags &= ~_RD
    if flags & _RD:
        body = encode_request_digest(request_digest(to, version)) + body
    # Built with their lengths at once: a reply is made for every request.
    return Message(
        Envelope(
            major=version[0],
            minor=version[1],
            request_id=to.envelope.request_id,
            session_id=to.envelope.session_id if session_id is None else session_id,
            length=HEADER_SIZE + len(body) + CREDENTIAL_LENGTH + len(credential),
            suggest_major=own[0],
            suggest_minor=own[1],
        ),
        Header(
            opcode=to.header.opcode if opcode is None else opcode,
            response_code=code_for(code, version),
            flags=flags,
            site_serial=site_serial,
            recursion_count=to.header.recursion_count,
            expiration=expiration,
            body_length=len(body),
        ),
        body,
        credential,
    )


def with_credential(message: Message, credential: bytes) -> Message:
    """The same message, signed: lengths set anew."""
    return _sized(message.envelope, message.header, message.body, credential)


def _sized(envelope: Envelope, header: Header, body: bytes, credential: bytes) -> Message:
    length = HEADER_SIZE + len(body) + CREDENTIAL_LENGTH + len(credential)
    return Message(
        replace(envelope, length=length),
        replace(header, body_length=len(body)),
        body,
        credential,
    )


def code_for(code: int, version: Version) -> int:
    """A response code as a peer of that version knows it."""
    if version < FROM_2_5:
        if code == ResponseCode.SERVER_BACKUP:
            return ResponseCode.PREFIX_REFERRAL.value
        if code == ResponseCode.INVALID_VALUE:
            return ResponseCode.VALUE_ALREADY_EXISTS.value
    return int(code)


def known_code(code: int, version: Version) -> ResponseCode:
    """What a reply of that version means by a code; unknown ones mean ERROR."""
    if version < FROM_2_5 and code == ResponseCode.PREFIX_REFERRAL:
        return ResponseCode.SERVER_BACKUP
    try:
        return ResponseCode(code)
    except ValueError:
        return ResponseCode.ERROR


def digest_algorithm(version: Version) -> int:
    """The code of the digest that a reply of this version carries."""
    if version >= FROM_2_7:
        return DIGEST_SHA256
    return DIGEST_SHA1 if version >= FROM_2_1 else DIGEST_MD5_OLD


def digest_of(covered: bytes, algorithm: int) -> bytes:
    """The digest of header and body of a request by a wire code. Raises ParseError if unknown."""
    name = DIGEST_NAMES.get(algorithm, "md5" if algorithm == DIGEST_MD5_OLD else None)
    if name is None:
        raise ParseError(f"request digest algorithm {algorithm} is unknown")
    # MD5 and SHA-1 are what old versions put here; callers refuse them by version.
    return hashlib.new(name, covered, usedforsecurity=False).digest()


def request_digest(to: Message, version: Version) -> RequestDigest:
    """The digest that a reply of `version` to this request carries."""
    algorithm = digest_algorithm(version)
    return RequestDigest(algorithm, digest_of(to.covered(), algorithm))


def encode_request_digest(digest: RequestDigest) -> bytes:
    """The first part of a reply body."""
    if digest.algorithm == DIGEST_MD5_OLD:
        return Writer().octets(digest.digest).finish()
    size = _DIGEST_SIZES.get(digest.algorithm)
    if size != len(digest.digest):
        raise ParseError(
            f"request digest algorithm {digest.algorithm} with {len(digest.digest)} octets"
        )
    return Writer().u1(digest.algorithm).raw(digest.digest).finish()


def split_request_digest(message: Message) -> tuple[RequestDigest | None, bytes]:
    """A reply's digest, where flag RD says it is there, and the body after it.

    Raises ParseError on an unknown algorithm or a body that ends within the digest.
    """
    if message.is_request or not message.header.has(Flag.RD):
        return None, message.body
    reader = Reader(message.body)
    algorithm = reader.u1()
    if algorithm == DIGEST_MD5_OLD:
        # The old form is `bytes`: the octet just read was the first of its length.
        reader = Reader(message.body)
        digest = reader.octets()
        if len(digest) != _DIGEST_SIZES[DIGEST_MD5]:
            raise ParseError(f"an MD5 request digest has 16 octets, not {len(digest)}")
    elif algorithm in _DIGEST_SIZES:
        digest = bytes(reader.take(_DIGEST_SIZES[algorithm]))
    else:
        raise ParseError(f"request digest algorithm {algorithm} is unknown")
    return RequestDigest(algorithm, digest), bytes(reader.take(reader.left))


def operation(opcode: int) -> OpCode:
    """The operation of a code. Raises ParseError when it is unknown."""
    try:
        return OpCode(opcode)
    except ValueError:
        raise ParseError(f"operation code {opcode} is unknown") from None
