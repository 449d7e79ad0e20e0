"""One JSON object a line: standard input to standard output, for commands that other programs call."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

MAX_LINE_BYTES = 1_048_576

OK, INVALID, UNUSABLE = 0, 1, 2
"""Exit codes: all valid; some input invalid; something that was no input at all."""


class Unusable(Exception):
    """A line that is no JSON object with an `input` text."""


def read_object(line: bytes) -> dict[str, Any]:
    """The object of one line. Raises Unusable."""
    if len(line) > MAX_LINE_BYTES:
        raise Unusable(f"{len(line)} bytes; a line has at most {MAX_LINE_BYTES}")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"no JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("input"), str):
        raise Unusable('write an object with a text under "input"')
    return found


def format_object(value: Mapping[str, Any]) -> bytes:
    """One line of UTF-8; escaped where a text holds half a surrogate pair."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines that are not blank; an overlong one comes cut, just above MAX_LINE_BYTES."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                continue
        if line.strip():
            yield line


def answer_lines(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> int:
    """Answer each line of standard input with one line; the answer's `valid` decides the code.

    A line that cannot be used is answered too, with `error` `unusable-input`, so that line n of
    the output belongs to line n of the input that is not blank.
    """
    code = OK
    out = sys.stdout.buffer
    for number, line in enumerate(lines(sys.stdin.buffer), start=1):
        try:
            found = answer(read_object(line))
        except Unusable as error:
            sys.stderr.write(f"line {number}: {error}\n")
            found = {
                "input": None,
                "valid": False,
                "error": "unusable-input",
                "message": str(error),
            }
            code = UNUSABLE
        if not found["valid"]:
            code = max(code, INVALID)
        out.write(format_object(found))
        out.flush()
    return code
