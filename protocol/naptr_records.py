"""NAPTR records (RFC 3403) of a record: given as values, or made from its other public values.

What is made of what stands in SERVICES. Text is the zone file's; bytes are RDATA. Names of the
owner stand in protocol.naptr.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple
from urllib.parse import quote

from protocol.errors import ParseError
from protocol.record import TTL_RELATIVE, HandleValue

TYPE: Final = 35
ROOT: Final = b"\x00"
ORS_PREFIX: Final = b"ORS+"
"""Before the service type in ORS records (industrial-identifiers §10.2)."""

MAX_RRSET: Final = 48_000
"""Octets of all NAPTR records of one name: they must fit in one DNS message, signed."""
MAX_TTL_S: Final = 86_400
"""However long a value may be kept, its NAPTR record may for a day: the exchange of a DNSSEC key
has to wait for the longest."""

ORDER: Final = 100
_MAX_STRING = 255
_NUMBERS = Struct(">HH")
_RR = Struct(">HHHIH")
_POINTER = 0xC00C
_DELIMITERS = b"!|#~,;:@%=+&*"


class Service(NamedTuple):
    """What a value type is called in DNS. ors: type behind the prefix; ons: the whole field."""

    ors: bytes
    ons: bytes
    preference: int


SERVICES: Final[Mapping[bytes, Service]] = {
    # value type: ORS service (X.672 annex A), ONS service, preference
    b"0.COID": Service(b"COID", b"http://www.gs1.org/ons/coid", 10),
    b"URL": Service(b"UINF", b"http://www.gs1.org/ons/html", 10),
    b"0.UINF": Service(b"UINF", b"http://www.gs1.org/ons/uinf", 20),
    b"0.RINF": Service(b"RINF", b"http://www.gs1.org/ons/rinf", 30),
    b"0.CINF": Service(b"CINF", b"http://www.gs1.org/ons/cinf", 30),
    b"0.MINF": Service(b"MINF", b"http://www.gs1.org/ons/minf", 30),
    b"0.LINF": Service(b"LINF", b"http://www.gs1.org/ons/linf", 30),
    b"0.EPCIS": Service(b"UINF", b"http://www.gs1.org/ons/epcis", 20),
    b"0.WS": Service(b"UINF", b"http://www.gs1.org/ons/ws", 20),
}
"""A public value of such a type, its data an absolute URI, is one NAPTR record with flag `u`.

An OID without a 0.COID value has one made from its own name: `urn:oid:…`. The order is 100.
"""


@dataclass(frozen=True, slots=True)
class Naptr:
    """One record. flags, service, regexp: octets as written; replacement: a name in wire form."""

    order: int
    preference: int
    flags: bytes
    service: bytes
    regexp: bytes
    replacement: bytes = ROOT

    def __post_init__(self) -> None:
        for what, text in (
            ("flags", self.flags),
            ("service", self.service),
            ("regexp", self.regexp),
        ):
            if len(text) > _MAX_STRING:
                raise ParseError(f"the {what} of a NAPTR record have {len(text)} octets, above 255")
        if not 0 <= self.order <= 0xFFFF or not 0 <= self.preference <= 0xFFFF:
            raise ParseError("order and preference of a NAPTR record are numbers up to 65535")
        if self.regexp and self.replacement != ROOT:
            raise ParseError("a NAPTR record has a regexp or a replacement, not both: write . last")

    def rdata(self) -> bytes:
        """RDATA (RFC 3403 §4.1)."""
        return b"".join(
            (
                _NUMBERS.pack(self.order, self.preference),
                *(bytes((len(t),)) + t for t in (self.flags, self.service, self.regexp)),
                self.replacement,
            )
        )


# --- zone file text

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9]{3})|(.))", re.DOTALL)


def parse_naptr(text: str) -> Naptr:
    """`100 10 "u" "ORS+UINF" "!^.*$!https://example.org/!" .` Raises ParseError."""
    words, at = list[str](), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise ParseError(f"a quotation mark is not closed in {text[:80]!r}")
        words.append(match[1] if match[1] is not None else match[2])
        at = match.end()
    if len(words) != 6:
        raise ParseError(
            f'{len(words)} fields in {text[:80]!r}; write: order preference "flags" "service" '
            '"regexp" replacement'
        )
    if not all(word.isascii() and word.isdigit() and len(word) <= 5 for word in words[:2]):
        raise ParseError(f"order and preference in {text[:80]!r} are numbers up to 65535")
    flags, service, regexp = (_unescaped(word) for word in words[2:5])
    return Naptr(int(words[0]), int(words[1]), flags, service, regexp, _name(words[5]))


def _unescaped(text: str) -> bytes:
    made, at = bytearray(), 0
    for match in _ESCAPE.finditer(text):
        made += text[at : match.start()].encode()
        if match[1] is not None:
            if int(match[1]) > 255:
                raise ParseError(f"\\{match[1]} is no octet; write \\000 to \\255")
            made.append(int(match[1]))
        else:
            made += match[2].encode()
        at = match.end()
    if text[at:].endswith("\\"):
        raise ParseError(f"{text[:80]!r} ends in a backslash; write \\\\ for one")
    return bytes(made + text[at:].encode())


def _name(text: str) -> bytes:
    """A domain name of letters, digits, hyphens and underscores as wire form; `.` is the root."""
    labels = [] if text == "." else text.removesuffix(".").split(".")
    made = bytearray()
    for label in labels:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", label):
            raise ParseError(f"{text[:80]!r} is no domain name; write . for none")
        made += bytes((len(label),)) + label.encode("ascii").lower()
    made += ROOT
    if len(made) > 255:
        raise ParseError(f"the name {text[:80]!r} has above 255 octets")
    return bytes(made)


def format_naptr(record: Naptr) -> str:
    """The record as the zone file writes it."""
    strings = " ".join(f'"{_escaped(t)}"' for t in (record.flags, record.service, record.regexp))
    return f"{record.order} {record.preference} {strings} {format_domain(record.replacement)}"


def _escaped(octets: bytes) -> str:
    return "".join(
        chr(o)
        if 0x20 <= o < 0x7F and o not in b'"\\'
        else f"\\{chr(o)}"
        if o in b'"\\'
        else f"\\{o:03d}"
        for o in octets
    )


def format_domain(wire: bytes) -> str:
    """A name in wire form as text with its final dot."""
    labels, at = list[str](), 0
    while wire[at]:
        label = wire[at + 1 : at + 1 + wire[at]]
        labels.append(
            "".join(
                chr(o) if 0x21 <= o < 0x7F and chr(o) not in '.\\"();@$' else f"\\{o:03d}"
                for o in label
            )
        )
        at += 1 + wire[at]
    return ".".join(labels) + "."


# --- from a record's values


def substitution(uri: bytes) -> bytes | None:
    """`!^.*$!URI!`: whatever is asked becomes the URI. None where it has no place in 255 octets.

    Octets beyond ASCII are percent-encoded. The delimiter is one that the URI does not hold.
    """
    if not uri.isascii():
        try:
            uri = quote(uri.decode(), safe="!#$%&'()*+,/:;=?@[]~").encode()
        except UnicodeDecodeError:
            return None
    if not uri or any(octet <= 0x20 or octet == 0x7F for octet in uri) or b":" not in uri:
        return None
    delimiter = next((d for d in _DELIMITERS if d not in uri), None)
    if delimiter is None:
        return None
    mark = bytes((delimiter,))
    made = b"".join((mark, b"^.*$", mark, uri.replace(b"\\", b"\\\\"), mark))
    return made if len(made) <= _MAX_STRING else None


class Found(NamedTuple):
    """The NAPTR records of a record.

    ttl_s: the least of the values used. absolute: one of them was a date. given: they are values.
    """

    records: list[Naptr]
    ttl_s: int
    absolute: bool
    given: bool


def naptr_of(
    values: Iterable[HandleValue],
    time_s: int,
    *,
    oid: bytes | None,
    prefix: bytes = ORS_PREFIX,
) -> Found:
    """The NAPTR records of public values, in the order of their numbers.

    oid: the dotted OID they belong to, b"" where it has none; None: a GS1 key. time_s: seconds since 1970, from which
    absolute TTLs are counted. prefix: before ORS service types. Where any NAPTR value is given,
    those are all there is; a value that has no form in DNS is left out.
    """
    given: list[Naptr] = []
    made: list[Naptr] = []
    used: dict[bool, list[HandleValue]] = {True: [], False: []}
    canonical = bool(oid)
    for value in values:
        type_ = value.type.upper()
        if type_ == b"NAPTR":
            record = _given(value.data)
            if record is not None:
                given.append(record)
                used[True].append(value)
            continue
        service = SERVICES.get(type_)
        regexp = substitution(value.data) if service is not None else None
        if service is None or regexp is None:
            continue
        canonical = canonical and type_ != b"0.COID"
        field = service.ons if oid is None else prefix + service.ors
        made.append(Naptr(ORDER, service.preference, b"u", field, regexp))
        used[False].append(value)
    if given:
        made = given
    elif canonical and oid:
        regexp = substitution(b"urn:oid:" + oid)
        if regexp is not None:
            made.append(Naptr(ORDER, 10, b"u", prefix + b"COID", regexp))
    ttl_s, absolute = _least_ttl(used[bool(given)], time_s)
    return Found(_fitting(made), ttl_s, absolute, bool(given))


def _given(data: bytes) -> Naptr | None:
    try:
        return parse_naptr(data.decode())
    except (ParseError, UnicodeDecodeError):
        return None


def _least_ttl(values: Sequence[HandleValue], time_s: int) -> tuple[int, bool]:
    least, absolute = MAX_TTL_S, False
    for value in values:
        ttl = value.ttl
        if value.ttl_type != TTL_RELATIVE:
            absolute = True
            ttl = max(0, ttl - time_s)
        least = min(least, ttl)
    return least, absolute


def _fitting(records: list[Naptr]) -> list[Naptr]:
    """In the order of their numbers, without repeats, as many as fit in one message."""
    records.sort(key=lambda record: (record.order, record.preference))
    kept, size = dict[Naptr, None](), 0
    for record in records:
        if record not in kept:
            size += len(record.rdata()) + 12
            if size > MAX_RRSET:
                break
            kept[record] = None
    return list(kept)


def records_wire(rdatas: Iterable[bytes], ttl_s: int) -> bytes:
    """Whole resource records whose owner is the name of the question, by a pointer to it."""
    return b"".join(_RR.pack(_POINTER, TYPE, 1, ttl_s, len(rdata)) + rdata for rdata in rdatas)
