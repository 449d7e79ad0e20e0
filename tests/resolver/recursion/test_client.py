"""resolver.client and its transports, against scripted servers on real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.x509.oid import NameOID

from protocol.challenge import verify_key_answer, verify_secret_answer
from protocol.doirp.administration import NamesReply, encode_names_reply
from protocol.doirp.authentication import Challenge, decode_challenge_response, encode_challenge
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import decode_message, encode_message, request_digest, response
from protocol.doirp.resolution import (
    ResolutionReply,
    ResolutionRequest,
    encode_resolution_reply,
    encode_resolution_request,
)
from protocol.errors import (
    AuthenticationFailed,
    ResponseCode,
    SignatureInvalid,
    UpstreamError,
)
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Reference, decode_values
from protocol.values.hs_site import Transport, encode_site
from resolver.client import Ask, Client, Identity, Meter
from resolver.config import OutboundSettings
from resolver.guard import Guard
from resolver.peers import Peer, ServiceSite, plain_peer
from tests.resolver.recursion.live import live, real_now
from tests.scenarios.world import FakeSite

NAME = b"88.1/pump"
UDP, TCP, HTTP, HTTPS = Transport
RSA = generate_private_key(65537, 2048)
FAR = 2_000_000_000


@pytest.fixture(scope="module")
def net():
    with live() as made:
        yield made


@pytest.fixture
def site():
    made = FakeSite("E", b"88.1", ("127.0.0.1",), real_now)
    made.records[NAME.upper()] = [HandleValue(1, b"URL", b"https://example.org/pump")]
    return made


def make_client(**options):
    guard = Guard(OutboundSettings())
    guard.trust_class_of(["127.0.0.1"])
    return Client(guard, **options)


def ask(name=NAME, **more):
    body = encode_resolution_request(ResolutionRequest(name))
    return Ask(OpCode.RESOLUTION, body, name, **more)


@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_a_record_comes_over_each_transport(net, site, transport):
    """UDP and TCP bring the same values."""
    peer = plain_peer(["127.0.0.1"], net.serve(site.answer), (transport,))
    reply = await make_client().send(peer, ask())
    assert reply.code == ResponseCode.SUCCESS
    assert decode_values(reply.body) == tuple(site.records[NAME.upper()])
    assert reply.endpoint.transport == transport
    assert reply.version == (2, 11)


async def test_the_client_breathes_between_its_steps(net, site):
    """Before it sends, and before it verifies what came: others are answered meanwhile (N7)."""
    breaths = []
    peer = plain_peer(["127.0.0.1"], net.serve(site.answer), (UDP,))
    await make_client(breathe=lambda: breaths.append(len(site.asked))).send(peer, ask())
    assert breaths == [0, 1]


async def test_the_tunnel(net, site):
    """HTTP carries the same messages."""
    peer = plain_peer(["127.0.0.1"], net.serve_http(site.answer), (HTTP,), "node.example")
    reply = await make_client().send(peer, ask())
    assert decode_values(reply.body) == tuple(site.records[NAME.upper()])


def tls(folder, key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_tls_is_on_the_key_of_the_site(net, site, tmp_path):
    """A certificate on the site's key is accepted; on another one nothing is even asked."""
    port = net.serve_http(site.answer, tls(tmp_path, RSA))
    key = encode_public_key(RSA.public_key())
    peer = replace(plain_peer(["127.0.0.1"], port, (HTTPS,)), public_key=key)
    reply = await make_client().send(peer, ask())
    assert reply.code == ResponseCode.SUCCESS
    site.asked.clear()
    other = encode_public_key(generate_private_key(65537, 2048).public_key())
    with pytest.raises(SignatureInvalid, match="another key"):
        await make_client().send(replace(peer, public_key=other), ask())
    assert site.asked == []


async def test_long_replies_come_in_packets(net, site):
    """A reply of many packets, in any order, is put together; a long question is cut up too."""
    big = HandleValue(2, b"DATA", os.urandom(9000))
    long_name = b"88.1/" + b"x" * 1500
    site.records[long_name.upper()] = [big]
    peer = plain_peer(["127.0.0.1"], net.serve(site.answer), (UDP,))
    reply = await make_client().send(peer, ask(long_name))
    assert decode_values(reply.body) == (big,)


async def test_certified_replies(net, site):
    """A reply signed by the site's key is told so; another's signature is refused."""
    site.port = net.serve(site.answer)
    peer = ServiceSite((site.site("127.0.0.1"),)).peer(NAME)
    reply = await make_client().send(peer, ask(), certify=True)
    assert reply.signature == "signed"
    site.moods = {"forged"}
    with pytest.raises(SignatureInvalid):
        await make_client(udp_waits_s=(0.05,)).send(peer.only((UDP,)), ask(), certify=True)
    site.moods = {"unsigned"}
    with pytest.raises(SignatureInvalid, match="unsigned"):
        await make_client().send(peer.only((TCP,)), ask(), certify=True)


async def test_a_closed_udp_port_costs_no_time(net, site):
    """When the port is closed the next transport starts at once."""
    port = net.serve_http(site.answer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    endpoints = (
        *plain_peer(["127.0.0.1"], closed, (UDP,)).endpoints,
        *plain_peer(["127.0.0.1"], port, (HTTP,)).endpoints,
    )
    meter = Meter()
    reply = await asyncio.wait_for(make_client().send(Peer(endpoints), ask(), meter=meter), 1.0)
    assert reply.endpoint.transport == HTTP
    assert "nothing listens" in meter.tried[0].outcome


async def test_off_path_forgeries_are_ignored(net, site):
    """Replies from another socket never arrive, even with everything else right."""
    forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lie = encode_resolution_reply(ResolutionReply(NAME, (HandleValue(1, b"URL", b"evil"),)))
    loop = asyncio.get_running_loop()
    asked = loop.create_future()

    class Slow(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            for _ in range(50):
                forger.sendto(
                    encode_message(
                        response(decode_message(data), 1, lie, site_serial=1, expiration=FAR)
                    ),
                    addr,
                )
            loop.call_later(0.05, self.transport.sendto, site.answer(data, "udp"), addr)
            asked.set_result(None)

    transport, _ = await loop.create_datagram_endpoint(Slow, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    reply = await make_client().send(plain_peer(["127.0.0.1"], port, (UDP,)), ask())
    transport.close()
    forger.close()
    assert decode_values(reply.body)[0].data == b"https://example.org/pump"


class Flood:
    """A peer whose port is guessed right: forged replies first, then the true one."""

    def __init__(self, forge, count, answer):
        self._forge, self._count, self._answer = forge, count, answer
        self._inbox = []

    def udp(self, address, port):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    def send(self, data):
        question = decode_message(data)
        true = self._answer(data, "udp")
        self._inbox = [true, *(self._forge(question) for _ in range(self._count))]

    async def receive(self):
        if not self._inbox:
            await asyncio.Event().wait()
        return self._inbox.pop()


def forged(question, **changes):
    lie = encode_resolution_reply(ResolutionReply(NAME, (HandleValue(1, b"URL", b"evil"),)))
    reply = response(question, 1, lie, site_serial=1, expiration=FAR)
    envelope = replace(reply.envelope, **changes)
    return encode_message(replace(reply, envelope=envelope))


async def test_forgeries_from_the_right_address_need_the_request_id(site):
    """Twenty thousand replies with guessed request ids are ignored, the true one is taken."""

    def guess(question):
        wrong = int.from_bytes(os.urandom(4)) & 0x7FFFFFFF
        if wrong == question.envelope.request_id:
            wrong ^= 1
        return forged(question, request_id=wrong)

    client = Client(Flood(guess, 20_000, site.answer))
    reply = await client.send(plain_peer(["192.0.2.1"], 2641, (UDP,)), ask())
    assert decode_values(reply.body)[0].data == b"https://example.org/pump"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda q: replace(q, body=encode_resolution_request(ResolutionRequest(b"88.1/other"))),
        lambda q: replace(q, header=replace(q.header, flags=q.header.flags & ~Flag.RD)),
        lambda q: replace(q, header=replace(q.header, opcode=2)),
    ],
    ids=["another question's digest", "no digest", "another operation"],
)
async def test_replies_to_other_questions_are_ignored(site, spoil):
    """The request id alone is not enough: digest and operation must fit."""
    client = Client(Flood(lambda q: forged(spoil(q)), 3, site.answer))
    reply = await client.send(plain_peer(["192.0.2.1"], 2641, (UDP,)), ask())
    assert decode_values(reply.body)[0].data == b"https://example.org/pump"


async def test_past_replies_and_garbage_are_ignored(site):
    """A reply whose time is over, and octets that are no reply, are not taken."""
    old = iter(range(10))

    def forge(question):
        if next(old) % 2:
            return os.urandom(60)
        return encode_message(
            response(question, 100, b"\0\0\0\0", site_serial=1, expiration=1_000_000_000)
        )

    client = Client(Flood(forge, 10, site.answer))
    reply = await client.send(plain_peer(["192.0.2.1"], 2641, (UDP,)), ask())
    assert reply.code == ResponseCode.SUCCESS


async def test_request_ids_are_random_and_positive(site):
    """Ids fit 31 bits, are never 0 and do not repeat."""
    ids = []

    def note(question):
        ids.append(question.envelope.request_id)
        return b""

    client = Client(Flood(note, 1, site.answer))
    for _ in range(200):
        await client.send(plain_peer(["192.0.2.1"], 2641, (UDP,)), ask())
    assert len(set(ids)) == 200
    assert all(0 < each < 2**31 for each in ids)


class Registrar:
    """A server that challenges every change and checks the proof."""

    def __init__(self, *, secret=b"top secret", version=(2, 11), spoil=False):
        self.secret, self.version, self.spoil = secret, version, spoil
        self.pending = {}
        self.done = []
        self.rounds = 1

    def answer(self, data, transport):
        message = decode_message(data)
        if message.header.opcode == OpCode.CHALLENGE_RESPONSE:
            return self._prove(message)
        return self._challenge(message, message)

    def _challenge(self, original, message):
        number, nonce = len(self.pending) + 77, os.urandom(16)
        digested = message
        if self.spoil:
            other = replace(message.header, opcode=OpCode.CREATE_HANDLE)
            digested = replace(message, header=other)
        reply = response(
            digested,
            ResponseCode.AUTHENTICATION_NEEDED,
            encode_challenge(Challenge(nonce)),
            site_serial=1,
            expiration=FAR,
            session_id=number,
            own=self.version,
            opcode=original.header.opcode,
        )
        self.pending[number] = (original, nonce, request_digest(message, self.version).digest)
        return encode_message(reply)

    def _prove(self, message):
        original, nonce, digest = self.pending.pop(message.envelope.session_id)
        proof = decode_challenge_response(message.body)
        if proof.auth_type == b"HS_PUBKEY":
            verify_key_answer(proof.signed_response, RSA.public_key(), nonce, digest)
        else:
            verify_secret_answer(
                proof.signed_response, self.secret, nonce, digest, version=self.version
            )
        assert (proof.user_handle, proof.user_index) == (b"0.NA/88.1", 300)
        self.rounds -= 1
        if self.rounds:
            return self._challenge(original, message)
        self.done.append(original.header.opcode)
        return encode_message(
            response(
                message,
                ResponseCode.SUCCESS,
                b"",
                site_serial=1,
                expiration=FAR,
                opcode=original.header.opcode,
            )
        )


WHO = Reference(b"0.NA/88.1", 300)
DELETE = Ask(OpCode.DELETE_HANDLE, b"\0\0\0\x09" + NAME, NAME)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("transport", [TCP, HTTP])
@pytest.mark.parametrize(
    "identity", [Identity(WHO, key=RSA), Identity(WHO, secret=b"top secret")], ids=["key", "secret"]
)
async def test_administration_proves_the_identity(net, identity, transport, rounds):
    """A challenge is answered with the key or the secret; a second one too."""
    registrar = Registrar()
    registrar.rounds = rounds
    serve = net.serve if transport == TCP else net.serve_http
    peer = plain_peer(["127.0.0.1"], serve(registrar.answer), (UDP, transport))
    reply = await make_client().administer(peer, DELETE, identity)
    assert reply.code == ResponseCode.SUCCESS
    assert registrar.done == [OpCode.DELETE_HANDLE]


async def test_a_third_challenge_is_not_answered(net):
    """After two rounds the challenge is handed back as it is."""
    registrar = Registrar()
    registrar.rounds = 3
    peer = plain_peer(["127.0.0.1"], net.serve(registrar.answer), (TCP,))
    reply = await make_client().administer(peer, DELETE, Identity(WHO, key=RSA))
    assert reply.code == ResponseCode.AUTHENTICATION_NEEDED
    assert registrar.done == []


async def test_nothing_is_proved_below_2_7(net):
    """A challenge of an old version, whose digest is weak, is refused."""
    registrar = Registrar(version=(2, 6))
    peer = plain_peer(["127.0.0.1"], net.serve(registrar.answer), (TCP,))
    with pytest.raises(AuthenticationFailed, match=r"2\.7"):
        await make_client().administer(peer, DELETE, Identity(WHO, key=RSA))


async def test_a_challenge_for_another_request_is_refused(net):
    """The digest in the challenge must be that of what we sent."""
    registrar = Registrar(spoil=True)
    peer = plain_peer(["127.0.0.1"], net.serve(registrar.answer), (TCP,))
    with pytest.raises(UpstreamError, match="digest"):
        await make_client().administer(peer, DELETE, Identity(WHO, key=RSA))
    assert registrar.done == []


async def test_a_change_is_never_sent_over_udp_nor_twice(net):
    """A server with UDP alone cannot be administered; a broken connection is not retried."""
    calls = []

    def drop(data, transport):
        calls.append(transport)
        return b"short"

    port = net.serve(drop)
    with pytest.raises(UpstreamError, match="neither TCP nor HTTP"):
        await make_client().administer(
            plain_peer(["127.0.0.1"], port, (UDP,)), DELETE, Identity(WHO, key=RSA)
        )
    peer = plain_peer(["127.0.0.1", "127.0.0.1"], port, (UDP, TCP))
    with pytest.raises(UpstreamError):
        await make_client().administer(peer, DELETE, Identity(WHO, key=RSA))
    assert calls == ["tcp"]


def test_identities_do_not_show_their_secrets():
    """Neither key nor secret appears when an identity is printed."""
    assert "top secret" not in repr(Identity(WHO, secret=b"top secret"))


@pytest.mark.parametrize("transport", [TCP, HTTP])
async def test_listings_come_in_parts(net, transport):
    """Replies with flag CN are followed by more; each is handed over."""

    def parts(data, _):
        question = decode_message(data)
        return [
            encode_message(
                response(
                    question,
                    1,
                    encode_names_reply(NamesReply((b"88.1/%d" % n,))),
                    site_serial=1,
                    expiration=FAR,
                    set_flags=Flag.CN if n < 2 else 0,
                )
            )
            for n in range(3)
        ]

    serve = net.serve if transport == TCP else net.serve_http
    peer = plain_peer(["127.0.0.1"], serve(parts), (transport,))
    listing = Ask(OpCode.LIST_HANDLES, b"\0\0\0\x0900.NA/88.1"[:13], b"0.NA/88.1")
    replies = [reply async for reply in make_client().send_all(peer, listing)]
    assert len(replies) == 3


async def test_site_info(net, site):
    """A server tells its own site record."""

    def answer(data, _):
        body = encode_site(site.site("127.0.0.1"))
        return encode_message(
            response(decode_message(data), 1, body, site_serial=1, expiration=FAR)
        )

    peer = plain_peer(["127.0.0.1"], net.serve(answer), (TCP,))
    assert await make_client().site_info(peer) == site.site("127.0.0.1")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-hdl-message\r\n"
            b"Content-Length: 999\r\n\r\nshort"
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-hdl-message\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-hdl-message\r\n\r\n" + bytes(50),
        b"X" * 40_000,
    ],
)
async def test_strange_http_replies_are_upstream_errors(reply):
    """Whatever a web server sends instead of a reply is one kind of error."""

    async def serve(reader, writer):
        await reader.read(10)
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(UpstreamError):
        await make_client().send(plain_peer(["127.0.0.1"], port, (HTTP,)), ask())
    server.close()


@pytest.mark.parametrize("host", ["evil\r\nX-Header: 1", "a b", "ex\u00e4mple.org"])
async def test_a_foreign_host_name_cannot_add_headers(net, site, host):
    """The name for the Host header comes from a site record; only host names are let through."""
    peer = plain_peer(["127.0.0.1"], net.serve_http(site.answer), (HTTP,), host)
    with pytest.raises(UpstreamError, match="host"):
        await make_client().send(peer, ask())
