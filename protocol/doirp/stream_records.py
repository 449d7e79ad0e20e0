"""Replication streams: what follows the reply to 1001 and 1002 (deployed software only; do-irp 10.3).

A stream is a head and records; in signed streams each block is followed by a signature of the
server's key, and no record comes out before its block verified. Feed octets, take out records
until NEED_DATA. Bodies of the requests are protocol.doirp.replication; TLS is the caller's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from protocol.doirp.stream import NEED_DATA, NeedData
from protocol.errors import ParseError, SignatureInvalid
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.policy import STRICT, Policy
from protocol.keys.signing import MAX_SIGNATURE_BYTES, sign_octets, verify_octets
from protocol.record import HandleValue, decode_value, encode_value
from protocol.wire import MAX_ARRAY, Writer

SIGNED: Final = 0x00000000
UNSIGNED: Final = 0xFFFFFFFF
TLS: Final = 0x544C5300
MAX_BLOCK_BYTES = 16 * 1_048_576
"""Longest block: one record."""
MAX_VALUES = 2_048
DUMP_FORMAT = 2
TXN_FORMATS = (1, 2)
STREAM_HASH = b"SHA1"
"""The hash that deployed software signs blocks with."""
_DUMP_END = 0xFF


class Status(IntEnum):
    """What a transaction stream brings."""

    REDUMP_NEEDED = 1
    TRANSACTIONS = 2


class Action(IntEnum):
    """What a transaction did."""

    PLACEHOLDER = 0
    CREATE = 1
    DELETE = 2
    UPDATE = 3
    HOME = 4
    UNHOME = 5
    DELETE_ALL = 6


_WITH_VALUES = (Action.CREATE, Action.UPDATE)


@dataclass(frozen=True, slots=True)
class TxnHead:
    """The first record of a transaction stream. hash: None when unsigned."""

    hash: bytes | None
    format: int
    status: Status


@dataclass(frozen=True, slots=True)
class Transaction:
    """One change. values: the current ones, for CREATE and UPDATE; else None."""

    id: int
    handle: bytes
    action: Action
    date_ms: int
    values: tuple[HandleValue, ...] | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """The transactions after it belong to this source (format 2)."""

    name: bytes


@dataclass(frozen=True, slots=True)
class QueueTime:
    """The last time stamp of the queue (format 2), milliseconds since 1970."""

    last_ms: int


@dataclass(frozen=True, slots=True)
class TxnEnd:
    """The end. date_ms: what to ask from next time (format 1), else None."""

    date_ms: int | None


@dataclass(frozen=True, slots=True)
class DumpHead:
    """The first record of a dump. hash: None when unsigned."""

    hash: bytes | None
    format: int


@dataclass(frozen=True, slots=True)
class DumpPosition:
    """Where the dumping server's log stands."""

    date_ms: int
    txn_id: int


@dataclass(frozen=True, slots=True)
class DumpRecord:
    """One handle and its values."""

    handle: bytes
    values: tuple[HandleValue, ...]


@dataclass(frozen=True, slots=True)
class DumpPrefix:
    """One homed prefix, as its prefix record."""

    handle: bytes


@dataclass(frozen=True, slots=True)
class DumpDate:
    """When a handle, or a prefix, was changed last and by a source of which priority."""

    handle: bytes
    date_ms: int
    priority: int
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class DumpState:
    """What the server has seen of other sites, in its own text format."""

    table: bytes


@dataclass(frozen=True, slots=True)
class DumpEnd:
    """The end of a dump."""


TxnItem: TypeAlias = TxnHead | Transaction | Queue | QueueTime | TxnEnd
DumpItem: TypeAlias = (
    DumpHead | DumpPosition | DumpRecord | DumpPrefix | DumpDate | DumpState | DumpEnd
)
BlockCheck: TypeAlias = Callable[[bytes, bytes, bytes], None]
"""Gets (block, signature, hash text) of each signed block; raises SignatureInvalid."""
_Item: TypeAlias = TxnItem | DumpItem
_Steps: TypeAlias = Generator[_Item | None, None, None]


def check_blocks(key: PublicKey, policy: Policy = STRICT) -> BlockCheck:
    """A check against the sending server's key. SHA-1 needs `rsa-sha1` in the policy."""

    def check(block: bytes, signature: bytes, hash_: bytes) -> None:
        verify_octets(key, signature, block, hash_, policy)

    return check


class _Source:
    """Octets that arrived; each method yields None until it has enough of them."""

    __slots__ = ("at", "buffer", "mark")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.at = 0  # offset of the next octet
        self.mark = 0  # offset where the block begins

    def take(self, size: int) -> Generator[None, None, bytes]:
        if self.at + size - self.mark > MAX_BLOCK_BYTES:
            raise ParseError(f"a block of the stream is above {MAX_BLOCK_BYTES} octets")
        while len(self.buffer) - self.at < size:
            yield
        start, self.at = self.at, self.at + size
        return bytes(self.buffer[start : self.at])

    def number(self, size: int) -> Generator[None, None, int]:
        return int.from_bytes((yield from self.take(size)), "big")

    def octets(self, limit: int = MAX_ARRAY) -> Generator[None, None, bytes]:
        size = yield from self.number(4)
        if size > limit:
            raise ParseError(f"length {size} in the stream is above {limit}")
        return (yield from self.take(size))

    def values(self) -> Generator[None, None, tuple[HandleValue, ...]]:
        count = yield from self.number(4)
        if count > MAX_VALUES:
            raise ParseError(f"{count} values in one record are above {MAX_VALUES}")
        values = []
        for _ in range(count):
            data = yield from self.octets()
            values.append(decode_value(data))
        return tuple(values)

    def drop(self) -> None:
        del self.buffer[: self.at]
        self.at = self.mark = 0


class _RecordReader(ABC):
    """What both streams share: framing, block signatures, errors that stay."""

    def __init__(self, check: BlockCheck | None, *, allow_unsigned: bool = False) -> None:
        """check: see check_blocks; None refuses signed streams.

        allow_unsigned: only inside TLS.
        """
        self._source = _Source()
        self._check = check
        self._allow_unsigned = allow_unsigned
        self._hash: bytes | None = None
        self._steps = self._run()
        self._error: ParseError | SignatureInvalid | None = None
        self.finished = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what arrived."""
        self._source.buffer += data

    def rest(self) -> bytes:
        """What follows the end of the stream."""
        return bytes(self._source.buffer[self._source.at :])

    def _next(self) -> _Item | NeedData:
        if self._error:
            raise self._error
        if self.finished:
            raise ParseError("the replication stream has ended; read no more from it")
        try:
            item = next(self._steps)
        except (ParseError, SignatureInvalid) as error:
            self._error = error
            raise
        self.finished = isinstance(item, TxnEnd | DumpEnd)
        return NEED_DATA if item is None else item

    @abstractmethod
    def _run(self) -> _Steps:
        """Yields records, and None while more octets are needed."""

    def _open(self) -> Generator[None, None, None]:
        kind = yield from self._source.number(4)
        if kind == SIGNED:
            self._hash = yield from self._source.octets(limit=32)
        elif kind == TLS:
            raise ParseError("the stream goes on in TLS; start TLS on the connection first")
        elif kind != UNSIGNED:
            raise ParseError(f"stream type {kind:#010x} is unknown")
        elif not self._allow_unsigned:
            raise SignatureInvalid("the stream is unsigned; take it over HTTPS or TLS only")
        self._source.drop()

    def _seal(self) -> Generator[None, None, None]:
        """Ends a block: reads and checks its signature in a signed stream."""
        source = self._source
        if self._hash is not None:
            block = bytes(source.buffer[source.mark : source.at])
            source.mark = source.at
            signature = yield from source.octets(limit=MAX_SIGNATURE_BYTES)
            if self._check is None:
                raise SignatureInvalid("the stream is signed; give the server's public key")
            self._check(block, signature, self._hash)
        source.drop()


class TransactionReader(_RecordReader):
    """Reads a transaction stream, head and end included."""

    def next(self) -> TxnItem | NeedData:
        """The next record, or NEED_DATA. Raises ParseError or SignatureInvalid, then always."""
        return self._next()  # type: ignore[return-value]  # _run() yields TxnItem only

    def _run(self) -> _Steps:
        source = self._source
        yield from self._open()
        format_ = yield from source.number(4)
        number = yield from source.number(4)
        if format_ not in TXN_FORMATS or number not in set(Status):
            raise ParseError(f"transaction stream of format {format_}, status {number}")
        yield from self._seal()
        yield TxnHead(self._hash, format_, Status(number))
        item: TxnItem
        while True:
            tag = yield from source.number(1)
            if tag == 1:
                item = yield from self._transaction()
            elif tag == 0:
                item = TxnEnd((yield from source.number(8)) if format_ == 1 else None)
            elif tag == 2 and format_ != 1:
                item = Queue((yield from source.octets()))
            elif tag == 3 and format_ != 1:
                item = QueueTime((yield from source.number(8)))
            else:
                raise ParseError(f"record {tag} in a transaction stream of format {format_}")
            yield from self._seal()
            yield item

    def _transaction(self) -> Generator[None, None, Transaction]:
        source = self._source
        id_ = yield from source.number(8)
        handle = yield from source.octets()
        number = yield from source.number(1)
        if number not in set(Action):
            raise ParseError(f"action {number} of transaction {id_} is unknown")
        date_ms = yield from source.number(8)
        values = (yield from source.values()) if number in _WITH_VALUES else None
        return Transaction(id_, handle, Action(number), date_ms, values)


class DumpReader(_RecordReader):
    """Reads a dump, head and end included."""

    def next(self) -> DumpItem | NeedData:
        """The next record, or NEED_DATA. Raises ParseError or SignatureInvalid, then always."""
        return self._next()  # type: ignore[return-value]  # _run() yields DumpItem only

    def _run(self) -> _Steps:
        source = self._source
        yield from self._open()
        format_ = yield from source.number(4)
        if format_ != DUMP_FORMAT:
            raise ParseError(f"dump of format {format_}; {DUMP_FORMAT} is wanted")
        yield from self._seal()
        yield DumpHead(self._hash, format_)
        while True:
            tag = yield from source.number(1)
            if tag == _DUMP_END:
                source.drop()
                yield DumpEnd()
                return
            item = yield from self._item(tag)
            yield from self._seal()
            yield item

    def _item(self, tag: int) -> Generator[None, None, DumpItem]:
        source = self._source
        if tag == 0:
            date_ms = yield from source.number(8)
            return DumpPosition(date_ms, (yield from source.number(8)))
        if tag > 5:
            raise ParseError(f"record {tag} in a dump is unknown")
        octets = yield from source.octets()
        if tag == 1:
            return DumpRecord(octets, (yield from source.values()))
        if tag == 2:
            return DumpPrefix(octets)
        if tag == 5:
            return DumpState(octets)
        date_ms = yield from source.number(8)
        priority = yield from source.number(4)
        return DumpDate(octets, date_ms, priority, prefix=tag == 4)


class StreamWriter:
    """Writes either stream, record by record.

    key: signs each block; None writes an unsigned stream (for HTTPS or TLS only).
    """

    def __init__(self, key: PrivateKey | None, hash_: bytes = STREAM_HASH) -> None:
        self._key = key
        self._hash = hash_
        self._opened = False

    def write(self, item: _Item) -> bytes:
        """The octets of a record; the head comes first and once. Raises ParseError otherwise."""
        is_head = isinstance(item, TxnHead | DumpHead)
        if is_head == self._opened:
            raise ParseError("a stream has one head, before all other records")
        opening = b"" if self._opened else self._opening()
        self._opened = True
        return opening + self._sealed(encode_item(item), item)

    def _opening(self) -> bytes:
        if self._key is None:
            return Writer().u4(UNSIGNED).finish()
        return Writer().u4(SIGNED).octets(self._hash).finish()

    def _sealed(self, block: bytes, item: _Item) -> bytes:
        if self._key is None or isinstance(item, DumpEnd):
            return block
        return Writer().raw(block).octets(sign_octets(self._key, block, self._hash)).finish()


def encode_item(item: _Item) -> bytes:
    """One block without its signature."""
    out = Writer()
    match item:
        case TxnHead():
            out.u4(item.format).u4(item.status)
        case DumpHead():
            out.u4(item.format)
        case Transaction():
            out.u1(1).u8(item.id).octets(item.handle).u1(item.action).u8(item.date_ms)
            if item.action in _WITH_VALUES:
                _write_values(out, item.values or ())
        case TxnEnd():
            out.u1(0)
            if item.date_ms is not None:
                out.u8(item.date_ms)
        case Queue():
            out.u1(2).octets(item.name)
        case QueueTime():
            out.u1(3).u8(item.last_ms)
        case DumpPosition():
            out.u1(0).u8(item.date_ms).u8(item.txn_id)
        case DumpRecord():
            _write_values(out.u1(1).octets(item.handle), item.values)
        case DumpPrefix():
            out.u1(2).octets(item.handle)
        case DumpDate():
            out.u1(4 if item.prefix else 3).octets(item.handle)
            out.u8(item.date_ms).u4(item.priority)
        case DumpState():
            out.u1(5).octets(item.table)
        case DumpEnd():
            out.u1(_DUMP_END)
    return out.finish()


def _write_values(out: Writer, values: tuple[HandleValue, ...]) -> None:
    out.u4(len(values))
    for value in values:
        out.octets(encode_value(value))
