"""Arcs that were given to another node: NS, DS and glue above the cut, a zone of its own below it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time

import dns.flags
import dns.name
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest

from protocol.identifier import parse
from protocol.record import Record
from registry.prefixes import DELEGATED, HOMED, PrefixRow
from resolver.ddds import Wish, resolve
from resolver.dns.keys import load_ring
from resolver.dns.signing import ds_rdata
from tests.resolver.dns.dns_world import NOW, ONS, ZONE, DnsWorld, Running, query, settings, value
from tests.resolver.dns.test_dnssec import export, keys_of, tool, validate
from tests.resolver.doirp.world import World

ARCS, COMPANY = "2.999.5", "GS1.4.0.0"
BRANCH = f"5.999.2.{ZONE}"
GTIN_BRANCH = f"0.0.4.gtin.gs1.id.{ONS}"
CHILD = (
    Record(b"2.999.5", (value(1, b"URL", b"https://example.org/five"),)),
    Record(b"2.999.5.7", (value(1, b"URL", b"https://example.org/five/7"),)),
    Record(b"/01/04000000000006", (value(1, b"URL", b"https://example.org/gtin/4"),)),
)
CHILD_GTIN = f"0.0.0.0.0.0.0.0.0.0.{GTIN_BRANCH}"


class ChildWorld(World):
    """Home to what the parent gave away; its zones begin there."""

    def __init__(self, folder):
        super().__init__(folder, settings(branches=(ARCS, COMPANY)))
        for prefix in (ARCS, COMPANY):
            self.store.apply([PrefixRow(prefix.encode(), HOMED).write()])
        self.put(*CHILD)
        (folder / "keys").mkdir()
        from resolver.dns.keys import first_ring, make_key, save_ring

        save_ring(folder, first_ring(make_key(folder, None), NOW))


def ds_text(folder, zone):
    ring = load_ring(folder)
    rdata = ds_rdata(dns.name.from_text(zone).to_wire(), ring.wanted.key)
    return f"{int.from_bytes(rdata[:2], 'big')} 13 2 {rdata[4:].hex()}"


def give(world, prefix, ns, ds=()):
    """What `biaoshi dnssec delegate` writes down."""
    row = PrefixRow(prefix.encode(), DELEGATED, attributes={"dns": {"ns": ns, "ds": list(ds)}})
    world.store.apply([row.write()])


@pytest.fixture
def pair(tmp_path):
    """A signed parent and a signed child by the machine's clock; the parent's DNS leads on."""
    parent = DnsWorld(tmp_path / "parent", signed=True)
    child = ChildWorld(tmp_path / "child")
    parent.time = child.time = time.time()
    give(parent, ARCS, [f"ns.{BRANCH} 127.0.0.1 ::1"], [ds_text(tmp_path / "child", BRANCH)])
    give(parent, COMPANY, ["ns.example.net"])
    made = Running(parent), Running(child)
    yield made
    for each in made:
        each.close()


def texts(section):
    return {line for rrset in section for line in rrset.to_text().splitlines()}


@pytest.mark.parametrize(
    "name", [f"ors-dummy.7.{BRANCH}", f"ors-dummy.{BRANCH}", BRANCH, f"x.y.{BRANCH}"]
)
def test_below_a_cut_the_parent_refers(pair, name):
    """The parent names the servers with their addresses, and the signed DS record."""
    answer = pair[0].ask(query(name, do=True))
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.flags & dns.flags.AA
    assert not answer.answer
    (ns,) = (r for r in answer.authority if r.rdtype == dns.rdatatype.NS)
    assert ns.to_text() == f"{BRANCH}. 3600 IN NS ns.{BRANCH}."
    signed = [r for r in answer.authority if r.rdtype != dns.rdatatype.NS]
    assert validate(signed, keys_of(pair[0], ZONE, time.time()), time.time()) == 1
    glue = {f"ns.{BRANCH}. 3600 IN A 127.0.0.1", f"ns.{BRANCH}. 3600 IN AAAA ::1"}
    assert texts(answer.additional) == glue
    plain = pair[0].ask(query(name, use_edns=False))
    assert texts(plain.additional) == glue
    assert [r.rdtype for r in plain.authority] == [dns.rdatatype.NS]


def test_the_ds_record_is_the_parents_word(pair):
    """DS at the cut is answered with authority; its absence is proved where the child is unsigned."""
    keys = keys_of(pair[0], ZONE, time.time())
    answer = pair[0].ask(query(BRANCH, "DS", do=True))
    assert answer.flags & dns.flags.AA
    assert validate(answer.answer, keys, time.time()) == 1
    keys = keys_of(pair[0], ONS, time.time())
    answer = pair[0].ask(query(GTIN_BRANCH, "DS", do=True))
    assert not answer.answer
    assert validate(answer.authority, keys, time.time()) == 2
    referral = pair[0].ask(query(CHILD_GTIN, do=True))
    (nsec,) = (r for r in referral.authority if r.rdtype == dns.rdatatype.NSEC)
    assert nsec[0].to_text().split(" ", 1)[1] == "NS RRSIG NSEC"
    signed = [r for r in referral.authority if r.rdtype != dns.rdatatype.NS]
    assert validate(signed, keys, time.time()) == 1


def test_the_child_answers_from_its_own_apex(pair):
    """SOA, keys and records of the child's zones are its own, and nothing above them is."""
    child = pair[1]
    for zone, name, uri in (
        (BRANCH, f"ors-dummy.7.{BRANCH}", "https://example.org/five/7"),
        (BRANCH, f"ors-dummy.{BRANCH}", "https://example.org/five"),
        (GTIN_BRANCH, CHILD_GTIN, "https://example.org/gtin/4"),
    ):
        keys = keys_of(child, zone, time.time())
        answer = child.ask(query(name, do=True))
        assert answer.flags & dns.flags.AA
        assert uri in answer.to_text()
        assert validate(answer.answer, keys, time.time()) == 1
        absent = child.ask(query(f"1.2.3.{zone}", do=True))
        assert validate(absent.authority, keys, time.time()) == 2
    assert child.ask(query(f"ors-dummy.7.999.2.{ZONE}")).rcode() == dns.rcode.REFUSED
    assert child.ask(query(ZONE, "SOA")).rcode() == dns.rcode.REFUSED


def test_a_known_label_leads_down_too(pair):
    """A DNAME of the parent is followed to the cut: CNAME, then the referral."""
    answer = pair[0].ask(query(f"ors-dummy.7.5.example.{ZONE}"))
    assert answer.flags & dns.flags.AA
    assert [r.rdtype for r in answer.answer] == [dns.rdatatype.DNAME, dns.rdatatype.CNAME]
    assert f"{BRANCH}. 3600 IN NS ns.{BRANCH}." in texts(answer.authority)


def test_a_name_between_exists(pair):
    """What lies between the zone and a cut is there, though it has no record."""
    pair[0].call(lambda: give(pair[0].world, "2.999.60.1.2", ["ns.example.net"]))
    answer = pair[0].ask(query(f"1.60.999.2.{ZONE}"))
    assert answer.rcode() == dns.rcode.NOERROR
    assert pair[0].ask(query(f"61.999.2.{ZONE}")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("zone", "lines"),
    [
        (ZONE, [f"{BRANCH}. 3600 IN NS ns.{BRANCH}.", f"ns.{BRANCH}. 3600 IN A 127.0.0.1"]),
        (ONS, [f"{GTIN_BRANCH}. 3600 IN NS ns.example.net."]),
    ],
)
def test_an_export_has_the_cuts(pair, tmp_path, zone, lines):
    """The exported zones hold NS, DS and addresses, and ldns-verify-zone accepts them."""
    folder = pair[0].world.folder
    _toml(folder)
    text = export(zone, "--node", str(folder), "--signed")
    assert set(lines) <= set(text.splitlines())
    file = tmp_path / "zone"
    file.write_text(text)
    done = subprocess.run(
        [tool("ldns-verify-zone"), str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_exported_branch(pair, tmp_path):
    """A branch is a zone file of its own."""
    folder = pair[1].world.folder
    _toml(folder, f'branches = ["{ARCS}", "{COMPANY}"]\n')
    file = tmp_path / "zone"
    file.write_text(export(BRANCH, "--node", str(folder), "--signed"))
    names = {
        str(name) for name, _ in dns.zone.from_file(str(file), BRANCH).iterate_rdatasets("NAPTR")
    }
    assert names == {"ors-dummy", "ors-dummy.7"}
    done = subprocess.run(
        [tool("ldns-verify-zone"), str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _toml(folder, more=""):
    (folder / "biaoshi.toml").write_text(
        f'[node]\nrole = "recursive"\n[dns]\nors_zone = "{ZONE}"\nons_zone = "{ONS}"\n{more}'
    )


# --- a validating resolver of another make


@pytest.fixture
def unbound(pair, tmp_path):
    """unbound that trusts the parent's keys alone; gives its port."""
    program = shutil.which("unbound") or shutil.which("/usr/sbin/unbound")
    if program is None:
        pytest.skip("unbound is not installed")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "unbound.conf").write_text(_configuration(pair, tmp_path, port))
    log = (tmp_path / "unbound.log").open("w")
    process = subprocess.Popen(
        [program, "-d", "-c", str(tmp_path / "unbound.conf")], stdout=log, stderr=log
    )
    try:
        _until_it_answers(process, port, tmp_path / "unbound.log")
        yield port
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _configuration(pair, folder, port):
    parent, child = pair
    anchors = "".join(
        f'    trust-anchor: "{zone}. DS {ds_text(parent.world.folder, zone)}"\n'
        for zone in (ZONE, ONS)
    )
    stubs = "".join(
        f"stub-zone:\n    name: {zone}\n    stub-addr: 127.0.0.1@{node.port}\n"
        for zone, node in ((ZONE, parent), (ONS, parent), (BRANCH, child), (GTIN_BRANCH, child))
    )
    return (
        f'server:\n    interface: 127.0.0.1\n    port: {port}\n    username: ""\n'
        f'    chroot: ""\n    directory: "{folder}"\n    pidfile: "{folder}/pid"\n'
        "    use-syslog: no\n    do-not-query-localhost: no\n    num-threads: 1\n"
        '    module-config: "validator iterator"\n    local-zone: "example." nodefault\n'
        f"{anchors}remote-control:\n    control-enable: no\n{stubs}"
    )  # fmt: skip


def _until_it_answers(process, port, log):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            dns.query.udp(query(ZONE, "SOA"), "127.0.0.1", port=port, timeout=1)
        except (OSError, dns.exception.Timeout):
            continue
        return
    raise AssertionError("unbound does not answer")


@pytest.mark.parametrize(
    ("name", "secure", "has"),
    [
        (f"ors-dummy.7.999.2.{ZONE}", True, "https://example.org/7"),
        (f"ors-dummy.7.{BRANCH}", True, "https://example.org/five/7"),
        (f"ors-dummy.7.5.example.{ZONE}", True, "https://example.org/five/7"),
        (f"ors-dummy.8.999.2.{ZONE}", True, ""),
        (f"ors-dummy.8.{BRANCH}", True, ""),
        (CHILD_GTIN, False, "https://example.org/gtin/4"),
    ],
)
def test_unbound_validates(unbound, name, secure, has):
    """From the parent's key alone unbound proves answers and absence on both sides of a cut."""
    answer = dns.query.udp(query(name, do=True), "127.0.0.1", port=unbound, timeout=10)
    assert answer.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
    assert bool(answer.flags & dns.flags.AD) is secure
    assert (has in answer.to_text()) if has else not answer.answer


def test_unbound_refuses_a_wrong_ds(pair, unbound):
    """When the parent's DS record is another key's, unbound answers SERVFAIL."""
    other = f"{'1'} 13 2 {'ab' * 32}"
    pair[0].call(lambda: give(pair[0].world, ARCS, [f"ns.{BRANCH} 127.0.0.1"], [other]))
    asked = query(f"ors-dummy.7.{BRANCH}", do=True)
    answer = dns.query.udp(asked, "127.0.0.1", port=unbound, timeout=10)
    assert answer.rcode() == dns.rcode.SERVFAIL


def test_the_client_follows_through_a_validating_resolver(unbound):
    """An OID below a cut and a GTIN are resolved through unbound; it says which it validated."""
    wish = Wish(f"127.0.0.1:{unbound}", ors_root=ZONE, ons_root=ONS)
    found = asyncio.run(resolve(parse("urn:oid:2.999.5.7"), wish))
    assert "https://example.org/five/7" in [record.uri for record in found.records]
    assert found.authentic
    found = asyncio.run(resolve(parse("(01)04000000000006(21)a"), wish))
    assert ([r.uri for r in found.records], found.authentic) == (
        ["https://example.org/gtin/4"],
        False,
    )
    found = asyncio.run(resolve(parse("2.999.5.99"), Wish(wish.server, ors_root=ZONE, climb=True)))
    assert found.answered == f"ors-dummy.{BRANCH}."
