"""The DNS face over real sockets: what is asked, what is answered, what is refused."""

from __future__ import annotations

import socket
import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from resolver.dns.message import name_of
from tests.resolver.dns.dns_world import GTIN_OWNER, ONS, OWNER, ZONE, query, texts

UINF = '100 10 "u" "ORS+UINF" "!^.*$!https://example.org/7!" .'
COID = '100 10 "u" "ORS+COID" "!^.*$!urn:oid:2.999.7!" .'


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("tcp", [False, True])
def test_an_oid_has_its_naptr_records(running, host, tcp):
    """The NAPTR records of an OID come over UDP and TCP, IPv4 and IPv6, with authority."""
    ask = running.ask_tcp if tcp else running.ask
    answer = ask(query(OWNER), host)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    assert sorted(texts(answer)) == sorted([UINF, COID])
    assert answer.answer[0].ttl == 86_400


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            f"ors-dummy.9.8.7.999.2.{ZONE}",
            {
                '100 10 "u" "ORS+COID" "!^.*$!urn:oid:2.999.7.8.9!" .',
                '100 30 "u" "ORS+RINF" "!^.*$!https://example.org/r.xml!" .',
            },
        ),
        (
            f"ors-dummy.20.999.2.{ZONE}",
            {'10 20 "u" "ORS+MINF" "!^.*$!https://example.org/m!" .'},
        ),
        (f"ors-dummy.50.999.2.{ZONE}", {'100 10 "u" "ORS+COID" "!^.*$!urn:oid:2.999.50!" .'}),
        (
            f"ors-dummy.xn--0zwm56d.999.2.{ZONE}",
            {'100 10 "u" "ORS+UINF" "!^.*$!https://example.org/test!" .'},
        ),
        (
            GTIN_OWNER,
            {'100 10 "u" "http://www.gs1.org/ons/html" "!^.*$!https://example.org/gtin!" .'},
        ),
    ],
)
def test_records_are_made_by_the_table(running, name, wanted):
    """Public values become NAPTR records by one table; given NAPTR values stand alone."""
    assert set(texts(running.ask(query(name)))) == wanted


def test_a_name_in_labels_leads_to_its_number(running):
    """A DNAME and a CNAME lead from a label to the number it stands for, as in the ORS tree."""
    answer = running.ask(query(f"ors-dummy.7.example.{ZONE}"))
    assert [rrset.rdtype for rrset in answer.answer] == [
        dns.rdatatype.DNAME,
        dns.rdatatype.CNAME,
        dns.rdatatype.NAPTR,
    ]
    assert sorted(texts(answer)) == sorted([UINF, COID])
    far = running.ask(query(f"ors-dummy.5.member-body.iso.{ZONE}"))
    assert far.rcode() == dns.rcode.NXDOMAIN
    assert [str(rrset.name) for rrset in far.answer if rrset.rdtype == dns.rdatatype.DNAME] == [
        f"iso.{ZONE}.",
        f"member-body.1.{ZONE}.",
    ]


def test_the_spelling_of_the_question_comes_back(running):
    """Owner names in the answer are spelled as the question is (0x20)."""
    name = "oRs-DuMmY.7.999.2.OrS.eXaMpLe"
    for ask in (running.ask, running.ask_tcp):
        answer = ask(query(name))
        assert answer.question[0].name.to_text() == name + "."
        assert answer.answer[0].name.to_text() == name + "."
    absent = running.ask(query("oRs-DuMmY.8.999.2.OrS.eXaMpLe"))
    assert absent.authority[0].name.to_text() == "OrS.eXaMpLe."


@pytest.mark.parametrize(
    ("name", "type_", "rcode"),
    [
        (f"ors-dummy.8.999.2.{ZONE}", "NAPTR", "NXDOMAIN"),
        (f"ors-dummy.7.999.2.{ZONE}", "A", "NOERROR"),
        (f"7.999.2.{ZONE}", "NAPTR", "NOERROR"),  # there are names below
        (f"8.7.999.2.{ZONE}", "A", "NOERROR"),
        (f"9.8.7.999.2.{ZONE}", "A", "NOERROR"),
        (f"10.8.7.999.2.{ZONE}", "A", "NXDOMAIN"),
        (f"2.{ZONE}", "A", "NOERROR"),
        (f"1.{ZONE}", "A", "NOERROR"),  # DNAMEs lie below
        (f"3.{ZONE}", "A", "NXDOMAIN"),
        (f"x.ors-dummy.7.999.2.{ZONE}", "NAPTR", "NXDOMAIN"),
        (f"ors-dummy.{ZONE}", "NAPTR", "NXDOMAIN"),
        (f"iso.{ZONE}", "A", "NOERROR"),
        (ZONE, "NAPTR", "NOERROR"),
        (ONS, "MX", "NOERROR"),
        (f"id.{ONS}", "NAPTR", "NOERROR"),
        (f"gtin.gs1.id.{ONS}", "NAPTR", "NOERROR"),
        (f"9.gtin.gs1.id.{ONS}", "NAPTR", "NOERROR"),
        (f"8.gtin.gs1.id.{ONS}", "NAPTR", "NXDOMAIN"),
        (f"1{GTIN_OWNER[1:]}", "NAPTR", "NXDOMAIN"),
        (f"gln.gs1.id.{ONS}", "NAPTR", "NXDOMAIN"),
    ],
)
def test_absence_is_told_apart(running, name, type_, rcode):
    """No such name is NXDOMAIN, no such type and names with something below are NOERROR; the SOA
    says for how long (RFC 2308)."""
    answer = running.ask(query(name, type_))
    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert not answer.answer
    assert answer.flags & dns.flags.AA
    (soa,) = answer.authority
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa.ttl == soa[0].minimum == 300


@pytest.mark.parametrize("zone", [ZONE, ONS])
def test_a_zone_has_its_own_records(running, zone):
    """SOA, NS and the addresses of the server are there."""
    soa = running.ask(query(zone, "SOA")).answer[0][0]
    assert soa.mname.to_text() == f"ns.{zone}."
    assert soa.rname.to_text() == f"hostmaster.{zone}."
    assert texts(running.ask(query(zone, "NS")), "NS") == [f"ns.{zone}."]
    assert texts(running.ask(query(f"ns.{zone}", "A")), "A") == ["127.0.0.1"]
    assert texts(running.ask(query(f"ns.{zone}", "AAAA")), "AAAA") == ["::1"]


@pytest.mark.parametrize(
    ("name", "type_", "klass"),
    [
        ("example.org", "NAPTR", "IN"),
        (".", "NS", "IN"),
        ("version.bind", "TXT", "CH"),
        (OWNER, "NAPTR", "CH"),
        (ZONE, "AXFR", "IN"),
        (f"ors-dummy.5.999.2.{ZONE}", "NAPTR", "IN"),  # given to another node
        (f"ors-dummy.1.5.999.2.{ZONE}", "NAPTR", "IN"),
        (f"0.1.1.1.1.1.1.1.1.1.0.0.4.gtin.gs1.id.{ONS}", "A", "IN"),
    ],
)
def test_what_is_not_ours_is_refused(running, name, type_, klass):
    """Other zones, classes, transfers and arcs of other nodes are REFUSED, without authority."""
    asked = dns.message.make_query(name, "TXT" if type_ == "AXFR" else type_, klass)
    if type_ == "AXFR":
        asked.question[0].rdtype = dns.rdatatype.AXFR
    reply = running.raw(asked.to_wire())
    answer = dns.message.from_wire(reply)
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA


def test_other_operations_are_not_implemented(running):
    """NOTIFY, UPDATE and the like get NOTIMP."""
    for opcode in (1, 2, 4, 5, 6, 15):
        data = bytearray(query(OWNER).to_wire())
        data[2] = opcode << 3
        reply = running.raw(bytes(data))
        assert reply is not None
        assert reply[3] & 15 == dns.rcode.NOTIMP
        assert reply[2] >> 3 & 15 == opcode


HEAD = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)
NAME = name_of([label.encode() for label in OWNER.split(".")])
NAPTR_IN = b"\0\x23\0\x01"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">HHHHHH", 7, 0x0100, 0, 0, 0, 0),
        struct.pack(">HHHHHH", 7, 0x0100, 2, 0, 0, 0) + (NAME + NAPTR_IN) * 2,
        HEAD + NAME + NAPTR_IN[:3],
        HEAD + NAME[:-1],
        HEAD + b"\xc0\x0c" + NAPTR_IN,
        HEAD + b"\x40" + b"a" * 64 + b"\0" + NAPTR_IN,
        HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0" + NAPTR_IN,
        HEAD + NAME + NAPTR_IN + b"\0",
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 1) + NAME + NAPTR_IN,
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 1) + NAME + NAPTR_IN + OPT[:-1],
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 2) + NAME + NAPTR_IN + OPT * 2,
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 1) + NAME + NAPTR_IN + b"\1a" + OPT,
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 1) + NAME + NAPTR_IN + OPT[:-2] + b"\0\3abc",
        struct.pack(">HHHHHH", 7, 0x0100, 1, 1, 0, 0) + NAME + NAPTR_IN,
        HEAD + NAME + b"\0\x29\0\1",
        HEAD + NAME + b"\0\x80\0\1",
    ],
    ids=range(16),
)
def test_malformed_queries_get_formerr(running, data):
    """What cannot be read as one question is FORMERR."""
    reply = running.raw(data)
    assert reply is not None
    assert reply[:2] == data[:2]
    assert reply[3] & 15 == dns.rcode.FORMERR
    assert len(reply) <= len(data) + 11


@pytest.mark.parametrize(
    "data", [b"", b"\0", HEAD[:11], b"\0\7\x81\0" + HEAD[4:] + NAME + NAPTR_IN]
)
def test_nothing_is_said_to_what_is_no_query(running, data):
    """Octets without a header, and responses, are not answered."""
    assert running.raw(data, 0.2) is None


def test_edns_is_answered_in_kind(running):
    """An OPT record is answered with one, options that are unknown are passed over; without one
    there is none."""
    option = dns.edns.GenericOption(10, b"12345678")
    answer = running.ask(query(OWNER, use_edns=0, payload=4096, options=[option]))
    assert answer.edns == 0
    assert answer.payload == 1232
    assert not answer.options
    assert len(texts(answer)) == 2
    assert running.ask(query(OWNER, use_edns=-1)).edns == -1


@pytest.mark.parametrize("flags", [0x0040, 0x0020, 0x0010, 0x0100, 0x0400, 0x0080, 0x0200])
@pytest.mark.parametrize("edns", [None, 0, 0x0040, 0x2000])
def test_unknown_flags_are_passed_over(running, flags, edns):
    """Header and EDNS flags that mean nothing here change no answer and are not echoed (RFC 8906
    §8.1.3, §8.2.4); RD alone comes back.
    """
    opt = b"" if edns is None else OPT[:7] + struct.pack(">H", edns) + OPT[9:]
    asked = struct.pack(">HHHHHH", 7, flags, 1, 0, 0, int(bool(opt))) + NAME + NAPTR_IN + opt
    answer = dns.message.from_wire(running.raw(asked))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags == dns.flags.QR | dns.flags.AA | (flags & dns.flags.RD)
    assert (answer.edns, answer.ednsflags) == (-1 if edns is None else 0, 0)
    assert len(texts(answer)) == 2


def test_an_unknown_version_of_edns_is_badvers(running):
    """EDNS above version 0 gets BADVERS and the version that is known (RFC 6891 §6.1.3)."""
    answer = running.ask(query(OWNER, use_edns=1))
    assert answer.rcode() == dns.rcode.BADVERS
    assert answer.edns == 0
    assert not answer.answer


def test_long_answers_are_truncated_and_come_over_tcp(running):
    """Beyond 512 octets, what the client takes, or 1232, an answer is TC and empty; TCP has all."""
    name = f"ors-dummy.30.999.2.{ZONE}"
    for size in ({"use_edns": -1}, {"use_edns": 0, "payload": 800}, {"payload": 4096}):
        answer = running.ask(query(name, **size))
        assert answer.flags & dns.flags.TC
        assert not answer.answer
    whole = running.ask_tcp(query(name))
    assert not whole.flags & dns.flags.TC
    assert len(texts(whole)) == 12


def test_a_smaller_size_than_512_means_512(running):
    """A client that says it takes less than 512 octets takes 512 (RFC 6891 §6.2.3)."""
    assert len(texts(running.ask(query(OWNER, use_edns=0, payload=100)))) == 2


def test_any_is_answered_with_one_kind_of_record(running):
    """A question for everything gets one RRset (RFC 8482)."""
    assert [r.rdtype for r in running.ask(query(OWNER, "ANY")).answer] == [dns.rdatatype.NAPTR]
    assert [r.rdtype for r in running.ask(query(ZONE, "ANY")).answer] == [dns.rdatatype.SOA]


def test_a_ttl_that_ends_at_a_date_runs_down(running):
    """A value that holds until a date is answered with what is left of that time."""
    name = f"ors-dummy.40.999.2.{ZONE}"
    assert running.ask(query(name)).answer[0].ttl == 500
    running.wait(100)
    assert running.ask(query(name)).answer[0].ttl == 400
    running.wait(1000)
    assert running.ask(query(name)).answer[0].ttl == 0


def test_several_questions_on_one_connection(running):
    """Messages on one TCP connection are answered one after the other, however they arrive."""
    wires = [query(OWNER, id=n).to_wire() for n in range(1, 30)]
    stream = b"".join(struct.pack(">H", len(wire)) + wire for wire in wires)
    with socket.create_connection(("127.0.0.1", running.port), 5) as sock:
        for at in range(0, len(stream), 37):
            sock.sendall(stream[at : at + 37])
        file = sock.makefile("rb")
        for number in range(1, 30):
            (size,) = struct.unpack(">H", file.read(2))
            answer = dns.message.from_wire(file.read(size))
            assert answer.id == number
            assert len(texts(answer)) == 2
        file.close()


def test_a_change_is_answered_at_once(running):
    """A record that is deleted is gone with the next question, its parents too."""
    from registry.store.row import no_rows

    running.call(lambda: running.world.store.apply(no_rows(b"2.999.7.8.9")))
    assert running.ask(query(f"ors-dummy.9.8.7.999.2.{ZONE}")).rcode() == dns.rcode.NXDOMAIN
    assert running.ask(query(f"8.7.999.2.{ZONE}")).rcode() == dns.rcode.NXDOMAIN
    assert running.ask(query(f"7.999.2.{ZONE}")).rcode() == dns.rcode.NOERROR
