"""Labels: which values of a record are not for everybody (plan §10).

The labels of a record are one value of type `0.LABEL`, a JSON object from an index, or `*` for all
others, to {"class": product|production|operation|management|external, "level": 1|2|3, "purpose"?,
"retain_until"?}. Level 1 is public, 2 is for granted partners, 3 stays with the owner.

What is hidden is not there for whoever may not see it; nor is what would show it: the labels
themselves, and signatures that list a hidden value. Who sees what is decided by registry.labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from protocol.errors import InvalidValue, ParseError
from protocol.record import MAX_INDEX, HandleValue
from protocol.strict_json import parse_json

LABEL: Final = b"0.LABEL"
EVERY: Final = "*"
PUBLIC: Final = 1
GRANTED: Final = 2
PRIVATE: Final = 3
LEVELS: Final = (PUBLIC, GRANTED, PRIVATE)
CLASSES: Final = ("product", "production", "operation", "management", "external")
MOST_GROUPS: Final = 32
"""Kinds of hidden values in a record (by type and label): each has a signature of its own."""
_MEMBERS: Final = frozenset(("class", "level", "purpose", "retain_until"))
_SIGNATURE: Final = b"HS_SIGNATURE"

Label = Mapping[str, Any]
Sees = Callable[[HandleValue, Label], bool]
"""Whether somebody may see a value that is labelled so."""

CLOSED: Final[Label] = {"class": "operation", "level": PRIVATE}
"""The label of everything where the labels cannot be read."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a 0.LABEL value says. named: by index. every: of all other values."""

    named: Mapping[int, Label]
    every: Label | None = None

    def of(self, index: int) -> Label | None:
        """The label of a value; None: it has none and is public."""
        return self.named.get(index, self.every)

    def all(self) -> Iterable[Label]:
        """Every label that stands there."""
        return [*self.named.values(), *([self.every] if self.every is not None else ())]


def check_label(label: Any) -> dict[str, Any]:
    """A label that may be set, its members in order. Raises InvalidValue."""
    if not isinstance(label, Mapping):
        raise InvalidValue("a label is an object with `class` and `level`")
    level, class_ = label.get("level", GRANTED), label.get("class", "operation")
    if type(level) is not int or level not in LEVELS:
        raise InvalidValue(f"the `level` of a label is 1, 2 or 3, not {level!r:.40}")
    if class_ not in CLASSES:
        raise InvalidValue(f"the `class` of a label is one of {', '.join(CLASSES)}")
    unknown = label.keys() - _MEMBERS
    if unknown:
        raise InvalidValue(f"a label has no member {min(map(str, unknown))!r:.40}")
    for name in ("purpose", "retain_until"):
        if name in label and (not isinstance(label[name], str) or len(label[name]) > 200):
            raise InvalidValue(f"`{name}` of a label is a text of at most 200 characters")
    return dict(sorted({**label, "class": class_, "level": level}.items()))


def level_of(label: Label | None) -> int:
    """The level a label says; 2 where it says none, 3 where it says something else."""
    level = GRANTED if label is None else label.get("level", GRANTED)
    return level if type(level) is int and level in LEVELS else PRIVATE


def level_at(labels: Labels | None, index: int) -> int:
    """The level of a value: 1 where nothing labels it."""
    label = None if labels is None else labels.of(index)
    return PUBLIC if label is None else level_of(label)


def make_labels(shape: Any) -> Labels:
    """Labels from {"INDEX" or "*": label}. Raises InvalidValue."""
    if not isinstance(shape, Mapping):
        raise InvalidValue(
            'labels are an object such as {"2": {"class": "production", "level": 2}}'
        )
    named: dict[int, Label] = {}
    every: Label | None = None
    for name, label in shape.items():
        if name == EVERY:
            every = check_label(label)
            continue
        text = str(name)
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) <= MAX_INDEX:
            raise InvalidValue(f"a label stands for an index or `*`, not for {text!r:.40}")
        if int(text) in named:
            raise InvalidValue(f"two labels stand for the value {int(text)}")
        named[int(text)] = check_label(label)
    return Labels(named, every)


def parse_labels(data: bytes) -> Labels:
    """The data of a 0.LABEL value. Raises InvalidValue or ParseError."""
    return make_labels(parse_json(data, "the labels"))


def format_labels(labels: Labels) -> bytes:
    """The data of a 0.LABEL value."""
    shape: dict[str, Label] = {str(index): labels.named[index] for index in sorted(labels.named)}
    if labels.every is not None:
        shape[EVERY] = labels.every
    return orjson.dumps(shape)


def is_label(value: HandleValue) -> bool:
    """Whether a value holds labels."""
    type_ = value.type
    return len(type_) == len(LABEL) and type_.upper() == LABEL


def labels_in(values: Iterable[HandleValue]) -> Labels | None:
    """The labels of a record; None where there are none. What cannot be read closes everything."""
    found: Labels | None = None
    for value in values:
        type_ = value.type
        if len(type_) != len(LABEL) or type_.upper() != LABEL:
            continue
        if found is not None:
            return Labels({}, CLOSED)
        try:
            found = parse_labels(value.data)
        except (InvalidValue, ParseError):
            return Labels({}, CLOSED)
    return found


def is_public(_value: HandleValue, label: Label) -> bool:
    """What everybody sees."""
    return level_of(label) == PUBLIC


def hidden(values: Sequence[HandleValue], sees: Sees = is_public) -> frozenset[int]:
    """The indexes of what is not there for somebody; by default for anybody."""
    labels = labels_in(values)
    if labels is None:
        return frozenset()
    closed: set[int] = set()
    later: list[HandleValue] = []
    holder: HandleValue | None = None
    for value in values:
        if is_label(value):
            holder = value
            closed.add(value.index)
        elif value.type.upper() == _SIGNATURE:
            later.append(value)
            own = labels.named.get(value.index)
            if own is not None and not sees(value, own):
                closed.add(value.index)
        else:
            label = labels.of(value.index)
            if label is not None and not sees(value, label):
                closed.add(value.index)
    if holder is not None and all(sees(holder, label) for label in labels.all()):
        closed.discard(holder.index)
    if closed:
        there = {value.index for value in values}
        for value in later:
            listed = _listed(value.data) & there
            if not listed or listed & closed:
                closed.add(value.index)
    return frozenset(closed)


def open_values(values: Sequence[HandleValue]) -> tuple[HandleValue, ...]:
    """What everybody sees of a record: publicly readable, and not hidden by a label."""
    closed = hidden(values)
    return tuple(v for v in values if v.public and v.index not in closed)


def unlabelled(values: Sequence[HandleValue]) -> tuple[HandleValue, ...]:
    """What no label hides; permissions may."""
    closed = hidden(values)
    return tuple(values) if not closed else tuple(v for v in values if v.index not in closed)


def is_unseen(values: Sequence[HandleValue]) -> bool:
    """Whether a record looks as if it did not exist: labels hide all of its values."""
    closed = hidden(values)
    return bool(closed) and all(value.index in closed for value in values)


def groups(values: Sequence[HandleValue]) -> list[tuple[HandleValue, ...]]:
    """The hidden values of a record, those together that the same grants open.

    A grant opens values by their type and their label: what is alike in both is seen together or
    not at all, so one signature over each group never shows that another group is there.
    """
    labels, closed = labels_in(values), hidden(values)
    found: dict[tuple[bytes, bytes], list[HandleValue]] = {}
    for value in values:
        if labels is None or value.index not in closed or is_label(value):
            continue
        type_ = value.type.upper()
        if type_ == _SIGNATURE or not value.public:
            continue
        key = (type_, orjson.dumps(labels.of(value.index), option=orjson.OPT_SORT_KEYS))
        found.setdefault(key, []).append(value)
    return [tuple(group) for group in found.values()]


def _listed(data: bytes) -> set[int]:
    """The indexes that a signature lists; none where it cannot be read."""
    from protocol.jws import parse_jws
    from protocol.signature import parse_signature

    try:
        return {index for index, _ in parse_signature(parse_jws(data)).digests}
    except ParseError:
        return set()


LABEL_INDEX: Final = 500
"""Where labels go that come without an index: here, or at the next that is free."""


def parse_label_text(text: str) -> dict[str, Any]:
    """`CLASS:LEVEL`, `CLASS:LEVEL:PURPOSE` or `LEVEL`, as columns and options have it.

    Raises InvalidValue.
    """
    first, *rest = text.strip().split(":", 2)
    words = [first, *rest] if rest else ["operation", first]
    if not words[1].isascii() or not words[1].isdigit():
        raise InvalidValue(
            f"a label is written CLASS:LEVEL, such as production:2, not {text!r:.60}"
        )
    shape: dict[str, Any] = {"class": words[0], "level": int(words[1][:9])}
    if len(words) > 2:
        shape["purpose"] = words[2]
    return check_label(shape)


def with_labels(values: Sequence[HandleValue], shape: Any) -> tuple[HandleValue, ...]:
    """The values and a 0.LABEL value among them.

    shape: from an index, `*` or a value type to a label, or to its text. An index wins over a
    type. Raises InvalidValue.
    """
    if not isinstance(shape, Mapping):
        raise InvalidValue(
            '`labels` is an object such as {"2": {"class": "production", "level": 2}}'
        )
    if any(map(is_label, values)):
        raise InvalidValue("give either `labels` or a 0.LABEL value, not both")
    named: dict[str, Any] = {}
    for name, label in sorted(shape.items(), key=lambda item: str(item[0]).isdigit()):
        said = parse_label_text(label) if isinstance(label, str) else label
        text = str(name)
        if text == EVERY or text.isdigit():
            named[text] = said
            continue
        wanted = text.upper().encode("utf-8", "replace")
        found = [value.index for value in values if value.type.upper() == wanted]
        if not found:
            raise InvalidValue(f"`labels` names {text!r:.60}, and the record has no such value")
        named.update((str(index), said) for index in found)
    taken, index = {value.index for value in values}, LABEL_INDEX
    while index in taken:
        index += 1
    return (*values, HandleValue(index, LABEL, format_labels(make_labels(named))))
