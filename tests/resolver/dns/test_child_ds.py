"""CDS and CDNSKEY of a child (RFC 7344, 8078): read over the wire, proved by the DS of now, published."""

from __future__ import annotations

import dataclasses
import time

import dns.dnssec
import dns.name
import dns.rdata
import dns.rrset
import pytest

from protocol.change import Change, Kind
from protocol.errors import InvalidValue, SignatureInvalid, UpstreamError
from protocol.record import HandleValue
from resolver.dns.child import ask, wanted
from resolver.dns.cuts import format_ds
from resolver.dns.keys import load_ring, make_key, save_ring, switched, with_next, without_old
from resolver.writer_link import open_writer
from tests.resolver.dns.dns_world import ONS, ZONE, Running, query
from tests.resolver.dns.test_delegation import ARCS, BRANCH, ChildWorld, ds_text
from tests.resolver.nodes import biaoshi, make, until


@pytest.fixture
def child(tmp_path):
    """A signed child by the machine's clock, its folder, and how its keys are exchanged."""
    folder = tmp_path / "child"
    world = ChildWorld(folder)
    world.time = time.time()
    running = Running(world)
    yield running, folder
    running.close()


def taken_up(running, folder, ring):
    """The child exchanges its keys, and its running face takes them up."""
    save_ring(folder, ring)
    keys = {entry.key.rdata for entry in ring.published}
    running.wait(10)  # it looks at its files now and then, by the clock of its world
    running.ask(query(BRANCH, "SOA"))
    until(lambda: {rdata.to_wire() for rdata in said_by(running).keys[0]} == keys)


def said_by(running):
    return ask(BRANCH, "127.0.0.1", running.port)


def test_what_a_child_asks_for(child):
    """At rest that is what stands there; in a roll-over the next key, proved by the one of now."""
    running, folder = child
    now = format_ds(ds_text(folder, BRANCH))
    said = said_by(running)
    assert wanted(BRANCH, [now], [said, said], time.time()).ds == (now,)
    assert said == said_by(running)


def signed(rrset, zone_key, start, name):
    """An RRset with its signature by a key of ours."""
    from dns.dnssec import sign

    dnskey = dns.rdata.from_wire(1, 48, zone_key.rdata, 0, len(zone_key.rdata))
    made = sign(rrset, zone_key.private, name, dnskey, inception=start, expiration=start + 86_400)
    return rrset, dns.rrset.from_rdata(name, 3600, made)


@pytest.fixture
def zone(tmp_path):
    """What a child may say, made of keys: f(keys in DNSKEY, signer, asked) -> Said."""
    from resolver.dns.child import Said

    name = dns.name.from_text(BRANCH)
    (tmp_path / "keys").mkdir()
    one, two, other = (make_key(tmp_path, None) for _ in range(3))
    start = int(time.time()) - 100

    def of(type_, rdatas):
        return dns.rrset.from_rdata_list(
            name, 3600, [dns.rdata.from_wire(1, type_, raw, 0, len(raw)) for raw in rdatas]
        )

    def cds(key, digest="SHA256"):
        dnskey = dns.rdata.from_wire(1, 48, key.rdata, 0, len(key.rdata))
        return dns.dnssec.make_cds(name, dnskey, digest).to_wire()

    def make_said(keys, signer, asked, *, cdnskey=None, cds_by=None, start=start):
        said_keys = signed(of(48, [key.rdata for key in keys]), signer, start, name)
        said_cds = signed(of(59, asked), cds_by or signer, start, name) if asked else None
        said_key = signed(of(60, cdnskey), signer, start, name) if cdnskey else None
        return Said(said_keys, said_cds, said_key)

    return one, two, other, cds, make_said


def ds_of(cds_rdata):
    tag = int.from_bytes(cds_rdata[:2], "big")
    return f"{tag} {cds_rdata[2]} {cds_rdata[3]} {cds_rdata[4:].hex().upper()}"


def test_the_next_key_is_proved_by_the_one_of_now(zone):
    """Both keys are there, the DS of now names the first, CDS the second: that is published."""
    one, two, _, cds, said = zone
    current = [ds_of(cds(one))]
    both = said((one, two), one, [cds(two)])
    # The second must sign the keys as well, or the delegation would break.
    with pytest.raises(SignatureInvalid, match="not signed by a key"):
        wanted(BRANCH, current, [both], time.time())
    keys = both.keys[0]
    name = dns.name.from_text(BRANCH)
    _, by_two = signed(keys, two, int(time.time()) - 100, name)
    for one_more in by_two:
        both.keys[1].add(one_more)
    found = wanted(BRANCH, current, [both], time.time())
    assert found.ds == (ds_of(cds(two)),)
    more = dataclasses.replace(both, cdnskey=signed(
        dns.rrset.from_rdata(name, 3600, dns.rdata.from_wire(1, 60, two.rdata, 0, len(two.rdata))),
        one, int(time.time()) - 100, name,
    ))  # fmt: skip
    assert wanted(BRANCH, current, [more], time.time()).ds == found.ds
    alone = dataclasses.replace(more, cds=None)
    assert wanted(BRANCH, current, [alone], time.time()).ds == found.ds


def test_what_is_not_proved_is_not_published(zone):
    """Each of these changes nothing, and says why."""
    one, two, other, cds, said = zone
    current, now = [ds_of(cds(one))], time.time()
    good = said((one,), one, [cds(one, "SHA384"), cds(one)])
    assert wanted(BRANCH, current, [good], now).ds == tuple(
        sorted(ds_of(cds(one, kind)) for kind in ("SHA256", "SHA384"))
    )
    refused = [
        (current, [said((two,), two, [cds(two)])], "no key"),  # a stranger's zone
        (
            current,
            [said((one, two), two, [cds(two)])],
            "DNSKEY records",
        ),  # keys not by the known one
        (current, [said((one, two), one, [cds(two)], cds_by=two)], "CDS records"),
        (current, [said((one,), one, [cds(other)])], "no key"),  # leads to no key of the zone
        (current, [said((one,), one, [cds(one)], start=int(now) - 200_000)], "DNSKEY records"),
        (current, [good, said((one,), one, [cds(one)])], "do not agree"),
    ]
    for held, answers, why in refused:
        with pytest.raises(SignatureInvalid, match=why):
            wanted(BRANCH, held, answers, now)
    for held, answers, why in (
        ([], [good], "no DS record"),
        (current, [said((one,), one, [])], "neither CDS nor CDNSKEY"),
        (current, [said((one,), one, [b"\0\0\0\0\0"])], "unsigned"),
        (current, [said((one,), one, [cds(one)], cdnskey=[two.rdata])], "different keys"),
    ):
        with pytest.raises(InvalidValue, match=why):
            wanted(BRANCH, held, answers, now)


def test_a_server_that_does_not_answer_is_told(child):
    """No listener, or no zone: an error of upstream."""
    running, _ = child
    with pytest.raises(UpstreamError):
        ask("7.999.2.ors.example", "127.0.0.1", running.port)
    with pytest.raises(UpstreamError):
        ask(BRANCH, "127.0.0.1", 1, 2.0)


def test_the_command_publishes_it(child, tmp_path):
    """`biaoshi dnssec follow`: a roll-over of the child reaches the parent's zone, and no old word."""
    running, folder = child
    top = make(tmp_path / "top", "2.999", role="top")
    settings = top / "biaoshi.toml"
    text = settings.read_text()
    for name, value in (("ors_zone", ZONE), ("ons_zone", ONS)):
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} = ")]
        text = text.replace(line, f'{name} = "{value}"')
    settings.write_text(text)
    with open_writer(top) as writer:
        site = HandleValue(1, b"URL", b"https://example.org/")
        (made,) = writer.submit([Change(Kind.DELEGATE, b"0.NA/2.999.5", (site,))])
        assert made.error is None, made
    first = format_ds(ds_text(folder, BRANCH))
    server = f"ns.{BRANCH} 127.0.0.1"
    node = ("--node", top)
    follow = ("dnssec", "follow", ARCS, "--port", running.port, *node)
    assert biaoshi(*follow).returncode == 1  # no delegation in DNS yet
    done = biaoshi("dnssec", "delegate", ARCS, "--ns", server, "--ds", first, *node)
    assert done.returncode == 0, done.stderr
    done = biaoshi(*follow)
    assert (done.returncode, "nothing to change" in done.stdout) == (0, True), done
    ring = load_ring(folder)
    key = make_key(folder, ring)
    taken_up(running, folder, with_next(ring, key, int(time.time())))
    second = format_ds(ds_text(folder, BRANCH))
    assert second != first
    done = biaoshi(*follow, "--dry-run")
    assert (done.returncode, second in done.stdout) == (0, True), done
    assert first in biaoshi("dnssec", "export", ZONE, *node).stdout
    done = biaoshi(*follow)
    assert (done.returncode, second in done.stdout) == (0, True), done
    zone = biaoshi("dnssec", "export", ZONE, *node).stdout
    assert f"{BRANCH}. 3600 IN DS {second}" in zone
    assert first not in zone
    assert f"{BRANCH}. 3600 IN NS ns.{BRANCH}." in zone
    ring = without_old(switched(load_ring(folder), int(time.time())))
    taken_up(running, folder, ring)
    assert "nothing to change" in biaoshi(*follow).stdout
    assert biaoshi("check", top).returncode == 0
