"""Texts with columns in them: `https://id.gs1.org/01/{gtin|gtin}/21/{serial}`.

`{column}` puts a cell in, `{column|filter|filter:argument}` what filters make of it; `{{` and `}}`
are braces. In a text that begins with http:// or https:// cells are percent-encoded. A text with
an empty cell gives nothing. A cell with `split` gives several texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from protocol.epcis.mapping_values import read_number
from protocol.errors import BadIdentifier, InvalidValue, SettingsError
from protocol.schemes.gs1 import pad_gtin

MAX_TEXTS: Final = 10_000
"""Texts that one template may give for one row."""
MAX_TEMPLATE: Final = 4_096

_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_URL: Final = re.compile(r"https?://", re.IGNORECASE)

Row = Mapping[str, Any]
Words = Mapping[str, Mapping[str, str]]
"""Name of a table of words -> word of the source -> word of the event."""


class Hole(NamedTuple):
    """A column and what is done to its cell. steps: (filter, argument)."""

    column: str
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text. pieces: literal texts and holes in their order."""

    text: str
    pieces: tuple[str | Hole, ...]
    encode: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(piece.column for piece in self.pieces if isinstance(piece, Hole))

    def fill(self, row: Row, words: Words) -> list[str]:
        """The texts for a row; none when a cell is empty. Raises InvalidValue."""
        parts: list[Sequence[str]] = []
        count = 1
        for piece in self.pieces:
            if isinstance(piece, str):
                parts.append((piece,))
                continue
            values = _filled(piece, row, words)
            if not values:
                return []
            count *= len(values)
            if count > MAX_TEXTS:
                raise InvalidValue(f"{self.text!r} would give over {MAX_TEXTS} texts")
            raw = not self.encode or ("raw", "") in piece.steps
            parts.append(values if raw else [quote(value, safe="") for value in values])
        return ["".join(one) for one in product(*parts)]


def parse_template(text: str, words: Words) -> Template:
    """Read a template. Raises SettingsError: braces, an unknown filter or table of words."""
    if len(text) > MAX_TEMPLATE:
        raise SettingsError(f"a text of {len(text)} characters is above {MAX_TEMPLATE}")
    pieces: list[str | Hole] = []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in ("{", "}"):
            raise SettingsError(f"a brace stands alone in {text!r}; write {{column}}, or {{{{")
        if match[1] is not None:
            pieces.append(_hole(match[1], text, words))
            continue
        literal = {"{{": "{", "}}": "}"}.get(piece, piece)
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] += literal
        else:
            pieces.append(literal)
    return Template(text, tuple(pieces), _URL.match(text) is not None)


def _hole(inside: str, text: str, words: Words) -> Hole:
    column, *steps = inside.split("|")
    column = column.strip()
    if not column:
        raise SettingsError(f"{{}} in {text!r} names no column")
    found = []
    for step in steps:
        name, _, argument = step.partition(":")
        name = name.strip()
        if name not in FILTERS and name not in _OTHERS:
            known = ", ".join(sorted((*FILTERS, *_OTHERS)))
            raise SettingsError(f"there is no filter {name!r} in {text!r}; there are {known}")
        if name == "words" and argument not in words:
            raise SettingsError(f"there is no table [words.{argument}], which {text!r} names")
        if name == "pad" and not (argument.isdigit() and int(argument) <= 100):
            raise SettingsError(f"pad in {text!r} takes a number of characters: pad:6")
        found.append((name, argument))
    return Hole(column, tuple(found))


def cell(row: Row, column: str) -> Any:
    """The cell of a column; in JSON also by a path: `order.lines.0.sku`. None for none."""
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif (
            isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value)
        ):
            value = value[int(step)]
        else:
            return None
    return value


def cell_text(value: Any) -> str:
    """A cell as text; a number as it is written, none as ""."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()


def _filled(hole: Hole, row: Row, words: Words) -> list[str]:
    value = cell(row, hole.column)
    texts = [cell_text(item) for item in value] if isinstance(value, list) else [cell_text(value)]
    for name, argument in hole.steps:
        if name == "split":
            texts = [part.strip() for text in texts for part in text.split(argument or ",")]
        elif name == "default":
            texts = [text or argument for text in texts]
        elif name == "words":
            texts = [_word(text, argument, words) for text in texts]
        elif name in FILTERS:
            try:
                texts = [FILTERS[name](text, argument) if text else text for text in texts]
            except BadIdentifier as error:
                raise InvalidValue(f"column {hole.column}: {error}") from None
    return [text for text in texts if text]


def _word(text: str, table: str, words: Words) -> str:
    if not text:
        return ""
    found = words[table].get(text, words[table].get("*"))
    if found is None:
        raise InvalidValue(f'[words.{table}] has no {text!r}; add it, or `"*"` for all others')
    return found


def _before(text: str, mark: str) -> str:
    return text.partition(mark)[0] if mark else text


def _after(text: str, mark: str) -> str:
    return text.partition(mark)[2] if mark else text


FILTERS: Final[Mapping[str, Callable[[str, str], str]]] = {
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "digits": lambda text, _: "".join(c for c in text if c.isascii() and c.isdigit()),
    "nospace": lambda text, _: "".join(text.split()),
    "pad": lambda text, size: text.zfill(int(size)),
    "before": _before,
    "after": _after,
    "gtin": lambda text, _: pad_gtin(text),
    "number": lambda text, mark: str(read_number(text, mark or ".")),
}
"""Name -> what it makes of a text and its argument. `gtin`: 14 digits, check digit right; `number`:
with a point before the fraction, whatever mark (the argument) it was written with."""
_OTHERS: Final = ("raw", "split", "default", "words")


def columns_of(templates: Iterable[Template]) -> set[str]:
    """Every column that templates name."""
    return {column for template in templates for column in template.columns}
