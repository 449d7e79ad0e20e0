"""resolver.roots: where iteration begins, and whose key is believed there."""

from __future__ import annotations

import json
import time

import pytest

from protocol.errors import OutboundRefused, SettingsError, SignatureInvalid, UpstreamError
from protocol.keys import encode_pem, encode_public_key
from protocol.keys.jwk import format_jwk
from resolver.client import Client
from resolver.config import OutboundSettings
from resolver.guard import Guard
from resolver.keyfiles import read_public_keys
from resolver.roots import (
    RootBook,
    fingerprint,
    known_root,
    parse_source,
    parse_sources,
    split_host_port,
)
from tests.resolver.recursion.live import live, real_now
from tests.scenarios.world import FakeSite, key_of


@pytest.fixture(scope="module")
def net():
    with live() as made:
        yield made


@pytest.fixture
def site():
    return FakeSite("R", b"88", ("127.0.0.1",), real_now, root=True)


def book(*addresses, **options):
    guard = options.pop("guard", None) or Guard(OutboundSettings())
    return RootBook(
        [parse_source(address) for address in addresses],
        guard=guard,
        client=Client(guard),
        now=options.pop("now", time.monotonic),
        wall=time.time,
        **options,
    )


def address(net, site):
    return f"http://127.0.0.1:{net.serve_http(site.answer, site=site)}"


async def test_a_root_is_read_and_its_first_key_kept(net, site, tmp_path):
    """Trust on first use: the key lies in trust/roots.json and is believed from then on."""
    file = tmp_path / "trust" / "roots.json"
    where = address(net, site)
    root = await book(where, file=file).for_zone(b"88.1")
    assert root.sites[0].peer(b"88/x").public_key == encode_public_key(site.key.public_key())
    kept = json.loads(file.read_text())["roots"]
    assert [entry["address"] for entry in kept] == [where]
    again = book(where, file=file)
    assert again.trust_for(b"88").keys == {encode_public_key(site.key.public_key())}


async def test_a_root_that_shows_another_key_is_not_used(net, site, tmp_path):
    """The old record stays in use and the new key is refused."""
    file = tmp_path / "roots.json"
    where = address(net, site)
    await book(where, file=file).for_zone(b"")
    site.key_name = "somebody else"
    again = book(where, file=file)
    with pytest.raises(SignatureInvalid, match="another key than before"):
        await again._read(again._sources[0])
    assert await again.for_zone(b"88")


async def test_pinned_keys(net, site, tmp_path):
    """With root_keys only a root that shows one of them is used."""
    where = address(net, site)
    own = encode_public_key(site.key.public_key())
    assert await book(where, pinned=[own]).for_zone(b"")
    other = encode_public_key(key_of("x").public_key())
    with pytest.raises(SignatureInvalid, match="none of"):
        await book(where, pinned=[other]).for_zone(b"")


async def test_a_root_that_is_down_is_not_asked_all_the_time(tmp_path):
    """A failure is remembered for a second, then longer."""
    clock = [0.0]
    none = book("http://127.0.0.1:9999", now=lambda: clock[0])
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await none.for_zone(b"88")
    until = next(iter(none._failed.values()))[0]
    assert until == 1.0
    clock[0] = 1.5
    with pytest.raises(UpstreamError):
        await none.for_zone(b"88")
    assert next(iter(none._failed.values()))[0] == 3.5


async def test_the_longest_zone_decides(net, site):
    """A root for 88.1 is used for what lies below it, another for the rest; strangers have none."""
    where = address(net, site)
    two = book(f"88={where}", f"88.1={where}/")
    assert (await two.for_zone(b"88.1.2")).zone == b"88.1"
    assert (await two.for_zone(b"88.11")).zone == b"88"
    assert await two.for_zone(b"10.1000") is None
    assert two.trust_for(b"10.1000").keys == frozenset()


async def test_a_root_may_not_open_other_address_classes(net, site):
    """A root on loopback opens loopback, not what its record names besides."""
    guard = Guard(OutboundSettings())
    await book(address(net, site), guard=guard).for_zone(b"")
    guard.check("127.0.0.1", 2641, "irp-tcp")
    with pytest.raises(OutboundRefused):
        guard.check("10.0.0.1", 2641, "irp-tcp")


@pytest.mark.parametrize("text", ["", "example.org", "ftp://x", "88=", "88=example.org"])
def test_bad_sources(text):
    """A root is named by a URL; the message shows how."""
    with pytest.raises(SettingsError):
        parse_source(text)


def test_sources():
    """The prefix is optional and folded; hdl means the global system's way."""
    assert parse_source("88.ab=https://h/").zone == b"88.AB"
    assert parse_source("irp://192.0.2.1:2641").tree
    assert not parse_source("hdl://192.0.2.1").tree


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("h", ("h", 2641)),
        ("h:1", ("h", 1)),
        ("[::1]:5", ("::1", 5)),
        ("::1", ("::1", 2641)),
        ("[::1]", ("::1", 2641)),
    ],
)
def test_hosts_and_ports(text, parts):
    """IPv6 addresses stand in brackets where a port follows."""
    assert split_host_port(text) == parts


@pytest.mark.parametrize("text", ["", ":1", "h:x", "h:99999", "[::1"[:0]])
def test_bad_hosts(text):
    """What is no host and port is refused."""
    with pytest.raises(SettingsError):
        split_host_port(text)


def test_a_damaged_trust_file(tmp_path):
    """It is named, and not silently replaced: that would be trust on second use."""
    file = tmp_path / "roots.json"
    file.write_text("{")
    with pytest.raises(SettingsError, match="damaged"):
        book("http://127.0.0.1:1", file=file)


def test_key_files(tmp_path, site):
    """PEM, JSON Web Key, siteinfo.json and Handle form all give the same key."""
    key = site.key.public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    from protocol.values.site_json import site_to_json

    shape = site_to_json(site.site("127.0.0.1"), lambda _: format_jwk(key))
    forms = [
        pem,
        json.dumps(format_jwk(key)).encode(),
        json.dumps(shape).encode(),
        encode_public_key(key),
    ]
    for number, data in enumerate(forms):
        file = tmp_path / str(number)
        file.write_bytes(data)
        assert list(map(encode_public_key, read_public_keys(file))) == [encode_public_key(key)]


def test_bad_key_files(tmp_path):
    """Missing files, garbage and private keys are refused by name."""
    with pytest.raises(SettingsError, match="cannot be read"):
        read_public_keys(tmp_path / "none")
    for data in (b"garbage", b"{}", b"[]", b"-----BEGIN X-----", encode_pem(key_of("x"))):
        file = tmp_path / "key"
        file.write_bytes(data)
        with pytest.raises(SettingsError, match="key"):
            read_public_keys(file)


def test_a_known_root_tells_its_addresses(site):
    """The addresses of its record, for the guard."""
    known = known_root([site.site("127.0.0.1")], b"88")
    assert known.addresses == ("127.0.0.1",)
    assert fingerprint(next(iter(known.keys))).startswith("sha256:")


def test_a_scheme_names_its_zones():
    """`oid=`, `idis=` … bind a root to the prefixes where names of the scheme begin."""
    zones = [source.zone for source in parse_sources("oid=https://oid.example.org")]
    assert zones == [b"0", b"1", b"2"]
    assert [source.zone for source in parse_sources("idis=https://r/")] == [b"86", b"88"]
    (doi,) = parse_sources("DOI=hdl://192.0.2.1")
    assert (doi.zone, doi.tree) == (b"10", False)
    (handle,) = parse_sources("handle=hdl://192.0.2.1")
    assert handle.zone == b""
    assert [source.zone for source in parse_sources("88.1=https://r")] == [b"88.1"]
