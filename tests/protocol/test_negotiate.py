"""Which link a request gets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError
from protocol.linkset import DEFAULT_LINK, DEFAULT_LINK_MULTI, GS1, Link
from protocol.negotiate import (
    Outcome,
    choose,
    media_quality,
    parse_qualities,
    target,
    wanted,
)
from protocol.schemes.gs1_link import levels, parse_uri


def link(name, relation="pip", languages="", media=None, contexts=""):
    """A link whose target says its name."""
    return Link(
        relation if ":" in relation else GS1 + relation,
        f"https://example.org/{name}",
        name,
        tuple(languages.split()),
        media,
        tuple(contexts.split()),
    )


PIP = [
    link("plain"),
    link("en", languages="en"),
    link("sv", languages="sv", contexts="SE"),
    link("en-pdf", languages="en", media="application/pdf"),
    link("zh", languages="zh-Hans zh-Hant"),
]


def names(chosen):
    """The names of what was chosen."""
    return [found.title for found in chosen.links]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, ()),
        ("", ()),
        ("en", (("en", 1.0),)),
        ("en;q=0.5, sv", (("sv", 1.0), ("en", 0.5))),
        ("EN-gb;Q=0.8,de;q=0.8", (("en-gb", 0.8), ("de", 0.8))),
        ("text/html;level=1;q=0.7", (("text/html", 0.7),)),
        ("en;q=2, de;q=x, fr;q=1.000", (("fr", 1.0), ("en", 0.0), ("de", 0.0))),
        (",, ;q=1, en", (("en", 1.0),)),
    ],
)
def test_qualities(header, expected):
    """A preference header is its members by q; equal ones keep their order; a bad q is 0."""
    assert parse_qualities(header) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["plain"]),
        ({"accept_language": "en"}, ["en"]),
        ({"accept_language": "en-GB,en;q=0.9"}, ["en"]),
        ({"accept_language": "fr, sv;q=0.1"}, ["sv"]),
        ({"accept_language": "fr"}, ["plain"]),
        ({"accept_language": "zh"}, ["zh"]),
        ({"accept_language": "zh-Hans-CN"}, ["zh"]),
        ({"accept_language": "*"}, ["plain"]),
        ({"accept_language": "en", "accept": "application/pdf"}, ["en-pdf"]),
        ({"accept": "application/pdf"}, ["en-pdf"]),
        ({"accept": "image/png"}, ["plain"]),
        ({"accept": "text/html,*/*;q=0.8"}, ["en-pdf"]),
        ({"context": "se"}, ["sv"]),
        ({"context": "NO"}, ["plain"]),
        ({"accept_language": "en", "context": "SE"}, ["en"]),
    ],
)
def test_attributes(asked, expected):
    """Language, then media type, then context narrow the choice, and never to nothing."""
    chosen = choose([PIP], wanted(link_type="gs1:pip", **asked))
    assert names(chosen) == expected
    assert chosen.outcome is Outcome.REDIRECT


def test_equal_links():
    """Links that nothing tells apart are a choice."""
    chosen = choose([[link("a"), link("a")]], wanted(link_type="gs1:pip"))
    assert chosen.outcome is Outcome.CHOICE
    assert names(chosen) == ["a", "a"]


def test_finest_level_decides():
    """A level without the wanted type is passed over, and the next one answers."""
    item = [link("passport", "dpp")]
    chosen = choose([item, PIP], wanted(link_type="gs1:pip", accept_language="en"))
    assert (names(chosen), chosen.level) == (["en"], 1)
    assert choose([item, PIP], wanted(link_type="gs1:dpp")).level == 0


def test_missing_type():
    """A type that no level has is not found; there is no silent default."""
    home = [link("home", DEFAULT_LINK)]
    assert choose([home], wanted(link_type="gs1:recallStatus")).outcome is Outcome.NONE


@pytest.mark.parametrize("link_type", ["linkset", "all"])
def test_linkset_by_parameter(link_type):
    """The linkset is had by its name, old or new."""
    assert choose([PIP], wanted(link_type=link_type)).outcome is Outcome.LINKSET


@pytest.mark.parametrize(
    "accept", ["application/linkset+json;q=0", "application/linkset;q=0.0, */*;q=0"]
)
def test_linkset_refused(accept):
    """What a client says it does not take is not what it asks for."""
    assert not wanted(accept=accept).linkset


def test_linkset_by_accept():
    """The linkset is had by its media type when nothing is liked better and no type is named."""
    assert wanted(accept="application/linkset+json").linkset
    assert not wanted(accept="text/html, application/linkset+json;q=0.5").linkset
    assert not wanted(link_type="gs1:pip", accept="application/linkset+json").linkset


def test_default_link():
    """Without a type the default link; among several defaults one that fits the preferences."""
    links = [
        link("home", DEFAULT_LINK),
        link("hem", DEFAULT_LINK_MULTI, languages="sv"),
        link("heim", DEFAULT_LINK_MULTI, languages="de", media="text/html"),
    ]
    assert names(choose([links], wanted())) == ["home"]
    assert names(choose([links], wanted(accept_language="sv"))) == ["hem"]
    assert names(choose([links], wanted(accept_language="de", accept="text/html"))) == ["heim"]
    assert names(choose([links], wanted(accept_language="fr"))) == ["home"]
    assert names(choose([links], wanted(link_type="gs1:defaultLink"))) == ["home"]


def test_bad_link_type():
    """A link type that is none is an error of the request."""
    with pytest.raises(ParseError):
        wanted(link_type="<x>")


def test_media_quality():
    """The most specific range counts, whatever the order."""
    ranges = parse_qualities("*/*;q=0.1, text/*;q=0.5, text/html;q=0")
    assert media_quality("text/html; charset=utf-8", ranges) == 0
    assert media_quality("text/plain", ranges) == 0.5
    assert media_quality("image/png", ranges) == 0.1


@pytest.mark.parametrize(
    ("href", "query", "forward", "expected"),
    [
        ("https://a.example/", "", None, "https://a.example/"),
        ("https://a.example/", "x=1&linkType=gs1:pip", None, "https://a.example/?x=1"),
        ("https://a.example/?y=2#z", "x=1", None, "https://a.example/?y=2&x=1#z"),
        ("https://a.example/", "x=1", False, "https://a.example/"),
        ("https://a.example/{serial}/{none}", "", None, "https://a.example/S%2F%261/"),
    ],
)
def test_target(href, query, forward, expected):
    """Places are filled with encoded values, and the query goes along unless the link says no."""
    chosen = Link("item", href, forward_query=forward)
    assert target(chosen, {"serial": "S/&1"}, query) == expected


def test_levels():
    """Every record that could answer for an item, finest first."""
    item = parse_uri("https://example.org/01/09506000134352/22/V/10/L/21/S")
    stem = "/01/09506000134352"
    assert [found.path.removeprefix(stem) for found in levels(item)] == [
        "/22/V/10/L/21/S",
        "/10/L/21/S",
        "/22/V/21/S",
        "/21/S",
        "/22/V/10/L",
        "/10/L",
        "/22/V",
        "",
    ]


@settings(max_examples=200)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=10))
def test_any_headers(accept, language, context):
    """Whatever a client sends, some link of the type is chosen."""
    chosen = choose(
        [PIP],
        wanted(link_type="gs1:pip", accept=accept, accept_language=language, context=context),
    )
    assert chosen.outcome in (Outcome.REDIRECT, Outcome.CHOICE)
