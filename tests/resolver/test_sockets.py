"""Listening sockets: shared by the readers of one node, refused to any other."""

from __future__ import annotations

import socket

import pytest

from resolver.config import FaceSettings
from resolver.sockets import PortUnavailable, open_sockets

ANY = FaceSettings(irp=0, http=0, https=None, dns=None)


@pytest.fixture
def opened():
    made = []

    def open_(faces=ANY, hosts=("127.0.0.1",), readers=2):
        ports, sockets = open_sockets(faces, hosts, readers)
        made.extend(sockets)
        return ports, sockets

    yield open_
    for sockets in made:
        sockets.close()


def test_readers_share_each_port(opened):
    """Every reader has sockets of its own on the same ports; UDP and TCP agree on the number."""
    ports, sockets = opened(hosts=("127.0.0.1", "::1"))
    assert ports.https is None
    assert ports.dns is None
    for one in sockets:
        assert [sock.getsockname()[1] for sock in one.udp] == [ports.irp] * 2
        assert [sock.getsockname()[1] for sock in one.tcp] == [ports.irp] * 2
        assert [sock.getsockname()[1] for sock in one.http] == [ports.http] * 2
        assert {sock.family for sock in one.udp} == {socket.AF_INET, socket.AF_INET6}


@pytest.mark.parametrize("kind", ["irp", "http"])
def test_another_node_cannot_slip_onto_a_port(opened, kind):
    """SO_REUSEPORT is for the readers of one node; a second node is told who is wrong."""
    ports, _ = opened()
    wanted = {"irp": None, "http": None, "https": None, "dns": None, kind: getattr(ports, kind)}
    with pytest.raises(PortUnavailable, match=f"in use by another program.*faces.{kind}"):
        opened(FaceSettings(**wanted))


def test_a_foreign_address_is_named(opened):
    """An address that is not this machine's is a setting to mend."""
    with pytest.raises(PortUnavailable, match=r"192\.0\.2\.1 is no address of this machine"):
        opened(hosts=("192.0.2.1",))


def test_connections_reach_every_reader(opened):
    """The kernel spreads connections and datagrams over the readers."""
    ports, sockets = opened()
    for _ in range(64):
        with socket.create_connection(("127.0.0.1", ports.http)):
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", ports.irp))
    for one in sockets:
        one.http[0].accept()[0].close()
        assert one.udp[0].recv(10) == b"x"
