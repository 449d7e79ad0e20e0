"""HTML and SVG made of elements: what is not marked as markup is escaped, always."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

_TURNING: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_VOID: Final = frozenset(("meta", "link", "br", "hr", "input", "img"))


class Markup(str):
    """Text that is markup already: made by tag() or written in this package, never of a request."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """One element. Strings are escaped, None is left out, lists are laid flat.

    attributes: `class_`, `aria_label` and the like; None and False are left out, True stands bare.
    """
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Several children as one piece."""
    return Markup("".join(_pieces(children)))


def _pieces(child: Child) -> Iterable[str]:
    if child is None:
        return
    if isinstance(child, str):
        yield child if isinstance(child, Markup) else escape(printable(child))
        return
    for each in child:
        yield from _pieces(each)


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(printable(str(value)))}"'


def printable(text: str) -> str:
    """A text without control characters, which no page may hold.

    Those that turn the direction of writing are left out: they make one name look like another.
    """
    if text.isprintable():
        return text
    kept = text.translate(_TURNING)
    return "".join(char if char >= " " or char in "\t\n\r" else "\ufffd" for char in kept)
