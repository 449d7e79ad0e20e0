from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError
from protocol.handle_json import parse_data
from protocol.strict_json import MAX_ITEMS, parse_json


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"{", "line 1, column 2"),
        (b"", "not JSON"),
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b"[NaN]", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[1e999]", "too large"),
        (b"1" * 21, "21 digits"),
        (b"1." + b"1" * 60, "characters"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
        (b'{"a":' * 80 + b"1" + b"}" * 80, "deeper than 64"),
        (b'"\xff"', "0xff at 1"),
        (b"[1] x", "Extra data"),
    ],
)
def test_refused(text, named):
    """What is not plain JSON is refused with a message that says where or what."""
    with pytest.raises(ParseError, match=named):
        parse_json(text)


def test_accepted():
    """Brackets in strings are no nesting; 64 levels are read; a byte order mark is skipped."""
    assert parse_json(b'["' + b"[" * 100 + b'\\"' + b"{" * 100 + b'"]')[0].startswith("[[")
    assert parse_json(b"[" * 64 + b"]" * 64)
    assert parse_json(b'\xef\xbb\xbf{"a":[1,-2,true,null]}') == {"a": [1, -2, True, None]}


def test_fraction_keeps_its_text():
    """A bare number becomes data with the text it was written with."""
    assert parse_data(parse_json(b"1.50")) == b"1.50"
    assert parse_data(parse_json(b"7")) == b"7"
    assert parse_json(b"1.5") == 1.5


@given(st.binary(max_size=60) | st.text('[]{}":,0-9\\naeE.', max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes(data):
    """Any bytes parse or raise ParseError."""
    try:
        parse_json(data)
    except ParseError:
        return


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" + b"{}," * MAX_ITEMS + b"{}]",
        b"[" + b"0," * MAX_ITEMS + b"0]",
        b"{" + b",".join(b'"%d":0' % n for n in range(MAX_ITEMS + 1)) + b"}",
        b'["' + b",[" * MAX_ITEMS + b'"' + b",0" * MAX_ITEMS + b"]",
    ],
    ids=["objects", "numbers", "names", "beside a string"],
)
def test_text_of_very_many_items_is_refused_before_it_is_built(bomb):
    """Sixteen MiB of `{},` would be some hundred MiB of objects."""
    with pytest.raises(ParseError, match="more than 300000 items"):
        parse_json(bomb)


def test_what_stands_in_a_string_is_no_item():
    """A long text with commas and brackets is one value."""
    text = ",[{" * MAX_ITEMS
    assert parse_json(b'["%b"]' % text.encode()) == [text]
