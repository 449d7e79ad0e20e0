"""What a record says of a product for people: its name, its facts, where it leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from protocol.linkset import GS1, Link
from protocol.record import HandleValue
from resolver.http.page import is_web_address
from resolver.links import LINK_TYPES, links_of
from resolver.pages.words import Words

NAMES: Final = (
    b"0.NAME",
    b"NAME",
    b"TITLE",
    b"PRODUCTNAME",
    b"ITEMDESCRIPTION",
    b"DESC",
    b"0.DESC",
    b"DESCRIPTION",
)
"""Value types that name a thing, the best first; each also with a language after a point."""
LANGUAGES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "en": (b".EN", b"", b".ZH", b".CN"),
    "zh": (b".ZH", b".CN", b"", b".EN"),
}
NAME_TYPES: Final = tuple(name + tail for name in NAMES for tail in (b"", b".EN", b".ZH", b".CN"))
_APART: Final = LINK_TYPES | {b"URL", b"10320/LOC", b"NAPTR", b"0.ALIAS", b"0.LABEL", b"EVENTS"}
_MOST_FACT: Final = 1_000
_MOST_FACTS: Final = 60
_MOST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Product:
    """facts: label and text. links: relation, title, address: http or https only."""

    name: str
    description: str
    facts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str, str], ...]


def read_product(values: Sequence[HandleValue], handle: str, words: Words) -> Product:
    """The head of a page. values: public ones."""
    texts = [(value.type.upper(), text) for value in values if (text := text_of(value.data))]
    named = pick_names(texts, words.language)
    facts: list[tuple[str, str]] = []
    for type_, text in texts:
        apart = type_ in NAME_TYPES or type_ in _APART or type_.startswith(b"HS_")
        if not apart and not is_web_address(text):
            facts += _facts(_label(type_, words), text)
    name = named[0] if named else handle
    return Product(
        name, named[1] if len(named) > 1 else "", tuple(facts[:_MOST_FACTS]), _links(values, handle)
    )


def pick_names(texts: Sequence[tuple[bytes, str]], language: str) -> list[str]:
    """The names among typed texts, best first for a language, each once."""
    known: dict[bytes, str] = {}
    for type_, text in texts:
        known.setdefault(type_, text)
    inorder = (name + tail for tail in LANGUAGES[language] for name in NAMES)
    return list(dict.fromkeys(known[type_][:_MOST_NAME] for type_ in inorder if type_ in known))


def text_of(data: bytes) -> str:
    """A value as text for people; "" for octets that are none."""
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        return ""
    return text if all(char >= " " or char in "\t\r\n" for char in text) else ""


def _label(type_: bytes, words: Words) -> str:
    bare = type_.decode("utf-8", "replace").removeprefix("0.")
    try:
        return words(bare)
    except KeyError:
        return bare.capitalize() if bare.isalpha() else bare


def _facts(label: str, text: str) -> list[tuple[str, str]]:
    """A value as one line, or a flat JSON object as a line for each member."""
    if text[:1] == "{":
        try:
            shape: Any = orjson.loads(text)
        except ValueError:
            shape = None
        if isinstance(shape, dict) and all(not isinstance(v, dict | list) for v in shape.values()):
            return [(label, "\n".join(f"{name}: {value}" for name, value in shape.items()))]
    return [(label, text if len(text) <= _MOST_FACT else text[:_MOST_FACT] + "…")]


def _links(values: Sequence[HandleValue], handle: str) -> tuple[tuple[str, str, str], ...]:
    found: dict[str, tuple[str, str, str]] = {}
    record = links_of(values, handle)
    every: list[Link] = [one.link for one in record.links]
    for link in every:
        relation = link.relation.removeprefix(GS1)
        found.setdefault(link.href, (relation, link.title or link.href, link.href))
    for value in values:
        text = text_of(value.data)
        type_ = value.type.decode("utf-8", "replace")
        if is_web_address(text) and not type_.startswith("HS_"):
            found.setdefault(text, (type_, text, text))
    if record.address is not None:
        found.setdefault(record.address, ("URL", record.address, record.address))
    return tuple(one for one in found.values() if is_web_address(one[2]))
