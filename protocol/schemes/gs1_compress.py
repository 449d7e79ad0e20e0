"""Compressed GS1 Digital Links: one path segment of 6-bit characters (traceability §5.4).

    https://example.org/DBFKk4XBoALg                     all of it is compressed
    https://example.org/01/09506000134352/EEarwSM        partly: the key is in clear, the rest not

The form left the URI syntax in later versions but is still on older carriers. Foreign query
parameters can be carried too. What stands in the query is read as in any other link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import ceil, log2
from typing import NamedTuple

from protocol.errors import BadIdentifier
from protocol.schemes import epc_binary
from protocol.schemes.base import shown
from protocol.schemes.bits import ALPHABET, Bits, sextets
from protocol.schemes.gs1_ai import AIS, KEYS, Ai, leading_ai
from protocol.schemes.gs1_elements import Element, check_value
from protocol.schemes.gs1_link import (
    DigitalLink,
    from_elements,
    has_key,
    is_key,
    parse_uri,
    read_query,
    read_uri,
    with_key,
)

SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "0A": ("01", "22"),
    "0B": ("01", "10"),
    "0C": ("01", "21"),
    "0D": ("01", "17"),
    "0E": ("01", "7003"),
    "0F": ("01", "30"),
    "1A": ("01", "10", "21", "17"),
    "1B": ("01", "15"),
    "1C": ("01", "11"),
    "1D": ("01", "16"),
    "1E": ("01", "91"),
    "1F": ("01", "10", "15"),
    **{f"2{'ABCDEF'[n]}": ("01", f"310{n}") for n in range(6)},
    **{f"3{'ABCDEF'[n]}": ("01", f"320{n}") for n in range(6)},
    "9A": ("8010", "8011"),
    "9B": ("8017", "8019"),
    "9C": ("8018", "8019"),
    "9D": ("414", "254"),
    **{f"A{n}": ("01", f"392{n}") for n in range(10)},
    **{f"C{n}": ("255", f"390{n}") for n in range(10)},
    **{f"C{'ABCD'[n]}": ("255", f"394{n}") for n in range(4)},
}
"""Groups of AIs that stand under two hexadecimal digits, values in this order."""

_SEGMENT = re.compile(r"[A-Za-z0-9\-_]+")
_MEMBER = re.compile(r"[A-Za-z0-9\-._~:/?@!$'()*+,;=%]*")
_ENCODINGS = (
    # Code, what fits, alphabet; in the order of trying. Decimal is an integer, the rest are
    # characters of a fixed width.
    (0b000, re.compile(r"[0-9]*"), ""),
    (0b010, re.compile(r"[0-9A-F]*"), "0123456789ABCDEF"),
    (0b001, re.compile(r"[0-9a-f]*"), "0123456789abcdef"),
    (0b011, re.compile(r"[A-Za-z0-9\-_]*"), ALPHABET),
    (0b100, re.compile(r"[\x00-\x7f]*"), "".join(map(chr, range(128)))),
)
_ALPHABETS = {code: alphabet for code, _, alphabet in _ENCODINGS}
_FOREIGN = 0b1111
_MAX_FOREIGN = 127


def _digits_bits(digits: int) -> int:
    return ceil(digits * log2(10) + 0.01)


def _length_bits(most: int) -> int:
    return ceil(log2(most) + 0.01)


def _characters_bits(text: str) -> str:
    """Encoding and characters, as a pair of bit strings: the length stands between them."""
    for code, fits, alphabet in _ENCODINGS:
        if fits.fullmatch(text):
            if not alphabet:
                return f"{code:03b}|{int(text or '0'):0{_digits_bits(len(text))}b}"
            width = len(alphabet).bit_length() - 1
            return f"{code:03b}|" + "".join(f"{alphabet.index(c):0{width}b}" for c in text)
    raise BadIdentifier("charset", f"{shown(text)} is not ASCII; compression takes no other text")


def _take_characters(bits: Bits, code: int, size: int) -> str:
    alphabet = _ALPHABETS.get(code)
    if alphabet is None:
        raise BadIdentifier("compressed", f"character encoding {code} is not defined")
    if not alphabet:
        return _take_number(bits, size)
    width = len(alphabet).bit_length() - 1
    return "".join(alphabet[bits.take(width)] for _ in range(size))


def _take_number(bits: Bits, size: int) -> str:
    number = str(bits.take(_digits_bits(size)))
    if not size:
        return ""
    if len(number) > size:
        raise BadIdentifier("compressed", f"{number} has more than the {size} digits announced")
    return number.zfill(size)


class _Field(NamedTuple):
    """A run of parts that is carried as one. fixed: no length stands before it."""

    digits: bool
    most: int
    fixed: bool


@cache
def _fields(row: Ai) -> tuple[_Field, ...]:
    """Digits of fixed length that follow each other are one integer, and so are optional ones."""
    fields: list[_Field] = []
    for part in row.parts:
        one = _Field(part.kind == "N", part.most, part.least == part.most and not part.optional)
        last = fields[-1] if fields else None
        if last and one.digits and last.digits and one.fixed == last.fixed:
            fields[-1] = last._replace(most=last.most + one.most)
        else:
            fields.append(one)
    return tuple(fields)


def _put_value(row: Ai, value: str) -> str:
    out = ""
    at = 0
    for field in _fields(row):
        text = value[at : at + field.most]
        at += len(text)
        length = "" if field.fixed else f"{len(text):0{_length_bits(field.most)}b}"
        if field.digits:
            out += length + f"{int(text or '0'):0{_digits_bits(len(text))}b}"
        else:
            code, _, characters = _characters_bits(text).partition("|")
            out += code + length + characters
    return out


def _take_field(bits: Bits, field: _Field) -> str:
    code = None if field.digits else bits.take(3)
    size = field.most if field.fixed else bits.take(_length_bits(field.most))
    if size > field.most:
        raise BadIdentifier("compressed", f"a field of {size} characters; it has {field.most}")
    return _take_number(bits, size) if code is None else _take_characters(bits, code, size)


def _put_ai(digits: str) -> str:
    return "".join(f"{int(digit, 16):04b}" for digit in digits)


def _sequences(present: set[str]) -> Iterable[str]:
    """The groups to use, the one that saves most digits first, each AI once."""
    ordered = sorted(
        SEQUENCES,
        key=lambda code: (2 - sum(map(len, SEQUENCES[code])), list(SEQUENCES).index(code)),
    )
    left = set(present)
    for code in ordered:
        if left.issuperset(SEQUENCES[code]):
            left.difference_update(SEQUENCES[code])
            yield code


def compress_elements(
    elements: Sequence[Element], parameters: Sequence[str] = (), *, sequences: bool = True
) -> str:
    """One path segment for key, qualifiers and attributes, and for foreign query members.

    sequences: use the predefined groups, which makes it shorter. Raises BadIdentifier where a
    member cannot be carried.
    """
    values = dict(elements)
    out = ""
    if sequences:
        for code in _sequences(set(values)):
            out += _put_ai(code) + "".join(
                _put_value(AIS[ai], values.pop(ai)) for ai in SEQUENCES[code]
            )
    for ai in sorted(values):
        out += _put_ai(ai) + _put_value(AIS[ai], values[ai])
    for member in parameters:
        out += _put_foreign(member)
    out += "0" * (-len(out) % 6)
    return "".join(ALPHABET[int(out[at : at + 6], 2)] for at in range(0, len(out), 6))


def _put_foreign(member: str) -> str:
    name, _, value = member.partition("=")
    if not _SEGMENT.fullmatch(name) or max(len(name), len(value)) > _MAX_FOREIGN:
        raise BadIdentifier(
            "compressed",
            f"query member {shown(member)} cannot be compressed: a name of letters, digits, - "
            f"and _, and at most {_MAX_FOREIGN} characters; leave it out",
        )
    key = sextets(name)
    code, _, characters = _characters_bits(value).partition("|")
    return f"{_FOREIGN:04b}{len(name):07b}{key}{code}{len(value):07b}{characters}"


def expand_segment(segment: str) -> tuple[tuple[Element, ...], tuple[str, ...]]:
    """The elements of a compressed segment, each checked, and the foreign query members.

    Raises BadIdentifier `compressed` for what is no compressed segment.
    """
    if epc_binary.looks_so(segment):
        return epc_binary.decode(segment), ()
    if not _SEGMENT.fullmatch(segment):
        raise BadIdentifier(
            "compressed", f"{shown(segment)} is not compressed: letters, digits, - and _ alone"
        )
    bits = Bits(sextets(segment))
    elements: list[Element] = []
    parameters: list[str] = []
    # Padding is below six bits and an entry begins with eight at least.
    while bits.left >= 8:
        first = bits.take(4)
        if first == _FOREIGN:
            parameters.append(_take_foreign(bits))
            continue
        code = f"{first:X}{bits.take(4):X}"
        for row in _rows_of(code, bits):
            value = "".join(_take_field(bits, field) for field in _fields(row))
            check_value(row.ai, value)
            elements.append(Element(row.ai, value))
    if bits.left and bits.take(bits.left):
        raise BadIdentifier("compressed", f"the padding of {shown(segment)} is not zero")
    return tuple(elements), tuple(parameters)


def _rows_of(code: str, bits: Bits) -> list[Ai]:
    sequence = SEQUENCES.get(code)
    if sequence is not None:
        return [AIS[ai] for ai in sequence]
    if not code.isdigit():
        raise BadIdentifier("compressed", f"{code} is no predefined sequence of AIs")
    digits = code
    # The first two digits tell how many more there are; no AI has more than four.
    while leading_ai(digits) is None and len(digits) < 4:
        digits += f"{bits.take(4):X}"
    row = leading_ai(digits)
    if row is None:
        raise BadIdentifier("compressed", f"{digits} is no Application Identifier")
    return [row]


def _take_foreign(bits: Bits) -> str:
    name = "".join(ALPHABET[bits.take(6)] for _ in range(bits.take(7)))
    code = bits.take(3)
    value = _take_characters(bits, code, bits.take(7))
    if not name or name.isdigit() or not _MEMBER.fullmatch(value):
        # It goes back into a URI as it stands, so it must be what a URI may hold.
        raise BadIdentifier("compressed", f"{shown(name)}={shown(value)} is no query member")
    return f"{name}={value}"


def compress(
    link: DigitalLink, base: str | None = None, *, sequences: bool = True, partly: bool = False
) -> str:
    """The compressed URI below a base such as `https://example.org`; without one, below its own.

    partly: leave the key in clear; a key alone is then not compressed at all.
    Raises BadIdentifier for what could not be read back.
    """
    before = (base or link.base).rstrip("/")
    elements: Sequence[Element] = link.elements
    if partly:
        before += DigitalLink(link.key).path
        elements = elements[1:]
        if not elements and not link.parameters:
            return before
    elif any(is_key(segment) for segment in before.split("/")[3:]):
        raise BadIdentifier(
            "compressed", f"{shown(before)} holds what looks like a key; put it below another base"
        )
    elif any(ai in KEYS and ai != link.key.ai for ai, _ in elements):
        # The order of AIs in the segment would make another one of them the key.
        raise BadIdentifier("compressed", f"{link.element_string} has a second key; leave it out")
    return f"{before}/{compress_elements(elements, link.parameters, sequences=sequences)}"


def is_partly_compressed(path: str) -> bool:
    """Whether a path ends with a key in clear, its value and one segment more.

    Right or wrong: what looks so is nothing else. Words for keys count too. A lot that is called
    `00` is no key: what can be read as pairs from a key on is not compressed.
    """
    segments = path.split("/")
    return len(segments) > 3 and is_key(segments[-3]) and not has_key(path)


def expand(text: str, *, lenient: bool = False) -> DigitalLink:
    """Read a compressed Digital Link URI of any host; its last path segment is the compressed one.

    Attributes in its query count like those inside. lenient: as in gs1_link.parse_uri, for a key
    in clear. Raises BadIdentifier.
    """
    uri = read_uri(text)
    if _is_uncompressed(text):
        raise BadIdentifier("compressed", f"{shown(text)} is not compressed")
    path = uri.path.rstrip("/")
    stem, _, segment = path.rpartition("/")
    partly = is_partly_compressed(path)
    if partly and segment in AIS:
        raise BadIdentifier("compressed", f"({segment}) stands without a value at the end")
    inside, inner = expand_segment(segment)
    if partly:
        if not inside and not inner:
            raise BadIdentifier("compressed", f"nothing is compressed in {shown(segment)}")
        clear = parse_uri(uri.origin + stem, lenient=lenient)
        key, base = clear.key, clear.base
        inside = (key, *inside)
    else:
        key, base = from_elements(inside).key, uri.origin + stem
    outside, parameters = read_query(uri.query, key.ai)
    link = with_key(key, (*inside, *outside))
    return replace(link, parameters=inner + parameters, base=base)


def _is_uncompressed(text: str) -> bool:
    """Whether it is a link as it stands, whatever its last segment might be read as."""
    try:
        parse_uri(text, lenient=True)
    except BadIdentifier:
        return False
    return True
