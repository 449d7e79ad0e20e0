"""MATCH_ parameters: objects by identifier, class or pattern, in whatever form either is written.

A value matches an object if it is the same thing, or stands above it: a class matches its lots and
serials, a pattern with open fields everything it spans (traceability §3.5, TDS §8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from protocol.epcis.errors import QueryParameterException
from protocol.epcis.identity import canonical_id, level_of, parents_of
from protocol.epcis.query_values import shown
from protocol.schemes.epc import ANY, KINDS, OTHER_KINDS
from protocol.schemes.gs1_link import CANONICAL

_PATTERN: Final = re.compile(r"urn:epc:idpat:([a-z]+):(.+)", re.IGNORECASE)
_MOST_DIGITS: Final = 12


class Matcher:
    """The alternatives of one MATCH_ parameter."""

    def __init__(self, name: str, texts: Sequence[str]) -> None:
        self.ids: frozenset[str] = frozenset(
            canonical_id(text) for text in texts if not _is_open(text)
        )
        # Only what others may lie below makes the way up worth while.
        self._above = any(level_of(identity) != "item" for identity in self.ids)
        self._ranges = tuple(_range(name, text) for text in texts if _is_open(text))

    @property
    def exact(self) -> bool:
        """Whether `ids` say it all, so that an index finds every match."""
        return not self._ranges

    def holds(self, text: str) -> bool:
        """Whether an object of an event is one of them."""
        identity = canonical_id(text)
        if identity in self.ids:
            return True
        if self._above and any(parent in self.ids for parent in parents_of(text)):
            return True
        return any(found.holds(identity) for found in self._ranges)


class _Range(NamedTuple):
    """What a pattern with an open company or reference spans."""

    shape: re.Pattern[str]

    def holds(self, identity: str) -> bool:
        return self.shape.fullmatch(identity) is not None


def _is_open(text: str) -> bool:
    """A pattern that has no canonical form: more than its last field is open."""
    return _PATTERN.fullmatch(text) is not None and "*" in canonical_id(text)


def _range(name: str, text: str) -> _Range:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise QueryParameterException(f"{name}: {shown(text)} is no pattern")
    scheme, rest = match[1].lower(), match[2]
    fields = rest.split(".")
    first = next((at for at, field in enumerate(fields) if field == ANY), len(fields))
    wild = any(ANY in field for field in fields[:first]) or set(fields[first:]) - {ANY}
    if wild or scheme not in {**KINDS, **OTHER_KINDS}:
        raise QueryParameterException(
            f"{name}: {shown(text)} is no pattern; from some field on every field is *"
        )
    return _Range(re.compile(_shape(scheme, fields[:first]), re.DOTALL))


def _shape(scheme: str, fixed: Sequence[str]) -> str:
    """The expression of canonical identifiers below the fixed fields of a scheme."""
    kind = KINDS.get(scheme)
    if kind is None or len(fixed) > 1:
        stem = "".join(re.escape(field) + r"\." for field in fixed)
        return rf"(?i:urn:epc):id:{scheme}:{stem}.+"
    company = fixed[0] if fixed else ""
    if not re.fullmatch(rf"[0-9]{{0,{_MOST_DIGITS}}}", company):
        raise QueryParameterException(f"{shown(company)} is no company prefix")
    before = ("0" if kind.zero else "") + f"[0-9]{{{kind.leading}}}"
    tail = rf"/{kind.qualifier}/[^/]+" if kind.qualifier else ""
    if kind.ai == "414":
        tail = f"(?:{tail})?"
    return rf"{re.escape(CANONICAL)}/{kind.ai}/{before}{company}[^/]*{tail}"


MATCH_INSTANCES: Final[Mapping[str, tuple[str, ...]]] = {
    "MATCH_epc": ("epcList", "childEPCs"),
    "MATCH_parentID": ("parentID",),
    "MATCH_inputEPC": ("inputEPCList",),
    "MATCH_outputEPC": ("outputEPCList",),
    "MATCH_anyEPC": ("epcList", "childEPCs", "parentID", "inputEPCList", "outputEPCList"),
}
"""Fields of single objects that each parameter looks at."""
MATCH_CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "MATCH_epcClass": ("quantityList", "childQuantityList"),
    "MATCH_inputEPCClass": ("inputQuantityList",),
    "MATCH_outputEPCClass": ("outputQuantityList",),
    "MATCH_anyEPCClass": (
        "quantityList",
        "childQuantityList",
        "inputQuantityList",
        "outputQuantityList",
    ),
}
"""Fields of quantities that each parameter looks at."""
