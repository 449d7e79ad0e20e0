"""resolver.guard: no connection leaves that its rules do not allow."""

from __future__ import annotations

import asyncio
import socket

import pytest

from protocol.errors import OutboundRefused, ServerBusy, UpstreamError
from resolver.addresses import AddressClass, classify, parse_address
from resolver.config import OutboundSettings
from resolver.guard import Guard, parse_url

NOWHERE = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "[::1]",
    "localhost",
)


@pytest.mark.parametrize("address", NOWHERE)
def test_no_address_inside_passes_by_default(address):
    """Addresses that are not public, in any of their dresses, are refused."""
    with pytest.raises(OutboundRefused):
        Guard(OutboundSettings()).check(address, 2641, "irp-tcp")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "[::1]", "localhost", "2130706433"])
async def test_names_that_lead_inside_are_refused(host):
    """A name is judged by the addresses that it has."""
    with pytest.raises(OutboundRefused):
        await Guard(OutboundSettings()).addresses(host, 2641, "irp-tcp")


@pytest.mark.parametrize("address", ["8.8.8.8", "2620:fe::fe", "64:ff9b::808:808", "1.1.1.1"])
def test_public_addresses_pass(address):
    """A public address passes, also when it is reached through NAT64."""
    assert str(Guard(OutboundSettings()).check(address, 2641, "irp-udp")) == address


def test_the_class_of_the_roots_passes():
    """A node whose root is on loopback may follow referrals to loopback, not to private nets."""
    guard = Guard(OutboundSettings())
    guard.trust_class_of(["127.0.0.1"])
    guard.check("::1", 2641, "irp-tcp")
    with pytest.raises(OutboundRefused, match=r"outbound\.allow"):
        guard.check("10.0.0.1", 2641, "irp-tcp")


@pytest.mark.parametrize("root", ["169.254.169.254", "224.0.0.1"])
def test_the_class_of_a_strange_root_does_not_pass(root):
    """Naming a root in link-local or multicast space opens nothing."""
    guard = Guard(OutboundSettings())
    guard.trust_class_of([root])
    with pytest.raises(OutboundRefused):
        guard.check(root, 2641, "irp-tcp")


def test_private_deployments_and_named_networks():
    """allow_private lets private addresses through; a named network passes whatever its class."""
    guard = Guard(OutboundSettings(allow_private=True, allow=("169.254.7.0/24",)))
    guard.check("10.3.2.1", 2641, "irp-tcp")
    guard.check("169.254.7.9", 2641, "irp-tcp")
    guard.check("::ffff:169.254.7.9", 2641, "irp-tcp")
    for address in ("127.0.0.1", "169.254.8.1"):
        with pytest.raises(OutboundRefused):
            guard.check(address, 2641, "irp-tcp")


@pytest.mark.parametrize("port", [0, -1, 22, 25, 53, 1023, 3306, 5432, 6379, 11211, 65536])
def test_ports_of_other_services_are_refused(port):
    """No datagram or request reaches a port where something else listens."""
    with pytest.raises(OutboundRefused, match="port"):
        Guard(OutboundSettings()).check("8.8.8.8", port, "irp-tcp")


def test_a_named_port_passes():
    """allow_ports adds to the list, known services included."""
    guard = Guard(OutboundSettings(allow_ports=(636, 6379)))
    guard.check("8.8.8.8", 636, "irp-tcp")
    guard.check("8.8.8.8", 6379, "irp-tcp")


def test_unknown_schemes_are_refused():
    """Only the transports that a node speaks pass."""
    with pytest.raises(OutboundRefused, match="gopher"):
        Guard(OutboundSettings()).check("8.8.8.8", 2641, "gopher")


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://user:secret@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://example.org/ x",
        "http://example.org/\r\nHost: x",
        "http:///path",
        "http://example.org:99999/",
        "http://[::1/",
    ],
)
def test_bad_urls_are_refused(text):
    """Other schemes, credentials, blanks and control characters are refused; none is shown."""
    with pytest.raises(OutboundRefused) as caught:
        parse_url(text)
    assert "secret" not in str(caught.value)


def test_good_urls():
    """The port is that of the scheme unless given; the query stays with the path."""
    url = parse_url("https://Example.org/a?b=c")
    assert (url.host, url.port, url.path) == ("example.org", 443, "/a?b=c")
    assert parse_url("http://[::1]:8000").origin == "http://[::1]:8000"


def test_classes_of_addresses():
    """An address inside another decides the class."""
    assert classify(parse_address("::ffff:8.8.8.8")) is AddressClass.PUBLIC
    assert classify(parse_address("2002:a00:1::")) is AddressClass.PRIVATE
    assert classify(parse_address("4000::1")) is AddressClass.SPECIAL


@pytest.fixture
async def echo():
    """A TCP server that sends back what it gets, many times over."""

    async def answer(reader, writer):
        data = await reader.read(100)
        writer.write(data * 1000)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def open_guard(**settings):
    guard = Guard(OutboundSettings(**settings))
    guard.trust_class_of(["127.0.0.1"])
    return guard


async def test_a_reply_ends_at_the_byte_limit(echo):
    """Reading stops with an error once max_bytes came from one connection."""
    guard = open_guard(max_bytes=500)
    async with guard.tcp("127.0.0.1", echo) as channel:
        await channel.send(b"hello")
        with pytest.raises(UpstreamError, match="max_bytes"):
            while await channel.receive():
                pass


async def test_connections_to_one_address_are_bounded(echo):
    """Above max_per_address no further connection is made; a closed one gives its place back."""
    guard = open_guard(max_per_address=1)
    async with guard.tcp("127.0.0.1", echo):
        with pytest.raises(ServerBusy):
            async with guard.tcp("127.0.0.1", echo):
                pass
    async with guard.tcp("127.0.0.1", echo):
        pass


async def test_a_closed_port_is_an_upstream_error():
    """A refused connection says where it was refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(UpstreamError, match=str(port)):
            async with open_guard().tcp("127.0.0.1", port):
                pass


async def test_datagrams_of_others_do_not_arrive():
    """The socket is connected: only the asked peer is heard."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        peer.bind(("127.0.0.1", 0))
        stranger.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        async with open_guard().udp("127.0.0.1", peer.getsockname()[1]) as channel:
            channel.send(b"ask")
            _, asker = await loop.sock_recvfrom(peer, 100)
            stranger.sendto(b"forged", asker)
            peer.sendto(b"true", asker)
            assert await channel.receive() == b"true"


async def test_http_sessions_are_guarded(echo):
    """aiohttp's connections pass the same rules, whether the URL names an address or a name."""
    async with Guard(OutboundSettings()).http_session() as session:
        for url in (f"http://127.0.0.1:{echo}/", f"http://localhost:{echo}/"):
            with pytest.raises(OutboundRefused):
                await session.get(url, allow_redirects=False)
