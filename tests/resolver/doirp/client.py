"""A client of the administration protocol for tests, over whatever carries a message."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from protocol.challenge import HS_PUBKEY, HS_SECKEY, answer_with_key, answer_with_secret
from protocol.credential import mac_message
from protocol.dh import agree, public_value
from protocol.doirp.administration import (
    IndexesRequest,
    NameRequest,
    ValuesRequest,
    encode_indexes_request,
    encode_name,
    encode_values_request,
)
from protocol.doirp.authentication import (
    ChallengeResponse,
    decode_challenge,
    encode_challenge_response,
)
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import (
    Message,
    decode_message,
    encode_message,
    request,
    split_request_digest,
)
from protocol.doirp.session import (
    KeyExchange,
    SessionSetup,
    decode_session_setup_reply,
    encode_session_setup,
)
from protocol.keys import DhPublicKey, PrivateKey, decode_dh_key, encode_dh_key
from protocol.record import HandleValue, Reference
from protocol.session import (
    SessionKey,
    decode_exchange_data,
    derive_session_key,
    encrypt_message,
    open_message,
)
from tests.resolver.doirp.world import NOW

# RFC 3526, group 14.
P = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
Send = Callable[[bytes], Awaitable[bytes]]


@dataclass
class Client:
    """send: whole message -> all octets of the reply. session: (id, key) once set up."""

    send: Send
    session: tuple[int, SessionKey] | None = None
    counter: int = 0
    next_id: int = 0

    def message(self, opcode: int, body: bytes, flags: int = 0, **more: Any) -> Message:
        self.next_id += 1
        number, key = self.session or (0, None)
        made = request(
            opcode,
            body,
            request_id=self.next_id,
            expiration=NOW + 43_200,
            site_version=(2, 11),
            **{"session_id": number, **more, "flags": int(flags)},
        )
        if key is None or more.get("session_id"):
            return made
        self.counter += 1
        return mac_message(made, key.octets, counter=self.counter)

    async def exchange(self, message: Message, *, encrypt: bool = False) -> Message:
        """One request and its (first) reply, decrypted where it is encrypted."""
        data = encode_message(message)
        if encrypt and self.session is not None:
            key = self.session[1]
            envelope, hidden = encrypt_message(message, key, iv=os.urandom(16))
            from protocol.doirp.envelope import encode_envelope

            data = encode_envelope(envelope) + hidden
        return self.opened(await self.send(data))

    def opened(self, data: bytes) -> Message:
        envelope = decode_envelope(data)
        end = ENVELOPE_SIZE + envelope.length
        if not envelope.encrypted:
            return decode_message(data[:end])
        assert self.session is not None
        return open_message(envelope, data[ENVELOPE_SIZE:end], self.session[1])[0]

    async def ask(self, opcode: int, body: bytes, flags: int = 0) -> Message:
        return await self.exchange(self.message(opcode, body, flags))

    def answer(
        self,
        challenge: Message,
        who: Reference,
        key: PrivateKey | bytes,
        **more: Any,
    ) -> Message:
        """The answer to a challenge, by key or by secret."""
        digest, body = split_request_digest(challenge)
        assert digest is not None
        version = challenge.envelope.version
        nonce = decode_challenge(body, version).nonce
        if isinstance(key, bytes):
            kind = HS_SECKEY
            proof = answer_with_secret(
                key, nonce, digest.digest, version, salt=os.urandom(16), **more
            )
        else:
            kind = HS_PUBKEY
            proof = answer_with_key(key, nonce, digest.digest, version)
        body = encode_challenge_response(ChallengeResponse(kind, who.handle, who.index, proof))
        return self.message(
            OpCode.CHALLENGE_RESPONSE, body, session_id=challenge.envelope.session_id
        )

    async def administer(
        self, opcode: int, body: bytes, who: Reference, key: PrivateKey | bytes, flags: int = 0
    ) -> Message:
        """A request, and the answer to its challenge."""
        challenge = await self.ask(opcode, body, flags)
        if challenge.header.response_code != 402:
            return challenge
        return await self.exchange(self.answer(challenge, who, key))

    async def set_up(self, who: Reference | None = None, **more: Any) -> Message:
        """A session by Diffie-Hellman; its reply."""
        x = int.from_bytes(os.urandom(32), "big")
        p, g = more.pop("p", P), 2
        setup = SessionSetup(
            KeyExchange.DIFFIE_HELLMAN,
            public_key=encode_dh_key(DhPublicKey(public_value(p, g, x), p, g)),
            **({"identity_handle": who.handle, "identity_index": who.index} if who else {}),
            **more,
        )
        self.session = None
        reply = await self.ask(OpCode.SESSION_SETUP, encode_session_setup(setup), Flag.CT | Flag.RD)
        if reply.header.response_code == 1:
            _, body = split_request_digest(reply)
            data = decode_session_setup_reply(body).data
            cipher, theirs = decode_exchange_data(data, reply.envelope.version)
            key = derive_session_key(agree(x, decode_dh_key(theirs)), cipher)
            self.session = (reply.envelope.session_id, key)
            self.counter = 0
        return reply


def name(handle: bytes) -> bytes:
    return encode_name(NameRequest(handle))


def values(handle: bytes, *these: HandleValue) -> bytes:
    return encode_values_request(ValuesRequest(handle, these))


def indexes(handle: bytes, *these: int) -> bytes:
    return encode_indexes_request(IndexesRequest(handle, these))


def with_version(message: Message, version: tuple[int, int]) -> Message:
    """The same request from an older client."""
    envelope = replace(
        message.envelope,
        major=version[0],
        minor=version[1],
        suggest_major=version[0],
        suggest_minor=version[1],
    )
    return replace(message, envelope=envelope)
