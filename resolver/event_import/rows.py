"""Rows of CSV, XLSX and JSON files, a mapping of column to cell each, with where they stood.

Cells come as text, number or truth value; times of a spreadsheet as text. Bounds: octets of a
file, of a row and of what a spreadsheet unfolds to.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

from protocol.epcis.jcs import loads
from protocol.epcis.mapping import Line, Source
from protocol.epcis.mapping_text import cell
from protocol.errors import ParseError, SettingsError

MAX_FILE_OCTETS: Final = 1 << 30
MAX_JSON_OCTETS: Final = 256 << 20
MAX_UNFOLDED_OCTETS: Final = 2 << 30
"""Of a spreadsheet's parts together, unpacked."""
MAX_LINE_OCTETS: Final = 1 << 20
MAX_COLUMNS: Final = 1_000
FORMATS: Final = ("csv", "xlsx", "json", "jsonl")


@dataclass(frozen=True, slots=True)
class Rows:
    """Lines of a file. columns: their names, where a header tells them."""

    columns: tuple[str, ...] | None
    lines: Iterable[Line]


def open_rows(path: Path, source: Source) -> Rows:
    """The rows of a file. Raises SettingsError: not there, too large, no such sheet or format."""
    form = source.format or path.suffix.lower().removeprefix(".")
    form = {"xlsm": "xlsx", "tsv": "csv", "txt": "csv", "ndjson": "jsonl"}.get(form, form)
    if form not in FORMATS:
        raise SettingsError(
            f"{path.name} is of no known kind; write format in [source]: {', '.join(FORMATS)}"
        )
    try:
        size = path.stat().st_size
        most = MAX_JSON_OCTETS if form == "json" else MAX_FILE_OCTETS
        if size > most:
            raise SettingsError(f"{path} has {size} octets; split it below {most}")
        readers = {"csv": _csv, "xlsx": _xlsx, "json": _json, "jsonl": _jsonl}
        return readers[form](path, source)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None


def _header(cells: Sequence[Any], path: Path) -> tuple[str, ...]:
    names = [str(name).strip() if name is not None else "" for name in cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise SettingsError(f"{path.name} has no header; header_row in [source] says where it is")
    if len(names) > MAX_COLUMNS:
        raise SettingsError(f"{path.name} has {len(names)} columns; at most {MAX_COLUMNS} are read")
    given = [name for name in names if name]
    if len(set(given)) != len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise SettingsError(
            f"{path.name} has the column {twice!r} twice; name one of them otherwise"
        )
    return tuple(names)


def _row(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, cells, strict=False) if name}


# --- CSV


def _csv(path: Path, source: Source) -> Rows:
    try:
        file = path.open(encoding=source.encoding, newline="")
    except LookupError:
        raise SettingsError(
            f"the encoding {source.encoding!r} is unknown; use utf-8, gb18030 or another that "
            "Python knows"
        ) from None
    lines = _bounded(file, path, source.encoding)
    head = ""
    for _ in range(source.header_row):
        head = next(lines, "")
    delimiter = source.delimiter or max(",;\t|", key=head.count)
    if len(delimiter) != 1:
        raise SettingsError(f"delimiter is one character, not {delimiter!r}")
    names = _header(next(csv.reader([head], delimiter=delimiter), []), path)
    return Rows(names, _csv_lines(lines, names, delimiter, source.header_row))


def _bounded(file: io.TextIOBase, path: Path, encoding: str) -> Iterator[str]:
    with file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(MAX_LINE_OCTETS + 1)
            except UnicodeDecodeError as error:
                raise SettingsError(
                    f"{path.name} is not {encoding} near line {number}: {error.reason}; write "
                    "encoding in [source]"
                ) from None
            if len(line) > MAX_LINE_OCTETS:
                raise SettingsError(f"line {number} of {path.name} is above {MAX_LINE_OCTETS}")
            if not line:
                return
            yield line


def _csv_lines(
    lines: Iterator[str], names: Sequence[str], delimiter: str, before: int
) -> Iterator[Line]:
    csv.field_size_limit(MAX_LINE_OCTETS)
    reader = csv.reader(lines, delimiter=delimiter)
    start = 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield Line(before + start, _row(names, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise SettingsError(f"line {before + reader.line_num} is no CSV: {error}") from None


# --- spreadsheets


def _xlsx(path: Path, source: Source) -> Rows:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with ZipFile(path) as parts:
            unfolded = sum(part.file_size for part in parts.infolist())
        if unfolded > MAX_UNFOLDED_OCTETS:
            raise SettingsError(f"{path.name} unfolds to {unfolded} octets; save it as CSV")
        book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except (BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise SettingsError(f"{path.name} is no spreadsheet that can be read: {error}") from None
    if source.sheet is not None and source.sheet not in book.sheetnames:
        raise SettingsError(
            f"{path.name} has no sheet {source.sheet!r}; there are {', '.join(book.sheetnames)}"
        )
    sheet = book[source.sheet] if source.sheet is not None else book.worksheets[0]
    sheet.reset_dimensions()  # what the file says of its size need not be so
    cells = sheet.iter_rows(min_row=source.header_row, max_col=MAX_COLUMNS + 1, values_only=True)
    names = _header(next(cells, ()), path)
    return Rows(names, _xlsx_lines(cells, names, source.header_row))


def _xlsx_lines(
    cells: Iterable[Sequence[Any]], names: Sequence[str], before: int
) -> Iterator[Line]:
    for number, row in enumerate(cells, before + 1):
        values = [_plain(value) for value in row]
        if any(value not in (None, "") for value in values):
            yield Line(number, _row(names, values))


def _plain(value: Any) -> Any:
    """A cell of a spreadsheet: numbers exact as shown, times as text."""
    if isinstance(value, bool) or value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        found = Decimal(repr(value))
        return int(found) if found == found.to_integral_value() and abs(found) < 10**15 else found
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


# --- JSON


def _json(path: Path, source: Source) -> Rows:
    try:
        value = loads(path.read_bytes(), path.name)
    except ParseError as error:
        raise SettingsError(str(error)) from None
    found = cell(value, source.records) if source.records and isinstance(value, dict) else value
    if not isinstance(found, list):
        where = f"at {source.records!r} " if source.records else ""
        raise SettingsError(f"{path.name} has no list of rows {where}; write records in [source]")
    return Rows(None, _objects(found, path))


def _objects(values: Sequence[Any], path: Path) -> Iterator[Line]:
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise SettingsError(f"row {number} of {path.name} is no JSON object")
        yield Line(number, value)


def _jsonl(path: Path, _source: Source) -> Rows:
    return Rows(None, _json_lines(path))


def _json_lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        number = 0
        while data := file.readline(MAX_LINE_OCTETS + 1):
            number += 1
            if len(data) > MAX_LINE_OCTETS:
                raise SettingsError(f"line {number} of {path.name} is above {MAX_LINE_OCTETS}")
            if not data.strip():
                continue
            try:
                value = loads(data, f"line {number} of {path.name}")
            except ParseError as error:
                raise SettingsError(str(error)) from None
            if not isinstance(value, dict):
                raise SettingsError(f"line {number} of {path.name} is no JSON object")
            yield Line(number, value)
