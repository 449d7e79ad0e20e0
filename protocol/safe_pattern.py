"""Foreign regular expressions, matched in time linear in the text (RE2).

What Java's and RE2's syntax share is taken and means the same; what RE2 has no way to match in
linear time (back-references, look-around, possessive quantifiers), or reads otherwise than Java
(classes within classes), is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import re2

from protocol.errors import ParseError

MAX_CHARACTERS: Final = 1_000
_MAX_MEMORY: Final = 1 << 17
"""Octets that a compiled expression may take; larger ones, such as `(.{1000}){1000}`, are refused."""


class SafePattern:
    """A compiled expression. size: of its program, in instructions; matching costs size x text."""

    __slots__ = ("_pattern", "size")

    def __init__(self, expression: str) -> None:
        """Case is ignored. Raises ParseError."""
        if len(expression) > MAX_CHARACTERS:
            raise ParseError(
                f"an expression of {len(expression)} characters is above {MAX_CHARACTERS}; "
                "write it shorter"
            )
        _check_classes(expression)
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        options.max_mem = _MAX_MEMORY
        try:
            self._pattern = re2.compile(expression, options)
        except re2.error as error:
            said = error.args[0] if error.args else error
            why = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
            raise ParseError(
                f"the expression `{expression}` is not taken: {why}; use RE2's syntax, which has "
                "no look-around and no back-references"
            ) from None
        self.size = int(self._pattern.programsize)

    def match_whole(self, text: str) -> tuple[str, ...] | None:
        """The whole match and its groups (an unused group is empty); None without a match."""
        found = self._pattern.fullmatch(text)
        if found is None:
            return None
        return (text, *(group or "" for group in found.groups()))


@lru_cache(maxsize=256)
def safe_pattern(expression: str) -> SafePattern:
    """The compiled expression. Raises ParseError."""
    return SafePattern(expression)


def _check_classes(expression: str) -> None:
    """Java nests and intersects classes; RE2 would take the same text for something else."""
    at, within = 0, False
    while at < len(expression):
        char = expression[at]
        if char == "\\":
            at += 1
        elif not within:
            within = char == "["
        elif char == "[" or expression.startswith("&&", at):
            raise ParseError(
                f"the expression `{expression}` has a class within a class, or `&&` in one; "
                "write one class instead"
            )
        elif char == "]":
            within = False
        at += 1
