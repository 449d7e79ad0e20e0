"""Small XML documents as trees: no document type, no entities, bounded.

Only what values of handles need. Raises ParseError on everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat  # bounded below: no DTD, so no entity can be declared
from xml.sax.saxutils import escape, quoteattr

from protocol.errors import ParseError

MAX_OCTETS = 65_536
MAX_DEPTH = 32
MAX_ELEMENTS = 4_096


@dataclass(frozen=True, slots=True)
class Element:
    """One element. text: all character data directly in it, joined; its place is not kept."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: tuple[Element, ...] = ()
    text: str = ""

    def attribute(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)

    def first(self, name: str) -> Element | None:
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> tuple[Element, ...]:
        return tuple(child for child in self.children if child.name == name)


@dataclass(slots=True)
class _Open:
    name: str
    attributes: tuple[tuple[str, str], ...]
    children: list[Element]
    texts: list[str]

    def close(self) -> Element:
        return Element(
            self.name, self.attributes, tuple(self.children), "".join(self.texts).strip()
        )


class _Builder:
    """Takes expat's events; the document is `root` in the end."""

    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._count = 0
        self.root: Element | None = None

    def start(self, name: str, attributes: list[str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._stack) >= MAX_DEPTH:
            raise ParseError(f"XML with over {MAX_ELEMENTS} elements or deeper than {MAX_DEPTH}")
        pairs = tuple(zip(attributes[::2], attributes[1::2], strict=True))
        self._stack.append(_Open(name, pairs, [], []))

    def end(self, _name: str) -> None:
        element = self._stack.pop().close()
        if self._stack:
            self._stack[-1].children.append(element)
        else:
            self.root = element

    def text(self, text: str) -> None:
        self._stack[-1].texts.append(text)

    def refuse(self, *_: object) -> None:
        raise ParseError("XML with a document type or entities is refused; leave them out")


def parse_xml(data: bytes) -> Element:
    """A document of at most 64 KiB, UTF-8. Raises ParseError, nothing else."""
    if len(data) > MAX_OCTETS:
        raise ParseError(f"XML of {len(data)} octets is above {MAX_OCTETS}")
    builder = _Builder()
    parser = expat.ParserCreate("utf-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ParseError(f"not XML: {error}") from None
    if builder.root is None:
        raise ParseError("XML without a root element")
    return builder.root


def format_xml(element: Element) -> bytes:
    """The document, without a declaration; text before children."""
    return _text(element).encode()


def _text(element: Element) -> str:
    head = element.name + "".join(
        f" {name}={quoteattr(value)}" for name, value in element.attributes
    )
    inner = escape(element.text) + "".join(_text(child) for child in element.children)
    return f"<{head}>{inner}</{element.name}>" if inner else f"<{head}/>"
