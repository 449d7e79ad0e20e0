"""add-checkpoint of C2SP tlog-witness: the example of the specification, and any octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import add_checkpoint
from protocol.errors import ParseError

# The example request of the specification.
EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()


def test_the_example_of_the_specification():
    """Size, proof and checkpoint are read; written again they are the same octets."""
    asked = add_checkpoint.decode(EXAMPLE)
    assert (asked.old, len(asked.proof), asked.checkpoint.size) == (20852014, 4, 20852163)
    assert asked.checkpoint.origin == "example.com/behind-the-sofa"
    assert add_checkpoint.encode(asked.old, asked.proof, asked.raw) == EXAMPLE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"old 20852014", b"old 020852014"),
        (b"old 20852014", b"old -1"),
        (b"old 20852014", b"old  1"),
        (b"old 20852014", b"new 1"),
        (b"old 20852014", b"old 1\r"),
        (b"old 20852014", b"old 99999999999999999999"),
        (b"PlRNCrwHpqhGrupue0L7", b"PlRNCrwHpqhGrupue0L7AAAA"),
        (b"pkaw=\n", b"pkaw\n"),
        (b"Kj/0=\n\n", b"Kj/0=\n"),
        (b"\xe2\x80\x94 example.com", b"- example.com"),
        (
            b"old 20852014\n",
            b"old 20852014\n" + b"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n" * 60,
        ),
    ],
)
def test_what_is_no_request(old, new):
    """Each is refused as a parse error."""
    assert old in EXAMPLE
    with pytest.raises(ParseError):
        add_checkpoint.decode(EXAMPLE.replace(old, new, 1))


@given(st.binary(max_size=400) | st.integers(0, len(EXAMPLE)).map(lambda n: EXAMPLE[:n]))
def test_any_octets(data):
    """Any octets are a request or raise ParseError."""
    try:
        asked = add_checkpoint.decode(data)
    except ParseError:
        return
    assert data.startswith(b"old %d\n" % asked.old)


@pytest.mark.parametrize(("data", "size"), [(b"0\n", 0), (b"17\n", 17)])
def test_the_size_of_a_conflict(data, size):
    """A number and a newline."""
    assert add_checkpoint.decode_size(data) == size
    for wrong in (data[:-1], b"0" + data, data + b"\n", b"", b"x\n"):
        with pytest.raises(ParseError):
            add_checkpoint.decode_size(wrong)
