"""Replication streams: any cut gives the same records; signed blocks verify before they come out."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.doirp.stream import NEED_DATA
from protocol.doirp.stream_records import (
    Action,
    DumpDate,
    DumpEnd,
    DumpHead,
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
    check_blocks,
)
from protocol.errors import ParseError, SignatureInvalid
from protocol.keys.policy import EVERYTHING
from protocol.record import HandleValue

RSA = rsa.generate_private_key(65_537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
VALUES = (HandleValue(1, b"URL", b"u"), HandleValue(2, b"DESC", b"d"))
TXN = [
    Transaction(7, b"a/b", Action.CREATE, 1000, VALUES),
    Transaction(8, b"a/b", Action.DELETE, 1001),
    Transaction(9, b"0.NA/a", Action.HOME, 1002),
    Transaction(10, b"a/c", Action.UPDATE, 1003, ()),
]
DUMP = [
    DumpState(b"{}"),
    DumpPosition(5, 6),
    DumpDate(b"a/b", 7, 2),
    DumpDate(b"0.NA/a", 7, 2, prefix=True),
    DumpRecord(b"a/b", VALUES),
    DumpPrefix(b"0.NA/a"),
    DumpEnd(),
]


def txn(hash_, format_=1):
    between = TXN if format_ == 1 else [Queue(b"1:s"), *TXN, QueueTime(99)]
    end = TxnEnd(55 if format_ == 1 else None)
    return [TxnHead(hash_, format_, Status.TRANSACTIONS), *between, end]


def dump(hash_):
    return [DumpHead(hash_, 2), *DUMP]


def written(items, key=None, hash_=b"SHA1"):
    writer = StreamWriter(key, hash_)
    return b"".join(map(writer.write, items))


def read(kind, data, check=None, step=None):
    reader = kind(check, allow_unsigned=check is None)
    items = []
    step = step or max(1, len(data))
    for at in range(0, max(1, len(data)), step):
        reader.feed(data[at : at + step])
        while not reader.finished and (item := reader.next()) is not NEED_DATA:
            items.append(item)
    return items, reader


@pytest.mark.parametrize("step", [1, 7, None])
@pytest.mark.parametrize(
    ("kind", "items"),
    [(TransactionReader, txn(None)), (TransactionReader, txn(None, 2)), (DumpReader, dump(None))],
    ids=["txn-1", "txn-2", "dump"],
)
def test_unsigned_records_come_back(kind, items, step):
    """However the octets are cut; what follows the end is kept apart."""
    found, reader = read(kind, written(items) + b"rest", step=step)
    assert found == items
    assert b"rest".startswith(reader.rest()[:4])


@pytest.mark.parametrize("step", [1, None])
@pytest.mark.parametrize(("key", "hash_"), [(RSA, b"SHA1"), (RSA, b"SHA-256"), (ED, b"Ed25519")])
def test_signed_records_come_back(key, hash_, step):
    """Each block verifies with the server's key."""
    check = check_blocks(key.public_key(), EVERYTHING)
    for kind, items in [(TransactionReader, txn(hash_)), (DumpReader, dump(hash_))]:
        assert read(kind, written(items, key, hash_), check, step)[0] == items


def test_a_changed_block_does_not_come_out():
    """The records before it do; afterwards the reader stays broken."""
    data = bytearray(written(txn(b"SHA-256"), RSA, b"SHA-256"))
    data[data.index(b"0.NA/a") + 5] = ord("z")
    reader = TransactionReader(check_blocks(RSA.public_key()))
    reader.feed(data)
    assert [type(reader.next()) for _ in range(3)] == [TxnHead, Transaction, Transaction]
    for _ in range(2):
        with pytest.raises(SignatureInvalid):
            reader.next()


def test_signatures_are_wanted_where_there_is_no_tls():
    """Unsigned streams, and signed ones without a key, are refused by default."""
    reader = DumpReader(check_blocks(RSA.public_key()))
    reader.feed(written(dump(None)))
    with pytest.raises(SignatureInvalid, match="unsigned"):
        reader.next()
    keyless = DumpReader(None)
    keyless.feed(written(dump(b"SHA1"), RSA))
    with pytest.raises(SignatureInvalid, match="public key"):
        keyless.next()


def test_sha1_blocks_need_the_policy():
    """Deployed servers sign with SHA-1; that has to be named."""
    with pytest.raises(SignatureInvalid, match="rsa-sha1"):
        read(DumpReader, written(dump(b"SHA1"), RSA), check_blocks(RSA.public_key()))


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("544c5300"),
        bytes.fromhex("00000001"),
        bytes.fromhex("ffffffff0000000300000002"),
        bytes.fromhex("ffffffff0000000100000009"),
        bytes.fromhex("ffffffff000000010000000209"),
        bytes.fromhex("ffffffff000000010000000202"),
        bytes.fromhex("ffffffff00000001000000020100000000000000017fffffff"),
        bytes.fromhex("ffffffff00000001000000020100000000000000010000000009"),
        bytes.fromhex(
            "ffffffff00000001000000020100000000000000010000000001000000000000000000000801"
        ),
    ],
)
def test_other_streams_are_refused(data):
    """TLS, unknown types, formats, records and actions, lengths and counts out of bounds."""
    with pytest.raises(ParseError):
        read(TransactionReader, data)


def test_a_block_is_bounded():
    """A record of many large values ends in an error, not in memory."""
    reader = DumpReader(None, allow_unsigned=True)
    value = b"\0\x10\0\0" + b"\0" * (1 << 20)
    reader.feed(bytes.fromhex("ffffffff00000002010000000000000800"))
    with pytest.raises(ParseError):
        for _ in range(40):
            reader.feed(value)
            reader.next()


def test_the_head_comes_first_and_once():
    """The writer refuses another order."""
    writer = StreamWriter(None)
    with pytest.raises(ParseError):
        writer.write(TxnEnd(0))
    writer.write(TxnHead(None, 1, Status.REDUMP_NEEDED))
    with pytest.raises(ParseError):
        writer.write(TxnHead(None, 1, Status.REDUMP_NEEDED))


def test_nothing_is_read_after_the_end():
    """The end is the last record."""
    _, reader = read(DumpReader, written(dump(None)))
    with pytest.raises(ParseError, match="ended"):
        reader.next()


WHOLE = {TransactionReader: written(txn(None)), DumpReader: written(dump(None))}


@settings(max_examples=150)
@given(
    st.sampled_from([TransactionReader, DumpReader]),
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(lambda tail: b"\xff\xff\xff\xff" + tail),
        st.tuples(st.integers(0, 400), st.integers(0, 255)),
    ),
)
def test_any_bytes_are_records_or_an_error(kind, what):
    """Records, more wanted, ParseError or SignatureInvalid; nothing else."""
    data = what
    if isinstance(what, tuple):
        spoilt = bytearray(WHOLE[kind])
        spoilt[what[0] % len(spoilt)] = what[1]
        data = bytes(spoilt)
    try:
        read(kind, data)
    except (ParseError, SignatureInvalid):
        return
