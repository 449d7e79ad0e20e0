"""OID: dotted, `urn:oid:`, ASN.1 braces and OID-IRI (X.660, RFC 3061; industrial-identifiers §10.1).

Arcs are digits, never integers: they have no upper bound, and int() takes spellings that BER
cannot carry. Domain names of the resolution system stand in protocol.naptr.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from protocol.errors import BadIdentifier
from protocol.schemes.base import MAX_HANDLE_BYTES, Identifier, bounded, shown

_NUMBER = re.compile(r"0|[1-9][0-9]*")
_DIGITS = re.compile(r"[0-9]+")
_PREFIXED = re.compile(r"(?:urn:)?oid:", re.IGNORECASE)
_NAMED_ARC = re.compile(r"[a-z](?:-?[A-Za-z0-9])*\(([^()]*)\)")
MAX_LABEL = 100
"""Characters of one Unicode label."""

WELL_KNOWN = {
    (): {
        "itu-t": "0",
        "ccitt": "0",
        "itu-r": "0",
        "iso": "1",
        "joint-iso-itu-t": "2",
        "joint-iso-ccitt": "2",
    },
    ("0",): {
        "recommendation": "0",
        "question": "1",
        "administration": "2",
        "network-operator": "3",
        "identified-organization": "4",
        "r-recommendation": "5",
    },
    ("0", "0"): {chr(ord("a") + at): str(at + 1) for at in range(26)},
    ("1",): {
        "standard": "0",
        "registration-authority": "1",
        "member-body": "2",
        "identified-organization": "3",
    },
}
"""Names that ASN.1 lets stand without their number (X.680 §32.7), by the arcs before them."""

LABELS = {
    (): {"itu-t": "0", "iso": "1", "joint-iso-itu-t": "2"},
    ("0",): {
        "recommendation": "0",
        "administration": "2",
        "network-operator": "3",
        "identified-organization": "4",
        "r-recommendation": "5",
    },
    ("1",): {
        "standard": "0",
        "registration-authority": "1",
        "member-body": "2",
        "identified-organization": "3",
    },
    ("2",): {
        "asn.1": "1",
        "country": "16",
        "uuid": "25",
        "tag-based": "27",
        "bip": "41",
        "telebiometrics": "42",
        "cybersecurity": "48",
        "alerting": "49",
        "oidresolutionsystem": "50",
        "gs1": "51",
        "example": "999",
    },
}
"""Unicode labels with a known number, lower case, by the arcs before them (X.660 annex A)."""

LONG_ARCS = LABELS[("2",)]
"""Labels that jump from the root to a child of 2: `/Example` is 2.999."""


def parse(text: str) -> Identifier:
    """An OID in any spelling; normalized is dotted.

    An OID-IRI with a label whose number nobody here knows keeps its labels as normalized form.
    extra: `urn` (where dotted) and `labels`, the arcs or labels as written, for domain names.
    Raises BadIdentifier.
    """
    rest = bounded(text)
    prefixed = _PREFIXED.match(rest)
    if prefixed:
        rest = rest[prefixed.end() :]
        if not rest:
            raise BadIdentifier("empty", f"no arcs after {shown(text)}; write urn:oid:1.2.156")
    if len(rest) > MAX_HANDLE_BYTES:
        raise BadIdentifier(
            "too-long", f"{len(rest)} characters; an OID here has at most {MAX_HANDLE_BYTES}"
        )
    if not prefixed and rest.startswith("/"):
        return _from_iri(rest)
    arcs = _asn1_arcs(rest) if not prefixed and rest.startswith("{") else _dotted_arcs(rest)
    check_arcs(arcs)
    return _dotted(arcs, arcs)


def _dotted(arcs: Sequence[str], labels: Sequence[str]) -> Identifier:
    normalized = ".".join(arcs)
    extra = {"urn": f"urn:oid:{normalized}", "labels": tuple(labels)}
    key = normalized.encode()
    return Identifier("oid", ".".join(arcs[:-1]), arcs[-1], normalized, key, extra)


def _dotted_arcs(text: str) -> list[str]:
    if "/" in text:
        raise BadIdentifier(
            "structure", f"{shown(text)} has a slash; an OID-IRI begins with one: /ISO/Member-Body"
        )
    return [check_arc(arc, text) for arc in text.split(".")]


def check_arc(arc: str, text: str) -> str:
    """The arc, if it is digits without a leading zero."""
    if not arc:
        raise BadIdentifier("empty-arc", f"empty arc in {shown(text)}; remove the extra separator")
    if not _DIGITS.fullmatch(arc):
        raise BadIdentifier(
            "bad-arc", f"{shown(arc)} in {shown(text)} is no arc; write digits 0 to 9 alone"
        )
    if not _NUMBER.fullmatch(arc):
        raise BadIdentifier(
            "leading-zero",
            f"arc {shown(arc)} begins with 0, which no encoding can carry; "
            f"{arc.lstrip('0') or '0'} would be another identifier",
        )
    return arc


def check_arcs(arcs: Sequence[str]) -> None:
    """At least two; the first 0 to 2; the second at most 39 below 0 and 1 (X.690 §8.19)."""
    if len(arcs) < 2:
        raise BadIdentifier(
            "too-few-arcs", f"{shown('.'.join(arcs))} has one arc; write two or more"
        )
    first, second = arcs[0], arcs[1]
    if first not in ("0", "1", "2"):
        raise BadIdentifier("first-arc", f"first arc {shown(first)}; it is 0, 1 or 2")
    if first != "2" and (len(second) > 2 or int(second) > 39):
        raise BadIdentifier(
            "second-arc", f"second arc {shown(second)}; below {first} it is at most 39"
        )


def _asn1_arcs(text: str) -> list[str]:
    if not text.endswith("}"):
        raise BadIdentifier("structure", f"{shown(text)} is not closed; end it with a brace")
    words = text[1:-1].split(" ")
    arcs: list[str] = []
    for word in words:
        if word:
            arcs.append(_asn1_arc(word, tuple(arcs), text))
    if not arcs:
        raise BadIdentifier("empty", f"no arcs in {shown(text)}; write {{iso(1) 2 156}}")
    return arcs


def _asn1_arc(word: str, before: tuple[str, ...], text: str) -> str:
    named = _NAMED_ARC.fullmatch(word)
    if named:
        return check_arc(named[1], text)
    if _DIGITS.fullmatch(word):
        return check_arc(word, text)
    number = WELL_KNOWN.get(before, {}).get(word)
    if number is None:
        raise BadIdentifier(
            "bad-arc", f"{shown(word)} in {shown(text)} has no known number; write {word[:40]}(n)"
        )
    return number


def _from_iri(text: str) -> Identifier:
    labels = text[1:].split("/")
    arcs: list[str] = []
    rest: list[str] = []
    for label in labels:
        _check_label(label, text)
        if rest:
            rest.append(label)
            continue
        number = label if _DIGITS.fullmatch(label) else _number_of(label, tuple(arcs))
        if number is not None:
            arcs.extend(number.split("."))
        elif arcs:
            rest.append(label)
        else:
            raise BadIdentifier(
                "bad-arc",
                f"no arc named {shown(label)} leaves the root; "
                "begin with /ISO, /ITU-T, /Joint-ISO-ITU-T or a registered long arc",
            )
    if not rest:
        check_arcs(arcs)
        return _dotted(arcs, labels)
    parent = "/" + "/".join(labels[:-1])
    key = "/" + "/".join((*arcs, *rest))  # however the labels with known numbers were written
    return Identifier("oid", parent, labels[-1], text, key.encode(), {"labels": tuple(labels)})


def _number_of(label: str, before: tuple[str, ...]) -> str | None:
    folded = label.lower()
    if not before and folded in LONG_ARCS:
        return f"2.{LONG_ARCS[folded]}"
    return LABELS.get(before, {}).get(folded)


def _check_label(label: str, text: str) -> None:
    """A number, or letters, digits, marks and `-._~`, no hyphen at an end (X.660 §7.5)."""
    if not label or _DIGITS.fullmatch(label):
        check_arc(label, text)
        return
    bad = next((char for char in label if not _label_character(char)), None)
    if bad is not None or label[0] == "-" or label[-1] == "-" or len(label) > MAX_LABEL:
        raise BadIdentifier(
            "bad-arc",
            f"{shown(label)} in {shown(text)} is no label; write letters, digits and inner "
            f"hyphens, at most {MAX_LABEL}",
        )
    if not unicodedata.is_normalized("NFC", label):
        raise BadIdentifier("not-nfc", f"label {shown(label)} is not in Unicode form C; compose it")


def _label_character(char: str) -> bool:
    if char.isascii():
        return char.isalnum() or char in "-._~"
    return unicodedata.category(char)[0] in "LM"
