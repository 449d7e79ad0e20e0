"""Shapes of message bodies: what `decoded.body` of requests and responses holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.doirp import administration as admin
from protocol.doirp import authentication as auth
from protocol.doirp import referral, replication, resolution, session
from protocol.doirp.bodies import Body
from protocol.doirp.envelope import Version
from protocol.jsonfields import Fields, signed32, signed64, text_of
from protocol.values import hs_site
from protocol.vectorform.form import Shape
from protocol.vectorform.values import site_of, site_shape, values_of, values_shape


@dataclass(frozen=True, slots=True)
class _Shaper:
    """to: body -> shape; of: shape -> body. Both for a message of a version."""

    to: Callable[[Any, Version], Shape]
    of: Callable[[Fields, Version], Body]


def _name(handle: bytes) -> str:
    return text_of(handle, "a handle")


def _indexes(indexes: tuple[int, ...]) -> list[int]:
    return [signed32(index) for index in indexes]


def _resolution_request(body: resolution.ResolutionRequest, _: Version) -> Shape:
    return {
        "handle": _name(body.handle),
        "indexes": _indexes(body.indexes),
        "types": [text_of(type_, "a type") for type_ in body.types],
    }


def _resolution_request_of(fields: Fields, _: Version) -> Body:
    return resolution.ResolutionRequest(
        fields.text("handle"), fields.u4s("indexes"), fields.texts("types")
    )


def _challenge(body: auth.Challenge, _: Version) -> Shape:
    shape = {"nonce_hex": body.nonce.hex()}
    if body.old_digest is not None:
        shape["md5_request_digest_hex"] = body.old_digest.hex()
    return shape


def _challenge_of(fields: Fields, _: Version) -> Body:
    old = "md5_request_digest_hex"
    return auth.Challenge(fields.hex("nonce_hex"), fields.hex(old) if old in fields else None)


def _challenge_response(body: auth.ChallengeResponse, _: Version) -> Shape:
    return {
        "auth_type": text_of(body.auth_type, "auth_type"),
        "user_handle": _name(body.user_handle),
        "user_index": signed32(body.user_index),
        "signed_response_hex": body.signed_response.hex(),
    }


def _challenge_response_of(fields: Fields, _: Version) -> Body:
    return auth.ChallengeResponse(
        fields.text("auth_type"),
        fields.text("user_handle"),
        fields.u4("user_index"),
        fields.hex("signed_response_hex"),
    )


def _verify_request(body: auth.VerifyRequest, _: Version) -> Shape:
    return {
        "handle": _name(body.user_handle),
        "index": signed32(body.user_index),
        "nonce_hex": body.nonce.hex(),
        "request_digest_hex": body.request_digest.hex(),
        "signed_response_hex": body.signed_response.hex(),
    }


def _verify_request_of(fields: Fields, _: Version) -> Body:
    return auth.VerifyRequest(
        fields.text("handle"),
        fields.u4("index"),
        fields.hex("nonce_hex"),
        fields.hex("request_digest_hex"),
        fields.hex("signed_response_hex"),
    )


def _setup(body: session.SessionSetup, _: Version) -> Shape:
    shape: Shape = {
        "key_exchange_mode": body.mode,
        "timeout": signed32(body.timeout_s),
        "identity_handle": _name(body.identity_handle),
        "identity_index": signed32(body.identity_index),
    }
    if body.mode in (session.KeyExchange.CLIENT_KEY, session.KeyExchange.DIFFIE_HELLMAN):
        shape["public_key_hex"] = body.public_key.hex()
    elif body.mode == session.KeyExchange.KEY_IN_HANDLE:
        shape["exchange_key_handle"] = _name(body.key_handle)
        shape["exchange_key_index"] = signed32(body.key_index)
    return shape


def _setup_of(fields: Fields, _: Version) -> Body:
    by_handle = "exchange_key_handle" in fields
    return session.SessionSetup(
        mode=fields.u2("key_exchange_mode"),
        timeout_s=fields.u4("timeout"),
        identity_handle=fields.text("identity_handle"),
        identity_index=fields.u4("identity_index"),
        public_key=fields.hex("public_key_hex") if "public_key_hex" in fields else b"",
        key_handle=fields.text("exchange_key_handle") if by_handle else b"",
        key_index=fields.u4("exchange_key_index") if by_handle else 0,
    )


def _setup_reply(body: session.SessionSetupReply, version: Version) -> Shape:
    shape: Shape = {"key_exchange_mode": body.mode}
    if body.mode == session.KeyExchange.DIFFIE_HELLMAN:
        code, key = session.split_server_key(body.data, version)
        if code is not None:
            shape["algorithm_code"] = signed32(code)
        shape["server_public_key_hex"] = key.hex()
    shape["data_hex"] = body.data.hex()
    return shape


def _setup_reply_of(fields: Fields, _: Version) -> Body:
    return session.SessionSetupReply(fields.u2("key_exchange_mode"), fields.hex("data_hex"))


def _slice(which: replication.Slice) -> Shape:
    return {
        "hash_type": which.hash_type,
        "num_servers": signed32(which.servers),
        "server_num": signed32(which.number),
    }


def _slice_of(fields: Fields) -> replication.Slice:
    return replication.Slice(
        fields.u1("hash_type"), fields.u4("num_servers"), fields.u4("server_num")
    )


def _retrieve(body: replication.RetrieveTransactions, version: Version) -> Shape:
    shape: Shape = {}
    if version >= replication.FROM_2_9:
        shape["pull_all"] = body.state_json is not None
    if body.state_json is not None:
        shape["replication_state_json"] = text_of(body.state_json, "the replication state")
    else:
        shape["last_txn_id"] = signed64(body.last_id)
        shape["last_query_date_ms"] = signed64(body.last_date_ms)
    return shape | _slice(body.slice)


def _retrieve_of(fields: Fields, _: Version) -> Body:
    if "pull_all" in fields and fields.flag("pull_all"):
        state = fields.text("replication_state_json")
        return replication.RetrieveTransactions(_slice_of(fields), state_json=state)
    return replication.RetrieveTransactions(
        _slice_of(fields), fields.u8("last_txn_id"), fields.u8("last_query_date_ms")
    )


def _dump(body: replication.DumpRequest, _: Version) -> Shape:
    shape = _slice(body.slice)
    if body.start is None:
        return shape | {"starting_point": None}
    return shape | {
        "starting_point": _name(body.start),
        "starting_point_type": signed32(body.start_kind),
    }


def _dump_of(fields: Fields, _: Version) -> Body:
    start = fields.text_or_none("starting_point") if "starting_point" in fields else None
    if start is None:
        return replication.DumpRequest(_slice_of(fields))
    return replication.DumpRequest(_slice_of(fields), start, fields.u4("starting_point_type"))


def _referral(body: referral.Referral, _: Version) -> Shape:
    return {
        "referral_handle": _name(body.handle),
        "values": None if body.values is None else values_shape(body.values),
    }


def _referral_of(fields: Fields, _: Version) -> Body:
    values = None if fields.any("values") is None else values_of(fields)
    return referral.Referral(fields.text("referral_handle"), values)


def _error(body: referral.ErrorBody, _: Version) -> Shape:
    message = None if body.message is None else text_of(body.message, "the message")
    shape: Shape = {"message": message}
    if body.indexes is not None:
        shape["indexes"] = _indexes(body.indexes)
    return shape


def _error_of(fields: Fields, _: Version) -> Body:
    indexes = fields.u4s("indexes") if "indexes" in fields else None
    return referral.ErrorBody(fields.text_or_none("message"), indexes)


def _handle_values(body: Any, _: Version) -> Shape:
    return {"handle": _name(body.handle), "values": values_shape(body.values)}


_SHAPERS: dict[type[Body], _Shaper] = {
    admin.NameRequest: _Shaper(
        lambda body, _: {"handle": _name(body.handle)},
        lambda fields, _: admin.NameRequest(fields.text("handle")),
    ),
    admin.ValuesRequest: _Shaper(
        _handle_values,
        lambda fields, _: admin.ValuesRequest(fields.text("handle"), values_of(fields)),
    ),
    admin.IndexesRequest: _Shaper(
        lambda body, _: {"handle": _name(body.handle), "indexes": _indexes(body.indexes)},
        lambda fields, _: admin.IndexesRequest(fields.text("handle"), fields.u4s("indexes")),
    ),
    admin.CreatedReply: _Shaper(
        lambda body, _: {"handle": None if body.handle is None else _name(body.handle)},
        lambda fields, _: admin.CreatedReply(fields.text_or_none("handle")),
    ),
    admin.NamesReply: _Shaper(
        lambda body, _: {"handles": [_name(handle) for handle in body.handles]},
        lambda fields, _: admin.NamesReply(fields.texts("handles")),
    ),
    admin.EmptyReply: _Shaper(lambda _body, _: {}, lambda _fields, _: admin.EmptyReply()),
    auth.Challenge: _Shaper(_challenge, _challenge_of),
    auth.ChallengeResponse: _Shaper(_challenge_response, _challenge_response_of),
    auth.VerifyRequest: _Shaper(_verify_request, _verify_request_of),
    auth.VerifyReply: _Shaper(
        lambda body, _: {"valid": body.valid},
        lambda fields, _: auth.VerifyReply(fields.flag("valid")),
    ),
    hs_site.Site: _Shaper(
        lambda body, _: {"site": site_shape(body)},
        lambda fields, _: site_of(fields.object("site")),
    ),
    referral.Referral: _Shaper(_referral, _referral_of),
    referral.ErrorBody: _Shaper(_error, _error_of),
    replication.RetrieveTransactions: _Shaper(_retrieve, _retrieve_of),
    replication.DumpRequest: _Shaper(_dump, _dump_of),
    replication.NextTransactionReply: _Shaper(
        lambda body, _: {"next_txn_id": signed64(body.txn_id)},
        lambda fields, _: replication.NextTransactionReply(fields.u8("next_txn_id")),
    ),
    replication.RetrieveReply: _Shaper(
        lambda body, _: {"flag_octet": body.octet},
        lambda fields, _: replication.RetrieveReply(fields.u1("flag_octet")),
    ),
    resolution.ResolutionRequest: _Shaper(_resolution_request, _resolution_request_of),
    resolution.ResolutionReply: _Shaper(
        _handle_values,
        lambda fields, _: resolution.ResolutionReply(fields.text("handle"), values_of(fields)),
    ),
    session.SessionSetup: _Shaper(_setup, _setup_of),
    session.SessionSetupReply: _Shaper(_setup_reply, _setup_reply_of),
    session.KeyExchangeRequest: _Shaper(
        lambda body, _: {"encrypted_session_key_hex": body.encrypted_key.hex()},
        lambda fields, _: session.KeyExchangeRequest(fields.hex("encrypted_session_key_hex")),
    ),
}


def body_shape(body: Body, version: Version) -> Shape:
    """What `decoded.body` shows. Raises ParseError on text that is not UTF-8."""
    return _SHAPERS[type(body)].to(body, version)


def body_of(kind: type[Body], fields: Fields, version: Version) -> Body:
    """The body that a shape describes. Raises ParseError naming the field."""
    return _SHAPERS[kind].of(fields, version)
