"""EPC URNs and the Digital Links they stand for (TDS §6, §8; traceability §4.1).

The dot after the company prefix is only in the URN, so the way back needs the prefix's length.
Each kind is one row of KINDS; which fields it has, how many digits they make and the key they give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from protocol.errors import BadIdentifier
from protocol.schemes.base import Identifier, bounded, percent_decode, shown
from protocol.schemes.gs1_checks import check_digit
from protocol.schemes.gs1_elements import Element, check_value
from protocol.schemes.gs1_link import DigitalLink

COMPANY_DIGITS = (6, 12)
"""Least and most digits of a GS1 company prefix in a URN."""

_URN = re.compile(r"urn:epc:(id|class|idpat):([a-z]+):(.*)", re.DOTALL)
_HEAD = re.compile(r"(?i:urn:epc):")
_DIGITS = re.compile(r"[0-9]*")
_PLAIN = re.compile(r"[A-Za-z0-9!'()*+,\-.:;=_]")
_SPELLED = re.compile(r"(?:[A-Za-z0-9!'()*+,\-.:;=_]|%[0-9A-Fa-f]{2})*")
ANY = "*"
"""In a pattern: every value."""


class Kind(NamedTuple):
    """One kind of EPC.

    ai: of its Digital Link key. digits: of company prefix and reference together, None where the
    reference takes any characters. fields: what follows the reference. qualifier: AI of the last
    field, "" where it is part of the key or missing. form: `id` or `class`. leading: how many
    digits of the reference stand before the company prefix in the key. zero: the key begins with 0.
    """

    ai: str
    digits: int | None
    fields: tuple[str, ...] = ()
    qualifier: str = ""
    form: str = "id"
    leading: int = 0
    zero: bool = False


KINDS: Mapping[str, Kind] = {
    "sgtin": Kind("01", 13, ("serial",), "21", leading=1),
    "lgtin": Kind("01", 13, ("lot",), "10", form="class", leading=1),
    "upui": Kind("01", 13, ("tpx",), "235", leading=1),
    "itip": Kind("8006", 13, ("piece", "total", "serial"), "21", leading=1),
    "sscc": Kind("00", 17, leading=1),
    "sgln": Kind("414", 12, ("extension",), "254"),
    "pgln": Kind("417", 12),
    "grai": Kind("8003", 12, ("serial",), zero=True),
    "giai": Kind("8004", None),
    "gdti": Kind("253", 12, ("serial",)),
    "sgcn": Kind("255", 12, ("serial",)),
    "gsrn": Kind("8018", 17),
    "gsrnp": Kind("8017", 17),
    "ginc": Kind("401", None),
    "gsin": Kind("402", 16),
    "cpi": Kind("8010", None, ("serial",), "8011"),
}
"""The kinds that have a Digital Link."""

OTHER_KINDS: Mapping[str, re.Pattern[str]] = {
    "gid": re.compile(r"[0-9]{1,9}\.[0-9]{1,8}\.[0-9]{1,11}"),
    "usdod": re.compile(r"[A-Z0-9]{5,6}\.[0-9]{1,11}"),
    "adi": re.compile(
        r"[A-HJ-NP-Z0-9]{5,6}\.(?:[A-Z0-9\-]|%23|%2F){0,32}\.(?:[A-Z0-9\-]|%23|%2F)+"
    ),
    "bic": re.compile(r"[A-Z]{3}[JUZ][0-9]{7}"),
    "imovn": re.compile(r"[0-9]{7}"),
}
"""Kinds of other numbering systems: shape of what follows the kind. They have no Digital Link."""


def _encode(text: str) -> str:
    """The escapes of a URN: everything its syntax does not take as it is (TDS §5.4)."""
    return "".join(char if _PLAIN.match(char) else f"%{ord(char):02X}" for char in text)


def _decode(text: str, urn: str) -> str:
    if not _SPELLED.fullmatch(text):
        raise BadIdentifier(
            "charset", f"{shown(text)} in {shown(urn)}: write other characters as %XX"
        )
    return percent_decode(text)


def parse(text: str) -> Identifier:
    """An EPC URN: pure identity, class or pattern. prefix: the company prefix.

    extra: `digital_link`, and `gtin14` or `sscc`. The store key is that of the Digital Link, so
    both spellings find one record. Raises BadIdentifier.
    """
    head = _HEAD.match(bounded(text))
    if head is None:
        raise BadIdentifier("bad-scheme", f"{shown(text)} does not begin with urn:epc:")
    match = _URN.fullmatch("urn:epc:" + text[head.end() :])
    if match is None:
        raise BadIdentifier(
            "structure", f"{shown(text)}: write urn:epc:id:, urn:epc:class: or urn:epc:idpat:"
        )
    form, name, rest = match.groups()
    if form == "id" and name in OTHER_KINDS:
        return _other(name, rest)
    kind = KINDS.get(name)
    if kind is None or form not in (kind.form, "idpat"):
        raise BadIdentifier("structure", f"there is no EPC scheme {form}:{name}; see {_known()}")
    company, fields = _fields(name, kind, rest, text)
    stem = f"urn:epc:{form}:{name}:"
    if form == "idpat":
        return _pattern(kind, stem, company, fields)
    link = _link(kind, company, fields, text)
    return _identifier(stem, company, fields, link)


def _known() -> str:
    return ", ".join(f"{kind.form}:{name}" for name, kind in KINDS.items())


def _other(name: str, rest: str) -> Identifier:
    if not OTHER_KINDS[name].fullmatch(rest):
        raise BadIdentifier("structure", f"{shown(rest)} is no {name}")
    normalized = f"urn:epc:id:{name}:{rest}"
    prefix, _, suffix = rest.partition(".")
    return Identifier("epc", prefix, suffix or None, normalized, normalized.encode())


def _fields(name: str, kind: Kind, rest: str, text: str) -> tuple[str, list[str]]:
    """Company prefix, and the reference and fields after it, undone of escapes."""
    wanted = 2 + len(kind.fields)
    company, *fields = rest.split(".", wanted - 1)
    if not _DIGITS.fullmatch(company):
        raise BadIdentifier("charset", f"company prefix {shown(company)}: write digits 0 to 9")
    least, most = COMPANY_DIGITS
    if not least <= len(company) <= most:
        raise BadIdentifier(
            "length",
            f"company prefix {company} has {len(company)} digits; it has {least} to {most}",
        )
    if 1 + len(fields) < wanted:
        shape = ".".join(("company", "reference", *kind.fields))
        raise BadIdentifier("structure", f"{shown(text)} has too few parts; {name} is {shape}")
    return company, [_decode(field, text) for field in fields]


def _key(kind: Kind, company: str, reference: str) -> str:
    """Company prefix and reference in the order of the key, with zero and check digit."""
    if kind.digits is None:
        return company + reference
    if not _DIGITS.fullmatch(reference):
        raise BadIdentifier("charset", f"reference {shown(reference)}: write digits 0 to 9")
    if len(company) + len(reference) != kind.digits:
        raise BadIdentifier(
            "length",
            f"{company}.{reference} has {len(company) + len(reference)} digits; "
            f"company prefix and reference have {kind.digits} together",
        )
    body = reference[: kind.leading] + company + reference[kind.leading :]
    return ("0" if kind.zero else "") + body + check_digit(body)


def link_of(name: str, company: str, fields: Sequence[str]) -> DigitalLink:
    """The Digital Link of a kind's company prefix and fields as they are. Raises BadIdentifier."""
    return _link(KINDS[name], company, list(fields), f"{name} {company}.{'.'.join(fields)}")


def _link(kind: Kind, company: str, fields: list[str], text: str) -> DigitalLink:
    reference, *rest = fields
    if kind.digits is None and not reference:
        raise BadIdentifier("empty-suffix", f"no reference in {shown(text)}")
    value = _key(kind, company, reference)
    if kind.fields and not rest[-1]:
        raise BadIdentifier("empty-suffix", f"no {kind.fields[-1]} at the end of {shown(text)}")
    if not kind.qualifier:
        return _checked(DigitalLink(Element(kind.ai, value + "".join(rest))))
    key = Element(kind.ai, value + "".join(rest[:-1]))
    if kind.ai == "414" and rest[-1] == "0":
        return _checked(DigitalLink(key))
    return _checked(DigitalLink(key, (Element(kind.qualifier, rest[-1]),)))


def _checked(link: DigitalLink) -> DigitalLink:
    for ai, value in link.elements:
        check_value(ai, value)
    return link


def _identifier(stem: str, company: str, fields: list[str], link: DigitalLink | None) -> Identifier:
    suffix = ".".join(field if field == ANY else _encode(field) for field in fields)
    normalized = f"{stem}{company}.{suffix}"
    if link is None:
        return Identifier("epc", company, suffix, normalized, normalized.encode())
    extra: dict[str, object] = {"digital_link": link.identity}
    if link.key.ai in ("01", "8006"):
        extra["gtin14"] = link.key.value[:14]
    elif link.key.ai == "00":
        extra["sscc"] = link.key.value
    return Identifier("epc", company, suffix, normalized, link.path.encode(), extra)


def _pattern(kind: Kind, stem: str, company: str, fields: list[str]) -> Identifier:
    """A pattern of pure identities: from some field on everything is `*` (TDS §8).

    With only the last field open it names a class, which has a Digital Link; with more it names
    a company's whole range, which has none.
    """
    first = next((at for at, field in enumerate(fields) if field == ANY), len(fields))
    if first == len(fields) or any(field != ANY for field in fields[first:]):
        raise BadIdentifier(
            "structure", f"{stem}: a pattern ends in .* and has no value after the first *"
        )
    if first == 0 or first < len(fields) - 1 or not kind.fields:
        return _identifier(stem, company, fields, None)
    reference, *rest = fields[:-1]
    key = Element(kind.ai, _key(kind, company, reference) + "".join(rest))
    return _identifier(stem, company, fields, _checked(DigitalLink(key)))


def from_link(link: DigitalLink, company_digits: int) -> str:
    """The EPC URN of a Digital Link whose company prefix has that many digits.

    The finest level alone is told: a lot beside a serial is left out, attributes too.
    Raises BadIdentifier `no-urn` where a key or a level has none.
    """
    qualifiers = dict(link.qualifiers)
    kind_name = _kind_of(link, qualifiers)
    kind = KINDS[kind_name]
    least, most = COMPANY_DIGITS
    if not least <= company_digits <= most:
        raise BadIdentifier("length", f"a company prefix has {least} to {most} digits")
    company, reference, rest = _split_key(kind, link.key.value, company_digits)
    if not _DIGITS.fullmatch(company):
        raise BadIdentifier("no-urn", f"{shown(company)} is no company prefix")
    # None is an open field, which only a pattern has; a value of one asterisk is none.
    fields: list[str | None] = [reference, *rest]
    if kind.qualifier:
        fields.append(_last_field(kind, qualifiers))
    elif kind.fields and not rest:
        fields.append(None)
    form = "idpat" if None in fields else kind.form
    spelled = [ANY if field is None else _encode(field) for field in fields]
    return f"urn:epc:{form}:{kind_name}:{company}.{'.'.join(spelled)}"


def _last_field(kind: Kind, qualifiers: Mapping[str, str]) -> str | None:
    value = qualifiers.get(kind.qualifier)
    if kind.ai != "414":
        return value
    if value == "0":
        raise BadIdentifier("no-urn", "extension 0 has no URN: there it means no extension")
    return "0" if value is None else value


def _kind_of(link: DigitalLink, qualifiers: Mapping[str, str]) -> str:
    if link.key.ai == "01" and not qualifiers:
        return "sgtin"
    finest = link.qualifiers[-1].ai if link.qualifiers else None
    for name, kind in KINDS.items():
        if kind.ai == link.key.ai and finest in (None, kind.qualifier):
            return name
    raise BadIdentifier("no-urn", f"{link.identity} has no EPC URN")


def _split_key(kind: Kind, value: str, company_digits: int) -> tuple[str, str, list[str]]:
    if kind.digits is None:
        return value[:company_digits], value[company_digits:], []
    if kind.zero:
        value = value[1:]
    body, tail = value[: kind.digits], value[kind.digits + 1 :]
    end = kind.leading + company_digits
    reference = body[: kind.leading] + body[end:]
    if kind.ai == "8006":
        return body[kind.leading : end], reference, [tail[:2], tail[2:]]
    return body[kind.leading : end], reference, [tail] if tail else []
