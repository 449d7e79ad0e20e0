"""Files of identifiers: CSV, JSON lines, Handle batch files and others become numbered changes.

Reading is streamed and bounded: a line that cannot be used is an error of that line, and the next
one is read. What a row means is here; who may write it is the writer's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple

from protocol.change import Change, Kind
from protocol.errors import SettingsError
from protocol.labels import is_label, with_labels
from protocol.name import is_arcwise
from protocol.record import HandleValue
from registry.rules import default_admin, is_admin

MAX_LINE_BYTES = 2_097_152
"""Longest line: a record of the largest size with its data in base64."""


class OnExists(StrEnum):
    """What a row does to a record that is there with other values."""

    REFUSE = "refuse"
    REPLACE = "replace"
    MERGE = "merge"


class Format(StrEnum):
    """What a file holds."""

    AUTO = "auto"
    CSV = "csv"
    JSON_LINES = "jsonl"
    BATCH = "batch"
    GS1_RESOLVER = "gs1-resolver"


class Item(NamedTuple):
    """One row, from the line it begins on: a change, or the reason why it is none."""

    line: int
    handle: bytes
    change: Change | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How rows become changes.

    add_admin: give records without HS_ADMIN their prefix's administrators; not those of OIDs and
    GS1 keys, whose prefix the node that is home to them knows. encoding: of CSV and
    batch files, as Python names it. folder: where FILE data of batch files may lie; None refuses
    it. labels: from an index, `*` or a value type to a label, for records that bring none.
    """

    on_exists: OnExists = OnExists.REFUSE
    add_admin: bool = True
    encoding: str = "utf-8"
    folder: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def registration(
        self,
        handle: bytes,
        values: tuple[HandleValue, ...],
        *,
        on_exists: OnExists | None = None,
        expected_version: int | None = None,
    ) -> Change:
        """The change that registers a record. Raises InvalidValue: labels that do not fit."""
        rule = on_exists or self.on_exists
        if self.labels and not any(map(is_label, values)):
            values = with_labels(values, self.labels)
        if self.add_admin and not is_arcwise(handle) and not any(map(is_admin, values)):
            values = (*values, default_admin(handle, {value.index for value in values}))
        return Change(
            Kind.MERGE if rule is OnExists.MERGE else Kind.CREATE,
            handle,
            values,
            overwrite=rule is OnExists.REPLACE,
            expected_version=expected_version,
        )


def read_items(stream: BinaryIO, format_: Format, options: Options) -> Iterator[Item]:
    """The rows of a file of a known format (`detect` finds it)."""
    from registry.imports import batch_file, csv_file, gs1_resolver, json_lines

    readers = {
        Format.CSV: csv_file.read,
        Format.JSON_LINES: json_lines.read,
        Format.BATCH: batch_file.read,
        Format.GS1_RESOLVER: gs1_resolver.read,
    }
    return readers[format_](stream, options)


def detect(name: str, start: bytes) -> Format:
    """The format of a file by its name, else by its first octets. Raises SettingsError.

    start: some kilobytes from the beginning.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingsError(f"{name} is UTF-16; save it as UTF-8, or as GB18030 with --encoding")
    suffix = Path(name).suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return Format.JSON_LINES
    if text.startswith(b"[") and (b'"anchor"' in text or b'"identificationKeyType"' in text):
        return Format.GS1_RESOLVER
    word = text.split(None, 1)[0].upper() if text else b""
    if word in _BATCH_WORDS:
        return Format.BATCH
    if b"identifier" in text.split(b"\n", 1)[0].lower():
        return Format.CSV
    raise SettingsError(
        f"{name} is neither CSV (a first column `identifier`), nor JSON lines, nor a Handle batch "
        "file; name the format with --format"
    )


_BY_SUFFIX = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
}
_BATCH_WORDS = frozenset(
    b"CREATE DELETE ADD REMOVE MODIFY HOME UNHOME AUTHENTICATE SESSIONSETUP".split()
)


class RawLine(NamedTuple):
    """A line of a file. overlong: it was cut."""

    number: int
    data: bytes
    overlong: bool


def bounded_lines(stream: BinaryIO, most: int = MAX_LINE_BYTES) -> Iterator[RawLine]:
    """Lines with their ends, numbered from 1, a byte order mark taken off the first.

    An overlong one is cut and the rest of it skipped.
    """
    number = 0
    while data := stream.readline(most):
        number += 1
        overlong = len(data) == most and not data.endswith(b"\n")
        if overlong:
            while (rest := stream.readline(most)) and not rest.endswith(b"\n"):
                continue
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        yield RawLine(number, data, overlong)
