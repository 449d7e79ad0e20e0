"""`biaoshi epcis`: hash ids and validity of EPCIS documents and events, without a node."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from protocol.epcis.document import MAX_OCTETS, Document, open_document, parse_document, read_value
from protocol.epcis.errors import EpcisException
from protocol.epcis.eventhash import ALGORITHMS, VERSIONS, event_hash
from protocol.epcis.schema import Problem, check_document, check_rules
from protocol.errors import BiaoshiError, ParseError
from resolver.jsonl import INVALID, OK, UNUSABLE, format_object

app = typer.Typer(
    name="epcis",
    help="Hash ids and validity of EPCIS 2.0 documents and events.",
    no_args_is_help=True,
)

_STDIN: Final = "-"
Files = Annotated[list[str] | None, typer.Argument(metavar="FILE…", show_default=False)]
Line = dict[str, Any]

_CODES: Final = (
    "Exit codes: 0 every {0}; 1 one {1}; 2 a file cannot be read, is no JSON or XML, "
    "or an option cannot be used."
)
_HASH_EPILOG: Final = f"""\b
Examples:
  biaoshi epcis hash events.json
  biaoshi epcis hash --cbv 2.1 one-event.json old-document.xml
  biaoshi epcis hash - < events.json
\b
One JSON object a line:
  {{"file":…, "event":index, "hash":…, "prehash":…}}
\b
{_CODES.format("event has its hash", "has none")}"""
_VALIDATE_EPILOG: Final = f"""\b
Examples:
  biaoshi epcis validate events.json
  biaoshi epcis validate --jsonl < documents.jsonl
\b
One JSON object a document:
  {{"file":…, "valid":bool, "errors":[{{"path":…, "message":…, "rule":…}}, …]}}
with "flags" of the same shape where a rule beyond the schema is not kept: such a document is
valid. With --jsonl also "line".
\b
{_CODES.format("document is valid", "is not")}"""


def read_bytes(name: str) -> bytes:
    """A file, or standard input for `-`. Raises ParseError: not there, or too large."""
    try:
        if name == _STDIN:
            data = sys.stdin.buffer.read(MAX_OCTETS + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise ParseError(f"cannot read {name}: {error.strerror}") from None
    if len(data) > MAX_OCTETS:
        raise ParseError(f"{name} has over {MAX_OCTETS} octets; split it")
    return data


def _write(line: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(format_object(line))
    sys.stdout.buffer.flush()


@app.command("hash", epilog=_HASH_EPILOG)
def hash_(
    files: Files = None,
    *,
    cbv: Annotated[str, typer.Option(help="Rule set: 2.0 or 2.1.")] = "2.0",
    algorithm: Annotated[str, typer.Option(help=f"One of {', '.join(ALGORITHMS)}.")] = "sha-256",
) -> None:
    """Print the hash id of each event of each document or bare event."""
    version = next((known for known in VERSIONS if known == cbv.upper().removeprefix("CBV")), None)
    if not files or version is None or algorithm not in ALGORITHMS:
        typer.echo(
            "give files, or - for standard input"
            if not files
            else f"--cbv is {' or '.join(VERSIONS)}, --algorithm one of {', '.join(ALGORITHMS)}",
            err=True,
        )
        raise typer.Exit(UNUSABLE)

    def answer(event: Mapping[str, Any], context: Any) -> Line:
        found = event_hash(event, context, version, algorithm)
        return {"hash": found.hash, "prehash": found.prehash}

    raise typer.Exit(max(_hash_file(name, answer) for name in files))


def _hash_file(name: str, answer: Callable[[Mapping[str, Any], Any], Line]) -> int:
    try:
        document = parse_document(read_bytes(name), name)
    except BiaoshiError as error:
        typer.echo(str(error), err=True)
        _write({"file": name, "event": None, "hash": None, "prehash": None, "error": str(error)})
        return INVALID if isinstance(error, EpcisException) else UNUSABLE
    code = OK
    for at, event in enumerate(document.events):
        line: Line = {"file": name, "event": at}
        try:
            if not isinstance(event, Mapping):
                raise ParseError("no event; an event is an object")
            line |= answer(event, document.context)
        except BiaoshiError as error:
            line |= {"hash": None, "prehash": None, "error": str(error)}
            code = INVALID
        _write(line)
    return code


@app.command("validate", epilog=_VALIDATE_EPILOG)
def validate(
    files: Files = None,
    *,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Read documents, one a line, from standard input.")
    ] = False,
) -> None:
    """Check documents, query documents and bare events against EPCIS 2.0."""
    if jsonl == bool(files):
        typer.echo("give files, or --jsonl and documents on standard input, and not both", err=True)
        raise typer.Exit(UNUSABLE)
    code = OK
    for head, data in _lines() if jsonl else _files(files or ()):
        line, found = _verdict(head, data)
        code = max(code, found)
        _write(line)
    raise typer.Exit(code)


def _files(names: list[str] | tuple[str, ...]) -> Iterator[tuple[Line, bytes | ParseError]]:
    for name in names:
        try:
            yield {"file": name}, read_bytes(name)
        except ParseError as error:
            yield {"file": name}, error


def _lines() -> Iterator[tuple[Line, bytes | ParseError]]:
    number = 0
    while data := sys.stdin.buffer.readline(MAX_OCTETS + 1):
        number += 1
        head: Line = {"file": _STDIN, "line": number}
        if len(data) > MAX_OCTETS:
            while (rest := sys.stdin.buffer.readline(MAX_OCTETS)) and not rest.endswith(b"\n"):
                continue
            yield head, ParseError(f"line {number} has over {MAX_OCTETS} octets")
        elif data.strip():
            yield head, data


def _verdict(head: Line, data: bytes | ParseError) -> tuple[Line, int]:
    """The answer to one document, and the exit code it asks for."""
    try:
        if isinstance(data, ParseError):
            raise data
        value = read_value(data, head["file"])
    except BiaoshiError as error:
        unusable = Problem("", str(error), "unusable-input")
        return {**head, "valid": False, "errors": [unusable._asdict()]}, UNUSABLE
    problems = check_document(value)
    line = {**head, "valid": not problems, "errors": [found._asdict() for found in problems]}
    flags = [] if problems else [found._asdict() for found in _flags(open_document(value))]
    return line | ({"flags": flags} if flags else {}), INVALID if problems else OK


def _flags(document: Document) -> Iterator[Problem]:
    now_us = time.time_ns() // 1000
    for at, event in enumerate(document.events):
        stem = f"{document.path}/{at}" if document.kind != "event" else ""
        for found in check_rules(event, document.context, now_us=now_us):
            yield found._replace(path=stem + found.path)
