"""Vector forms of replication streams: txn_stream, dump_stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from protocol.doirp.stream import NEED_DATA
from protocol.doirp.stream_records import (
    DUMP_FORMAT,
    STREAM_HASH,
    Action,
    DumpDate,
    DumpEnd,
    DumpHead,
    DumpItem,
    DumpPosition,
    DumpPrefix,
    DumpReader,
    DumpRecord,
    DumpState,
    Queue,
    QueueTime,
    Status,
    StreamWriter,
    Transaction,
    TransactionReader,
    TxnEnd,
    TxnHead,
    TxnItem,
    encode_item,
)
from protocol.errors import ParseError
from protocol.jsonfields import Fields, signed32, signed64, text_of
from protocol.keys import PublicKey
from protocol.keys.policy import EVERYTHING
from protocol.keys.signing import verify_octets
from protocol.vectorform.crypto_fields import (
    claims_without_case,
    demand,
    private_key_of,
    public_key_of,
    trying,
)
from protocol.vectorform.form import Form, Shape, compare, hex_of, same_text_fields
from protocol.vectorform.values import values_of, values_shape

_SIGNED = "signed (00000000)"
_UNSIGNED = "unsigned (ffffffff)"
_TERMINATOR = 255
_Block: TypeAlias = tuple[bytes, bytes, bytes]
"""(block, signature, hash text)"""
_Item: TypeAlias = TxnItem | DumpItem


def _read(
    kind: type[TransactionReader | DumpReader], data: bytes
) -> tuple[list[_Item], list[_Block]]:
    """All records of a whole stream, and its signed blocks, not yet verified."""
    blocks: list[_Block] = []
    reader = kind(lambda *block: blocks.append(block), allow_unsigned=True)
    reader.feed(data)
    items: list[_Item] = []
    while not reader.finished:
        item = reader.next()
        if item is NEED_DATA:
            raise ParseError(f"the stream ends after {len(items)} records without its end")
        items.append(item)
    if reader.rest():
        raise ParseError(f"{len(reader.rest())} octets follow the end of the stream")
    return items, blocks


def _check_encoding(items: list[_Item], blocks: list[_Block], data: bytes) -> None:
    """Raise VectorMismatch unless encoding the records gives the octets that were read."""
    if blocks:
        again = [encode_item(item) for item in items if not isinstance(item, DumpEnd)]
        demand("encoding a record gives other octets", so=again == [block[0] for block in blocks])
    else:
        writer = StreamWriter(None)
        again = [writer.write(item) for item in items]
        demand("encoding the records does not give `hex`", so=b"".join(again) == data)


def _check_stream(
    vector: Mapping[str, Any],
    kind: type[TransactionReader | DumpReader],
    shape_of: Callable[[list[_Item]], Shape],
) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    items, blocks = _read(kind, data)
    actual = shape_of(items)
    signed = actual["stream_type"] == _SIGNED
    if signed:
        key = public_key_of(Fields(claims))
        actual["public_key_hex"] = claims["public_key_hex"]
        trying(lambda: _verify(blocks, key), "a block signature")
    compare(claims, same_text_fields(claims, actual))
    _check_encoding(items, blocks, data)


def _verify(blocks: list[_Block], key: PublicKey) -> None:
    for block, signature, hash_ in blocks:
        verify_octets(key, signature, block, hash_, EVERYTHING)


def _stream_type(hash_: bytes | None) -> str:
    return _UNSIGNED if hash_ is None else _SIGNED


def _writer_of(fields: Fields) -> tuple[StreamWriter, bytes | None] | None:
    """The writer for a row, with its hash; None where a signed stream has no private key."""
    stream_type = fields.any("stream_type")
    if stream_type == _UNSIGNED:
        return StreamWriter(None), None
    if stream_type != _SIGNED:
        raise ParseError(f"{fields.path('stream_type')} is {stream_type!r:.60}; {_SIGNED!r}")
    if "private_key_hex" not in fields:
        return None
    hash_ = fields.text("hash_algorithm") if "hash_algorithm" in fields else STREAM_HASH
    return StreamWriter(private_key_of(fields), hash_), hash_


def _txn_shape(items: list[_Item]) -> Shape:
    head, *records, end = items
    if not isinstance(head, TxnHead) or not isinstance(end, TxnEnd):
        raise ParseError("a transaction stream begins with its head and ends with its end")
    # A stream that asks for a redump has no date worth keeping.
    dated = head.status is not Status.REDUMP_NEEDED and end.date_ms is not None
    return {
        "stream_type": _stream_type(head.hash),
        "hash_algorithm": None if head.hash is None else text_of(head.hash, "the hash"),
        "data_format_version": head.format,
        "status": int(head.status),
        "transactions": [_txn_record_shape(record) for record in records],
        "end_date_ms": signed64(end.date_ms or 0) if dated else None,
    }


def _txn_record_shape(item: _Item) -> Shape:
    match item:
        case Transaction():
            return {
                "txn_id": signed64(item.id),
                "handle": text_of(item.handle, "a handle"),
                "action": int(item.action),
                "date_ms": signed64(item.date_ms),
                "values": None if item.values is None else values_shape(item.values),
            }
        case Queue():
            return {"queue_name": text_of(item.name, "a queue name")}
        case QueueTime():
            return {"queue_last_timestamp_ms": signed64(item.last_ms)}
    raise ParseError(f"{type(item).__name__} amid the transactions")


def _decode_txn(data: bytes) -> Shape:
    return _txn_shape(_read(TransactionReader, data)[0])


def _encode_txn(decoded: Shape) -> bytes | None:
    fields = Fields(decoded)
    if (found := _writer_of(fields)) is None:
        return None
    writer, hash_ = found
    status, format_ = fields.number("status", 1, 2), fields.number("data_format_version", 1, 2)
    items: list[_Item] = [TxnHead(hash_, format_, Status(status))]
    items += (_txn_record_of(record) for record in fields.objects("transactions"))
    ends = fields.any("end_date_ms") is not None
    date_ms = fields.u8("end_date_ms") if ends else 0
    items.append(TxnEnd(date_ms if format_ == 1 else None))
    return b"".join(map(writer.write, items))


def _txn_record_of(fields: Fields) -> TxnItem:
    if "queue_name" in fields:
        return Queue(fields.text("queue_name"))
    if "queue_last_timestamp_ms" in fields:
        return QueueTime(fields.u8("queue_last_timestamp_ms"))
    action = Action(fields.number("action", 0, max(Action)))
    with_values = action in {Action.CREATE, Action.UPDATE}
    return Transaction(
        fields.u8("txn_id"),
        fields.text("handle"),
        action,
        fields.u8("date_ms"),
        values_of(fields) if with_values else None,
    )


def _dump_shape(items: list[_Item]) -> Shape:
    head, *records, _ = items
    if not isinstance(head, DumpHead):
        raise ParseError("a dump begins with its head")
    return {
        "stream_type": _stream_type(head.hash),
        "data_format_version": head.format,
        "records": [_dump_record_shape(record) for record in records],
        "terminator": _TERMINATOR,
    }


def _dump_record_shape(item: _Item) -> Shape:
    match item:
        case DumpPosition():
            date_ms = signed64(item.date_ms)
            return {"record_type": 0, "date_ms": date_ms, "txn_id": signed64(item.txn_id)}
        case DumpRecord():
            handle = text_of(item.handle, "a handle")
            return {"record_type": 1, "handle": handle, "values": values_shape(item.values)}
        case DumpPrefix():
            return {"record_type": 2, "handle": text_of(item.handle, "a prefix")}
        case DumpDate():
            return {
                "record_type": 4 if item.prefix else 3,
                "handle": text_of(item.handle, "a handle"),
                "date_ms": signed64(item.date_ms),
                "priority": signed32(item.priority),
            }
        case DumpState():
            return {"record_type": 5, "stream_table": text_of(item.table, "the state")}
    raise ParseError(f"{type(item).__name__} amid the records of a dump")


def _decode_dump(data: bytes) -> Shape:
    return _dump_shape(_read(DumpReader, data)[0])


def _encode_dump(decoded: Shape) -> bytes | None:
    fields = Fields(decoded)
    if (found := _writer_of(fields)) is None:
        return None
    writer, hash_ = found
    items: Iterator[DumpItem] = map(_dump_record_of, fields.objects("records"))
    return b"".join(map(writer.write, (DumpHead(hash_, DUMP_FORMAT), *items, DumpEnd())))


def _dump_record_of(fields: Fields) -> DumpItem:
    match fields.number("record_type", 0, 5):
        case 0:
            return DumpPosition(fields.u8("date_ms"), fields.u8("txn_id"))
        case 1:
            return DumpRecord(fields.text("handle"), values_of(fields))
        case 2:
            return DumpPrefix(fields.text("handle"))
        case 5:
            return DumpState(fields.text("stream_table"))
        case number:
            return DumpDate(
                fields.text("handle"),
                fields.u8("date_ms"),
                fields.u4("priority"),
                prefix=number == 4,
            )


def _check_txn(vector: Mapping[str, Any]) -> None:
    _check_stream(vector, TransactionReader, _txn_shape)


def _check_dump(vector: Mapping[str, Any]) -> None:
    _check_stream(vector, DumpReader, _dump_shape)


FORMS: dict[str, Form] = {
    "txn_stream": Form(_decode_txn, _encode_txn, _check_txn),
    "dump_stream": Form(_decode_dump, _encode_dump, _check_dump),
}
