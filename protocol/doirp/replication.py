"""Bodies of replication requests and replies (deployed software only; do-irp 10.1, 10.2).

The streams that follow such replies are protocol.doirp.stream_records.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.doirp.envelope import Version
from protocol.errors import ParseError
from protocol.wire import Reader, Writer

FROM_2_9: Version = (2, 9)
_OWN_LOG = 0
_ALL_SOURCES = 1


@dataclass(frozen=True, slots=True)
class Slice:
    """Which handles are wanted: those that hash to server `number` of `servers`."""

    hash_type: int
    servers: int
    number: int


@dataclass(frozen=True, slots=True)
class RetrieveTransactions:
    """Request body of 1001.

    state_json: what was seen of all sources; None asks for the server's own log, from last_id on.
    last_date_ms: milliseconds since 1970.
    """

    slice: Slice
    last_id: int = 0
    last_date_ms: int = 0
    state_json: bytes | None = None


@dataclass(frozen=True, slots=True)
class DumpRequest:
    """Request body of 1002. start: handle to resume at; start_kind 0 … 3 as do-irp 10.2."""

    slice: Slice
    start: bytes | None = None
    start_kind: int = 0


@dataclass(frozen=True, slots=True)
class NextTransactionReply:
    """Success body of 1000."""

    txn_id: int


@dataclass(frozen=True, slots=True)
class RetrieveReply:
    """Success body of 1001, before its stream. Bit 0 of the octet: the connection stays open."""

    octet: int


def decode_retrieve(body: bytes | memoryview, version: Version) -> RetrieveTransactions:
    """From 2.9 a kind octet stands in front; 1 means JSON instead of id and date."""
    reader = Reader(body)
    kind = reader.u1() if version >= FROM_2_9 else _OWN_LOG
    if kind == _ALL_SOURCES:
        state = reader.octets()
        request = RetrieveTransactions(_read_slice(reader), state_json=state)
    elif kind == _OWN_LOG:
        last_id, last_date_ms = reader.u8(), reader.u8()
        request = RetrieveTransactions(_read_slice(reader), last_id, last_date_ms)
    else:
        raise ParseError(f"kind {kind} of a transaction request is unknown; 0 and 1 are defined")
    reader.finish()
    return request


def encode_retrieve(request: RetrieveTransactions, version: Version) -> bytes:
    """The body for a message of that version. ParseError when it cannot say it."""
    out = Writer()
    if request.state_json is not None:
        if version < FROM_2_9:
            raise ParseError("transactions of all sources can be asked for from version 2.9 on")
        out.u1(_ALL_SOURCES).octets(request.state_json)
    else:
        if version >= FROM_2_9:
            out.u1(_OWN_LOG)
        out.u8(request.last_id).u8(request.last_date_ms)
    _write_slice(out, request.slice)
    return out.finish()


def decode_dump_request(body: bytes | memoryview) -> DumpRequest:
    """u1 hash type; u4 server count; u4 server number; optionally str handle, u4 kind."""
    reader = Reader(body)
    which = _read_slice(reader)
    if not reader.left:
        return DumpRequest(which)
    request = DumpRequest(which, reader.octets(), reader.u4())
    reader.finish()
    return request


def encode_dump_request(request: DumpRequest) -> bytes:
    """The body of a dump request."""
    out = Writer()
    _write_slice(out, request.slice)
    if request.start is not None:
        out.octets(request.start).u4(request.start_kind)
    return out.finish()


def decode_next_transaction(body: bytes | memoryview) -> NextTransactionReply:
    """u8."""
    reader = Reader(body)
    reply = NextTransactionReply(reader.u8())
    reader.finish()
    return reply


def encode_next_transaction(reply: NextTransactionReply) -> bytes:
    """u8."""
    return Writer().u8(reply.txn_id).finish()


def decode_retrieve_reply(body: bytes | memoryview) -> RetrieveReply:
    """u1."""
    reader = Reader(body)
    reply = RetrieveReply(reader.u1())
    reader.finish()
    return reply


def encode_retrieve_reply(reply: RetrieveReply) -> bytes:
    """u1."""
    return Writer().u1(reply.octet).finish()


def _read_slice(reader: Reader) -> Slice:
    return Slice(reader.u1(), reader.u4(), reader.u4())


def _write_slice(out: Writer, which: Slice) -> None:
    out.u1(which.hash_type).u4(which.servers).u4(which.number)
