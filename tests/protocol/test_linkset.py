"""Linksets and Link headers: what is written is read back, what is hostile is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError
from protocol.linkset import (
    GS1,
    MAX_BYTES,
    Link,
    LinkContext,
    check_href,
    expand_relation,
    format_link_header,
    format_linkset,
    format_linkset_text,
    parse_link_header,
    parse_linkset,
)

HERE = Path(__file__).resolve()
VECTORS = Path(os.environ.get("BIAOSHI_VECTORS", HERE.parents[3] / "shared" / "vectors"))
FOLDER = VECTORS / "linkset"
third_party = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no linkset vectors in {FOLDER}; set BIAOSHI_VECTORS"
)


def linkset(**members):
    """A linkset of one link with these members."""
    link = {"href": "https://example.org/p7", "title": "Pump", **members}
    return json.dumps(
        {"linkset": [{"anchor": "https://id.example.org/01/09506000134352", "gs1:pip": [link]}]}
    )


def test_members_of_a_link():
    """A link's members are read by name; unknown ones are kept."""
    (context,) = parse_linkset(
        linkset(
            hreflang=["en", "sv-SE"],
            type="text/html",
            context=["SE"],
            fwqs=False,
            public=False,
            **{"title*": [{"value": "Pump", "language": "en"}]},
        )
    )
    assert context.links == (
        Link(
            GS1 + "pip",
            "https://example.org/p7",
            "Pump",
            ("en", "sv-SE"),
            "text/html",
            ("SE",),
            forward_query=False,
            public=False,
            more={"title*": [{"value": "Pump", "language": "en"}]},
        ),
    )


def test_what_the_gs1_schema_asks_for():
    """A written linkset has a description and titles, and no language longer than xx-XX."""
    link = Link(
        "item", "https://example.org/", languages=("zh-Hans", "en"), more={"media": "print"}
    )
    written = json.loads(format_linkset([LinkContext("https://id.example.org/01/1", (link,))]))
    assert written == {
        "linkset": [
            {
                "anchor": "https://id.example.org/01/1",
                "itemDescription": "https://id.example.org/01/1",
                "item": [
                    {
                        "href": "https://example.org/",
                        "title": "https://example.org/",
                        "hreflang": ["en"],
                    }
                ],
            }
        ]
    }


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("gs1:pip", GS1 + "pip"),
        ("https://gs1.org/voc/pip", GS1 + "pip"),
        ("https://ref.gs1.org/voc/pip", GS1 + "pip"),
        ("untp:dpp", "https://vocabulary.uncefact.org/untp/dpp"),
        ("Item", "item"),
        ("https://example.org/rel#x", "https://example.org/rel#x"),
    ],
)
def test_relations(text, relation):
    """A link type has one full form, whichever way it was written."""
    assert expand_relation(text) == relation
    assert expand_relation(relation) == relation


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "/relative",
        "",
        "https://a b",
        "https://a\r\nX: y",
        "JavaScript:1",
        "https://a/<b>",
        "file:///etc/passwd",
        "https",
    ],
)
def test_targets_refused(href):
    """A target that is relative, of another scheme or no URI is refused where it is read."""
    with pytest.raises(ParseError):
        check_href(href)
    with pytest.raises(ParseError):
        parse_linkset(linkset(href=href))


@pytest.mark.parametrize(
    "members",
    [
        {"href": 1},
        {"title": ["x"]},
        {"hreflang": [1]},
        {"hreflang": ["en;q=0.5"]},
        {"hreflang": {"en": 1}},
        {"type": "html"},
        {"type": "text/html\r\nX: y"},
        {"fwqs": "no"},
        {"public": 0},
        {"context": 3},
    ],
)
def test_bad_members(members):
    """A member of the wrong kind is refused, and the message says where it stands."""
    with pytest.raises(ParseError) as refused:
        parse_linkset(linkset(**members))
    assert "link" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"linkset": {}}',
        '{"linkset": [1]}',
        '{"linkset": [{"anchor": 1}]}',
        '{"linkset": [{"anchor": "x"}]}',
        "[" * 5000,
        " " * (MAX_BYTES + 1),
        '{"linkset": "\\ud800"}',
    ],
)
def test_no_linkset(text):
    """What is no linkset, or too much of one, is refused."""
    with pytest.raises(ParseError):
        parse_linkset(text)


def test_context_without_anchor():
    """A context that only describes the set itself holds no links."""
    assert parse_linkset('{"linkset": [{"creator": "x", "modified": "2020-05-28"}]}') == ()


words = st.text('abcXYZ019 äöü锂"\\,;<>', min_size=1, max_size=12).filter(str.strip)
uris = st.text("abc019/?=&%7E.-", max_size=12).map("https://example.org/".__add__)
links = st.builds(
    Link,
    st.sampled_from([GS1 + "pip", "item", "https://example.org/rel"]),
    uris,
    st.none() | words,
    st.lists(st.sampled_from(["en", "sv-SE", "de"]), max_size=2, unique=True).map(tuple),
    st.none() | st.sampled_from(["text/html", "application/vc+jwt"]),
    st.lists(st.sampled_from(["SE", "LK"]), max_size=2).map(tuple),
    st.none() | st.booleans(),
    st.booleans(),
)


@settings(max_examples=150)
@given(st.lists(links, max_size=4), words)
def test_json_round_trip(some, description):
    """What the JSON form can say is read back as it was; links of one relation stay in order."""
    some = sorted(some, key=lambda link: link.relation)
    titled = [link for link in some if link.title]
    context = LinkContext("https://id.example.org/01/1", tuple(titled), description)
    (found,) = parse_linkset(format_linkset([context]))
    order = {link.relation: at for at, link in reversed(list(enumerate(titled)))}
    assert sorted(found.links, key=lambda link: order[link.relation]) == titled
    assert found.description == description


@settings(max_examples=150)
@given(st.lists(links, max_size=4))
def test_header_round_trip(some):
    """A Link header is ASCII without control characters and gives the same links back."""
    header = format_link_header(some)
    assert header.isascii()
    assert header.isprintable()
    found = parse_link_header(header)
    assert [
        (link.relation, link.href, link.title, link.languages, link.media_type) for link in found
    ] == [(link.relation, link.href, link.title, link.languages, link.media_type) for link in some]


@settings(max_examples=200)
@given(st.text("<>;=\",\\ arel*'%\t\r\n锂", max_size=60))
def test_any_header(text):
    """Any header gives links or ParseError."""
    try:
        parse_link_header(text)
    except ParseError as error:
        assert str(error)


def test_header_of_others():
    """Several relations, tokens without quotes, an extended title and unknown parameters are read."""
    found = parse_link_header(
        "<https://a.example/>; rel=\"linkset next\"; title*=UTF-8''caf%C3%A9 ; x=1 , </b>;rel=prev"
    )
    assert [(link.relation, link.href, link.title) for link in found] == [
        ("linkset", "https://a.example/", "café"),
        ("next", "https://a.example/", "café"),
        ("prev", "/b", None),
    ]
    assert found[0].more == {"x": "1"}


def test_header_cannot_be_broken_out_of():
    """Line ends and quotes of a title or target stay inside their member."""
    link = Link("item", "https://a.example/\r\nSet-Cookie: x", 'a"; rel="evil\r\nX: y', ("en\r\n",))
    header = format_link_header([link])
    assert "\r" not in header
    assert "\n" not in header
    assert [found.relation for found in parse_link_header(header)] == ["item"]


def test_text_form():
    """The text form has the anchor on every link."""
    context = LinkContext("https://id.example.org/01/1", (Link("item", "https://example.org/"),))
    assert format_linkset_text([context, context]) == (
        b'<https://example.org/>; rel="item"; anchor="https://id.example.org/01/1",\n'
        b'<https://example.org/>; rel="item"; anchor="https://id.example.org/01/1"'
    )


@third_party
@pytest.mark.parametrize("name", ["valid-basic-example", "valid-gs1-example", "modelLinkset"])
def test_published_examples(name):
    """The published valid examples are read, and read again after writing."""
    found = parse_linkset((Path(FOLDER) / f"{name}.json").read_bytes())
    assert found
    again = parse_linkset(format_linkset(found))
    assert [context.links for context in again] == [
        tuple(
            Link(
                link.relation,
                link.href,
                link.title or link.href,
                link.languages,
                link.media_type,
                link.contexts,
                link.forward_query,
                link.public,
            )
            for link in context.links
        )
        for context in found
    ]


@third_party
def test_published_invalid_example():
    """A link without href is refused."""
    with pytest.raises(ParseError):
        parse_linkset((Path(FOLDER) / "invalid-basic-example.json").read_bytes())


@third_party
def test_published_older_shape():
    """The older shape, with a context of its own and titles by language, is read."""
    found = parse_linkset((Path(FOLDER) / "ExampleLinkset.json").read_bytes())
    assert found[0].anchor == "https://id.gs1.org/01/09506000134352"
    assert all(link.relation.startswith((GS1, "http")) for link in found[0].links)
