"""A small tree of scripted sites on a network that exists only here.

Each site answers real messages of the protocol, octet for octet, unless it is told to misbehave.
Latency is 10 ms a way. Nothing listens on a port that no site has: the asker is told at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.credential import sign_message
from protocol.doirp.authentication import Challenge, encode_challenge
from protocol.doirp.envelope import decode_envelope
from protocol.doirp.header import Flag
from protocol.doirp.message import (
    Message,
    decode_message,
    decode_message_part,
    encode_message,
    encode_message_part,
    response,
)
from protocol.doirp.referral import Referral, encode_referral, error_body
from protocol.doirp.resolution import (
    ResolutionReply,
    decode_resolution_request,
    encode_resolution_reply,
)
from protocol.doirp.udp import Reassembler, split
from protocol.errors import ResponseCode, UpstreamError
from protocol.keys import encode_public_key
from protocol.name import described_prefix, fold, parent_prefix, prefix_of, prefix_record
from protocol.record import HandleValue, Reference
from protocol.signature import Perm, Permission, Validity, issue_certificate, sign_record
from protocol.values.hs_site import (
    Interface,
    InterfaceType,
    Server,
    Site,
    Transport,
    address_octets,
    encode_site,
    site_type,
)

LATENCY_S = 0.01
WALL = 1_800_000_000
PORT = 2641


def key_of(name: str) -> Ed25519PrivateKey:
    """The key of a prefix or site, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")[:32])


@dataclass
class FakeSite:
    """One scripted site. moods: how it misbehaves; see answer()."""

    name: str
    zone: bytes
    addresses: tuple[str, ...]
    now: Callable[[], float]
    root: bool = False
    ttl: int = 86_400
    records: dict[bytes, list[HandleValue]] = field(default_factory=dict)
    referrals: dict[bytes, tuple[int, Referral]] = field(default_factory=dict)
    moods: set[str] = field(default_factory=set)
    slow_s: float = 0.0
    drops: int = 0
    dead_addresses: set[str] = field(default_factory=set)
    version: tuple[int, int] = (2, 11)
    key_name: str = ""
    port: int = PORT
    transports: tuple[Transport, ...] = (Transport.UDP, Transport.TCP)
    private_key: Any = None
    asked: list[bytes] = field(default_factory=list)
    homed: set[bytes] = field(default_factory=set)

    @property
    def key(self) -> Any:
        return self.private_key or key_of(self.key_name or self.name)

    def site(self, address: str) -> Site:
        interfaces = tuple(
            Interface(InterfaceType.BOTH, transport, self.port) for transport in self.transports
        )
        key = encode_public_key(self.key.public_key())
        server = Server(1, address_octets(address), key, interfaces)
        return Site((server,), major=self.version[0], minor=self.version[1])

    def site_values(self, start: int = 1) -> list[HandleValue]:
        """HS_SITE (and HS_SITE.6) values of this site."""
        return [
            HandleValue(start + n, site_type(site), encode_site(site), self.ttl)
            for n, site in enumerate(map(self.site, self.addresses))
        ]

    def answer(self, data: bytes, transport: str) -> bytes | None:
        """The reply to a message, envelope included; None: silence."""
        request = decode_message(data)
        name = decode_resolution_request(request.body).handle
        self.asked.append(name)
        if "silent" in self.moods or f"no-{transport}" in self.moods:
            return None
        if self.drops > 0:
            self.drops -= 1
            return None
        reply = self._reply(request, name, transport)
        if "unsigned" in self.moods or not reply.header.has(Flag.CT):
            return encode_message(reply)
        liar = key_of("somebody else") if "forged" in self.moods else self.key
        return encode_message(sign_message(reply, liar))

    def _reply(self, request: Message, name: bytes, transport: str) -> Message:
        if "busy" in self.moods or ("udp-busy" in self.moods and transport == "udp"):
            return self._respond(request, ResponseCode.SERVER_BUSY, error_body("try TCP"))
        if "lame" in self.moods:
            return self._respond(request, ResponseCode.SERVER_NOT_RESPONSIBLE, error_body("no"))
        if request.envelope.version > self.version:
            return self._respond(request, ResponseCode.PROTOCOL_ERROR, error_body("too new"))
        return self._look_up(request, name)

    def _look_up(self, request: Message, name: bytes) -> Message:
        key = fold(name)
        if key in self.referrals:
            code, referral = self.referrals[key]
            return self._respond(request, code, encode_referral(referral))
        values = self.records.get(key)
        if values is None:
            code = ResponseCode.HANDLE_NOT_FOUND
            if not self._responsible(key):
                code = ResponseCode.SERVER_NOT_RESPONSIBLE
            return self._respond(request, code, error_body(""))
        if "wants-identity" in self.moods:
            code = ResponseCode.AUTHENTICATION_NEEDED
            return self._respond(request, code, encode_challenge(Challenge(b"n" * 16)))
        if "shows-private" not in self.moods:
            values = [value for value in values if value.public]
        if "tampers" in self.moods:
            values = [_tampered(value) for value in values]
        asked = b"88/other" if "answers-another" in self.moods else name
        body = encode_resolution_reply(ResolutionReply(asked, tuple(values)))
        if "broken-values" in self.moods:
            body = body[:-3]
        return self._respond(request, ResponseCode.SUCCESS, body)

    def _responsible(self, key: bytes) -> bool:
        described = described_prefix(key)
        zone = prefix_of(key) if described is None else described
        if self.homed:
            # As nodes do: names of homed prefixes, and prefix records below them.
            above = parent_prefix(zone) if described is not None else None
            return zone in self.homed or above in (self.homed | {self.zone})
        return not self.zone or zone == self.zone or zone.startswith(self.zone + b".")

    def _respond(self, request: Message, code: int, body: bytes) -> Message:
        if "no-digest" in self.moods:
            stripped = request.header.flags & ~Flag.RD
            request = replace(request, header=replace(request.header, flags=stripped))
        reply = response(
            request,
            code,
            body,
            site_serial=1,
            expiration=WALL + int(self.now()) + 43_200,
            authoritative="mirror" not in self.moods,
            own=self.version,
        )
        if "wrong-id" in self.moods:
            envelope = replace(reply.envelope, request_id=reply.envelope.request_id ^ 1)
            reply = replace(reply, envelope=envelope)
        return reply


def _tampered(value: HandleValue) -> HandleValue:
    if value.type in (b"HS_SIGNATURE", b"HS_CERT", b"HS_SITE", b"HS_SITE.6"):
        return value
    return replace(value, data=value.data + b"/evil")


@dataclass
class World:
    """Sites, and the network between them and one asker."""

    now: Callable[[], float]
    sites: dict[str, FakeSite] = field(default_factory=dict)
    messages: int = 0
    order: list[str] = field(default_factory=list)
    signed: set[bytes] = field(default_factory=set)

    def wall(self) -> float:
        return WALL + self.now()

    def add(self, site: FakeSite) -> None:
        """A site, known from now on to the sites above it."""
        self.sites[site.name] = site
        if site.root:
            return
        for above in self.above(site.zone):
            record = above.records.setdefault(prefix_record(site.zone), [])
            record += site.site_values(len(record) + 1)

    def above(self, zone: bytes) -> list[FakeSite]:
        """The sites that hold the record of a zone."""
        parent = parent_prefix(zone) or b""
        return self.serving(parent) or [site for site in self.sites.values() if site.root]

    def serving(self, zone: bytes) -> list[FakeSite]:
        """The sites of the longest zone that holds this one."""
        holding = [
            site
            for site in self.sites.values()
            if not site.zone or zone == site.zone or zone.startswith(site.zone + b".")
        ]
        longest = max((len(site.zone) for site in holding), default=0)
        return [site for site in holding if len(site.zone) == longest]

    def holders(self, name: bytes) -> list[FakeSite]:
        """The sites that should have a record."""
        described = described_prefix(name)
        return self.above(described) if described is not None else self.serving(prefix_of(name))

    # Signatures: 300:0.NA/P is the key named after the prefix, certified by the parent's.

    def sign(self, name: bytes, *, expires: int | None = None, signer: bytes | None = None) -> None:
        """Sign a record at every site that holds it, with the key of its prefix."""
        self.signed.add(name)
        zone = signer or described_prefix(name) or prefix_of(name)
        chain = [Reference(prefix_record(each), 400) for each in self._up(zone)]
        for site in self.holders(name):
            values = [v for v in site.records[fold(name)] if v.type != b"HS_SIGNATURE"]
            data = sign_record(
                name,
                values,
                Reference(prefix_record(zone), 300),
                self.zone_key(zone),
                validity=Validity(WALL - 100_000_000, None if expires is None else WALL + expires),
                chain=chain,
            )
            site.records[fold(name)] = [*values, HandleValue(410, b"HS_SIGNATURE", data)]

    def certify(self, zone: bytes, *, key: str | None = None) -> None:
        """Put the certificate of a zone's key into its prefix record, and sign that record."""
        record = prefix_record(zone)
        above = self._up(zone)[1:]
        issuer = above[0] if above else zone
        perms = [Permission(b"", Perm.EVERYTHING)]
        if above:
            perms = [Permission(record, perm) for perm in list(Perm)[1:]]
        data = issue_certificate(
            Reference(record, 300),
            (key_of(key) if key else self.zone_key(zone)).public_key(),
            perms,
            Reference(prefix_record(issuer), 300),
            self.zone_key(issuer),
            validity=Validity(WALL - 100_000_000, None),
            chain=[Reference(prefix_record(each), 400) for each in above],
        )
        for site in self.holders(record):
            kept = [v for v in site.records.get(record, []) if v.index != 400]
            site.records[record] = [*kept, HandleValue(400, b"HS_CERT", data)]
        self.sign(record, signer=issuer)

    def zone_key(self, zone: bytes) -> Any:
        """The site key of the zone's first site."""
        return next(site.key for site in self.sites.values() if site.zone == zone)

    def _up(self, zone: bytes) -> list[bytes]:
        chain: list[bytes] = []
        zones = {site.zone for site in self.sites.values() if site.zone}
        here: bytes | None = zone
        while here:
            if here in zones:
                chain.append(here)
            here = parent_prefix(here)
        return chain

    # The network, as resolver.client sees it

    def _at(self, address: str) -> FakeSite:
        for site in self.sites.values():
            if address in site.addresses:
                return site
        raise UpstreamError(f"nothing listens at {address}")

    def carry(self, address: str, data: bytes, transport: str) -> bytes | None:
        """Bring a message to a site; its reply."""
        site = self._at(address)
        self.messages += 1
        self.order.append(site.name)
        if address in site.dead_addresses:
            return None
        return site.answer(data, transport)

    def delay_s(self, address: str) -> float:
        return 2 * LATENCY_S + self._at(address).slow_s

    @asynccontextmanager
    async def udp(self, address: str, port: int) -> AsyncIterator[FakeUdp]:
        self._at(address)
        yield FakeUdp(self, address)

    @asynccontextmanager
    async def tcp(self, address: str, port: int, **_: object) -> AsyncIterator[FakeTcp]:
        site = self._at(address)
        if address in site.dead_addresses or "silent" in site.moods:
            await asyncio.sleep(3.0)
            raise UpstreamError(f"{address} did not accept in time")
        if "no-tcp" in site.moods:
            raise UpstreamError(f"{address} refused the connection")
        await asyncio.sleep(2 * LATENCY_S)
        yield FakeTcp(self, address)

    async def addresses(self, host: str, port: int, scheme: str) -> tuple[str, ...]:
        return (host,)


class FakeUdp:
    """Datagrams to and from one site."""

    def __init__(self, world: World, address: str) -> None:
        self._world = world
        self._address = address
        self._parts = Reassembler()
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        whole = self._parts.add(None, data, self._world.now())
        if whole is None:
            return
        envelope, part = whole
        message = encode_message(decode_message_part(envelope, part))
        reply = self._world.carry(self._address, message, "udp")
        if reply is None:
            return
        decoded = decode_message(reply)
        loop = asyncio.get_running_loop()
        for packet in reversed(split(encode_message_part(decoded), decode_envelope(reply))):
            loop.call_later(self._world.delay_s(self._address), self._inbox.put_nowait, packet)

    async def receive(self) -> bytes:
        return await self._inbox.get()


class FakeTcp:
    """A stream to one site."""

    def __init__(self, world: World, address: str) -> None:
        self._world = world
        self._address = address
        self._inbox: deque[bytes] = deque()

    async def send(self, data: bytes) -> None:
        reply = self._world.carry(self._address, data, "tcp")
        if reply is None:
            return
        half = len(reply) // 2
        self._inbox += [reply[:half], reply[half:]]

    async def receive(self) -> bytes:
        await asyncio.sleep(self._world.delay_s(self._address) / 2)
        if self._inbox:
            return self._inbox.popleft()
        await asyncio.sleep(60)
        return b""

    def certificate(self) -> bytes | None:
        return None
