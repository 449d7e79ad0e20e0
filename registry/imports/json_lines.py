"""JSON lines: a record a line, `{"handle":…, "values":[…]}` as the Handle REST interface writes it.

Optional: `on_exists` (refuse, replace, merge), `expected_version` and `labels` (from an index, `*`
or a value type to a label). Other members are ignored,
so an answer of a Handle server can be registered as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from protocol.change import Change
from protocol.errors import BiaoshiError, ParseError
from protocol.handle_json import parse_values
from protocol.labels import with_labels
from protocol.strict_json import parse_json
from registry.imports import MAX_LINE_BYTES, Item, OnExists, Options, bounded_lines


def read(stream: BinaryIO, options: Options) -> Iterator[Item]:
    """The rows of a JSON lines file."""
    for line in bounded_lines(stream):
        if not line.data.strip():
            continue
        if line.overlong:
            yield Item(line.number, b"", None, f"the line is above {MAX_LINE_BYTES} octets")
            continue
        handle = b""
        try:
            fields = parse_json(line.data, "the line")
            handle = _handle(fields)
            yield Item(line.number, handle, parse_row(fields, handle, options))
        except BiaoshiError as error:
            yield Item(line.number, handle, None, str(error))


def _handle(fields: Any) -> bytes:
    if not isinstance(fields, dict):
        raise ParseError('write an object with "handle" and "values"')
    handle = fields.get("handle")
    if not isinstance(handle, str) or not handle:
        raise ParseError("`handle` must be a text such as 88.118.8/pump-7")
    try:
        return handle.encode()
    except UnicodeEncodeError:
        raise ParseError("`handle` holds half a surrogate pair") from None


def parse_row(fields: dict[str, Any], handle: bytes, options: Options) -> Change:
    """The change of one row. Raises ParseError or InvalidValue naming the field."""
    if "values" not in fields:
        raise ParseError("`values` is missing; give a list, which may be empty")
    rule = fields.get("on_exists")
    try:
        on_exists = None if rule is None else OnExists(rule)
    except ValueError:
        raise ParseError(f"`on_exists` is {rule!r}; use refuse, replace or merge") from None
    version = fields.get("expected_version")
    if version is not None and (type(version) is not int or version < 0):
        raise ParseError("`expected_version` must be a whole number, 0 for a new record")
    values = parse_values(fields["values"])
    if "labels" in fields:
        values = with_labels(values, fields["labels"])
    return options.registration(handle, values, on_exists=on_exists, expected_version=version)
