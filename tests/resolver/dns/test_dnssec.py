"""DNSSEC: what the node signs is valid to an independent validator, presence and absence alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from typer.testing import CliRunner

from resolver.commands.dnssec import app
from resolver.dns.keys import load_ring, make_key, save_ring, switched, with_next, without_old
from resolver.dns.message import labels_of, name_of
from resolver.dns.signing import successor
from tests.resolver.dns.dns_world import GTIN_OWNER, NOW, ONS, OWNER, ZONE, query


def keys_of(running, zone: str, now: float = NOW) -> dict[dns.name.Name, dns.rrset.RRset]:
    answer = running.ask(query(zone, "DNSKEY", do=True))
    name = dns.name.from_text(zone)
    found = answer.find_rrset(answer.answer, name, 1, dns.rdatatype.DNSKEY)
    keys = {name: found}
    sigs = answer.find_rrset(answer.answer, name, 1, dns.rdatatype.RRSIG, dns.rdatatype.DNSKEY)
    dns.dnssec.validate(found, sigs, keys, now=now)
    return keys


def validate(section: list[dns.rrset.RRset], keys, now: float = NOW) -> int:
    """Validate each RRset of a section but CNAMEs made for a DNAME; how many were."""
    done = 0
    for rrset in section:
        if rrset.rdtype in {dns.rdatatype.RRSIG, dns.rdatatype.CNAME}:
            continue
        (sigs,) = (
            s
            for s in section
            if s.name == rrset.name and s.rdtype == dns.rdatatype.RRSIG and s.covers == rrset.rdtype
        )
        dns.dnssec.validate(rrset, sigs, keys, now=now)
        done += 1
    return done


@pytest.mark.parametrize(
    ("zone", "name", "type_", "rrsets"),
    [
        (ZONE, OWNER, "NAPTR", 1),
        (ZONE, OWNER.upper(), "NAPTR", 1),
        (ONS, GTIN_OWNER, "NAPTR", 1),
        (ZONE, f"ors-dummy.7.example.{ZONE}", "NAPTR", 2),
        (ZONE, ZONE, "SOA", 1),
        (ZONE, ZONE, "NS", 1),
        (ZONE, ZONE, "CDS", 1),
        (ZONE, ZONE, "CDNSKEY", 1),
        (ZONE, f"ns.{ZONE}", "A", 1),
        (ZONE, OWNER, "NSEC", 1),
        (ZONE, OWNER, "ANY", 1),
    ],
)
def test_signed_answers_are_valid(signed, zone, name, type_, rrsets):
    """Each RRset of an answer has a signature that the zone's key verifies."""
    answer = signed.ask(query(name, type_, do=True))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.ednsflags & dns.flags.DO
    assert validate(answer.answer, keys_of(signed, zone)) == rrsets


@pytest.mark.parametrize(
    ("zone", "name", "type_", "types"),
    [
        (ZONE, f"ors-dummy.8.999.2.{ZONE}", "NAPTR", "RRSIG NSEC TYPE128"),
        (ZONE, OWNER, "A", "NAPTR RRSIG NSEC"),
        (ZONE, f"7.999.2.{ZONE}", "A", "RRSIG NSEC"),
        (ONS, f"gs1.id.{ONS}", "NAPTR", "RRSIG NSEC"),
        (ONS, f"1{GTIN_OWNER[1:]}", "NAPTR", "RRSIG NSEC TYPE128"),
        (ZONE, ZONE, "MX", "NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY"),
        (ZONE, f"iso.{ZONE}", "A", "DNAME RRSIG NSEC"),
    ],
)
def test_absence_is_proved(signed, zone, name, type_, types):
    """An NSEC record made for the name proves that there is no such name or type (RFC 9824)."""
    answer = signed.ask(query(name, type_, do=True))
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert validate(answer.authority, keys_of(signed, zone)) == 2
    (nsec,) = (r for r in answer.authority if r.rdtype == dns.rdatatype.NSEC)
    assert nsec.name == dns.name.from_text(name)
    assert nsec[0].next == dns.name.from_text("\\000." + name)
    bitmap = nsec[0].to_text().split(" ", 1)[1].replace("NXNAME", "TYPE128")
    assert bitmap == types


def test_who_takes_compact_answers_learns_nxdomain(signed):
    """With the flag CO the rcode says NXDOMAIN beside the proof (RFC 9824 §5)."""
    asked = query(f"ors-dummy.8.999.2.{ZONE}", do=True)
    asked.ednsflags |= 0x4000
    answer = signed.ask(asked)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert validate(answer.authority, keys_of(signed, ZONE)) == 2


def test_without_do_there_is_no_signature(signed):
    """Who does not ask for DNSSEC gets none, and a plain NXDOMAIN."""
    answer = signed.ask(query(OWNER))
    assert [r.rdtype for r in answer.answer] == [dns.rdatatype.NAPTR]
    assert not answer.ednsflags & dns.flags.DO
    absent = signed.ask(query(f"ors-dummy.8.999.2.{ZONE}"))
    assert absent.rcode() == dns.rcode.NXDOMAIN
    assert [r.rdtype for r in absent.authority] == [dns.rdatatype.SOA]


def test_an_unsigned_zone_answers_do_plainly(running):
    """Without keys, DNSSEC OK changes nothing but its own echo."""
    answer = running.ask(query(OWNER, do=True))
    assert [r.rdtype for r in answer.answer] == [dns.rdatatype.NAPTR]
    assert answer.ednsflags & dns.flags.DO
    assert not running.ask(query(ZONE, "DNSKEY", do=True)).answer


def test_a_signature_is_kept_until_half_its_time_is_over(signed):
    """The same signature serves until seven of its fourteen days are over, then a new one."""

    def asked() -> tuple[str, int]:
        answer = signed.ask(query(OWNER, do=True))
        (sig,) = (r[0] for r in answer.answer if r.rdtype == dns.rdatatype.RRSIG)
        return sig.to_text(), sig.expiration

    first = asked()
    signed.wait(6 * 86_400)
    assert asked() == first
    signed.wait(2 * 86_400)
    after = asked()
    assert after[1] == first[1] + 8 * 86_400
    now = signed.world.time
    answer = signed.ask(query(OWNER, do=True))
    assert validate(answer.answer, keys_of(signed, ZONE, now), now) == 1


def test_a_changed_record_has_a_new_signature(signed):
    """A signature never outlives what it covers."""
    from protocol.record import HandleValue, Record

    signed.ask(query(OWNER, do=True))
    record = Record(b"2.999.7", (HandleValue(1, b"URL", b"https://example.org/new"),))
    signed.call(lambda: signed.world.put(record))
    answer = signed.ask(query(OWNER, do=True))
    assert "https://example.org/new" in answer.to_text()
    assert validate(answer.answer, keys_of(signed, ZONE)) == 1


def test_kept_signatures_are_bounded(tmp_path):
    """No more signatures are kept than the setting says."""
    from tests.resolver.dns.dns_world import DnsWorld

    world = DnsWorld(tmp_path / "node", signed=True, signatures=100)
    try:
        from protocol.record import HandleValue, Record

        value = HandleValue(1, b"URL", b"https://example.org/n")
        world.put(*(Record(b"2.999.%d" % n, (value,)) for n in range(1000, 1300)))
        face = world.face()
        for number in range(1000, 1300):
            name = f"ors-dummy.{number}.999.2.{ZONE}"
            for data in (query(name, do=True).to_wire(), query(name, "SOA", do=True).to_wire()):
                assert face.plain.answer(data, face.names.get, False) or face.reply(data, tcp=False)
        assert len(face.answers.signer.kept) <= 100
    finally:
        world.close()


def test_a_key_is_exchanged_without_a_gap(signed):
    """At each step of a roll-over, the key that the parent names leads to every answer."""
    folder = signed.world.folder
    ring = load_ring(folder)
    old = ring.active.key.tag
    new = make_key(folder, ring).tag

    def step(ring) -> None:
        save_ring(folder, ring)
        signed.wait(6)
        keys = keys_of(signed, ZONE)
        for name in (OWNER, f"ors-dummy.8.999.2.{ZONE}"):
            answer = signed.ask(query(name, do=True))
            assert validate([*answer.answer, *answer.authority], keys, NOW)

    def signers(type_: str, name: str) -> set[int]:
        answer = signed.ask(query(name, type_, do=True))
        return {r.key_tag for s in answer.answer if s.rdtype == dns.rdatatype.RRSIG for r in s}

    from resolver.dns.keys import _load, key_path

    step(with_next(ring, _load(key_path(folder, new), new), NOW))
    assert signers("DNSKEY", ZONE) == {old, new}
    assert signers("NAPTR", OWNER) == {old}
    cds = signed.ask(query(ZONE, "CDS", do=True)).answer[0][0]
    assert cds.key_tag == new
    step(switched(load_ring(folder), NOW))
    assert signers("DNSKEY", ZONE) == {new}
    assert signers("NAPTR", OWNER) == {new}
    assert len(keys_of(signed, ZONE)[dns.name.from_text(ZONE)]) == 2
    step(without_old(load_ring(folder)))
    assert len(keys_of(signed, ZONE)[dns.name.from_text(ZONE)]) == 1


@pytest.mark.parametrize(
    "labels",
    [
        [b"a", b"example"],
        [b"a" * 63] * 3 + [b"b" * 61],
        [b"a" * 62] + [b"a" * 63] * 2 + [b"b" * 62],
        [b"a" * 63] * 3 + [b"b" * 60],
        [b"\xff" * 63] * 3 + [b"b" * 61],
        [b"@" * 63] * 3 + [b"b" * 61],
    ],
)
def test_the_name_after_a_name_is_close(labels):
    """The end of a denial is a name, and it comes after the name denied."""
    name = name_of(labels)
    after = successor(name)
    assert len(after) <= 255
    one, other = (dns.name.from_wire(n, 0)[0] for n in (name, after))
    assert one < other
    assert labels_of(after)


# --- the tools that operators use


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def real(tmp_path):
    """A signed node whose clock is the machine's."""
    import time

    from tests.resolver.dns.dns_world import DnsWorld, Running

    world = DnsWorld(tmp_path / "node", signed=True)
    world.time = time.time()
    made = Running(world)
    (tmp_path / "node" / "biaoshi.toml").write_text(
        f'[node]\nrole = "recursive"\n[dns]\nors_zone = "{ZONE}"\nons_zone = "{ONS}"\n'
    )
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "type_", "wanted"),
    [
        (OWNER, "NAPTR", "; fully validated"),
        (f"ors-dummy.7.example.{ZONE}", "NAPTR", "; fully validated"),
        (f"ors-dummy.8.999.2.{ZONE}", "NAPTR", "; negative response, fully validated"),
        (f"7.999.2.{ZONE}", "NAPTR", "; negative response, fully validated"),
        (OWNER, "A", "; negative response, fully validated"),
    ],
)
def test_delv_validates(real, tmp_path, name, type_, wanted):
    """BIND's validator, given the key as trust anchor, calls answers and denials valid."""
    program = tool("delv")
    result = CliRunner().invoke(app, ["ds", "--node", str(real.world.folder), "--keys"])
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if line.startswith(ZONE))
    key = line.split("DNSKEY 257 3 13 ")[1]
    anchors = tmp_path / "anchors"
    anchors.write_text(f'trust-anchors {{ {ZONE}. static-key 257 3 13 "{key}"; }};\n')
    done = subprocess.run(
        [program, "-a", anchors, f"+root={ZONE}", "@127.0.0.1", "-p", str(real.port), name, type_],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert wanted in done.stdout, done.stdout + done.stderr


def test_kdig_and_dig_read_the_answers(real):
    """Two other makes of client read the answers over UDP and TCP."""
    for program, arguments in (
        (tool("kdig"), ["+dnssec", "+short"]),
        (tool("dig"), ["+dnssec", "+short"]),
        (tool("dig"), ["+tcp", "+short"]),
        (tool("dig"), ["+bufsize=600", "+nocookie", "+short"]),
    ):
        done = subprocess.run(
            [program, *arguments, "@127.0.0.1", "-p", str(real.port), "NAPTR", OWNER],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert "!^.*$!https://example.org/7!" in done.stdout


def export(*arguments: str) -> str:
    """What the command prints, in a process of its own: this one has the store open."""
    return subprocess.run(
        [sys.executable, "-m", "resolver.cli", "dnssec", "export", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize("zone", [ZONE, ONS])
def test_the_exported_zone_verifies(real, tmp_path, zone):
    """ldns-verify-zone finds nothing wrong with the signed export."""
    program = tool("ldns-verify-zone")
    node = str(real.world.folder)
    file = tmp_path / "zone"
    file.write_text(export(zone, "--node", node, "--signed"))
    done = subprocess.run(
        [program, str(file)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified" in done.stdout


def test_the_export_is_a_zone_file(real):
    """The unsigned export is read back by dnspython, every name in it."""
    import dns.zone

    node = str(real.world.folder)
    text = export(ZONE, "--node", node)
    zone = dns.zone.from_text(text, origin=ZONE)
    naptr = {str(name) for name, _ in zone.iterate_rdatasets("NAPTR")}
    assert {"ors-dummy.7.999.2", "ors-dummy.9.8.7.999.2", "ors-dummy.xn--0zwm56d.999.2"} <= naptr


# --- the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node's folder without keys."""
    (tmp_path / "biaoshi.toml").write_text('[node]\nrole = "recursive"\n')
    return tmp_path


def run(*arguments: str, folder: Path):
    return CliRunner().invoke(app, [*arguments, "--node", str(folder)])


def test_keys_are_made_once(folder):
    """keys --make makes one key, private to its owner; made again it only lists it."""
    assert run("keys", folder=folder).exit_code == 1
    first = run("keys", "--make", folder=folder)
    assert first.exit_code == 0, first.output
    assert run("keys", "--make", folder=folder).output == first.output
    (file,) = (folder / "keys").glob("*.pem")
    assert file.stat().st_mode & 0o777 == 0o600


def test_ds_matches_dnspython(folder):
    """The DS record is the one that dnspython makes of the DNSKEY."""
    run("keys", "--make", folder=folder)
    key_line, ds_line = (
        run("ds", *more, folder=folder).output.splitlines()[0] for more in (["--keys"], [])
    )
    name = dns.name.from_text("oid-res.org")
    key = dns.rrset.from_text(name, 3600, "IN", "DNSKEY", key_line.split("DNSKEY ")[1])[0]
    assert dns.dnssec.make_ds(name, key, "SHA256").to_text().upper() == ds_line.split("DS ")[1]


def test_a_roll_over_takes_its_steps_in_order(folder):
    """Steps out of order or too early are refused with the next step; --force goes on."""
    assert "dnssec keys --make" in str(run("roll", "next", folder=folder).exception)
    run("keys", "--make", folder=folder)
    assert "roll next" in str(run("roll", "switch", folder=folder).exception)
    assert run("roll", "next", folder=folder).exit_code == 0
    assert "roll switch" in str(run("roll", "next", folder=folder).exception)
    assert "--force" in str(run("roll", "switch", folder=folder).exception)
    assert run("roll", "switch", "--force", folder=folder).exit_code == 0
    assert len(list((folder / "keys").glob("*.pem"))) == 2
    assert run("roll", "finish", "--force", folder=folder).exit_code == 0
    assert len(list((folder / "keys").glob("*.pem"))) == 1
    assert [entry.state for entry in load_ring(folder).entries] == ["active"]
