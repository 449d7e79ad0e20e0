"""Vector forms of messages: envelope, request, response, response_legacy.

message_shape() and message_of() serve the kinds about signed messages too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from protocol.credential import Credential, decode_credential, encode_credential
from protocol.doirp import message as wire
from protocol.doirp.authentication import Challenge
from protocol.doirp.bodies import Body, body_type, decode_body, encode_body
from protocol.doirp.envelope import (
    ENVELOPE_SIZE,
    Envelope,
    decode_envelope,
    encode_envelope,
)
from protocol.doirp.header import HEADER_SIZE, Flag, Header, decode_header
from protocol.doirp.message import Message, RequestDigest
from protocol.errors import ParseError
from protocol.jsonfields import Fields, signed32, text_of
from protocol.vectorform.bodies import body_of, body_shape
from protocol.vectorform.form import (
    Form,
    Shape,
    VectorMismatch,
    claims_of,
    compare,
    hex_of,
    two_way,
)

_FLAG_NAMES = (
    ("authoritative", Flag.AT),
    ("certify", Flag.CT),
    ("encrypt", Flag.ENC),
    ("recursive", Flag.REC),
    ("cache_certify", Flag.CA),
    ("continuous", Flag.CN),
    ("keep_alive", Flag.KC),
    ("public_only", Flag.PO),
    ("return_request_digest", Flag.RD),
    ("overwrite_when_exists", Flag.OWE),
    ("mint_new_suffix", Flag.MNS),
    ("do_not_refer", Flag.DNR),
)
_COVERED = "request_header_body_hex"
_WRITTEN = "suggest_as_written"


def envelope_shape(envelope: Envelope) -> Shape:
    """suggest_* is the effective suggestion."""
    return {
        "major": envelope.major,
        "minor": envelope.minor,
        "compressed": envelope.compressed,
        "encrypted": envelope.encrypted,
        "truncated": envelope.truncated,
        "suggest_major": _suggestion(envelope)[0],
        "suggest_minor": _suggestion(envelope)[1],
        "session_id": signed32(envelope.session_id),
        "request_id": signed32(envelope.request_id),
        "sequence_number": signed32(envelope.sequence),
        "message_length": signed32(envelope.length),
    }


def _suggestion(envelope: Envelope) -> tuple[int, int]:
    # Here major 5 is shown as it is written, as the message's own version is.
    if envelope.suggest_major:
        return envelope.suggest_major, envelope.suggest_minor
    return envelope.major, envelope.minor


def envelope_of(fields: Fields) -> Envelope:
    """The envelope; its suggestion written as `suggest_as_written` says, if it is there."""
    suggest = fields.u1("suggest_major"), fields.u1("suggest_minor")
    if _WRITTEN in fields:
        suggest = _written(fields)
    return Envelope(
        major=fields.u1("major"),
        minor=fields.u1("minor"),
        request_id=fields.u4("request_id"),
        session_id=fields.u4("session_id"),
        sequence=fields.u4("sequence_number"),
        length=fields.u4("message_length"),
        suggest_major=suggest[0],
        suggest_minor=suggest[1],
        compressed=fields.flag("compressed"),
        encrypted=fields.flag("encrypted"),
        truncated=fields.flag("truncated"),
    )


def _written(fields: Fields) -> tuple[int, int]:
    text = fields.text(_WRITTEN).decode()
    major, dot, minor = text.partition(".")
    if dot and all(part.isascii() and part.isdigit() and len(part) <= 3 for part in (major, minor)):
        numbers = int(major), int(minor)
        if max(numbers) <= 0xFF:
            return numbers
    raise ParseError(f"{fields.path(_WRITTEN)} is {text!r:.40}; wanted a version like 2.10")


def _decode_envelope(data: bytes) -> Shape:
    envelope = decode_envelope(data)
    if len(data) != ENVELOPE_SIZE:
        raise ParseError(f"an envelope has {ENVELOPE_SIZE} octets, {len(data)} are there")
    written = f"{envelope.suggest_major}.{envelope.suggest_minor}"
    return envelope_shape(envelope) | {_WRITTEN: written}


def _encode_envelope(decoded: Shape) -> bytes:
    return encode_envelope(envelope_of(Fields(decoded)))


def header_shape(header: Header) -> Shape:
    return {
        "opcode": signed32(header.opcode),
        "response_code": signed32(header.response_code),
        "opflags": f"{header.flags:08x}",
        "flags": {name: header.has(flag) for name, flag in _FLAG_NAMES},
        "site_info_serial": header.site_serial,
        "recursion_count": header.recursion_count,
        "expiration": signed32(header.expiration),
        "body_length": signed32(header.body_length),
    }


def header_of(fields: Fields) -> Header:
    flags = fields.hex("opflags")
    if len(flags) != 4:
        raise ParseError(f"{fields.path('opflags')} has {len(flags)} octets, not 4")
    return Header(
        opcode=fields.u4("opcode"),
        response_code=fields.u4("response_code"),
        flags=int.from_bytes(flags),
        site_serial=fields.u2("site_info_serial"),
        recursion_count=fields.u1("recursion_count"),
        expiration=fields.u4("expiration"),
        body_length=fields.u4("body_length"),
    )


def credential_shape(octets: bytes) -> Shape | None:
    """What `decoded.credential` shows; None when there is none. Raises ParseError."""
    if not octets:
        return None
    credential = decode_credential(octets)
    return {
        "length": len(octets),
        "version": credential.version,
        "reserved": credential.reserved,
        "options": credential.options,
        "signer_handle": text_of(credential.signer, "signer_handle"),
        "session_counter": signed32(credential.counter),
        "type": text_of(credential.type, "the credential type"),
        "signed_info_length": len(credential.algorithm) + len(credential.signature) + 8,
        "digest_algorithm_hex": credential.algorithm.hex(),
        "digest_algorithm": text_of(credential.algorithm, "the digest algorithm"),
        "signed_data_hex": credential.signature.hex(),
    }


def credential_of(fields: Fields) -> bytes:
    """The inverse of credential_shape()."""
    return encode_credential(
        Credential(
            type=fields.text("type"),
            algorithm=fields.hex("digest_algorithm_hex"),
            signature=fields.hex("signed_data_hex"),
            counter=fields.u4("session_counter"),
            signer=fields.text("signer_handle"),
            version=fields.u1("version"),
            reserved=fields.u1("reserved"),
            options=fields.u2("options"),
        )
    )


def message_shape(data: bytes) -> Shape:
    """envelope, header, request_digest (where the flag is set), body, credential."""
    message = wire.decode_message(data)
    digest, body = decode_body(message)
    shape: Shape = {
        "envelope": envelope_shape(message.envelope),
        "header": header_shape(message.header),
    }
    if digest is not None:
        shape["request_digest"] = {
            "algorithm": digest.algorithm,
            "digest_hex": digest.digest.hex(),
        }
    shape["body"] = body_shape(body, message.envelope.version)
    shape["credential"] = credential_shape(message.credential)
    return shape


def message_of(decoded: Shape) -> Message:
    """The message that such a shape describes. Raises ParseError naming the field."""
    fields = Fields(decoded)
    envelope = envelope_of(fields.object("envelope"))
    header = header_of(fields.object("header"))
    version = envelope.version
    kind: type[Body] = body_type(header.opcode, header.response_code, version)
    body = encode_body(body_of(kind, fields.object("body"), version), version)
    if "request_digest" in fields:
        digest = fields.object("request_digest")
        body = (
            wire.encode_request_digest(
                RequestDigest(digest.u1("algorithm"), digest.hex("digest_hex"))
            )
            + body
        )
    credential = b""
    if "credential" in fields and fields.any("credential") is not None:
        credential = credential_of(fields.object("credential"))
    return Message(envelope, header, body, credential)


def encode_shape(decoded: Shape) -> bytes:
    """The octets of a message from its shape. Raises ParseError naming the field."""
    return wire.encode_message(message_of(decoded))


def encode_like(decoded: Shape, original: bytes) -> bytes:
    """As encode_shape(), but no suggestion is written where the original has none.

    The shape shows the effective suggestion only, which is then the message's own version.
    """
    message = message_of(decoded)
    there = decode_envelope(original)
    if there.suggest_major == there.suggest_minor == 0:
        envelope = replace(message.envelope, suggest_major=0, suggest_minor=0)
        message = replace(message, envelope=envelope)
    return wire.encode_message(message)


def _decode_kind(data: bytes, *, request: bool) -> Shape:
    shape = message_shape(data)
    if (shape["header"]["response_code"] == 0) is not request:
        raise ParseError(f"the message is a {'response' if request else 'request'}; say so by kind")
    return shape


def _decode_request(data: bytes) -> Shape:
    return _decode_kind(data, request=True)


def _decode_response(data: bytes) -> Shape:
    return _decode_kind(data, request=False)


def _covered_holds(data: bytes, decoded: Shape) -> None:
    message = wire.decode_message(data)
    digest, _ = wire.split_request_digest(message)
    if digest is None:
        raise VectorMismatch(f"decoded.{_COVERED} is there, but no request digest")
    covered = Fields(decoded).hex(_COVERED)
    _check_covered(covered, message)
    if wire.digest_of(covered, digest.algorithm) != digest.digest:
        raise VectorMismatch(f"decoded.{_COVERED} does not have the request digest of the reply")


def _check_covered(covered: bytes, reply: Message) -> None:
    """Raise VectorMismatch unless `covered` is header and body of a request of that operation."""
    header = decode_header(covered)
    if header.response_code or header.opcode != reply.header.opcode:
        raise VectorMismatch(f"decoded.{_COVERED} is no request of operation {reply.header.opcode}")
    if header.body_length != len(covered) - HEADER_SIZE:
        raise VectorMismatch(f"decoded.{_COVERED} does not end with its body")


def _decode_legacy(data: bytes) -> Shape:
    message = wire.decode_message(data)
    _, body = decode_body(message)
    if not isinstance(body, Challenge) or body.old_digest is None:
        raise ParseError("the message is no challenge of version 2.0")
    return {
        "envelope": envelope_shape(message.envelope),
        "nonce_hex": body.nonce.hex(),
        "md5_request_digest_hex": body.old_digest.hex(),
    }


def _check_legacy(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_of(vector)
    compare({name: claims[name] for name in claims if name != _COVERED}, _decode_legacy(data))
    message = wire.decode_message(data)
    if wire.encode_message(message) != data:
        raise VectorMismatch("encoding what was decoded does not give `hex`")
    if _COVERED in claims:
        covered = Fields(claims).hex(_COVERED)
        _check_covered(covered, message)
        if wire.digest_of(covered, wire.DIGEST_MD5).hex() != claims["md5_request_digest_hex"]:
            raise VectorMismatch(f"decoded.{_COVERED} does not have the MD5 digest of the reply")


def _encode_nothing(_: Shape) -> bytes | None:
    return None


FORMS: dict[str, Form] = {
    "envelope": two_way(_decode_envelope, _encode_envelope),
    "request": two_way(_decode_request, encode_shape, like=encode_like),
    "response": two_way(
        _decode_response, encode_shape, like=encode_like, also={_COVERED: _covered_holds}
    ),
    "response_legacy": Form(_decode_legacy, _encode_nothing, _check_legacy),
}
