"""Who asks: challenges (402), their answers (200) and the check for other servers (201).

The order of events is do-irp 8.1; every failed proof counts against its network and account.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from protocol.challenge import HS_PUBKEY, HS_SECKEY
from protocol.doirp.authentication import (
    NONCE_SIZE,
    Challenge,
    VerifyReply,
    decode_challenge_response,
    decode_verify_request,
    encode_challenge,
    encode_verify_reply,
)
from protocol.doirp.envelope import Version, reply_version
from protocol.doirp.message import request_digest
from protocol.errors import (
    AuthenticationError,
    AuthenticationFailed,
    ResponseCode,
    ServerBusy,
)
from protocol.name import fold_prefix
from protocol.record import Reference
from resolver.doirp.challenges import Pending
from resolver.doirp.desk import Desk
from resolver.doirp.exchange import Exchange, Reply
from resolver.doirp.identity import Claim, proof_of, prove, same_identity, secret_holds
from resolver.doirp.limits import network_of
from resolver.doirp.policy import version_floor

_DELAY_S = 1.0
_MOST_WAITING = 2
"""Proofs of one account from one network that wait at once; more are told to come back."""
_METHODS = {HS_PUBKEY: "public_key", HS_SECKEY: "secret_key"}


def challenge(desk: Desk, exchange: Exchange) -> Reply:
    """The reply to a request whose sender must show who it is.

    Raises AuthenticationError where the client's version is too old for any proof taken here.
    """
    version = reply_version(exchange.answers.envelope)
    _require_version(desk, version)
    desk.require_patience(exchange.peer)
    nonce = desk.random(NONCE_SIZE)
    number = desk.challenges.add(
        Pending(
            original=exchange.message,
            nonce=nonce,
            digest=request_digest(exchange.message, version).digest,
            version=version,
            host=exchange.peer.host,
            until=desk.node.now() + desk.node.settings.limits.challenge_s,
            session=exchange.session.number if exchange.session is not None else 0,
        )
    )
    desk.node.metrics.challenges["sent"].inc()
    return Reply(
        ResponseCode.AUTHENTICATION_NEEDED, encode_challenge(Challenge(nonce)), session_id=number
    )


def answered(desk: Desk, exchange: Exchange) -> tuple[Exchange, Claim]:
    """Operation 200: the challenged request, and what its sender says to prove.

    What comes of it is answered as the challenged request asked (its flags, its digest), under
    the number of this one. Raises AuthenticationTimeout (405) or ServerBusy.
    """
    metrics = desk.node.metrics
    desk.require_patience(exchange.peer)
    said = decode_challenge_response(exchange.message.body)
    envelope = exchange.message.envelope
    try:
        pending = desk.challenges.take(envelope.session_id, exchange.peer.host)
    except BaseException:
        metrics.challenges["unknown"].inc()
        raise
    metrics.challenges["answered"].inc()
    claim = Claim(
        type=said.auth_type,
        identity=Reference(said.user_handle, said.user_index),
        answer=said.signed_response,
        nonce=pending.nonce,
        digest=pending.digest,
        version=pending.version,
    )
    original = pending.original
    carried = Exchange(original, exchange.peer, exchange.session)
    asked = replace(original.envelope, request_id=envelope.request_id)
    carried.answers = replace(original, envelope=asked)
    return carried, claim


async def require_proof(desk: Desk, exchange: Exchange, claim: Claim) -> None:
    """Give a challenged request its identity.

    Raises AuthenticationFailed (403), AuthenticationError (406), InvalidCredential (404) or
    ServerBusy; in each case the challenge is used up.
    """
    identity = await _proved(desk, exchange, claim)
    desk.proven.saw(exchange.peer.host)
    session = exchange.session
    if session is not None and session.claimed is not None:
        if not same_identity(session.claimed, identity):
            raise AuthenticationFailed(
                f"{identity.text()} was proved, but the session was set up for "
                f"{session.claimed.text()}"
            )
        session.proved, session.proof = identity, proof_of(desk.node, identity)
        session.proved_until = desk.node.now() + desk.node.settings.recursion.key_status_s
    exchange.identity = identity


async def _proved(desk: Desk, exchange: Exchange, claim: Claim) -> Reference:
    """The identity of a claim. An account with many failures is answered later, not never.

    Failures count for an account and the network that names it; a proof ends them.
    """
    network = network_of(exchange.peer.host)
    account = network + b"\0" + fold_prefix(claim.identity.handle)
    outcomes = desk.node.metrics.authentications
    method = _METHODS.get(claim.type)
    if desk.accounts.empty(account):
        if method is not None:
            outcomes[method, "delayed"].inc()
        await _wait(desk, account)
    try:
        identity = await prove(desk.node, claim)
    except AuthenticationFailed:
        desk.failures.take(network)
        desk.accounts.take(account)
        if method is not None:
            outcomes[method, "refused"].inc()
        raise
    desk.accounts.refill(account)
    if method is not None:
        outcomes[method, "accepted"].inc()
    return identity


async def _wait(desk: Desk, account: bytes) -> None:
    """Hold an account's proof up. Raises ServerBusy when too many of them wait already."""
    if desk.waiting[account] >= _MOST_WAITING:
        raise ServerBusy("too many failed authentications of this identity; wait", _DELAY_S)
    desk.waiting[account] += 1
    try:
        await asyncio.sleep(_DELAY_S)
    finally:
        desk.waiting[account] -= 1
        if not desk.waiting[account]:
            del desk.waiting[account]


async def verify(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 201: whether an answer was made with a secret key that lies here.

    An oracle for guessing, so each "no" counts as a failed proof (do-irp 21).
    """
    desk.require_patience(exchange.peer)
    version = reply_version(exchange.message.envelope)
    _require_version(desk, version)
    asked = decode_verify_request(exchange.message.body)
    account = network_of(exchange.peer.host) + b"\0" + fold_prefix(asked.user_handle)
    if desk.accounts.empty(account):
        await _wait(desk, account)
    claim = Claim(
        type=HS_SECKEY,
        identity=Reference(asked.user_handle, asked.user_index),
        answer=asked.signed_response,
        nonce=asked.nonce,
        digest=asked.request_digest,
        version=version,
    )
    valid = desk.node.settings.auth.secret_keys and await secret_holds(desk.node, claim)
    if not valid:
        desk.failures.take(network_of(exchange.peer.host))
        desk.accounts.take(account)
    return Reply(body=encode_verify_reply(VerifyReply(valid)))


def _require_version(desk: Desk, version: Version) -> None:
    floor = version_floor(desk.node.settings.auth)
    if version < floor:
        raise AuthenticationError(
            f"proofs need protocol version {floor[0]}.{floor[1]}, yours takes "
            f"{version[0]}.{version[1]}; use a newer client"
        )
