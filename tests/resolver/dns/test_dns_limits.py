"""The DNS face is no amplifier: octets a minute, equal answers a second, proof over TCP."""

from __future__ import annotations

import socket

import dns.flags
import dns.message
import pytest

from resolver.config import LimitSettings
from resolver.dns.limits import PROVEN, Sources
from resolver.dns.udp import DnsUdp
from resolver.doirp.limits import Proven
from tests.resolver.dns.dns_world import GTIN_OWNER, OWNER, ZONE, DnsWorld, Running, query, texts

LONG = f"ors-dummy.30.999.2.{ZONE}"


def flood(running, data: bytes, number: int) -> list[bytes]:
    """So many of the same question from one socket, and what came back."""
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", running.port))
        for _ in range(number):
            sock.send(data)
            answers.append(sock.recv(4096))
    return answers


def is_cut(reply: bytes) -> bool:
    return bool(reply[2] & 2)


@pytest.fixture
def tight(tmp_path):
    """A node with a small allowance, signed so that answers are long."""
    world = DnsWorld(tmp_path / "node", signed=True, rrl=0)
    limits = LimitSettings(udp_allowance_bytes=4_000)
    world.node.settings = world.settings.__class__(
        node=world.settings.node, dns=world.settings.dns, limits=limits
    )
    made = Running(world)
    yield made
    made.close()


def test_beyond_the_allowance_no_more_than_threefold_goes_out(tight):
    """A source that proved nothing gets at most its allowance, or three times what it sent."""
    data = query(OWNER, do=True).to_wire()
    answers = flood(tight, data, 200)
    whole = [reply for reply in answers if not is_cut(reply)]
    sent, got = 200 * len(data), sum(map(len, answers))
    assert len(whole[0]) > 3 * len(data)
    assert whole
    assert len(whole) < 200
    cut = [reply for reply in answers if is_cut(reply)]
    assert all(len(reply) <= len(data) for reply in cut)
    assert got <= max(4_000, 3 * sent)


def test_an_exchange_over_tcp_proves_a_source(tight):
    """After one answer over TCP, the same source has no limit over UDP."""
    data = query(OWNER, do=True).to_wire()
    assert any(map(is_cut, flood(tight, data, 200)))
    assert texts(tight.ask_tcp(query(OWNER)))
    assert not any(map(is_cut, flood(tight, data, 200)))


def test_a_new_minute_begins_with_a_new_allowance(tight):
    """The allowance is a minute's."""
    data = query(OWNER, do=True).to_wire()
    assert any(map(is_cut, flood(tight, data, 200)))
    tight.wait(61)
    assert not is_cut(flood(tight, data, 1)[0])


@pytest.fixture
def rated(tmp_path):
    """A node that gives one network five equal answers a second."""
    made = Running(DnsWorld(tmp_path / "node", rrl=5))
    yield made
    made.close()


def test_equal_answers_are_limited_a_second(rated):
    """Beyond the rate, equal answers are truncated until the next second; others are not."""
    data = query(OWNER).to_wire()
    answers = flood(rated, data, 30)
    assert not any(map(is_cut, answers[:5]))
    assert all(map(is_cut, answers[12:]))
    assert not is_cut(flood(rated, query(GTIN_OWNER).to_wire(), 1)[0])
    cut = dns.message.from_wire(answers[-1])
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    rated.wait(1)
    assert not is_cut(flood(rated, data, 1)[0])
    assert rated.world.node.metrics.udp_limited["truncated"].value >= 18


def test_a_client_that_is_cut_off_has_its_answer_over_tcp(rated):
    """Truncation sends an honest client to TCP, after which it is not limited any more."""
    data = query(OWNER).to_wire()
    assert is_cut(flood(rated, data, 30)[-1])
    answer, over_tcp = dns.query.udp_with_fallback(
        query(OWNER), "127.0.0.1", port=rated.port, timeout=5
    )
    assert over_tcp
    assert len(texts(answer)) == 2
    assert not any(map(is_cut, flood(rated, data, 30)))


def test_networks_share_an_account():
    """Addresses of one /24 or /56 are one source; the accounts are bounded in number."""
    sources = Sources(
        Proven(None, now=lambda: 1000.0),
        now=lambda: 1000.0,
        allowance_bytes=100,
        factor=3,
        per_s=5,
    )
    one, two, other = (
        sources.learn(socket.inet_pton(socket.AF_INET, host))
        for host in ("192.0.2.1", "192.0.2.200", "192.0.3.1")
    )
    assert one.account is two.account
    assert one.counter is two.counter
    assert one.account is not other.account
    v6 = [
        sources.learn(socket.inet_pton(socket.AF_INET6, host))
        for host in ("2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1")
    ]
    assert v6[0].account is v6[1].account
    assert v6[0].account is not v6[2].account
    for number in range(70_000):
        sources.learn(number.to_bytes(4, "big"))
    sources.turn()
    assert len(sources.known) == 0


def test_a_proven_source_is_not_counted():
    """A source in the shared table of proven ones is free from then on."""
    table = Proven(None, now=lambda: 1000.0)
    sources = Sources(table, now=lambda: 1000.0, allowance_bytes=100, factor=3, per_s=5)
    address = socket.inet_pton(socket.AF_INET, "192.0.2.1")
    source = sources.learn(address)
    assert sources.exceeds(address, source, 1000, b"x")
    table.add("192.0.2.1")
    assert not sources.exceeds(address, source, 1000, b"x")
    assert sources.known[address] is PROVEN


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_call_a_datagram_says_the_same(tmp_path, batched, host):
    """Datagrams taken by the batch or one by one get the same answers, nonsense between them."""
    world = DnsWorld(tmp_path / "node")
    running = Running(world)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ours = socket.socket(family, socket.SOCK_DGRAM)
    ours.bind((host, 0))
    face = running.call(lambda: DnsUdp(world.face(), ours, batched=batched))
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect(ours.getsockname()[:2])
            for number in range(300):
                if number % 7 == 3:
                    client.send(b"nonsense")
                client.send(query(OWNER, id=number).to_wire())
                if number % 50 == 49:
                    got = sorted(dns.message.from_wire(client.recv(4096)).id for _ in range(50))
                    assert got == list(range(number - 49, number + 1))
    finally:
        running.run(face.close(0))
        ours.close()
        running.close()
