"""How things, places and companies are called on a page, and where their own pages are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from protocol.errors import BiaoshiError
from protocol.record import HandleValue, decode_values
from protocol.value_slices import join
from resolver.http.naming import digital_link_of
from resolver.pages.product import NAME_TYPES, pick_names, text_of

if TYPE_CHECKING:
    from resolver.lookup import Lookup

MOST_NAMES: Final = 400
"""Records looked up for one page."""


class Names:
    """Names for one page in one language. tail: query of every address. far: what records at
    other nodes call their things.
    """

    def __init__(
        self,
        lookup: Lookup,
        language: str,
        tail: str = "",
        far: Mapping[str, Sequence[tuple[bytes, str]]] = MappingProxyType({}),
    ) -> None:
        self._lookup = lookup
        self._far = far
        self._language = language
        self._tail = tail
        self._known: dict[str, str] = {}

    def of(self, id_: str) -> str:
        """The name in the record of a thing, where that is kept here; else the identifier."""
        if id_ not in self._known:
            if len(self._known) >= MOST_NAMES:
                return spelled(id_)
            self._known[id_] = self._read(id_) or spelled(id_)
        return self._known[id_]

    def called(self, id_: str, name: str) -> None:
        """Set a name that is known already."""
        self._known[id_] = name

    def _read(self, id_: str) -> str:
        try:
            found = self._lookup.public_values(id_.encode("utf-8", "replace"), NAME_TYPES)
            values: Sequence[HandleValue] = decode_values(join(found))
        except BiaoshiError:
            values = ()
        texts = [(one.type.upper(), text) for one in values if (text := text_of(one.data))]
        named = pick_names(texts or self._far.get(id_, ()), self._language)
        return named[0] if named else ""

    def address(self, id_: str) -> str | None:
        """The path of a thing's page; None for what has none."""
        path = path_of(id_)
        return None if path is None else f"/page{path}{self._tail}"

    def company(self, reference: str) -> str:
        """An issuer for people: the prefix that `300:0.NA/88.1` stands for, and its name."""
        handle = reference.partition(":")[2]
        prefix = handle[5:] if handle[:5].upper() == "0.NA/" else handle
        name = self.of(handle)
        return prefix if name == handle else f"{name} ({prefix})"


def spelled(id_: str) -> str:
    """An identifier as short as people know it."""
    link = digital_link_of(id_.encode("utf-8", "replace"))
    return id_ if link is None else link.path[1:]


def path_of(id_: str) -> str | None:
    """The path of an identifier below a resolver; None for what this resolver does not read."""
    link = digital_link_of(id_.encode("utf-8", "replace"))
    if link is not None:
        return link.path
    if "://" in id_ or "/" not in id_[1:]:
        return "/" + quote(id_, safe=":.") if id_[:4].lower() in ("urn:", "did:") else None
    return "/" + quote(id_, safe="/:").lstrip("/")


def listed(ids: Sequence[str], name: Callable[[str], str], most: int = 5) -> tuple[list[str], int]:
    """The names of the first few, and how many are left."""
    return [name(id_) for id_ in ids[:most]], max(0, len(ids) - most)
