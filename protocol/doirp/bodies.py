"""Which body belongs to which message: one table by operation and response code (do-irp 7).

The bodies themselves are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.doirp import administration as admin
from protocol.doirp import authentication as auth
from protocol.doirp import referral, replication, resolution, session
from protocol.doirp.envelope import Version
from protocol.doirp.header import OpCode
from protocol.doirp.message import (
    FROM_2_5,
    Message,
    RequestDigest,
    operation,
    split_request_digest,
)
from protocol.errors import ParseError, ResponseCode
from protocol.values import hs_site

Body = (
    admin.NameRequest
    | admin.ValuesRequest
    | admin.IndexesRequest
    | admin.CreatedReply
    | admin.NamesReply
    | admin.EmptyReply
    | auth.Challenge
    | auth.ChallengeResponse
    | auth.VerifyRequest
    | auth.VerifyReply
    | hs_site.Site
    | referral.Referral
    | referral.ErrorBody
    | replication.RetrieveTransactions
    | replication.DumpRequest
    | replication.NextTransactionReply
    | replication.RetrieveReply
    | resolution.ResolutionRequest
    | resolution.ResolutionReply
    | session.SessionSetup
    | session.SessionSetupReply
    | session.KeyExchangeRequest
)

_REQUESTS: dict[OpCode, type[Body]] = {
    OpCode.RESOLUTION: resolution.ResolutionRequest,
    OpCode.GET_SITE_INFO: admin.NameRequest,
    OpCode.CREATE_HANDLE: admin.ValuesRequest,
    OpCode.DELETE_HANDLE: admin.NameRequest,
    OpCode.ADD_VALUE: admin.ValuesRequest,
    OpCode.REMOVE_VALUE: admin.IndexesRequest,
    OpCode.MODIFY_VALUE: admin.ValuesRequest,
    OpCode.LIST_HANDLES: admin.NameRequest,
    OpCode.LIST_DERIVED_PREFIXES: admin.NameRequest,
    OpCode.CHALLENGE_RESPONSE: auth.ChallengeResponse,
    OpCode.VERIFY_RESPONSE: auth.VerifyRequest,
    OpCode.HOME_PREFIX: admin.NameRequest,
    OpCode.UNHOME_PREFIX: admin.NameRequest,
    OpCode.LIST_HOMED_PREFIXES: admin.NameRequest,
    OpCode.SESSION_SETUP: session.SessionSetup,
    OpCode.SESSION_TERMINATE: admin.NameRequest,
    OpCode.SESSION_EXCHANGE_KEY: session.KeyExchangeRequest,
    OpCode.GET_NEXT_TXN_ID: admin.NameRequest,
    OpCode.RETRIEVE_TXN: replication.RetrieveTransactions,
    OpCode.DUMP_HANDLES: replication.DumpRequest,
    OpCode.BACKUP_SERVER: admin.NameRequest,
}

# Operations that are not here succeed with an empty body.
_SUCCESSES: dict[OpCode, type[Body]] = {
    OpCode.RESOLUTION: resolution.ResolutionReply,
    OpCode.GET_SITE_INFO: hs_site.Site,
    OpCode.CREATE_HANDLE: admin.CreatedReply,
    OpCode.LIST_HANDLES: admin.NamesReply,
    OpCode.LIST_DERIVED_PREFIXES: admin.NamesReply,
    OpCode.LIST_HOMED_PREFIXES: admin.NamesReply,
    OpCode.VERIFY_RESPONSE: auth.VerifyReply,
    OpCode.SESSION_SETUP: session.SessionSetupReply,
    OpCode.GET_NEXT_TXN_ID: replication.NextTransactionReply,
    OpCode.RETRIEVE_TXN: replication.RetrieveReply,
}


@dataclass(frozen=True, slots=True)
class _Codec:
    """How one body is read and written in a message of a version."""

    decode: Callable[[bytes, Version], Body]
    encode: Callable[[Any, Version], bytes]


def _same(decode: Callable[[bytes], Body], encode: Callable[[Any], bytes]) -> _Codec:
    """A body that looks the same in every version."""
    return _Codec(lambda data, _: decode(data), lambda body, _: encode(body))


_CODECS: dict[type[Body], _Codec] = {
    admin.NameRequest: _same(admin.decode_name, admin.encode_name),
    admin.ValuesRequest: _same(admin.decode_values_request, admin.encode_values_request),
    admin.IndexesRequest: _same(admin.decode_indexes_request, admin.encode_indexes_request),
    admin.CreatedReply: _same(admin.decode_created, admin.encode_created),
    admin.NamesReply: _same(admin.decode_names_reply, admin.encode_names_reply),
    admin.EmptyReply: _same(admin.decode_empty, admin.encode_empty),
    auth.Challenge: _Codec(auth.decode_challenge, lambda body, _: auth.encode_challenge(body)),
    auth.ChallengeResponse: _same(auth.decode_challenge_response, auth.encode_challenge_response),
    auth.VerifyRequest: _same(auth.decode_verify_request, auth.encode_verify_request),
    auth.VerifyReply: _same(auth.decode_verify_reply, auth.encode_verify_reply),
    hs_site.Site: _same(hs_site.decode_site, hs_site.encode_site),
    referral.Referral: _same(referral.decode_referral, referral.encode_referral),
    referral.ErrorBody: _same(referral.decode_error, referral.encode_error),
    replication.RetrieveTransactions: _Codec(
        replication.decode_retrieve, replication.encode_retrieve
    ),
    replication.DumpRequest: _same(
        replication.decode_dump_request, replication.encode_dump_request
    ),
    replication.NextTransactionReply: _same(
        replication.decode_next_transaction, replication.encode_next_transaction
    ),
    replication.RetrieveReply: _same(
        replication.decode_retrieve_reply, replication.encode_retrieve_reply
    ),
    resolution.ResolutionRequest: _same(
        resolution.decode_resolution_request, resolution.encode_resolution_request
    ),
    resolution.ResolutionReply: _same(
        resolution.decode_resolution_reply, resolution.encode_resolution_reply
    ),
    session.SessionSetup: _same(session.decode_session_setup, session.encode_session_setup),
    session.SessionSetupReply: _same(
        session.decode_session_setup_reply, session.encode_session_setup_reply
    ),
    session.KeyExchangeRequest: _same(session.decode_key_exchange, session.encode_key_exchange),
}


def body_type(opcode: int, response_code: int, version: Version) -> type[Body]:
    """The kind of body of a message. Raises ParseError on an unknown operation or code."""
    code = operation(opcode)
    try:
        answer = ResponseCode(response_code)
    except ValueError:
        raise ParseError(f"response code {response_code} is unknown") from None
    if answer is ResponseCode.REQUEST:
        return _REQUESTS[code]
    if answer is ResponseCode.SUCCESS:
        return _SUCCESSES.get(code, admin.EmptyReply)
    if answer is ResponseCode.AUTHENTICATION_NEEDED:
        return auth.Challenge
    # Below 2.5 code 303 says that the server is read-only: an error like the others.
    if answer is ResponseCode.SERVICE_REFERRAL or (
        answer is ResponseCode.PREFIX_REFERRAL and version >= FROM_2_5
    ):
        return referral.Referral
    return referral.ErrorBody


def decode_body(message: Message) -> tuple[RequestDigest | None, Body]:
    """The request digest of a reply (None without) and the body as its object.

    Raises Truncated or ParseError; also on an unknown operation or response code.
    """
    version = message.envelope.version
    kind = body_type(message.header.opcode, message.header.response_code, version)
    digest, body = split_request_digest(message)
    return digest, _CODECS[kind].decode(body, version)


def encode_body(body: Body, version: Version) -> bytes:
    """The octets of a body for a message of that version, without a request digest."""
    return _CODECS[type(body)].encode(body, version)
