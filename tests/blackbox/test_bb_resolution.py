"""Resolution over sockets: what is chosen, what is withheld, versions, flags, signatures (do-irp 7.1)."""

from __future__ import annotations

import hashlib

import pytest

from protocol.credential import verify_signed
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import encode_message
from protocol.keys import decode_public_key
from protocol.values.hs_site import decode_site
from tests.blackbox.differences import expected
from tests.blackbox.wire import (
    HTTP,
    HTTPS,
    PLAIN_FLAGS,
    TCP,
    UDP,
    Wire,
    admin,
    named,
    value,
)

PO, RD, CT, AT = Flag.PO, Flag.RD, Flag.CT, Flag.AT


@pytest.fixture(scope="module")
def record(target):
    """A record with values of every readability."""
    import secrets

    name = target.name(f"bb-read-{secrets.token_hex(4)}")
    reply = Wire(target).create(
        name,
        value(1, "URL", "https://example.org/1"),
        value(2, "URL.META", "meta"),
        value(3, "EMAIL", "a@example.org"),
        value(4, "DESC", "4"),
        value(5, "SECRET", "for administrators", 0b1100),
        value(6, "NOBODY", "for nobody", 0b0100),
        admin(target),
    )
    assert reply.code == 1
    return name


@pytest.mark.parametrize(
    ("types", "indexes", "found"),
    [
        ((), (), [1, 2, 3, 4, 100]),
        ((), (1,), [1]),
        ((), (4, 1), [1, 4]),
        ((), (1, 1), [1]),
        ((), (1, 5, 99), [1]),
        ((b"URL",), (), [1]),
        ((b"url",), (), [1]),
        ((b"URL.",), (), [1, 2]),
        ((b"URL.META",), (), [2]),
        ((b"EMAIL", b"DESC"), (), [3, 4]),
        ((b"EMAIL",), (1, 2), [1, 2, 3]),
        ((b"NOPE",), (4,), [4]),
    ],
)
def test_index_and_type_filters_are_a_union(wire, record, types, indexes, found):
    """Values are chosen by index or by type, types without case, a dot taking what is below."""
    assert wire.resolve(record, types=types, indexes=indexes).indexes == found


@pytest.mark.parametrize(
    ("types", "indexes"),
    [((b"NOPE",), ()), ((), (99,)), ((b".",), ()), ((), (5,)), ((), (6,)), ((b"SECRET",), ())],
)
def test_nothing_left_is_200(wire, record, types, indexes):
    """No match and only withheld values look the same when public values are asked for."""
    reply = wire.resolve(record, types=types, indexes=indexes)
    assert reply.code == 200


def test_three_different_answers(wire, target, record):
    """A withheld value asks for an identity, an absent value is 200, an absent handle 100."""
    flags = PLAIN_FLAGS & ~PO
    assert wire.resolve(record, indexes=[5], flags=flags).code == 402
    assert wire.resolve(record, indexes=[6], flags=flags).code == 401
    assert wire.resolve(record, indexes=[99], flags=flags).code == 200
    assert wire.resolve(record + b"-absent", flags=flags).code == 100
    assert wire.resolve(record, flags=flags).code == expected(target, "mixed-with-unreadable")


def test_the_name_comes_back_as_asked(wire, target, record):
    """Look-up ignores case, the answer repeats the spelling of the question."""
    reply = wire.resolve(record.upper())
    assert reply.code == 1
    assert reply.body[4 : 4 + len(record)] == record.upper()


def test_names_that_are_not_here(wire, target):
    """Another prefix is 301; a name that is no UTF-8 is never found."""
    assert wire.resolve(b"99.1234/x").code == 301
    assert wire.resolve(b"99.1234/x").has(AT)
    assert wire.resolve(target.name("bb-\xff")[:-2] + b"\xff\xfe").code == expected(
        target, "not-utf-8"
    )
    assert wire.resolve(target.name("")).code in (1, 100)


def test_a_prefix_without_slash_is_its_record(wire, target):
    """`86.999` means `0.NA/86.999`, in any case."""
    for name in (target.prefix.encode(), target.record, target.record.lower()):
        assert 100 in wire.resolve(name).indexes


def test_the_secret_of_an_administrator_never_leaves(wire, target):
    """301 of the prefix record is not among the public values, nor without a proof at all."""
    assert 301 not in wire.resolve(target.record).indexes
    assert wire.resolve(target.record, indexes=[301]).code == 200
    assert wire.resolve(target.record, indexes=[301], flags=Flag.REC).code == 402


def test_withheld_values_for_administrators(wire, target, record):
    """Who proved the read right gets the value; PO leaves it out even then."""
    from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request

    body = encode_resolution_request(ResolutionRequest(record, (5,), ()))
    reply = wire.administer(OpCode.RESOLUTION, body, PLAIN_FLAGS & ~PO)
    assert [v.data for v in reply.values] == [b"for administrators"]
    body = encode_resolution_request(ResolutionRequest(record, (6,), ()))
    assert wire.administer(OpCode.RESOLUTION, body, PLAIN_FLAGS & ~PO).code == 401


@pytest.mark.parametrize("transport", [TCP, UDP, HTTP, HTTPS])
def test_every_transport_says_the_same(target, record, transport):
    """UDP, TCP and both tunnels give the same body."""
    plain = Wire(target).resolve(record)
    assert Wire(target, transport).resolve(record).body == plain.body


@pytest.mark.parametrize("version", [(2, 0), (2, 1), (2, 4), (2, 5), (2, 7), (2, 8), (2, 10)])
def test_old_clients_are_answered_in_their_version(target, record, version):
    """The reply's version is the client's own; the body reads the same."""
    reply = Wire(target, version=version).resolve(record, types=[b"URL"])
    assert reply.message.envelope.version == version
    assert reply.indexes == [1]


@pytest.mark.parametrize("version", [(2, 11), (3, 0)])
def test_newer_clients_get_our_highest(target, record, version):
    """Never a higher version than the server speaks."""
    reply = Wire(target, version=version).resolve(record)
    assert (2, 10) <= reply.message.envelope.version <= (2, 11)


@pytest.mark.parametrize(
    ("version", "algorithm", "name"),
    [((2, 1), 2, "sha1"), ((2, 6), 2, "sha1"), ((2, 7), 3, "sha256")],
)
def test_the_request_digest(target, record, version, algorithm, name):
    """RD puts the digest of header and body as received in front, by the version's algorithm."""
    wire = Wire(target, version=version)
    from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request

    message = wire.message(
        OpCode.RESOLUTION, encode_resolution_request(ResolutionRequest(record)), PLAIN_FLAGS | RD
    )
    reply = wire.exchange(message)
    assert reply.has(RD)
    assert reply.digest.algorithm == algorithm
    covered = encode_message(message)[20 : 20 + 24 + len(message.body)]
    assert reply.digest.digest == hashlib.new(name, covered).digest()


def test_flags_of_replies(wire, record):
    """CA, PO, DNR are copied, REC and AT are set, continuous and overwrite are not."""
    sent = PO | Flag.DNR | Flag.OWE | Flag.MNS
    header = wire.resolve(record, flags=sent).message.header
    assert header.has(PO)
    assert header.has(Flag.DNR)
    assert header.has(AT)
    assert header.has(Flag.REC)
    assert not header.has(Flag.CN)
    assert not header.has(Flag.OWE)
    assert not header.has(Flag.CA)


def site_key(wire):
    reply = wire.ask(OpCode.GET_SITE_INFO, named(b"/"))
    assert reply.code == 1
    return decode_public_key(decode_site(reply.body).servers[0].public_key)


@pytest.mark.parametrize("version", [(2, 7), (2, 10)])
@pytest.mark.parametrize("transport", [TCP, UDP, HTTP])
def test_certified_replies(target, record, version, transport):
    """CT outside a session: HS_SIGNED with the key of the site record, SHA-256 from 2.7 on."""
    wire = Wire(target, transport, version=version)
    key = site_key(wire)
    for name in (record, record + b"-absent", b"99.1234/x"):
        reply = wire.resolve(name, flags=PLAIN_FLAGS | CT | RD)
        assert reply.has(CT)
        assert verify_signed(reply.message, key).algorithm == b"SHA-256"


def test_the_site_record(wire, target):
    """Operation 2 gives the site record without a length in front; its ports are these."""
    site = decode_site(wire.ask(OpCode.GET_SITE_INFO, named(b"/")).body)
    assert site.primary
    assert site.version >= (2, 10)
    ports = {(each.protocol, each.port) for each in site.servers[0].interfaces}
    assert {(0, target.irp), (1, target.irp)} <= ports


def test_a_reply_expires_in_twelve_hours(wire, record):
    """The expiration of a reply is now + 43200 s."""
    import time

    left = wire.resolve(record).message.header.expiration - time.time()
    assert 43_000 < left < 43_400


def test_recursion_count_is_copied_and_bounded(wire, record):
    """The reply repeats the count; beyond the limit nobody asks further."""
    assert wire.resolve(record, recursion_count=3).message.header.recursion_count == 3


def test_long_replies_over_udp(target, fresh):
    """An answer of several datagrams: at most 512 octets each, whole message length in each."""
    wire = Wire(target)
    name = fresh("long")
    data = "x" * 900
    assert wire.create(name, value(1, "A", data), value(2, "B", data), admin(target)).code == 1
    reply = Wire(target, UDP).resolve(name)
    assert reply.indexes == [1, 2, 100]
    assert len(reply.raw) > 1500
    wire.delete(name)


def test_messages_that_are_none(target):
    """Too short a message, an unknown operation, octets too many: an error, not silence or 1."""
    wire = Wire(target)
    unknown = wire.ask(999, named(b"/"))
    assert unknown.code == 2
    assert unknown.message.header.opcode == expected(target, "early-error-operation")
    from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request

    body = encode_resolution_request(ResolutionRequest(target.name("bb-none")))
    assert wire.ask(OpCode.RESOLUTION, body + b"abc").code == expected(target, "trailing-octets")
    assert wire.ask(0, named(b"/")).code == 4
    assert Wire(target, HTTP).ask(999, named(b"/")).code == 4
