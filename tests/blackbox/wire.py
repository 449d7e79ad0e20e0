"""DO-IRP over plain sockets for the black-box suite: UDP, TCP and the HTTP tunnel.

The codec is ours; its octets are held to the vectors elsewhere. Nothing here knows who answers.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from dataclasses import dataclass, field, replace

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
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope, encode_envelope
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import (
    Message,
    decode_message,
    encode_message,
    request,
    split_request_digest,
)
from protocol.doirp.resolution import (
    ResolutionRequest,
    decode_resolution_reply,
    encode_resolution_request,
)
from protocol.doirp.session import (
    KeyExchange,
    SessionSetup,
    decode_session_setup_reply,
    encode_session_setup,
)
from protocol.doirp.udp import Reassembler, split
from protocol.keys import DhPublicKey, decode_dh_key, encode_dh_key
from protocol.record import HandleValue, Reference
from protocol.session import (
    decode_exchange_data,
    decrypt_message,
    derive_session_key,
    encrypt_message,
)
from protocol.values.hs_admin import Admin, encode_admin

UDP, TCP, HTTP, HTTPS = "udp", "tcp", "http", "https"
PLAIN_FLAGS = Flag.REC | Flag.CA | Flag.PO
WAIT_S = 10.0
GROUP_2048 = int(  # RFC 3526, group 14
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
GROUP_1024 = int(  # RFC 2409, second group: of the size deployed clients offer
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)


@dataclass
class Reply:
    """One reply. body: without the request digest."""

    message: Message
    raw: bytes

    @property
    def code(self) -> int:
        return self.message.header.response_code

    @property
    def body(self) -> bytes:
        return split_request_digest(self.message)[1]

    @property
    def digest(self):
        return split_request_digest(self.message)[0]

    def has(self, flag) -> bool:
        return self.message.header.has(flag)

    @property
    def values(self) -> tuple[HandleValue, ...]:
        assert self.code == 1, f"code {self.code}: {self.body!r}"
        return decode_resolution_reply(self.body).values

    @property
    def indexes(self) -> list[int]:
        return sorted(value.index for value in self.values)


@dataclass
class Wire:
    """A client. session: (number, key) once set up."""

    target: object
    transport: str = TCP
    version: tuple[int, int] = (2, 10)
    session: tuple | None = None
    counter: int = 0
    ids: int = field(default_factory=lambda: int.from_bytes(os.urandom(3)) * 64)

    def over(self, transport, **more):
        """The same client over another transport, or otherwise changed."""
        return replace(self, transport=transport, session=None, counter=0, **more)

    # --- sockets

    def send(self, data: bytes) -> bytes:
        """All octets that come back for a whole message."""
        return getattr(self, f"_{'http' if self.transport == HTTPS else self.transport}")(data)

    def _tcp(self, data: bytes) -> bytes:
        with socket.create_connection((self.target.host, self.target.irp), WAIT_S) as sock:
            sock.sendall(data)
            out = bytearray()
            while not _complete(out) and (part := sock.recv(65536)):
                out += part
            return bytes(out)

    def _udp(self, data: bytes) -> bytes:
        family = socket.AF_INET6 if ":" in self.target.host else socket.AF_INET
        envelope = decode_envelope(data)
        packets = split(data[ENVELOPE_SIZE:], envelope)
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((self.target.host, self.target.irp))
            sock.settimeout(WAIT_S)
            for packet in packets:
                sock.send(packet)
            parts = Reassembler()
            while True:
                whole = parts.add("server", sock.recv(4096), 0.0)
                if whole is not None:
                    envelope, part = whole
                    return encode_envelope(replace(envelope, sequence=0, truncated=False)) + part

    def _http(self, data: bytes) -> bytes:
        connection = self._connection()
        try:
            headers = {"Accept": "application/x-hdl-message"}
            headers["Content-Type"] = "application/x-hdl-message"
            connection.request("POST", "/", data, headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            assert answer.getheader("Content-Type").startswith("application/x-hdl-message")
            return answer.read()
        finally:
            connection.close()

    def _connection(self):
        if self.transport == HTTP:
            return http.client.HTTPConnection(self.target.host, self.target.http, timeout=WAIT_S)
        return http.client.HTTPSConnection(
            self.target.host, self.target.https, timeout=WAIT_S, context=trusting()
        )

    # --- messages

    def message(self, opcode, body, flags=PLAIN_FLAGS, **more) -> Message:
        self.ids += 1
        number, key = self.session or (0, None)
        made = request(
            opcode,
            body,
            request_id=self.ids,
            expiration=int(time.time()) + 43_200,
            site_version=self.version,
            **{"session_id": number, **more, "flags": int(flags)},
        )
        made = aged(made, self.version)
        if key is None or more.get("session_id"):
            return made
        self.counter += 1
        return mac_message(made, key.octets, counter=self.counter)

    def exchange(self, message: Message, *, encrypt=False) -> Reply:
        """A message and its first reply."""
        return self.exchange_all(message, encrypt=encrypt)[0]

    def exchange_all(self, message: Message, *, encrypt=False) -> list[Reply]:
        data = encode_message(message)
        if encrypt:
            envelope, hidden = encrypt_message(message, self.session[1], iv=os.urandom(16))
            data = encode_envelope(envelope) + hidden
        return self.split(self.send(data))

    def split(self, data: bytes) -> list[Reply]:
        """The replies in a stream of octets, decrypted."""
        replies = []
        while data:
            envelope = decode_envelope(data)
            end = ENVELOPE_SIZE + envelope.length
            whole, data = data[:end], data[end:]
            if envelope.encrypted:
                # Deployed servers put a MAC into encrypted replies only where CT asks for it.
                opened = decrypt_message(envelope, whole[ENVELOPE_SIZE:], self.session[1])
                replies.append(Reply(opened, whole))
            else:
                replies.append(Reply(decode_message(whole), whole))
        assert replies, "the server closed the connection without a reply"
        return replies

    def ask(self, opcode, body, flags=PLAIN_FLAGS, **more) -> Reply:
        return self.exchange(self.message(opcode, body, flags, **more))

    def resolve(self, name, *, types=(), indexes=(), flags=PLAIN_FLAGS, **more) -> Reply:
        body = encode_resolution_request(ResolutionRequest(name, tuple(indexes), tuple(types)))
        return self.ask(OpCode.RESOLUTION, body, flags, **more)

    # --- identities

    def answer(self, challenge: Reply, who: Reference, key, **more) -> Message:
        """The answer to a challenge, by key or by secret (octets)."""
        assert challenge.code == 402, challenge.code
        version = challenge.message.envelope.version
        nonce = decode_challenge(challenge.body, version).nonce
        digest = challenge.digest.digest
        if isinstance(key, bytes):
            kind = HS_SECKEY
            proof = more.pop("proof", None) or answer_with_secret(
                key, nonce, digest, version, salt=os.urandom(16), **more
            )
        else:
            kind = HS_PUBKEY
            proof = answer_with_key(key, nonce, digest, version)
        body = encode_challenge_response(ChallengeResponse(kind, who.handle, who.index, proof))
        return self.message(
            OpCode.CHALLENGE_RESPONSE,
            body,
            challenge.message.header.flags,
            session_id=challenge.message.envelope.session_id,
        )

    def administer(self, opcode, body, flags=PLAIN_FLAGS, *, who=None, key=None) -> Reply:
        """A request, and the answer to its challenge. Default: the secret administrator."""
        return self.administer_all(opcode, body, flags, who=who, key=key)[0]

    def administer_all(self, opcode, body, flags=PLAIN_FLAGS, *, who=None, key=None):
        challenge = self.ask(opcode, body, flags)
        if challenge.code != 402:
            return [challenge]
        who = who or self.target.by_secret
        key = self.target.secret if key is None else key
        return self.exchange_all(self.answer(challenge, who, key))

    def create(self, name, *values, flags=PLAIN_FLAGS, **more) -> Reply:
        values = values or (value(1, "URL", "https://example.org/"), admin(self.target))
        return self.administer(OpCode.CREATE_HANDLE, valued(name, *values), flags, **more)

    def delete(self, name, **more) -> Reply:
        return self.administer(OpCode.DELETE_HANDLE, named(name), **more)

    # --- sessions

    def set_up(self, who=None, p=GROUP_2048, **more) -> Reply:
        """A session by Diffie-Hellman."""
        x = int.from_bytes(os.urandom(32))
        setup = SessionSetup(
            KeyExchange.DIFFIE_HELLMAN,
            public_key=encode_dh_key(DhPublicKey(public_value(p, 2, x), p, 2)),
            **({"identity_handle": who.handle, "identity_index": who.index} if who else {}),
            **more,
        )
        self.session = None
        flags = PLAIN_FLAGS | Flag.CT | Flag.RD
        reply = self.ask(OpCode.SESSION_SETUP, encode_session_setup(setup), flags)
        if reply.code == 1:
            data = decode_session_setup_reply(reply.body).data
            cipher, theirs = decode_exchange_data(data, reply.message.envelope.version)
            key = derive_session_key(agree(x, decode_dh_key(theirs)), cipher)
            self.session = (reply.message.envelope.session_id, key)
            self.counter = 0
        return reply


def _complete(octets) -> bool:
    """Whether the last reply is there: deployed servers close after it, ours may stay open."""
    at = 0
    while len(octets) - at >= ENVELOPE_SIZE + 12:
        length = int.from_bytes(octets[at + 16 : at + 20])
        end = at + ENVELOPE_SIZE + length
        if len(octets) < end:
            return False
        encrypted = octets[at + 2] & 0x40
        flags = int.from_bytes(octets[at + ENVELOPE_SIZE + 8 : at + ENVELOPE_SIZE + 12])
        if not encrypted and not flags & Flag.CN:
            return True
        at = end
    return False


def aged(message: Message, version) -> Message:
    """The same request from a client of that version."""
    envelope = replace(
        message.envelope,
        major=version[0],
        minor=version[1],
        suggest_major=version[0],
        suggest_minor=version[1],
    )
    return replace(message, envelope=envelope)


def trusting() -> ssl.SSLContext:
    """TLS that takes any certificate: what it is on is tested where it matters."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def value(index, type_, data, permissions=0b1110, **more) -> HandleValue:
    data = data.encode() if isinstance(data, str) else data
    return HandleValue(index, type_.encode(), data, permissions=permissions, **more)


def admin(target, index=100, mask=0x0FFF, who=None) -> HandleValue:
    """An HS_ADMIN value; default: the prefix's administrators."""
    who = who or Reference(target.record, 200)
    return HandleValue(index, b"HS_ADMIN", encode_admin(Admin(mask, who.handle, who.index)))


def named(name) -> bytes:
    return encode_name(NameRequest(name))


def valued(name, *values) -> bytes:
    return encode_values_request(ValuesRequest(name, values))


def numbered(name, *indexes) -> bytes:
    return encode_indexes_request(IndexesRequest(name, indexes))
