"""Ask one server of the Handle protocol: the transports, the versions, the proof of an identity.

Knows nothing of prefixes or caches: who is asked is resolver.iterate's business. Command-line
tools use administer() to change records at any server.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, time

from protocol.challenge import SALT_BYTES, answer_with_key, answer_with_secret
from protocol.doirp.administration import NO_NAME, encode_name
from protocol.doirp.administration import NameRequest as Name
from protocol.doirp.authentication import (
    ChallengeResponse,
    decode_challenge,
    encode_challenge_response,
)
from protocol.doirp.header import EXPIRATION_S, REQUEST_FLAGS, Flag, OpCode
from protocol.doirp.message import DIGEST_SHA256, Message, request
from protocol.doirp.referral import decode_error
from protocol.errors import (
    AuthenticationFailed,
    BiaoshiError,
    OutboundRefused,
    ParseError,
    ResponseCode,
    SignatureInvalid,
    Silent,
    Unreachable,
    UpstreamError,
)
from protocol.keys import PrivateKey
from protocol.record import Reference
from protocol.values.hs_site import Site, Transport, decode_site
from resolver.health import HealthBook
from resolver.metrics import Metrics
from resolver.network import Network
from resolver.peers import ORDER, Endpoint, Peer
from resolver.race import Attempt, race
from resolver.replies import FLOOR, Expected, Reply, can_certify
from resolver.transport_http import ask_http
from resolver.transport_tcp import ask_tcp, ask_tcp_all
from resolver.transport_udp import RETRY_S, ask_udp

FAMILY_DELAY_S = 0.25
"""IPv4 starts so long after IPv6 (do-irp 18.3 has 300 ms; a dead family may cost less than that)."""
NEXT_TRANSPORT_S = {Transport.TCP: 1.5, Transport.HTTP: 1.0, Transport.HTTPS: 1.0}
"""TCP is tried beside UDP once two datagrams had no answer; HTTP after TCP was slow too."""
CHALLENGE_ROUNDS = 2
"""A server may want a second proof for a third one (do-irp 8.1)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a server. name: what it is about. flags: RD is always added."""

    opcode: int
    body: bytes
    name: bytes
    flags: int = REQUEST_FLAGS.value
    recursion_count: int = 0
    session_id: int = 0
    reply_opcode: int | None = None
    """The operation that the reply names, where it is another one (answers to challenges)."""
    challenged: bytes = b""
    """The digest of the request whose challenge this answers."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who administers: a value `index:handle` that holds the public key or the secret.

    One of key and secret is set. Never shown in logs or messages.
    """

    reference: Reference
    key: PrivateKey | None = field(default=None, repr=False)
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Tried:
    """One endpoint that was asked. outcome: for people. code: of the reply, if there was one.

    asked: the name that the question was about.
    """

    endpoint: Endpoint
    outcome: str
    took_ms: float
    code: ResponseCode | None = None
    signature: str = ""
    asked: bytes = b""


@dataclass(slots=True)
class Meter:
    """Counts messages sent and keeps what happened. spend: called before each; may raise."""

    spend: Callable[[], None] = lambda: None
    tried: list[Tried] = field(default_factory=list)


class Client:
    """Asks servers. One for each process; keeps the round-trip times."""

    def __init__(
        self,
        network: Network,
        *,
        now: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        udp_waits_s: Sequence[float] = RETRY_S,
        metrics: Metrics | None = None,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        """now: seconds of a steady clock; wall: since 1970. udp_waits_s: after each sending.
        breathe: called between the steps that take processor time (resolver.pressure).
        """
        self._metrics = metrics or Metrics()
        self.network = network
        self.health = HealthBook(now=now)
        self._now = now
        self._wall = wall
        self._random = random
        self._udp_waits_s = udp_waits_s
        self._breathe = breathe

    async def send(
        self,
        peer: Peer,
        ask: Ask,
        *,
        certify: bool = False,
        meter: Meter | None = None,
    ) -> Reply:
        """The reply of one server, over the first of its transports that brings one.

        certify: demand a reply signed by the key of the site, where that is known.
        Raises UpstreamError, SignatureInvalid, ServerBusy.
        """
        reply = await self._send(peer, ask, certify, meter or Meter())
        older = reply.version < (peer.version or reply.version)
        if reply.code == ResponseCode.PROTOCOL_ERROR and older:
            # The site record promised more than this server speaks: once more, in its version.
            peer = replace(peer, version=reply.version)
            reply = await self._send(peer, ask, certify, meter or Meter())
        return reply

    async def _send(self, peer: Peer, ask: Ask, certify: bool, meter: Meter) -> Reply:
        endpoints = self._order(peer.endpoints)
        if not endpoints:
            raise UpstreamError("the server has no address over the transports that were asked for")
        attempts = []
        for position, endpoint in enumerate(endpoints):
            before = endpoints[position - 1] if position else None
            attempts.append(
                Attempt(
                    _start_after_s(before, endpoint),
                    partial(self._attempt, peer, endpoint, ask, certify, meter),
                )
            )
        return await race(attempts)

    def _order(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        # IPv6 first, unless it failed last time.
        return sorted(
            endpoints,
            key=lambda each: (
                ORDER.index(each.transport),
                self.health.failing(each),
                not each.ipv6,
            ),
        )

    async def _attempt(
        self, peer: Peer, endpoint: Endpoint, ask: Ask, certify: bool, meter: Meter
    ) -> Reply:
        began = self._now()
        try:
            reply = await self._exchange(peer, endpoint, ask, certify, meter)
        except asyncio.CancelledError:
            took = self._now() - began
            if took >= FAMILY_DELAY_S:
                self.health.failed(endpoint)
                meter.tried.append(
                    Tried(endpoint, "slower than another way", took * 1000, asked=ask.name)
                )
            raise
        except BiaoshiError as error:
            took = self._now() - began
            self._count(endpoint, _word(error))
            if isinstance(error, UpstreamError):
                self.health.failed(endpoint)
            meter.tried.append(Tried(endpoint, str(error), took * 1000, asked=ask.name))
            raise
        took = self._now() - began
        self.health.answered(endpoint, took)
        self._count(endpoint, "answered")
        meter.tried.append(
            Tried(endpoint, reply.code.name, took * 1000, reply.code, reply.signature, ask.name)
        )
        if reply.code == ResponseCode.SERVER_BUSY and endpoint.transport == Transport.UDP:
            # Over UDP it also means: the answer is too long, or the source unproven; ask by TCP.
            raise UpstreamError(f"{endpoint} is busy")
        return reply

    def _count(self, endpoint: Endpoint, word: str) -> None:
        self._metrics.upstream[endpoint.transport.name.lower(), word].inc()

    async def _exchange(
        self, peer: Peer, endpoint: Endpoint, ask: Ask, certify: bool, meter: Meter
    ) -> Reply:
        message, expected = self._message(peer, ask, certify)
        network, breathe = self.network, self._breathe

        def sending() -> None:
            breathe()
            meter.spend()

        def accept(message: Message) -> Reply:
            breathe()
            return expected.accept(message, endpoint)

        if endpoint.transport == Transport.UDP:
            return await ask_udp(
                network, endpoint, message, accept, sending=sending, waits_s=self._udp_waits_s
            )
        if endpoint.transport == Transport.TCP:
            return await ask_tcp(network, endpoint, message, accept, sending=sending)
        replies = await ask_http(
            network, endpoint, peer, ask.name, message, accept, sending=sending
        )
        return replies[0]

    def _message(self, peer: Peer, ask: Ask, certify: bool) -> tuple[Message, Expected]:
        # Servers below the floor sign with SHA-1: plain reading stays open to them, unsigned.
        speaks = peer.version is None or peer.version >= FLOOR
        certified = certify and speaks and can_certify(peer.public_key)
        flags = ask.flags | Flag.RD | (Flag.CT if certified else 0)
        message = request(
            ask.opcode,
            ask.body,
            request_id=self._request_id(),
            expiration=int(self._wall()) + EXPIRATION_S,
            site_version=peer.version,
            flags=int(flags),
            session_id=ask.session_id,
            site_serial=peer.serial,
            recursion_count=ask.recursion_count,
        )
        opcode = ask.opcode if ask.reply_opcode is None else ask.reply_opcode
        key = peer.public_key if certified else b""
        return message, Expected(
            message, ask.name, key, certified, opcode, self._wall(), ask.challenged
        )

    def _request_id(self) -> int:
        """31 random bits, not 0: deployed software reads the field as signed (threats N2)."""
        return (int.from_bytes(self._random(4)) & 0x7FFFFFFF) or 1

    async def send_all(self, peer: Peer, ask: Ask) -> AsyncIterator[Reply]:
        """Every part of a continued reply (listings), over TCP or else HTTP."""
        stream = peer.only((Transport.TCP,))
        if stream.endpoints:
            endpoint = self._order(stream.endpoints)[0]
            message, expected = self._message(peer, ask, certify=False)
            accept = partial(_accept, expected, endpoint)
            async for reply in ask_tcp_all(
                self.network, endpoint, message, accept, sending=lambda: None
            ):
                yield reply
            return
        tunnel = peer.only((Transport.HTTPS, Transport.HTTP))
        if not tunnel.endpoints:
            raise UpstreamError(f"{peer} has neither TCP nor HTTP; a listing needs one of them")
        endpoint = self._order(tunnel.endpoints)[0]
        message, expected = self._message(peer, ask, certify=False)
        accept = partial(_accept, expected, endpoint)
        for reply in await ask_http(
            self.network, endpoint, peer, ask.name, message, accept, sending=lambda: None
        ):
            yield reply

    async def administer(self, peer: Peer, ask: Ask, identity: Identity) -> Reply:
        """Send a request and prove the identity when the server asks for it (do-irp 8.1).

        Over TCP or HTTP: a request that changes something is not sent twice. Returns the final
        reply, whatever its code. Raises AuthenticationFailed when the challenge is not to be
        trusted, UpstreamError.
        """
        steady = peer.only((Transport.TCP, Transport.HTTPS, Transport.HTTP))
        if not steady.endpoints:
            raise UpstreamError(f"{peer} has neither TCP nor HTTP to administer it by")
        reply = await self._administer_once(steady, ask)
        challenged = reply
        for _ in range(CHALLENGE_ROUNDS):
            if challenged.code != ResponseCode.AUTHENTICATION_NEEDED:
                break
            answer = self._answer(challenged, identity)
            challenged = await self._administer_once(
                steady,
                Ask(
                    OpCode.CHALLENGE_RESPONSE,
                    answer,
                    ask.name,
                    ask.flags,
                    session_id=challenged.message.envelope.session_id,
                    reply_opcode=ask.opcode,
                    challenged=challenged.digest.digest if challenged.digest else b"",
                ),
            )
        return challenged

    async def _administer_once(self, peer: Peer, ask: Ask) -> Reply:
        # One endpoint after the other, never two at once.
        failures = []
        for endpoint in self._order(peer.endpoints):
            sent: list[bool] = []
            try:
                return await self._attempt(
                    peer, endpoint, ask, False, Meter(spend=partial(sent.append, True))
                )
            except UpstreamError as error:
                if sent:
                    raise
                failures.append(str(error))
        raise UpstreamError("; ".join(failures))

    def _answer(self, challenged: Reply, identity: Identity) -> bytes:
        digest, version = challenged.digest, challenged.version
        if digest is None or digest.algorithm != DIGEST_SHA256 or version < FLOOR:
            raise AuthenticationFailed(
                f"{challenged.endpoint} challenges in version {version[0]}.{version[1]}; nothing "
                "is proved below 2.7, where the proof could be used for another request"
            )
        nonce = decode_challenge(challenged.body, version).nonce
        if identity.key is not None:
            kind = b"HS_PUBKEY"
            proof = answer_with_key(identity.key, nonce, digest.digest, version)
        elif identity.secret is not None:
            kind = b"HS_SECKEY"
            lower = min(version, challenged.message.envelope.suggestion)
            proof = answer_with_secret(
                identity.secret, nonce, digest.digest, lower, salt=self._random(SALT_BYTES)
            )
        else:
            raise AuthenticationFailed(
                f"{identity.reference.text()} has neither a key nor a secret to prove itself with"
            )
        return encode_challenge_response(
            ChallengeResponse(kind, identity.reference.handle, identity.reference.index, proof)
        )

    async def site_info(self, peer: Peer) -> Site:
        """The site record that a server gives of itself. Raises UpstreamError."""
        ask = Ask(OpCode.GET_SITE_INFO, encode_name(Name(NO_NAME)), NO_NAME)
        reply = await self.send(peer, ask)
        if reply.code != ResponseCode.SUCCESS:
            raise UpstreamError(f"{reply.endpoint} gives no site record: {error_text(reply)}")
        try:
            return decode_site(reply.body)
        except ParseError as error:
            raise UpstreamError(f"{reply.endpoint} gives a broken site record: {error}") from None


def _word(error: BiaoshiError) -> str:
    """The metrics' word for a failed attempt."""
    for kind, word in (
        (Silent, "timeout"),
        (Unreachable, "refused"),
        (OutboundRefused, "refused"),
        (SignatureInvalid, "malformed"),
    ):
        if isinstance(error, kind):
            return word
    return "failed"


def _accept(expected: Expected, endpoint: Endpoint, message: Message) -> Reply:
    return expected.accept(message, endpoint)


def _start_after_s(before: Endpoint | None, endpoint: Endpoint) -> float:
    if before is None:
        return 0.0
    if before.transport == endpoint.transport:
        return FAMILY_DELAY_S
    return NEXT_TRANSPORT_S[endpoint.transport]


def error_text(reply: Reply) -> str:
    """What an error reply says, with its code, for people."""
    said = said_text(reply)
    return f"{reply.code.name} ({reply.code.value})" + (f", {said!r}" if said else "")


def said_text(reply: Reply) -> str:
    """The words of an error reply, made printable; often there are none."""
    try:
        said = decode_error(reply.body).message or b""
    except ParseError:
        return ""
    text = said.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "�" for char in text)[:300]
