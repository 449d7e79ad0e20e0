"""GS1 element strings: bracketed `(01)…(21)…` and raw with FNC1 (GS1 General Specifications §7.8).

Gives pairs of AI and value, each checked against the AI table, and checks which stand together.
What such pairs identify is the business of gs1_link.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from protocol.errors import BadIdentifier
from protocol.schemes.base import bounded, shown
from protocol.schemes.gs1_ai import AIS, Ai, leading_ai, matches
from protocol.schemes.gs1_checks import CHARACTER_NAMES, CHARACTERS, CHECKS

GS = "\x1d"
"""FNC1 as a reader sends it between values: ASCII group separator."""

SYMBOLOGIES = ("]C1", "]e0", "]d2", "]Q3", "]J1", "]L2")
"""Symbology identifiers that announce GS1 element strings."""


class Element(NamedTuple):
    """One AI and its value."""

    ai: str
    value: str


def known(ai: str) -> Ai:
    """The row of an AI. Raises BadIdentifier `unknown-ai`."""
    row = AIS.get(ai)
    if row is None:
        raise BadIdentifier("unknown-ai", f"there is no Application Identifier {shown(ai)}")
    return row


def check_value(ai: str, value: str) -> None:
    """The value's length, characters, check digits and content. Raises BadIdentifier."""
    row = known(ai)
    at = 0
    for part in row.parts:
        left = len(value) - at
        if part.optional and not left:
            break
        if left < part.least:
            raise _wrong_length(row, value)
        text = value[at : at + part.most]
        if not CHARACTERS[part.kind].fullmatch(text):
            raise BadIdentifier(
                "charset",
                f"({ai}) takes {CHARACTER_NAMES[part.kind]} there, not {shown(text)}",
            )
        at += len(text)
        for check in part.checks:
            _run_check(row, check, text)
    if at < len(value):
        raise _wrong_length(row, value)


def _run_check(row: Ai, check: str, text: str) -> None:
    try:
        CHECKS[check](text)
    except BadIdentifier as error:
        raise BadIdentifier(error.reason, f"({row.ai}) {row.title}: {error}") from None


def _wrong_length(row: Ai, value: str) -> BadIdentifier:
    least = sum(part.least for part in row.parts if not part.optional)
    most = sum(part.most for part in row.parts)
    takes = str(least) if least == most else f"{least} to {most}"
    return BadIdentifier(
        "length",
        f"({row.ai}) {row.title} takes {takes} characters; {shown(value)} has {len(value)}",
    )


def check_together(elements: Sequence[Element], free: Collection[str] = ()) -> None:
    """Which AIs need or bar each other. free: AIs whose company needs no reason.

    An AI may stand twice with one value, never with two. Raises BadIdentifier `pairing` or
    `duplicate-ai`.
    """
    values: dict[str, str] = {}
    for ai, value in elements:
        if values.setdefault(ai, value) != value:
            raise BadIdentifier("duplicate-ai", f"({ai}) stands twice with different values")
    for ai in values:
        row = known(ai)
        for other in values:
            if other != ai and any(matches(pattern, other) for pattern in row.bars):
                raise BadIdentifier("pairing", f"({ai}) {row.title} may not stand beside ({other})")
        if row.needs and ai not in free and not _satisfied(row, values):
            needed = " or ".join("+".join(group) for group in row.needs)
            raise BadIdentifier("pairing", f"({ai}) {row.title} needs {needed} beside it")
    if _SIGNATURE in values:
        _check_signed(values)


_SIGNATURE = "8030"
_KEYS_OF_MANY = ("253", "255", "8003")


def _check_signed(values: Mapping[str, str]) -> None:
    """A digital signature is of one thing: a key with a serial of its own must have it."""
    for ai in _KEYS_OF_MANY:
        least = sum(part.least for part in known(ai).parts if not part.optional)
        if len(values.get(ai, "")) == least:
            raise BadIdentifier("pairing", f"({_SIGNATURE}) needs a serial in ({ai})")


def _satisfied(row: Ai, present: Collection[str]) -> bool:
    return any(
        all(any(matches(pattern, ai) for ai in present if ai != row.ai) for pattern in group)
        for group in row.needs
    )


_BRACKETED = re.compile(r"(?:\([0-9]{2,4}\))")
_UNESCAPED = re.compile(r"(?<!\\)\(([0-9]{2,4})\)")


def parse_bracketed(text: str) -> tuple[Element, ...]:
    r"""`(01)…(21)…`; inside a value an AI in brackets is escaped as `\(01)`.

    Every value is checked; whether they may stand together is not.
    """
    bounded(text)
    if not _BRACKETED.match(text):
        raise BadIdentifier("structure", f"{shown(text)} does not begin with an AI such as (01)")
    # Splitting at one group gives text, ai, value, ai, value …
    pieces = _UNESCAPED.split(text)
    elements = tuple(
        Element(ai, value.replace("\\(", "("))
        for ai, value in zip(pieces[1::2], pieces[2::2], strict=True)
    )
    for ai, value in elements:
        check_value(ai, value)
    return elements


def format_bracketed(elements: Sequence[Element]) -> str:
    """The inverse of parse_bracketed; every opening bracket of a value is escaped."""
    return "".join(f"({ai}){value.replace('(', chr(92) + '(')}" for ai, value in elements)


def parse_raw(text: str) -> tuple[Element, ...]:
    """A scanned element string: optional symbology identifier, FNC1 as GS (or all as `^`).

    A value of predefined length ends by itself; any other at FNC1 or at the end.
    """
    rest = bounded(text)
    for symbology in SYMBOLOGIES:
        if rest.startswith(symbology):
            rest = rest[len(symbology) :]
            break
    if rest.startswith("^"):
        rest = rest.replace("^", GS)
    rest = rest.removeprefix(GS)
    elements: list[Element] = []
    while rest:
        row = leading_ai(rest)
        if row is None:
            raise BadIdentifier(
                "unknown-ai", f"{shown(rest)} begins with no Application Identifier"
            )
        rest = rest[len(row.ai) :]
        if row.fixed:
            size = sum(part.most for part in row.parts)
            value, rest = rest[:size], rest[size:].removeprefix(GS)
        else:
            value, _, rest = rest.partition(GS)
        check_value(row.ai, value)
        elements.append(Element(row.ai, value))
    if not elements:
        raise BadIdentifier("empty", "no element string was given; write (01) and a GTIN")
    return tuple(elements)


def format_raw(elements: Sequence[Element]) -> str:
    """The inverse of parse_raw, without symbology identifier."""
    out = ""
    for at, (ai, value) in enumerate(elements):
        last = at == len(elements) - 1
        out += ai + value + ("" if last or known(ai).fixed else GS)
    return out
