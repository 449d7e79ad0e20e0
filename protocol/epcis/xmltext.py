"""XML of strangers as a tree with namespaces: no declarations, no entities, bounded.

protocol.xmltree reads the small XML of handle values; EPCIS documents are larger, and their
namespaces mean something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat  # a document type that could declare an entity is not let through

from protocol.errors import ParseError

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 2_000_000
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


@dataclass(slots=True)
class Element:
    """One element. name and attribute names: (namespace, local name), "" for no namespace.

    text: the character data directly in it, joined and stripped.
    """

    namespace: str
    name: str
    attributes: dict[tuple[str, str], str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def first(self, name: str) -> Element | None:
        """The first child of that local name."""
        return next((child for child in self.children if child.name == name), None)

    def find(self, *path: str) -> Element | None:
        """The first element down that path of local names."""
        found: Element | None = self
        for name in path:
            found = found.first(name) if found is not None else None
        return found

    def all(self, name: str) -> Iterator[Element]:
        return (child for child in self.children if child.name == name)

    def plain(self, name: str) -> str | None:
        """An attribute without namespace."""
        return self.attributes.get(("", name))


@dataclass(frozen=True, slots=True)
class Tree:
    """A document. prefixes: namespace -> the first prefix declared for it, "" for the default."""

    root: Element
    prefixes: dict[str, str]


class _Builder:
    def __init__(self) -> None:
        self._stack: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0
        self.root: Element | None = None
        self.prefixes: dict[str, str] = {}

    def start(self, name: str, attributes: list[str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._stack) >= MAX_DEPTH:
            raise ParseError(f"XML of over {MAX_ELEMENTS} elements or deeper than {MAX_DEPTH}")
        named = zip(map(_split, attributes[::2]), attributes[1::2], strict=True)
        kept = {key: value.strip() for key, value in named if key[0] != _XSI}
        self._stack.append(Element(*_split(name), kept))
        self._texts.append([])

    def end(self, _name: str) -> None:
        element = self._stack.pop()
        element.text = "".join(self._texts.pop()).strip()
        if self._stack:
            self._stack[-1].children.append(element)
        else:
            self.root = element

    def data(self, text: str) -> None:
        self._texts[-1].append(text)

    def declared(self, prefix: str | None, uri: str | None) -> None:
        if uri is not None and not self.prefixes.get(uri):
            self.prefixes[uri] = prefix or ""

    def doctype(self, _name: str, system: str | None, _public: str | None, inner: int) -> None:
        """A document type that is but a name declares nothing, and GS1's own examples have one."""
        if system is not None or inner:
            self.refuse()

    def refuse(self, *_: object) -> None:
        raise ParseError("XML with declarations, a DTD or entities is refused; leave them out")


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(" ")
    return namespace, local


def parse_tree(data: bytes, what: str = "the document") -> Tree:
    """The tree of an XML document. Raises ParseError, nothing else; bounds on octets are the caller's."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartNamespaceDeclHandler = builder.declared
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.EntityDeclHandler = builder.refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ParseError(f"{what} is not XML: {error}") from None
    except (ValueError, LookupError) as error:
        raise ParseError(f"{what} is in an encoding that is not read: {error}") from None
    if builder.root is None:
        raise ParseError(f"{what} is XML without a root element")
    return Tree(builder.root, builder.prefixes)
