"""EPC binary strings in addresses, as RFID and NFC tags send them (EPCB 1.0.0 §4; TDS 2.2 §14).

    https://example.org/eh30164596f40c0e5cbe991a83    `eh` and hexadecimal
    https://example.org/exMBZFlvQMDly-mRqD            `ex` and the alphabet of compressed links

The first eight bits say which of the GS1 keys follows. Schemes from before TDS 2.0 hold the fields
of an EPC URN; the later ones (`+`, and `++` with the name of a host) hold values of AIs, after which
more AIs may stand. Filter value and host name identify nothing and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import NamedTuple

from protocol.errors import BadIdentifier
from protocol.schemes import epc
from protocol.schemes.base import shown
from protocol.schemes.bits import ALPHABET, Bits, sextets
from protocol.schemes.gs1_ai import AIS, Ai, Part, leading_ai
from protocol.schemes.gs1_elements import Element, check_value

_SEGMENT = re.compile(r"eh[0-9a-f]{4,}|ex[A-Za-z0-9_-]{4,}")
_COMPANY_BITS = {12: 40, 11: 37, 10: 34, 9: 30, 8: 27, 7: 24, 6: 20}
"""Of a company prefix by its digits; its place in this order is the partition value."""
_CHARACTER_BITS = 7


def looks_so(segment: str) -> bool:
    """Whether a path segment may be one. No compressed link begins so: 7A and 7B are no AIs."""
    return _SEGMENT.fullmatch(segment) is not None


def decode(segment: str) -> tuple[Element, ...]:
    """The elements that a segment stands for, its key first, each checked. Raises BadIdentifier."""
    if not looks_so(segment):
        raise BadIdentifier("compressed", f"{shown(segment)} is no EPC binary string")
    hexadecimal, body = segment[1] == "h", segment[2:]
    bits = Bits("".join(f"{int(c, 16):04b}" for c in body) if hexadecimal else sextets(body))
    header = bits.take(8)
    if header in _FIELDS:
        return _urn_elements(bits, _FIELDS[header])
    if header in _VALUES:
        return _ai_elements(bits, header)
    raise BadIdentifier("compressed", f"EPC header {header:02X} has no Digital Link")


class _Fields(NamedTuple):
    """Of a scheme before TDS 2.0. name: in URNs. size: bits of company prefix and reference.

    reference: how that is written, or None for digits that fill up the key. rest: what follows.
    """

    name: str
    size: int
    reference: str | None
    rest: tuple[tuple[str, int], ...] = ()


_FIELDS: Mapping[int, _Fields] = {
    0x2C: _Fields("gdti", 41, None, (("number", 41),)),
    0x2D: _Fields("gsrn", 58, None),
    0x2E: _Fields("gsrnp", 58, None),
    0x30: _Fields("sgtin", 44, None, (("number", 38),)),
    0x31: _Fields("sscc", 58, None),
    0x32: _Fields("sgln", 41, None, (("number", 41),)),
    0x33: _Fields("grai", 44, None, (("number", 38),)),
    0x34: _Fields("giai", 82, "number"),
    0x36: _Fields("sgtin", 44, None, (("text", 140),)),
    0x37: _Fields("grai", 44, None, (("text", 112),)),
    0x38: _Fields("giai", 188, "text"),
    0x39: _Fields("sgln", 41, None, (("text", 140),)),
    0x3A: _Fields("gdti", 41, None, (("behind 1", 58),)),
    0x3C: _Fields("cpi", 51, "number", (("number", 31),)),
    0x3D: _Fields("cpi", 0, "six bits", (("number", 40),)),
    0x3E: _Fields("gdti", 41, None, (("text", 119),)),
    0x3F: _Fields("sgcn", 41, None, (("behind 1", 41),)),
    0x40: _Fields("itip", 44, None, (("two digits", 7), ("two digits", 7), ("number", 38))),
    0x41: _Fields("itip", 44, None, (("two digits", 7), ("two digits", 7), ("text", 140))),
}


def _urn_elements(bits: Bits, row: _Fields) -> tuple[Element, ...]:
    bits.take(3)  # The filter value.
    partition = bits.take(3)
    if partition >= len(_COMPANY_BITS):
        raise BadIdentifier("compressed", f"an EPC of partition {partition}; there are 0 to 6")
    digits, size = list(_COMPANY_BITS.items())[partition]
    company = _digits(bits.take(size), digits)
    left = max(row.size - size, 0)
    if row.reference is None:
        reference = _digits(bits.take(left), (epc.KINDS[row.name].digits or 0) - digits)
    else:
        reference = _WRITTEN[row.reference](bits, left)
    fields = [reference, *(_WRITTEN[how](bits, width) for how, width in row.rest)]
    if bits.left and bits.take(bits.left):
        raise BadIdentifier("compressed", "something stands behind the EPC")
    return epc.link_of(row.name, company, fields).elements


def _digits(number: int, count: int) -> str:
    text = str(number).zfill(count) if count or number else ""
    if len(text) > count:
        raise BadIdentifier("compressed", f"{number} has more than {count} digits")
    return text


def _text(bits: Bits, size: int) -> str:
    """Seven bits a character up to a zero, after which all is zero."""
    codes = [bits.take(_CHARACTER_BITS) for _ in range(size // _CHARACTER_BITS)]
    bits.take(size % _CHARACTER_BITS)
    text = "".join(map(chr, codes)).rstrip("\0")
    if "\0" in text:
        raise BadIdentifier("compressed", f"a zero within {shown(text)}")
    return text


def _behind_one(bits: Bits, size: int) -> str:
    """A number whose leading zeros stand behind a 1."""
    text = str(bits.take(size))
    if text[0] != "1":
        raise BadIdentifier("compressed", f"{text} does not begin with 1")
    return text[1:]


def _six_bits(bits: Bits, _: int) -> str:
    """Six bits a character up to a zero."""
    text = ""
    while code := bits.take(6):
        text += chr(code if code & 0x20 else code | 0x40)
    return text


_WRITTEN: Mapping[str, Callable[[Bits, int], str]] = {
    "number": lambda bits, size: str(bits.take(size)),
    "two digits": lambda bits, size: _digits(bits.take(size), 2),
    "text": _text,
    "behind 1": _behind_one,
    "six bits": _six_bits,
}

_VALUES: Mapping[int, tuple[str, ...]] = {
    0xE6: ("8010", "8011"), 0xE7: ("8018",), 0xE8: ("8017",), 0xE9: ("414", "254"),
    0xEA: ("253",), 0xEB: ("8003",), 0xEC: ("255",), 0xED: ("8006", "21"), 0xEE: ("8004",),
    0xEF: ("00",), 0xFC: ("01", "21"), 0xFD: ("01", "21"),
    0xF0: ("8010", "8011"), 0xF1: ("8003",), 0xF2: ("414", "254"), 0xF3: ("8006", "21"),
    0xF4: ("8018",), 0xF5: ("8017",), 0xF6: ("253",), 0xF7: ("01", "21"), 0xF8: ("255",),
    0xF9: ("00",), 0xFA: ("8004",), 0xFB: ("01", "21"),
}  # fmt: skip
"""AIs by header, of TDS 2.0 (F0 to FB) and of TDS 2.3, where the name of a host follows them."""
_DATED = {0xFB, 0xFC}
_DATES = ("11", "13", "15", "16", "17", "7006", "7007")
_WITHOUT_HOST = range(0xF0, 0xFC)


def _ai_elements(bits: Bits, header: int) -> tuple[Element, ...]:
    bits.take(4)  # Whether data follows, which shows by itself; the filter value.
    date = _prioritised(bits) if header in _DATED else ()
    found = [Element(ai, _value(bits, AIS[ai])) for ai in _VALUES[header]]
    # What stands behind the name of a host is not read on: it begins wherever that ends.
    if header in _WITHOUT_HOST:
        found += _further(bits)
    elements = (*found, *date)
    if elements[0].ai == "414" and elements[1].value == "0":
        elements = (elements[0], *elements[2:])  # Extension 0 is none (TDS §6.3.3).
    for ai, value in elements:
        check_value(ai, value)
    return elements


def _prioritised(bits: Bits) -> tuple[Element, ...]:
    kind = bits.take(4)
    if kind >= len(_DATES):
        raise BadIdentifier("compressed", f"there is no date of kind {kind}")
    return (Element(_DATES[kind], _date(bits)),)


def _date(bits: Bits) -> str:
    return f"{bits.take(7):02d}{bits.take(4):02d}{bits.take(5):02d}"


def _further(bits: Bits) -> list[Element]:
    """The AIs behind the EPC (TDS §15.3), as far as they are written as others of their shape."""
    found: list[Element] = []
    while bits.left >= 8:
        name = f"{bits.take(4):X}{bits.take(4):X}"
        while leading_ai(name) is None and len(name) < 4 and bits.left >= 4:
            name += f"{bits.take(4):X}"
        row = leading_ai(name)
        # Zeros fill up the last word; an SSCC, which begins so, is too long to be mistaken.
        if row is None or row.ai in _OTHERWISE or (row.ai == "00" and bits.left < 72):
            break
        found.append(Element(row.ai, _value(bits, row)))
    return found


_NIBBLES = frozenset(
    [
        "00",
        "01",
        "02",
        "253",
        "255",
        "410",
        "411",
        "412",
        "413",
        "414",
        "415",
        "416",
        "417",
        "7241",
        "8003",
        "8006",
        "8017",
        "8018",
        "8026",
    ]
)
"""AIs whose fixed digits are written four bits each; those of others are one integer."""
_DELIMITED = frozenset(("7023", "8004", "8010"))
_OTHERWISE = frozenset(
    [
        "4307",
        "4317",
        "4321",
        "4322",
        "4323",
        "4324",
        "4325",
        "4330",
        "4331",
        "4332",
        "4333",
        "7003",
        "7007",
        "7011",
        "7040",
        "7258",
        "8007",
        "8008",
    ]
)
"""AIs with ways of their own to write their values, which this page does not read."""
_DATE = {"date", "date0"}


def _value(bits: Bits, row: Ai) -> str:
    if row.ai in _DELIMITED:
        return _delimited(bits, _most(row.parts))
    fixed = tuple(takewhile(_is_fixed, row.parts))
    rest = row.parts[len(fixed) :]
    head = _fixed(bits, row, _most(fixed)) if fixed else ""
    if not rest:
        return head
    read = _number if rest[0].kind == "N" else _characters
    return head + read(bits, _most(rest))


def _most(parts: Iterable[Part]) -> int:
    return sum(part.most for part in parts)


def _is_fixed(part: Part) -> bool:
    return part.kind == "N" and part.least == part.most and not part.optional


def _fixed(bits: Bits, row: Ai, count: int) -> str:
    if row.ai in _NIBBLES:
        return "".join(f"{bits.take(4):X}" for _ in range(count))
    if len(row.parts) == 1 and _DATE.intersection(row.parts[0].checks):
        return _date(bits)
    return _digits(bits.take(_integer_bits(count)), count)


def _integer_bits(count: int) -> int:
    return (int("9" * count) if count else 0).bit_length()


def _number(bits: Bits, most: int) -> str:
    count = bits.take(most.bit_length())
    return _digits(bits.take(_integer_bits(count)), count)


def _delimited(bits: Bits, most: int) -> str:
    """Digits of four bits, up to F; or up to E, behind which characters stand."""
    text = ""
    while (nibble := bits.take(4)) < 10:
        text += str(nibble)
    if nibble == 0xE:
        return text + _characters(bits, most)
    if nibble != 0xF:
        raise BadIdentifier("compressed", f"{nibble:X} among the digits of {text}")
    return text


_ALPHABETS = {
    1: "0123456789ABCDEF",
    2: "0123456789abcdef",
    3: ALPHABET,
    4: "".join(map(chr, range(128))),
}
_URN_40 = "\0ABCDEFGHIJKLMNOPQRSTUVWXYZ-.:0123456789"


def _characters(bits: Bits, most: int) -> str:
    """How they are written, how many, and the characters (TDS §14.5.6)."""
    how = bits.take(3)
    count = bits.take(most.bit_length())
    if count > most:
        raise BadIdentifier("compressed", f"a value of {count} characters; it has {most}")
    if how == 0:
        return _digits(bits.take(_integer_bits(count)), count)
    if how == 5:
        return _three_in_sixteen(bits, count)
    alphabet = _ALPHABETS.get(how)
    if alphabet is None:
        raise BadIdentifier("compressed", f"character encoding {how} is not defined")
    width = len(alphabet).bit_length() - 1
    return "".join(alphabet[bits.take(width)] for _ in range(count))


def _three_in_sixteen(bits: Bits, count: int) -> str:
    text = ""
    while len(text) < count:
        rest = bits.take(16) - 1
        if not 0 <= rest < 64_000:
            raise BadIdentifier("compressed", "no three characters in sixteen bits")
        three = (rest // 1600, rest // 40 % 40, rest % 40)
        text += "".join(_URN_40[place] for place in three).rstrip("\0")
    return text
