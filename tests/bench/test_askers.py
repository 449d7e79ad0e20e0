from __future__ import annotations

from functools import partial

import pytest

from bench.askers import DnsAsker, IrpAsker, address_of
from tests.bench import scripted


def test_a_handle_client_reads_its_own_answer():
    """Over UDP a reply counts when its id and code are right; over TCP likewise."""
    with scripted.udp(scripted.irp_answer) as port:
        asker = IrpAsker(("127.0.0.1", port))
        assert asker.udp("20.500.1/a") > 28
        asker.close()
    with scripted.tcp(partial(scripted.irp_talk, pieces=4)) as port:
        asker = IrpAsker(("127.0.0.1", port))
        assert asker.tcp("20.500.1/a") > 28
        asker.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda data: scripted.irp_answer(data, 2), "response code 2"),
        (lambda data: scripted.irp_answer(data[:8] + b"\0\0\0\0" + data[12:]), "another question"),
        (lambda _: b"short but with a zero sequence", "another question"),
    ],
)
def test_errors_and_strangers_are_no_answer(answer, why):
    """An error code, another request's id and noise raise ValueError."""
    padded = lambda data: answer(data).ljust(44, b"\0")  # noqa: E731
    zeroed = lambda data: padded(data)[:12] + bytes(4) + padded(data)[16:]  # noqa: E731
    with scripted.udp(zeroed) as port:
        asker = IrpAsker(("127.0.0.1", port))
        with pytest.raises(ValueError, match=why):
            asker.udp("20.500.1/a")
        asker.close()


def test_a_resolver_asks_for_naptr():
    """A DNS answer with the question's id counts."""
    with scripted.udp(scripted.dns_answer) as port:
        asker = DnsAsker(("127.0.0.1", port))
        assert asker.naptr("a.example.") > 12
        asker.close()


def test_addresses_have_a_host_and_a_port():
    """IPv6 hosts stand in brackets."""
    assert address_of("[::1]:2641") == ("::1", 2641)
    with pytest.raises(ValueError, match="HOST:PORT"):
        address_of("2641")
