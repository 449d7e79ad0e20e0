"""Any document gives values within the bounds, no name at all, or TemplateRefused.

What templates make was compared with Handle.Net 9.0.0, record by record (docs/namespaces.md).
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError
from protocol.record import HandleValue, Reference
from protocol.safe_pattern import safe_pattern
from protocol.template import (
    MAX_CITED,
    MAX_EXPRESSIONS,
    MAX_OCTETS,
    MAX_VALUES,
    TemplateRefused,
    divide,
    expand,
)
from protocol.template_text import Names, data_text
from protocol.values.hs_namespace import decode_namespace

URL = HandleValue(1, b"URL", b"http://e.org/a", ttl=60, timestamp=7)
EMAIL = HandleValue(2, b"EMAIL", b"a@e.org")
SECRET = HandleValue(3, b"X", b"secret", permissions=0b1100)
MANUAL = r"""<foreach>
<if value="type" test="equals" expression="URL">
  <if value="extension" test="matches"
      expression="box\(([^,]*),([^,]*),([^,]*),([^,]*)\)" parameter="x">
    <value data="${data}?wh=${x[4]}&amp;ww=${x[3]}&amp;wy=${x[2]}&amp;wx=${x[1]}"/>
  </if>
  <else><value data="${data}?${x}"/></else>
</if>
<else><value/></else>
</foreach>"""


def made(body, extension="x", values=(URL, EMAIL), cited=None, above=()):
    """What a template with this body makes of 88.1/t@extension."""
    documents = [f'<namespace><template delimiter="@">{body}</template></namespace>', *above]
    chain = [decode_namespace(text.encode()) for text in documents]
    name = divide(f"88.1/t@{extension}", 4, "@")
    assert name is not None
    return expand(chain, name, values, cited or (lambda _: None))


def short(values):
    return [(one.index, one.type.decode(), one.data.decode()) for one in values]


@pytest.mark.parametrize(
    ("extension", "url"),
    [
        ("box(10,20,30,40)", "http://e.org/a?wh=40&ww=30&wy=20&wx=10"),
        ("BOX(1,2,3,4)", "http://e.org/a?wh=4&ww=3&wy=2&wx=1"),
        ("plain", "http://e.org/a?"),
        ("", "http://e.org/a?"),
    ],
)
def test_the_manuals_example(extension, url):
    """A value of the base is changed by groups of the extension; `x` is not known in the else."""
    body = MANUAL if extension.lower().startswith("box") else MANUAL.replace("?${x}", "?")
    assert short(made(body, extension)) == [(1, "URL", url), (2, "EMAIL", "a@e.org")]


def test_a_name_is_divided_at_the_first_delimiter_after_its_prefix():
    """The delimiter may be the slash itself; letters count in their case."""
    found = divide("a@b/c@d@e", 3, "@")
    assert (found.base, found.extension) == ("a@b/c", "d@e")
    found = divide("88.1/x", 4, "/")
    assert (found.base, found.extension) == ("88.1", "x")
    assert divide("88.1/taBx", 4, "ab") is None
    assert divide("88.1/t", 4, "") is None


def test_values_of_the_base_keep_what_is_not_said_otherwise():
    """Permissions, TTL and timestamp of a base's value stay with what is made of it."""
    (url, secret) = made('<foreach><value data="${data}?"/></foreach>', values=(URL, SECRET))
    assert (url.ttl, url.timestamp, url.data) == (60, 7, b"http://e.org/a?")
    assert (secret.permissions, secret.data) == (0b1100, b"secret?")


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (r'<value type="A" data="${handle} ${base} ${extension}"/>', ["88.1/t@x 88.1/t x"]),
        (r'<value type="A" data="${nope}|$0|$1|${0}|$$|$y|\${base}|\\|${open"/>', None),
        ('<value type="A"> text ${extension} </value>', ["text x"]),
        (
            '<value type="A"><a x="1" k="${base}"><b/><c>q &amp; é</c></a><d>z</d></value>',
            ['<a x="1" k="88.1/t">\n<b/>\n<c>q &amp; é</c>\n</a>\n<d>z</d>\n'],
        ),
        ('<value type="A"/><value data="b"/><other><value type="A" data="c"/></other>', []),
        ('<if><value type="A" data="1"/></if><else><value type="A" data="2"/></else>', ["1"]),
        ('<else><value type="A" data="1"/></else>', []),
        ('<if test="equals"><value type="A" data="1"/></if>', []),
        ('<if negate="true"><value type="A" data="1"/></if>', []),
        ('<if expression="x"><value type="A" data="1"/></if>', ["1"]),
        ('<if test="odd" expression="x"><value type="A" data="1"/></if>', []),
        (
            (
                '<if expression="y"><value type="A" data="1"/></if><else><value type="A" data="2"/>'
                '</else><else><value type="A" data="3"/></else>'
            ),
            ["2"],
        ),
        (
            (
                '<if negate="true" test="matches" expression="(X)(y)?"><value type="A" data="no"/></if>'
                '<else><value type="A" data="$0 $1 [${extension[2]}] ${2} ${extension[9]}"/></else>'
            ),
            ["x x []  "],
        ),
        (
            (
                '<def parameter="p"><value type="" data="P-${extension}"/></def>'
                '<def parameter="q"><value data="no type, so no value"/></def>'
                '<def><value type="" data="nameless"/></def>'
                '<value type="A" data="[${p}] [${q}] ${p[0]} ${p[1]}"/>'
            ),
            ["[P-x] [] P-x "],
        ),
        ("<foreach><foreach><value/></foreach></foreach>", []),
    ],
)
def test_constructs(body, values):
    """Each element and each way to write a name, as Handle.Net takes them."""
    if values is None:
        values = [r"|x||x|$$|$y|${base}|\|${open"]
    assert [one.data.decode() for one in made(body)] == values


def test_indexes_move_on_from_those_taken():
    """Outside foreach an index begins at 1; within it at the one written, or the base's."""
    body = (
        '<foreach><value/><value index="2" type="D"/><value index="-5" type="N"/></foreach>'
        '<value index="9" type="A" data="a"/>'
    )
    assert [(one.index, one.type) for one in made(body)] == [
        (1, b"URL"),
        (2, b"D"),
        (3, b"N"),
        (4, b"EMAIL"),
        (5, b"D"),
        (6, b"N"),
        (7, b"A"),
    ]


def test_not_found_is_the_templates_word():
    """`<notfound/>` ends it wherever it stands, if it is reached."""
    body = '<foreach><if value="extension" expression="no"><notfound/></if><value/></foreach>'
    assert made(body, "no") is None
    assert made(body, "yes") == (URL, EMAIL)
    assert made(body, "no", values=()) == ()


def test_a_namespace_without_a_template_leaves_it_to_the_one_above():
    """The nearest namespace with a template decides."""
    chain = [
        decode_namespace(b"<namespace><contact>x</contact></namespace>"),
        decode_namespace(b'<namespace><template><value type="P" data="p"/></template></namespace>'),
    ]
    name = divide("88.1/t@x", 4, "@")
    assert short(expand(chain, name, (), lambda _: None)) == [(1, "P", "p")]
    assert expand(chain[:1], name, (), lambda _: None) is None


def test_templates_are_cited():
    """`ref` takes a template, or a document with templates, out of another value."""
    stored = {
        5: b'<template><value type="R" data="${base}"/></template>',
        6: b'<any><template ref="5:88.1/tpl"/><template><value type="S" data="s"/></template></any>',
        7: b'<template ref="7:88.1/tpl"/>',
        8: b"not XML",
    }
    asked = []

    def cited(reference):
        asked.append(reference)
        return stored.get(reference.index)

    def of(reference):
        text = f'<namespace><template ref="{reference}"/></namespace>'
        chain = [decode_namespace(text.encode())]
        return expand(chain, divide("88.1/t@x", 4, "@"), (), cited)

    assert short(of("5:88.1/tpl")) == [(1, "R", "88.1/t")]
    assert short(of("6:88.1/tpl")) == [(1, "R", "88.1/t"), (2, "S", "s")]
    assert [of("8:88.1/tpl"), of("9:88.1/tpl"), of("x:88.1/tpl"), of("88.1/tpl")] == [None] * 4
    asked.clear()
    assert of("7:88.1/tpl") is None
    assert asked == [Reference(b"88.1/tpl", 7)] * MAX_CITED


def test_data_that_is_no_text_stands_as_hexadecimal():
    """The rule of deployed software: control characters but 09 to 13, and what is not UTF-8."""
    assert data_text(b"a\x01b") == "610162"
    assert data_text(b"\xff") == "FF"
    assert data_text("a\t\x10é".encode()) == "a\t\x10é"


def test_groups_of_a_name_end_with_it():
    """A name that is given a text again has only group 0."""
    names = Names({}).with_match("x", ("ab", "b"))
    assert (names.get("x[1]"), names.get("x[0]"), names.get("x[2]")) == ("b", "ab", "")
    names = names.with_text("x", "c")
    assert (names.get("x[1]"), names.get("x[0]"), names.get("x[y]")) == ("", "c", "")


@pytest.mark.parametrize(
    "body",
    [
        '<value type="A" data="b"/>' * (MAX_VALUES + 1),
        "".join(f'<value type="A" data="{"${v}" * 50}"/>' for _ in range(9)),
        '<if test="matches" expression="a("/>',
        r'<if test="matches" expression="(a)\1"/>',
        '<if test="matches" expression="(?=a)"/>',
        '<if test="matches" expression="[a&amp;&amp;b]"/>',
        '<if test="matches" expression="[a[b]]"/>',
        '<if test="matches" expression="(.{1000}){1000}"/>',
        f'<if test="matches" expression="{"a" * 1001}"/>',
        "".join(f'<if test="matches" expression="{n}"/>' for n in range(MAX_EXPRESSIONS + 1)),
        "<foreach>" + "<a/>" * 3000 + "</foreach>",
    ],
)
def test_bounds(body):
    """Too many values, octets, steps or expressions, and expressions not taken, are refused."""
    body = f'<def parameter="v"><value type="" data="{"v" * 500}"/></def>{body}'
    values = tuple(HandleValue(n, b"X", b"y") for n in range(1, 40))
    if "${v}" in body:
        body = body.replace('data="v', 'data="' + "v" * (MAX_OCTETS // 400))
    with pytest.raises(TemplateRefused):
        made(body, values=values)


def test_expressions_match_in_linear_time():
    """What makes a backtracking matcher run for ever is answered at once."""
    text = "a" * 4_000 + "b"
    assert safe_pattern("(a+)+").match_whole(text) is None
    assert safe_pattern("(a*)*(B)?").match_whole(text)[2] == "b"
    assert safe_pattern(r"[\]\[]\[").match_whole("[[") == ("[[",)
    with pytest.raises(ParseError):
        safe_pattern("a*+")


words = st.sampled_from(
    [
        "x",
        "extension",
        "data",
        "type",
        "1",
        "true",
        "equals",
        "matches",
        "(.*)",
        "${x[1]}",
        "$1",
        "${data}",
        "5:88.1/tpl",
        "\\",
        "$",
        "${",
        "é",
    ]
)
attributes = st.dictionaries(
    st.sampled_from(
        ["index", "type", "data", "value", "parameter", "test", "negate", "expression", "ref"]
    ),
    words | st.text(st.characters(min_codepoint=32, max_codepoint=300), max_size=8),
    max_size=6,
)
tags = st.sampled_from(["value", "if", "else", "foreach", "def", "notfound", "template", "odd"])


def element(tag, given_, inner):
    head = "".join(f" {name}={quoteattr(text)}" for name, text in given_.items())
    return f"<{tag}{head}>{inner}</{tag}>"


elements = st.recursive(
    st.builds(element, tags, attributes, st.sampled_from(["", "text ${x}"])),
    lambda inner: st.builds(element, tags, attributes, st.lists(inner, max_size=5).map("".join)),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(body=st.lists(elements, max_size=4).map("".join), extension=st.text(max_size=12))
def test_any_template(body, extension):
    """A document of any elements ends in values with indexes of their own, in no name, or refused."""
    stored = f"<any>{body}</any>".encode()
    try:
        values = made(body, extension.replace("\x00", ""), cited=lambda _: stored)
    except TemplateRefused:
        return
    if values is not None:
        assert len({one.index for one in values}) == len(values) <= MAX_VALUES
        assert sum(len(one.data) for one in values) <= MAX_OCTETS


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("${}\\[]x01@"), max_size=30))
def test_any_text(text):
    """Filling any text ends, and text without `$` and backslash stays as it is."""
    filled = Names({"x": "X", "extension": "E"}).fill(text)
    if "$" not in text and "\\" not in text:
        assert filled == text
