r"""The rewriting rule of a NAPTR record (RFC 3402 §3.2), with a safe part of POSIX regular expressions.

A foreign pattern is never handed to a backtracking engine as it is. Taken are: `^` at the
beginning and `$` at the end, literals, `\` before a special character, `.`, bracket expressions
without classes, groups that are not repeated, and `*`, `+`, `?` behind a single character. Refused
are alternation, intervals, repeated groups, and patterns whose worst case is too long for the text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from protocol.errors import ParseError

MAX_STEPS: Final = 10_000_000
"""Octets of the text to the power of its unbounded repetitions."""
MAX_RESULT: Final = 4_096
_SPECIAL: Final = "\\^$.[]()*+?{}|"


class Rule(NamedTuple):
    """A rewriting rule, read. repeats: unbounded repetitions, and one for not being anchored."""

    pattern: re.Pattern[str]
    replacement: str
    repeats: int


def parse_rule(field: bytes) -> Rule:
    """`!^.*$!https://example.org/!` Raises ParseError: no rule, or not a safe one."""
    try:
        text = field.decode()
    except UnicodeDecodeError:
        raise ParseError(f"the regexp {field!r} is not UTF-8") from None
    if len(text) < 3 or text[0].isdigit() or text[0] in "\\i":
        raise ParseError(f"{text!r} is no rule; it begins with a delimiter: !^.*$!URI!")
    parts = _split(text)
    if len(parts) != 3 or parts[2] not in {"", "i"}:
        raise ParseError(f"{text!r} is no rule; write !PATTERN!REPLACEMENT! and nothing or i")
    source, repeats = _translated(parts[0])
    flags = re.DOTALL | (re.IGNORECASE if parts[2] else 0)
    return Rule(re.compile(source, flags), parts[1], repeats)


def _split(text: str) -> list[str]:
    """The parts between unescaped delimiters; an escaped delimiter stands for itself."""
    delimiter, parts, at = text[0], [""], 1
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            after = text[at + 1]
            parts[-1] += after if after == delimiter and after not in _SPECIAL else char + after
            at += 2
            continue
        if char == delimiter:
            parts.append("")
        else:
            parts[-1] += char
        at += 1
    return parts


def _translated(ere: str) -> tuple[str, int]:
    """The pattern for Python's engine, and its unbounded repetitions."""
    made, at, depth, single = "", 0, 0, False
    repeats = 0 if ere.startswith("^") else 1
    while at < len(ere):
        char = ere[at]
        if char in "*+?":
            if not single:
                raise ParseError(f"{char} in {ere!r} repeats no single character")
            made += char
            repeats += char != "?"
            single = False
        elif char == "[":
            end, bracket = _bracket(ere, at)
            made += bracket
            at, single = end - 1, True
        elif char == "\\":
            at += 1
            if at == len(ere) or ere[at] not in _SPECIAL:
                raise ParseError(f"a backslash in {ere!r} stands before no special character")
            made += re.escape(ere[at])
            single = True
        elif char in "(^$":
            if (char == "^" and at) or (char == "$" and at != len(ere) - 1):
                raise ParseError(f"{char} stands inside of {ere!r}")
            depth += char == "("
            made += r"\Z" if char == "$" else char
            single = False
        elif char == ")":
            depth -= 1
            if depth < 0:
                break
            made += char
            single = False
        elif char in "{}|":
            raise ParseError(f"{char} in {ere!r} is not supported")
        else:
            made += "." if char == "." else re.escape(char)
            single = True
        at += 1
    if depth:
        raise ParseError(f"the brackets of {ere!r} do not match")
    return made, repeats


def _bracket(ere: str, start: int) -> tuple[int, str]:
    """A bracket expression from its `[`: where it ends, and as Python writes it."""
    at = start + 1
    negated = ere[at : at + 1] == "^"
    at += negated
    first = at
    while at < len(ere) and (ere[at] != "]" or at == first):
        if ere[at] == "[" and ere[at + 1 : at + 2] in {":", ".", "="}:
            raise ParseError(f"a class in {ere!r} is not supported; write its range")
        at += 1
    if at == len(ere):
        raise ParseError(f"a [ in {ere!r} is not closed")
    inside, made, place = ere[first:at], "", 0
    while place < len(inside):
        if inside[place + 1 : place + 2] == "-" and place + 2 < len(inside):
            low, high = inside[place], inside[place + 2]
            if low > high:
                raise ParseError(f"the range {low}-{high} in {ere!r} is empty")
            made += f"{re.escape(low)}-{re.escape(high)}"
            place += 3
        else:
            made += re.escape(inside[place])
            place += 1
    return at + 1, f"[{'^' if negated else ''}{made}]"


def apply_rule(rule: Rule, text: str) -> str | None:
    """The text with what the pattern matches replaced, as sed does; None where it does not match.

    Raises ParseError where matching could take too long, or the result is too long.
    """
    if len(text) ** rule.repeats > MAX_STEPS:
        raise ParseError(
            f"a pattern with {rule.repeats} repetitions could take too long on {len(text)} octets"
        )
    match = rule.pattern.search(text)
    if match is None:
        return None
    made = text[: match.start()] + _filled(rule.replacement, match) + text[match.end() :]
    if len(made) > MAX_RESULT:
        raise ParseError(f"the rewritten text has {len(made)} characters, above {MAX_RESULT}")
    return made


def _filled(replacement: str, match: re.Match[str]) -> str:
    r"""The replacement with `\1` to `\9` filled in; other escapes stand for their character."""

    def fill(escape: re.Match[str]) -> str:
        char = escape[1]
        if not char.isascii() or not char.isdigit() or char == "0":
            return char
        number = int(char)
        if number > match.re.groups:
            raise ParseError(f"\\{number} in {replacement!r} refers to no group")
        return match[number] or ""

    return re.sub(r"\\(.)", fill, replacement, flags=re.DOTALL)
