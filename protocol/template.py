"""Templates of HS_NAMESPACE: the values of a name that has no record (Handle manual 11).

A delimiter divides the name into base and extension; the template makes values from both and from
the values of the base's record. Foreign programs run here, so work, values, octets and
expressions are bounded; over a bound, TemplateRefused is raised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from xml.sax.saxutils import escape

from protocol.errors import BiaoshiError, ParseError, ResponseCode
from protocol.record import MAX_INDEX, HandleValue, Reference
from protocol.safe_pattern import safe_pattern
from protocol.template_text import Names, data_text
from protocol.values.hs_namespace import TEMPLATE, Namespace
from protocol.xmltree import Element, parse_xml

MAX_WORK: Final = 200_000
"""Of one name, in units of about 0.2 µs: about 40 ms."""
MAX_VALUES: Final = 500
MAX_OCTETS: Final = 200_000
"""Of all types and data that are made."""
MAX_EXPRESSIONS: Final = 32
MAX_CITED: Final = 10
_ELEMENT_WORK: Final = 10
_MATCH_WORK: Final = 50
_index: Final = re.compile(r"[+-]?[0-9]{1,10}").fullmatch

Cited = Callable[[Reference], bytes | None]
"""The data of a public value that a template is taken from; None when it cannot be had."""


class TemplateRefused(BiaoshiError):
    """A template asks for more than is given, or holds an expression that is not taken."""

    code = ResponseCode.ERROR


class _NotFound(Exception):
    """`<notfound/>`: the name does not exist."""


@dataclass(frozen=True, slots=True)
class Divided:
    """A name as its delimiter divides it; each part as it was spelled."""

    handle: str
    base: str
    extension: str


def divide(handle: str, prefix_size: int, delimiter: str) -> Divided | None:
    """At the first delimiter after the prefix, whose length is given; None without one."""
    if not delimiter:
        return None
    at = handle.find(delimiter, prefix_size)
    return Divided(handle, handle[:at], handle[at + len(delimiter) :]) if at >= 0 else None


def expand(
    chain: Sequence[Namespace], name: Divided, values: Sequence[HandleValue], cited: Cited
) -> tuple[HandleValue, ...] | None:
    """The values of a name; None when it does not exist.

    chain: namespaces, the nearest first; the first with a template decides. values: all of the
    base's record, none when there is no record; what is made of one keeps its permissions, TTL
    and timestamp. Raises TemplateRefused, and what `cited` raises.
    """
    run = _Run(values, cited)
    names = Names({"handle": name.handle, "base": name.base, "extension": name.extension})
    try:
        for namespace in chain:
            if run.templates(namespace.templates, names):
                return tuple(run.made)
    except _NotFound:
        return None
    except ParseError as error:
        raise TemplateRefused(f"the template of {name.base}: {error}") from None
    return None


@dataclass(slots=True)
class _Condition:
    """The last `<if>` of a row of elements, which the `<else>` after it turns around."""

    value: str = "extension"
    parameter: str = "extension"
    test: str | None = None
    negate: bool = False
    expression: str | None = None

    @classmethod
    def of(cls, element: Element) -> _Condition:
        value = _or(element.attribute("value"), "extension")
        return cls(
            value,
            _or(element.attribute("parameter"), value),
            element.attribute("test"),
            element.attribute("negate") == "true",
            element.attribute("expression"),
        )


class _Run:
    """One evaluation and what is left of its bounds."""

    def __init__(self, values: Sequence[HandleValue], cited: Cited) -> None:
        self.made: list[HandleValue] = []
        self._values = values
        self._cited = cited
        self._work = MAX_WORK
        self._octets = MAX_OCTETS
        self._citations = 0
        self._expressions: set[str] = set()

    def templates(self, elements: Sequence[Element], names: Names) -> bool:
        """Apply each template in order. Whether there was one at all."""
        return sum([self._template(element, names) for element in elements]) > 0

    def _template(self, element: Element, names: Names) -> bool:
        reference = element.attribute("ref")
        if reference is None:
            self._elements(element, None, self.made, names)
            return True
        index, colon, handle = reference.partition(":")
        if not colon or not _index(index) or int(index) > MAX_INDEX:
            return False
        if self._citations >= MAX_CITED or int(index) < 1:
            raise _NotFound
        self._citations += 1
        data = self._cited(Reference(handle.encode(), int(index)))
        if data is None:
            raise _NotFound
        try:
            root = parse_xml(data)
        except ParseError:
            return False
        return self.templates((root,) if root.name == TEMPLATE else root.all(TEMPLATE), names)

    def _elements(
        self,
        parent: Element,
        value: HandleValue | None,
        made: list[HandleValue],
        names: Names,
    ) -> None:
        """The elements within one, in order. value: the one that a `<foreach>` is at."""
        condition = _Condition()
        for element in parent.children:
            self._spend(_ELEMENT_WORK)
            match element.name:
                case "value":
                    self._value(element, value, made, names)
                case "if":
                    condition = _Condition.of(element)
                    self._branch(condition, element, value, made, names)
                case "else":
                    condition.negate = not condition.negate
                    self._branch(condition, element, value, made, names)
                case "notfound":
                    raise _NotFound
                case "foreach" if value is None:
                    for one in self._values:
                        self._spend(_ELEMENT_WORK + len(one.data) // 64)
                        self._elements(element, one, made, names.with_value(one))
                case "def":
                    names = self._defined(element, value, names)
                case _:
                    pass  # unknown elements are passed over, as deployed software does

    def _branch(
        self,
        condition: _Condition,
        element: Element,
        value: HandleValue | None,
        made: list[HandleValue],
        names: Names,
    ) -> None:
        if condition.expression is None:
            if condition.test is None and not condition.negate:
                self._elements(element, value, made, names)
            return
        text = names.get(condition.value)
        if condition.test in (None, "equals"):
            if condition.negate != (text == condition.expression):
                self._elements(element, value, made, names.with_text(condition.parameter, text))
        elif condition.test == "matches":
            found = self._match(condition.expression, text)
            if condition.negate and found is None:
                self._elements(element, value, made, names.with_text(condition.parameter, text))
            elif not condition.negate and found is not None:
                self._elements(element, value, made, names.with_match(condition.parameter, found))

    def _match(self, expression: str, text: str) -> tuple[str, ...] | None:
        self._expressions.add(expression)
        if len(self._expressions) > MAX_EXPRESSIONS:
            raise ParseError(f"it has over {MAX_EXPRESSIONS} expressions; use fewer")
        pattern = safe_pattern(expression)
        self._spend(_MATCH_WORK + len(text) * (16 + pattern.size) // 16)
        return pattern.match_whole(text)

    def _defined(self, element: Element, value: HandleValue | None, names: Names) -> Names:
        name = element.attribute("parameter")
        if name is None:
            return names
        made: list[HandleValue] = []
        self._elements(element, value, made, names)
        return names.with_text(name, data_text(made[0].data)) if made else names

    def _value(
        self, element: Element, value: HandleValue | None, made: list[HandleValue], names: Names
    ) -> None:
        type_, data = element.attribute("type"), element.attribute("data")
        if data is None:
            data = element.text if not element.children else _as_text(element.children)
            data = data or None
        if value is None and (type_ is None or data is None):
            return
        made.sort(key=_by_index)
        if value is None:
            value, index = HandleValue(1, b"", b""), 1
        else:
            index = _index_of(element.attribute("index"), value.index)
        for other in made:
            index += index == other.index
        if len(made) >= MAX_VALUES or index > MAX_INDEX:
            raise ParseError(f"it makes over {MAX_VALUES} values, or an index over {MAX_INDEX}")
        self._spend(len(made) // 4)
        one = replace(
            value,
            index=index,
            type=value.type if type_ is None else self._filled(type_, names),
            data=value.data if data is None else self._filled(data, names),
        )
        self._take(len(one.data) + len(one.type))
        made.append(one)

    def _filled(self, text: str, names: Names) -> bytes:
        self._spend(len(text) // 8)
        filled = names.fill(text).encode()
        self._spend(len(filled) // 8)
        return filled

    def _take(self, octets: int) -> None:
        self._octets -= octets
        if self._octets < 0:
            raise ParseError(f"it makes over {MAX_OCTETS} octets of values")

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise ParseError("it takes more work than a name may; make it shorter")


def _by_index(value: HandleValue) -> int:
    return value.index


def _or(text: str | None, default: str) -> str:
    return default if text is None else text


def _index_of(text: str | None, default: int) -> int:
    """A written index; what is none, or negative, is the default."""
    written = (text or "").strip()
    if not _index(written) or not 0 <= int(written) <= MAX_INDEX:
        return default
    return int(written)


def _as_text(elements: Sequence[Element]) -> str:
    """Elements that are data: each on lines of its own, as deployed software writes them."""
    return "".join(map(_written, elements))


def _written(element: Element) -> str:
    head = element.name + "".join(f' {name}="{_quoted(v)}"' for name, v in element.attributes)
    if element.children:
        return f"<{head}>\n{_as_text(element.children)}</{element.name}>\n"
    inner = _quoted(element.text)
    return f"<{head}>{inner}</{element.name}>\n" if inner else f"<{head}/>\n"


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&#39;"})
