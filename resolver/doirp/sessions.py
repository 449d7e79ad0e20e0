"""Session set-up, the proof that each request in a session bears, and its end (do-irp 9).

Only Diffie-Hellman (mode 4) with AES is offered. Set-up proves nothing about the client: the first
request that needs a right is challenged, and its answer proves the session's identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from protocol.credential import verify_mac
from protocol.dh import agree, check_public, exponent_bytes, known_primes, public_value
from protocol.doirp.envelope import Envelope, reply_version
from protocol.doirp.header import OpCode
from protocol.doirp.session import (
    ANONYMOUS_INDEX,
    KeyExchange,
    SessionSetup,
    SessionSetupReply,
    decode_session_setup,
    encode_session_setup_reply,
)
from protocol.errors import (
    InvalidCredential,
    InvalidSessionKey,
    ParseError,
    ServerBusy,
    SessionFailed,
    SessionTimeout,
    SignatureInvalid,
)
from protocol.keys import DhPublicKey, decode_dh_key, encode_dh_key
from protocol.keys.policy import Policy
from protocol.record import Reference
from protocol.session import (
    CipherCode,
    SessionKey,
    derive_session_key,
    encode_exchange_data,
    open_message,
)
from resolver.doirp.desk import FRESH_GROUP, Desk
from resolver.doirp.exchange import Exchange, Peer, Reply
from resolver.doirp.identity import proof_of
from resolver.doirp.limits import network_of
from resolver.doirp.policy import SOUND_DH_BITS, policy_of, version_floor
from resolver.doirp.reading import read_request
from resolver.doirp.session_table import Session


async def set_up(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 400: agree on a key; the reply is always signed with the site key.

    Raises SessionFailed for another key exchange, an old version or a group that is not accepted.
    """
    node, peer = desk.node, exchange.peer
    setup = decode_session_setup(exchange.message.body)
    version = reply_version(exchange.message.envelope)
    floor = version_floor(node.settings.auth)
    if version < floor:
        raise SessionFailed(
            f"sessions need version {floor[0]}.{floor[1]}; yours takes {version[0]}.{version[1]}"
        )
    if setup.mode != KeyExchange.DIFFIE_HELLMAN:
        raise SessionFailed(f"key exchange mode {setup.mode} is not offered; use 4, Diffie-Hellman")
    theirs = decode_dh_key(setup.public_key)
    network, cost = network_of(peer.host), 1 if theirs.p in known_primes() else FRESH_GROUP
    if not all(desk.setups.take(network) for _ in range(cost)):
        raise ServerBusy("too many session set-ups from your network; try again in a second")
    policy = policy_of(node.settings.auth)
    ours, key = await asyncio.to_thread(_agreed, theirs, policy, desk.random)
    if theirs.p.bit_length() < SOUND_DH_BITS:
        node.metrics.weak["dh_short"].inc()
    session = desk.sessions.open(key, _claimed(setup), peer.host, float(setup.timeout_s))
    node.metrics.sessions.set(len(desk.sessions))
    data = encode_exchange_data(CipherCode.AES, encode_dh_key(ours), version)
    body = encode_session_setup_reply(SessionSetupReply(KeyExchange.DIFFIE_HELLMAN, data))
    return Reply(body=body, session_id=session.number, site_signed=True)


def _agreed(
    theirs: DhPublicKey, policy: Policy, random: Callable[[int], bytes]
) -> tuple[DhPublicKey, SessionKey]:
    """Our public value in their group, and the session key. Raises SessionFailed."""
    check_public(theirs, policy)
    x = int.from_bytes(random(exponent_bytes(theirs.p)), "big")
    ours = DhPublicKey(public_value(theirs.p, theirs.g, x), theirs.p, theirs.g)
    return ours, derive_session_key(agree(x, theirs), CipherCode.AES)


def _claimed(setup: SessionSetup) -> Reference | None:
    if not setup.identity_handle or setup.identity_index == ANONYMOUS_INDEX:
        return None
    return Reference(setup.identity_handle, setup.identity_index)


async def terminate(desk: Desk, exchange: Exchange) -> Reply:
    """Operation 401: end the session whose MAC the request bears."""
    if exchange.session is None:
        raise SessionTimeout("this ends a session, so it must be sent in one")
    desk.sessions.end(exchange.session.number)
    desk.node.metrics.sessions.set(len(desk.sessions))
    return Reply()


async def exchange_key(_desk: Desk, _exchange: Exchange) -> Reply:
    """Operation 402 belongs to key exchanges that are not offered."""
    raise SessionFailed("RSA key exchange is not offered; set up a session by Diffie-Hellman")


def open_in_session(desk: Desk, envelope: Envelope, part: bytes, peer: Peer) -> Exchange:
    """A request that names a session of this reader: decrypted, its MAC and counter checked.

    The answer to a challenge may come without MAC: it proves itself. Raises SessionTimeout (500),
    InvalidSessionKey (502), SessionMessageRejected (505), InvalidCredential (404), SessionFailed
    (501) and what read_request() raises.
    """
    session = desk.sessions.get(envelope.session_id)
    policy = policy_of(desk.node.settings.auth)
    if envelope.encrypted:
        message, credential = open_message(envelope, part, session.key, policy=policy)
        if not message.is_request:
            raise SessionFailed("a reply where a request is wanted")
        if credential is None:
            return Exchange(message, peer, session)
    else:
        message = read_request(envelope, part, peer.transport)
        if not message.credential:
            if message.header.opcode == OpCode.CHALLENGE_RESPONSE:
                return Exchange(message, peer, session)
            raise InvalidCredential("a request in a session needs a MAC (HS_MAC)")
        try:
            credential = verify_mac(message, session.key.octets, policy)
        except (SignatureInvalid, ParseError) as error:
            raise InvalidSessionKey(str(error)) from None
    session.window.take(credential.counter)
    desk.sessions.used(session)
    return Exchange(message, peer, session, _still_proved(desk, session))


def _still_proved(desk: Desk, session: Session) -> Reference | None:
    """The identity of a session, while the key that proved it stands (threats I3).

    A key here is looked at; one at another node has to be proved again now and then.
    """
    proved = session.proved
    if proved is None:
        return None
    if session.proof:
        if proof_of(desk.node, proved) != session.proof:
            session.proved = None
    elif desk.node.now() > session.proved_until:
        session.proved = None
    return session.proved
