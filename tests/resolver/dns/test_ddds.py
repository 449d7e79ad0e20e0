"""NAPTR as a client: ORS and ONS names followed, foreign rules kept within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from protocol.ddds import apply_rule, parse_rule
from protocol.errors import BadIdentifier, ParseError, UpstreamError
from protocol.identifier import parse
from protocol.record import Record
from resolver.commands.resolve import app
from resolver.ddds import MAX_LOOKUPS, Wish, resolve
from tests.resolver.dns.dns_world import GTIN, ONS, ZONE, value


@pytest.mark.parametrize(
    ("rule", "text", "made"),
    [
        (b"!^.*$!https://example.org/!", "urn:oid:1.2", "https://example.org/"),
        (
            rb"!^urn:epc:id:sgtin:([^.]+)\.([^.]+)$!http://x/\1/\2!",
            "urn:epc:id:sgtin:1.2",
            "http://x/1/2",
        ),
        (b"!b!X!", "abc", "aXc"),
        (b"!B!X!i", "abc", "aXc"),
        (b"!B!X!", "abc", None),
        (rb"|^(.*)$|http://x/\1!|", "a", "http://x/a!"),
        (rb"!^.*$!http://x/a\!b!", "a", "http://x/a!b"),
        (rb"!^.*$!http://x/\\!", "a", "http://x/" + "\\"),
        (b"!^[0-9.]+!x!", "1.2.3/4", "x/4"),
        (b"!^[]a-c]?$!x!", "]", "x"),
    ],
)
def test_rules_rewrite_as_sed_does(rule, text, made):
    """What the pattern matches is replaced, the rest stays (RFC 3402 §3.2)."""
    assert apply_rule(parse_rule(rule), text) == made


@pytest.mark.parametrize(
    "rule",
    [
        b"",
        b"!!",
        b"!a!b",
        b"1a1b1",
        b"iaibi",
        b"!a!b!x",
        b"!a|b!x!",
        b"!(a*)*!x!",
        b"!(a)+!x!",
        b"!a{2}!x!",
        b"!a**!x!",
        b"![[:alpha:]]!x!",
        b"![a!x!",
        b"!(a!x!",
        b"!a)!x!",
        b"!a^b!x!",
        b"!a$b!x!",
        rb"!\d!x!",
        b"!*a!x!",
        b"!\xff!x!",
    ],
)
def test_unsafe_or_broken_rules_are_refused(rule):
    """A rule outside of the safe part raises ParseError and is never run."""
    with pytest.raises(ParseError):
        parse_rule(rule)


def test_a_pattern_that_could_take_long_is_not_run():
    """Repetitions to the power of the text's length are bounded before matching."""
    rule = parse_rule(b"!^.*.*.*.*.*x$!y!")
    with pytest.raises(ParseError):
        apply_rule(rule, "a" * 100)
    with pytest.raises(ParseError):
        apply_rule(parse_rule(rb"!^(.*)$!\2!"), "a")


@given(rule=st.binary(max_size=40) | st.text("!^$.*+?()[]\\ab1i|{}-", max_size=30).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_octets_are_a_rule_or_refused(rule):
    """Any octets are a rule that is quickly applied, or raise ParseError."""
    started = time.process_time()
    with contextlib.suppress(ParseError):
        apply_rule(parse_rule(rule), "urn:oid:1.2.156.3001.501")
    assert time.process_time() - started < 5


def ask(running, text: str, **more):
    wish = Wish(f"127.0.0.1:{running.port}", ors_root=ZONE, ons_root=ONS, **more)
    return asyncio.run(resolve(parse(text), wish))


@pytest.mark.parametrize("text", ["urn:oid:2.999.7", "/Example/7", "{2 999 7}", "2.999.7"])
def test_an_oid_is_followed_by_ors(running, text):
    """An OID in any spelling leads to its services, DNAMEs included."""
    found = ask(running, text)
    assert {(r.service, r.uri) for r in found.records} == {
        ("ORS+UINF", "https://example.org/7"),
        ("ORS+COID", "urn:oid:2.999.7"),
    }
    assert found.answered.startswith("ors-dummy.7.")
    assert not found.authentic


def test_a_gtin_is_followed_by_ons(running):
    """A GTIN leads to its services, whatever its spelling and its serial number."""
    for text in (GTIN, f"https://example.com/01/{GTIN}/21/x"):
        assert [r.uri for r in ask(running, text).records] == ["https://example.org/gtin"]


@pytest.mark.parametrize("service", ["UINF", "ors+uinf"])
def test_services_are_compared_without_prefix_and_case(running, service):
    """`ORS+X` and `X` are one service."""
    found = ask(running, "2.999.7", services=(service,))
    assert [r.uri for r in found.records] == ["https://example.org/7"]


def test_absence_is_said_or_climbed_over(running):
    """No records: none are found; with `climb`, the nearest ancestor's, and the steps say so."""
    none = ask(running, "2.999.7.1.1")
    assert not none.records
    assert [step["outcome"] for step in none.steps] == ["no such name"]
    found = ask(running, "2.999.7.1.1", climb=True)
    assert found.answered == f"ors-dummy.7.999.2.{ZONE}."
    assert len(found.steps) == 3


def test_non_terminal_records_are_followed_within_limits(running):
    """A record without flags leads on to another name; a circle and a long chain end."""
    names = [f"ors-dummy.{n}.60.999.2.{ZONE}." for n in range(20)]
    records = [
        Record(
            b"2.999.60.%d" % n,
            (value(1, b"NAPTR", f'1 1 "" "" "" {names[(n + 1) % 20]}'.encode()),),
        )
        for n in range(20)
    ]
    end = (value(1, b"NAPTR", b'1 1 "u" "ORS+UINF" "!^.*$!https://example.org/end!" .'),)
    records[3] = Record(b"2.999.60.3", end)
    records[12] = Record(
        b"2.999.60.12", (value(1, b"NAPTR", f'1 1 "" "" "" {names[11]}'.encode()),)
    )
    running.call(lambda: running.world.put(*records))
    assert [r.uri for r in ask(running, "2.999.60.0").records] == ["https://example.org/end"]
    circle = ask(running, "2.999.60.11")
    assert not circle.records
    assert circle.steps[-1]["outcome"] == "not asked: asked already"
    running.call(lambda: running.world.put(Record(b"2.999.60.3", records[2].values)))
    assert len([s for s in ask(running, "2.999.60.13").steps if "ms" in s]) <= MAX_LOOKUPS


def test_records_that_mean_nothing_are_passed_over(running):
    """Unknown flags, broken rules and rules that make no URI are passed over, and said."""
    bad = (
        b'1 1 "s" "ORS+UINF" "!^.*$!https://a/!" .',
        b'1 2 "u" "ORS+UINF" "!(a*)*!https://a/!" .',
        b'1 3 "u" "ORS+UINF" "!^.*$!no uri!" .',
        b'1 4 "u" "ORS+UINF" "!^nothing$!https://a/!" .',
        b'2 1 "U" "ORS+UINF" "!^.*$!https://good/!" .',
    )
    record = Record(b"2.999.70", tuple(value(n, b"NAPTR", d) for n, d in enumerate(bad, 1)))
    running.call(lambda: running.world.put(record))
    found = ask(running, "2.999.70")
    assert [r.uri for r in found.records] == ["https://good/"]
    assert len([s for s in found.steps if "passed over" in s["outcome"]]) == 4


def test_long_answers_come_over_tcp(running):
    """A truncated answer is asked for again over TCP."""
    assert len(ask(running, "2.999.30").records) == 12


def test_what_has_no_domain_name_is_refused(running):
    """Identifiers that DNS knows nothing of raise BadIdentifier."""
    with pytest.raises(BadIdentifier):
        ask(running, "88.118.8/x")


def test_a_silent_server_is_named():
    """Where no server answers, the error says which was asked for what."""
    with pytest.raises(UpstreamError, match="DNS server 'nowhere'"):
        asyncio.run(resolve(parse("2.999.7"), Wish("nowhere")))


def test_the_command_asks_dns(running):
    """`biaoshi resolve ID --dns` shows services; absent names end with code 1."""
    options = ["--dns", f"127.0.0.1:{running.port}", "--zone", ZONE]
    done = CliRunner().invoke(app, ["urn:oid:2.999.7", *options, "--steps"])
    assert done.exit_code == 0, done.output
    assert "https://example.org/7" in done.output
    assert f"ors-dummy.7.999.2.{ZONE}" in done.output
    done = CliRunner().invoke(app, ["2.999.7", *options, "--service", "UINF", "--json"])
    assert [r["uri"] for r in json.loads(done.output)["records"]] == ["https://example.org/7"]
    assert CliRunner().invoke(app, ["2.999.8", *options]).exit_code == 1
    assert CliRunner().invoke(app, ["88.1/x", *options]).exit_code == 2
