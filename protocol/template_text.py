r"""Names in the text of a template: `${extension}`, `${x[2]}`, `$1` (Handle manual 11.2).

Deployed software's rules to the letter, its oddities too: an unknown name is empty text, `\`
takes the character after it as it is, and a `$` before anything else stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.record import HandleValue

DEFAULT_NAME: Final = "extension"
"""What `$1` and `${1}` are groups of."""
_number: Final = re.compile(r"[+-]?[0-9]{1,9}").fullmatch
_binary: Final = re.compile(rb"[\x00-\x08\x14-\x1f\x7f]").search
"""Octets that deployed software takes as a sign of binary data."""
_special: Final = re.compile(r"\\(.?)|\$(?:([0-9]+)|(.?))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Names:
    """What names stand for at one place of a template. groups: of the match a name came from."""

    texts: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def with_text(self, name: str, text: str) -> Names:
        """The name stands for a text, and has no groups."""
        groups = self.groups
        if name in groups:
            groups = {key: value for key, value in groups.items() if key != name}
        return Names({**self.texts, name: text}, groups)

    def with_match(self, name: str, match: tuple[str, ...]) -> Names:
        """The name stands for a match: itself and its groups."""
        return Names({**self.texts, name: match[0]}, {**self.groups, name: match})

    def with_value(self, value: HandleValue) -> Names:
        """`type`, `data` and `index` stand for a value's. Groups of these names stay."""
        added = {
            "type": value.type.decode("utf-8", "replace"),
            "data": data_text(value.data),
            "index": str(value.index),
        }
        return Names({**self.texts, **added}, self.groups)

    def get(self, name: str) -> str:
        """What a name stands for: `x`, `x[2]`, or `2` for a group of the extension."""
        if name and name[0].isdigit() and _number(name):
            return self.group(DEFAULT_NAME, int(name))
        if name.endswith("]"):
            own, bracket, number = name[:-1].rpartition("[")
            if bracket and _number(number):
                return self.group(own, int(number))
        return self.texts.get(name, "")

    def group(self, name: str, number: int) -> str:
        """A group of the match that a name came from; group 0 of a text is the text."""
        match = self.groups.get(name)
        if match is not None:
            return match[number] if 0 <= number < len(match) else ""
        return self.texts.get(name, "") if number == 0 else ""

    def fill(self, text: str) -> str:
        """A text with its names replaced."""
        out: list[str] = []
        at, closes = 0, True
        while (found := _special.search(text, at)) is not None:
            out.append(text[at : found.start()])
            at = found.end()
            escaped, number, other = found.groups()
            if escaped is not None:
                out.append(escaped or "\\")
            elif number is not None:
                out.append(self.group(DEFAULT_NAME, int(number[:10])))
            elif other == "{" and closes and (end := text.find("}", at)) >= 0:
                out.append(self.get(text[at:end]))
                at = end + 1
            else:
                closes = closes and other != "{"  # looked for once: filling stays linear
                out.append("$" + other)
        return "".join(out) + text[at:]


def data_text(data: bytes) -> str:
    """A value's data as names stand for it: text, or upper-case hexadecimal where it is none."""
    if _binary(data):
        return data.hex().upper()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.hex().upper()
