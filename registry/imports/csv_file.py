"""CSV: a header line, then a record a line (RFC 4180; `,`, `;` or tab between the cells).

The first column is `identifier`, in any spelling that `biaoshi id` knows. Every further column
is a value type; `TYPE@INDEX` fixes its index, the others take 1, 2, 3 … in their order. A label
follows a `#`: `BOM#production:2`, `COST@7#management:3` (CLASS:LEVEL or CLASS:LEVEL:PURPOSE). An
empty cell is no value. HS_ADMIN is written `INDEX:HANDLE` (all rights) or `INDEX:DIGITS:HANDLE`, the
twelve digits as the Handle REST interface writes them.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from protocol.errors import BadIdentifier, BiaoshiError, InvalidValue, SettingsError
from protocol.handle_json import parse_admin_permissions
from protocol.identifier import parse
from protocol.labels import parse_label_text, with_labels
from protocol.record import MAX_INDEX, HandleValue, Reference
from protocol.values.hs_admin import ALL_PERMISSIONS, Admin, encode_admin
from registry.imports import MAX_LINE_BYTES, Item, Options, RawLine, bounded_lines

MAX_COLUMNS = 512
_RESERVED = frozenset((100, 101, 102, 200, 300, 301, 302, 400, 401, 402, 410))
"""Indexes with a customary meaning: never given to a column by counting."""
_PLAN_REASONS = frozenset(("segment-length", "bad-prefix-segment"))
_HIDDEN = 0b1100


@dataclass(frozen=True, slots=True)
class Column:
    """A value type, the index of its values, and their label."""

    name: str
    type: bytes
    index: int
    label: dict[str, Any] | None = None


class _Lines:
    """Decoded lines for the csv module, and what went wrong on them."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self.encoding = encoding
        self.number = 0
        self.problems: list[str] = []
        self._source = bounded_lines(stream)
        self._again: deque[RawLine] = deque()
        self._row: list[RawLine] = []
        self._octets = 0

    def begin_row(self) -> int:
        """The number of the next line, which begins a row."""
        self.problems.clear()
        self._row.clear()
        self._octets = 0
        return self._again[0].number if self._again else self.number + 1

    def return_all_but_first(self) -> None:
        """Read the lines that a bad row swallowed once more, as rows of their own.

        A quote that is never closed takes the lines up to the next quote. Reading them again costs
        no more than reading did: each stretch between two quotes is returned once.
        """
        self._again.extendleft(reversed(self._row[1:]))

    def __iter__(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else next(self._source, None)
            if line is None:
                return
            self.number = line.number
            self._row.append(line)
            self._octets += len(line.data)
            if self._octets > MAX_LINE_BYTES and len(self._row) > 1:
                raise csv.Error(f"the row is above {MAX_LINE_BYTES} octets")
            if line.overlong:
                self.problems.append(f"line {line.number} is above {MAX_LINE_BYTES} octets")
            try:
                yield line.data.decode(self.encoding)
            except UnicodeDecodeError as error:
                self.problems.append(
                    f"octet {line.data[error.start]:#04x} at {error.start} of line {line.number} "
                    f"is not {self.encoding}; name the file's encoding with --encoding"
                )
                yield line.data.decode(self.encoding, "replace")


def read(stream: BinaryIO, options: Options) -> Iterator[Item]:
    """The rows of a CSV file. Raises SettingsError when its header cannot be used."""
    lines = _Lines(stream, _encoding(options.encoding))
    header = next(iter(lines), "")
    if lines.problems:
        raise SettingsError(f"the header cannot be read: {lines.problems[0]}")
    delimiter = max(",;\t", key=header.count)
    columns = parse_header(next(csv.reader([header], delimiter=delimiter), []))
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while True:
        first = lines.begin_row()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            lines.return_all_but_first()
            reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
            yield Item(first, b"", None, f"not CSV: {error}; check the quotes of this row")
            continue
        if cells is None:
            return
        if not cells or not any(map(str.strip, cells)):
            continue
        yield _item(first, cells, columns, lines.problems, options)


def _encoding(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        raise SettingsError(
            f"the encoding {name!r} is unknown; use utf-8, gb18030 or another that Python knows"
        ) from None
    return "utf-8" if name.lower().replace("_", "-") == "utf-8-sig" else name


def parse_header(cells: list[str]) -> list[Column]:
    """The columns after `identifier`. Raises SettingsError naming the column."""
    split = [cell.strip().partition("#") for cell in cells]
    labels = [_label(*cell) for cell in split]
    names = [name.strip() for name, _, _ in split]
    if not names or names[0].lower() != "identifier":
        shown = names[0] if names else ""
        raise SettingsError(
            f"the first column must be `identifier`, not {shown!r}; "
            "the first line of a CSV file names its columns"
        )
    if len(names) > MAX_COLUMNS:
        raise SettingsError(f"{len(names)} columns are above {MAX_COLUMNS}")
    fixed = [_split(name, at) for at, name in enumerate(names[1:], 2)]
    given = [index for _, index in fixed if index is not None]
    taken = set(given)
    if len(taken) != len(given):
        raise SettingsError("two columns have the same index; each TYPE@INDEX stands alone")
    columns, index = [], 0
    for name, (type_, wanted), label in zip(names[1:], fixed, labels[1:], strict=True):
        if wanted is None:
            index += 1
            while index in taken or index in _RESERVED:
                index += 1
        at = index if wanted is None else wanted
        columns.append(Column(name, type_.encode(), at, label))
    return columns


def _label(name: str, mark: str, text: str) -> dict[str, Any] | None:
    """The label of a column. Raises SettingsError."""
    if not mark:
        return None
    try:
        return parse_label_text(text)
    except InvalidValue as error:
        raise SettingsError(f"column {name!r}: {error}") from None


def _split(name: str, at: int) -> tuple[str, int | None]:
    type_, mark, index = name.rpartition("@")
    if not mark:
        type_, index = name, ""
    if not type_:
        raise SettingsError(f"column {at} has no value type; write for instance URL or DESC@2")
    if not mark:
        fixed = {"HS_ADMIN": 100, "HS_SIGNATURE": 400}.get(type_.upper())
        return type_, fixed
    if not index.isascii() or not index.isdigit() or not 0 < int(index) <= MAX_INDEX:
        raise SettingsError(f"column {name!r}: {index!r} is no index; write for instance URL@2")
    return type_, int(index)


def _item(
    line: int, cells: list[str], columns: list[Column], problems: list[str], options: Options
) -> Item:
    text = cells[0].strip()
    shown = text.encode("utf-8", "replace")
    if problems:
        return Item(line, shown, None, problems[0])
    if len(cells) > len(columns) + 1:
        return Item(
            line,
            shown,
            None,
            f"{len(cells)} cells, but the header has {len(columns) + 1} columns; "
            "quote cells that hold the separator",
        )
    if not text:
        return Item(line, b"", None, "column `identifier` is empty")
    try:
        handle = parse_handle(text)
    except BiaoshiError as error:
        return Item(line, shown, None, f"column `identifier`: {error}")
    values, labels = [], dict[str, Any]()
    for column, cell in zip(columns, cells[1:], strict=False):
        if cell:
            try:
                values.append(_value(column, cell))
            except BiaoshiError as error:
                return Item(line, handle, None, f"column `{column.name}`: {error}")
            if column.label is not None:
                labels[str(column.index)] = column.label
    try:
        made = with_labels(values, labels) if labels else tuple(values)
        return Item(line, handle, options.registration(handle, made))
    except InvalidValue as error:
        return Item(line, handle, None, str(error))


def parse_handle(text: str) -> bytes:
    """The handle of an identifier in any spelling. Raises BadIdentifier.

    A prefix that is no valid idis code may still be homed here as a plain handle prefix: that is
    the node's own affair, so only the rules of its numbering plan are passed over.
    """
    try:
        return parse(text).handle
    except BadIdentifier as error:
        if error.reason not in _PLAN_REASONS:
            raise
        return parse(text, "handle").handle


def _value(column: Column, cell: str) -> HandleValue:
    folded = column.type.upper()
    if folded == b"HS_ADMIN":
        return HandleValue(column.index, column.type, _admin(cell))
    if folded == b"HS_SECKEY":
        return HandleValue(column.index, column.type, cell.encode(), permissions=_HIDDEN)
    try:
        return HandleValue(column.index, column.type, cell.encode())
    except UnicodeEncodeError:
        raise InvalidValue("the text cannot be written as UTF-8") from None


def _admin(cell: str) -> bytes:
    """INDEX:HANDLE, or INDEX:DIGITS:HANDLE."""
    reference = Reference.parse(cell.strip())
    digits, colon, handle = reference.handle.partition(b":")
    mask = ALL_PERMISSIONS
    if colon and len(digits) >= 12 and not digits.strip(b"01"):
        mask = parse_admin_permissions(digits.decode(), "permissions")
        reference = Reference(handle, reference.index)
    if not reference.handle or cell.strip().encode() == reference.handle:
        raise InvalidValue(f"{cell!r} is no administrator; write for instance 300:0.NA/88.118")
    return encode_admin(Admin(mask, reference.handle, reference.index))
