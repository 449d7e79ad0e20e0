"""The short way of decode_values() gives what the Reader gives, for any octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ParseError
from protocol.record import HandleValue, Reference, decode_values, encode_values, read_values
from protocol.wire import Reader

references = st.builds(Reference, st.binary(max_size=4), st.integers(0, 2**32 - 1))
values = st.builds(
    HandleValue,
    index=st.integers(1, 2**31 - 1),
    type=st.binary(max_size=6),
    data=st.binary(max_size=12),
    ttl=st.integers(0, 2**32 - 1),
    ttl_type=st.integers(0, 255),
    timestamp=st.integers(0, 2**32 - 1),
    permissions=st.integers(0, 255),
    references=st.lists(references, max_size=2).map(tuple),
)


def carefully(data):
    """What the Reader says: values, or the class of its error."""
    try:
        reader = Reader(data)
        found = read_values(reader)
        reader.finish()
    except ParseError as error:
        return type(error), str(error)
    return found


def quickly(data):
    try:
        return decode_values(data)
    except ParseError as error:
        return type(error), str(error)


@given(st.lists(values, max_size=5), st.data())
def test_both_ways_agree_on_damaged_lists(listed, data):
    """One octet changed, cut or added: the same values or the same error either way."""
    octets = bytearray(encode_values(listed))
    assert quickly(bytes(octets)) == tuple(listed)
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)))
    for broken in (bytes(octets), bytes(octets[:cut]), bytes(octets) + b"\0"):
        assert quickly(broken) == carefully(broken)


@pytest.mark.parametrize("count", [1, 2**20, 2**32 - 1])
def test_a_count_alone_is_refused(count):
    """A list that claims values and has none is an error, not a wait or a large allocation."""
    data = count.to_bytes(4, "big")
    assert quickly(data) == carefully(data)
    assert isinstance(quickly(data)[0], type)
