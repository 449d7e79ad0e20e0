"""Which body belongs to which message: one table by operation and response code (do-irp 7).

The bodies themselves are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
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

_Decode = Callable[[bytes, Version], Body]


def _any_version(decode: Callable[[bytes], Body]) -> _Decode:
    return lambda body, _: decode(body)


_name = _any_version(admin.decode_name)
_values = _any_version(admin.decode_values_request)
_names = _any_version(admin.decode_names_reply)
_empty = _any_version(admin.decode_empty)

_REQUESTS: dict[OpCode, _Decode] = {
    OpCode.RESOLUTION: _any_version(resolution.decode_resolution_request),
    OpCode.GET_SITE_INFO: _name,
    OpCode.CREATE_HANDLE: _values,
    OpCode.DELETE_HANDLE: _name,
    OpCode.ADD_VALUE: _values,
    OpCode.REMOVE_VALUE: _any_version(admin.decode_indexes_request),
    OpCode.MODIFY_VALUE: _values,
    OpCode.LIST_HANDLES: _name,
    OpCode.LIST_DERIVED_PREFIXES: _name,
    OpCode.CHALLENGE_RESPONSE: _any_version(auth.decode_challenge_response),
    OpCode.VERIFY_RESPONSE: _any_version(auth.decode_verify_request),
    OpCode.HOME_PREFIX: _name,
    OpCode.UNHOME_PREFIX: _name,
    OpCode.LIST_HOMED_PREFIXES: _name,
    OpCode.SESSION_SETUP: _any_version(session.decode_session_setup),
    OpCode.SESSION_TERMINATE: _name,
    OpCode.SESSION_EXCHANGE_KEY: _any_version(session.decode_key_exchange),
    OpCode.GET_NEXT_TXN_ID: _name,
    OpCode.RETRIEVE_TXN: replication.decode_retrieve,
    OpCode.DUMP_HANDLES: _any_version(replication.decode_dump_request),
    OpCode.BACKUP_SERVER: _name,
}

# Operations that are not here succeed with an empty body.
_SUCCESSES: dict[OpCode, _Decode] = {
    OpCode.RESOLUTION: _any_version(resolution.decode_resolution_reply),
    OpCode.GET_SITE_INFO: _any_version(hs_site.decode_site),
    OpCode.CREATE_HANDLE: _any_version(admin.decode_created),
    OpCode.LIST_HANDLES: _names,
    OpCode.LIST_DERIVED_PREFIXES: _names,
    OpCode.LIST_HOMED_PREFIXES: _names,
    OpCode.VERIFY_RESPONSE: _any_version(auth.decode_verify_reply),
    OpCode.SESSION_SETUP: _any_version(session.decode_session_setup_reply),
    OpCode.GET_NEXT_TXN_ID: _any_version(replication.decode_next_transaction),
    OpCode.RETRIEVE_TXN: _any_version(replication.decode_retrieve_reply),
}

_Encode = Callable[[Any, Version], bytes]


def _always(encode: Callable[[Any], bytes]) -> _Encode:
    return lambda body, _: encode(body)


_ENCODERS: dict[type, _Encode] = {
    admin.NameRequest: _always(admin.encode_name),
    admin.ValuesRequest: _always(admin.encode_values_request),
    admin.IndexesRequest: _always(admin.encode_indexes_request),
    admin.CreatedReply: _always(admin.encode_created),
    admin.NamesReply: _always(admin.encode_names_reply),
    admin.EmptyReply: _always(admin.encode_empty),
    auth.Challenge: _always(auth.encode_challenge),
    auth.ChallengeResponse: _always(auth.encode_challenge_response),
    auth.VerifyRequest: _always(auth.encode_verify_request),
    auth.VerifyReply: _always(auth.encode_verify_reply),
    hs_site.Site: _always(hs_site.encode_site),
    referral.Referral: _always(referral.encode_referral),
    referral.ErrorBody: _always(referral.encode_error),
    replication.RetrieveTransactions: replication.encode_retrieve,
    replication.DumpRequest: _always(replication.encode_dump_request),
    replication.NextTransactionReply: _always(replication.encode_next_transaction),
    replication.RetrieveReply: _always(replication.encode_retrieve_reply),
    resolution.ResolutionRequest: _always(resolution.encode_resolution_request),
    resolution.ResolutionReply: _always(resolution.encode_resolution_reply),
    session.SessionSetup: _always(session.encode_session_setup),
    session.SessionSetupReply: _always(session.encode_session_setup_reply),
    session.KeyExchangeRequest: _always(session.encode_key_exchange),
}


def decode_body(message: Message) -> tuple[RequestDigest | None, Body]:
    """The request digest of a reply (None without) and the body as its object.

    Raises Truncated or ParseError; also on an unknown operation or response code.
    """
    code = operation(message.header.opcode)
    version = message.envelope.version
    if message.is_request:
        return None, _REQUESTS[code](message.body, version)
    digest, body = split_request_digest(message)
    return digest, _reply_decoder(code, message.header.response_code, version)(body, version)


def _reply_decoder(operation_: OpCode, response_code: int, version: Version) -> _Decode:
    try:
        code = ResponseCode(response_code)
    except ValueError:
        raise ParseError(f"response code {response_code} is unknown") from None
    if code is ResponseCode.SUCCESS:
        return _SUCCESSES.get(operation_, _empty)
    if code is ResponseCode.AUTHENTICATION_NEEDED:
        return auth.decode_challenge
    # Below 2.5 code 303 says that the server is read-only: an error like the others.
    if code is ResponseCode.SERVICE_REFERRAL or (
        code is ResponseCode.PREFIX_REFERRAL and version >= FROM_2_5
    ):
        return _any_version(referral.decode_referral)
    return _any_version(referral.decode_error)


def encode_body(body: Body, version: Version) -> bytes:
    """The octets of a body for a message of that version, without a request digest."""
    return _ENCODERS[type(body)](body, version)
