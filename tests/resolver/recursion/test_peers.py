"""resolver.peers: what site records say about whom to ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.doirp.hashing import server_index
from protocol.errors import ParseError
from protocol.record import HandleValue
from protocol.values.hs_site import Interface, Server, Site, Transport, address_octets, encode_site
from resolver.peers import DERIVED_TYPES, SITE_TYPES, group_sites, services_in, sites_in

UDP, TCP, HTTP, HTTPS = Transport
ALL = (Interface(3, TCP, 2641), Interface(3, UDP, 2641), Interface(1, HTTP, 8000))


def server(address, key=b"k", number=1, interfaces=ALL):
    return Server(number, address_octets(address), key, interfaces)


def test_ipv4_and_ipv6_records_of_one_server_are_one_site():
    """The same key in HS_SITE and HS_SITE.6 makes one site with two addresses."""
    sites = group_sites([Site((server("192.0.2.1"),)), Site((server("2001:db8::1"),))])
    assert len(sites) == 1
    peer = sites[0].peer(b"88/x")
    assert {endpoint.address for endpoint in peer.endpoints} == {"192.0.2.1", "2001:db8::1"}
    assert [endpoint.transport for endpoint in peer.endpoints] == [UDP, UDP, TCP, TCP]


def test_sites_with_other_keys_are_other_sites():
    """Two servers are two sites."""
    assert len(group_sites([Site((server("192.0.2.1", b"a"),)), Site((server("192.0.2.2"),))])) == 2


def test_administration_uses_other_interfaces():
    """The query interfaces answer questions, the admin interfaces take changes."""
    site = group_sites([Site((server("192.0.2.1"),))])[0]
    assert HTTP not in {e.transport for e in site.peer(b"88/x").endpoints}
    assert HTTP in {e.transport for e in site.peer(b"88/x", admin=True).endpoints}


def test_the_hash_chooses_the_server():
    """Of several servers the one that holds the name is asked."""
    servers = tuple(server(f"192.0.2.{n}", b"key%d" % n, n) for n in range(1, 6))
    site = group_sites([Site(servers)])[0]
    for n in range(50):
        name = b"88/%d" % n
        chosen = servers[server_index(name, 2, 5)]
        assert site.peer(name).endpoints[0].address == chosen.ip
        assert site.peer(name).public_key == chosen.public_key


def test_an_alternative_address():
    """alt_addr names the same server under the other IP version."""
    both = Site((server("192.0.2.1"),), attributes=((b"alt_addr", b"2001:db8::1"),))
    addresses = {e.address for e in group_sites([both])[0].peer(b"88/x").endpoints}
    assert addresses == {"192.0.2.1", "2001:db8::1"}
    numbered = Site(
        (server("192.0.2.1"), server("192.0.2.2", number=2)),
        attributes=((b"alt_addr.2", b"2001:db8::2"),),
        hash_option=0,
    )
    addresses = {e.address for e in group_sites([numbered])[0].peer(b"88/x").endpoints}
    assert addresses in ({"192.0.2.1"}, {"192.0.2.2", "2001:db8::2"})


def test_the_loopback_address_of_ipv6():
    """::1 has the octets that also mean 0.0.0.1; no server is ever at the latter."""
    peer = group_sites([Site((server("::1"),))])[0].peer(b"88/x")
    assert peer.endpoints[0].address == "::1"
    assert str(peer.endpoints[0]) == "[::1]:2641"


def test_domains_name_the_host():
    """The attribute domain, or that of the server's position, is for the Host header."""
    site = Site((server("192.0.2.1"),), attributes=((b"domain.0", b"a.example"),))
    assert group_sites([site])[0].peer(b"88/x").host == "a.example"


@pytest.mark.parametrize(
    "interfaces",
    [(), (Interface(0, TCP, 2641),), (Interface(3, 9, 2641),), (Interface(3, TCP, 0),)],
    ids=["none", "out of service", "unknown transport", "no port"],
)
def test_a_server_that_cannot_be_asked(interfaces):
    """A server without a usable interface is an error, not an empty answer."""
    site = group_sites([Site((server("192.0.2.1", interfaces=interfaces),))])[0]
    with pytest.raises(ParseError):
        site.peer(b"88/x")


def test_broken_and_empty_sites_are_left_out():
    """One site that cannot be read does not hide the others."""
    good = HandleValue(2, b"HS_SITE", encode_site(Site((server("192.0.2.1"),))))
    values = [HandleValue(1, b"HS_SITE", b"\0\1broken"), good]
    values.append(HandleValue(3, b"HS_SITE", encode_site(Site(()))))
    assert len(sites_in(values, SITE_TYPES)) == 1
    assert sites_in([replace(good, type=b"hs_site")], SITE_TYPES)
    assert sites_in([replace(good, type=b"HS_SITE.PREFIX")], SITE_TYPES) == ()
    assert sites_in([replace(good, type=b"HS_SITE.PREFIX")], DERIVED_TYPES)


def test_very_many_sites_are_cut_short():
    """A record of a thousand sites costs no more than sixteen."""
    sites = [Site((server("192.0.2.1", b"key%d" % n),)) for n in range(1000)]
    assert len(group_sites(sites)) == 16


def test_services():
    """HS_SERV values name handles; empty ones are left out."""
    values = [HandleValue(1, b"HS_SERV", b"88/s"), HandleValue(2, b"HS_SERV", b"")]
    assert services_in(values, frozenset({b"HS_SERV"})) == (b"88/s",)
