"""Both ways of the DNS face say the same: any query, as it is, spelled otherwise, or broken."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.naptr_records import parse_naptr
from resolver.dns.message import MAX_NAME, Rcode, name_end, parse_query, truncated
from resolver.dns.zones import OrsZone
from tests.resolver.dns.dns_world import GTIN_OWNER, ONS, OWNER, ZONE, DnsWorld, query


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[object]]:
    """An unsigned face and a signed one, without sockets."""
    worlds = [
        DnsWorld(Path(tmp_path_factory.mktemp("dns")) / "node", signed=signed)
        for signed in (False, True)
    ]
    yield [world.face() for world in worlds]
    for world in worlds:
        world.close()


NAMES = st.sampled_from(
    [
        OWNER,
        GTIN_OWNER,
        f"ors-dummy.9.8.7.999.2.{ZONE}",
        f"ors-dummy.20.999.2.{ZONE}",
        f"ors-dummy.30.999.2.{ZONE}",
        f"ors-dummy.40.999.2.{ZONE}",
        f"ors-dummy.50.999.2.{ZONE}",
        f"ors-dummy.8.999.2.{ZONE}",
        f"ors-dummy.1.5.999.2.{ZONE}",
        f"ors-dummy.7.example.{ZONE}",
        f"ors-dummy.{OWNER}",
        f"x.{GTIN_OWNER}",
        f"7.999.2.{ZONE}",
        ZONE,
        ONS,
        "example.org",
        ".",
    ]
)


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    """A query as clients send it, spelled with capitals here and there."""
    name = draw(NAMES)
    name = "".join(c.upper() if draw(st.booleans()) else c for c in name)
    type_ = draw(st.sampled_from(["NAPTR"] * 6 + ["SOA", "A", "ANY", "NSEC", "RRSIG", "DNSKEY"]))
    edns = draw(st.sampled_from([-1, 0, 0, 0, 1]))
    payload = draw(st.sampled_from([0, 512, 600, 1232, 4096, 65535]))
    made = query(name, type_, use_edns=edns, payload=payload)
    if edns >= 0 and draw(st.booleans()):
        made.want_dnssec()
    made.flags = draw(st.sampled_from([0, 0x0100, 0x0120, 0x0010, 0x0200, 0x8000]))
    return made.to_wire()


@given(data=queries(), tcp=st.booleans())
@settings(max_examples=300, deadline=None)
def test_both_ways_give_the_same_octets(faces, data, tcp):
    """Where the fast way answers, the general way gives the very same octets."""
    for face in faces:
        plain = face.plain.answer(data, face.names.get, tcp)
        if plain is not None:
            assert plain == face.reply(data, tcp=tcp)


def test_plain_questions_take_the_fast_way(faces):
    """The fast way takes what it is there for: else the test above would hold for nothing."""
    for face in faces:
        for name in (OWNER, GTIN_OWNER, OWNER.upper()):
            for more in ({"use_edns": -1}, {}, {"want_dnssec": True}, {"payload": 4096}):
                data = dns.message.make_query(name, "NAPTR", **more).to_wire()
                assert face.plain.answer(data, face.names.get, False) is not None


@given(data=queries(), tcp=st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_answer_is_a_message_to_its_question(faces, data, tcp):
    """An independent codec reads every answer, and it is one to the question asked."""
    asked = dns.message.from_wire(data)
    for face in faces:
        reply = face.reply(data, tcp=tcp)
        if not reply:
            assert asked.flags & 0x8000
            continue
        answer = dns.message.from_wire(reply)
        assert answer.id == asked.id
        if answer.rcode() != dns.rcode.FORMERR:
            assert answer.question == asked.question
        assert len(reply) <= (65535 if tcp else max(512, min(1232, asked.payload or 512)))
        cut = dns.message.from_wire(truncated(reply))
        assert cut.flags & 0x0200
        assert not cut.answer
        assert len(truncated(reply)) <= len(data)


def check_any_octets(face: object, data: bytes) -> None:
    """Any octets are answered or not, and nothing is raised; who reads them agrees with dnspython
    on what they say."""
    parsed = parse_query(data)
    plain = face.plain.answer(data, face.names.get, False)
    reply = face.reply(data, tcp=False)
    assert plain is None or plain == reply
    assert (parsed is None) == (not reply)
    if not reply:
        return
    dns.message.from_wire(reply)
    assert len(reply) <= 1232
    if parsed.rcode in {Rcode.NOERROR, Rcode.BADVERS}:
        try:
            theirs = dns.message.from_wire(data)
        except dns.exception.DNSException:
            # It also reads additional records that mean nothing to us, which we pass over.
            assert data[10:12] not in (b"\0\0", b"\0\1") or not parsed.edns
            return
        assert theirs.question[0].name == dns.name.from_wire(parsed.name, 0)[0]
        assert (theirs.edns >= 0) == parsed.edns


@given(
    base=queries(),
    cuts=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    end=st.integers(0, 120) | st.none(),
    more=st.binary(max_size=8),
)
@settings(max_examples=400, deadline=None)
def test_broken_queries_are_answered_or_not(faces, base, cuts, end, more):
    """Queries with octets changed, cut off or added never raise, on either way."""
    data = bytearray(base)
    for at, octet in cuts:
        if at < len(data):
            data[at] = octet
    for face in faces:
        check_any_octets(face, bytes(data[:end]) + more)


@given(data=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_octets_are_answered_or_not(faces, data):
    """Any octets never raise, on either way."""
    for face in faces:
        check_any_octets(face, data)


def test_many_broken_queries(faces):
    """Ten thousand mutated queries, drawn from one seed, hold to the same."""
    draw = random.Random(7)
    seeds = [
        dns.message.make_query(name, "NAPTR", want_dnssec=True).to_wire()
        for name in (OWNER, GTIN_OWNER, f"ors-dummy.7.example.{ZONE}")
    ]
    for _ in range(10_000):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.2:
            del data[draw.randrange(len(data)) :]
        check_any_octets(faces[draw.randrange(2)], bytes(data))


@given(data=st.binary(max_size=280))
@settings(max_examples=200, deadline=None)
def test_names_end_where_dnspython_says(data):
    """A name that has an end is one, and dnspython finds the same end."""
    end = name_end(data, 0)
    try:
        name, used = dns.name.from_wire(data, 0)
    except dns.exception.DNSException:
        assert end == -1
        return
    if end == -1:
        assert any(octet & 0xC0 == 0xC0 for octet in data)  # compressed: not in a question
        return
    assert end == used <= MAX_NAME
    assert len(name.to_wire()) == end


def test_another_prefix_before_the_service(tmp_path):
    """The prefix of ORS services is a setting; it goes before made records, not given ones."""
    world = DnsWorld(tmp_path / "node", ors_prefix="")
    try:
        face = world.face()
        assert isinstance(face.answers.zones[0], OrsZone)
        for name, wanted in ((OWNER, {b"UINF", b"COID"}), (f"ors-dummy.20.999.2.{ZONE}", None)):
            data = dns.message.make_query(name, "NAPTR").to_wire()
            assert face.plain.answer(data, face.names.get, False) is None
            rrset = dns.message.from_wire(face.reply(data, tcp=False)).answer[0]
            services = {rdata.service for rdata in rrset}
            assert services == (wanted or {b"ORS+MINF"})
    finally:
        world.close()


def test_without_a_dummy_label_the_records_lie_at_the_name(tmp_path):
    """Without a dummy label both ways answer at the OID's own name."""
    world = DnsWorld(tmp_path / "node", ors_dummy="")
    try:
        face = world.face()
        for name, code in ((f"7.999.2.{ZONE}", 0), (f"8.7.999.2.{ZONE}", 0), (OWNER, 3)):
            data = dns.message.make_query(name, "NAPTR").to_wire()
            plain, reply = (
                face.plain.answer(data, face.names.get, False),
                face.reply(data, tcp=False),
            )
            assert plain in {None, reply}
            assert reply[3] & 15 == code
            assert (plain is not None) == (name == f"7.999.2.{ZONE}")
    finally:
        world.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        'a 10 "u" "s" "r" .',
        '1 2 "u" "s" "r',
        '70000 1 "u" "s" "" .',
        '1 2 "u" "s" "r" a..b',
    ],
)
def test_text_that_is_no_naptr_record_is_refused(text):
    """Text that is no NAPTR record raises ParseError."""
    from protocol.errors import ParseError

    with pytest.raises(ParseError):
        parse_naptr(text)
