"""biaoshi wire: decode, encode and check Handle protocol bytes, row by row.

Rows are JSON lines or one JSON array, from standard input or files. What a kind means is
protocol.vectorform; here are only reading, writing and exit codes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.errors import ParseError
from protocol.jsonfields import Fields
from protocol.vectorform import VectorMismatch, form_of

ALL_FINE = 0
SOME_FAILED = 1
UNUSABLE = 2

_CODES = "Exit codes: 0 every row is fine; 1 a row is not; 2 the input is no list of rows."
_EPILOG = f"""\b
Examples:
  biaoshi wire check tests/vectors/do-irp/*.json
  biaoshi wire decode --kind envelope < rows.jsonl
\b
{_CODES}"""
_DECODE_EPILOG = f"""\b
Examples:
  echo '{{"kind":"hs_vlist","hex":"0000000100000003612f620000012c"}}' | biaoshi wire decode
  biaoshi wire decode --kind envelope envelopes.jsonl
\b
{_CODES}"""
_ENCODE_EPILOG = f"""\b
Examples:
  biaoshi wire encode < decoded.jsonl
  biaoshi wire decode rows.jsonl | biaoshi wire encode
\b
{_CODES}"""
_CHECK_EPILOG = f"""\b
Examples:
  biaoshi wire check < tests/vectors/do-irp/requests.json
  biaoshi wire check tests/vectors/do-irp/*.json
\b
{_CODES}"""

app = typer.Typer(
    name="wire",
    help="Decode, encode and check Handle protocol bytes.",
    epilog=_EPILOG,
    no_args_is_help=True,
)

Row = dict[str, Any]
Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of JSON lines or one JSON array each; without them, stdin."),
]
Kind = Annotated[str | None, typer.Option("--kind", help="The kind of rows that name none.")]


_Work = Callable[[Row, str | None], tuple[Row, bool]]
"""A row and the kind of rows that name none, to its answer and
whether it went well. Raises ParseError."""


class Unusable(Exception):
    """The input is no list of rows at all."""


class BadLine(str):
    """Why a line among JSON lines is no row."""

    __slots__ = ()


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


@app.command(epilog=_DECODE_EPILOG)
def decode(files: Files = None, kind: Kind = None) -> None:
    """Rows {"kind","hex"} to rows {"name","kind","hex","decoded"}."""
    _run(files, kind, _decode_row)


@app.command(epilog=_ENCODE_EPILOG)
def encode(files: Files = None, kind: Kind = None) -> None:
    """Rows {"kind","decoded"} to rows {"name","kind","hex","decoded"}."""
    _run(files, kind, _encode_row)


@app.command(epilog=_CHECK_EPILOG)
def check(files: Files = None, kind: Kind = None) -> None:
    """Whole vectors to rows {"name","ok","why"}: whether everything a vector claims holds."""
    _run(files, kind, _check_row)


def _kind_of(row: Row, default: str | None) -> str:
    kind = row.get("kind", default)
    if not isinstance(kind, str):
        raise ParseError('the row names no kind; add "kind" to it or give --kind')
    return kind


def _decode_row(row: Row, default: str | None) -> tuple[Row, bool]:
    kind = _kind_of(row, default)
    data = Fields(row, "").hex("hex")
    return _named(row, kind=kind, hex=data.hex(), decoded=form_of(kind).decode(data)), True


def _encode_row(row: Row, default: str | None) -> tuple[Row, bool]:
    kind = _kind_of(row, default)
    decoded = row.get("decoded")
    if not isinstance(decoded, dict):
        raise ParseError("the row has no object `decoded`; give one, as `wire decode` prints")
    data = form_of(kind).encode(decoded)
    if data is None:
        raise ParseError(f"the bytes of kind {kind} do not follow from `decoded`")
    return _named(row, kind=kind, hex=data.hex(), decoded=decoded), True


def _check_row(row: Row, default: str | None) -> tuple[Row, bool]:
    why = ""
    try:
        kind = _kind_of(row, default)
        form_of(kind).check({**row, "kind": kind})
    except VectorMismatch as error:
        why = error.why
    except ParseError as error:
        why = f"not readable: {error}"
    except Exception as fault:  # noqa: BLE001 (a fault in the code under check is an answer too)
        why = f"a decoder failed instead of refusing: {fault!r}"
    return _named(row, ok=not why, why=why), not why


def _named(row: Row, **fields: Any) -> Row:
    return {"name": row["name"], **fields} if "name" in row else fields


def _run(
    files: list[Path] | None,
    kind: str | None,
    work: _Work,
) -> None:
    code = ALL_FINE
    try:
        for text in _texts(files):
            for row in _rows(text):
                if isinstance(row, BadLine):
                    answer, fine, code = {"error": str(row)}, False, UNUSABLE
                else:
                    answer, fine = _answer(row, kind, work)
                code = max(code, ALL_FINE if fine else SOME_FAILED)
                sys.stdout.write(json.dumps(answer) + "\n")
    except Unusable as error:
        typer.echo(f"wire: {error}", err=True)
        raise typer.Exit(UNUSABLE) from None
    raise typer.Exit(code)


def _answer(row: Row, default: str | None, work: _Work) -> tuple[Row, bool]:
    try:
        return work(row, default)
    except ParseError as error:
        return _named(row, kind=row.get("kind", default), error=str(error)), False


def _texts(files: list[Path] | None) -> Iterator[str]:
    try:
        if not files:
            yield sys.stdin.buffer.read().decode()
            return
        for path in files:
            yield path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Unusable(f"the input is not UTF-8: {error}") from None
    except OSError as error:
        raise Unusable(f"cannot read the input: {error}") from None


def _rows(text: str) -> Iterator[Row | BadLine]:
    """The rows of JSON lines, or of arrays and objects one after the other over several lines."""
    stripped = text.strip()
    if not stripped:
        raise Unusable("the input is empty; give rows as JSON lines or as one JSON array")
    if _is_json_lines(stripped):
        yield from _lines(text)
        return
    at = 0
    while at < len(stripped):
        try:
            found, end = _DECODER.raw_decode(stripped, at)
        except (ValueError, RecursionError) as error:
            raise Unusable(f"no JSON: {error}") from None
        for row in found if isinstance(found, list) else [found]:
            yield _object(row, "the input")
        at = end + len(stripped[end:]) - len(stripped[end:].lstrip())


def _is_json_lines(stripped: str) -> bool:
    """Whether the first line looks like an object by itself."""
    first = stripped.split("\n", 1)[0].rstrip()
    return first.startswith("{") and first.endswith("}")


def _lines(text: str) -> Iterator[Row | BadLine]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _object(_DECODER.decode(line), f"line {number}")
            except (ValueError, RecursionError) as error:
                yield BadLine(f"line {number} is no JSON: {error}")
            except Unusable as error:
                yield BadLine(str(error))


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise Unusable(f"{where} holds {type(row).__name__} {row!r:.40}; rows are JSON objects")
    return row
