"""Grants: who besides the administrators sees values and events of level 2.

The grants of a prefix P are the values of type `0.GRANT` of the record `P/0.GRANTS`, every value of
which is labelled 3: they are written, signed, logged, mirrored and backed up like any record, and
to others the record is not there. Who writes it must hold READ_VALUE and MODIFY_ADMIN for P.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from protocol.epcis.vocabulary import BIZ_STEP, EPCIS, word
from protocol.errors import InvalidValue, ParseError
from protocol.identifier import key_of
from protocol.labels import CLASSES, Label
from protocol.record import HandleValue, Reference, type_matches
from protocol.strict_json import parse_json, whole
from registry.store.row import checked, decode_row, row_version, store_key

GRANT: Final = b"0.GRANT"
GRANTS: Final = b"/0.GRANTS"
"""What follows the prefix in the name of the record of its grants."""
_MEMBERS: Final = frozenset(
    ("to", "identifier", "under", "class", "type", "purpose", "until", "event", "step")
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TEXT: Final = 2_048


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant. to: an identity, or a list (HS_VLIST) of some. None: not narrowed.

    identifier: this record only (folded). under: names that begin so (folded). data_class: of the
    label. type: of the value, as queries name types (`URL.` takes every URL.x); of an event,
    the name of a field. purpose: must be that of the label. until: seconds since 1970. event, step:
    events of this type, with this bizStep; a grant that has one opens no value of a record.
    """

    to: Reference
    identifier: bytes | None = None
    under: bytes | None = None
    data_class: str | None = None
    type: bytes | None = None
    purpose: str | None = None
    until: int | None = None
    event: str | None = None
    step: str | None = None

    def concerns(self, folded: bytes, now_s: float) -> bool:
        """Whether it is about a record, and holds now. folded: its key."""
        if self.until is not None and now_s >= self.until:
            return False
        if self.identifier is not None and folded != self.identifier:
            return False
        return self.under is None or folded.startswith(self.under)

    def covers(self, type_: bytes, label: Label) -> bool:
        """Whether it opens a value of this type, labelled so."""
        if self.event is not None or self.step is not None or not self.suits(label):
            return False
        return self.type is None or type_matches(self.type, type_)

    def suits(self, label: Label) -> bool:
        """Whether it is for what is labelled so."""
        if self.data_class is not None and label.get("class") != self.data_class:
            return False
        return label.get("purpose") == self.purpose or label.get("purpose") is None

    def shape(self) -> dict[str, Any]:
        """As JSON has it."""
        shape = {
            "to": self.to.text(),
            "identifier": _shown(self.identifier),
            "under": _shown(self.under),
            "class": self.data_class,
            "type": _shown(self.type),
            "purpose": self.purpose,
            "until": self.until,
            "event": self.event,
            "step": self.step,
        }
        return {name: said for name, said in shape.items() if said is not None}


def make_grant(shape: Any) -> Grant:
    """A grant from its JSON. Raises InvalidValue naming the member."""
    if not isinstance(shape, Mapping) or not shape.keys() <= _MEMBERS:
        raise InvalidValue(f"a grant is an object of {', '.join(sorted(_MEMBERS))}")
    texts = {name: _text(shape, name) for name in _MEMBERS - {"until"}}
    to = Reference.parse(texts["to"] or "")
    if not to.handle or to.index == 0:
        raise InvalidValue("`to` of a grant is an identity or a list, such as 300:0.NA/88.118.8")
    if texts["class"] is not None and texts["class"] not in CLASSES:
        raise InvalidValue(f"the `class` of a grant is one of {', '.join(CLASSES)}")
    names = {
        n: key_of(text.encode()) if (text := texts[n]) else None for n in ("identifier", "under")
    }
    type_ = texts["type"]
    return Grant(
        to,
        names["identifier"],
        names["under"],
        texts["class"],
        type_.encode() if type_ else None,
        texts["purpose"],
        _until(shape.get("until")),
        event.removeprefix(EPCIS) if (event := texts["event"]) else None,
        word(BIZ_STEP, step) if (step := texts["step"]) else None,
    )


def parse_grant(data: bytes) -> Grant:
    """The data of a 0.GRANT value. Raises InvalidValue or ParseError."""
    return make_grant(parse_json(data, "the grant"))


def format_grant(grant: Grant) -> bytes:
    """The data of a 0.GRANT value."""
    return orjson.dumps(grant.shape(), option=orjson.OPT_SORT_KEYS)


def grants_record(prefix: bytes) -> bytes:
    """The name of the record of a prefix's grants."""
    return prefix + GRANTS


def is_grant(value: HandleValue) -> bool:
    """Whether a value is a grant."""
    return value.type.upper() == GRANT


class Grants:
    """The grants of the prefixes here, read again when their record changes."""

    def __init__(self, get: Callable[[bytes], bytes | None]) -> None:
        """get: rows of records."""
        self._get = get
        self._known: dict[bytes, tuple[int, tuple[Grant, ...]]] = {}

    def of(self, prefix: bytes) -> tuple[Grant, ...]:
        """The grants of a folded prefix. One that cannot be read grants nothing."""
        raw = self._get(store_key(grants_record(prefix)))
        if raw is None:
            self._known.pop(prefix, None)
            return ()
        version = row_version(checked(raw))
        known = self._known.get(prefix)
        if known is None or known[0] != version:
            known = self._known[prefix] = version, _read(raw)
        return known[1]


def _read(raw: bytes) -> tuple[Grant, ...]:
    found = []
    for value in decode_row(raw).values():
        if is_grant(value):
            try:
                found.append(parse_grant(value.data))
            except (InvalidValue, ParseError):
                continue
    return tuple(found)


def _text(shape: Mapping[str, Any], name: str) -> str | None:
    text = shape.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= _TEXT or _CONTROL.search(text):
        raise InvalidValue(f"`{name}` of a grant is a text of at most {_TEXT} characters")
    return text


def _until(said: Any) -> int | None:
    """Seconds since 1970, or a date and time with its zone."""
    said = whole(said)
    if said is None or (type(said) is int and 0 <= said < 1 << 40):
        return said
    if isinstance(said, str):
        try:
            when = datetime.fromisoformat(said)
        except ValueError:
            when = None
        if when is not None and when.tzinfo is not None:
            return int(when.timestamp())
    raise InvalidValue(
        f"`until` of a grant is such as 2027-01-01T00:00:00+08:00 or seconds, not {said!r:.60}"
    )


def _shown(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("utf-8", "replace")
