"""Handle batch files: what Handle.Net's GenericBatch reads (its technical manual, chapter 4).

    CREATE 88.118.8/pump-7
    100 HS_ADMIN 86400 1110 ADMIN 300:111111111111:0.NA/88.118.8
    1 URL 86400 1110 UTF8 https://example.org/pump-7

Blocks begin with an operation and end at a blank line or the next operation. The twelve digits of
ADMIN stand in the order add handle … list handles: the reverse of the REST interface's.
AUTHENTICATE and SESSIONSETUP blocks are read over: who registers is said on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError, InvalidValue, ParseError
from protocol.record import MAX_INDEX, HandleValue, Reference
from protocol.values.hs_admin import Admin, encode_admin
from protocol.values.hs_vlist import encode_vlist
from registry.imports import MAX_LINE_BYTES, Item, Options, bounded_lines

MAX_BLOCK_LINES = 4_096
MAX_FILE_BYTES = 65_536
"""Largest file that FILE data may name."""

_VALUE_BLOCKS = {"CREATE": Kind.CREATE, "ADD": Kind.ADD, "MODIFY": Kind.MODIFY}
_NAME_BLOCKS = {"HOME": Kind.HOME, "UNHOME": Kind.UNHOME}
_SKIPPED = frozenset(("AUTHENTICATE", "SESSIONSETUP"))
_OPERATIONS = frozenset((*_VALUE_BLOCKS, *_NAME_BLOCKS, *_SKIPPED, "DELETE", "REMOVE"))


@dataclass(slots=True)
class _Block:
    """An operation and the lines that belong to it."""

    line: int
    operation: str
    argument: str
    body: list[tuple[int, str]] = field(default_factory=list)
    problem: str | None = None


def read(stream: BinaryIO, options: Options) -> Iterator[Item]:
    """The operations of a batch file, in order."""
    block: _Block | None = None
    for raw in bounded_lines(stream):
        problem = f"the line is above {MAX_LINE_BYTES} octets" if raw.overlong else None
        try:
            text = raw.data.decode(options.encoding).rstrip("\r\n")
        except UnicodeDecodeError as error:
            text = raw.data.decode(options.encoding, "replace").rstrip("\r\n")
            problem = f"octet at {error.start} is not {options.encoding}; use --encoding"
        operation, _, argument = text.strip().partition(" ")
        starts = operation.upper() in _OPERATIONS and (bool(argument) or _alone(operation))
        if block is not None and (starts or not text.strip()):
            yield from _items(block, options)
            block = None
        if starts:
            block = _Block(raw.number, operation.upper(), argument.strip(), problem=problem)
        elif text.strip() and block is None:
            yield Item(raw.number, b"", None, _stray(text, problem))
        elif block is not None:
            _extend(block, raw.number, text, problem)
    if block is not None:
        yield from _items(block, options)


def _alone(operation: str) -> bool:
    return operation.upper() in {"SESSIONSETUP", *_NAME_BLOCKS}


def _stray(text: str, problem: str | None) -> str:
    return problem or (
        f"{text.split(maxsplit=1)[0][:40]!r} is no operation; a block begins with CREATE, ADD, REMOVE, "
        "MODIFY, DELETE, HOME, UNHOME or AUTHENTICATE"
    )


def _extend(block: _Block, number: int, text: str, problem: str | None) -> None:
    if problem is not None:
        block.problem = block.problem or f"line {number}: {problem}"
    if len(block.body) >= MAX_BLOCK_LINES:
        block.problem = block.problem or f"more than {MAX_BLOCK_LINES} lines in one block"
        return
    last = block.body[-1][1] if block.body else ""
    if last.rstrip().endswith(" ADMIN") and not text.split(" ", 1)[0].isdigit():
        block.body[-1] = (block.body[-1][0], f"{last.rstrip()} {text.strip()}")
        return
    block.body.append((number, text))


def _items(block: _Block, options: Options) -> Iterator[Item]:
    if block.operation in _SKIPPED:
        return
    if block.operation in _NAME_BLOCKS:
        kind = _NAME_BLOCKS[block.operation]
        for number, text in block.body:
            name = text.strip().encode()
            yield Item(number, name, Change(kind, name))
        if not block.body:
            told = (
                f"{block.operation} names no prefix; write each on a line below it, as 0.NA/88.118"
            )
            yield Item(block.line, b"", None, told)
        return
    handle = block.argument.encode()
    try:
        if block.problem is not None:
            raise ParseError(block.problem)
        yield Item(block.line, *_change(block, handle, options))
    except BiaoshiError as error:
        yield Item(block.line, handle, None, str(error))


def _change(block: _Block, handle: bytes, options: Options) -> tuple[bytes, Change]:
    if block.operation == "DELETE":
        return handle, Change(Kind.DELETE, handle)
    if block.operation == "REMOVE":
        indexes, colon, name = block.argument.partition(":")
        if not colon or not name:
            raise ParseError("REMOVE is written INDEX,INDEX:HANDLE")
        numbers = tuple(_index(text.strip()) for text in indexes.split(","))
        return name.encode(), Change(Kind.REMOVE, name.encode(), indexes=numbers)
    values = tuple(_value(number, text, options) for number, text in block.body)
    if block.operation == "CREATE":
        return handle, options.registration(handle, values)
    return handle, Change(_VALUE_BLOCKS[block.operation], handle, values)


def _value(number: int, line: str, options: Options) -> HandleValue:
    """`INDEX TYPE TTL PERMISSIONS FORMAT DATA`."""
    fields = line.strip().split(" ", 5)
    where = f"line {number}"
    if len(fields) < 5:
        raise ParseError(
            f"{where}: a value is written INDEX TYPE TTL PERMISSIONS FORMAT DATA, not {line[:60]!r}"
        )
    index, type_, ttl, permissions, form = fields[:5]
    data = fields[5] if len(fields) == 6 else ""
    if not ttl.isascii() or not ttl.isdigit() or int(ttl) > 0xFFFFFFFF:
        raise ParseError(f"{where}: ttl {ttl[:20]!r} must be a number of seconds")
    if len(permissions) != 4 or permissions.strip("01"):
        raise ParseError(
            f"{where}: permissions {permissions[:20]!r} must be four digits of 0 and 1 "
            "(admin read, admin write, public read, public write)"
        )
    try:
        octets = _data(form.upper(), data, options)
    except BiaoshiError as error:
        raise type(error)(f"{where}: {error}") from None
    return HandleValue(
        _index(index, where), type_.encode(), octets, int(ttl), permissions=int(permissions, 2)
    )


def _index(text: str, where: str = "REMOVE") -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MAX_INDEX:
        raise InvalidValue(f"{where}: {text[:20]!r} is no value index (1 to {MAX_INDEX})")
    return int(text)


def _data(form: str, data: str, options: Options) -> bytes:
    if form == "UTF8":
        return data.encode()
    if form == "ADMIN":
        return _admin(data.strip())
    if form == "LIST":
        entries = [text.strip() for text in data.split(";") if text.strip()]
        return encode_vlist([_reference(text) for text in entries])
    if form == "FILE":
        return _file(data.strip(), options.folder)
    raise ParseError(f"data format {form[:20]!r} is unknown; use UTF8, ADMIN, LIST or FILE")


def _admin(text: str) -> bytes:
    """INDEX:PERMISSIONS:HANDLE, the permissions lowest bit first."""
    index, _, rest = text.partition(":")
    digits, colon, handle = rest.partition(":")
    if not colon or not handle or len(digits) != 12 or digits.strip("01"):
        raise ParseError(
            f"ADMIN {text[:60]!r} is written INDEX:PERMISSIONS:HANDLE with twelve digits, "
            "for instance 300:111111111111:0.NA/88.118"
        )
    if not index.isascii() or not index.isdigit() or int(index) > 0xFFFFFFFF:
        raise ParseError(f"ADMIN index {index[:20]!r} must be a number")
    return encode_admin(Admin(int(digits[::-1], 2), handle.encode(), int(index)))


def _reference(text: str) -> Reference:
    index, colon, handle = text.partition(":")
    if not colon or not handle or not index.isascii() or not index.isdigit():
        raise ParseError(f"LIST entry {text[:60]!r} is written INDEX:HANDLE")
    return Reference(handle.encode(), int(index) & 0xFFFFFFFF)


def _file(name: str, folder: Path | None) -> bytes:
    if folder is None:
        raise ParseError("FILE data is not taken here; write it as UTF8, or register from a file")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ParseError(
            f"FILE {name[:80]!r} lies outside of the batch file's folder; copy it there"
        )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ParseError(f"FILE {name[:80]!r} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidValue(f"FILE {name[:80]!r} is above {MAX_FILE_BYTES} octets")
    return data
